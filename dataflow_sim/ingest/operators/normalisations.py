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
from dataflow_sim.ingest.layers.windows import int_attribute
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.operators.convolutions import optional_input
from dataflow_sim.ingest.operators.row import Merges, Operator, streamed

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
        builder.stream(node)


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
        builder.stream(node, vectors=(1, 2))
        return
    steps: list[PointStep] = []
    for name, op in zip(constants, ("Mul", "Add"), strict=True):
        if name:
            entry: Arg = StepArg(len(steps) - 1) if steps else InputArg()
            steps.append(PointStep(op, (entry, ConstantArg(name))))
            builder.learn(name)
    _pixelwise(builder, node, value, PointProgram(tuple(steps)))


ROWS = (
    Operator("Softmax", "normalisation", _softmax, merges=Merges.BY_ROWS, in_place=True),
    Operator("LogSoftmax", "normalisation", _softmax, merges=Merges.BY_ROWS, in_place=True),
    Operator("LRN", "normalisation", _local_response, merges=Merges.BY_ROWS),
    Operator("LayerNormalization", "normalisation", _layer_norm, merges=Merges.BY_ROWS),
    Operator("RMSNormalization", "normalisation", _layer_norm, merges=Merges.BY_ROWS),
    streamed("InstanceNormalization", "normalisation", vectors=(1, 2)),
    streamed("GroupNormalization", "normalisation", vectors=(1, 2)),
    *(
        streamed(name, "normalisation")
        for name in ("MeanVarianceNormalization", "LpNormalization", "Hardmax")
    ),
)
