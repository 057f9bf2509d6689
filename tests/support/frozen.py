"""Networks whose sizes an exporter froze: built anew for every size, with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 8
WINDOW = 4


@dataclass(frozen=True)
class Size:
    """Rows, columns and batch that a network is built for."""

    rows: int
    columns: int
    batch: int = 1


def random(name: str, *shape: int) -> npt.NDArray[np.float32]:
    """Random numbers that depend on the name and the shape only."""
    seed = crc32(f"{name} {shape}".encode())
    return np.random.default_rng(seed).normal(size=shape, scale=0.5).astype(np.float32)


class Net:
    """Appends nodes; every method returns the name of the value it makes."""

    def __init__(self, size: Size, shape: Sequence[int] | None = None) -> None:
        extents = shape or (size.batch, 3, size.rows, size.columns)
        self.size = size
        self.input = helper.make_tensor_value_info("image", TensorProto.FLOAT, extents)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def weight(self, name: str, *shape: int) -> str:
        return self.constant(name, random(name, *shape))

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, *inputs: str | Sequence[int], outputs: int = 1, **more: Any) -> str:
        """A node; inputs that are lists of integers are constants of their own."""
        name = f"{op.lower()}{len(self.nodes)}"
        names = [
            each
            if isinstance(each, str)
            else self.constant(f"{name}/{place}", np.array(each, np.int64))
            for place, each in enumerate(inputs)
        ]
        results = [name, *(f"{name}.{place}" for place in range(1, outputs))]
        self.nodes.append(helper.make_node(op, names, results, name=name, **more))
        return name

    def convolution(self, value: str, inputs: int = CHANNELS, stride: int = 1) -> str:
        weight = self.weight(f"weight{len(self.nodes)}", CHANNELS, inputs, 3, 3)
        return self.node("Conv", value, weight, strides=[stride] * 2, pads=[1] * 4)

    def model(self, *outputs: str, opset: int = 18) -> onnx.ModelProto:
        results = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
        graph = helper.make_graph(self.nodes, "frozen", [self.input], results, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 8
        # exporters state every shape, which is wrong at any other size
        inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        return inferred


def attention(size: Size) -> onnx.ModelProto:
    """Two heads of attention over rows x columns tokens, and back to a map."""
    net = Net(size)
    batch, rows, columns = size.batch, size.rows // 2, size.columns // 2
    tokens = rows * columns
    value = net.convolution("image", 3, stride=2)
    value = net.node("Reshape", value, [batch, CHANNELS, tokens])
    value = net.node("Transpose", value, perm=[0, 2, 1])
    value = net.node("MatMul", value, net.weight("qkv", CHANNELS, 3 * CHANNELS))
    value = net.node("Reshape", value, [batch, tokens, 3, 2, -1])
    value = net.node("Transpose", value, perm=[2, 0, 3, 1, 4])
    parts = []
    for part in range(3):
        cut = net.node("Slice", value, [part], [part + 1], [0])
        cut = net.node("Squeeze", cut, [0])
        parts.append(net.node("Reshape", cut, [-1, tokens, CHANNELS // 2]))
    key = net.node("Transpose", parts[1], perm=[0, 2, 1])
    value = net.node("Softmax", net.node("MatMul", parts[0], key))
    value = net.node("Reshape", value, [batch, 2, tokens, tokens])
    own = net.node("Reshape", parts[2], [batch, 2, tokens, CHANNELS // 2])
    value = net.node("Transpose", net.node("MatMul", value, own), perm=[0, 2, 1, 3])
    value = net.node("Reshape", value, [batch, tokens, CHANNELS])
    value = net.node("Transpose", value, perm=[0, 2, 1])
    value = net.node("Reshape", value, [batch, CHANNELS, rows, columns])
    return net.model(net.convolution(value))


def sequence_first(size: Size) -> onnx.ModelProto:
    """Attention as a framework writes it that puts tokens before the batch."""
    net = Net(size)
    batch, tokens = size.batch, size.rows * size.columns
    value = net.node("Reshape", net.convolution("image", 3), [batch, CHANNELS, tokens])
    value = net.node("Transpose", value, perm=[2, 0, 1])
    heads = net.node("Reshape", value, [tokens, batch * 2, CHANNELS // 2])
    heads = net.node("Transpose", heads, perm=[1, 0, 2])
    keys = net.node("Transpose", heads, perm=[0, 2, 1])
    found = net.node("MatMul", net.node("Softmax", net.node("MatMul", heads, keys)), heads)
    found = net.node("Transpose", found, perm=[1, 0, 2])
    found = net.node("Reshape", found, [tokens * batch, CHANNELS])
    found = net.node("MatMul", found, net.weight("out", CHANNELS, CHANNELS))
    found = net.node("Reshape", found, [tokens, batch, CHANNELS])
    return net.model(net.node("Add", value, found))


def shuffle(size: Size) -> onnx.ModelProto:
    """Channels shuffled between convolutions."""
    net = Net(size)
    extents = [size.rows, size.columns]
    value = net.convolution("image", 3)
    value = net.node("Reshape", value, [size.batch, 2, CHANNELS // 2, *extents])
    value = net.node("Transpose", value, perm=[0, 2, 1, 3, 4])
    value = net.node("Reshape", value, [size.batch, CHANNELS, *extents])
    return net.model(net.convolution(value))


def classifier(size: Size) -> onnx.ModelProto:
    """A gate of pooled channels, global pooling, a flattened map, a matrix product."""
    net = Net(size)
    value = net.convolution("image", 3)
    gate = net.node("Reshape", net.node("GlobalAveragePool", value), [size.batch, CHANNELS])
    gate = net.node("Reshape", net.node("Sigmoid", gate), [size.batch, CHANNELS, 1, 1])
    value = net.node("ReduceMean", net.node("Mul", value, gate), [2, 3])
    value = net.node("Reshape", value, [size.batch, CHANNELS])
    return net.model(net.node("Gemm", value, net.weight("dense", CHANNELS, 5)))


def windows(size: Size) -> onnx.ModelProto:
    """A rolled map cut into windows, mixed inside each, put together and rolled back."""
    net = Net(size)
    batch, rows, columns = size.batch, size.rows, size.columns
    down, across = rows // WINDOW, columns // WINDOW
    value = net.node("Transpose", net.convolution("image", 3), perm=[0, 2, 3, 1])
    for axis, extent in ((1, rows), (2, columns)):
        rest = net.node("Slice", value, [1], [extent], [axis])
        value = net.node("Concat", rest, net.node("Slice", value, [0], [1], [axis]), axis=axis)
    value = net.node("Reshape", value, [batch, down, WINDOW, across, WINDOW, CHANNELS])
    value = net.node("Transpose", value, perm=[0, 1, 3, 2, 4, 5])
    value = net.node("Reshape", value, [batch * down * across, WINDOW**2, CHANNELS])
    keys = net.node("Transpose", value, perm=[0, 2, 1])
    bias = net.weight("bias", 1, WINDOW**2, WINDOW**2)
    scores = net.node("Add", net.node("MatMul", value, keys), bias)
    value = net.node("MatMul", net.node("Softmax", scores), value)
    value = net.node("Reshape", value, [batch, down, across, WINDOW, WINDOW, CHANNELS])
    value = net.node("Transpose", value, perm=[0, 1, 3, 2, 4, 5])
    value = net.node("Reshape", value, [-1, rows, columns, CHANNELS])
    for axis, extent in ((1, rows), (2, columns)):
        last = net.node("Slice", value, [extent - 1], [extent], [axis])
        rest = net.node("Slice", value, [0], [extent - 1], [axis])
        value = net.node("Concat", last, rest, axis=axis)
    return net.model(net.node("Slice", value, [0, 0], [rows, columns], [1, 2]))


def pyramid(size: Size) -> onnx.ModelProto:
    """Two maps joined as tokens, taken apart, scaled to one size; a mean spread over it."""
    net = Net(size)
    batch, rows, columns = size.batch, size.rows, size.columns
    tokens = [rows * columns, rows * columns // 4]
    large = net.convolution("image", 3)
    small = net.convolution(large, stride=2)
    flat = [
        net.node("Reshape", value, [batch, CHANNELS, count])
        for value, count in zip((large, small), tokens, strict=True)
    ]
    joined = net.node("Softmax", net.node("Concat", *flat, axis=2))
    split = net.node("Split", joined, tokens, axis=2, outputs=2)
    large = net.node("Reshape", split, [batch, CHANNELS, rows, columns])
    small = net.node("Reshape", f"{split}.1", [batch, CHANNELS, rows // 2, columns // 2])
    mean = net.node("ReduceMean", small, [2, 3])
    whole = [batch, CHANNELS, rows, columns]
    scaled = net.node("Resize", small, "", "", whole, mode="nearest")
    spread = net.node("Resize", mean, "", "", whole, mode="nearest")
    tiled = net.node("Tile", mean, [1, 1, rows, columns])
    filled = net.node("Expand", mean, whole)
    scales = net.constant("scales", np.array([1, 1, rows, columns], np.float32))
    grown = net.node("Resize", mean, "", scales, mode="nearest")
    halves = net.node("Split", large, [columns // 2] * 2, axis=3, outputs=2)
    turned = net.node("Concat", f"{halves}.1", halves, axis=3)
    return net.model(
        net.node("Concat", large, scaled, spread, tiled, filled, grown, turned, axis=1)
    )


def class_token(size: Size) -> onnx.ModelProto:
    """A token of its own before those of the image, and taken off again."""
    net = Net(size)
    batch, tokens = size.batch, size.rows * size.columns
    value = net.node("Reshape", net.convolution("image", 3), [batch, CHANNELS, tokens])
    value = net.node("Transpose", value, perm=[0, 2, 1])
    token = net.constant("token", np.repeat(random("token", 1, 1, CHANNELS), batch, axis=0))
    value = net.node("Softmax", net.node("Concat", token, value, axis=1), axis=1)
    first = net.node("Gather", value, net.constant("zero", np.array(0, np.int64)), axis=1)
    rest = net.node("Slice", value, [1], [tokens + 1], [1])
    rest = net.node("Transpose", rest, perm=[0, 2, 1])
    rest = net.node("Reshape", rest, [batch, CHANNELS, size.rows, size.columns])
    return net.model(first, net.convolution(rest))


def picked(size: Size) -> onnx.ModelProto:
    """Pooled features flattened with the batch and picked by their places, as strides do."""
    net = Net(size)
    value = net.convolution("image", 3)
    flat = net.node("Reshape", net.node("GlobalAveragePool", value), [-1])
    places = np.arange(size.batch * CHANNELS).reshape(size.batch, CHANNELS, 1, 1)
    found = net.node("Gather", flat, net.constant("places", places.astype(np.int64)))
    return net.model(net.node("Mul", value, found))


def flattened(size: Size) -> onnx.ModelProto:
    """A whole map as the input of a matrix product."""
    net = Net(size)
    elements = CHANNELS * size.rows * size.columns
    value = net.node("Reshape", net.convolution("image", 3), [size.batch, elements])
    return net.model(net.node("Gemm", value, net.weight("dense", 5, elements), transB=1))


def upsampled(size: Size) -> onnx.ModelProto:
    """A transposed convolution that states its output."""
    net = Net(size)
    value = net.convolution("image", 3, stride=2)
    shape = [size.rows, size.columns]
    weight = net.weight("up", CHANNELS, 2, 3, 3)
    return net.model(net.node("ConvTranspose", value, weight, strides=[2, 2], output_shape=shape))


def recurrent(size: Size) -> onnx.ModelProto:
    """Two recurrences over a sequence, with a first state that is not zero."""
    net = Net(size, (size.batch, 12, CHANNELS))
    states = [
        net.constant(name, np.repeat(random(name, 2, 1, CHANNELS), size.batch, axis=1))
        for name in ("hidden", "cell")
    ]
    value = net.node("Transpose", "image", perm=[1, 0, 2])
    for layer, width in enumerate((CHANNELS, 2 * CHANNELS)):
        own = net.weight(f"own{layer}", 2, 4 * CHANNELS, width)
        back = net.weight(f"back{layer}", 2, 4 * CHANNELS, CHANNELS)
        value = net.node(
            *("LSTM", value, own, back, "", "", *states),
            direction="bidirectional",
            hidden_size=CHANNELS,
        )
        value = net.node("Transpose", value, perm=[0, 2, 1, 3])
        value = net.node("Reshape", value, [12, size.batch, 2 * CHANNELS])
    return net.model(net.node("Transpose", value, perm=[1, 0, 2]))


FOLLOWING: tuple[Callable[[Size], onnx.ModelProto], ...] = (
    attention,
    class_token,
    classifier,
    picked,
    pyramid,
    sequence_first,
    shuffle,
    windows,
)
