"""Networks written by hand, line by line, for what-ifs of channels and blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def convolution(value: str, kernel: str, result: str, size: int = 3, groups: int = 1) -> str:
    """A convolution that keeps the plane, as words: see `by_hand`."""
    return f"Conv {value},{kernel} {result} {size} {groups}"


def by_hand(kernels: dict[str, tuple[int, ...]], lines: Sequence[str]) -> onnx.ModelProto:
    """A network of 3 x 8 x 8 numbers: a line is an operator, what it reads, what it makes, and of
    a convolution its size and groups.  Its output is `y`."""
    nodes = []
    for line in lines:
        op, reads, result, *rest = line.split(" ")
        node = helper.make_node(op, reads.split(","), [result], name=result)
        if op == "Conv":
            size, groups = map(int, rest)
            node.attribute.append(helper.make_attribute("pads", [size // 2] * 4))
            node.attribute.append(helper.make_attribute("group", groups))
        elif op == "Concat":
            node.attribute.append(helper.make_attribute("axis", 1))
        nodes.append(node)
    rng = np.random.default_rng(1)
    initializers = [
        numpy_helper.from_array(rng.uniform(0.5, 1, shape).astype(np.float32), name)
        for name, shape in kernels.items()
    ]
    made = kernels["last"][0]
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, made, 8, 8])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


SHARED = by_hand(
    {"first": (8, 3, 3, 3), "shared": (8, 8, 3, 3), "last": (5, 8, 1, 1)},
    [
        convolution("x", "first", "a"),
        convolution("a", "shared", "b"),
        "Relu b br",
        convolution("br", "shared", "c"),
        convolution("c", "last", "y", 1),
    ],
)
SHARED_WITH_THE_OUTPUT = by_hand(
    {"first": (8, 3, 3, 3), "last": (8, 8, 3, 3)},
    [
        convolution("x", "first", "a"),
        convolution("a", "last", "b"),
        "Relu b br",
        convolution("br", "last", "y"),
    ],
)
NORMALISED_BEFORE = by_hand(
    {
        "first": (8, 3, 1, 1),
        **dict.fromkeys(("scale", "shift", "mean", "variance"), (8,)),
        "second": (8, 8, 3, 3),
        "last": (5, 16, 1, 1),
    },
    [
        convolution("x", "first", "a", 1),
        "BatchNormalization a,scale,shift,mean,variance n",
        "Relu n r",
        convolution("r", "second", "b"),
        "Concat a,b c",
        convolution("c", "last", "y", 1),
    ],
)
NAMED_ALIKE = by_hand(
    {
        "first": (8, 3, 3, 3),
        "second": (8, 8, 3, 3),
        "third": (8, 1, 3, 3),
        "last": (5, 8, 1, 1),
    },
    [
        convolution("x", "first", "a"),
        convolution("a", "second", "b"),
        convolution("b", "third", "b.dw", 3, 8),
        convolution("b.dw", "last", "y", 1),
    ],
)
