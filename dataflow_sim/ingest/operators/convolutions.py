"""Convolutions: of one to three spatial axes convolution layers, all others streamed."""

from __future__ import annotations

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.arrangement import arranged
from dataflow_sim.graph.layer import LayerKind, Window
from dataflow_sim.graph.region import Shape4
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.drafts import Draft, Shape
from dataflow_sim.ingest.layers.windows import int_attribute, node_window, volume_window
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.operators.counts import CONVOLUTION
from dataflow_sim.ingest.operators.row import Merges, Operator, streamed


def optional_input(node: Node, place: int) -> str:
    """The name of an optional input, or "" where it is left out."""
    return node.inputs[place] if len(node.inputs) > place else ""


def map_shape(shape: Shape) -> Shape4:
    """A shape of up to four axes as (batch, channel, row, column)."""
    n, c, h, w = (*shape, 1, 1, 1, 1)[:4]
    return (n, c, h, w)


def _convolution(builder: GraphBuilder, node: Node) -> None:
    rank = len(builder.shape(node.inputs[0]))
    bias = optional_input(node, 2)
    constant = builder.is_constant(node.inputs[1]) and (not bias or builder.is_constant(bias))
    if not constant or rank not in (3, 4, 5):
        _check_groups(builder, node, builder.shape(node.inputs[1]))
        macs = CONVOLUTION.count(node, builder.network.shapes)
        builder.stream(node, macs=macs, vectors=(2,))
        return
    kernel = builder.constant_shape(node.inputs[1])
    _check_groups(builder, node, kernel)
    if bias and builder.constant_shape(bias) != (kernel[0],):
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' (Conv) has a bias of shape "
            f"{builder.constant_shape(bias)} for {kernel[0]} output channels"
        )
    if rank == 5:
        window = volume_window(builder, node, kernel[2:])
    else:
        window, _ = node_window(builder, node, kernel[2:])
    add_convolution(builder, node, window)


def add_convolution(builder: GraphBuilder, node: Node, window: Window) -> None:
    """The layer of a convolution, transposed or not, whose kernel and bias are constants."""
    bias = optional_input(node, 2)
    value = builder.planes(node.inputs[0])
    shape, axes = arranged(builder.shape(node.outputs[0]), 1)
    draft = Draft(
        name=node.name,
        op=node.op,
        kind=LayerKind.CONVOLUTION,
        input=value.view,
        body_shape=shape,
        end=node.outputs[0],
        groups=int_attribute(builder, node, "group", 1),
        window=window,
        pre=value.pre,
        weight_constant=node.inputs[1],
        bias_constant=bias or None,
    )
    builder.learn(node.inputs[1])
    if bias:
        builder.learn(bias)
    builder.add(draft, axes)


def _check_groups(builder: GraphBuilder, node: Node, kernel: Shape) -> None:
    shape = builder.shape(node.inputs[0])
    if len(kernel) != len(shape) or min(kernel) < 1:
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' (Conv) has weights {kernel} on an input "
            f"of shape {shape}; they must have {len(shape)} extents from 1 up"
        )
    groups = int_attribute(builder, node, "group", 1)
    channels = shape[1]
    if groups < 1 or kernel[1] * groups != channels or kernel[0] % groups:
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' (Conv) has weights {kernel} in {groups} "
            f"groups on {channels} input channels; input channels must be {kernel[1] * groups}"
        )


ROWS = (
    Operator(
        "Conv",
        "convolution",
        _convolution,
        CONVOLUTION,
        "input with halo; computed kernel: every input once",
        Merges.BY_ROWS,
    ),
    streamed("DeformConv", "deformable convolution", CONVOLUTION, vectors=(3,)),
    streamed("ConvInteger", "convolution of integers", CONVOLUTION, data=2),
)
