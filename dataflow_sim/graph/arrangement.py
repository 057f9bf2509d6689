"""How an array of the file runs over the four axes of a feature map.

A map lives in DRAM as (batch, channel, row, column).  The file sees it with axes of its
own: reshaped, transposed, channels last.  An arrangement says for each axis of the file
which parts of the map's axes it runs over, the slowest first:

    tokens of a ViT, (1, 196, 192) over (1, 192, 14, 14)     [] [row 14, column 14] [channel 192]
    its heads, (1, 3, 196, 64)                [] [channel 3 by 64] [row, column] [channel 64 by 1]

A factor (axis, extent, stride) is a run of `extent` indices along an axis, `stride` apart.
Reshaping splits and joins factors, transposing permutes them; neither moves a byte, and a
layer that can take the arrangement reads the map as it lies.  A reshape that would cut
across factors (of 4 x 6 to 6 x 4) has no arrangement: the map must be copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.region import Box, Shape4

BATCH, CHANNEL, ROW, COLUMN = range(4)


class Factor(NamedTuple):
    """A run of indices along an axis of a map."""

    axis: int
    extent: int
    stride: int


Factors = tuple[Factor, ...]


def _normal(factors: Iterable[Factor]) -> Factors:
    """Without runs of one index, and with runs joined that follow on each other."""
    found: list[Factor] = []
    for factor in factors:
        if factor.extent == 1:
            continue
        last = found[-1] if found else None
        if last and last.axis == factor.axis and last.stride == factor.extent * factor.stride:
            found[-1] = Factor(factor.axis, last.extent * factor.extent, factor.stride)
        else:
            found.append(factor)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """For each axis of the file the factors that it runs over, in normal form once made."""

    axes: tuple[Factors, ...]

    def __post_init__(self) -> None:
        """Leave out runs of one index and join runs that follow on each other."""
        object.__setattr__(self, "axes", tuple(_normal(factors) for factors in self.axes))

    @staticmethod
    def of(shape: Shape4, groups: Sequence[Sequence[int]]) -> Arrangement:
        """The arrangement whose axes run over whole axes of a map of that shape."""
        return Arrangement(
            tuple(tuple(Factor(axis, shape[axis], 1) for axis in group) for group in groups)
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the file sees."""
        return tuple(prod(factor.extent for factor in factors) for factors in self.axes)

    def reshaped(self, shape: Sequence[int]) -> Arrangement | None:
        """The same elements in another shape; None where that cuts across factors."""
        left = [factor for factors in self.axes for factor in factors][::-1]
        axes: list[Factors] = []
        for extent in shape:
            taken: list[Factor] = []
            need = extent
            while need > 1:
                if not left:
                    return None
                axis, run, stride = left.pop()
                if need % run == 0:
                    taken.append(Factor(axis, run, stride))
                    need //= run
                elif run % need == 0:
                    inner = run // need
                    taken.append(Factor(axis, need, stride * inner))
                    left.append(Factor(axis, inner, stride))
                    need = 1
                else:
                    return None
            axes.append(tuple(taken))
        return None if left else Arrangement(tuple(axes))

    def transposed(self, order: Sequence[int]) -> Arrangement:
        """The same elements with the file's axes in another order."""
        return Arrangement(tuple(self.axes[axis] for axis in order))

    def with_axis(self, axis: int, factors: Factors) -> Arrangement:
        """The arrangement with another run along one axis of the file."""
        return Arrangement((*self.axes[:axis], factors, *self.axes[axis + 1 :]))

    def covers(self, file_axes: Sequence[int], map_axes: Sequence[int], shape: Shape4) -> bool:
        """Whether some axes of the file run exactly over whole axes of the map, in order."""
        found = _normal(factor for axis in file_axes for factor in self.axes[axis])
        return found == _normal(Factor(axis, shape[axis], 1) for axis in map_axes)

    def axis_of(self, map_axis: int, shape: Shape4) -> int | None:
        """The axis of the file that runs exactly over one axis of the map; None if none does.

        None also where that axis of the map has one index only, which no axis shows.
        """
        whole = (Factor(map_axis, shape[map_axis], 1),)
        return next((axis for axis, factors in enumerate(self.axes) if factors == whole), None)

    def within(self, shape: Shape4, box: Box) -> tuple[Arrangement, tuple[int, ...]]:
        """A box of a map of that shape as the file sees it: how its array runs over the box, and
        the index of the array's first element along each axis of the file.

        Raises ValueError where the box is not a run of indices along every axis.
        """
        axes, first = list(self.axes), [0] * len(self.axes)
        for place, span in enumerate(box):
            if (span.start, span.stop, span.step) == (0, shape[place], 1):
                continue
            axis = self.cut_by(place, shape)
            if axis is None:
                raise ValueError(f"no axis of the file runs along {box} of {shape}")
            outer, *inner = axes[axis]
            if span.step != 1 or span.start % outer.stride or span.stop % outer.stride:
                raise ValueError(f"{box} cuts runs of {outer.stride} along axis {place}")
            runs = (Factor(place, span.length // outer.stride, outer.stride), *inner)
            first[axis] = span.start // outer.stride * prod(factor.extent for factor in inner)
            axes[axis] = runs
        return Arrangement(tuple(axes)), tuple(first)

    def cut_by(self, map_axis: int, shape: Shape4) -> int | None:
        """The axis of the file that is cut where an axis of the map is: the slowest of what it
        runs over is all of that.  None if none does."""
        for axis, factors in enumerate(self.axes):
            outer = factors[0] if factors else None
            if outer and outer.axis == map_axis and outer.extent * outer.stride == shape[map_axis]:
                return axis
        return None

    def _places(self, shape: Shape4) -> list[npt.NDArray[np.int64]]:
        """For each axis of the map its index at every element of the file's array."""
        places = [np.zeros(self.shape, np.int64) for _ in range(4)]
        for position, factors in enumerate(self.axes):
            own = [1] * len(self.axes)
            own[position] = -1
            index = np.arange(prod(factor.extent for factor in factors))
            for factor in factors[::-1]:
                index, place = np.divmod(index, factor.extent)
                places[factor.axis] += (place * factor.stride).reshape(own)
        return places

    def to_map(self, array: npt.NDArray[np.generic], shape: Shape4) -> npt.NDArray[np.generic]:
        """An array of the file as a map of (batch, channel, row, column)."""
        found = np.empty(shape, array.dtype)
        found[tuple(self._places(shape))] = array
        return found

    def from_map(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """A map as the array that the file sees."""
        n, c, h, w = array.shape
        return np.asarray(array[tuple(self._places((n, c, h, w)))])


def plain(shape: Shape4, rank: int = 4) -> Arrangement:
    """The arrangement of a map that the file sees as it lies, by its first `rank` axes.

    With fewer than four the remaining axes of the map have one index.
    """
    return Arrangement.of(shape, [(axis,) for axis in range(rank)])


def arranged(shape: Sequence[int], channel_axis: int) -> tuple[Shape4, Arrangement]:
    """A map for an array of the file: which axis holds the channels is given.

    The first axis is the batch, unless it holds the channels; of the others the first is
    the rows, and all further ones together are the columns.
    """
    axes = list(range(len(shape)))
    if not axes:
        return (1, 1, 1, 1), Arrangement(())
    rest = [axis for axis in axes if axis != channel_axis]
    batch = rest.pop(0) if channel_axis and rest else None
    rows = rest.pop(0) if rest else None
    extents = (
        1 if batch is None else shape[batch],
        shape[channel_axis],
        1 if rows is None else shape[rows],
        prod(shape[axis] for axis in rest),
    )
    found: dict[int, Factors] = {channel_axis: (Factor(CHANNEL, shape[channel_axis], 1),)}
    if batch is not None:
        found[batch] = (Factor(BATCH, shape[batch], 1),)
    if rows is not None:
        found[rows] = (Factor(ROW, shape[rows], 1),)
    stride = extents[3]
    for axis in rest:
        stride //= shape[axis]
        found[axis] = (Factor(COLUMN, shape[axis], stride),)
    return extents, Arrangement(tuple(found[axis] for axis in axes))
