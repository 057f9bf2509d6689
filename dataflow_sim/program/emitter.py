"""Collects instructions while a group is lowered: buffers, addresses, transfers of views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dataflow_sim.graph.layer import View
from dataflow_sim.graph.region import Box, Shape4, Span
from dataflow_sim.program.instructions import Alloc, Free, Instruction, Load, Memory, Origin, Slice
from dataflow_sim.schedule.types import bytes_taken

ORIGIN = (0, 0, 0, 0)


@dataclass(slots=True)
class Slots:
    """A buffer of one role, with one or two slots that its tiles take in turn."""

    buffers: tuple[int, ...]
    current: int = -1

    def advance(self) -> int:
        """The next slot's buffer number."""
        self.current = (self.current + 1) % len(self.buffers)
        return self.buffers[self.current]


@dataclass(slots=True)
class Emitter:
    """The instructions so far, the next free buffer number, and what is in local memory.

    `resident` holds the buffers of the maps and weights that are whole in local memory; the buffers
    of the group being lowered lie from `base` upwards, those in the accumulators from 0.  Those in
    local memory take whole units of the alignment.
    """

    instructions: list[Instruction] = field(default_factory=list)
    next_buffer: int = 0
    base: int = 0
    height: int = 0
    accumulator_height: int = 0
    live: list[int] = field(default_factory=list)
    resident: dict[str, int] = field(default_factory=dict)
    alignment_bytes: int = 1
    byte_bits: int = 8

    def place(
        self,
        label: str,
        shape: Shape4,
        bits: int,
        address: int,
        memory: Memory = Memory.LOCAL,
    ) -> int:
        """Allocate a buffer at a given address; whoever asks for it frees it."""
        found = self.reserved(label, shape, bits, address, memory)
        self.instructions.append(found)
        return found.buffer

    def reserved(
        self,
        label: str,
        shape: Shape4,
        bits: int,
        address: int,
        memory: Memory = Memory.LOCAL,
    ) -> Alloc:
        """A buffer at a given address that is yet to be allocated."""
        size = self._bytes_taken(shape, bits, memory)
        found = Alloc(self.next_buffer, address, size, shape, bits, label, memory)
        self.next_buffer += 1
        return found

    def alloc(
        self,
        label: str,
        shape: Shape4,
        bits: int,
        slots: int,
        memory: Memory = Memory.LOCAL,
    ) -> Slots:
        """Allocate a buffer of the group with one or more slots at the next addresses."""
        size = self._bytes_taken(shape, bits, memory)
        buffers = []
        for _ in range(slots):
            if memory is Memory.LOCAL:
                address = self.base + self.height
                self.height += size
            else:
                address = self.accumulator_height
                self.accumulator_height += size
            buffers.append(self.place(label, shape, bits, address, memory))
        self.live.extend(buffers)
        return Slots(tuple(buffers))

    def _bytes_taken(self, shape: Shape4, bits: int, memory: Memory) -> int:
        n, c, h, w = shape
        unit = self.alignment_bytes if memory is Memory.LOCAL else 1
        return bytes_taken(n * c * h * w * bits, unit, self.byte_bits)

    def free_all(self) -> None:
        """Free every buffer of the group; the next one starts at its own base."""
        self.instructions.extend(Free(buffer) for buffer in self.live)
        self.live.clear()
        self.height = self.accumulator_height = 0

    def load_view(
        self, view: View, box: Box, buffer: int, origin: Origin = ORIGIN
    ) -> tuple[Slice, ...]:
        """Bring a box of a view to local memory: its parts, of which the resident ones are there.

        One transfer for each segment that comes from DRAM; these are packed along the
        channels of the buffer, from `origin` on.
        """
        if box.elements:
            for tensor, shift, part in self._segments(view, box, buffer, origin):
                if tensor not in self.resident:
                    low, high, _ = part.box.channel
                    source = part.box._replace(channel=Span(low + shift, high + shift))
                    self.instructions.append(Load(tensor, source, buffer, part.origin))
        return self.held_view(view, box, buffer, origin)

    def held_view(
        self, view: View, box: Box, buffer: int, origin: Origin = ORIGIN
    ) -> tuple[Slice, ...]:
        """The parts of a box of a view that `load_view` has brought to local memory."""
        parts = list(self._segments(view, box, buffer, origin))
        if not any(tensor in self.resident for tensor, _, _ in parts):
            return (Slice(buffer, origin, box),)
        return tuple(part for _, _, part in parts)

    def _segments(
        self, view: View, box: Box, buffer: int, origin: Origin
    ) -> Iterator[tuple[str, int, Slice]]:
        """The tensors that a box of a view consists of, the distance of their channels from the
        view's, and where each lies."""
        batch, channel, row, column = origin
        for tensor, shift, part in segments_of(view, box):
            there = self.resident.get(tensor)
            if there is not None:
                yield tensor, shift, resident_slice(there, part, shift)
            else:
                yield tensor, shift, Slice(buffer, (batch, channel, row, column), part)
                channel += part.channel.length


def segments_of(view: View, box: Box) -> Iterator[tuple[str, int, Box]]:
    """The tensors that a box of a view consists of, the distance of their channels from the
    view's, and the part of the box that each has."""
    position = 0
    for segment in view.segments:
        low = max(box.channel.start, position)
        high = min(box.channel.stop, position + segment.channels)
        if low < high:
            part = box._replace(channel=Span(low, high))
            yield segment.tensor, segment.channel_start - position, part
        position += segment.channels


def resident_slice(buffer: int, box: Box, channel_shift: int = 0) -> Slice:
    """A box of a view in the buffer that holds the whole of its tensor."""
    batch, channel, row, column = (span.start for span in box)
    at = (batch, channel + channel_shift, row, column)
    return Slice(buffer, at, box, (box.row.step, box.column.step))
