"""Operators that only rename or rearrange: views of channels, rearranged axes, crops, copies."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.arrangement import CHANNEL, COLUMN, ROW, Arrangement, Factor
from dataflow_sim.graph.layer import LayerKind, Segment, View, Window
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.drafts import Draft, JoinedValue, Value
from dataflow_sim.ingest.layers.windows import int_attribute, ints
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.operators.embeddings import look_up
from dataflow_sim.ingest.operators.row import Merges, Operator

_MAXIMUM_SEGMENTS = 64  # a view of more pieces is copied


def _concat(builder: GraphBuilder, node: Node) -> None:
    """Along channels a view, of a state a longer state, along another axis a copy."""
    shape = builder.shape(node.outputs[0])
    axis = int_attribute(builder, node, "axis", 0) % max(len(shape), 1)
    parts = [builder.values[name] for name in node.inputs if name in builder.values]
    if len(parts) < len(node.inputs):
        builder.stream(node)
    elif _grows(builder, node):
        builder.joined[node.outputs[0]] = JoinedValue(tuple(parts))
    elif not _by_channels(parts, axis) or any(part.pre for part in parts):
        builder.stream(node)
    else:
        channels = sum(part.view.shape[1] for part in parts)
        n, _, h, w = parts[0].view.shape
        if channels != shape[axis]:
            raise NetworkError(
                f"{builder.network.name}: node '{node.name}' (Concat) joins maps of "
                f"{[part.shape for part in parts]} to {shape} along axis {axis}"
            )
        segments = tuple(segment for part in parts for segment in part.view.segments)
        axes = parts[0].axes.with_axis(axis, (Factor(CHANNEL, channels, 1),))
        joined = Value(View(segments, (n, channels, h, w)), axes)
        if builder.copies_concats:
            builder.copies.append(node.name)
            joined = builder.copied(node.outputs[0], joined)
        builder.values[node.outputs[0]] = joined


def _by_channels(parts: list[Value], axis: int) -> bool:
    """Whether the parts lie alike but for their channels, which the axis runs over."""
    first = parts[0]
    n, _, h, w = first.view.shape
    return all(
        part.axes.covers([axis], [CHANNEL], part.view.shape)
        and part.axes.with_axis(axis, ()) == first.axes.with_axis(axis, ())
        and (part.view.shape[0], *part.view.shape[2:]) == (n, h, w)
        for part in parts
    )


def _grows(builder: GraphBuilder, node: Node) -> bool:
    """Whether a Concat appends to a state that the host keeps and attention alone reads."""
    uses = _uses(builder, node.outputs[0])
    return node.inputs[0] in builder.network.inputs and uses == {"output", "attention"}


def _uses(builder: GraphBuilder, name: str) -> set[str]:
    """What a state is used for, under other names and with its axes in another order too."""
    found = set()
    for reader in builder.readers.get(name, []):
        if reader is None:
            found.add("output")
        elif isinstance(reader, Node) and reader.op in ("Identity", "Transpose"):
            found |= _uses(builder, reader.outputs[0])
        elif isinstance(reader, Node) and reader.op == "dataflow_sim::Attention":
            found.add("attention" if name in reader.inputs[1:3] else "other")
        else:
            found.add("other")
    return found


def selected(value: Value, axis: int, start: int, stop: int) -> Value | None:
    """Indices [start, stop) of an axis of the file, where they are runs of channels."""
    factors = value.axes.axes[axis]
    if len(factors) != 1 or factors[0].axis != CHANNEL:
        return None
    _, extent, stride = factors[0]
    n, channels, h, w = value.view.shape
    block, kept = extent * stride, (stop - start) * stride
    if channels // block > _MAXIMUM_SEGMENTS:
        return None
    segments: list[Segment] = []
    for base in range(0, channels, block):
        segments.extend(_channel_range(value.view, base + start * stride, base + stop * stride))
    view = View(tuple(segments), (n, channels // block * kept, h, w))

    def shrunk(factor: Factor) -> Factor:
        outer = factor.axis == CHANNEL and factor.stride >= block
        return factor._replace(stride=factor.stride // block * kept) if outer else factor

    axes = value.axes.with_axis(axis, (Factor(CHANNEL, stop - start, stride),))
    found = Arrangement(tuple(tuple(map(shrunk, each)) for each in axes.axes))
    return replace(value, view=view, axes=found)


def _channel_range(view: View, start: int, stop: int) -> list[Segment]:
    """Channels [start, stop) of a view."""
    segments = []
    position = 0
    for segment in view.segments:
        low, high = max(start - position, 0), min(stop - position, segment.channels)
        if low < high:
            first = segment.channel_start
            part = replace(segment, channel_start=first + low, channel_stop=first + high)
            segments.append(part)
        position += segment.channels
    return segments


def _split(builder: GraphBuilder, node: Node) -> None:
    """Along channels views; along another axis copies."""
    value = builder.value(node.inputs[0])
    axis = int_attribute(builder, node, "axis", 0) % max(len(value.shape), 1)
    found, start = {}, 0
    for name in node.outputs:
        extent = builder.shape(name)[axis]
        part = None if value.pre else selected(value, axis, start, start + extent)
        if part is None:
            builder.stream(node, data=1)
            return
        found[name] = part
        start += extent
    builder.values.update(found)


def _slice_bounds(builder: GraphBuilder, node: Node, rank: int) -> list[tuple[int, int]] | None:
    """(start, step) along each axis of a Slice with constant bounds."""

    def numbers(position: int, name: str) -> list[int] | None:
        if name in node.attributes:
            return list(ints(node.attributes[name], ()))
        given = position < len(node.inputs) and node.inputs[position]
        values = builder.integers(node.inputs[position]) if given else None
        return None if values is None else list(values)

    starts = numbers(1, "starts")
    if starts is None:
        return None
    axes = numbers(3, "axes") or list(range(len(starts)))
    steps = numbers(4, "steps") or [1] * len(starts)
    bounds = [(0, 1)] * rank
    for axis, start, step in zip(axes, starts, steps, strict=True):
        bounds[axis % rank] = (start, step)
    return bounds


def _slice(builder: GraphBuilder, node: Node) -> None:
    """A run of channels is a view, rows or columns are a crop, anything else a copy."""
    value = builder.value(node.inputs[0])
    shape = builder.shape(node.outputs[0])
    bounds = _slice_bounds(builder, node, len(shape))
    cut = [axis for axis, extent in enumerate(shape) if extent != value.shape[axis]]
    if not cut and bounds is not None and all(step == 1 for _, step in bounds):
        builder.alias(node, value)
        return
    if bounds is None or len(cut) != 1:
        builder.stream(node, data=1)
        return
    (axis,) = cut
    start, step = bounds[axis]
    start = max(0, start + value.shape[axis] if start < 0 else start)
    _take(builder, node, value, axis, start, shape[axis], step)


def _take(
    builder: GraphBuilder, node: Node, value: Value, axis: int, start: int, extent: int, step: int
) -> None:
    """Some indices along an axis: a view of channels, a crop, or a copy."""
    stays = tuple(range(len(value.shape)))
    gone = len(builder.shape(node.outputs[0])) < len(value.shape)
    part = selected(value, axis, start, start + extent) if step == 1 else None
    if part is not None and not value.pre:
        axes = part.axes
        if gone:
            axes = axes.transposed([place for place in stays if place != axis])
        builder.values[node.outputs[0]] = replace(part, axes=axes)
        return
    whole = [
        place for place in (ROW, COLUMN) if value.axes.covers([axis], [place], value.view.shape)
    ]
    if step < 1 or not whole or value.view.shape[whole[0]] == 1:
        builder.stream(node, data=1)
        return
    place = whole[0]
    extents = list(value.view.shape)
    extents[place] = extent
    strides = (step, 1) if place == ROW else (1, step)
    pads = (-start, 0) if place == ROW else (0, -start)
    n, c, h, w = extents
    draft = Draft(
        name=node.name,
        op=node.op,
        kind=LayerKind.CHANNELWISE,
        input=value.view,
        body_shape=(n, c, h, w),
        end=node.outputs[0],
        groups=c,
        window=Window(stride=strides, pad=pads),
        pre=value.pre,
    )
    axes = value.axes.with_axis(axis, (Factor(place, extent, 1),))
    if gone:
        axes = axes.transposed([place for place in stays if place != axis])
    builder.add(draft, axes)


def _gather(builder: GraphBuilder, node: Node) -> None:
    """Rows of a constant table, or indices of a map."""
    data, indices = node.inputs[:2]
    shape = builder.shape(data)
    axis = int_attribute(builder, node, "axis", 0) % max(len(shape), 1)
    if builder.is_constant(data):
        look_up(builder, node, axis)
        return
    wanted = builder.integers(indices)
    rank = len(builder.shape(indices))
    if wanted is None or rank > 1 or data not in builder.values:
        builder.stream(node)
        return
    places = [index % shape[axis] for index in wanted]
    if places != list(range(places[0], places[0] + len(places))):
        _pick(builder, node, axis, places)
        return
    _take(builder, node, builder.value(data), axis, places[0], len(places), 1)


def _pick(builder: GraphBuilder, node: Node, axis: int, places: list[int]) -> None:
    """Single channels side by side are a view, anything else is a copy of all."""
    value = builder.value(node.inputs[0])
    whole = value.axes.covers([axis], [CHANNEL], value.view.shape)
    if value.pre or not whole or len(places) > _MAXIMUM_SEGMENTS:
        builder.stream(node, data=1)
        return
    segments = [s for place in places for s in _channel_range(value.view, place, place + 1)]
    n, _, h, w = value.view.shape
    view = View(tuple(segments), (n, len(places), h, w))
    axes = value.axes.with_axis(axis, (Factor(CHANNEL, len(places), 1),))
    builder.values[node.outputs[0]] = replace(value, view=view, axes=axes)


def _is_state(builder: GraphBuilder, node: Node) -> bool:
    """Give a state that grows another name, if the node reads one."""
    state = builder.joined.get(node.inputs[0])
    if state is not None:
        builder.joined[node.outputs[0]] = state
    return state is not None


def _reshape(builder: GraphBuilder, node: Node) -> None:
    """Another name, no bytes; where the new shape cuts across the map's axes a copy."""
    if _is_state(builder, node):
        return
    value = builder.value(node.inputs[0])
    shape = builder.shape(node.outputs[0])
    if prod(shape) != prod(value.shape):
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' ({node.op}) turns {value.shape} into "
            f"{shape}, which has other elements"
        )
    axes = value.axes.reshaped(shape)
    if axes is None:
        builder.copies.append(node.name)
        builder.stream(node, data=1)
    else:
        builder.alias(node, replace(value, axes=axes))


def _transpose(builder: GraphBuilder, node: Node) -> None:
    """Another order of the file's axes; whoever reads the map takes it as it lies, or copies."""
    if _is_state(builder, node):
        return
    value = builder.value(node.inputs[0])
    rank = len(value.shape)
    order = ints(node.attributes.get("perm"), tuple(range(rank))[::-1])
    if sorted(order) != list(range(rank)):
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' (Transpose) has perm={order} on "
            f"{rank} axes"
        )
    builder.alias(node, replace(value, axes=value.axes.transposed(order)))


def _expand(builder: GraphBuilder, node: Node) -> None:
    """To its own shape another name, to a larger one a copy."""
    if prod(builder.shape(node.outputs[0])) == prod(builder.shape(node.inputs[0])):
        _reshape(builder, node)
    else:
        builder.stream(node, data=1)


def _no_layer(name: str, data: int | None = 1) -> Operator:
    return Operator(name, "view", _reshape, reads="nothing", merges=Merges.NO_LAYER, data=data)


ROWS = (
    Operator("Concat", "view, copy or state", _concat, merges=Merges.NO_LAYER),
    Operator("Split", "view or copy", _split, merges=Merges.NO_LAYER, data=1),
    Operator("Slice", "view, crop or copy", _slice, merges=Merges.BY_ROWS, data=1),
    Operator(
        "Gather",
        "rows of a table, view, crop or copy",
        _gather,
        reads="of a table the rows asked for, at most all",
    ),
    Operator("Transpose", "view", _transpose, reads="nothing", merges=Merges.NO_LAYER),
    Operator("Expand", "view or copy", _expand, data=1),
    *(
        _no_layer(name)
        for name in (
            *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast"),
            *("CastLike",),
        )
    ),
)
