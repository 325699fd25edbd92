#!/usr/bin/env python3
"""Random inputs for a model, and what ONNX Runtime computes from them.

Usage: expected.py MODEL IN.npz OUT.npz [--dim NAME=N]... [--seed S] [--high H] [--exact-sigmoid]

Open dimensions are taken from --dim (by name or INPUT:AXIS), else they are 1. Integer inputs are 0 or 1. Floating inputs are
normal, or uniform in 0..H with --high H (images of bytes).

ONNX Runtime's Sigmoid is a rational function plus 0.5, so its absolute error is about 1e-7 and a result of 1e-6 has few right digits.
--exact-sigmoid lets it compute 1 / (1 + exp(-x)) from single nodes, which is right to the last digits everywhere.
"""

import argparse

import onnx

import numpy
import onnxruntime


def exact_sigmoid(model):
    """The model with every Sigmoid written as 1 / (1 + exp(-x))."""
    one = onnx.numpy_helper.from_array(numpy.float32(1), "exact_sigmoid.one")
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Sigmoid":
            nodes.append(node)
            continue
        x, y = node.input[0], node.output[0]
        names = [x] + [f"{y}.{step}" for step in ("neg", "exp", "sum")] + [y]
        for op, a, b in zip(("Neg", "Exp", "Add", "Reciprocal"), names, names[1:]):
            nodes.append(onnx.helper.make_node(op, [a, one.name] if op == "Add" else [a], [b]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(one)
    return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("inputs")
    parser.add_argument("expected")
    parser.add_argument("--dim", action="append", default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--high", type=float)
    parser.add_argument("--exact-sigmoid", action="store_true")
    args = parser.parse_args()
    dims = dict(d.rsplit("=", 1) for d in args.dim)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    model = exact_sigmoid(onnx.load(args.model)).SerializeToString() if args.exact_sigmoid else args.model
    if args.exact_sigmoid:
        # Else it would make a Sigmoid of them again.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    rng = numpy.random.default_rng(args.seed)
    types = {"tensor(float)": numpy.float32, "tensor(int64)": numpy.int64, "tensor(int32)": numpy.int32,
             "tensor(bool)": numpy.bool_, "tensor(double)": numpy.float64, "tensor(float16)": numpy.float16}
    feed = {}
    for info in session.get_inputs():
        shape = [d if isinstance(d, int) else int(dims.get(d, dims.get(f"{info.name}:{i}", 1)))
                 for i, d in enumerate(info.shape)]
        dtype = types[info.type]
        if args.high is not None and numpy.issubdtype(dtype, numpy.floating):
            feed[info.name] = (rng.random(shape) * args.high).astype(dtype)
        elif numpy.issubdtype(dtype, numpy.floating):
            feed[info.name] = rng.standard_normal(shape).astype(dtype)
        else:
            feed[info.name] = rng.integers(0, 2, shape).astype(dtype)
    results = session.run(None, feed)
    numpy.savez(args.inputs, **feed)
    numpy.savez(args.expected, **{o.name: r for o, r in zip(session.get_outputs(), results)})


if __name__ == "__main__":
    main()
