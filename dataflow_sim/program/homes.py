"""Where tensors lie in DRAM: of every element an address, in the unit that widths are counted in.

    Lines    address = Σ digit x stride, each digit a part of an index: rows, pixels, blocks
    Tiles    boxes one behind the other, each row by row; compressed ones with an index that tells
             where each begins
    Pieces   a place for every box that moves, as if each were a tensor of its own

Types only: `program.laying` decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dataflow_sim.graph.region import Box


class Digit(NamedTuple):
    """Index i along `axis` has the digit i // block % size, which is `stride` in the address."""

    axis: int
    block: int
    size: int
    stride: int


@dataclass(frozen=True, slots=True)
class Lines:
    """Digits, the slowest first."""

    digits: tuple[Digit, ...]


@dataclass(frozen=True, slots=True)
class Tiles:
    """Boxes that do not overlap, from where each begins; within each (batch, channel, row, column)
    without gaps.

    Where the tensor is compressed, entry n of its index, `index_bits` long, begins at
    `index_start` + n x `index_bits`; reading any of a box reads its entry.
    """

    boxes: tuple[Box, ...]
    starts: tuple[int, ...]
    index_start: int = 0
    index_bits: int = 0


@dataclass(frozen=True, slots=True)
class Pieces:
    """Where each box begins that moves."""

    starts: Mapping[Box, int]


@dataclass(frozen=True, slots=True)
class Home:
    """A tensor's place in DRAM: it begins at `start`, takes `size`, elements of `bits` each; what
    the layout says is from `start` on.  `layout_name` is what results call it."""

    start: int
    size: int
    bits: int
    layout: Lines | Tiles | Pieces
    layout_name: str
