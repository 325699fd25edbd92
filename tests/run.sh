#!/usr/bin/env bash
# All tests, with what they need: a Python environment with pinned onnx and onnxruntime, and the ONNX node
# tests as files, both below target/. Arguments go to cargo test:
#
#   bash tests/run.sh                                all tests
#   bash tests/run.sh -p tinyc-compiler schedule     tests of one package whose name matches
#
# Needs cargo, gcc or clang, and python3 with venv. Without Python the tests that need it say that they skip.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

onnx=1.23.2
onnxruntime=1.31.0
target=${CARGO_TARGET_DIR:-target}
venv=target/venv
mkdir -p target

if [ ! -e "$venv/onnx-$onnx-onnxruntime-$onnxruntime" ]; then
    echo "setting up $venv" >&2
    rm -rf "$venv"
    if python3 -m venv "$venv" &&
        "$venv/bin/pip" install --quiet --disable-pip-version-check "onnx==$onnx" "onnxruntime==$onnxruntime" numpy
    then
        touch "$venv/onnx-$onnx-onnxruntime-$onnxruntime"
    else
        rm -rf "$venv"
        echo "no Python environment: comparisons with ONNX Runtime and ONNX node tests will be skipped" >&2
    fi
fi
if [ -e "$venv/bin/python" ] && [ "$(cat target/node_tests/version 2>/dev/null)" != "$onnx" ]; then
    rm -rf target/node_tests
    "$venv/bin/python" tests/python/node_cases.py target/node_tests >&2
fi

# One profile for everything: models compile and run several times faster in release.
if [ $# -eq 0 ]; then set -- --workspace; fi
exec cargo test --release --target-dir "$target" "$@"
