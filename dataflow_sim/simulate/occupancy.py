"""Memory on chip over time: who occupies which addresses, and that all keep to what is theirs.

Every buffer occupies [address, address + size) of its memory from its Alloc to its Free; what
stands before the program from its beginning, what the program leaves to its end.  Where a buffer
falls apart into its rows, or rows become one, the old ends and the new begins in its place.  The
peak height of a memory is the highest address in use at any time: it, not the sum of sizes,
has to fit.  In local memory buffers begin, and end, at multiples of the program's alignment.

Beside it stands what no addresses can do without, the largest live set:

    live(t) = sum of size over the buffers with start <= t < stop
    height >= max over t of live(t)

The two differ by what lies unused between buffers at the peak.

No two buffers overlap, none leaves its memory.  What an instruction touches lies inside a buffer
that is there: of (n, c, h, w) elements at an origin (N, C, H, W), its rows a and its columns b
apart, the last lies at

    (N + n - 1, C + c - 1, H + (h - 1) a, W + (w - 1) b)          below the buffer's shape

A step reads no buffer that nothing was brought to since its Alloc.

Ignored: which elements a buffer holds, and where in it; these the replay follows.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.region import Box
from dataflow_sim.program.instructions import (
    Alloc,
    Compute,
    Free,
    Instruction,
    Load,
    Memory,
    Origin,
    Program,
    Slice,
    Split,
    Store,
    Stream,
)
from dataflow_sim.simulate.buffers import Buffers


@dataclass(frozen=True, slots=True)
class Residency:
    """One buffer's stay: instruction indices [start, stop), addresses, what it is for."""

    buffer: int
    label: str
    start: int
    stop: int
    address: int
    size_bytes: int
    memory: Memory


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Memory on chip over a program.

    `peak_bytes` is the allocated height of local memory, `live_bytes` its largest live set,
    `accumulator_peak_bytes` the height of the accumulators; `residencies` are those of both, in
    order of allocation.
    """

    peak_bytes: int
    live_bytes: int
    accumulator_peak_bytes: int
    residencies: tuple[Residency, ...]


@dataclass(slots=True)
class _Follower:
    """The buffers alive at an instruction, and what has been found so far."""

    program: Program
    live: Buffers = field(default_factory=Buffers)
    filled: set[int] = field(default_factory=set)  # buffers that something was brought to
    starts: dict[int, int] = field(default_factory=dict)
    # (address, buffer) of each memory, sorted
    addresses: dict[Memory, list[tuple[int, int]]] = field(
        default_factory=lambda: {memory: [] for memory in Memory}
    )
    peak: dict[Memory, int] = field(default_factory=lambda: dict.fromkeys(Memory, 0))
    in_use: dict[Memory, int] = field(default_factory=lambda: dict.fromkeys(Memory, 0))
    most: dict[Memory, int] = field(default_factory=lambda: dict.fromkeys(Memory, 0))
    stays: list[Residency] = field(default_factory=list)

    def follow(self, index: int, instruction: Instruction) -> None:
        """What an instruction begins, touches and ends."""
        if isinstance(instruction, Compute):
            made = (instruction.result, *instruction.more) if instruction.last else ()
            self._step(instruction, made)
        elif isinstance(instruction, Load):
            self._check_inside(instruction.buffer, instruction.origin, instruction.box)
            self.filled.add(instruction.buffer)
        elif isinstance(instruction, Store):
            self._check_inside(instruction.buffer, instruction.origin, instruction.box)
        elif isinstance(instruction, Stream):
            self._step(instruction, instruction.writes)
        elif isinstance(instruction, Alloc):
            self.live.open(instruction)
            self.begin(index, instruction)
        elif isinstance(instruction, Free):
            self.end(index, self.live.close(instruction.buffer))
            self.filled.discard(instruction.buffer)
        elif isinstance(instruction, Split):
            parts = [part.buffer for part in instruction.parts]
            self._becomes([instruction.buffer], parts)
            self.end(index, self.live.split(instruction))
            for part in instruction.parts:
                self.begin(index, part)
        else:
            self._becomes(instruction.parts, [instruction.whole.buffer])
            for part in self.live.join(instruction):
                self.end(index, part)
            self.begin(index, instruction.whole)

    def stand(self, alloc: Alloc) -> None:
        """A buffer that is there, with what it holds, before the first instruction."""
        self.follow(0, alloc)
        self.filled.add(alloc.buffer)

    def _becomes(self, old: Iterable[int], new: Iterable[int]) -> None:
        """Of rows that become a map all have to hold something."""
        if self.filled.issuperset(old):
            self.filled.update(new)
        self.filled.difference_update(old)

    def _step(self, step: Compute | Stream, made: Iterable[Slice]) -> None:
        """Read operands and sums that go on; write what is made, and the sums."""
        sums = step.sums
        for part in step.reads if sums is None or step.first else (*step.reads, sums):
            self._check_inside(part.buffer, part.origin, part.box, part.stride)
            if part.buffer not in self.filled and part.box.elements:  # not padding alone
                label = self.live[part.buffer].label
                raise ProgramError(f"'{label}' is read, but nothing was brought there")
        for part in made if sums is None else (*made, sums):
            self._check_inside(part.buffer, part.origin, part.box, part.stride)
            self.filled.add(part.buffer)

    def _check_inside(
        self, buffer: int, origin: Origin, box: Box, stride: tuple[int, int] = (1, 1)
    ) -> None:
        held = self.live[buffer]
        images, channels, rows, columns = held.shape
        (n, n_end, n_step), (c, c_end, c_step), (h, h_end, h_step), (w, w_end, w_step) = box
        # by hand, since there are millions: the place of the last element along each axis
        inside = (
            0 <= origin[0] < images - (n_end - n - 1) // n_step
            and 0 <= origin[1] < channels - (c_end - c - 1) // c_step
            and 0 <= origin[2] < rows - (h_end - h - 1) // h_step * stride[0]
            and 0 <= origin[3] < columns - (w_end - w - 1) // w_step * stride[1]
        )
        if not inside and box.elements:
            raise ProgramError(
                f"{box.shape} at {origin}, {stride} apart, leaves '{held.label}' of {held.shape}"
            )

    def begin(self, index: int, alloc: Alloc) -> None:
        """A buffer takes its place.  Raises ProgramError where that is not free."""
        addresses = self.addresses[alloc.memory]
        self._check_place(alloc, addresses)
        self.starts[alloc.buffer] = index
        insort(addresses, (alloc.address, alloc.buffer))
        self.peak[alloc.memory] = max(self.peak[alloc.memory], alloc.address + alloc.size_bytes)
        self.in_use[alloc.memory] += alloc.size_bytes
        self.most[alloc.memory] = max(self.most[alloc.memory], self.in_use[alloc.memory])

    def end(self, index: int, alloc: Alloc) -> None:
        """A buffer gives its place up, and its stay is known."""
        self.addresses[alloc.memory].remove((alloc.address, alloc.buffer))
        self.in_use[alloc.memory] -= alloc.size_bytes
        place = (alloc.address, alloc.size_bytes, alloc.memory)
        start = self.starts.pop(alloc.buffer)
        self.stays.append(Residency(alloc.buffer, alloc.label, start, index, *place))

    def _check_place(self, alloc: Alloc, addresses: list[tuple[int, int]]) -> None:
        end = alloc.address + alloc.size_bytes
        local = alloc.memory is Memory.LOCAL
        program = self.program
        capacity = program.capacity_bytes if local else program.accumulator_capacity_bytes
        if alloc.address < 0 or end > capacity:
            memory = "local" if local else "accumulator"
            raise ProgramError(
                f"buffer '{alloc.label}' at {alloc.address} to {end} leaves the {memory} memory of "
                f"{capacity} bytes"
            )
        unit = program.alignment_bytes if local else 1
        if alloc.address % unit or alloc.size_bytes % unit:
            raise ProgramError(
                f"buffer '{alloc.label}' at {alloc.address} to {end} is not aligned to {unit} bytes"
            )
        place = bisect_left(addresses, (alloc.address, alloc.buffer))
        for _, neighbour in addresses[max(0, place - 1) : place + 1]:
            other = self.live[neighbour]
            if alloc.address < other.address + other.size_bytes and other.address < end:
                raise ProgramError(f"buffer '{alloc.label}' overlaps '{other.label}'")


def occupancy(program: Program) -> Occupancy:
    """Follow all buffers.

    Raises ProgramError when two overlap, one leaves its memory or is not aligned, an instruction
    reaches beyond one, or a step reads one that is empty.
    """
    found = _Follower(program)
    found.live.byte_bits = program.byte_bits
    for standing in program.stands:
        found.stand(standing.alloc)
    for index, instruction in enumerate(program.instructions):
        found.follow(index, instruction)
    for alloc in (standing.alloc for standing in program.leaves):
        if found.live.pop(alloc.buffer, None) != alloc:
            raise ProgramError(f"buffer '{alloc.label}' is to be left, but not there")
        found.end(len(program.instructions), alloc)
    if found.live:
        raise ProgramError(f"{len(found.live)} buffers are never freed, first {min(found.live)}")
    stays = sorted(found.stays, key=lambda stay: (stay.start, stay.buffer))
    return Occupancy(
        peak_bytes=found.peak[Memory.LOCAL],
        live_bytes=found.most[Memory.LOCAL],
        accumulator_peak_bytes=found.peak[Memory.ACCUMULATORS],
        residencies=tuple(stays),
    )
