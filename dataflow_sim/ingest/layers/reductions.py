"""Which axes a reduction runs over, and what of the map they are."""

from __future__ import annotations

from dataflow_sim.graph.arrangement import CHANNEL, COLUMN, ROW
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.drafts import Value
from dataflow_sim.ingest.network import Node


def reduced_axes(builder: GraphBuilder, node: Node) -> tuple[int, ...] | None:
    """The axes that a reduction runs over, ascending; None where they are unknown."""
    rank = len(builder.shape(node.inputs[0]))
    axes = node.attributes.get("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1]:
        axes = builder.integers(node.inputs[1])
        if axes is None:
            return None
    if not isinstance(axes, tuple) or not axes:
        return () if node.attributes.get("noop_with_empty_axes") else tuple(range(rank))
    return tuple(sorted(int(axis) % rank for axis in axes))


def over_plane(value: Value, axes: tuple[int, ...]) -> bool:
    """Whether some axes of the file are exactly the rows and columns of the map."""
    return bool(axes) and value.axes.covers(axes, [ROW, COLUMN], value.view.shape)


def over_channels(value: Value, axes: tuple[int, ...]) -> bool:
    """Whether some axes of the file are exactly the channels of the map."""
    return bool(axes) and value.axes.covers(axes, [CHANNEL], value.view.shape)


def spatial_mean(builder: GraphBuilder, node: Node) -> bool:
    """Whether a reduction averages the whole plane of its map."""
    name = node.inputs[0]
    axes = reduced_axes(builder, node)
    if axes is None or name not in builder.values:
        return False
    return over_plane(builder.value(name), axes)
