#!/usr/bin/env python3
"""Fills the weights of a stripped model with seeded random numbers.

Usage: hydrate.py STRIPPED.onnx OUT.onnx [--seed S] [--external]

A stripped model keeps its graph and small constants; the metadata entry "hydrate" holds, as JSON, mean, std, lo
and hi of every large initializer. --external puts the weights into OUT.onnx.data. Models without the
entry are copied.
"""

import argparse
import json
import os

import numpy
import onnx
from onnx import helper, numpy_helper


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stripped")
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--external", action="store_true")
    args = parser.parse_args()
    model = onnx.load(args.stripped, load_external_data=False)
    found = {p.key: p.value for p in model.metadata_props}
    statistics = json.loads(found.get("hydrate", "{}"))
    rng = numpy.random.default_rng(args.seed)
    for initializer in model.graph.initializer:
        s = statistics.get(initializer.name)
        if s is None:
            continue
        dtype = helper.tensor_dtype_to_np_dtype(initializer.data_type)
        x = rng.standard_normal(tuple(initializer.dims), dtype=numpy.float32)
        x = numpy.clip(x * s["std"] + s["mean"], s["lo"], s["hi"])
        if numpy.issubdtype(dtype, numpy.integer):
            x = numpy.rint(x)
        initializer.CopyFrom(numpy_helper.from_array(x.astype(dtype), initializer.name))
    del model.metadata_props[:]
    os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
    if args.external:
        data = os.path.basename(args.out) + ".data"
        onnx.save_model(model, args.out, save_as_external_data=True, location=data, size_threshold=1024)
    else:
        onnx.save_model(model, args.out)


if __name__ == "__main__":
    main()
