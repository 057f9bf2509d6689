"""A buffer of rows that windows of a map take in turn: common rows stay, others are overwritten.

Rows are counted among those that are read: where every s-th is, they are numbers of the lattice.

    places   0 1 2 3          ring of 4 rows, window [2, 6): row 4 lies at place 0
    rows     4 5 2 3          next window [4, 8): rows 6, 7 go to places 2, 3
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dataflow_sim.graph.region import Span

_NOTHING = Span(0, 0)


def lattice(span: Span) -> Span:
    """Numbers of a span's rows among every `step`-th row; windows of an axis share the lattice."""
    first = span.start // span.step
    return Span(first, first + span.length)


def off_lattice(rows: Span, span: Span) -> Span:
    """The rows of these numbers, on the lattice that a span lies on."""
    if span.step == 1:
        return rows
    first = rows.start * span.step + span.start % span.step
    return Span(first, first + (rows.length - 1) * span.step + 1, span.step)


def missing_rows(held: Span, window: Span) -> Span:
    """Rows of a window that the one above it, which is held, does not have."""
    if held.start <= window.start < held.stop:
        return Span(held.stop, max(held.stop, window.stop))
    return window


def common_rows(windows: Sequence[Span]) -> bool:
    """Whether windows, one below the other, have rows in common."""
    return any(missing_rows(one, other) != other for one, other in pairwise(windows))


def rows_of_two(windows: Sequence[Span], again: bool) -> int:
    """Places that a ring needs to hold a window while what the next one adds comes in.

    `again` says that behind the last window comes the first one, whole.
    """
    pairs = [one.length + missing_rows(one, other).length for one, other in pairwise(windows)]
    ends = [windows[-1].length + windows[0].length] if again else []
    return max(windows[0].length, windows[-1].length, *pairs, *ends)


@dataclass(slots=True)
class Ring:
    """What a ring of so many rows holds: `window`, whose first row lies at place `first`.

    `column` tells which column of tiles the window belongs to.
    """

    buffer: int
    rows: int
    column: tuple[int, ...] = ()
    window: Span = _NOTHING
    first: int = 0

    def turn_to(self, column: tuple[int, ...], window: Span) -> Span:
        """Make room for a window of a column of tiles; returns the rows that are missing."""
        held = self.window if column == self.column else _NOTHING
        missing = missing_rows(held, window)
        kept = window.length - missing.length
        self.first = (self.first + self.window.length - kept) % self.rows
        self.column, self.window = column, window
        return missing

    def leave(self) -> None:
        """Begin again: the next window is the first of a pass, and shares nothing with the last.

        Not even where both begin at one row, as windows over much padding do.
        """
        self.column = ()

    def runs(self, rows: Span) -> Iterator[tuple[Span, int]]:
        """Rows of the window that lie side by side, with the place of the first of them."""
        start = rows.start
        while start < rows.stop:
            place = (self.first + start - self.window.start) % self.rows
            stop = min(rows.stop, start + self.rows - place)
            yield Span(start, stop), place
            start = stop
