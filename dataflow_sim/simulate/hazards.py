"""Who has to wait for whom at a place: the last accesses to each part of a buffer or tensor.

Three things happen to a buffer: loads write it, stores read it, steps read and write it.  Loads go
in their order, stores in theirs, steps in theirs, so that of each kind the last one tells enough:

    a load     waits for the last step that read or wrote there, the last load, the last store
    a store    waits for the last step that wrote there, and the last load
    a step     waits for the last load where it reads or writes, the last store where it writes

Places are told apart by rows and channels, on the grid of the borders that accesses draw: images
and columns of one row are one place.  Addresses that are given back and taken again carry over: who
touches the new buffer waits for all who touched what lay there before.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dataflow_sim.graph.region import Box
from dataflow_sim.program.instructions import Origin
from dataflow_sim.simulate.arrays import Ints

NEVER = -1  # less than every number
# rows [top, bottom) and channels [first, last) of a buffer, or of a tensor in DRAM; a plain tuple,
# since there are millions
Region = tuple[int, int, int, int]


def region_of(box: Box, origin: Origin, apart: int = 1) -> Region | None:
    """What a box takes of a buffer at an origin, its rows so far apart; None where it is empty."""
    (n, n_end, _), (c, c_end, c_step), (h, h_end, h_step), (w, w_end, _) = box
    if n >= n_end or c >= c_end or h >= h_end or w >= w_end:
        return None
    channels = c_end - c if c_step == 1 else len(range(c, c_end, c_step))
    rows = h_end - h if h_step == 1 else len(range(h, h_end, h_step))
    _, first, top, _ = origin
    return (top, top + (rows - 1) * apart + 1, first, first + channels)


class Last(NamedTuple):
    """Numbers of the last load, store and step; NEVER where there is none."""

    load: int = NEVER
    store: int = NEVER
    step: int = NEVER


def latest(one: Last, other: Last) -> Last:
    """The later of each."""
    return Last(max(one.load, other.load), max(one.store, other.store), max(one.step, other.step))


class Place:
    """Rows and channels of a buffer, or of a tensor in DRAM, and the last accesses to each part.

    As long as all accesses touch the same region there is one part; then a grid, which is cut finer
    whenever a border comes up that it does not have.
    """

    __slots__ = ("_cells", "_last", "_region", "_shape")

    def __init__(self, rows: int, channels: int) -> None:
        self._shape = (rows, channels)
        self._region: Region | None = None
        # the last load, store, writing step and reading step of the region
        self._last = [NEVER, NEVER, NEVER, NEVER]
        self._cells: _Cells | None = None

    def load(self, region: Region, number: int) -> tuple[int, int, int]:
        """A load writes here; returns the load, store and step that it waits for."""
        if self._cells is None and (self._region is None or region == self._region):
            self._region = region
            loaded, stored, written, read = self._last
            self._last[0] = number
            return loaded, stored, max(written, read)
        cells = self.cells()
        at = cells.of(region)
        loaded, stored, written, read = cells.last[:, at[0], at[1]].max(axis=(1, 2)).tolist()
        cells.last[0][at] = number
        return loaded, stored, max(written, read)

    def store(self, region: Region, number: int) -> tuple[int, int]:
        """A store reads here; returns the load and the step that it waits for."""
        if self._cells is None and (self._region is None or region == self._region):
            self._region = region
            self._last[1] = number
            return self._last[0], self._last[2]
        cells = self.cells()
        at = cells.of(region)
        cells.last[1][at] = number
        return int(cells.last[0][at].max()), int(cells.last[2][at].max())

    def read(self, region: Region, number: int) -> int:
        """A step reads here; returns the load that it waits for."""
        if self._cells is None and (self._region is None or region == self._region):
            self._region = region
            self._last[3] = number
            return self._last[0]
        cells = self.cells()
        at = cells.of(region)
        cells.last[3][at] = number
        return int(cells.last[0][at].max())

    def write(self, region: Region, number: int) -> tuple[int, int]:
        """A step writes here; returns the load and the store that it waits for."""
        if self._cells is None and (self._region is None or region == self._region):
            self._region = region
            self._last[2] = number
            return self._last[0], self._last[1]
        cells = self.cells()
        at = cells.of(region)
        cells.last[2][at] = number
        return int(cells.last[0][at].max()), int(cells.last[1][at].max())

    def last_store(self, region: Region) -> int:
        """The last store here."""
        if self._cells is None and region == self._region:
            return self._last[1]
        if self._cells is None and self._region is None:
            return NEVER
        cells = self.cells()
        at = cells.of(region)
        return int(cells.last[1][at].max())

    def cells(self) -> _Cells:
        """The grid, begun with what has happened so far."""
        if self._cells is None:
            rows, channels = self._shape
            self._cells = _Cells([0, rows], [0, channels])
            if self._region is not None:
                at = self._cells.of(self._region)
                self._cells.last[:, at[0], at[1]] = np.array(self._last)[:, None, None]
        return self._cells

    def row(self, number: int) -> Place:
        """One row, as the place of a buffer of its own."""
        cells = self.cells()
        at = cells.of((number, number + 1, 0, self._shape[1]))
        found = Place(1, self._shape[1])
        found._cells = _Cells([0, 1], cells.channels)
        found._cells.last[:] = cells.last[:, at[0], at[1]]
        return found

    def last(self) -> Last:
        """The last accesses to any of its parts."""
        loaded, stored, written, read = self.cells().last.max(axis=(1, 2)).tolist()
        return Last(loaded, stored, max(written, read))


def joined(rows: Sequence[Place], channels: int) -> Place:
    """The place of a whole that consists of such rows."""
    found = Place(len(rows), channels)
    grids = [row.cells() for row in rows]
    cuts = sorted({cut for grid in grids for cut in grid.channels})
    for grid in grids:
        for cut in cuts:
            grid.cut_channels(cut)
    found._cells = _Cells(list(range(len(rows) + 1)), cuts)
    for number, grid in enumerate(grids):
        found._cells.last[:, number] = grid.last[:, 0]
    return found


class _Cells:
    """The last accesses to the cells of a grid: arrays by (load, store, writing, reading step)."""

    def __init__(self, rows: Sequence[int], channels: Sequence[int]) -> None:
        self.rows, self.channels = list(rows), list(channels)
        self.last: Ints = np.full((4, len(rows) - 1, len(channels) - 1), NEVER, np.int64)
        self._found: dict[Region, tuple[slice, slice]] = {}

    def of(self, region: Region) -> tuple[slice, slice]:
        """The cells of a region."""
        found = self._found.get(region)
        if found is None:
            top, bottom, first, last = region
            for row in (top, bottom):
                self._cut_rows(row)
            for channel in (first, last):
                self.cut_channels(channel)
            found = (
                slice(bisect_left(self.rows, top), bisect_left(self.rows, bottom)),
                slice(bisect_left(self.channels, first), bisect_left(self.channels, last)),
            )
            self._found[region] = found
        return found

    def _cut_rows(self, row: int) -> None:
        place = bisect_left(self.rows, row)
        if place == len(self.rows) or self.rows[place] != row:
            self.last = np.insert(self.last, place, self.last[:, place - 1], axis=1)
            self.rows.insert(place, row)
            self._found.clear()

    def cut_channels(self, channel: int) -> None:
        """Cut the grid at a channel."""
        place = bisect_left(self.channels, channel)
        if place == len(self.channels) or self.channels[place] != channel:
            self.last = np.insert(self.last, place, self.last[:, :, place - 1], axis=2)
            self.channels.insert(place, channel)
            self._found.clear()


class Ground:
    """Who touched which addresses of a memory last, of buffers that have been given back."""

    def __init__(self) -> None:
        # pieces [starts[i], starts[i + 1]) and the last accesses to them; the last has no end
        self._starts: list[int] = [0]
        self._last: list[Last] = [Last()]

    def _cut(self, address: int) -> int:
        """The piece that begins at an address, cut from the one around it."""
        place = bisect_left(self._starts, address)
        if place == len(self._starts) or self._starts[place] != address:
            self._starts.insert(place, address)
            self._last.insert(place, self._last[place - 1])
        return place

    def below(self, address: int, end: int) -> Last:
        """The last accesses to any address in [address, end)."""
        found = Last()
        place = bisect_right(self._starts, address) - 1
        while place < len(self._starts) and self._starts[place] < end:
            found = latest(found, self._last[place])
            place += 1
        return found

    def give_back(self, address: int, end: int, last: Last) -> None:
        """A buffer at [address, end) ends, whose last accesses these were."""
        if address >= end:
            return
        first, behind = self._cut(address), self._cut(end)
        starts = self._starts[first:behind]
        places: list[int] = []
        found: list[Last] = []
        for start, old in zip(starts, self._last[first:behind], strict=True):
            new = latest(old, last)
            if not found or found[-1] != new:
                places.append(start)
                found.append(new)
        self._starts[first:behind] = places
        self._last[first:behind] = found
