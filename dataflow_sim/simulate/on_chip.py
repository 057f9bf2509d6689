"""Memory on chip as the replay has it: its bytes, who owns each, and what lies where.

A buffer is a window on the bytes of its memory at the address that the program gave it.  It lies
row by row, each row with all of its batch, channels and columns, so that the buffers of a map's
rows, one behind the other, are windows on the very bytes of the map's:

    bytes    .. | 17 | 17 | 17 | 17 |  - |  - | 18 | 18 | ..      owner of each byte, - of none
    elements      e0 e1  e2 e3  e4 e5                             of 4 bits, the lowest bits first

Every byte has one owner.  To reserve a byte that has one is an error that names both; a byte is
poisoned when it is reserved and when it is given back.  Beside every buffer stands a shadow
of the same shape, with the identity of the element that lies at each place; a place that holds
none has NOTHING, and to read it is an error even where its bytes happen to be right.

Elements of 8, 16, 32 and 64 bits are views of the bytes; those of other widths are packed, bit
behind bit, and only a buffer's last byte may have bits to spare.  Behind it a buffer owns the bytes
up to the next multiple of the alignment, in which nothing lies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.region import Shape4
from dataflow_sim.program.instructions import Alloc, Join, Memory, Slice, Split
from dataflow_sim.simulate.buffers import Buffers
from dataflow_sim.simulate.codec import Patterns, container

NOTHING = -1
_NOBODY = -1
_POISON = 0xFF  # of every byte: no number in single precision
Ids = npt.NDArray[np.int64]
Index = tuple[slice, slice, slice, slice]


class _Whole:
    """Elements of whole bytes: a view of the memory's bytes as (batch, channel, row, column)."""

    def __init__(self, memory: bytearray, alloc: Alloc) -> None:
        n, c, h, w = alloc.shape
        kind = container(alloc.bits)
        flat = np.frombuffer(memory, kind, n * c * h * w, alloc.address)
        self.view: Patterns = flat.reshape(h, n, c, w).transpose(1, 2, 0, 3)

    def get(self, index: Index) -> Patterns:
        return self.view[index]

    def put(self, index: Index, patterns: Patterns) -> None:
        self.view[index] = patterns


class _Shared:
    """Elements of 1, 2 or 4 bits, several in each byte."""

    def __init__(self, memory: bytearray, alloc: Alloc) -> None:
        self.bytes = np.frombuffer(memory, np.uint8, alloc.size_bytes, alloc.address)
        self.each = 8 // alloc.bits
        self.bits = alloc.bits
        self.mask = (1 << alloc.bits) - 1
        self.places = _places(alloc.shape)

    def get(self, index: Index) -> Patterns:
        byte, place = np.divmod(self.places[index], self.each)
        return (self.bytes[byte] >> (place * self.bits).astype(np.uint8)) & np.uint8(self.mask)

    def put(self, index: Index, patterns: Patterns) -> None:
        byte, place = np.divmod(self.places[index], self.each)
        patterns = np.broadcast_to(np.asarray(patterns, np.uint8), byte.shape)
        for each in range(self.each):  # of one place in a byte no two elements have the same byte
            here, shift = place == each, each * self.bits
            kept = self.bytes[byte[here]] & np.uint8(0xFF ^ (self.mask << shift))
            self.bytes[byte[here]] = kept | (patterns[here] << np.uint8(shift))


class _Packed:
    """Elements of any width, bit behind bit."""

    def __init__(self, memory: bytearray, alloc: Alloc) -> None:
        self.bytes = np.frombuffer(memory, np.uint8, alloc.size_bytes, alloc.address)
        self.bits = alloc.bits
        self.places = _places(alloc.shape)

    def _bits(self, index: Index) -> npt.NDArray[np.int64]:
        """Where the bits of some elements lie, in a last axis of their own."""
        return self.places[index][..., None] * self.bits + np.arange(self.bits)

    def get(self, index: Index) -> Patterns:
        at = self._bits(index)
        ones = (self.bytes[at >> 3] >> (at & 7)).astype(np.uint64) & np.uint64(1)
        weights = np.uint64(1) << np.arange(self.bits, dtype=np.uint64)
        found: Patterns = (ones * weights).sum(axis=-1, dtype=np.uint64)
        return found.astype(container(self.bits))

    def put(self, index: Index, patterns: Patterns) -> None:
        at = self._bits(index)
        shifts = np.arange(self.bits, dtype=np.uint64)
        ones = (np.asarray(patterns, np.uint64)[..., None] >> shifts).astype(np.uint8) & 1
        ones = np.broadcast_to(ones, at.shape)
        for bit in range(8):  # of one place in a byte no two elements have the same byte
            here = (at & 7) == bit
            place = at[here] >> 3
            cleared = self.bytes[place] & np.uint8(0xFF ^ (1 << bit))
            self.bytes[place] = cleared | (ones[here] << np.uint8(bit))


@lru_cache(maxsize=64)
def _places(shape: Shape4) -> npt.NDArray[np.int64]:
    n, c, h, w = shape
    return np.arange(n * c * h * w).reshape(h, n, c, w).transpose(1, 2, 0, 3)


_Window = _Whole | _Shared | _Packed


def _window(memory: bytearray, alloc: Alloc) -> _Window:
    if alloc.bits in (8, 16, 32, 64):
        return _Whole(memory, alloc)
    return _Shared(memory, alloc) if 8 % alloc.bits == 0 else _Packed(memory, alloc)


@dataclass(slots=True)
class OnChip:
    """Local memory and the accumulators, of so many bytes each, and the buffers in them."""

    local_bytes: int
    accumulator_bytes: int
    memory: dict[Memory, bytearray] = field(init=False)
    owners: dict[Memory, npt.NDArray[np.int64]] = field(init=False)
    there: Buffers = field(default_factory=Buffers)
    windows: dict[int, _Window] = field(default_factory=dict)
    shadows: dict[int, Ids] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Poisoned memory that nobody owns."""
        sizes = {Memory.LOCAL: self.local_bytes, Memory.ACCUMULATORS: self.accumulator_bytes}
        self.memory = {name: bytearray([_POISON]) * size for name, size in sizes.items()}
        self.owners = {name: np.full(size, _NOBODY, np.int64) for name, size in sizes.items()}

    def alloc(self, alloc: Alloc) -> None:
        """Reserve a buffer that holds nothing."""
        self.there.open(alloc)
        self._own(alloc)
        self._poison(alloc)
        self.shadows[alloc.buffer] = np.full(alloc.shape, NOTHING, np.int64)

    def stand(self, alloc: Alloc, shadow: Ids) -> None:
        """A buffer whose contents, which the shadow names, lie there already."""
        self.there.open(alloc)
        self._own(alloc)
        self.shadows[alloc.buffer] = shadow.copy()

    def free(self, buffer: int) -> None:
        """Give a buffer back."""
        alloc = self.there.close(buffer)
        self._poison(alloc)
        self._disown(alloc)

    def split(self, split: Split) -> None:
        """The buffer of a whole map becomes those of its rows, which hold what lies there."""
        whole = self.there.split(split)
        shadow = self._disown(whole)
        for row, part in enumerate(split.parts):
            self._own(part)
            self.shadows[part.buffer] = shadow[:, :, row : row + 1].copy()

    def join(self, join: Join) -> None:
        """The buffers of a map's rows become one of the whole, which holds what lies there."""
        shadows = [self._disown(part) for part in self.there.join(join)]
        self._own(join.whole)
        self.shadows[join.whole.buffer] = np.concatenate(shadows, axis=2)

    def patterns(self, part: Slice) -> Patterns:
        """What lies in the part of a buffer that a slice names.

        Raises ProgramError where there is no such buffer, or the slice leaves it.
        """
        index = self._index(part)
        return self.windows[part.buffer].get(index)

    def put(self, part: Slice, patterns: Patterns, ids: Ids) -> None:
        """Write there, and note which elements they are.  Raises ProgramError as above."""
        index = self._index(part)
        self.windows[part.buffer].put(index, patterns)
        self.shadows[part.buffer][index] = ids

    def shadow(self, part: Slice) -> Ids:
        """The identities of the elements there.  Raises ProgramError as above."""
        index = self._index(part)
        return self.shadows[part.buffer][index]

    def _own(self, alloc: Alloc) -> None:
        """Take the bytes of a buffer.  Raises ProgramError where one is not there or not free."""
        owners, end = self.owners[alloc.memory], alloc.address + alloc.size_bytes
        if alloc.address < 0 or end > len(owners):
            raise ProgramError(
                f"buffer {alloc.buffer} '{alloc.label}' at {alloc.address} to {end} leaves the "
                f"{len(owners)} bytes of memory {alloc.memory}"
            )
        place = owners[alloc.address : end]
        taken = place != _NOBODY
        if taken.any():
            other = self.there[int(place[taken.argmax()])]
            raise ProgramError(
                f"buffer {alloc.buffer} '{alloc.label}' at {alloc.address} to {end} overlaps "
                f"buffer {other.buffer} '{other.label}' at {other.address}"
            )
        place[:] = alloc.buffer
        n, c, h, w = alloc.shape
        if n * c * h * w * alloc.bits > 8 * alloc.size_bytes:
            raise ProgramError(
                f"{alloc.shape} of {alloc.bits} bits each do not fit the {alloc.size_bytes} bytes "
                f"of buffer {alloc.buffer}"
            )
        self.windows[alloc.buffer] = _window(self.memory[alloc.memory], alloc)

    def _disown(self, alloc: Alloc) -> Ids:
        """Give the bytes of a buffer back, and its shadow."""
        end = alloc.address + alloc.size_bytes
        self.owners[alloc.memory][alloc.address : end] = _NOBODY
        del self.windows[alloc.buffer]
        return self.shadows.pop(alloc.buffer)

    def _poison(self, alloc: Alloc) -> None:
        memory, end = self.memory[alloc.memory], alloc.address + alloc.size_bytes
        memory[alloc.address : end] = bytes([_POISON]) * alloc.size_bytes

    def _index(self, part: Slice) -> Index:
        """The part of a buffer that a slice names."""
        held = self.there[part.buffer].shape
        (n, c, y, x), (dy, dx) = part.origin, part.stride
        batch, channels, rows, columns = part.box.shape
        inside = (
            0 <= n <= held[0] - batch
            and 0 <= c <= held[1] - channels
            and y >= 0
            and x >= 0
            and (not rows or y + (rows - 1) * dy < held[2])
            and (not columns or x + (columns - 1) * dx < held[3])
        )
        if not inside:
            raise ProgramError(
                f"{part.box.shape} at {part.origin} leaves buffer {part.buffer} of shape {held}"
            )
        return (
            slice(n, n + batch),
            slice(c, c + channels),
            slice(y, y + rows * dy, dy),
            slice(x, x + columns * dx, dx),
        )
