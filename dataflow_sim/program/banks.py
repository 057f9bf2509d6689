"""Banks: the same program at other addresses, so that what one step uses lies in banks apart.

Local memory of S bytes is cut into banks of equal size, each with one port.  What a step reads as
maps, what it reads as weights, and what it writes (results and partial sums) are used at the same
time and must have no bank in common; buffers of one of the three may share one:

    bank 0          bank 1              bank 2          bank 3
    | row 4 | row 5 | kernel | bias |   | row of result | rows of the next map ..

A buffer may span several banks.  A buffer that a step both reads and writes, in place, is one.
Buffers that are made of each other's bytes (`Split`, `Join`) keep their distances, and are placed
as one that lives as long as any of them.

Addresses come from the allocator (`schedule.placement`), lives in instructions.  Where it finds
none within the memory, there is no such program, and a schedule that needs less must do.

Assumed: transfers and steps take turns at a bank; a transfer into a bank that a step uses does not
count.  Ignored: the accumulator memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations

from dataflow_sim.program.instructions import (
    Alloc,
    Compute,
    Free,
    Instruction,
    Join,
    Memory,
    Program,
    Slice,
    Split,
    Stream,
)
from dataflow_sim.schedule.allocation import Life
from dataflow_sim.schedule.placement import place

# buffers placed in search of addresses, at least and for each of a program's: the next schedule is
# tried where they do not do
_LEAST_WORK = 3_000
_WORK_EACH = 16


@dataclass(slots=True)
class _Block:
    """Buffers that keep their distances: addresses, and moments, both ends included."""

    low: int
    high: int
    first: int
    last: int


@dataclass(slots=True)
class _Blocks:
    """The blocks of a program by buffer, and which must lie in banks apart.

    `banks` of `bank_bytes` are what the step that needs the most of them cannot do without.
    """

    end: int
    bank_bytes: int
    banks: int = 1
    blocks: list[_Block] = field(default_factory=list)
    of: dict[int, int] = field(default_factory=dict)
    apart: set[tuple[int, int]] = field(default_factory=set)

    def begin(self, alloc: Alloc, moment: int) -> None:
        """A buffer of its own, until it is freed the program's whole length."""
        if alloc.memory is Memory.LOCAL:
            high = alloc.address + alloc.size_bytes
            self.of[alloc.buffer] = len(self.blocks)
            self.blocks.append(_Block(alloc.address, high, moment, self.end))

    def join(self, buffers: Iterable[int], made: Iterable[Alloc], moment: int) -> None:
        """Buffers become others of the same bytes: all of them are one block."""
        numbers = sorted({self.of[buffer] for buffer in buffers})
        block = self.blocks[numbers[0]]
        for number in numbers[1:]:
            other = self.blocks[number]
            block.low, block.high = min(block.low, other.low), max(block.high, other.high)
            block.first, block.last = min(block.first, other.first), self.end
        gone = set(numbers[1:])
        for buffer, number in self.of.items():
            if number in gone:
                self.of[buffer] = numbers[0]
        self.apart = {
            (min(a, b), max(a, b))
            for a, b in (
                (numbers[0] if one in gone else one, numbers[0] if other in gone else other)
                for one, other in self.apart
            )
            if a != b
        }
        for number in gone:
            self.blocks[number] = _Block(0, 0, moment, moment)
        self.of.update((alloc.buffer, numbers[0]) for alloc in made)

    def use(self, *roles: Iterable[Slice]) -> None:
        """A step uses buffers of these roles, which are to lie apart."""
        numbers = [{self.of[p.buffer] for p in parts if p.buffer in self.of} for parts in roles]
        counted: set[int] = set()
        needed = 0
        for mine in numbers:
            sizes = (self.blocks[n].high - self.blocks[n].low for n in mine - counted)
            needed += -(-sum(sizes) // self.bank_bytes)
            counted |= mine
        self.banks = max(self.banks, needed)
        for one, other in combinations(numbers, 2):
            self.apart.update((min(a, b), max(a, b)) for a in one for b in other if a != b)


def roles_of(step: Compute | Stream) -> tuple[tuple[Slice, ...], ...]:
    """What a step uses at the same time: maps, weights, and what it writes."""
    sums = () if step.sums is None else (step.sums,)
    if isinstance(step, Stream):
        return step.reads, (), (*step.writes, *sums)
    vectors = tuple(v for v in (step.input_vectors, step.output_vectors) if v is not None)
    operands = (part for parts in step.operands for part in parts)
    written = (step.result, *step.more) if step.last else ()
    return (*step.input, *operands), (*step.kernel, *vectors), (*written, *sums)


def _blocks(program: Program, bank_bytes: int) -> _Blocks:
    found = _Blocks(len(program.instructions), bank_bytes)
    for standing in program.stands:
        found.begin(standing.alloc, 0)
    for moment, instruction in enumerate(program.instructions):
        if isinstance(instruction, Alloc):
            found.begin(instruction, moment)
        elif isinstance(instruction, Free):
            if instruction.buffer in found.of:
                found.blocks[found.of[instruction.buffer]].last = moment - 1
        elif isinstance(instruction, Split):
            found.join([instruction.buffer], instruction.parts, moment)
        elif isinstance(instruction, Join):
            found.join(instruction.parts, [instruction.whole], moment)
        elif isinstance(instruction, Compute | Stream):
            found.use(*roles_of(instruction))
    return found


def in_banks(program: Program, bank_bytes: int) -> Program | None:
    """The program with what each step uses in banks apart; None where no addresses are found."""
    found = _blocks(program, bank_bytes)
    if found.banks * bank_bytes > program.capacity_bytes:
        return None
    lives = [Life(b.high - b.low, b.first, max(b.first, b.last)) for b in found.blocks]
    placed = place(
        lives,
        program.capacity_bytes,
        alignment_bytes=program.alignment_bytes,
        apart=sorted(found.apart),
        bank_bytes=bank_bytes,
        work=max(_LEAST_WORK, _WORK_EACH * len(lives)),
    )
    if placed.height_bytes > program.capacity_bytes:
        return None
    moves = {
        buffer: placed.addresses[number] - found.blocks[number].low
        for buffer, number in found.of.items()
    }
    return replace(
        program,
        instructions=tuple(_moved(each, moves) for each in program.instructions),
        stands=tuple(s._replace(alloc=_at(s.alloc, moves)) for s in program.stands),
        leaves=tuple(s._replace(alloc=_at(s.alloc, moves)) for s in program.leaves),
    )


def _at(alloc: Alloc, moves: Mapping[int, int]) -> Alloc:
    return alloc._replace(address=alloc.address + moves.get(alloc.buffer, 0))


def _moved(instruction: Instruction, moves: Mapping[int, int]) -> Instruction:
    if isinstance(instruction, Alloc):
        return _at(instruction, moves)
    if isinstance(instruction, Split):
        return instruction._replace(parts=tuple(_at(part, moves) for part in instruction.parts))
    if isinstance(instruction, Join):
        return instruction._replace(whole=_at(instruction.whole, moves))
    return instruction
