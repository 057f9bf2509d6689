"""Matrix products: of a map and a constant matrix, of two maps, of several arrays."""

from __future__ import annotations

from math import prod

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.arrangement import CHANNEL, Factor
from dataflow_sim.graph.layer import LayerKind, Window
from dataflow_sim.graph.region import Shape4
from dataflow_sim.graph.sweep import SweepKind
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.drafts import Draft, Value
from dataflow_sim.ingest.layers.meanings import inputs_of
from dataflow_sim.ingest.layers.sweeps import Role, Waiting, roles_of, swept
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.operators.convolutions import optional_input
from dataflow_sim.ingest.operators.counts import (
    EINSUM,
    PRODUCT,
)
from dataflow_sim.ingest.operators.row import Merges, Operator, streamed


def _matrix_product(builder: GraphBuilder, node: Node) -> None:
    """By a constant matrix a convolution; of two maps rows of one against columns of the other."""
    left, right = node.inputs[:2]
    weights = builder.network.shapes[right]
    if not (builder.is_constant(right) and len(weights) == 2 and left in builder.values):
        _product_of_maps(builder, node)
        return
    _linear(builder, node, transposed=False, bias="")


_LEFT = {"B": -4, "G": -3, "P": -2}
_RIGHT = {"B": -4, "G": -3, "N": -1}
_RESULT = {**_LEFT, "N": -1}


def _product_of_maps(builder: GraphBuilder, node: Node) -> None:
    """Rows of the left factor against columns of the right one, which is as long as needed."""
    macs = PRODUCT.count(node, builder.network.shapes)
    left, right = (builder.streamed_values(name) for name in node.inputs[:2])
    result = builder.usual(node.outputs[0])
    single = len(left) == len(right) == 1 and min(map(len, _ranks(builder, node))) > 1
    if not single or node.inputs[0] == node.inputs[1]:
        builder.stream(node, macs=macs, data=2)
        return
    views = [value.view for value in (*left, *right)]
    roles = (*roles_of(left, _LEFT), *roles_of(right, _RIGHT))
    sweep = swept(roles, [Role(*result, _RESULT)], Waiting(SweepKind.PRODUCT))
    draft = builder.stream_views(node, views, macs, result, sweep)
    read = list(enumerate((*left, *right)))
    inputs = inputs_of(builder.network, node, read)
    draft.meaning = builder.meaning(node, node.op, inputs) if inputs is not None else None


def _ranks(builder: GraphBuilder, node: Node) -> list[tuple[int, ...]]:
    """Shapes of both factors."""
    return [builder.network.shapes[name] for name in node.inputs[:2]]


def _gemm(builder: GraphBuilder, node: Node) -> None:
    bias = optional_input(node, 2)
    constant = builder.is_constant(node.inputs[1]) and _is_bias(builder, node)
    if not constant or node.attributes.get("transA") or node.inputs[0] not in builder.values:
        builder.stream(node, macs=PRODUCT.count(node, builder.network.shapes))
        return
    _linear(builder, node, transposed=bool(node.attributes.get("transB", 0)), bias=bias)


def _is_bias(builder: GraphBuilder, node: Node) -> bool:
    """Whether a Gemm's third input is left out or one constant value per output."""
    bias = optional_input(node, 2)
    if not bias:
        return True
    if not builder.is_constant(bias):
        return False
    outputs = builder.shape(node.outputs[0])[-1]
    shape = builder.constant_shape(bias)
    return bool(shape) and shape[-1] == outputs == prod(shape)


def _linear(builder: GraphBuilder, node: Node, *, transposed: bool, bias: str) -> None:
    """A map times a constant matrix: a convolution whose kernel is a pixel, or the plane."""
    name = node.inputs[0]
    inputs, outputs = builder.shape(name)[-1], builder.shape(node.outputs[0])[-1]
    matrix = builder.constant_shape(node.inputs[1])
    if matrix != ((outputs, inputs) if transposed else (inputs, outputs)):
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' ({node.op}) has weights {matrix} between "
            f"{inputs} inputs and {outputs} outputs"
        )
    value = builder.value(name)
    if not (value.channels_last or value.flattened):
        value = builder.rearrange(name, len(value.shape) - 1)
    shape, window = _result(value, outputs)
    last = (Factor(CHANNEL, outputs, 1),)
    keys = ("alpha", "beta")
    draft = Draft(
        name=node.name,
        op=node.op,
        kind=LayerKind.CONVOLUTION,
        input=value.view,
        body_shape=shape,
        end=node.outputs[0],
        window=window,
        pre=value.pre,
        weight_constant=node.inputs[1],
        weight_transposed=not transposed,
        bias_constant=bias or None,
        attributes=tuple((k, node.attributes[k]) for k in keys if k in node.attributes),
    )
    builder.learn(node.inputs[1])
    if bias:
        builder.learn(bias)
    builder.add(draft, value.axes.with_axis(len(value.shape) - 1, last))


def _result(value: Value, outputs: int) -> tuple[Shape4, Window]:
    n, _, h, w = value.view.shape
    if value.channels_last:
        return (n, outputs, h, w), Window()
    return (n, outputs, 1, 1), Window(kernel=(h, w))


ROWS = (
    Operator(
        "Gemm",
        "convolution",
        _gemm,
        PRODUCT,
        "input; weights as tiling allows",
        Merges.BY_ROWS,
    ),
    Operator(
        "MatMul",
        "convolution",
        _matrix_product,
        PRODUCT,
        "input; weights, or a second map, as tiling allows",
        Merges.BY_ROWS,
    ),
    Operator(
        "MatMulInteger",
        "product of integers",
        _product_of_maps,
        PRODUCT,
        "one factor once, the other as tiling allows",
        data=2,
    ),
    streamed("Einsum", "tensor product", EINSUM),
)
