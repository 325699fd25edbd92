#!/usr/bin/env python3
"""Random combinations of operator attributes, and what ONNX Runtime computes for them.

Usage: attributes.py FOLDER [--cases N] [--seed S] [--only OP]

Writes FOLDER/NAME.onnx, NAME.in.npz and NAME.out.npz: each model holds many nodes that have nothing to do with each other, all of
one opset, so that one compilation checks many cases. A combination that ONNX Runtime refuses is drawn again.
"""

import argparse
import pathlib
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSETS = [7, 9, 11, 13, 17, 21, 24]
BATCH = 30


class Draw:
    """Random choices for one case: inputs, constants, attributes."""

    def __init__(self, rng, opset):
        self.rng, self.opset = rng, opset
        self.inputs, self.attributes, self.outputs = [], {}, 1
        # Some cases compute in doubles; ONNX Runtime refuses those that it cannot.
        self.real = np.float64 if rng.integers(0, 8) == 0 else np.float32

    def int(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def ints(self, n, low, high):
        return [self.int(low, high) for _ in range(n)]

    def pick(self, *options):
        return options[self.int(0, len(options) - 1)]

    def maybe(self):
        return self.int(0, 1) == 1

    def floats(self, *shape, low=-2.0, high=2.0):
        return (self.rng.random(shape) * (high - low) + low).astype(self.real)

    def distinct(self, *shape):
        """No two elements are equal: the largest is one element only."""
        n = int(np.prod(shape))
        return (self.rng.permutation(n).reshape(shape) / 7.0 - n / 14).astype(self.real)

    def shape(self, rank, low=1, high=5):
        return tuple(self.ints(rank, low, high))

    def feed(self, array):
        """An input at run time."""
        self.inputs.append(("feed", np.asarray(array)))

    def const(self, array):
        """An input known at compile time."""
        self.inputs.append(("const", np.asarray(array)))

    def none(self):
        """An optional input left out."""
        self.inputs.append(("none", None))

    def set(self, **attributes):
        self.attributes.update({k: v for k, v in attributes.items() if v is not None})

    def axes(self, rank, least=1):
        n = self.int(least, rank)
        axes = self.rng.permutation(rank)[:n]
        return [int(a) - (rank if self.maybe() else 0) for a in axes]


def window(d, spatial, extents, ceil=False, max_dilation=2):
    """Attributes of a window that fits."""
    kernel = d.ints(spatial, 1, 3)
    dilations = d.ints(spatial, 1, max_dilation)
    d.set(strides=d.ints(spatial, 1, 3) if d.maybe() else None)
    auto = d.pick("NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
    if auto != "NOTSET":
        d.set(auto_pad=auto)
        dilations = [1] * spatial
        # Windows that skip elements would want negative padding, about which runtimes differ.
        d.set(strides=[min(k, s) for k, s in zip(kernel, d.attributes.get("strides", [1] * spatial))])
    elif d.maybe():
        d.set(pads=[d.int(0, k - 1) for k in kernel] + [d.int(0, k - 1) for k in kernel])
    if any(v != 1 for v in dilations) or d.maybe():
        d.set(dilations=dilations)
    return kernel


def conv(d):
    spatial = d.int(1, 3)
    groups = d.pick(1, 1, 2, 3)
    each, own = d.int(1, 3), d.int(1, 3)
    extents = d.ints(spatial, 5, 8)
    kernel = window(d, spatial, extents)
    d.set(group=groups, kernel_shape=kernel if d.maybe() else None)
    d.feed(d.floats(d.int(1, 2), each * groups, *extents))
    d.feed(d.floats(own * groups, each, *kernel))
    if d.maybe():
        d.feed(d.floats(own * groups))


def conv_transpose(d):
    spatial = d.int(1, 2) if d.maybe() else 3
    groups = d.pick(1, 2)
    each, own = d.int(1, 3), d.int(1, 3)
    extents = d.ints(spatial, 2, 5)
    kernel = d.ints(spatial, 1, 4)
    strides = d.ints(spatial, 1, 3)
    dilations = d.ints(spatial, 1, 2)
    d.set(group=groups, strides=strides, dilations=dilations)
    kind = d.pick("pads", "output_padding", "output_shape", "auto", "none")
    full = [(e - 1) * s + (k - 1) * q + 1 for e, s, k, q in zip(extents, strides, kernel, dilations)]
    if kind == "pads":
        d.set(pads=[min(d.int(0, 1), (f - 1) // 2) for f in full] * 2)
    elif kind == "output_padding":
        d.set(output_padding=[d.int(0, max(s, q) - 1) for s, q in zip(strides, dilations)])
    elif kind == "output_shape":
        d.set(output_shape=[max(1, f - d.int(0, 2)) for f in full], auto_pad=d.pick("NOTSET", "SAME_UPPER", "SAME_LOWER"))
    elif kind == "auto":
        # A kernel below the stride would need negative padding, which ONNX Runtime leaves out.
        kernel = [max(k, s) for k, s in zip(kernel, strides)]
        d.set(auto_pad=d.pick("SAME_UPPER", "SAME_LOWER", "VALID"), dilations=[1] * spatial)
    d.feed(d.floats(d.int(1, 2), each * groups, *extents))
    d.feed(d.floats(each * groups, own, *kernel))
    if d.maybe():
        d.feed(d.floats(own * groups))


def pool(d, op):
    spatial = d.int(1, 3)
    extents = d.ints(spatial, 5, 9)
    dilated = (op == "MaxPool" and d.opset >= 10) or (op == "AveragePool" and d.opset >= 19) or (op == "LpPool" and d.opset >= 18)
    kernel = window(d, spatial, extents, max_dilation=2 if dilated else 1)
    if not dilated:
        d.attributes.pop("dilations", None)
    d.set(kernel_shape=kernel)
    if (op != "LpPool" and d.opset >= 10) or d.opset >= 18:
        d.set(ceil_mode=d.int(0, 1))
    if op == "AveragePool":
        d.set(count_include_pad=d.int(0, 1))
    if op == "LpPool":
        d.set(p=d.int(1, 3))
    d.feed(d.distinct(d.int(1, 2), d.int(1, 3), *extents))
    if op == "MaxPool" and d.opset >= 8 and d.int(0, 2) == 0:
        d.outputs = 2
        d.set(storage_order=d.int(0, 1))


def global_pool(d, op):
    if op == "GlobalLpPool":
        d.set(p=d.int(1, 3))
    d.feed(d.floats(*d.shape(d.int(3, 5))))


def gemm(d):
    m, k, n = d.ints(3, 1, 6)
    a, b = d.int(0, 1), d.int(0, 1)
    d.set(transA=a, transB=b, alpha=d.pick(None, 0.5), beta=d.pick(None, 2.0))
    d.feed(d.floats(k, m) if a else d.floats(m, k))
    d.feed(d.floats(n, k) if b else d.floats(k, n))
    if d.opset < 11 or d.maybe():
        d.feed(d.floats(*d.pick((m, n), (n,), (1, n), (m, 1), (1,))))


def matmul(d):
    m, k, n = d.ints(3, 1, 6)
    batch = d.shape(d.int(0, 2), 1, 3)
    a = tuple(x if d.maybe() else 1 for x in batch[d.int(0, len(batch)):])
    kind = d.int(0, 4)
    d.feed(d.floats(k) if kind == 0 else d.floats(*batch, m, k))
    d.feed(d.floats(k) if kind == 1 else d.floats(*a, k, n))


def batch_norm(d):
    c = d.int(1, 4)
    d.set(epsilon=d.pick(None, 1e-2))
    if d.opset < 9:
        d.set(spatial=1)
    d.feed(d.floats(2, c, *d.shape(d.int(0, 3))))
    for _ in range(3):
        d.feed(d.floats(c))
    d.feed(d.floats(c, low=0.1))


def instance_norm(d):
    c = d.int(1, 4)
    d.set(epsilon=d.pick(None, 1e-2))
    d.feed(d.floats(2, c, *d.shape(d.int(1, 3), 2, 5)))
    d.feed(d.floats(c))
    d.feed(d.floats(c))


def layer_norm(d):
    rank = d.int(2, 4)
    shape = d.shape(rank, 2, 5)
    axis = d.int(-rank, rank - 1)
    d.set(axis=axis, epsilon=d.pick(None, 1e-2))
    d.feed(d.floats(*shape))
    d.feed(d.floats(*shape[axis:]))
    if d.maybe():
        d.feed(d.floats(*shape[axis:]))


def group_norm(d):
    groups, each = d.int(1, 3), d.int(1, 3)
    d.set(num_groups=groups, epsilon=d.pick(None, 1e-2))
    d.feed(d.floats(2, groups * each, *d.shape(d.int(1, 2), 2, 5)))
    n = groups * each if d.opset >= 21 else groups
    d.feed(d.floats(n))
    d.feed(d.floats(n))


def lrn(d):
    d.set(size=d.pick(1, 3, 5), alpha=d.pick(None, 0.3), beta=d.pick(None, 0.6), bias=d.pick(None, 2.0))
    d.feed(d.floats(2, d.int(1, 6), 3, 3))


def lp_norm(d):
    rank = d.int(1, 4)
    d.set(axis=d.int(-rank, rank - 1), p=d.int(1, 2))
    d.feed(d.floats(*d.shape(rank)))


def softmax(d):
    rank = d.int(1, 4)
    d.set(axis=d.pick(None, d.int(0 if d.opset < 11 else -rank, rank - 1)) if rank > 1 else 0)
    d.feed(d.distinct(*d.shape(rank)))


def resize(d):
    rank = 4 if d.opset < 13 else d.int(3, 5)
    spatial = rank - 2
    shape = (1, d.int(1, 2)) + d.shape(spatial, 2, 6)
    mode = d.pick("nearest", "linear", "cubic") if spatial == 2 else d.pick("nearest", "linear")
    if d.opset < 11:
        scales = [1.0, 1.0] + [d.pick(0.5, 1.0, 2.0, 1.5, 3.0) for _ in range(spatial)]
        mode = d.pick("nearest", "linear")
        d.set(mode=mode)
        d.feed(d.floats(*shape))
        if d.opset < 9:
            d.set(scales=[max(1.0, s) for s in scales])
        else:
            d.const(np.array([max(1.0, s) for s in scales] if d.opset == 9 else scales, np.float32))
        return
    modes = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"]
    if d.opset < 13 and mode == "nearest":
        modes.append("tf_half_pixel_for_nn")
    if d.opset >= 19:
        modes.append("half_pixel_symmetric")
    coordinates = d.pick(*modes)
    d.set(mode=mode, coordinate_transformation_mode=coordinates)
    if mode == "nearest":
        d.set(nearest_mode=d.pick(None, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"))
    if mode == "cubic":
        d.set(cubic_coeff_a=d.pick(None, -0.5), exclude_outside=d.int(0, 1) if coordinates != "tf_crop_and_resize" else None)
    d.feed(d.floats(*shape))
    if coordinates == "tf_crop_and_resize":
        d.set(extrapolation_value=d.pick(None, 7.0))
        start = [0.0, 0.0] + [d.pick(0.0, 0.25, -0.125) for _ in range(spatial)]
        end = [1.0, 1.0] + [d.pick(1.0, 0.75, 1.25) for _ in range(spatial)]
        d.const(np.array(start + end, np.float32))
    elif d.opset >= 13 and d.maybe():
        d.none()
    else:
        d.const(np.array([], np.float32))
    # ONNX Runtime rounds the resized length before it aligns corners, the definition does not.
    # It also ignores the region along axes whose size stays.
    crops = coordinates == "tf_crop_and_resize"
    if d.maybe() and coordinates != "align_corners":
        d.const(np.array([1.0, 1.0] + [d.pick(0.6, 1.7 if crops else 1.0, 2.0, 1.7, 3.0) for _ in range(spatial)], np.float32))
    else:
        d.none() if d.opset >= 13 else d.const(np.array([], np.float32))
        sizes = list(shape[:2]) + [n + 1 if crops and n == old else n for n, old in zip(d.ints(spatial, 1, 9), shape[2:])]
        if d.opset >= 18 and d.maybe() and coordinates != "tf_crop_and_resize":
            d.set(axes=list(range(2, rank)))
            sizes = sizes[2:]
            if coordinates not in ("align_corners", "half_pixel_symmetric"):
                d.set(keep_aspect_ratio_policy=d.pick("stretch", "not_larger", "not_smaller"))
        d.const(np.array(sizes, np.int64))


def pad(d):
    rank = d.int(1, 4)
    shape = d.shape(rank, 3, 6)
    modes = ["constant", "reflect", "edge"] + (["wrap"] if d.opset >= 19 else [])
    mode = d.pick(*modes)
    low = -1 if mode != "wrap" and d.maybe() else 0
    d.set(mode=mode)
    pads = d.ints(2 * rank, low, 2)
    d.feed(d.floats(*shape))
    value = d.pick(None, 1.5)
    if d.opset < 11:
        d.set(pads=pads, value=value if mode == "constant" else None)
        return
    axes = None
    if d.opset >= 18 and d.maybe():
        axes = d.axes(rank)
        pads = d.ints(2 * len(axes), low, 2)
    d.const(np.array(pads, np.int64))
    if value is not None and mode == "constant":
        d.feed(np.float32(value)) if d.maybe() else d.const(np.float32(value))
    elif axes is not None:
        d.none()
    if axes is not None:
        d.const(np.array(axes, np.int64))


def recurrent(d, op):
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    per = {"RNN": 1, "GRU": 2, "LSTM": 3}[op]
    direction = d.pick("forward", "reverse", "bidirectional")
    n = 2 if direction == "bidirectional" else 1
    steps, batch, size, hidden = d.int(1, 4), d.int(1, 3), d.int(1, 4), d.int(1, 4)
    d.set(direction=direction, hidden_size=hidden, clip=d.pick(None, None, 0.5))
    if d.maybe():
        names = ["Sigmoid", "Tanh", "Relu", "HardSigmoid", "Softsign", "Softplus", "LeakyRelu", "Elu", "ScaledTanh", "Affine", "ThresholdedRelu"]
        chosen = [d.pick(*names) for _ in range(n * per)]
        d.set(activations=chosen)
        if any(c in ("HardSigmoid", "LeakyRelu", "Elu", "ScaledTanh", "Affine", "ThresholdedRelu") for c in chosen):
            alpha = [0.3 for c in chosen if c in ("HardSigmoid", "LeakyRelu", "Elu", "ScaledTanh", "Affine", "ThresholdedRelu")]
            beta = [0.4 for c in chosen if c in ("HardSigmoid", "ScaledTanh", "Affine")]
            d.set(activation_alpha=alpha, activation_beta=beta or None)
    if op == "GRU":
        d.set(linear_before_reset=d.int(0, 1))
    if op == "LSTM":
        d.set(input_forget=d.pick(None, 0, 1))
    d.feed(d.floats(steps, batch, size))
    d.feed(d.floats(n, gates * hidden, size))
    d.feed(d.floats(n, gates * hidden, hidden))
    optional = [
        lambda: d.feed(d.floats(n, 2 * gates * hidden)),
        lambda: d.feed(np.array(d.ints(batch, 1, steps), np.int32)),
        lambda: d.feed(d.floats(n, batch, hidden)),
    ]
    if op == "LSTM":
        optional.append(lambda: d.feed(d.floats(n, batch, hidden)))
        optional.append(lambda: d.feed(d.floats(n, 3 * hidden)))
    for make in optional[: d.int(0, len(optional))]:
        make() if d.int(0, 2) else d.none()
    while d.inputs and d.inputs[-1][0] == "none":
        d.inputs.pop()
    d.outputs = 3 if op == "LSTM" else 2


def einsum(d):
    equation, shapes = d.pick(
        ("ij,jk->ik", [(2, 3), (3, 4)]), ("bij,bjk", [(2, 3, 4), (2, 4, 5)]), ("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 5)]),
        ("ii->i", [(4, 4)]), ("ii", [(3, 3)]), ("ij->ji", [(2, 5)]), ("i,j->ij", [(3,), (4,)]), ("i,i", [(4,), (4,)]),
        ("ij->", [(2, 3)]), ("b...->...b", [(2, 3, 4)]), ("...ii->...i", [(2, 3, 3)]), ("ijk,jil->kl", [(2, 3, 4), (3, 2, 5)]),
        ("bhid,bhjd->bhij", [(1, 2, 3, 4), (1, 2, 5, 4)]), ("i j , j k -> k i", [(2, 3), (3, 4)]), ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 2)]),
        ("...a,...a->...", [(3, 4), (3, 4)]), ("abc,cd->abd", [(2, 3, 4), (4, 2)]), ("iij->j", [(3, 3, 2)]), ("...i->...", [(2, 3)]))
    d.set(equation=equation)
    for s in shapes:
        d.feed(d.floats(*s))


def scatter_elements(d):
    rank = d.int(1, 3)
    shape = d.shape(rank, 2, 5)
    axis = d.int(-rank, rank - 1)
    reduction = d.pick("none", *(["add", "mul"] if d.opset >= 16 else []), *(["max", "min"] if d.opset >= 18 else []))
    index = list(shape)
    index[axis] = d.int(1, shape[axis])
    where = np.zeros(index, np.int64)
    for at in np.ndindex(*[n if i != axis % rank else 1 for i, n in enumerate(index)]):
        line = list(at)
        line[axis] = slice(None)
        places = d.rng.permutation(shape[axis])[: index[axis]] if reduction == "none" else d.rng.integers(-shape[axis], shape[axis], index[axis])
        where[tuple(line)] = places
    d.set(axis=axis, reduction=reduction if reduction != "none" else None)
    d.feed(d.floats(*shape))
    d.feed(where)
    d.feed(d.floats(*index))


def scatter_nd(d):
    rank = d.int(1, 3)
    shape = d.shape(rank, 2, 4)
    depth = d.int(1, rank)
    reduction = d.pick("none", *(["add", "mul"] if d.opset >= 16 else []), *(["max", "min"] if d.opset >= 18 else []))
    rows = int(np.prod(shape[:depth]))
    count = d.int(1, min(rows, 5))
    flat = d.rng.permutation(rows)[:count] if reduction == "none" else d.rng.integers(0, rows, count)
    d.set(reduction=reduction if reduction != "none" else None)
    d.feed(d.floats(*shape))
    d.feed(np.stack(np.unravel_index(flat, shape[:depth]), -1).astype(np.int64))
    d.feed(d.floats(count, *shape[depth:]))


def gather(d, op):
    rank = d.int(1, 4)
    shape = d.shape(rank, 2, 5)
    axis = d.int(-rank, rank - 1)
    n = shape[axis]
    kind = d.pick(np.int32, np.int64)
    negative = -n if d.opset >= 11 else 0
    d.feed(d.floats(*shape))
    if op == "Gather":
        d.set(axis=axis if d.opset >= 11 else axis % rank)
        d.feed(d.rng.integers(negative, n, d.shape(d.int(0, 2))).astype(kind))
    elif op == "GatherElements":
        d.set(axis=axis)
        index = list(shape)
        index[axis] = d.int(1, 6)
        d.feed(d.rng.integers(negative, n, index).astype(kind))
    else:
        batch = d.int(0, rank - 1) if d.opset >= 12 else 0
        depth = d.int(1, rank - batch)
        d.set(batch_dims=batch if d.opset >= 12 else None)
        lead = shape[:batch] + d.shape(1)
        d.feed(np.stack([d.rng.integers(-k, k, lead) for k in shape[batch:batch + depth]], -1).astype(np.int64))


def cumsum(d):
    rank = d.int(1, 3)
    d.set(exclusive=d.int(0, 1), reverse=d.int(0, 1))
    d.feed(d.floats(*d.shape(rank)) if d.maybe() else d.rng.integers(-9, 9, d.shape(rank)).astype(np.int64))
    d.const(np.array(d.int(-rank, rank - 1), d.pick(np.int32, np.int64)))


def topk(d):
    rank = d.int(1, 3)
    shape = d.shape(rank, 1, 7)
    axis = d.int(-rank, rank - 1) if d.opset >= 11 else d.int(0, rank - 1)
    d.outputs = 2
    d.set(axis=axis)
    d.feed(d.rng.integers(-4, 4, shape).astype(d.real))
    k = d.int(1, shape[axis])
    if d.opset < 10:
        d.set(k=k)
    else:
        d.const(np.array([k], np.int64))
    if d.opset >= 11:
        d.set(largest=d.int(0, 1))


def arg(d):
    rank = d.int(1, 3)
    d.set(axis=d.int(-rank if d.opset >= 11 else 0, rank - 1), keepdims=d.int(0, 1), select_last_index=d.int(0, 1) if d.opset >= 12 else None)
    d.feed(d.rng.integers(-3, 3, d.shape(rank)).astype(np.float32))


def reduce(d, op):
    rank = d.int(1, 4)
    kind = d.pick(np.float32, np.float32, np.int32, np.int64) if op in ("ReduceSum", "ReduceMax", "ReduceMin") else np.float32
    x = d.floats(*d.shape(rank), low=0.1, high=2.0)
    d.feed(x if kind == np.float32 else (x * 5).astype(kind))
    d.set(keepdims=d.int(0, 1))
    axes = d.axes(rank) if d.maybe() else None
    if axes and d.opset < 11:
        axes = [a % rank for a in axes]
    late = d.opset >= (13 if op == "ReduceSum" else 18)
    if late and axes is not None:
        d.const(np.array(axes, np.int64))
    elif late and d.maybe():
        d.set(noop_with_empty_axes=d.int(0, 1))
    elif not late:
        d.set(axes=axes)


def slice_(d):
    rank = d.int(1, 4)
    shape = d.shape(rank, 2, 7)
    axes = d.axes(rank)
    if d.opset < 10:
        axes = [a % rank for a in axes]
        starts = [d.int(0, shape[a] - 1) for a in axes]
        ends = [d.int(s + 1, shape[a] + 3) for a, s in zip(axes, starts)]
        d.set(axes=axes, starts=starts, ends=ends)
        d.feed(d.floats(*shape))
        return
    # Ends far beyond an axis mean its end in the direction of the step.
    steps = [d.pick(1, 1, 2, -1, -2) for _ in axes]
    starts = [d.int(-shape[a] - 1, shape[a] + 1) for a in axes]
    ends = [d.pick(d.int(-shape[a] - 2, shape[a] + 2), 2**63 - 1 if s > 0 else -(2**63)) for a, s in zip(axes, steps)]
    d.feed(d.floats(*shape))
    for values in (starts, ends, axes, steps):
        d.const(np.array(values, d.pick(np.int64, np.int64) if values is not axes else np.int64))


def split(d):
    rank = d.int(1, 3)
    shape = list(d.shape(rank, 2, 5))
    axis = d.int(0, rank - 1)
    parts = d.ints(d.int(1, 3), 1, 3)
    even = d.maybe()
    shape[axis] = parts[0] * len(parts) if even else sum(parts)
    d.outputs = len(parts)
    d.set(axis=axis)
    d.feed(d.floats(*shape))
    if even:
        if d.opset >= 18:
            d.set(num_outputs=len(parts))
    elif d.opset >= 13:
        d.const(np.array(parts, np.int64))
    else:
        d.set(split=parts)


def movement(d):
    op = d.pick("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Expand", "Tile", "Flatten", "DepthToSpace", "SpaceToDepth", "Concat", "Trilu")
    rank = d.int(2, 4)
    shape = d.shape(rank, 1, 4)
    if op == "Transpose":
        d.set(perm=d.pick(None, [int(v) for v in d.rng.permutation(rank)]))
        d.feed(d.floats(*shape))
    elif op == "Reshape":
        to = [0] + [-1]
        d.feed(d.floats(*shape))
        d.const(np.array(to, np.int64))
    elif op in ("Squeeze", "Unsqueeze"):
        shape = (1,) + shape[:2] + (1,)
        axes = [0] if d.maybe() else [0, 3]
        d.feed(d.floats(*shape))
        if d.opset < 13:
            d.set(axes=axes)
        else:
            d.const(np.array(axes, np.int64))
    elif op == "Expand":
        op = "Expand" if d.opset >= 8 else "Identity"
        d.feed(d.floats(1, shape[1]))
        if op == "Expand":
            d.const(np.array([d.int(1, 3), d.int(1, 3), shape[1]], np.int64))
    elif op == "Tile":
        d.feed(d.floats(*shape))
        d.const(np.array(d.ints(rank, 1, 3), np.int64))
    elif op == "Flatten":
        d.set(axis=d.int(0, rank))
        d.feed(d.floats(*shape))
    elif op == "DepthToSpace":
        d.set(blocksize=2, mode=d.pick("DCR", "CRD") if d.opset >= 11 else None)
        d.feed(d.floats(1, 8, 2, 3))
    elif op == "SpaceToDepth":
        d.set(blocksize=2)
        d.feed(d.floats(1, 2, 4, 6))
    elif op == "Concat":
        axis = d.int(0, rank - 1)
        d.set(axis=axis)
        for _ in range(d.int(1, 3)):
            s = list(shape)
            s[axis] = d.int(1, 3)
            d.feed(d.floats(*s))
    else:
        if d.opset < 14:
            op = "Identity"
            d.feed(d.floats(*shape))
        else:
            d.set(upper=d.int(0, 1))
            d.feed(d.floats(*shape))
            d.const(np.array(d.int(-2, 2), np.int64))
    return op


def activation(d):
    op = d.pick("LeakyRelu", "Elu", "Selu", "HardSigmoid", "Softplus", "Softsign", "ThresholdedRelu", "PRelu", "Clip", "Celu", "HardSwish", "Gelu", "Shrink", "Dropout", "Mish")
    since = {"ThresholdedRelu": 10, "Celu": 12, "HardSwish": 14, "Gelu": 20, "Shrink": 9, "Mish": 18}
    if d.opset < since.get(op, 1):
        op = "Relu"
    shape = d.shape(d.int(1, 4))
    d.feed(d.floats(*shape, low=-5, high=5))
    if op in ("LeakyRelu", "Elu", "ThresholdedRelu", "Celu"):
        d.set(alpha=d.pick(None, 0.7))
    elif op == "Selu":
        d.set(alpha=d.pick(None, 1.1), gamma=d.pick(None, 0.9))
    elif op == "HardSigmoid":
        d.set(alpha=d.pick(None, 0.3), beta=d.pick(None, 0.4))
    elif op == "PRelu":
        d.feed(d.floats(*shape) if d.maybe() else d.floats(*shape[-1:]))
    elif op == "Shrink":
        d.set(bias=d.pick(None, 0.3), lambd=d.pick(None, 1.0))
    elif op == "Gelu":
        d.set(approximate=d.pick(None, "none", "tanh"))
    elif op == "Clip":
        if d.opset < 11:
            d.set(min=d.pick(None, -1.0), max=d.pick(None, 1.5))
        else:
            d.feed(np.float32(-1)) if d.maybe() else d.none()
            if d.maybe():
                d.feed(np.float32(1.5))
            elif d.inputs[-1][0] == "none":
                d.inputs.pop()
    elif op == "Dropout":
        d.outputs = 2 if d.opset >= 10 and d.maybe() else 1
        if d.opset < 12:
            d.set(ratio=d.pick(None, 0.3))
        elif d.maybe():
            d.const(np.float32(0.3))
            if d.maybe():
                d.const(np.array(False))
    return op


def elementwise(d):
    op = d.pick("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Sum", "Mean", "Less", "Greater", "Equal", "LessOrEqual", "GreaterOrEqual",
                "And", "Or", "Xor", "Where", "BitShift", "BitwiseAnd")
    since = {"Mod": 10, "LessOrEqual": 12, "GreaterOrEqual": 12, "Where": 9, "BitShift": 11, "BitwiseAnd": 18, "Equal": 11, "Less": 9, "Greater": 9}
    if d.opset < since.get(op, 1):
        op = "Add"
    a = d.shape(d.int(1, 4), 1, 4)
    b = tuple(n if d.maybe() else 1 for n in a[d.int(0, len(a) - 1):])
    if d.opset < 8 and op in ("Min", "Max", "Sum", "Mean"):
        b = a
    floats = op in ("Pow", "Mean", "Sum") or d.maybe()
    def draw(shape):
        if op in ("And", "Or", "Xor"):
            return d.rng.integers(0, 2, shape).astype(bool)
        if op == "BitShift":
            return d.rng.integers(0, 9, shape).astype(np.uint32)
        if op in ("BitwiseAnd", "Mod") or not floats:
            return (d.rng.integers(1, 9, shape) * d.rng.choice([-1, 1], shape)).astype(np.int32 if op != "BitwiseAnd" else np.int64)
        return d.floats(*shape, low=0.2, high=3.0)
    if op == "Where":
        d.feed(d.rng.integers(0, 2, b).astype(bool))
    if op == "BitShift":
        d.set(direction=d.pick("LEFT", "RIGHT"))
    if op == "Mod":
        d.set(fmod=d.int(0, 1))
    d.feed(draw(a))
    d.feed(draw(b))
    return op


def onehot(d):
    rank = d.int(1, 3)
    d.set(axis=d.int(-rank - 1, rank))
    d.feed(d.rng.integers(-3 if d.opset >= 11 else 0, 4, d.shape(rank)).astype(np.int64))
    d.const(np.array(4, np.int64) if d.maybe() else np.array([4], np.int64))
    d.const(np.array([d.pick(0, -1), d.pick(1, 5)], np.float32))


def cast(d):
    to = d.pick(TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT16, TensorProto.UINT8)
    d.set(to=to)
    x = d.floats(*d.shape(2), low=0, high=100)
    d.feed(x.astype(d.pick(np.float32, np.float64, np.int32, np.int64, np.uint8)))


def grid_sample(d):
    d.set(mode=d.pick(*(("bilinear", "nearest", "bicubic") if d.opset < 20 else ("linear", "nearest", "cubic"))),
          padding_mode=d.pick("zeros", "border", "reflection"), align_corners=d.int(0, 1))
    d.feed(d.floats(1, 2, 4, 5))
    d.feed(d.floats(1, 3, 3, 2, low=-1.2, high=1.2))


GENERATORS = {
    "Conv": (conv, 1, 6), "ConvTranspose": (conv_transpose, 1, 6), "MaxPool": (pool, 1, 5), "AveragePool": (pool, 1, 5), "LpPool": (pool, 1, 2),
    "GlobalAveragePool": (global_pool, 1, 1), "GlobalMaxPool": (global_pool, 1, 1), "GlobalLpPool": (global_pool, 1, 1),
    "Gemm": (gemm, 1, 3), "MatMul": (matmul, 1, 3), "BatchNormalization": (batch_norm, 1, 2), "InstanceNormalization": (instance_norm, 1, 2),
    "LayerNormalization": (layer_norm, 17, 3), "GroupNormalization": (group_norm, 21, 2), "LRN": (lrn, 1, 1), "LpNormalization": (lp_norm, 1, 1),
    "Softmax": (softmax, 1, 2), "LogSoftmax": (softmax, 1, 2), "Hardmax": (softmax, 1, 1), "Resize": (resize, 10, 8), "Upsample": (resize, 1, 2),
    "Pad": (pad, 1, 6), "RNN": (recurrent, 1, 3), "GRU": (recurrent, 1, 4), "LSTM": (recurrent, 1, 4), "Einsum": (einsum, 12, 5),
    "ScatterElements": (scatter_elements, 11, 3), "ScatterND": (scatter_nd, 11, 3), "Gather": (gather, 1, 2), "GatherElements": (gather, 11, 2),
    "GatherND": (gather, 11, 2), "CumSum": (cumsum, 11, 3), "TopK": (topk, 1, 3), "ArgMax": (arg, 1, 2), "ArgMin": (arg, 1, 2),
    "Slice": (slice_, 1, 4), "Split": (split, 1, 2), "movement": (movement, 1, 8), "activation": (activation, 1, 8),
    "elementwise": (elementwise, 1, 8), "OneHot": (onehot, 9, 2), "Cast": (cast, 9, 2), "GridSample": (grid_sample, 16, 2),
    **{f"Reduce{k}": (reduce, 1, 1) for k in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")},
}


def draw_case(op, make, rng, opset, name):
    """One node with its inputs: (node, initializers, feeds), or None when it makes no sense."""
    d = Draw(rng, opset)
    try:
        renamed = make(d, op) if make in (pool, global_pool, recurrent, gather, reduce) else make(d)
    except (ValueError, IndexError):
        return None
    inputs, constants, feeds = [], [], {}
    for i, (kind, array) in enumerate(d.inputs):
        tensor = "" if kind == "none" else f"{name}_{i}"
        inputs.append(tensor)
        if kind == "const":
            constants.append(numpy_helper.from_array(array, tensor))
        elif kind == "feed":
            feeds[tensor] = array
    outputs = [f"{name}_y{i}" for i in range(d.outputs)]
    node = helper.make_node(renamed or op, inputs, outputs, name=name, **d.attributes)
    return node, constants, feeds


def model_of(cases, opset):
    nodes = [n for n, _, _ in cases]
    constants = [c for _, cs, _ in cases for c in cs]
    feeds = {k: v for _, _, f in cases for k, v in f.items()}
    inputs = [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in feeds.items()]
    outputs = [onnx.ValueInfoProto(name=o) for n in nodes for o in n.output]
    graph = helper.make_graph(nodes, "attributes", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 10
    return onnx.shape_inference.infer_shapes(model), feeds


def run(model, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--cases", type=int, default=330)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    onnxruntime.set_default_logger_severity(4)
    args.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    table = [(op, make, since) for op, (make, since, weight) in GENERATORS.items() for _ in range(weight) if args.only in (None, op)]
    batches = {}
    count = refused = 0
    while count < args.cases and refused < 20 * args.cases:
        op, make, since = table[count % len(table)] if rng.random() < 0.7 else table[rng.integers(len(table))]
        fitting = [o for o in OPSETS if o >= since and not (op == "Upsample" and o > 9) and not (op == "Resize" and o < 11)]
        opset = int(rng.choice(fitting))
        case = draw_case(op, make, rng, opset, f"{op}_{count}")
        results = None
        if case is not None:
            try:
                results = run(*model_of([case], opset))
            except Exception:
                pass
        empty = results is not None and any(np.asarray(r).size == 0 for r in results.values())
        wild = results is not None and any(np.asarray(r).dtype.kind == "f" and not np.isfinite(r).all() for r in results.values())
        if results is None or empty or wild:
            refused += 1
            continue
        batches.setdefault(opset, []).append((case, results))
        count += 1
    for opset, cases in sorted(batches.items()):
        for k in range(0, len(cases), BATCH):
            part = cases[k:k + BATCH]
            model, feeds = model_of([c for c, _ in part], opset)
            expected = {n: r for _, results in part for n, r in results.items()}
            shapes = {n: np.asarray(r) for n, r in expected.items()}
            del model.graph.output[:]
            model.graph.output.extend(
                helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(r.dtype), r.shape) for n, r in shapes.items())
            name = f"opset{opset}_{k // BATCH}"
            onnx.save(model, args.folder / f"{name}.onnx")
            np.savez(args.folder / f"{name}.in.npz", **feeds)
            np.savez(args.folder / f"{name}.out.npz", **shapes)
    print(f"{count} cases, {refused} refused")


if __name__ == "__main__":
    main()
