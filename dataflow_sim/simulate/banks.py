"""Banks: whether what a step uses lies in banks apart.

Local memory is cut into banks of equal size from address 0 on.  The maps that a step reads, the
weights that it reads, and what it writes must have no bank in common, but for a buffer that the
step reads and writes in place.

Assumed: a buffer occupies every bank that one of its bytes lies in, whatever part a step uses.
Ignored: transfers, and the accumulator memory.
"""

from __future__ import annotations

from collections.abc import Iterable

from dataflow_sim.errors import ProgramError
from dataflow_sim.program.instructions import (
    Alloc,
    Compute,
    Free,
    Join,
    Memory,
    Program,
    Slice,
    Split,
    Stream,
)
from dataflow_sim.simulate.buffers import Buffers


def check_banks(program: Program, bank_bytes: int) -> None:
    """Raise ProgramError that names the first instruction whose buffers share a bank."""
    there = Buffers()
    there.byte_bits = program.byte_bits
    for standing in program.stands:
        there.open(standing.alloc)
    for number, instruction in enumerate(program.instructions):
        if isinstance(instruction, Alloc):
            there.open(instruction)
        elif isinstance(instruction, Free):
            there.close(instruction.buffer)
        elif isinstance(instruction, Split):
            there.split(instruction)
        elif isinstance(instruction, Join):
            there.join(instruction)
        elif isinstance(instruction, Compute | Stream):
            _check_step(number, instruction, there, bank_bytes)


def _check_step(number: int, step: Compute | Stream, there: Buffers, bank_bytes: int) -> None:
    owners: dict[int, list[tuple[str, int]]] = {}
    maps, weights, written = _used(step)
    for role, parts in (("maps", maps), ("weights", weights), ("results", written)):
        for buffer in dict.fromkeys(part.buffer for part in parts):
            alloc = there[buffer]
            if alloc.memory is not Memory.LOCAL or not alloc.size_bytes:
                continue
            last = (alloc.address + alloc.size_bytes - 1) // bank_bytes
            for bank in range(alloc.address // bank_bytes, last + 1):
                for other, holder in owners.get(bank, ()):
                    if other != role and holder != buffer:
                        raise ProgramError(
                            f"instruction {number}: buffers {holder} ({other}) and {buffer} "
                            f"({role}) share bank {bank} of {bank_bytes} bytes"
                        )
                owners.setdefault(bank, []).append((role, buffer))


def _used(step: Compute | Stream) -> tuple[Iterable[Slice], Iterable[Slice], Iterable[Slice]]:
    """Maps and weights that a step reads, and what it writes."""
    sums = [step.sums] if step.sums is not None else []
    if isinstance(step, Stream):
        return step.reads, (), [*step.writes, *sums]
    maps = [*step.input, *(part for parts in step.operands for part in parts)]
    vectors = [v for v in (step.input_vectors, step.output_vectors) if v is not None]
    results = [step.result, *step.more] if step.last else []
    return maps, [*step.kernel, *vectors], [*results, *sums]
