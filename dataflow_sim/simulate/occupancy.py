"""Memory on chip over time: who occupies which addresses, and that nobody overlaps.

Every buffer occupies [address, address + size) of its memory from its Alloc to its Free; what
stands before the program from its beginning, what the program leaves to its end.  Where a buffer
falls apart into its rows, or rows become one, the old ends and the new begins in its place.  The
peak height of a memory is the highest address in use at any time: it, not the sum of sizes,
has to fit.  In local memory buffers begin, and end, at multiples of the program's alignment.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from dataflow_sim.errors import ProgramError
from dataflow_sim.program.instructions import Alloc, Free, Instruction, Join, Memory, Program, Split
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

    `peak_bytes` is the allocated height of local memory, `accumulator_peak_bytes` that of the
    accumulators; `residencies` are those of both, in order of allocation.
    """

    peak_bytes: int
    accumulator_peak_bytes: int
    residencies: tuple[Residency, ...]


@dataclass(slots=True)
class _Follower:
    """The buffers alive at an instruction, and what has been found so far."""

    program: Program
    live: Buffers = field(default_factory=Buffers)
    starts: dict[int, int] = field(default_factory=dict)
    # (address, buffer) of each memory, sorted
    addresses: dict[Memory, list[tuple[int, int]]] = field(
        default_factory=lambda: {memory: [] for memory in Memory}
    )
    peak: dict[Memory, int] = field(default_factory=lambda: dict.fromkeys(Memory, 0))
    stays: list[Residency] = field(default_factory=list)

    def follow(self, index: int, instruction: Instruction) -> None:
        """What an instruction begins and ends."""
        if isinstance(instruction, Alloc):
            self.live.open(instruction)
            self.begin(index, instruction)
        elif isinstance(instruction, Free):
            self.end(index, self.live.close(instruction.buffer))
        elif isinstance(instruction, Split):
            self.end(index, self.live.split(instruction))
            for part in instruction.parts:
                self.begin(index, part)
        elif isinstance(instruction, Join):
            for part in self.live.join(instruction):
                self.end(index, part)
            self.begin(index, instruction.whole)

    def begin(self, index: int, alloc: Alloc) -> None:
        """A buffer takes its place.  Raises ProgramError where that is not free."""
        addresses = self.addresses[alloc.memory]
        self._check_place(alloc, addresses)
        self.starts[alloc.buffer] = index
        insort(addresses, (alloc.address, alloc.buffer))
        self.peak[alloc.memory] = max(self.peak[alloc.memory], alloc.address + alloc.size_bytes)

    def end(self, index: int, alloc: Alloc) -> None:
        """A buffer gives its place up, and its stay is known."""
        self.addresses[alloc.memory].remove((alloc.address, alloc.buffer))
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

    Raises ProgramError when two overlap, one leaves its memory, or one is not aligned.
    """
    found = _Follower(program)
    for standing in program.stands:
        found.follow(0, standing.alloc)
    for index, instruction in enumerate(program.instructions):
        found.follow(index, instruction)
    for alloc in (standing.alloc for standing in program.leaves):
        if found.live.pop(alloc.buffer, None) != alloc:
            raise ProgramError(f"buffer '{alloc.label}' is to be left, but not there")
        found.end(len(program.instructions), alloc)
    if found.live:
        raise ProgramError(f"{len(found.live)} buffers are never freed, first {min(found.live)}")
    stays = sorted(found.stays, key=lambda stay: (stay.start, stay.buffer))
    return Occupancy(found.peak[Memory.LOCAL], found.peak[Memory.ACCUMULATORS], tuple(stays))
