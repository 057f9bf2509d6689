"""Normalisations over the last axes, alone or behind a residual sum or an embedding.

They are written in the element type of their input; ONNX Runtime computes the statistics of
16-bit floats in 32 bits.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto

from dataflow_sim.ingest.contrib.fresh import (
    Fresh,
    NoDefinitionError,
    given,
    integer,
    number,
    wanted,
)
from dataflow_sim.ingest.contrib.quantised import Rewrite

_SKIP_EPSILON = 1e-12
_EPSILON = 1e-5


def _axes(fresh: Fresh, x: str, axis: int) -> tuple[int, ...]:
    """All axes from `axis` on."""
    if axis == -1:
        return (-1,)
    rank = fresh.facts.rank(x)
    if rank is None or not -rank <= axis < rank:
        raise NoDefinitionError("the number of axes is unknown")
    return tuple(range(axis % rank, rank))


def layer_norm(
    fresh: Fresh,
    operands: tuple[str, str, str],
    epsilon: float,
    outputs: tuple[str, str, str],
    axis: int = -1,
) -> None:
    """Of x, scale and shift (or ""): what LayerNormalization of opset 17 says.

    `outputs` are the result, the mean and the inverse deviation, "" where nobody asks.
    """
    x, scale, shift = operands
    if fresh.opset >= 17:
        names = [name for name in operands if name]
        results = outputs if outputs[2] else outputs[: 2 if outputs[1] else 1]
        fresh.add_many("LayerNormalization", names, results, axis=axis, epsilon=epsilon)
        return
    axes = _axes(fresh, x, axis)
    mean = fresh.mean(x, axes, to=outputs[1])
    centred = fresh.add("Sub", x, mean)
    square = fresh.add("Pow", centred, fresh.scalar("two", 2.0, x))
    variance = fresh.add("Add", fresh.mean(square, axes), fresh.scalar("epsilon", epsilon, x))
    deviation = fresh.add("Sqrt", variance)
    if outputs[2]:
        fresh.add("Reciprocal", deviation, to=outputs[2])
    y = fresh.add("Div", centred, deviation)
    y = fresh.add("Mul", y, scale, to="" if shift else outputs[0])
    if shift:
        fresh.add("Add", y, shift, to=outputs[0])


def root_mean_square_norm(
    fresh: Fresh,
    x: str,
    scale: str,
    epsilon: float,
    to: str = "",
    inverse: str = "",
    axis: int = -1,
) -> str:
    """The product of x, the inverse root of its mean square, and a scale; returns its name."""
    axes = _axes(fresh, x, axis)
    square = fresh.add("Pow", x, fresh.scalar("two", 2.0, x))
    mean = fresh.add("Add", fresh.mean(square, axes), fresh.scalar("epsilon", epsilon, x))
    inverse = fresh.add("Reciprocal", fresh.add("Sqrt", mean), to=inverse)
    return fresh.add("Mul", fresh.add("Mul", x, inverse), scale, to=to)


def _layer_norm(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of X, Scale, B, as exporters wrote it before opset 17."""
    operands = (given(node, 0), given(node, 1), given(node, 2))
    outputs = (node.output[0], wanted(node, 1), wanted(node, 2))
    axis = integer(node, "axis", -1)
    layer_norm(fresh, operands, number(node, "epsilon", _EPSILON), outputs, axis)


def _simplified(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of X and scale, and the inverse deviation as second output."""
    root_mean_square_norm(
        fresh,
        given(node, 0),
        given(node, 1),
        number(node, "epsilon", _EPSILON),
        node.output[0],
        wanted(node, 1),
        integer(node, "axis", -1),
    )


def _sum(node: onnx.NodeProto, fresh: Fresh, bias: str) -> str:
    """The residual sum, under the name of the fourth output where somebody asks for it."""
    end = wanted(node, 3)
    total = fresh.add("Add", given(node, 0), given(node, 1), to="" if bias else end)
    return fresh.add("Add", total, bias, to=end) if bias else total


def _skip(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of input, skip, gamma, beta, bias."""
    total = _sum(node, fresh, given(node, 4))
    operands = (total, given(node, 2), given(node, 3))
    outputs = (node.output[0], wanted(node, 1), wanted(node, 2))
    layer_norm(fresh, operands, number(node, "epsilon", _SKIP_EPSILON), outputs)


def _skip_simplified(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of input, skip, gamma, bias."""
    if wanted(node, 1):
        raise NoDefinitionError("a mean that the operator does not compute")
    total = _sum(node, fresh, given(node, 3))
    root_mean_square_norm(
        fresh,
        total,
        given(node, 2),
        number(node, "epsilon", _SKIP_EPSILON),
        node.output[0],
        wanted(node, 2),
    )


def _count_of_words(node: onnx.NodeProto, fresh: Fresh, to: str) -> None:
    """How many elements of each row of the mask are 1; zeros where there is no mask."""
    mask = given(node, 7)
    if not mask:
        batch = fresh.extents(node.input[0], 0)
        zero = onnx.helper.make_tensor("zero", TensorProto.INT32, [1], [0])
        fresh.add("ConstantOfShape", batch, to=to, value=zero)
        return
    ones = fresh.add("Equal", mask, fresh.scalar("one", 1, mask))
    counted = fresh.cast(ones, TensorProto.INT32)
    fresh.add("ReduceSum", counted, fresh.constant("axes", [1]), keepdims=0, to=to)


def _embedding(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of input_ids, segment_ids, three tables, gamma, beta, mask, position_ids.

    Without position_ids the positions are those of the words in the sequence.
    """
    ids, segments, words, positions, segment_table, gamma, beta = (given(node, i) for i in range(7))
    rows = given(node, 8)
    if wanted(node, 1):
        _count_of_words(node, fresh, wanted(node, 1))
    if rows:
        place = fresh.add("Gather", positions, rows, axis=0)
    else:
        bounds = (fresh.constant("start", [0]), fresh.extents(ids, 1), fresh.constant("axis", [0]))
        place = fresh.add("Slice", positions, *bounds)
    parts = [fresh.add("Gather", words, ids, axis=0), place]
    if segments and segment_table:
        parts.append(fresh.add("Gather", segment_table, segments, axis=0))
    total = parts[0]
    for left, part in zip(range(len(parts) - 2, -1, -1), parts[1:], strict=True):
        total = fresh.add("Add", total, part, to="" if left else wanted(node, 2))
    epsilon = number(node, "epsilon", _SKIP_EPSILON)
    layer_norm(fresh, (total, gamma, beta), epsilon, (node.output[0], "", ""))


NORMALISATIONS: dict[str, Rewrite] = {
    "LayerNormalization": _layer_norm,
    "SimplifiedLayerNormalization": _simplified,
    "SkipLayerNormalization": _skip,
    "SkipSimplifiedLayerNormalization": _skip_simplified,
    "EmbedLayerNormalization": _embedding,
}
