"""Sweeps by rows: which rows of its maps each output row of a sweep needs, and what it carries.

Model.  One loop of the sweep may run along the rows of its output, an index a run of `unit` of
them.  Output row r belongs to index i = r / unit and needs

    of a map whose rows the same loop runs along      the rows of index i
    of any other map                                  all rows: they wait in local memory whole

    attention       row r of the result: row r of the queries (and of a mask), all keys, all values
    product         row r of the result: row r of the left factor, the whole right one
    normalisation   of each row by itself, over columns: row r of the input
    normalisation   over rows: all rows of the input for its statistics, then row r

Where no loop runs along the output's rows, each of them needs all rows of every map.  A stripe
is one step, with all columns of the sweep in one tile: what is computed of a row and a column
(a score) is finished within it, and no running sums wait.

What waits for all rows of a map inside the group does not make all its rows at once: row r of
its output counts as needing row r beyond the map's last, as if r rows of padding followed.
So it makes its rows as slowly as they came in, and what is behind it in the group keeps its pace:

    rows of the keys       0   1   2   3
    rows of the result                 0   1   2   3         last(r) = 3 + r

A normalisation over the rows carries its statistics from its first firing to its last, where these
are several: the first one reads all rows that its sets consist of, and the others only those that
they normalise, so that a row is dead when it is normalised.  Statistics take `accumulator_bits`
each, in local memory.

Assumed: all batches, groups and columns of the sweep, and all columns and channels of its maps, are
in every step.  Ignored: statistics gathered row by row as the map comes in, which would change
neither its life nor theirs by more than they take; keys in tiles of columns.

Source: the loops of `graph.sweep`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.sweep import Cut, Sweep, SweepKind

_ROWS = 2  # the axis


class SweptRows(NamedTuple):
    """Of one view, by output row: rows [low, high), and the row that it waits for."""

    low: list[int]
    high: list[int]
    last: list[int]


class SweepRows(NamedTuple):
    """A sweep by rows: its needs of each view, and how they go on.

    `pace` is the row of the input that an output row comes with where nothing makes it wait;
    `stride` is in rows of the input for one of the output; `sums` counts the statistics that it
    carries from its first firing to its last.
    """

    views: list[SweptRows]
    pace: list[int]
    stride: Fraction
    sums: int


def runs_by_rows(sweep: Sweep) -> bool:
    """Whether the rows of a sweep's output are made one after the other without a state."""
    return sweep.kind is not SweepKind.RECURRENT


def sweep_rows(layer: Layer, sweep: Sweep) -> SweepRows:
    """The needs of each output row of a sweep with one output that is not recurrent."""
    rows = layer.output_shape[_ROWS]
    along = next((cut for cut in sweep.outputs[0] if cut.axis == _ROWS), None)
    count = 1 if along is None else sweep.extent(along.loop, along.part)
    unit = 1 if along is None else rows // count
    index = [row // unit for row in range(rows)]
    over_rows = along is not None and along.loop == "N" and sweep.kind is SweepKind.TWICE
    found, pace, stride, sums = [], [i * unit for i in index], Fraction(1), 0
    for place, (view, access) in enumerate(zip(layer.views, sweep.views, strict=True)):
        size = view.shape[_ROWS]
        waits = [size - 1 + i * unit for i in index]
        if not _has(access, along):
            found.append(SweptRows([0] * rows, [size] * rows, waits))
            continue
        own = size // count
        low = [i * own for i in index]
        high = [start + own for start in low]
        last = [stop - 1 for stop in high]
        if over_rows:
            high, last, sums = [size] * rows, waits, _statistics(sweep)
        if place == 0:
            stride = Fraction(own, unit)
            pace = low if over_rows else last
        found.append(SweptRows(low, high, last))
    return SweepRows(found, pace, stride, sums)


def _has(access: tuple[Cut, ...], along: Cut | None) -> bool:
    """Whether the loop along the output's rows runs along those of a view."""
    return along is not None and along in access


def _statistics(sweep: Sweep) -> int:
    """Statistics of all sets that a sweep normalises."""
    return sweep.batch * sweep.groups * sweep.rows * sweep.sums
