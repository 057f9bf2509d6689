"""Memory over time as plain data: boxes of buffers, and what is too small for a box of its own.

A buffer is a box: addresses [bottom, top) upwards, time [left, right) rightwards.  Boxes overlap
nowhere, as buffers do not.

    address ▲ ┌──────────────┐ ┌┬┬┬┐      large boxes are drawn one by one and named, small ones
            │ │     map      │ ├┼┼┼┤      are blended: each pixel gets as much of a colour as
            │ ├─────┬────────┤ └┴┴┴┘      boxes of that colour cover of it
            │ │  a  │   b    │  rows
            └─┴─────┴────────┴────────► time

The share of a pixel that a box covers is the product of the shares of its column and its row, and
along an axis it is the prefix sum of four numbers: for x0 = i + f,

    column        ... i - 1   i       i + 1   i + 2 ...
    difference         0     1 - f     f       0         (the end of the box takes them off again)
    share              0     1 - f     1       1

Sixteen numbers a box and one prefix sum over the plane thus give the shares of all boxes at once,
exactly, however many there are and however small.

Assumed: a scale that is linear in pixels.  Ignored: boxes of no width or no height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataflow_sim.report.live_set import Holding, LiveSet, holdings_of, kinds_of, layer_positions
from dataflow_sim.results import RunResult
from dataflow_sim.results_of_placement import PlacementResult

Numbers = npt.NDArray[np.int64]
Places = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """Boxes of buffers, in the order in which buffers are listed.

    `left` and `right` are places along an axis from `begin` to `end`, `bottom` and `top`
    addresses in bytes, up to `height_bytes`; `kinds` are indices of colours.  `alive` marks the
    buffers that live at `moment`: that at which most lives of those at which the highest address
    is in use, the first of several.
    """

    names: tuple[str, ...]
    kinds: Numbers
    left: Places
    right: Places
    bottom: Numbers
    top: Numbers
    moment: int
    alive: npt.NDArray[np.bool_]
    begin: float
    end: float

    @property
    def height_bytes(self) -> int:
        """The highest address in use."""
        return int(self.top.max(initial=0))

    def holdings(self, titles: Sequence[str]) -> tuple[Holding, ...]:
        """What lives at that moment, by name, the largest first; titles are of colours."""
        held_of = {
            name: titles[kind] for name, kind in zip(self.names, self.kinds.tolist(), strict=True)
        }
        return holdings_of(self.names, held_of, self.top - self.bottom, self.alive)


@dataclass(frozen=True, slots=True)
class Division:
    """Boxes to draw one by one, the largest area first, and the shares of all others.

    `shares[k, row, column]` is how much of a pixel boxes of the k-th colour cover, from 0 to 1,
    rows from the bottom up.
    """

    large: tuple[int, ...]
    shares: Places


def map_of_run(result: RunResult, live: LiveSet) -> MemoryMap:
    """The buffers in local memory of a run that lists them, along its layers."""
    stays = result.buffers
    fields = [
        (stay.first_instruction, stay.last_instruction, stay.address, stay.size_bytes)
        for stay in stays
    ]
    first, last, bottom, size = np.array(fields, dtype=np.int64).T
    layers = len(result.layers)
    names = tuple(stay.label for stay in stays)
    return MemoryMap(
        names=names,
        kinds=np.array(kinds_of(result), dtype=np.int64),
        left=layer_positions(live, layers, first),
        right=layer_positions(live, layers, last),
        bottom=bottom,
        top=bottom + size,
        moment=(at := _moment(first, last, bottom, size)),
        alive=(first <= at) & (at < last),
        begin=0,
        end=layers,
    )


def map_of_placement(result: PlacementResult) -> MemoryMap:
    """The buffers of a placement, over the time of its file."""
    fields = [(life.lower, life.upper, life.size_bytes) for life in result.lifetimes]
    lower, upper, size = np.array(fields, dtype=np.int64).reshape(-1, 3).T
    bottom = np.array(result.offsets, dtype=np.int64)
    return MemoryMap(
        names=tuple(life.name for life in result.lifetimes),
        kinds=np.zeros(len(lower), dtype=np.int64),
        left=lower.astype(np.float64),
        right=upper.astype(np.float64),
        bottom=bottom,
        top=bottom + size,
        moment=(at := _moment(lower, upper, bottom, size)),
        alive=(lower <= at) & (at < upper),
        begin=float(lower.min()),
        end=float(upper.max()),
    )


def _moment(first: Numbers, last: Numbers, bottom: Numbers, size: Numbers) -> int:
    """The moment at which most lives of those at which the highest address is in use."""
    moments, place = np.unique(np.concatenate([first, last]), return_inverse=True)
    highest = bottom + size == (bottom + size).max()
    live, there = (
        np.bincount(place, np.concatenate([each, -each]), len(moments)).cumsum()
        for each in (size, highest.astype(np.int64))
    )
    return int(moments[np.where(there > 0.5, live, -1).argmax()])


def divided(
    found: MemoryMap, columns: int, rows: int, height_bytes: float, least: float, most: int
) -> Division:
    """Boxes at least so many pixels wide and high, at most so many, and the shares of all others.

    The picture has `columns` from the map's begin to its end, `rows` from 0 to `height_bytes`.
    """
    across, up = columns / (found.end - found.begin), rows / height_bytes
    left, right = ((each - found.begin) * across for each in (found.left, found.right))
    bottom, top = found.bottom * up, found.top * up
    wide = (right - left >= least) & (top - bottom >= least)
    area = (right - left) * (top - bottom)
    order = np.lexsort((np.arange(len(area)), -area))
    drawn = order[wide[order]][:most]
    large = np.zeros(len(area), bool)
    large[drawn] = True
    shares = np.zeros((int(found.kinds.max(initial=0)) + 1, rows, columns))
    for kind in np.unique(found.kinds[~large]).tolist():
        small = ~large & (found.kinds == kind)
        spans = (left[small], right[small]), (bottom[small], top[small])
        shares[kind] = covered(*spans, columns, rows)
    return Division(tuple(drawn.tolist()), shares)


def covered(
    across: tuple[Places, Places], up: tuple[Places, Places], columns: int, rows: int
) -> Places:
    """How much of each pixel boxes cover that overlap nowhere: from 0 to 1, rows first.

    `across` and `up` are beginnings and ends in pixels, within the picture.
    """
    # a box that ends at the picture's edge has its last differences behind it
    wide = columns + 2
    differences = np.zeros((rows + 2) * wide)
    of_columns, of_rows = (_differences(*each) for each in (across, up))
    for row, vertical in of_rows:
        for column, horizontal in of_columns:
            differences += np.bincount(
                row * wide + column, vertical * horizontal, minlength=len(differences)
            )
    sums = differences.reshape(rows + 2, wide).cumsum(axis=0).cumsum(axis=1)
    # what rounding leaves of a sum that is nothing
    sums[np.abs(sums) < 1e-9] = 0
    found: Places = np.clip(sums[:rows, :columns], 0, 1)
    return found


def _differences(begin: Places, end: Places) -> list[tuple[Numbers, Places]]:
    """The places along an axis at which the share that boxes cover changes, and by how much."""
    found = []
    for edge, sign in ((begin, 1.0), (end, -1.0)):
        place = np.floor(edge).astype(np.int64)
        part = edge - place
        found += [(place, sign * (1 - part)), (place + 1, sign * part)]
    return found
