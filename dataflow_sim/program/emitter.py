"""Collects instructions while a layer is lowered: buffers, addresses, transfers of views."""

from __future__ import annotations

from dataclasses import dataclass, field

from dataflow_sim.graph.layer import View
from dataflow_sim.graph.region import Box, Shape4, Span
from dataflow_sim.program.instructions import Alloc, Free, Instruction, Load

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
    """The instructions so far, the next free buffer number and address."""

    instructions: list[Instruction] = field(default_factory=list)
    next_buffer: int = 0
    height: int = 0
    live: list[int] = field(default_factory=list)

    def alloc(self, label: str, shape: Shape4, bits: int, slots: int) -> Slots:
        """Allocate a buffer with one or more slots at the next addresses."""
        n, c, h, w = shape
        size = -(-n * c * h * w * bits // 8)
        buffers = []
        for _ in range(slots):
            self.instructions.append(Alloc(self.next_buffer, self.height, size, shape, bits, label))
            buffers.append(self.next_buffer)
            self.next_buffer += 1
            self.height += size
        self.live.extend(buffers)
        return Slots(tuple(buffers))

    def free_all(self) -> None:
        """Free every live buffer; the next one starts at address 0."""
        self.instructions.extend(Free(buffer) for buffer in self.live)
        self.live.clear()
        self.height = 0

    def load_view(self, view: View, box: Box, buffer: int) -> None:
        """Load a box of a view: one transfer for each segment that it meets."""
        if box.elements == 0:
            return
        position = 0
        for segment in view.segments:
            low = max(box.channel.start, position)
            high = min(box.channel.stop, position + segment.channels)
            if low < high:
                shift = segment.channel_start - position
                part = Box(box.batch, Span(low + shift, high + shift), box.row, box.column)
                origin = (0, low - box.channel.start, 0, 0)
                self.instructions.append(Load(segment.tensor, part, buffer, origin))
            position += segment.channels
