"""Small networks whose maps the file sees in other shapes than they lie in; quick to replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Nodes = Sequence[onnx.NodeProto]


def _model(
    name: str,
    shape: Sequence[int],
    nodes: Nodes,
    weights: Mapping[str, Sequence[int]],
    steering: Mapping[str, Sequence[int] | int],
) -> onnx.ModelProto:
    """A model on input x; weights are external, `steering` are lists of integers."""
    initialisers = []
    for key, dims in weights.items():
        tensor = TensorProto(name=key, data_type=TensorProto.FLOAT, dims=dims)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="absent.bin")
        initialisers.append(tensor)
    for key, values in steering.items():
        initialisers.append(numpy_helper.from_array(np.array(values, np.int64), key))
    graph = helper.make_graph(
        list(nodes),
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        initialisers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=8)


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """A node named like its output; inputs are separated by spaces."""
    return helper.make_node(op, inputs.split(), [output], name=output, **attributes)


def mixer() -> onnx.ModelProto:
    """Patches to tokens, a position table, layer norm, two linear layers, mean over tokens."""
    return _model(
        "mixer",
        (1, 3, 12, 16),
        [
            node("Conv", "x patch patch_b", "conv", strides=[4, 4], kernel_shape=[4, 4]),
            node("Reshape", "conv tokens", "flat"),
            node("Transpose", "flat", "rows", perm=[0, 2, 1]),
            node("Add", "rows table", "placed"),
            node("LayerNormalization", "placed scale shift", "norm", axis=-1),
            node("MatMul", "norm up", "wide"),
            node("Add", "wide up_b", "wide_b"),
            node("Gelu", "wide_b", "gelu"),
            node("MatMul", "gelu down", "narrow"),
            node("Add", "placed narrow", "sum"),
            node("ReduceMean", "sum one", "mean", keepdims=0),
            node("Gemm", "mean head head_b", "y", transB=1),
        ],
        {
            "patch": (8, 3, 4, 4),
            "patch_b": (8,),
            "table": (1, 12, 8),
            "scale": (8,),
            "shift": (8,),
            "up": (8, 20),
            "up_b": (20,),
            "down": (20, 8),
            "head": (5, 8),
            "head_b": (5,),
        },
        {"tokens": (1, 8, 12), "one": (1,)},
    )


def channels_last() -> onnx.ModelProto:
    """An NHWC input and output around convolutions, with a bias and a norm in between."""
    return _model(
        "channels_last",
        (2, 9, 7, 3),
        [
            node("Transpose", "x", "planes", perm=[0, 3, 1, 2]),
            node("Conv", "planes k", "a", pads=[1, 1, 1, 1]),
            node("Transpose", "a", "last", perm=[0, 2, 3, 1]),
            node("Add", "last bias", "biased"),
            node("RMSNormalization", "biased scale", "norm"),
            node("MatMul", "norm w", "product"),
            node("Transpose", "product", "again", perm=[0, 3, 1, 2]),
            node("MaxPool", "again", "pooled", kernel_shape=[3, 3], strides=[2, 2]),
            node("Transpose", "pooled", "y", perm=[0, 2, 3, 1]),
        ],
        {"k": (6, 3, 3, 3), "bias": (6,), "scale": (6,), "w": (6, 4)},
        {},
    )


def packed() -> onnx.ModelProto:
    """Three projections in one product, told apart by slices of a transposed reshape."""
    return _model(
        "packed",
        (1, 10, 6),
        [
            node("MatMul", "x w", "qkv"),
            node("Reshape", "qkv five", "split"),
            node("Transpose", "split", "first", perm=[2, 0, 3, 1, 4]),
            node("Gather", "first at0", "q", axis=0),
            node("Gather", "first at1", "k", axis=0),
            node("Gather", "first at2", "v", axis=0),
            node("Sigmoid", "k", "gate"),
            node("Mul", "q gate", "gated"),
            node("Add", "gated v", "mixed"),
            node("Transpose", "mixed", "rows", perm=[0, 2, 1, 3]),
            node("Reshape", "rows three", "joined"),
            node("MatMul", "joined out", "y"),
        ],
        {"w": (6, 24), "out": (8, 5)},
        {"five": (1, 10, 3, 2, 4), "three": (1, 10, 8), "at0": 0, "at1": 1, "at2": 2},
    )


def cropped() -> onnx.ModelProto:
    """Crops of rows, of columns with a step, and of a token."""
    return _model(
        "cropped",
        (1, 4, 11, 9),
        [
            node("Slice", "x two nine rows", "rows_cut"),
            node("Slice", "rows_cut one eight columns two", "columns_cut"),
            node("Conv", "columns_cut k", "a", pads=[1, 1, 1, 1]),
            node("Reshape", "a tokens", "flat"),
            node("Transpose", "flat", "last", perm=[0, 2, 1]),
            node("MatMul", "last w", "product"),
            node("Softmax", "product", "y", axis=-1),
        ],
        {"k": (6, 4, 3, 3), "w": (6, 5)},
        {
            "two": (2,),
            "nine": (9,),
            "rows": (2,),
            "one": (1,),
            "eight": (8,),
            "columns": (3,),
            "tokens": (1, 6, -1),
        },
    )


def reduced() -> onnx.ModelProto:
    """Sums and maxima over the channels of each pixel, as an operand of what follows."""
    return _model(
        "reduced",
        (1, 5, 6, 8),
        [
            node("Conv", "x k", "a", pads=[1, 1, 1, 1]),
            node("ReduceMax", "a one", "most", keepdims=1),
            node("Conv", "most m", "spread"),
            node("Mul", "a spread", "y"),
        ],
        {"k": (4, 5, 3, 3), "m": (4, 1, 1, 1)},
        {"one": (1,)},
    )


TOKENS: dict[str, Callable[[], onnx.ModelProto]] = {
    build.__name__: build for build in (mixer, channels_last, packed, cropped, reduced)
}
