"""Operators that only rename or rearrange: views where channels can be addressed, else copies."""

from __future__ import annotations

from math import prod

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.layer import LayerKind, Segment, View
from dataflow_sim.ingest.builder import GraphBuilder
from dataflow_sim.ingest.drafts import Draft, Value, canonical
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.windows import int_attribute, ints


def concat(builder: GraphBuilder, node: Node) -> None:
    """Along channels a view; along another axis a copy."""
    values = [builder.value(n) if n in builder.values else None for n in node.inputs]
    shape = builder.network.shapes[node.outputs[0]]
    axis = int_attribute(builder, node, "axis", 0) % len(shape)
    parts = [v for v in values if v is not None and v.exact and not v.pre]
    if len(shape) < 2 or axis != 1 or len(parts) != len(values):
        builder.opaque(node, known=True)
        return
    planes = {(v.view.shape[0], *v.view.shape[2:]) for v in parts}
    if len(planes) > 1 or sum(v.view.shape[1] for v in parts) != shape[1]:
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' (Concat) joins maps of "
            f"{[v.shape for v in parts]} to {shape} along channels"
        )
    segments = tuple(segment for value in parts for segment in value.view.segments)
    builder.values[node.outputs[0]] = Value(View(segments, canonical(shape)), shape)


def _channel_range(view: View, start: int, stop: int) -> View:
    """Channels [start, stop) of a view."""
    segments = []
    position = 0
    for segment in view.segments:
        low, high = max(start - position, 0), min(stop - position, segment.channels)
        if low < high:
            first = segment.channel_start
            segments.append(Segment(segment.tensor, first + low, first + high))
        position += segment.channels
    n, _, h, w = view.shape
    return View(tuple(segments), (n, stop - start, h, w))


def split(builder: GraphBuilder, node: Node) -> None:
    """Along channels views; along another axis copies."""
    value = builder.value(node.inputs[0])
    axis = int_attribute(builder, node, "axis", 0) % len(value.shape)
    if axis != 1 or not value.exact:
        builder.opaque(node, known=True)
        return
    start = 0
    for name in node.outputs:
        shape = builder.network.shapes[name]
        view = _channel_range(value.view, start, start + shape[1])
        builder.values[name] = Value(view, shape)
        start += shape[1]


def _slice_bounds(builder: GraphBuilder, node: Node, rank: int) -> list[tuple[int, int]] | None:
    """(start, step) along each axis of a Slice with constant bounds."""

    def numbers(position: int, name: str) -> list[int] | None:
        if name in node.attributes:
            return list(ints(node.attributes[name], ()))
        given = position < len(node.inputs) and node.inputs[position]
        constant = builder.network.constants.get(node.inputs[position]) if given else None
        if constant is None or constant.value is None:
            return None
        return [int(v) for v in constant.value.ravel()]

    starts = numbers(1, "starts")
    if starts is None:
        return None
    axes = numbers(3, "axes") or list(range(len(starts)))
    steps = numbers(4, "steps") or [1] * len(starts)
    bounds = [(0, 1)] * rank
    for axis, start, step in zip(axes, starts, steps, strict=True):
        bounds[axis % rank] = (start, step)
    return bounds


def slice_(builder: GraphBuilder, node: Node) -> None:
    """A run of channels is a view; anything else a copy."""
    value = builder.value(node.inputs[0])
    shape = builder.network.shapes[node.outputs[0]]
    bounds = _slice_bounds(builder, node, len(shape))
    others_whole = all(
        a == b for i, (a, b) in enumerate(zip(shape, value.shape, strict=True)) if i != 1
    )
    forward = bounds is not None and all(step == 1 for _, step in bounds)
    if bounds is None or not forward or len(shape) < 2 or not others_whole or not value.exact:
        builder.opaque(node, known=True)
        return
    start = bounds[1][0]
    start = max(0, start + value.shape[1] if start < 0 else start)
    view = _channel_range(value.view, start, start + shape[1])
    builder.values[node.outputs[0]] = Value(view, shape)


def reshape(builder: GraphBuilder, node: Node) -> None:
    """Reshape, flatten, squeeze, unsqueeze, identity, dropout, cast: another name, no bytes."""
    value = builder.value(node.inputs[0])
    shape = builder.network.shapes[node.outputs[0]]
    if prod(shape) != prod(value.shape):
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' ({node.op}) turns {value.shape} into "
            f"{shape}, which has other elements"
        )
    builder.alias(node, Value(value.view, shape, value.pre))


def transpose(builder: GraphBuilder, node: Node) -> None:
    """A transpose that moves only extents of one is free; a channel shuffle is a layer."""
    value = builder.value(node.inputs[0])
    rank = len(value.shape)
    order = ints(node.attributes.get("perm"), tuple(range(rank))[::-1])
    if sorted(order) != list(range(rank)):
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' (Transpose) has perm={order} on "
            f"{rank} axes"
        )
    shape = builder.network.shapes[node.outputs[0]]
    moving = [axis for axis in order if value.shape[axis] > 1]
    n, c, h, w = value.view.shape
    if moving == sorted(moving):
        builder.alias(node, Value(value.view, shape, value.pre))
    elif (
        rank == 5
        and order == (0, 2, 1, 3, 4)
        and value.shape == (n, value.shape[1], value.shape[2], h, w)
        and value.shape[1] * value.shape[2] == c
    ):
        draft = Draft(
            name=node.name,
            op="ChannelShuffle",
            kind=LayerKind.PIXELWISE,
            input=value.view,
            body_shape=value.view.shape,
            end=node.outputs[0],
            attributes=(("groups", value.shape[1]),),
        )
        builder.add(draft, shape)
    else:
        builder.opaque(node, known=True)
