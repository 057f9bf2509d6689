"""Regions of tensors: half-open, possibly strided boxes over (batch, channel, row, column).

A weight tensor uses the same four axes as (output channel, input channel of its group,
kernel row, kernel column).
"""

from __future__ import annotations

from typing import NamedTuple

Shape4 = tuple[int, int, int, int]


class Span(NamedTuple):
    """The indices start, start + step, ... below stop, along one axis."""

    start: int
    stop: int
    step: int = 1

    @property
    def length(self) -> int:
        """Number of indices."""
        if self.step == 1:
            return self.stop - self.start
        return len(range(self.start, self.stop, self.step))

    @property
    def slice(self) -> slice:
        """The same indices as a numpy slice."""
        return slice(self.start, self.stop, self.step)


class Box(NamedTuple):
    """A region of a tensor: one span for each of the four axes."""

    batch: Span
    channel: Span
    row: Span
    column: Span

    @property
    def shape(self) -> Shape4:
        """Elements along each axis."""
        return (self.batch.length, self.channel.length, self.row.length, self.column.length)

    @property
    def elements(self) -> int:
        """Number of elements."""
        batch, channel, row, column = self
        return batch.length * channel.length * row.length * column.length

    @property
    def slices(self) -> tuple[slice, slice, slice, slice]:
        """The region as a numpy index."""
        return (self.batch.slice, self.channel.slice, self.row.slice, self.column.slice)


def whole(shape: Shape4) -> Box:
    """The box that covers all of a tensor."""
    return Box(*(Span(0, extent) for extent in shape))
