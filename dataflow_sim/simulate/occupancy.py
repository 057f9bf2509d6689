"""Memory on chip over time: who occupies which addresses, and that nobody overlaps.

Every buffer occupies [address, address + size) of its memory from its Alloc to its Free; what
stands before the program from its beginning, what the program leaves to its end.  The
peak height of a memory is the highest address in use at any time: it, not the sum of sizes,
has to fit.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

from dataflow_sim.errors import ProgramError
from dataflow_sim.program.instructions import Alloc, Free, Memory, Program


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


def occupancy(program: Program) -> Occupancy:
    """Follow all buffers.  Raises ProgramError when two overlap or one leaves its memory."""
    live: dict[int, tuple[int, Alloc]] = {}
    # (address, buffer) of each memory, sorted
    addresses: dict[Memory, list[tuple[int, int]]] = {memory: [] for memory in Memory}
    peak = dict.fromkeys(Memory, 0)
    stays = []
    for standing in program.stands:
        alloc = standing.alloc
        _check_place(program, alloc, addresses[alloc.memory], live)
        live[alloc.buffer] = (0, alloc)
        insort(addresses[alloc.memory], (alloc.address, alloc.buffer))
        peak[alloc.memory] = max(peak[alloc.memory], alloc.address + alloc.size_bytes)
    for index, instruction in enumerate(program.instructions):
        if isinstance(instruction, Alloc):
            memory = instruction.memory
            _check_place(program, instruction, addresses[memory], live)
            live[instruction.buffer] = (index, instruction)
            insort(addresses[memory], (instruction.address, instruction.buffer))
            peak[memory] = max(peak[memory], instruction.address + instruction.size_bytes)
        elif isinstance(instruction, Free):
            if instruction.buffer not in live:
                raise ProgramError(f"buffer {instruction.buffer} is freed but not allocated")
            start, alloc = live.pop(instruction.buffer)
            addresses[alloc.memory].remove((alloc.address, alloc.buffer))
            place = (alloc.address, alloc.size_bytes, alloc.memory)
            stays.append(Residency(alloc.buffer, alloc.label, start, index, *place))
    end = len(program.instructions)
    for alloc in (standing.alloc for standing in program.leaves):
        start, there = live.pop(alloc.buffer, (0, None))
        if there != alloc:
            raise ProgramError(f"buffer '{alloc.label}' is to be left, but not there")
        place = (alloc.address, alloc.size_bytes, alloc.memory)
        stays.append(Residency(alloc.buffer, alloc.label, start, end, *place))
    if live:
        raise ProgramError(f"{len(live)} buffers are never freed, first {min(live)}")
    stays.sort(key=lambda stay: (stay.start, stay.buffer))
    return Occupancy(peak[Memory.LOCAL], peak[Memory.ACCUMULATORS], tuple(stays))


def _check_place(
    program: Program,
    alloc: Alloc,
    addresses: list[tuple[int, int]],
    live: dict[int, tuple[int, Alloc]],
) -> None:
    end = alloc.address + alloc.size_bytes
    local = alloc.memory is Memory.LOCAL
    capacity = program.capacity_bytes if local else program.accumulator_capacity_bytes
    if alloc.address < 0 or end > capacity:
        memory = "local" if local else "accumulator"
        raise ProgramError(
            f"buffer '{alloc.label}' at {alloc.address} to {end} leaves the {memory} memory of "
            f"{capacity} bytes"
        )
    place = bisect_left(addresses, (alloc.address, alloc.buffer))
    for neighbour in addresses[max(0, place - 1) : place + 1]:
        other = live[neighbour[1]][1]
        if alloc.address < other.address + other.size_bytes and other.address < end:
            raise ProgramError(f"buffer '{alloc.label}' overlaps '{other.label}'")
