#!/usr/bin/env python3
"""Writes the node tests of the installed onnx package as files.

Usage: node_cases.py DIR

DIR/NAME/model.onnx, DIR/NAME/test_data_set_N/{input,output}_M.pb, DIR/NAME/tolerance.json. A case whose data
are not all tensors (sequences, optionals) gets what onnx can write; tinyc must refuse its model.
"""

import json
import pathlib
import sys
import warnings

import numpy
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases


def proto_of(value, info):
    """The message that holds a value, by the type that the model declares for it."""
    if isinstance(value, onnx.TensorProto):
        return value
    kind = info.type.WhichOneof("value") if info is not None else "tensor_type"
    name = info.name if info is not None else ""
    if kind == "sequence_type":
        return numpy_helper.from_list(value, name)
    if kind == "optional_type":
        return numpy_helper.from_optional(value, name)
    return numpy_helper.from_array(numpy.asarray(value), name)


def write_case(case, folder):
    folder.mkdir(parents=True, exist_ok=True)
    graph = case.model.graph
    for number, data in enumerate(case.data_sets):
        target = folder / f"test_data_set_{number}"
        target.mkdir(exist_ok=True)
        for prefix, values, infos in zip(("input", "output"), data, (graph.input, graph.output)):
            for i, value in enumerate(values):
                info = infos[i] if i < len(infos) else None
                (target / f"{prefix}_{i}.pb").write_bytes(proto_of(value, info).SerializeToString())
    (folder / "tolerance.json").write_text(json.dumps({"rtol": case.rtol, "atol": case.atol}))
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())


def main():
    warnings.filterwarnings("ignore")
    out = pathlib.Path(sys.argv[1])
    written = 0
    for case in collect_testcases(None):
        try:
            write_case(case, out / case.name)
            written += 1
        except (TypeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
            print(f"not written: {case.name}: {error}", file=sys.stderr)
    (out / "version").write_text(onnx.__version__)
    print(f"{written} node tests of onnx {onnx.__version__} in {out}")


if __name__ == "__main__":
    main()
