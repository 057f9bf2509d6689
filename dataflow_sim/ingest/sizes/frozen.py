"""What becomes of the extents of a map when the size of its network changes.

An axis is a product of factors, and a factor knows its extent in the file and its new one.  The
rows and columns of an image are factors of their own wherever they go:

    (1, 192, 14, 14)  reshaped to   (1, 192, 196)     the axis of 196 is 14 x 14
    new 20 x 24                      (1, 192, 480)
    reshaped back by the file to    (1, 192, 14, 14)   hence to (1, 192, 20, 24)

A reshape that the file states with numbers only is followed in its own order of elements: each
of its axes takes the factors whose product it is.  A side of a plane that is cut into several
keeps the inner extents, so that windows keep their size and their number grows.  An axis that
joins maps knows its parts, so that they come apart where they were joined.

Assumed: what holds of numbers in the file holds of the factors (an axis of 14 x 14 that is cut
into 14 and 14 is cut between them).  An axis of which nobody knows what it is made of is no side
of a plane, and never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import prod

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Factor:
    """An extent in the file and the new one.

    `parts` are the axes that were joined, in order; `is_side`: it is a side of a plane, which
    windows may cut, and no product of others.
    """

    old: int
    new: int
    parts: tuple[Axis, ...] = ()
    is_side: bool = False

    @property
    def is_fixed(self) -> bool:
        """Whether the extent stays as it is, and those of its parts."""
        return self.old == self.new and not self.parts


Axis = tuple[Factor, ...]
Axes = tuple[Axis, ...]


def old_extent(axis: Axis) -> int:
    """The extent of an axis in the file."""
    return prod(factor.old for factor in axis)


def new_extent(axis: Axis) -> int:
    """The new extent of an axis."""
    return prod(factor.new for factor in axis)


def old_shape(axes: Axes) -> Shape:
    """The shape in the file."""
    return tuple(old_extent(axis) for axis in axes)


def new_shape(axes: Axes) -> Shape:
    """The new shape."""
    return tuple(new_extent(axis) for axis in axes)


def is_fixed(axis: Axis) -> bool:
    """Whether the extent of an axis stays as it is."""
    return old_extent(axis) == new_extent(axis)


def is_followed(axis: Axis) -> bool:
    """Whether anything of an axis changes, be it that two of its factors make up for each other."""
    return not all(factor.is_fixed for factor in axis)


def is_side(axis: Axis) -> bool:
    """Whether an axis is a side of a plane, or windows along one."""
    return not is_followed(axis) or (axis[0].is_side and not is_followed(axis[1:]))


def plain(old: Sequence[int], new: Sequence[int], sides: bool = False) -> Axes:
    """Axes of which nothing is known but their extents, and whether they are sides of planes."""
    return tuple((Factor(*each, is_side=sides),) for each in zip(old, new, strict=True))


def joined(axes: Sequence[Axis]) -> Axis:
    """The axis along which maps are joined."""
    old, new = (sum(map(extent, axes)) for extent in (old_extent, new_extent))
    parts = tuple(axes) if any(map(is_followed, axes)) else ()
    return (Factor(old, new, parts, bool(parts) and all(map(is_side, axes))),)


def _cut(factor: Factor, outer: int) -> tuple[Factor, Factor] | None:
    """A factor as `outer` in the file times the rest; what is inside keeps its extent."""
    inner, left = divmod(factor.old, outer)
    if left or factor.new % inner or not (factor.is_side or factor.is_fixed):
        return None
    return Factor(outer, factor.new // inner, is_side=True), Factor(inner, inner)


def _taken(pending: list[Factor], extent: int) -> Axis | None:
    """Take from the front the factors whose product is an extent above 1."""
    taken: list[Factor] = []
    size = 1
    while size < extent:
        if not pending or extent % size:
            return None
        factor = pending.pop(0)
        if extent % (size * factor.old):
            pieces = _cut(factor, extent // size)
            if pieces is None and pending and factor.is_fixed and pending[0].is_fixed:
                whole = factor.old * pending.pop(0).old
                pending.insert(0, Factor(whole, whole))
                continue
            if pieces is None:
                return None
            factor = pieces[0]
            pending.insert(0, pieces[1])
        taken.append(factor)
        size *= factor.old
    return tuple(taken)


def _lone(pending: list[Factor], places: int, batch: tuple[int, int] | None) -> Axis:
    """Take from the front the factors of 1 that an axis of 1 is, the next of `places` such axes.

    Where there are more of them than such axes, the batch comes first.
    """
    ones = list(takewhile(lambda factor: factor.old == 1, pending))
    count = min(1, len(ones))
    extents = [(factor.old, factor.new) for factor in ones]
    if len(ones) > places and batch in extents:
        count = extents.index(batch) + 1
    del pending[:count]
    return tuple(ones[:count])


def regrouped(axes: Axes, target: Shape, batch: tuple[int, int] | None = None) -> Axes | None:
    """The axes of a map that the file reshapes to `target`; None where that cannot be followed.

    `batch` is that of the file and the new one.  A batch of 1 goes to the next axis of 1, else to
    the axis that follows; never to the innermost, which holds features, unless there is no other.
    """
    if 0 in target or prod(target) != prod(old_shape(axes)):
        return None
    if not any(map(is_followed, axes)):
        return plain(target, target)
    pending = [factor for axis in axes for factor in axis]
    result: list[Axis] = []
    for position, extent in enumerate(target):
        if extent == 1:
            ones = takewhile(lambda each: each == 1, target[position:])
            result.append(_lone(pending, len(list(ones)), batch))
            continue
        if result and position == len(target) - 1:
            while pending and pending[0].old == 1 and (1, pending[0].new) in (batch, (1, 1)):
                result[-1] = (*result[-1], pending.pop(0))
        taken = _taken(pending, extent)
        if taken is None:
            return None
        result.append(taken)
    if pending and not result:
        return None
    if pending:
        result[-1] = (*result[-1], *pending)
    return tuple(result)


def boundary(axis: Axis, position: int) -> int | None:
    """Where a cut at a place along an axis lies now; None where that cannot be told.

    Cuts between joined maps, and between whole rows of a flattened plane, stay there; inside a
    row of a plane they cannot be told.  Any other keeps its distance from the nearer end, and one
    in the middle stays in the middle.
    """
    old, new = old_extent(axis), new_extent(axis)
    if position <= 0 or not is_followed(axis):
        return position
    if position >= old:
        return new
    if len(axis) > 1:
        inner_old, inner_new = old_extent(axis[1:]), new_extent(axis[1:])
        rows, rest = divmod(position, inner_old)
        outer = boundary(axis[:1], rows) if rest == 0 else None
        if outer is not None or is_followed(axis[1:]):
            return None if outer is None else outer * inner_new
    before_old = before_new = 0
    for part in axis[0].parts if len(axis) == 1 else ():
        if position <= before_old + old_extent(part):
            inside = boundary(part, position - before_old)
            return None if inside is None else before_new + inside
        before_old += old_extent(part)
        before_new += new_extent(part)
    if 2 * position == old:
        return None if new % 2 else new // 2
    found = position if 2 * position < old else new - (old - position)
    return found if 0 < found < new else None


def part_of(axis: Axis, start: int, stop: int) -> Axis | None:
    """The axes joined into one, between two places in the file; None where it cuts through."""
    if (start, stop) == (0, old_extent(axis)):
        return axis
    place = 0
    inside: list[Axis] = []
    for part in axis[0].parts if len(axis) == 1 else ():
        if start <= place < stop:
            if place + old_extent(part) > stop:
                return None
            inside.append(part)
        elif place < start < place + old_extent(part):
            return None
        place += old_extent(part)
    if not inside:
        return None
    return inside[0] if len(inside) == 1 else joined(inside)
