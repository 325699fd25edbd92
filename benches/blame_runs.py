#!/usr/bin/env python3
"""How often `tinyc blame` names the right kernel, and it alone.

Compiles a model as it is and with one kernel slowed down (TINYC_SLOW_KERNEL), compares the two many times and counts the runs
in which exactly that kernel is said to have moved. Runs that compare the model with itself must name nothing.

    python3 benches/blame_runs.py target/release/tinyc builtin:resnet18 --runs 20 --kernels 5
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time


def compile_model(tinyc, model, folder, slow=None):
    env = dict(os.environ, TINYC_SLOW_KERNEL=slow or "")
    command = [tinyc, "compile", model, "--emit", "exe", "-o", folder, "--name", "m"]
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
    return os.path.join(folder, "m.tinyexe")


def blame(tinyc, old, new, more):
    done = subprocess.run([tinyc, "blame", old, new, "--json", *more], stdout=subprocess.PIPE)
    if done.returncode not in (0, 1):
        sys.exit(f"blame ended with exit code {done.returncode}")
    return json.loads(done.stdout)


def choose(kernels, count):
    """Kernels spread over the sizes, none too short to be compared."""
    list_ = sorted((k for k in kernels if k["verdict"] != "small"), key=lambda k: -k["old_ms"])
    step = max(1, (len(list_) - 1) // max(1, count - 1))
    return list_[::step][:count]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tinyc")
    parser.add_argument("model")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--kernels", type=int, default=4, help="kernels to slow down, the largest first")
    parser.add_argument("--names", nargs="*", default=[], help="these kernels and no others")
    parser.add_argument("--percent", type=int, default=10)
    parser.add_argument("--blame", nargs="*", default=[], help="more arguments for tinyc blame")
    args = parser.parse_args()
    total, right = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        old = compile_model(args.tinyc, args.model, os.path.join(folder, "old"))
        first = blame(args.tinyc, old, old, args.blame)
        named = [k for k in first["kernels"] if k["old"][0] in args.names]
        cases = (named or choose(first["kernels"], args.kernels)) + [None]
        for case in cases:
            name = case["old"][0] if case else None
            slow = f"{name}:{args.percent}" if name else None
            new = compile_model(args.tinyc, args.model, os.path.join(folder, "new"), slow)
            good, seconds, said = 0, 0.0, []
            for _ in range(args.runs):
                start = time.time()
                report = blame(args.tinyc, old, new, args.blame)
                seconds += time.time() - start
                moved = ["+".join(k["new"]) for k in report["kernels"] if k["verdict"] == "moved"]
                good += moved == ([name] if name else [])
                said.append(moved)
            total, right = total + args.runs, right + good
            what = f"{name} ({case['old_ms'] * 1e3:.1f} us) +{args.percent} %" if name else "nothing slowed"
            print(f"{what}: {good} of {args.runs} right, {seconds / args.runs:.1f} s each", flush=True)
            if good < args.runs:
                print("  said:", [s for s in said if s != ([name] if name else [])], flush=True)
    print(f"{right} of {total} runs right")
    return 0 if right == total else 1


if __name__ == "__main__":
    sys.exit(main())
