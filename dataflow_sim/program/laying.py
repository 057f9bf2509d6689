"""Lays the tensors of a program out in DRAM, one behind the other in the order of their first use.

    row-major         batch, channel, row, column
    channels-last     batch, row, column, channel
    channel-blocked   batch, row, block of channels, column, channel of the block
    tiles             the boxes that are stored (of what is not stored: loaded), in their order
    packed            every box that moves, as if it were a tensor of its own

The last block of `channel-blocked` leaves the addresses of missing channels free.  Where boxes
overlap, or leave columns out, they make no tiles: the tensor lies row by row.  A compressed tensor
has no addresses of elements: whatever the layout of others, unless all is packed, it lies in tiles,
each compressed by itself, which an index finds; one that makes no tiles is one.  Part of a tile is
taken to lie within it in proportion.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from dataflow_sim.graph.layer import Tensor, TensorKind
from dataflow_sim.graph.region import Box, Shape4, whole
from dataflow_sim.program.homes import Digit, Home, Lines, Pieces, Tiles
from dataflow_sim.program.instructions import Load, Program, Store

# axes, the slowest first; the second channel axis is that within a block
_ORDERS = {
    "row-major": ("n", "c", "h", "w"),
    "channels-last": ("n", "h", "w", "c"),
    "channel-blocked": ("n", "h", "C", "w", "b"),
}
_AXES = {"n": 0, "c": 1, "C": 1, "b": 1, "h": 2, "w": 3}


@dataclass(frozen=True, slots=True)
class Layouts:
    """How maps, weights, and the network's inputs and outputs lie; in bytes what a tensor or a tile
    begins at a multiple of, what a row does, and the entry of an index."""

    maps: str
    weights: str
    interface: str
    channel_block: int
    alignment_bytes: int
    pitch_bytes: int
    index_bytes: int

    def of(self, tensor: Tensor) -> str:
        """The layout of a tensor."""
        if self.maps == "packed":
            return "packed"
        if tensor.kind is TensorKind.PARTIAL_SUM or tensor.coding.by_block:
            return "tiles"
        if tensor.kind is TensorKind.WEIGHT:
            return "tiles" if self.weights == "fetch-order" else self.weights
        if tensor.kind in (TensorKind.INPUT, TensorKind.OUTPUT):
            return self.interface
        return self.maps


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def lines(shape: Shape4, bits: int, name: str, block: int, pitch: int) -> tuple[Lines, int]:
    """The digits of a layout, and how much it takes; rows begin at multiples of a pitch."""
    sizes = {"n": shape[0], "c": shape[1], "h": shape[2], "w": shape[3], "b": block}
    sizes["C"] = -(-shape[1] // block)
    found: list[Digit] = []
    stride = bits
    for letter in reversed(_ORDERS[name]):
        if letter == "b" and block == 1:
            continue
        blocked = block if letter == "C" else 1
        found.append(Digit(_AXES[letter], blocked, sizes[letter], stride))
        stride *= sizes[letter]
        if letter == "w":  # a row ends
            stride = _up(stride, pitch)
    return Lines(tuple(reversed(found))), stride


def _overlap(boxes: Iterable[Box]) -> bool:
    """Whether boxes have elements in common, or leave some out between their borders."""
    boxes = list(boxes)
    if any(span.step != 1 for box in boxes for span in box):
        return True
    borders = [
        np.unique([edge for box in boxes for edge in (box[axis].start, box[axis].stop)])
        for axis in range(4)
    ]
    painted = np.zeros([len(edges) for edges in borders], bool)
    for box in boxes:
        cells = tuple(
            slice(*np.searchsorted(edges, (span.start, span.stop)).tolist())
            for edges, span in zip(borders, box, strict=True)
        )
        if painted[cells].any():
            return True
        painted[cells] = True
    return False


def _tiles(boxes: list[Box], bits: int, alignment: int, index_bits: int) -> tuple[Tiles, int]:
    starts, at = [], _up(len(boxes) * index_bits, alignment)
    for box in boxes:
        starts.append(at)
        at = _up(at + box.elements * bits, alignment)
    return Tiles(tuple(boxes), tuple(starts), 0, index_bits), at


def _pieces(boxes: list[Box], bits: int, alignment: int) -> tuple[Pieces, int]:
    starts, at = {}, 0
    for box in boxes:
        starts[box] = at
        at = _up(at + box.elements * bits, alignment)
    return Pieces(starts), at


def laid_out(program: Program, layouts: Layouts) -> Program:
    """The program with a home for every tensor that it moves."""
    byte = program.byte_bits
    moved: dict[str, dict[type, dict[Box, None]]] = {}
    for each in program.instructions:
        if isinstance(each, Load | Store):
            kinds = moved.setdefault(each.tensor, {Load: {}, Store: {}})
            kinds[type(each)][each.box] = None
    homes: dict[str, Home] = {}
    at = 0
    for name, kinds in moved.items():
        tensor = program.tensors[name]
        alignment = layouts.alignment_bytes * byte
        chosen = layouts.of(tensor)
        layout: Lines | Tiles | Pieces
        if chosen == "packed":
            boxes = list({**kinds[Store], **kinds[Load]})
            layout, size = _pieces(boxes, tensor.bits, alignment)
        elif chosen == "tiles":
            boxes = list(kinds[Store] or kinds[Load])
            index = layouts.index_bytes * byte if tensor.coding.by_block else 0
            if _overlap(boxes):
                boxes = [whole(tensor.shape)]
            layout, size = _tiles(boxes, tensor.bits, alignment, index)
        else:
            pitch = layouts.pitch_bytes * byte
            block = min(layouts.channel_block, tensor.shape[1])
            layout, size = lines(tensor.shape, tensor.bits, chosen, block, pitch)
        homes[name] = Home(at, size, tensor.bits, layout, chosen)
        at = _up(at + size, alignment)
    return replace(program, homes=homes)
