"""Small models of the kinds that run in control loops and on sensors, with random weights.

    python benches/tiny_models.py DIR
    python benches/compare.py --seconds 0.05 DIR/*.onnx

Writes one ONNX file each: perceptrons, recurrent networks, convolutions over time and images, the four networks of
the "tiny" benchmark suites (dscnn, resnet8, mobilenet, autoencoder), a small transformer, and a model with two branches.
Needs: numpy, onnx.
"""

import os
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper


class Net:
    """A graph as it grows. Values are names; `dims` knows their shapes."""

    def __init__(self, name, *shape):
        self.name = name
        self.rng = numpy.random.default_rng(0)
        self.nodes, self.weights, self.dims = [], [], {"x": list(shape)}

    def weight(self, *shape):
        fan = max(1, int(numpy.prod(shape[1:])))
        values = self.rng.standard_normal(shape, dtype=numpy.float32) / numpy.float32(fan) ** numpy.float32(0.5)
        return self.constant(values)

    def constant(self, values):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(numpy.asarray(values), name))
        return name

    def node(self, op, inputs, dims, **attributes):
        """Adds a node whose first result has shape `dims`; gives the name of that result."""
        result = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [result], name=f"{op}_{len(self.nodes)}", **attributes))
        self.dims[result] = list(dims)
        return result

    def act(self, op, x):
        return self.node(op, [x], self.dims[x]) if op else x

    def linear(self, x, out, act=None):
        d = self.dims[x]
        if len(d) == 2:
            y = self.node("Gemm", [x, self.weight(out, d[-1]), self.weight(out)], [d[0], out], transB=1)
        else:
            y = self.node("MatMul", [x, self.weight(d[-1], out)], d[:-1] + [out])
            y = self.node("Add", [y, self.weight(out)], self.dims[y])
        return self.act(act, y)

    def conv(self, x, out, kernel, stride=1, pad=None, groups=1, dilation=1, act="Relu"):
        d = self.dims[x]
        rank = len(d) - 2
        k = kernel if isinstance(kernel, tuple) else (kernel,) * rank
        p = pad if isinstance(pad, tuple) else tuple(dilation * (n // 2) if pad is None else pad for n in k)
        size = [(n + 2 * q - dilation * (m - 1) - 1) // stride + 1 for n, q, m in zip(d[2:], p, k)]
        w, b = self.weight(out, d[1] // groups, *k), self.weight(out)
        how = dict(strides=[stride] * rank, pads=list(p) * 2, group=groups, dilations=[dilation] * rank)
        return self.act(act, self.node("Conv", [x, w, b], [d[0], out] + size, **how))

    def up(self, x, out, act="Relu"):
        """A transposed convolution that doubles the image."""
        d = self.dims[x]
        how = dict(strides=[2, 2], pads=[1, 1, 1, 1])
        size = [2 * n for n in d[2:]]
        return self.act(act, self.node("ConvTranspose", [x, self.weight(d[1], out, 4, 4), self.weight(out)], [d[0], out] + size, **how))

    def pool(self, x):
        d = self.dims[x]
        rank = len(d) - 2
        return self.node("MaxPool", [x], d[:2] + [n // 2 for n in d[2:]], kernel_shape=[2] * rank, strides=[2] * rank)

    def mean(self, x):
        d = self.dims[x]
        return self.flat(self.node("GlobalAveragePool", [x], d[:2] + [1] * (len(d) - 2)))

    def flat(self, x):
        d = self.dims[x]
        return self.node("Flatten", [x], [d[0], int(numpy.prod(d[1:]))])

    def shaped(self, x, *dims):
        return self.node("Reshape", [x, self.constant(numpy.array(dims, numpy.int64))], dims)

    def swapped(self, x, *perm):
        return self.node("Transpose", [x], [self.dims[x][p] for p in perm], perm=list(perm))

    def add(self, a, b):
        return self.node("Add", [a, b], self.dims[a])

    def recurrent(self, x, op, size):
        """A recurrent layer over `[time, batch, features]`: all hidden states."""
        t, n, i = self.dims[x]
        gates = {"LSTM": 4, "GRU": 3}[op]
        w, r, b = self.weight(1, gates * size, i), self.weight(1, gates * size, size), self.weight(1, 2 * gates * size)
        more = {"linear_before_reset": 1} if op == "GRU" else {}
        y = self.node(op, [x, w, r, b], [t, 1, n, size], hidden_size=size, **more)
        return self.shaped(y, t, n, size)

    def last(self, x):
        d = self.dims[x]
        return self.node("Gather", [x, self.constant(numpy.int64(d[0] - 1))], d[1:], axis=0)

    def norm(self, x):
        d = self.dims[x]
        return self.node("LayerNormalization", [x, self.weight(d[-1]), self.weight(d[-1])], d)

    def block(self, x, heads, hidden):
        """A transformer block over `[rows, size]`."""
        rows, size = self.dims[x]
        n = self.norm(x)
        parts = [self.shaped(self.linear(n, size), rows, heads, size // heads) for _ in range(3)]
        q, v = (self.swapped(p, 1, 0, 2) for p in (parts[0], parts[2]))
        k = self.swapped(parts[1], 1, 2, 0)
        s = self.node("MatMul", [q, k], [heads, rows, rows])
        s = self.node("Mul", [s, self.constant(numpy.float32((size // heads) ** -0.5))], [heads, rows, rows])
        s = self.node("Softmax", [s], [heads, rows, rows], axis=-1)
        y = self.node("MatMul", [s, v], [heads, rows, size // heads])
        y = self.shaped(self.swapped(y, 1, 0, 2), rows, size)
        x = self.add(x, self.linear(y, size))
        return self.add(x, self.linear(self.linear(self.norm(x), hidden, "Relu"), size))

    def write(self, folder, result):
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [info("x", TensorProto.FLOAT, self.dims["x"])],
            [info(result, TensorProto.FLOAT, self.dims[result])],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, os.path.join(folder, f"{self.name}.onnx"))


def perceptron(name, rows, *sizes, act="Relu"):
    n = Net(name, rows, sizes[0])
    x = "x"
    for size in sizes[1:-1]:
        x = n.linear(x, size, act)
    return n, n.linear(x, sizes[-1])


def recurrent(name, op, steps, features, size, layers=1):
    n = Net(name, steps, 1, features)
    x = "x"
    for _ in range(layers):
        x = n.recurrent(x, op, size)
    return n, n.linear(n.last(x), 6)


def lenet():
    n = Net("lenet5", 1, 1, 28, 28)
    x = n.pool(n.conv("x", 6, 5))
    x = n.flat(n.pool(n.conv(x, 16, 5, pad=0)))
    return n, n.linear(n.linear(n.linear(x, 120, "Relu"), 84, "Relu"), 10)


def digits():
    n = Net("digits_cnn", 1, 1, 28, 28)
    x = n.pool(n.conv("x", 8, 3, pad=0))
    return n, n.linear(n.flat(n.pool(n.conv(x, 16, 3, pad=0))), 10)


def dscnn():
    n = Net("dscnn", 1, 1, 49, 10)
    x = n.conv("x", 64, (10, 4), 2, (5, 1))
    for _ in range(4):
        x = n.conv(n.conv(x, 64, 3, groups=64), 64, 1)
    return n, n.act("Softmax", n.linear(n.mean(x), 12))


def resnet8():
    n = Net("resnet8", 1, 3, 32, 32)
    x = n.conv("x", 16, 3)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = n.conv(n.conv(x, channels, 3, stride), channels, 3, act=None)
        x = x if stride == 1 else n.conv(x, channels, 1, stride, act=None)
        x = n.act("Relu", n.add(y, x))
    return n, n.act("Softmax", n.linear(n.mean(x), 10))


def mobilenet():
    n = Net("mobilenet_quarter", 1, 3, 96, 96)
    x = n.conv("x", 8, 3, 2)
    for channels, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)) + ((128, 1),) * 5 + ((256, 2), (256, 1)):
        x = n.conv(n.conv(x, n.dims[x][1], 3, stride, groups=n.dims[x][1]), channels, 1)
    return n, n.linear(n.mean(x), 2)


def cifar():
    n = Net("cifar_cnn", 1, 3, 32, 32)
    x = "x"
    for channels in (16, 32, 64):
        x = n.pool(n.conv(x, channels, 3))
    return n, n.linear(n.linear(n.flat(x), 64, "Relu"), 10)


def over_time():
    n = Net("conv_over_time", 1, 3, 128)
    x = n.pool(n.conv("x", 16, 5))
    return n, n.linear(n.mean(n.conv(x, 32, 5)), 6)


def heartbeat():
    n = Net("heartbeat", 1, 1, 187)
    x = n.conv(n.conv(n.conv("x", 16, 7, 2), 16, 5, 2), 32, 5, 2)
    return n, n.linear(n.mean(x), 5)


def dilated():
    n = Net("dilated", 1, 8, 64)
    x = n.conv("x", 24, 1, act=None)
    for dilation in (1, 2, 4, 8):
        x = n.add(x, n.conv(x, 24, 3, dilation=dilation))
    return n, n.linear(n.mean(x), 4)


def transformer():
    n = Net("transformer", 20, 16)
    x = n.linear("x", 64)
    for _ in range(2):
        x = n.block(x, 4, 128)
    return n, n.linear(n.norm(x), 8)


def decoder():
    n = Net("decoder", 1, 16)
    x = n.shaped(n.linear("x", 512), 1, 32, 4, 4)
    return n, n.act("Sigmoid", n.up(n.up(n.up(x, 16), 8), 1, None))


def unet():
    n = Net("unet", 1, 1, 32, 32)
    x = n.conv(n.pool(n.conv("x", 8, 3)), 16, 3)
    x = n.node("Resize", [x, "", n.constant(numpy.array([1, 1, 2, 2], numpy.float32))], [1, 16, 32, 32], mode="nearest")
    return n, n.conv(n.conv(x, 8, 3), 2, 1, act=None)


def upscale():
    n = Net("upscale", 1, 1, 24, 24)
    x = n.conv(n.conv(n.conv("x", 16, 5, act="Tanh"), 8, 3, act="Tanh"), 4, 3, act=None)
    return n, n.node("DepthToSpace", [x], [1, 1, 48, 48], blocksize=2, mode="CRD")


def volumes():
    n = Net("volumes", 1, 1, 16, 16, 16)
    x = n.pool(n.conv("x", 8, 3))
    return n, n.linear(n.mean(n.conv(x, 16, 3)), 2)


def branches():
    """Two networks, of which the sign of the mean takes one."""
    n = Net("branches", 1, 256)
    mean = n.node("ReduceMean", ["x"], [1, 1], axes=[1], keepdims=1)
    sign = n.node("Less", [mean, n.constant(numpy.zeros((1, 1), numpy.float32))], [1, 1])
    sides = [n.linear(n.linear(n.linear("x", 256, "Relu"), 256, "Relu"), 8) for _ in range(2)]
    return n, n.node("Where", [sign] + sides, [1, 8])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.makedirs(sys.argv[1], exist_ok=True)
    models = [
        perceptron("mlp_digits", 1, 784, 128, 64, 10),
        perceptron("mlp_small", 1, 64, 32, 32, 10),
        perceptron("mlp_tanh", 1, 24, 64, 64, 6, act="Tanh"),
        perceptron("mlp_256_rows", 256, 16, 32, 32, 1),
        perceptron("policy", 1, 48, 512, 256, 128, 12, act="Elu"),
        perceptron("autoencoder", 1, 640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640),
        recurrent("gru", "GRU", 40, 10, 48),
        recurrent("lstm", "LSTM", 32, 6, 32, 2),
        recurrent("lstm_64", "LSTM", 20, 12, 64),
        lenet(),
        digits(),
        dscnn(),
        resnet8(),
        mobilenet(),
        cifar(),
        over_time(),
        heartbeat(),
        dilated(),
        transformer(),
        decoder(),
        unet(),
        upscale(),
        volumes(),
        branches(),
    ]
    for net, result in models:
        net.write(sys.argv[1], result)


if __name__ == "__main__":
    main()
