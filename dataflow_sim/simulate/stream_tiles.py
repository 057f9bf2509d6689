"""Tiles of streamed layers: from boxes of maps to arrays as the operator sees them, and back.

A step of a sweep reads a box of each view.  Its loops run over axes of the file (`graph.sweep`), so
that a box is a run of indices along every axis of the operator's input, and an array of that run is
all that arithmetic needs:

    box of keys, (1, heads x depth, keys, 1)  ─►  (batch, heads, keys, depth), from key 12 on

What the boxes read say of the loops decides what the step makes: the same indices of every result.
Running sums lie as (batches, groups, rows, values) of the loops; what a (batch, group, row) has of
several indices of the file follows one on the other among its values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.arrangement import Arrangement
from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.meaning import Input, Meaning
from dataflow_sim.graph.region import Box, Shape4, Span, whole
from dataflow_sim.graph.sweep import Access, Sweep

Array = npt.NDArray[np.float64]
Held = tuple[Array, Box]
Constants = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Part of an array of the file: where it begins in it, and the extents of all of it."""

    array: Array
    first: tuple[int, ...]
    full: tuple[int, ...]

    @property
    def stop(self) -> tuple[int, ...]:
        """The index behind the last one along each axis."""
        return tuple(low + size for low, size in zip(self.first, self.array.shape, strict=True))

    def beside(self, other: Tile) -> Array:
        """The elements that broadcast against another tile, axes counted from the last.

        Raises ProgramError where some of them are not in this one.
        """
        index: list[slice] = []
        missing = len(other.full) - len(self.full)
        for axis, extent in enumerate(self.full):
            if extent == 1 or missing + axis < 0:
                index.append(slice(None))
                continue
            low = other.first[missing + axis] - self.first[axis]
            high = low + other.array.shape[missing + axis]
            if low < 0 or high > self.array.shape[axis]:
                raise ProgramError(f"{self.first} to {self.stop} are read, {other.first} needed")
            index.append(slice(low, high))
        return self.array[tuple(index)]


def of_all(array: Array) -> Tile:
    """The tile of a whole array."""
    return Tile(array, (0,) * array.ndim, array.shape)


def loops_of(
    sweep: Sweep, shapes: Sequence[Shape4], boxes: Sequence[Box | None]
) -> dict[str, Span]:
    """The indices of each loop that the boxes of the views stand for.

    Raises ProgramError where they stand for different ones, or for a run with a gap.
    """
    found: dict[str, Span] = {}
    parts: list[Span] = []
    for access, shape, box in zip(sweep.views, shapes, boxes, strict=True):
        for loop, axis, part in access if box is not None else ():
            assert box is not None
            span = _indices(sweep, loop, part, shape[axis], box[axis])
            if part is not None:
                parts.append(span)
            elif found.setdefault(loop, span) != span:
                raise ProgramError(f"{span} and {found[loop]} of one loop meet in a step")
    if parts:
        first, *others = sorted(set(parts))
        columns = first
        for span in others:
            if span.start != columns.stop:
                raise ProgramError(f"columns from {first.start} on have a gap at {columns.stop}")
            columns = Span(first.start, span.stop)
        if found.setdefault("N", columns) != columns:
            raise ProgramError(f"{columns} and {found['N']} of one loop meet in a step")
    return {loop: found.get(loop, Span(0, sweep.extent(loop))) for loop in "BGPN"}


def _indices(sweep: Sweep, loop: str, part: int | None, extent: int, span: Span) -> Span:
    unit = extent // sweep.extent(loop, part)
    if span.start % unit or span.stop % unit or span.step != 1:
        raise ProgramError(f"{span} is no run of whole indices, of {unit} each")
    start = 0 if part is None else sum(sweep.parts[:part])
    return Span(start + span.start // unit, start + span.stop // unit)


def box_of(sweep: Sweep, access: Access, shape: Shape4, loops: Mapping[str, Span]) -> Box:
    """What some indices of the loops are of a map."""
    spans = list(whole(shape))
    for loop, axis, _ in access:
        unit = shape[axis] // sweep.extent(loop)
        spans[axis] = Span(loops[loop].start * unit, loops[loop].stop * unit)
    return Box(*spans)


def given_tile(
    layer: Layer,
    given: Input,
    held: Sequence[Held | None],
    constants: Constants,
    vectors: Constants,
) -> Tile | None:
    """What a step has of an input of its operator; None where it has nothing of it.

    `vectors` holds the constants among the layer's vectors that are in local memory.
    """
    if given.seen:
        return _joined(layer, given, held)
    if given.vector is not None:
        constants = vectors
    value = constants.get(given.constant)
    return None if value is None else of_all(np.asarray(value, np.float64))


def _joined(layer: Layer, given: Input, held: Sequence[Held | None]) -> Tile | None:
    """Views one behind the other, of which a step may meet some."""
    tiles: list[Tile] = []
    at = 0
    for view, axes in given.seen:
        there = held[view]
        if there is not None:
            own = seen_tile(axes, layer.views[view].shape, *there)
            axis = given.joined % len(own.full)
            first = (*own.first[:axis], own.first[axis] + at, *own.first[axis + 1 :])
            if tiles and tiles[-1].stop[axis] != first[axis]:
                raise ProgramError(f"a step reads {tiles[-1].stop} and {first}, nothing between")
            tiles.append(Tile(own.array, first, own.full))
        at += axes.shape[given.joined % len(axes.shape)] if len(given.seen) > 1 else 0
    if len(given.seen) == 1 or not tiles:
        return tiles[0] if tiles else None
    axis = given.joined % len(tiles[0].full)
    full = (*tiles[0].full[:axis], at, *tiles[0].full[axis + 1 :])
    return Tile(np.concatenate([tile.array for tile in tiles], axis), tiles[0].first, full)


def seen_tile(axes: Arrangement, shape: Shape4, values: Array, box: Box) -> Tile:
    """A box of a map as the file sees it."""
    own, first = axes.within(shape, box)
    return Tile(np.asarray(own.from_map(values), np.float64), first, axes.shape)


def to_map(axes: Arrangement, shape: Shape4, box: Box, array: Array) -> Array:
    """An array of the file's that lies in a box of a map, as it lies there."""
    own, _ = axes.within(shape, box)
    if array.shape != own.shape:
        raise ProgramError(f"a result of {array.shape} where {own.shape} belongs")
    return np.asarray(own.to_map(array, box.shape), np.float64)


def runs_of(axes: Arrangement, access: Access, shape: Shape4) -> dict[str, int]:
    """The axis of the file that each loop of batches, groups and rows runs over."""
    found = {cut.loop: axes.cut_by(cut.axis, shape) for cut in access}
    return {loop: axis for loop, axis in found.items() if axis is not None and loop != "N"}


def packed(values: Array, runs: Mapping[str, int], loops: Mapping[str, Span]) -> Array:
    """Values of each element of an array, on a last axis of their own, as running sums lie."""
    split, order = _split(values.shape, runs, loops)
    counts = tuple(loops[loop].length if loop in runs else 1 for loop in "BGP")
    return values.reshape(split).transpose(order).reshape((*counts, -1))


def unpacked(
    sums: Array, shape: tuple[int, ...], runs: Mapping[str, int], loops: Mapping[str, Span]
) -> Array:
    """The inverse: values on a last axis, for each element of an array of that shape."""
    split, order = _split(shape, runs, loops)
    back = np.argsort(order)
    return sums.reshape([split[axis] for axis in order]).transpose(back).reshape(shape)


def _split(
    shape: Sequence[int], runs: Mapping[str, int], loops: Mapping[str, Span]
) -> tuple[list[int], list[int]]:
    """The shape with the indices of each loop on an axis of their own, and these axes first."""
    split: list[int] = []
    place: dict[str, int] = {}
    by_axis = {axis: loop for loop, axis in runs.items()}
    for axis, extent in enumerate(shape):
        if axis in by_axis:
            loop = by_axis[axis]
            place[loop] = len(split)
            split += [loops[loop].length, extent // loops[loop].length]
        else:
            split.append(extent)
    first = [place[loop] for loop in "BGP" if loop in place]
    return split, first + [axis for axis in range(len(split)) if axis not in first]


def vector_elements(layer: Layer, constants: Constants) -> int:
    """Elements of the constants among a layer's vectors."""
    inputs = () if layer.meaning is None else layer.meaning.inputs
    sizes = {
        each.constant: constants[each.constant].size for each in inputs if each.vector is not None
    }
    return sum(sizes.values())


def vectors_of(meaning: Meaning, constants: Constants, found: Array | None) -> dict[str, Array]:
    """The constants among a layer's vectors by name, of their elements as a step found them.

    `found` numbers the elements that lie in local memory; None where none do.
    """
    named = [each for each in meaning.inputs if each.vector is not None]
    values = {e.constant: np.asarray(constants[e.constant], np.float64) for e in named}
    if found is None or not named:
        return {}
    ordered = sorted({(each.vector or 0, each.constant) for each in named})
    flat = np.concatenate([values[name].ravel() for _, name in ordered])
    there = flat[found.astype(np.int64)]
    return {
        name: there[start : start + values[name].size].reshape(values[name].shape)
        for start, name in ordered
    }
