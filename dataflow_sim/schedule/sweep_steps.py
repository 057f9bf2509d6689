"""Tiles and steps of a sweep as integers: what a tiling's numbers mean, how many steps it makes.

The loops are those of `schedule.sweep`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.sweep import Sweep, SweepKind
from dataflow_sim.schedule.types import LayerTiling

Ints = npt.NDArray[np.int64]
Sizes = tuple[int, int, int, int]


def column_spans(sweep: Sweep, size: int) -> tuple[tuple[int, int], ...]:
    """The column tiles of a size: part by part, or all columns as one."""
    if size >= sweep.columns:
        return ((0, sweep.columns),)
    found: list[tuple[int, int]] = []
    start = 0
    for extent in sweep.parts:
        stop = start + extent
        found.extend((low, min(low + size, stop)) for low in range(start, stop, size))
        start = stop
    return tuple(found)


def sums_of_group(sweep: Sweep, rows: int, split: bool) -> int:
    """Values that wait for each (batch, group) while `rows` are in flight."""
    if sweep.kind is SweepKind.RECURRENT:
        return sweep.state + (sweep.sums if split else 0)
    return sweep.sums * rows if split else 0


def step_rows(sweep: Sweep, rows: Ints | int) -> Ints | int:
    """Rows of a step where so many of the input are held: in a recurrent layer one."""
    return rows if sweep.kind is not SweepKind.RECURRENT else np.ones_like(rows)


def tiling_sizes(sweep: Sweep, tiling: LayerTiling) -> Sizes:
    """The tile sizes of batch, groups, rows and columns."""
    batch, groups, rows, columns = (getattr(tiling, name) for name, _ in tile_extents(sweep))
    return batch, groups, rows, columns


def tile_extents(sweep: Sweep) -> Iterator[tuple[str, int]]:
    """The names of a tiling's fields with the largest tile of each."""
    in_time = sweep.kind is SweepKind.RECURRENT  # one step of one direction after the other
    groups = 1 if in_time else sweep.groups
    rows = 1 if in_time and not sweep.turns else sweep.rows
    yield from (("batch_tile", sweep.batch), ("group_tile", groups))
    yield from (("row_tile", rows), ("column_tile", sweep.columns))


def steps_of(sweep: Sweep, sizes: Sizes) -> int:
    """Steps of a tiling with these sizes of batch, groups, rows and columns."""
    columns = len(column_spans(sweep, sizes[3]))
    twice = 2 if columns > 1 and sweep.kind is SweepKind.TWICE else 1
    extents = (sweep.batch, sweep.groups, sweep.rows)
    taken = (*sizes[:2], int(step_rows(sweep, sizes[2])))
    return twice * columns * prod(-(-e // s) for e, s in zip(extents, taken, strict=True))
