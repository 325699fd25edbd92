"""Time of a model in ONNX Runtime, OpenVINO and tinyc, interleaved in one run.

    python benches/compare.py [--tinyc PATH] [--threads N] [--rounds R] [--seconds S] [--dim NAME=N]... MODEL.onnx...

Prints a Markdown table: the median and the least milliseconds of each, and the better rival over tinyc, both by
medians. Each model is compiled once to a .tinyexe, so tinyc's figure is the artifact's own. Needs onnxruntime and
numpy; openvino is compared with where it is installed. Inputs are random, equal for the rivals.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time

import numpy
import onnxruntime

try:
    import openvino
except ImportError:
    openvino = None

TYPES = {
    "tensor(float)": numpy.float32,
    "tensor(double)": numpy.float64,
    "tensor(float16)": numpy.float16,
    "tensor(int32)": numpy.int32,
    "tensor(int64)": numpy.int64,
    "tensor(bool)": numpy.bool_,
    "tensor(uint8)": numpy.uint8,
}


def random_inputs(session, dims, rng):
    """One array an input: normal numbers; zeros and ones where the type is no float."""
    feed = {}
    for i in session.get_inputs():
        shape = [dims.get(d, d) for d in i.shape]
        loose = [d for d in shape if not isinstance(d, int)]
        if loose:
            sys.exit(f"input {i.name} has free dimensions {loose}: bind them with --dim NAME=N")
        dtype = TYPES[i.type]
        values = rng.standard_normal(shape) if numpy.issubdtype(dtype, numpy.floating) else rng.integers(0, 2, shape)
        feed[i.name] = numpy.asarray(values, dtype)
    return feed


def repeat(run, seconds):
    """Milliseconds of each run."""
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 2:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def candidates(model, args, dims, folder):
    """Name and a function that gives the times of one round, for each engine."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = random_inputs(session, dims, numpy.random.default_rng(0))
    session.run(None, feed)
    yield "ONNX Runtime", lambda: repeat(lambda: session.run(None, feed), args.seconds)

    if openvino:
        core = openvino.Core()
        graph = core.read_model(model)
        graph.reshape({i.any_name: list(feed[i.any_name].shape) for i in graph.inputs})
        hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": args.threads, "NUM_STREAMS": 1}
        request = core.compile_model(graph, "CPU", hints).create_infer_request()
        request.infer(feed)
        yield "OpenVINO", lambda: repeat(lambda: request.infer(feed, share_inputs=True), args.seconds)

    name = os.path.splitext(os.path.basename(model))[0]
    command = [args.tinyc, "compile", model, "--emit", "exe", "-o", folder, "--name", name]
    known = {d for i in session.get_inputs() for d in i.shape if isinstance(d, str)}
    for dim, n in dims.items():
        if dim in known:
            command += ["--dim", f"{dim}={n}"]
    done = subprocess.run(command + args.compile, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    (artifact,) = [f for f in os.listdir(folder) if f.endswith(".tinyexe")]
    bench = [os.path.join(folder, artifact), "--bench", "--json", "--threads", str(args.threads)]

    def tinyc():
        out = subprocess.run(bench + ["--seconds", str(args.seconds)], capture_output=True, text=True, check=True)
        return json.loads(out.stdout)["times_ms"]

    yield "tinyc", tinyc


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--tinyc", default=os.environ.get("TINYC", "target/release/tinyc"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--dim", action="append", default=[], metavar="NAME=N")
    parser.add_argument("--compile", default="", type=str.split, metavar="'FLAGS'", help="more flags for tinyc compile")
    args = parser.parse_args()
    dims = {n: int(v) for n, v in (d.split("=") for d in args.dim)}

    ratios = []
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            runs = list(candidates(model, args, dims, folder))
            times = {name: [] for name, _ in runs}
            for turn in range(args.rounds):
                for name, run in runs if turn % 2 == 0 else reversed(runs):
                    times[name] += run()
        middle = {name: float(numpy.median(t)) for name, t in times.items()}
        if not ratios:
            print("| model | " + " | ".join(f"{n}: median (min) ms" for n in times) + " | better rival / tinyc |")
            print("|---" * (len(times) + 2) + "|")
        ratio = min(v for n, v in middle.items() if n != "tinyc") / middle["tinyc"]
        ratios.append(ratio)
        cells = [f"{middle[n]:.3g} ({min(t):.3g})" for n, t in times.items()]
        print(f"| {os.path.basename(model)} | " + " | ".join(cells) + f" | {ratio:.2f} |", flush=True)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print("| geometric mean " + "| " * len(times) + f"| {mean:.2f} |")


if __name__ == "__main__":
    main()
