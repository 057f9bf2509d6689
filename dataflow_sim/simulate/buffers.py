"""The buffers that a program has at a time, and how one of a whole map becomes its rows and back.

A map whole in a buffer lies row by row, each row with all images, channels and columns:

    whole   | row 0 | row 1 | row 2 | ...        row r begins at the whole's address + r * row
    parts   | row 0 |
                    | row 1 | ...                of (N, C, 1, W), N * C * W * bits / 8 bytes each

Between the two nothing moves, so that parts and whole must take the same bytes exactly: a row is
of whole bytes, and its buffer has the whole's width and memory.

Assumed: nothing of why buffers are there.  Ignored: overlaps, which the occupancy finds, and
contents, which each reader follows for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.region import Span
from dataflow_sim.program.instructions import Alloc, Join, Load, Memory, Split


class Buffers(dict[int, Alloc]):
    """The buffers that there are, by number; to ask for another is a ProgramError.

    `byte_bits` are the units of their widths in a byte.
    """

    byte_bits = 8

    def __missing__(self, buffer: int) -> Alloc:
        """No such buffer: never allocated, freed, split or joined."""
        raise ProgramError(f"buffer {buffer} is used but not allocated")

    def open(self, alloc: Alloc) -> None:
        """Begin a buffer.  Raises ProgramError where there is one of its number."""
        if alloc.buffer in self:
            raise ProgramError(f"buffer {alloc.buffer} '{alloc.label}' is allocated twice")
        self[alloc.buffer] = alloc

    def close(self, buffer: int) -> Alloc:
        """End a buffer, and give its allocation.  Raises ProgramError where there is none."""
        if buffer not in self:
            raise ProgramError(f"buffer {buffer} is freed but not allocated")
        return self.pop(buffer)

    def split(self, split: Split) -> Alloc:
        """End the buffer of a whole map, begin those of its rows, and give the whole's.

        Raises ProgramError where it is not there, or where the rows do not make it up.
        """
        whole = self[split.buffer]
        _check_rows(whole, split.parts, self.byte_bits)
        del self[split.buffer]
        for part in split.parts:
            self.open(part)
        return whole

    def join(self, join: Join) -> tuple[Alloc, ...]:
        """End the buffers of a map's rows, begin that of the whole, and give those of the rows.

        Raises ProgramError where one is not there, or where they do not make up the whole.
        """
        parts = tuple(self[buffer] for buffer in join.parts)
        _check_rows(join.whole, parts, self.byte_bits)
        for part in parts:
            del self[part.buffer]
        self.open(join.whole)
        return parts


def row_by_row(load: Load) -> Iterator[tuple[int, Load]]:
    """A load into the buffer of a whole map as loads into those of its rows.

    Each comes with its row of the buffer and names the buffer of the whole.
    """
    batch, channel, first, column = load.origin
    rows = load.box.row
    for row, start in enumerate(range(*rows), first):
        box = load.box._replace(row=Span(start, start + 1))
        yield row, load._replace(box=box, origin=(batch, channel, 0, column))


def _check_rows(whole: Alloc, parts: Sequence[Alloc], byte_bits: int) -> None:
    """Raise ProgramError unless the parts are the whole's rows, one behind the other."""
    name = f"buffer {whole.buffer} '{whole.label}'"
    n, c, height, w = whole.shape
    if len(parts) != height:
        raise ProgramError(f"{name} has {height} rows, {len(parts)} parts")
    size, odd = divmod(n * c * w * whole.bits, byte_bits)
    if odd or size * height != whole.size_bytes:
        raise ProgramError(
            f"{name} of {whole.size_bytes} bytes does not consist of {height} rows of "
            f"{n * c * w} elements of {whole.bits} bits in whole bytes"
        )
    for row, part in enumerate(parts):
        address = whole.address + row * size
        wanted = Alloc(
            part.buffer, address, size, (n, c, 1, w), whole.bits, part.label, whole.memory
        )
        if part != wanted:
            raise ProgramError(
                f"row {row} of {name} is buffer {part.buffer} '{part.label}' of {_place(part)}, "
                f"not of {_place(wanted)}"
            )


def _place(alloc: Alloc) -> str:
    memory = "local memory" if alloc.memory is Memory.LOCAL else "the accumulators"
    return (
        f"{alloc.shape}, {alloc.bits} bits each, {alloc.size_bytes} bytes at {alloc.address} "
        f"of {memory}"
    )
