"""Sweeps: layers that walk rows against columns, such as attention or a product of two maps.

A sweep walks batches and groups (heads, groups of channels), and within them rows (queries,
rows of the left factor, time steps) and columns (keys, columns of the right factor, the
elements that a normalisation runs over).  Each tensor is indexed by some of these loops; an
index of a loop is a run of indices along one axis of the tensor's map, so that every tile is a
box:

    attention     queries, result  B G P      keys, values  B G N      masks  some of B G P N
    product       left  B G P                 right         B G N      result      B G P N
    normalisation input, result    B G P N
    recurrent     input B P        weights  G N             result      B G P

A loop of one index is not there.  An axis of the file that no box can cut is not walked: each
tile holds all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class SweepKind(StrEnum):
    """When a sweep finishes its results, and what it holds until then.

    PRODUCT    every step finishes what it computes
    ATTENTION  the last column tile finishes a row; until then a maximum, a sum and
               unfinished results wait as running sums
    TWICE      all columns are read for their statistics, then again for the results,
               unless they are one tile
    RECURRENT  rows are time steps, one after the other, and groups directions: a state is
               carried from each to the next, and unfinished gates wait for the last column tile
    """

    PRODUCT = "product"
    ATTENTION = "attention"
    TWICE = "twice"
    RECURRENT = "recurrent"


class Cut(NamedTuple):
    """A loop (B, G, P or N) runs along an axis of a map: equal runs of it, one an index.

    With a `part` the tensor holds only these columns (`Sweep.parts`).
    """

    loop: str
    axis: int
    part: int | None = None


Access = tuple[Cut, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Extents of a sweep's loops, and how they index the views and the outputs of its layer.

    The columns lie in `parts`, one behind the other (what a cache holds and what is new).
    `sums` counts the running sums of each (batch, group, row), of a recurrent layer those of
    each (batch, group); `state` counts the values that it carries from row to row, and in the
    groups `backwards` it walks the rows from the last one to the first.
    """

    kind: SweepKind
    batch: int
    groups: int
    rows: int
    parts: tuple[int, ...]
    views: tuple[Access, ...]
    outputs: tuple[Access, ...]
    sums: int
    state: int = 0
    backwards: tuple[int, ...] = ()

    @property
    def columns(self) -> int:
        """Columns of all parts."""
        return sum(self.parts)

    @property
    def turns(self) -> bool:
        """Whether some groups walk the rows forwards and others backwards."""
        return self.rows > 1 and 0 < len(self.backwards) < self.groups

    @property
    def orders(self) -> tuple[str, ...]:
        """The orders of P and N, outer first, that the layer may be walked in."""
        free = self.kind in (SweepKind.PRODUCT, SweepKind.ATTENTION)
        return ("PN", "NP") if free else ("PN",)

    def extent(self, loop: str, part: int | None = None) -> int:
        """Indices of a loop, of N also those of one part."""
        if part is not None:
            return self.parts[part]
        return {"B": self.batch, "G": self.groups, "P": self.rows, "N": self.columns}[loop]
