"""One row per operator: how an ONNX node becomes a layer, or folds into one.

A rule receives the builder and the node.  What no row covers is charged as elementwise
reads and writes and named in one warning (`GraphBuilder.opaque`).  Elementwise operators
have no row of their own: they are gathered before (`ingest.pointwise`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.layer import LayerKind, Pooling, View, Window
from dataflow_sim.ingest.builder import GraphBuilder, spatial_mean
from dataflow_sim.ingest.drafts import Draft, Value, canonical
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.views import concat, reshape, slice_, split, transpose
from dataflow_sim.ingest.windows import int_attribute, ints, node_window

Rule = Callable[[GraphBuilder, Node], None]


def _convolution(builder: GraphBuilder, node: Node) -> None:
    value = builder.value(node.inputs[0])
    rank = len(value.shape)
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    constant = builder.is_constant(node.inputs[1]) and (not bias or builder.is_constant(bias))
    if not constant or rank not in (3, 4) or not value.exact:
        builder.opaque(node)
        return
    kernel = builder.network.constants[node.inputs[1]].shape
    if len(kernel) != rank or min(kernel) < 1:
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' (Conv) has weights {kernel} on an input "
            f"of shape {value.shape}; they must have {rank} extents from 1 up"
        )
    groups = int_attribute(builder, node, "group", 1)
    channels = value.view.shape[1]
    if groups < 1 or kernel[1] * groups != channels or kernel[0] % groups:
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' (Conv) has weights {kernel} in {groups} "
            f"groups on {channels} input channels; input channels must be {kernel[1] * groups}"
        )
    if bias and builder.network.constants[bias].shape != (kernel[0],):
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' (Conv) has a bias of shape "
            f"{builder.network.constants[bias].shape} for {kernel[0]} output channels"
        )
    window, _ = node_window(builder, node, kernel[2:])
    shape = builder.network.shapes[node.outputs[0]]
    draft = Draft(
        name=node.name,
        op=node.op,
        kind=LayerKind.CONVOLUTION,
        input=value.view,
        body_shape=canonical(shape),
        end=node.outputs[0],
        groups=groups,
        window=window,
        pre=value.pre,
        weight_constant=node.inputs[1],
        bias_constant=_bias(builder, node),
    )
    builder.learn(node.inputs[1])
    builder.add(draft, shape)


def _bias(builder: GraphBuilder, node: Node) -> str | None:
    """The constant bias of a node, counted as learned."""
    if len(node.inputs) < 3 or not node.inputs[2]:
        return None
    builder.learn(node.inputs[2])
    return node.inputs[2]


def _is_bias(builder: GraphBuilder, node: Node) -> bool:
    """Whether a Gemm's third input is left out or one constant value per output."""
    if len(node.inputs) < 3 or not node.inputs[2]:
        return True
    if not builder.is_constant(node.inputs[2]):
        return False
    outputs = builder.network.shapes[node.outputs[0]][-1]
    shape = builder.network.constants[node.inputs[2]].shape
    return bool(shape) and shape[-1] == outputs == prod(shape)


def _fully_connected(builder: GraphBuilder, node: Node) -> None:
    """Gemm or MatMul by a constant matrix: a convolution whose kernel covers the plane."""
    value = builder.value(node.inputs[0])
    constant = builder.is_constant(node.inputs[1])
    constant = constant and len(builder.network.constants[node.inputs[1]].shape) == 2
    bias = _is_bias(builder, node)
    plain = not node.attributes.get("transA") and (value.exact or value.flattened)
    if not (constant and bias and plain and len(value.shape) == 2):
        builder.opaque(node)
        return
    shape = builder.network.shapes[node.outputs[0]]
    transposed = bool(node.attributes.get("transB", 0))
    matrix = builder.network.constants[node.inputs[1]].shape
    expected = (value.shape[1], shape[1])
    if matrix != (expected[::-1] if transposed else expected):
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' ({node.op}) has weights {matrix} between "
            f"{expected[0]} inputs and {expected[1]} outputs"
        )
    keys = ("alpha", "beta")
    draft = Draft(
        name=node.name,
        op=node.op,
        kind=LayerKind.CONVOLUTION,
        input=value.view,
        body_shape=canonical(shape),
        end=node.outputs[0],
        window=Window(kernel=(value.view.shape[2], value.view.shape[3])),
        pre=value.pre,
        weight_constant=node.inputs[1],
        weight_transposed=not transposed,
        bias_constant=_bias(builder, node),
        attributes=tuple((k, node.attributes[k]) for k in keys if k in node.attributes),
    )
    builder.learn(node.inputs[1])
    builder.add(draft, shape)


def _pool(builder: GraphBuilder, node: Node, pooling: Pooling) -> None:
    """Pool in the producing convolution, if only this node reads it; else a layer."""
    name = node.inputs[0]
    value = builder.value(name)
    shape = builder.network.shapes[node.outputs[0]]
    out = (*value.view.shape[:2], *canonical((*value.view.shape[:2], *shape[2:]))[2:])
    producer = builder.draft_of(name)
    if (
        producer is not None
        and producer.kind is LayerKind.CONVOLUTION
        and producer.pool is None
        and not producer.operands
        and builder.alone(name, node)
    ):
        producer.pool = pooling
        producer.output_shape = out
        producer.end = node.outputs[0]
        segment = value.view.segments[0]
        builder.values[node.outputs[0]] = Value(View((segment,), out), shape)
        return
    draft = Draft(
        name=node.name,
        op=node.op,
        kind=LayerKind.CHANNELWISE,
        input=value.view,
        body_shape=value.view.shape,
        output_shape=out,
        end=node.outputs[0],
        groups=out[1],
        pre=value.pre,
        pool=pooling,
    )
    builder.add(draft, shape)


def _window_pool(builder: GraphBuilder, node: Node) -> None:
    value = builder.value(node.inputs[0])
    kernel = ints(node.attributes.get("kernel_shape"), ())
    if not value.exact or len(kernel) not in (1, 2) or len(node.outputs) != 1:
        builder.opaque(node)
        return
    window, pad_end = node_window(builder, node, kernel)
    op = "max" if node.op == "MaxPool" else "average"
    count = bool(node.attributes.get("count_include_pad", 0))
    _pool(builder, node, Pooling(op, window, count, pad_end))


def _global_pool(builder: GraphBuilder, node: Node) -> None:
    value = builder.value(node.inputs[0])
    if (node.op == "ReduceMean" and not spatial_mean(builder, node)) or not value.exact:
        builder.opaque(node)
        return
    kernel = (value.view.shape[2], value.view.shape[3])
    op = "max" if node.op == "GlobalMaxPool" else "average"
    _pool(builder, node, Pooling(op, Window(kernel=kernel, stride=kernel)))


def _pixelwise(builder: GraphBuilder, node: Node) -> None:
    """Softmax over channels and local response normalisation."""
    value = builder.value(node.inputs[0])
    rank = len(value.shape)
    flattens = builder.network.opset < 13  # softmax then takes all axes from its own on
    axis = int_attribute(builder, node, "axis", 1 if flattens else -1) % max(rank, 1)
    plane = value.view.shape[2] * value.view.shape[3]
    over_channels = node.op == "LRN" or (axis == 1 and plane == 1)
    if not value.exact or not over_channels:
        builder.opaque(node, known=node.op == "Softmax")
        return
    keys = ("alpha", "beta", "bias", "size")
    draft = Draft(
        name=node.name,
        op=node.op,
        kind=LayerKind.PIXELWISE,
        input=value.view,
        body_shape=value.view.shape,
        end=node.outputs[0],
        attributes=tuple((k, node.attributes[k]) for k in keys if k in node.attributes),
    )
    builder.add(draft, value.shape)


@dataclass(frozen=True, slots=True)
class Operator:
    """A row of the registry: the operator's name, what it becomes, and the rule."""

    name: str
    becomes: str
    rule: Rule


OPERATORS: Mapping[str, Operator] = {
    row.name: row
    for row in (
        Operator("Conv", "convolution", _convolution),
        Operator("Gemm", "convolution", _fully_connected),
        Operator("MatMul", "convolution", _fully_connected),
        Operator("MaxPool", "pooling", _window_pool),
        Operator("AveragePool", "pooling", _window_pool),
        Operator("GlobalAveragePool", "pooling", _global_pool),
        Operator("GlobalMaxPool", "pooling", _global_pool),
        Operator("ReduceMean", "pooling", _global_pool),
        Operator("Softmax", "normalisation", _pixelwise),
        Operator("LRN", "normalisation", _pixelwise),
        Operator("Concat", "view", concat),
        Operator("Split", "view", split),
        Operator("Slice", "view", slice_),
        Operator("Reshape", "view", reshape),
        Operator("Flatten", "view", reshape),
        Operator("Squeeze", "view", reshape),
        Operator("Unsqueeze", "view", reshape),
        Operator("Identity", "view", reshape),
        Operator("Dropout", "view", reshape),
        Operator("Cast", "view", reshape),
        Operator("Transpose", "data movement", transpose),
    )
}
