#!/usr/bin/env python3
"""Trains the built-in digit model and writes its weights.

Needs numpy only. The data is generated: digits drawn as strokes, moved, turned, sheared, scaled,
thickened, blurred and with noise, 28x28. Run `python models/train_mnist.py`; it prints the accuracy on digits
held out from training and writes `models/weights/mnist.safetensors`, the same model as ONNX in
`models/mnist.onnx`, and a held-out sample, `models/weights/mnist_sample.safetensors`, that the tests check the
compiled model with.
"""

import json
import pathlib
import struct

import numpy as np

SIZE = 28

# Strokes in a unit square, y down: polylines of a digit. Several ways of writing some of them.
def arc(cx, cy, rx, ry, start, stop, n=14):
    t = np.linspace(np.radians(start), np.radians(stop), n)
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], 1)


def line(*points):
    return np.array(points, float)


GLYPHS = {
    0: [[arc(0.5, 0.5, 0.27, 0.42, 0, 360)]],
    1: [[line((0.5, 0.08), (0.5, 0.92))], [line((0.32, 0.28), (0.53, 0.08), (0.53, 0.92))],
        [line((0.32, 0.28), (0.53, 0.08), (0.53, 0.92)), line((0.3, 0.92), (0.75, 0.92))]],
    2: [[np.concatenate([arc(0.5, 0.3, 0.25, 0.22, 190, 380), line((0.25, 0.92), (0.78, 0.92))])]],
    3: [[arc(0.47, 0.29, 0.24, 0.21, 210, 450), arc(0.47, 0.71, 0.27, 0.22, 270, 510)]],
    4: [[line((0.6, 0.08), (0.22, 0.62), (0.8, 0.62)), line((0.62, 0.35), (0.62, 0.92))],
        [line((0.28, 0.1), (0.26, 0.52), (0.74, 0.52)), line((0.72, 0.1), (0.7, 0.92))]],
    5: [[np.concatenate([line((0.73, 0.1), (0.32, 0.1), (0.29, 0.45)), arc(0.48, 0.66, 0.27, 0.25, 240, 510)])]],
    6: [[np.concatenate([line((0.64, 0.08), (0.36, 0.42)), arc(0.5, 0.68, 0.24, 0.24, 190, 550)])]],
    7: [[line((0.24, 0.1), (0.76, 0.1), (0.42, 0.92))],
        [line((0.24, 0.1), (0.76, 0.1), (0.42, 0.92)), line((0.36, 0.5), (0.7, 0.5))]],
    8: [[arc(0.5, 0.29, 0.2, 0.2, 0, 360), arc(0.5, 0.71, 0.25, 0.22, 0, 360)]],
    9: [[np.concatenate([arc(0.5, 0.32, 0.24, 0.23, 10, 370), line((0.72, 0.4), (0.6, 0.92))])]],
}

GRID = np.stack(np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5), -1).reshape(-1, 2)


def draw(digit, rng):
    """One digit as 28x28 floats in 0..1."""
    variants = GLYPHS[digit]
    strokes = variants[rng.integers(len(variants))]
    angle, shear = rng.normal(0, 0.13), rng.normal(0, 0.15)
    scale = rng.uniform(17, 23, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1, shear], [0, 1]]) @ np.diag(scale)
    centre = SIZE / 2 + rng.normal(0, 1.2, 2)
    width = rng.uniform(0.8, 1.9)
    distance = np.full(len(GRID), 1e9)
    for stroke in strokes:
        points = (stroke - 0.5 + rng.normal(0, 0.018, stroke.shape)) @ matrix.T + centre
        a, b = points[:-1], points[1:]
        ab = b - a
        t = ((GRID[:, None] - a) * ab).sum(-1) / np.maximum((ab * ab).sum(-1), 1e-9)
        nearest = a + np.clip(t, 0, 1)[..., None] * ab
        distance = np.minimum(distance, np.linalg.norm(GRID[:, None] - nearest, axis=-1).min(1))
    ink = np.clip(width + 0.5 - distance, 0, 1)
    ink = np.clip(ink * rng.uniform(0.75, 1.0) + rng.normal(0, 0.05, ink.shape), 0, 1)
    return np.round(ink * 255).astype(np.uint8).reshape(SIZE, SIZE)


def dataset(n, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    return np.stack([draw(d, rng) for d in labels]), labels


# The network: conv 3x3 to 8, ReLU, max pool 2; conv 3x3 to 16, ReLU, max pool 2; linear to 10.
def columns(x):
    """3x3 neighbourhoods of a padded [N,C,H,W]: [N,H,W,C*9]."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    n, c, h, w = windows.shape[:4]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(n, h, w, c * 9)


def conv_forward(x, weight, bias):
    cols = columns(x)
    out = cols @ weight.reshape(len(weight), -1).T + bias
    return out.transpose(0, 3, 1, 2), cols


def conv_backward(grad, cols, weight, shape):
    n, c, h, w = shape
    g = grad.transpose(0, 2, 3, 1)
    d_weight = np.tensordot(g, cols, ((0, 1, 2), (0, 1, 2))).reshape(weight.shape)
    d_cols = (g @ weight.reshape(len(weight), -1)).reshape(n, h, w, c, 3, 3)
    d_x = np.zeros((n, c, h + 2, w + 2), np.float32)
    for i in range(3):
        for j in range(3):
            d_x[:, :, i:i + h, j:j + w] += d_cols[..., i, j].transpose(0, 3, 1, 2)
    return d_x[:, :, 1:-1, 1:-1], d_weight, g.sum((0, 1, 2))


def pool_forward(x):
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
    out = blocks.max((3, 5))
    first = blocks == out[:, :, :, None, :, None]
    return out, first / first.sum((3, 5), keepdims=True)


def forward(x, p):
    a, cols1 = conv_forward(x, p["conv1.weight"], p["conv1.bias"])
    b, mask1 = pool_forward(np.maximum(a, 0))
    c, cols2 = conv_forward(b, p["conv2.weight"], p["conv2.bias"])
    d, mask2 = pool_forward(np.maximum(c, 0))
    flat = d.reshape(len(x), -1)
    return flat @ p["fc.weight"].T + p["fc.bias"], (a, cols1, b, mask1, c, cols2, mask2, flat)


def backward(grad, x, p, kept):
    a, cols1, b, mask1, c, cols2, mask2, flat = kept
    g = {"fc.weight": grad.T @ flat, "fc.bias": grad.sum(0)}
    d = (grad @ p["fc.weight"]).reshape(len(x), 16, 7, 1, 7, 1)
    d = (d * mask2).reshape(c.shape) * (c > 0)
    d, g["conv2.weight"], g["conv2.bias"] = conv_backward(d, cols2, p["conv2.weight"], b.shape)
    d = (d.reshape(len(x), 8, 14, 1, 14, 1) * mask1).reshape(a.shape) * (a > 0)
    _, g["conv1.weight"], g["conv1.bias"] = conv_backward(d, cols1, p["conv1.weight"], x.shape)
    return g


def as_input(images):
    return (images.astype(np.float32) / 255.0)[:, None]


def accuracy(images, labels, p):
    right = 0
    for i in range(0, len(images), 500):
        scores, _ = forward(as_input(images[i:i + 500]), p)
        right += (scores.argmax(1) == labels[i:i + 500]).sum()
    return right / len(images)


def train(images, labels, epochs, seed):
    rng = np.random.default_rng(seed)
    p = {
        "conv1.weight": rng.normal(0, (2 / 9) ** 0.5, (8, 1, 3, 3)),
        "conv1.bias": np.zeros(8),
        "conv2.weight": rng.normal(0, (2 / 72) ** 0.5, (16, 8, 3, 3)),
        "conv2.bias": np.zeros(16),
        "fc.weight": rng.normal(0, (1 / 784) ** 0.5, (10, 784)),
        "fc.bias": np.zeros(10),
    }
    p = {k: v.astype(np.float32) for k, v in p.items()}
    first = {k: np.zeros_like(v) for k, v in p.items()}
    second = {k: np.zeros_like(v) for k, v in p.items()}
    step, batch = 0, 100
    for epoch in range(epochs):
        order = rng.permutation(len(images))
        rate = 2e-3 * 0.5 ** epoch
        for i in range(0, len(order), batch):
            x, y = as_input(images[order[i:i + batch]]), labels[order[i:i + batch]]
            scores, kept = forward(x, p)
            e = np.exp(scores - scores.max(1, keepdims=True))
            grad = (e / e.sum(1, keepdims=True) - np.eye(10, dtype=np.float32)[y]) / len(x)
            step += 1
            for k, g in backward(grad.astype(np.float32), x, p, kept).items():
                first[k] = 0.9 * first[k] + 0.1 * g
                second[k] = 0.999 * second[k] + 0.001 * g * g
                m, v = first[k] / (1 - 0.9 ** step), second[k] / (1 - 0.999 ** step)
                p[k] = (p[k] - rate * m / (np.sqrt(v) + 1e-8)).astype(np.float32)
        print(f"epoch {epoch + 1}: {accuracy(images[:2000], labels[:2000], p):.4f} on training digits", flush=True)
    return p


def write_safetensors(path, tensors):
    names = {np.dtype(np.float32): "F32", np.dtype(np.uint8): "U8"}
    header, offset = {}, 0
    for name, t in sorted(tensors.items()):
        header[name] = {"dtype": names[t.dtype], "shape": list(t.shape), "data_offsets": [offset, offset + t.nbytes]}
        offset += t.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(exist_ok=True)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, t in sorted(tensors.items()):
            f.write(np.ascontiguousarray(t).tobytes())


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    """One protobuf field: an int, a str, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def node(op, name, inputs, output, **attributes):
    """A NodeProto; attributes are ints (type 2) or lists of ints (type 7)."""
    body = b"".join(field(1, i) for i in inputs) + field(2, output) + field(3, name) + field(4, op)
    for key, v in attributes.items():
        many = isinstance(v, list)
        values = b"".join(field(8, i) for i in v) if many else field(3, v)
        body += field(5, field(1, key) + values + field(20, 7 if many else 2))
    return field(1, body)


def value_info(number, name, shape):
    dims = b"".join(field(1, field(1, d)) for d in shape)
    return field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, dims))))


def write_onnx(path, p):
    """A ModelProto written by field number, so that the script needs numpy only."""
    graph = b"".join([
        node("Conv", "conv1", ["image", "conv1.weight", "conv1.bias"], "c1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", "relu1", ["c1"], "r1"),
        node("MaxPool", "pool1", ["r1"], "p1", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "conv2", ["p1", "conv2.weight", "conv2.bias"], "c2", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", "relu2", ["c2"], "r2"),
        node("MaxPool", "pool2", ["r2"], "p2", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "flatten", ["p2"], "f", axis=1),
        node("Gemm", "fc", ["f", "fc.weight", "fc.bias"], "scores", transB=1),
        field(2, "mnist"),
    ])
    for name, t in sorted(p.items()):
        raw = np.ascontiguousarray(t, "<f4").tobytes()
        dims = b"".join(field(1, d) for d in t.shape)
        graph += field(5, dims + field(2, 1) + field(8, name) + field(9, raw))
    graph += value_info(11, "image", [1, 1, SIZE, SIZE]) + value_info(12, "scores", [1, 10])
    opset = field(8, field(2, 17))
    path.write_bytes(field(1, 8) + field(2, "models/train_mnist.py") + field(7, graph) + opset)


def main():
    images, labels = dataset(12_000, seed=1)
    held_images, held_labels = dataset(2_000, seed=2)
    p = train(images, labels, epochs=4, seed=3)
    print(f"accuracy on {len(held_images)} held-out digits: {accuracy(held_images, held_labels, p):.4f}")
    weights = pathlib.Path(__file__).parent / "weights"
    write_safetensors(weights / "mnist.safetensors", p)
    write_onnx(pathlib.Path(__file__).parent / "mnist.onnx", p)
    sample, sample_labels = held_images[:200], held_labels[:200]
    print(f"accuracy on the first {len(sample)} of them: {accuracy(sample, sample_labels, p):.4f}")
    write_safetensors(weights / "mnist_sample.safetensors", {"images": sample, "labels": sample_labels.astype(np.uint8)})


if __name__ == "__main__":
    main()
