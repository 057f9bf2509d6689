"""Local memory over time: who occupies which addresses, and that nobody overlaps.

Every buffer occupies [address, address + size) from its Alloc to its Free.  The peak
height is the highest address in use at any time: it, not the sum of sizes, has to fit.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

from dataflow_sim.errors import ProgramError
from dataflow_sim.program.instructions import Alloc, Free, Program


@dataclass(frozen=True, slots=True)
class Residency:
    """One buffer's stay: instruction indices [start, stop), addresses, what it is for."""

    buffer: int
    label: str
    start: int
    stop: int
    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Local memory over a program.

    `peak_bytes` is the allocated height; `residencies` are in order of allocation.
    """

    peak_bytes: int
    residencies: tuple[Residency, ...]


def occupancy(program: Program) -> Occupancy:
    """Follow all buffers.  Raises ProgramError when two overlap or one leaves the memory."""
    live: dict[int, tuple[int, Alloc]] = {}
    addresses: list[tuple[int, int]] = []  # (address, buffer), sorted
    peak = 0
    stays = []
    for index, instruction in enumerate(program.instructions):
        if isinstance(instruction, Alloc):
            _check_place(program, instruction, addresses, live)
            live[instruction.buffer] = (index, instruction)
            insort(addresses, (instruction.address, instruction.buffer))
            peak = max(peak, instruction.address + instruction.size_bytes)
        elif isinstance(instruction, Free):
            if instruction.buffer not in live:
                raise ProgramError(f"buffer {instruction.buffer} is freed but not allocated")
            start, alloc = live.pop(instruction.buffer)
            addresses.remove((alloc.address, alloc.buffer))
            stays.append(
                Residency(alloc.buffer, alloc.label, start, index, alloc.address, alloc.size_bytes)
            )
    if live:
        raise ProgramError(f"{len(live)} buffers are never freed, first {min(live)}")
    stays.sort(key=lambda stay: (stay.start, stay.buffer))
    return Occupancy(peak, tuple(stays))


def _check_place(
    program: Program,
    alloc: Alloc,
    addresses: list[tuple[int, int]],
    live: dict[int, tuple[int, Alloc]],
) -> None:
    end = alloc.address + alloc.size_bytes
    if alloc.address < 0 or end > program.capacity_bytes:
        raise ProgramError(
            f"buffer '{alloc.label}' at {alloc.address} to {end} leaves the local memory of "
            f"{program.capacity_bytes} bytes"
        )
    place = bisect_left(addresses, (alloc.address, alloc.buffer))
    for neighbour in addresses[max(0, place - 1) : place + 1]:
        other = live[neighbour[1]][1]
        if alloc.address < other.address + other.size_bytes and other.address < end:
            raise ProgramError(f"buffer '{alloc.label}' overlaps '{other.label}'")
