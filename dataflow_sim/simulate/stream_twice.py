"""What is read twice: statistics of all that is normalised together, then the results."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from dataflow_sim.graph.meaning import Meaning
from dataflow_sim.simulate.stream_arithmetic import Reduction
from dataflow_sim.simulate.stream_step import Results, SweepStep
from dataflow_sim.simulate.stream_tiles import Array, Tile, packed, runs_of, unpacked

# how many axes behind the batch the channels are, in groups or not
_BY_CHANNEL = {"InstanceNormalization": 1, "GroupNormalization": 2}


def twice_step(step: SweepStep) -> tuple[Results, Array | None]:
    """Statistics of these elements, until they are finished, and the results of finished ones."""
    x = step.tile(0)
    how = _reduction(step.meaning, x.full)
    seen = step.meaning.inputs[0].seen[0]
    shape = step.layer.views[seen.view].shape
    runs = runs_of(seen.axes, step.sweep.views[seen.view], shape)
    kept = tuple(1 if axis in how.axes else e for axis, e in enumerate(x.array.shape))
    before = None
    if step.found.sums is not None:
        before = unpacked(step.found.sums, (*kept, 2), runs, step.loops)
    places = _places(x, how.axes)
    statistics = before
    if statistics is None or not step.found.last:
        behind = _seen_before(x, how.axes)
        statistics = step.arithmetic.statistics(how, x.array, places, behind, before)
    results: Results = {}
    if step.found.writes:
        learned = [_learned(step, place, x) for place in range(1, len(step.meaning.inputs))]
        results[0] = step.arithmetic.normalised(how, x.array, places, statistics, learned)
    return results, packed(statistics, runs, step.loops) if step.found.keeps else None


def _reduction(meaning: Meaning, full: tuple[int, ...]) -> Reduction:
    """What a normalisation of a map of that shape does."""
    axes = meaning.numbers("over")
    return Reduction(
        meaning.op,
        axes,
        prod(full[axis] for axis in axes),
        epsilon=meaning.number("epsilon", 1e-5),
        power=int(meaning.number("p", 2)),
    )


def _places(x: Tile, axes: Sequence[int]) -> Array:
    """The numbers of a tile's elements in what is normalised together."""
    found = np.zeros((1,) * x.array.ndim)
    for axis in axes:
        own = [1] * x.array.ndim
        own[axis] = -1
        found = found * x.full[axis] + np.arange(x.first[axis], x.stop[axis]).reshape(own)
    return np.broadcast_to(found, x.array.shape)


def _seen_before(x: Tile, axes: Sequence[int]) -> int:
    """How many elements of what is normalised together come before a tile's."""
    cut = [axis for axis in axes if x.array.shape[axis] < x.full[axis]]
    if not cut:
        return 0
    (axis,) = cut
    return x.first[axis] * prod(x.full[other] for other in axes if other != axis)


def _learned(step: SweepStep, place: int, x: Tile) -> Array:
    """A scale or shift beside the elements: by channel or group of channels, or as it stands."""
    tile = step.tile(place)
    leading = _BY_CHANNEL.get(step.meaning.op)
    if leading is None:
        return tile.beside(x)
    flat = tile.array.ravel()
    extents = list(x.full[1 : 1 + leading])
    if flat.size != prod(extents):
        extents[1:] = [1] * (leading - 1)
    shape = (*extents, *(1 for _ in x.full[1 + leading :]))
    return Tile(flat.reshape(shape), (0,) * len(shape), shape).beside(x)
