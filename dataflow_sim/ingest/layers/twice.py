"""Layers that read twice what does not fit: normalisations over space, softmax over an axis.

The file's axes that are not reduced are loops of batches, groups and rows; of those that are
reduced the one that can be cut most often is the loop of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from dataflow_sim.graph.arrangement import Arrangement
from dataflow_sim.graph.meaning import Seen
from dataflow_sim.graph.region import Shape4
from dataflow_sim.graph.sweep import SweepKind
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.drafts import Streamed
from dataflow_sim.ingest.layers.sweeps import Role, Waiting, swept
from dataflow_sim.ingest.network import Node

# a sum and a sum of squares, or a maximum and a sum
_SUMS = 2


def sweep_twice(
    builder: GraphBuilder, node: Node, layer: Streamed, axes: Sequence[int], groups: int = 0
) -> None:
    """Make a sweep of a layer that reduces its first input over some axes of the file.

    With `groups` the second axis is cut into so many, each reduced by itself.  A layer of
    several results, or whose map does not lie so, stays as it is.
    """
    draft = layer.draft
    if builder.read_outputs(node) != node.outputs[:1] or layer.read[0][0] != 0:
        return
    value, result = layer.read[0][1], builder.values[node.outputs[0]]
    maps: list[tuple[Shape4, Arrangement | None]] = [
        (value.view.shape, value.axes),
        (draft.body_shape, result.axes),
    ]
    if groups:
        batch, channels, *rest = value.shape
        shape = (batch, groups, channels // groups, *rest)
        maps = [(lies, own and own.reshaped(shape)) for lies, own in maps]
        axes = range(2, len(shape))
    known = [(lies, own) for lies, own in maps if own is not None]
    if len(known) < 2 or value.shape != result.shape:
        return
    source, target = known
    extents = source[1].shape
    kept = [axis for axis in range(len(extents)) if axis not in axes]
    walkable = [axis - len(extents) for axis in kept if extents[axis] > 1]
    loops = dict(zip("BGP", walkable, strict=False))
    sets = prod(extents[axis] for axis in kept)
    others = [Role(each.view.shape, each.axes, {}) for _, each in layer.read[1:]]
    best = None
    for axis in axes:
        walked = {**loops, "N": axis - len(extents)}
        roles = [Role(lies, own, walked) for lies, own in (source, target)]
        waiting = Waiting(SweepKind.TWICE, _SUMS * sets)
        found = swept([roles[0], *others], [roles[1]], waiting)
        if found is not None and (best is None or found.columns > best.columns):
            best = found
    draft.sweep = best
    if best is not None and draft.meaning is not None:
        first, *further = draft.meaning.inputs
        draft.meaning = replace(
            draft.meaning,
            inputs=(replace(first, seen=(Seen(0, source[1]),)), *further),
            results=(target[1],),
        ).stating(over=tuple(axes))
