"""Normalisations and softmax: pixel by pixel where they run over the channels."""

from __future__ import annotations

from math import prod

from dataflow_sim.graph.layer import LayerKind
from dataflow_sim.graph.pointwise import (
    Arg,
    ConstantArg,
    InputArg,
    PointProgram,
    PointStep,
    StepArg,
)
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.drafts import Draft, Value
from dataflow_sim.ingest.layers.reductions import over_channels
from dataflow_sim.ingest.layers.twice import sweep_twice
from dataflow_sim.ingest.layers.windows import int_attribute, ints
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.operators.convolutions import optional_input
from dataflow_sim.ingest.operators.row import Merges, Operator

_KEYS = ("alpha", "beta", "bias", "size", "epsilon")


def _pixelwise(
    builder: GraphBuilder, node: Node, value: Value, post: PointProgram | None = None
) -> None:
    draft = Draft(
        name=node.name,
        op=node.op,
        kind=LayerKind.PIXELWISE,
        input=value.view,
        body_shape=value.view.shape,
        end=node.outputs[0],
        pre=value.pre,
        post=post or PointProgram(),
        attributes=tuple((k, node.attributes[k]) for k in _KEYS if k in node.attributes),
    )
    builder.add(draft, value.axes)


def _softmax(builder: GraphBuilder, node: Node) -> None:
    """Before opset 13 softmax takes all axes from its own on, then that axis alone."""
    value = builder.value(node.inputs[0])
    rank = len(value.shape)
    flattens = builder.network.opset < 13
    axis = int_attribute(builder, node, "axis", 1 if flattens else -1) % max(rank, 1)
    axes = tuple(range(axis, rank)) if flattens else (axis,)
    if over_channels(value, axes):
        _pixelwise(builder, node, value)
    else:
        sweep_twice(builder, node, builder.stream(node), axes)


def _hardmax(builder: GraphBuilder, node: Node) -> None:
    """Like softmax over these axes: the largest first, then the results."""
    rank = len(builder.shape(node.inputs[0]))
    flattens = builder.network.opset < 13
    axis = int_attribute(builder, node, "axis", 1 if flattens else -1) % max(rank, 1)
    axes = tuple(range(axis, rank)) if flattens else (axis,)
    sweep_twice(builder, node, builder.stream(node), axes)


def _lp_norm(builder: GraphBuilder, node: Node) -> None:
    """The norm along an axis first, then what is divided by it."""
    axis = int_attribute(builder, node, "axis", -1) % max(len(builder.shape(node.inputs[0])), 1)
    sweep_twice(builder, node, builder.stream(node), (axis,))


def _mean_variance(builder: GraphBuilder, node: Node) -> None:
    """Over the batch and the plane of each channel, unless the node names other axes."""
    rank = len(builder.shape(node.inputs[0]))
    axes = ints(node.attributes.get("axes"), (0, 2, 3))
    sweep_twice(builder, node, builder.stream(node), sorted({axis % rank for axis in axes}))


def _over_space(builder: GraphBuilder, node: Node) -> None:
    """Over the plane of each channel, or of each group of channels."""
    layer = builder.stream(node, vectors=(1, 2))
    shape = builder.shape(node.inputs[0])
    if node.op == "InstanceNormalization":
        sweep_twice(builder, node, layer, range(2, len(shape)))
        return
    groups = int_attribute(builder, node, "num_groups", 1)
    if len(shape) > 1 and groups > 0 and shape[1] % groups == 0:
        sweep_twice(builder, node, layer, (), groups)


def _local_response(builder: GraphBuilder, node: Node) -> None:
    if len(builder.shape(node.inputs[0])) == 4:
        _pixelwise(builder, node, builder.planes(node.inputs[0]))
    else:
        builder.stream(node)


def _layer_norm(builder: GraphBuilder, node: Node) -> None:
    """Over the channels of each pixel, then scale and shift by channel."""
    value = builder.value(node.inputs[0])
    rank = len(value.shape)
    axis = int_attribute(builder, node, "axis", -1) % max(rank, 1)
    constants = [optional_input(node, place) for place in (1, 2)]
    channels = value.view.shape[1]
    legal = all(
        not name
        or (builder.is_constant(name) and prod(builder.constant_shape(name)) in (1, channels))
        for name in constants
    )
    single = builder.read_outputs(node) == node.outputs[:1]
    if not single or not legal or not over_channels(value, tuple(range(axis, rank))):
        sweep_twice(builder, node, builder.stream(node, vectors=(1, 2)), range(axis, rank))
        return
    steps: list[PointStep] = []
    for name, op in zip(constants, ("Mul", "Add"), strict=True):
        if name:
            entry: Arg = StepArg(len(steps) - 1) if steps else InputArg()
            steps.append(PointStep(op, (entry, ConstantArg(name))))
            builder.learn(name)
    _pixelwise(builder, node, value, PointProgram(tuple(steps)))


_AGAIN = "input once where what is normalised together fits, else twice"

ROWS = (
    Operator("Softmax", "normalisation", _softmax, merges=Merges.BY_ROWS, in_place=True),
    Operator("LogSoftmax", "normalisation", _softmax, merges=Merges.BY_ROWS, in_place=True),
    Operator("LRN", "normalisation", _local_response, merges=Merges.BY_ROWS),
    Operator("LayerNormalization", "normalisation", _layer_norm, merges=Merges.BY_ROWS),
    Operator("RMSNormalization", "normalisation", _layer_norm, merges=Merges.BY_ROWS),
    Operator("InstanceNormalization", "normalisation", _over_space, reads=_AGAIN, vectors=(1, 2)),
    Operator("GroupNormalization", "normalisation", _over_space, reads=_AGAIN, vectors=(1, 2)),
    Operator("MeanVarianceNormalization", "normalisation", _mean_variance, reads=_AGAIN),
    Operator("LpNormalization", "normalisation", _lp_norm, reads=_AGAIN),
    Operator("Hardmax", "normalisation", _hardmax, reads=_AGAIN),
)
