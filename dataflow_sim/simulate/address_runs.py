"""Address runs: where in DRAM the elements of a box lie, as ranges without gaps.

    box ──► pieces: products of ranges of digits ──► run = the innermost digits that are whole
                                                      ──► one run for every value of the others

    row-major map, box of 2 channels, 2 of 4 rows, 3 of 8 columns     columns whole:
        c0  ···███·····███···                                             c0  ████████████████
        c1  ···███·····███···       4 runs of 3                           c1  ████████████████

Runs of a transfer are in ascending order, and those that touch are one; so are the bursts that they
lie in, each of which is moved once.  Strided boxes have a run for each of their elements along the
stride.  Addresses are counted in the unit of widths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dataflow_sim.graph.region import Box
from dataflow_sim.program.homes import Digit, Home, Lines, Pieces, Tiles
from dataflow_sim.simulate.arrays import Ints, counted


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Ranges [start, stop) of boxes: `of` is the box of each, in ascending order, as are the
    ranges of a box."""

    of: Ints
    start: Ints
    stop: Ints

    def bursts(self, burst: int) -> Runs:
        """The bursts that the ranges lie in, as ranges of their numbers."""
        return _merged(self.of, self.start // burst, -(-self.stop // burst))

    def totals(self, boxes: int) -> Ints:
        """The length of all ranges of each box."""
        found = np.zeros(boxes, np.int64)
        np.add.at(found, self.of, self.stop - self.start)
        return found


def _merged(of: Ints, start: Ints, stop: Ints) -> Runs:
    """Ranges in order, those of a box that touch or overlap as one."""
    order = np.lexsort((start, of))
    of, start, stop = of[order], start[order], stop[order]
    if not of.size:
        return Runs(of, start, stop)
    # of a box, stops ascend with starts, or are within the range before
    new = np.ones(of.size, bool)
    new[1:] = (of[1:] != of[:-1]) | (start[1:] > stop[:-1])
    first = np.flatnonzero(new)
    return Runs(of[first], start[first], np.maximum.reduceat(stop, first))


def _arrays(boxes: Sequence[Box]) -> Ints:
    return np.array(boxes, np.int64).reshape(-1, 4, 3)


def _expanded(
    of: Ints, base: Ints, counts: Sequence[Ints], steps: Sequence[Ints], run: Ints
) -> tuple[Ints, Ints, Ints]:
    """Runs for every combination of digits, the slowest first, that go on by steps."""
    total: Ints = np.ones(base.size, np.int64)
    for count in counts:
        total *= count
    piece, rest = counted(total)
    start: Ints = base[piece]
    for count, step in zip(reversed(counts), reversed(steps), strict=True):
        digit = rest % count[piece]
        rest = rest // count[piece]
        start = start + digit * step[piece]
    return of[piece], start, start + run[piece]


def _joined(
    of: Ints,
    first: Sequence[Ints],
    count: Sequence[Ints],
    step: Sequence[Ints],
    stride: Sequence[Ints],
    bits: int,
    base: Ints,
) -> tuple[Ints, Ints, Ints]:
    """The runs of pieces, each digit of which takes `count` values from `first` on by `step`."""
    run = np.full(base.size, bits, np.int64)
    counts, steps = [], []
    for place in reversed(range(len(first))):
        dense = (stride[place] == run) & ((step[place] == 1) | (count[place] == 1))
        counts.append(np.where(dense, 1, count[place]))
        steps.append(step[place] * stride[place])
        run = np.where(dense, run * count[place], run)
        base = base + first[place] * stride[place]
    return _expanded(of, base, counts[::-1], steps[::-1], run)


def _split(of: Ints, boxes: Ints, axis: int, block: int) -> tuple[Ints, Ints]:
    """Boxes cut along an axis so that each lies within a block, or is of whole blocks."""
    strided = boxes[:, axis, 2] != 1
    if strided.any():  # each index by itself
        there = boxes[strided]
        lengths = -(-(there[:, axis, 1] - there[:, axis, 0]) // there[:, axis, 2])
        piece, number = counted(lengths)
        single = there[piece].copy()
        single[:, axis, 0] += number * single[:, axis, 2]
        single[:, axis, 1], single[:, axis, 2] = single[:, axis, 0] + 1, 1
        boxes = np.concatenate([boxes[~strided], single])
        of = np.concatenate([of[~strided], of[strided][piece]])
    start, stop = boxes[:, axis, 0], boxes[:, axis, 1]
    head = np.minimum(stop, -(-start // block) * block)
    tail = np.maximum(head, stop // block * block)
    found, names = [], []
    for first, last in ((start, head), (head, tail), (tail, stop)):
        here = last > first
        part = boxes[here].copy()
        part[:, axis, 0], part[:, axis, 1] = first[here], last[here]
        found.append(part)
        names.append(of[here])
    return np.concatenate(names), np.concatenate(found)


def _of_lines(digits: Sequence[Digit], bits: int, boxes: Ints) -> tuple[Ints, Ints, Ints]:
    of = np.arange(len(boxes))
    for digit in digits:
        if digit.block > 1:
            of, boxes = _split(of, boxes, digit.axis, digit.block)
    blocks = {digit.axis: digit.block for digit in digits if digit.block > 1}
    first, count, step, stride = [], [], [], []
    for digit in digits:
        start, stop, by = boxes[:, digit.axis].T
        if digit.axis not in blocks:
            first.append(start)
            count.append(-(-(stop - start) // by))
            step.append(by)
        elif digit.block > 1:
            first.append(start // digit.block)
            count.append(-(-stop // digit.block) - start // digit.block)
            step.append(np.ones_like(start))
        else:
            first.append(start % digit.size)
            count.append(np.minimum(stop - start, digit.size))
            step.append(np.ones_like(start))
        stride.append(np.full(len(boxes), digit.stride, np.int64))
    return _joined(of, first, count, step, stride, bits, np.zeros(len(boxes), np.int64))


def _of_tiles(tiles: Tiles, bits: int, boxes: Ints) -> tuple[Ints, Ints, Ints]:
    """Each box cut by the tiles that it meets, in which elements lie row by row."""
    there = _arrays(tiles.boxes)
    starts = np.array(tiles.starts, np.int64)
    of, cut, met = [], [], []
    for number, box in enumerate(boxes):
        inside = np.ones(len(there), bool)
        for axis in range(4):
            inside &= (there[:, axis, 0] < box[axis, 1]) & (box[axis, 0] < there[:, axis, 1])
        found = np.flatnonzero(inside)
        part = np.repeat(box[None], found.size, axis=0)
        by = part[:, :, 2]
        behind = np.maximum(there[found, :, 0] - part[:, :, 0], 0)
        part[:, :, 0] += -(-behind // by) * by
        part[:, :, 1] = np.minimum(part[:, :, 1], there[found, :, 1])
        left = (part[:, :, 1] > part[:, :, 0]).all(axis=1)
        of.append(np.full(int(left.sum()), number, np.int64))
        cut.append(part[left])
        met.append(found[left])
    of_all, parts, tile = np.concatenate(of), np.concatenate(cut), np.concatenate(met)
    sizes = there[tile, :, 1] - there[tile, :, 0]
    strides = np.full((len(parts), 4), bits, np.int64)
    for axis in (2, 1, 0):
        strides[:, axis] = strides[:, axis + 1] * sizes[:, axis + 1]
    spans = parts - there[tile, :, :1] * np.array([1, 1, 0])
    axes = range(4)
    found_of, start, stop = _joined(
        of_all,
        [spans[:, axis, 0] for axis in axes],
        [-(-(spans[:, axis, 1] - spans[:, axis, 0]) // spans[:, axis, 2]) for axis in axes],
        [spans[:, axis, 2] for axis in axes],
        [strides[:, axis] for axis in axes],
        bits,
        starts[tile],
    )
    if not tiles.index_bits:
        return found_of, start, stop
    entries = tiles.index_start + tile * tiles.index_bits
    return (
        np.concatenate([found_of, of_all]),
        np.concatenate([start, entries]),
        np.concatenate([stop, entries + tiles.index_bits]),
    )


def runs_of(home: Home, boxes: Sequence[Box]) -> Runs:
    """Where the elements of boxes of a tensor lie.  Of pieces, every box must be one."""
    layout = home.layout
    if isinstance(layout, Pieces):
        start = np.array([layout.starts[box] for box in boxes], np.int64)
        size = np.array([box.elements for box in boxes], np.int64) * home.bits
        return Runs(np.arange(len(boxes)), start + home.start, start + home.start + size)
    found = (
        _of_lines(layout.digits, home.bits, _arrays(boxes))
        if isinstance(layout, Lines)
        else _of_tiles(layout, home.bits, _arrays(boxes))
    )
    of, start, stop = found
    return _merged(of, start + home.start, stop + home.start)
