#!/usr/bin/env python3
"""Random inputs for a model, and what ONNX Runtime computes from them.

Usage: expected.py MODEL IN.npz OUT.npz [--dim NAME=N]... [--seed S]

Open dimensions are taken from --dim (by name), else they are 1. Integer inputs are 0 or 1.
"""

import argparse

import numpy
import onnxruntime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("inputs")
    parser.add_argument("expected")
    parser.add_argument("--dim", action="append", default=[])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    dims = dict(d.rsplit("=", 1) for d in args.dim)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
    rng = numpy.random.default_rng(args.seed)
    types = {"tensor(float)": numpy.float32, "tensor(int64)": numpy.int64, "tensor(int32)": numpy.int32,
             "tensor(bool)": numpy.bool_, "tensor(double)": numpy.float64, "tensor(float16)": numpy.float16}
    feed = {}
    for info in session.get_inputs():
        shape = [d if isinstance(d, int) else int(dims.get(d, dims.get(f"{info.name}:{i}", 1)))
                 for i, d in enumerate(info.shape)]
        dtype = types[info.type]
        if numpy.issubdtype(dtype, numpy.floating):
            feed[info.name] = rng.standard_normal(shape).astype(dtype)
        else:
            feed[info.name] = rng.integers(0, 2, shape).astype(dtype)
    results = session.run(None, feed)
    numpy.savez(args.inputs, **feed)
    numpy.savez(args.expected, **{o.name: r for o, r in zip(session.get_outputs(), results)})


if __name__ == "__main__":
    main()
