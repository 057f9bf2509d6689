"""Chains of small convolutions with the names that a test asks for."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

# names as nobody should give them: markup, quotes, formulas, controls, scripts, very long ones
HOSTILE = (
    "<script>window.hit = 1</script>",
    "</script><script>window.hit = 2</script>",
    '"><img src=x onerror="window.hit=3">',
    "<b onmouseover=window.hit=4>bold</b>",
    "${window.hit = 5}",
    "$\\frac{1}{0}$ & co; --> ]]>",
    "line\nbreak\tand\x1bescape",
    "名前/слой/اسم",
    "long" * 60,
    "javascript:window.hit=6",
)


def chain(names: Sequence[str], channels: int = 4, side: int = 8) -> onnx.ModelProto:
    """3 x 3 convolutions, one behind the other, a layer for each name."""
    nodes, weights, before = [], [], "input"
    shape = [channels, channels, 3, 3]
    for number, name in enumerate(names):
        kernel, after = f"w{number}", f"map of {name}"
        nodes.append(
            helper.make_node("Conv", [before, kernel], [after], name=name, pads=[1, 1, 1, 1])
        )
        weights.append(
            helper.make_tensor(kernel, TensorProto.FLOAT, shape, [0.5] * (9 * channels**2))
        )
        before = after
    extent = [1, channels, side, side]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, extent)],
        [helper.make_tensor_value_info(before, TensorProto.FLOAT, extent)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
