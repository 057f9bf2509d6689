"""When every step and every transfer of a program happens, worked out from the rules alone.

A plain, slow reference for the timeline.  It shares no code with it.  Steps are the instructions
Compute and Stream, numbered in program order; transfers are Load and Store.

Accesses.  Of a buffer, a box at an origin touches its channels and, from the first to the last
row (which a slice may stride), all rows, and always all images and columns; a box without
elements touches nothing.  A Load writes, a Store reads.  A step reads its `reads`, and `sums`
unless it is the first; it writes its results (a Compute only where it is the last), and `sums`
unless it is the last.

Conflicts.  An instruction conflicts with an earlier one if
(a) both access rows and channels of one buffer that overlap, and one of the two writes; or
(b) it accesses a buffer over whose addresses, or some of them, there was an earlier buffer, given
    back before this one was reserved, that the earlier instruction accessed; or
(c) it loads from a tensor what the earlier one stored there, as far as rows and channels tell.
Split and Join give nothing back: accesses move on to the buffers of the rows, or of the whole,
and all that a buffer waits for by (b) its successors wait for, too.

Order.  A transfer's slot is at least 1 + the number of each step that it conflicts with, and the
slot of the one of its kind before it; a Store's is at least that of each Load that it conflicts
with, a Load's at least 1 + that of each such Store.  The queue goes by slots, in each the loads
before the stores, then by program order.  The command of step k, if it has one, conflicts with
nothing, and goes before all loads of slot k - 1 (of slot 0 for the first step).

Times.  A step starts when the one before it has ended and the transfers that it conflicts with,
and its command, are done.  A transfer begins when the steps that it conflicts with have ended,
the transfers that it conflicts with are done, and so is the one as many places before it as there
are channels.  After its set-up time it takes each of its buses as soon as that is free, and ends
with the last of them; it is done once those before it in the queue are done as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dataflow_sim.graph.region import Span
from dataflow_sim.program.instructions import (
    Alloc,
    Compute,
    Free,
    Instruction,
    Join,
    Load,
    Program,
    Slice,
    Split,
    Store,
    Stream,
)

Cost = tuple[int, Sequence[int]]  # set-up time, and the duration on each bus


@dataclass(frozen=True)
class Expected:
    """The times of a program; `queue` has -1 - k for the command of step k."""

    steps: tuple[tuple[int, int], ...]  # (start, end) of each step
    queue: tuple[int, ...]  # instruction index of each transfer in queue order
    transfers: tuple[tuple[int, int, int], ...]  # (begin, end, done) in queue order
    latency: int


def expected_timeline(
    program: Program,
    step_durations: Sequence[int],
    transfer_durations: Mapping[int, Cost],
    channels: int,
    command_durations: Sequence[Cost] | None = None,
) -> Expected:
    """The times of a program, given durations by step number and by instruction index."""
    kinds = (Compute, Stream)
    steps = [i for i, each in enumerate(program.instructions) if isinstance(each, kinds)]
    assert len(step_durations) == len(steps), "a duration for each step"
    commands = {
        -1 - number: cost
        for number, cost in enumerate(command_durations or ())
        if any(duration > 0 for duration in cost[1])
    }
    conflicts = conflicts_of(program)
    queue = queue_of(program.instructions, conflicts, steps, commands)
    awaited = awaited_by(conflicts, steps, queue, channels)
    return timed(awaited, steps, queue, step_durations, {**transfer_durations, **commands})


class Access(NamedTuple):
    """A region of a buffer that an instruction reads or writes."""

    instruction: int
    buffer: int
    rows: range
    channels: range
    writes: bool


@dataclass
class Buffer:
    """A buffer, with all accesses to it so far and all that it waits for by rule (b)."""

    alloc: Alloc
    accesses: set[Access] = field(default_factory=set)
    waits: set[int] = field(default_factory=set)


def overlap(left: range | Span, right: range | Span) -> bool:
    """Whether two half-open ranges have an index in common."""
    return max(left.start, right.start) < min(left.stop, right.stop)


def conflicts_of(program: Program) -> list[set[int]]:
    """For each instruction the earlier ones that it conflicts with."""
    live = {standing.alloc.buffer: Buffer(standing.alloc) for standing in program.stands}
    freed: list[Buffer] = []
    stores: dict[int, Store] = {}
    conflicts: list[set[int]] = []
    for index, instruction in enumerate(program.instructions):
        accesses = list(accesses_of(index, instruction))
        found: set[int] = set()
        for access in accesses:
            found |= live[access.buffer].waits | met_by(access, live[access.buffer].accesses)
        for access in accesses:
            live[access.buffer].accesses.add(access)
        match instruction:
            case Alloc():
                live[instruction.buffer] = Buffer(instruction, waits=waits_for(instruction, freed))
            case Free():
                freed.append(live.pop(instruction.buffer))
            case Split():
                split(instruction, live)
            case Join():
                join(instruction, live)
            case Store():
                stores[index] = instruction
            case Load():
                found |= {i for i, store in stores.items() if is_loaded(store, instruction)}
        conflicts.append(found)
    return conflicts


def accesses_of(index: int, instruction: Instruction) -> Iterator[Access]:
    """All that an instruction reads and writes; nothing where a box has no elements."""
    reads: list[Slice | None] = []
    writes: list[Slice | None] = []
    match instruction:
        case Load():
            writes = [Slice(instruction.buffer, instruction.origin, instruction.box)]
        case Store():
            reads = [Slice(instruction.buffer, instruction.origin, instruction.box)]
        case Compute():
            made = (instruction.result, *instruction.more)
            reads = [*instruction.reads, None if instruction.first else instruction.sums]
            writes = [*made] if instruction.last else [instruction.sums]
        case Stream():
            reads = [*instruction.reads, None if instruction.first else instruction.sums]
            writes = [*instruction.writes, None if instruction.last else instruction.sums]
    for is_write, slices in ((False, reads), (True, writes)):
        for part in slices:
            if part is not None and min(part.box.shape) > 0:
                _, channel, row, _ = part.origin
                rows = range(row, row + (part.box.row.length - 1) * part.stride[0] + 1)
                channels = range(channel, channel + part.box.channel.length)
                yield Access(index, part.buffer, rows, channels, is_write)


def met_by(access: Access, earlier: Iterable[Access]) -> set[int]:
    """Rule (a): the instructions whose regions overlap, where one of the two writes."""
    return {
        each.instruction
        for each in earlier
        if (each.writes or access.writes)
        and overlap(each.rows, access.rows)
        and overlap(each.channels, access.channels)
    }


def waits_for(alloc: Alloc, freed: Iterable[Buffer]) -> set[int]:
    """Rule (b): who accessed the buffers that were given back where this one is reserved."""
    place = range(alloc.address, alloc.address + alloc.size_bytes)
    found: set[int] = set()
    for buffer in freed:
        old = range(buffer.alloc.address, buffer.alloc.address + buffer.alloc.size_bytes)
        if buffer.alloc.memory is alloc.memory and overlap(place, old):
            found.update(access.instruction for access in buffer.accesses)
    return found


def is_loaded(store: Store, load: Load) -> bool:
    """Rule (c): whether the boxes are of one tensor and overlap in rows and in channels."""
    return (
        store.tensor == load.tensor
        and overlap(store.box.row, load.box.row)
        and overlap(store.box.channel, load.box.channel)
    )


def split(instruction: Split, live: dict[int, Buffer]) -> None:
    """A whole becomes its rows: row r of it is row 0 of the r-th part."""
    whole = live.pop(instruction.buffer)
    for row, alloc in enumerate(instruction.parts):
        part = live[alloc.buffer] = Buffer(alloc, waits=set(whole.waits))
        for access in whole.accesses:
            if row in access.rows:
                part.accesses.add(access._replace(buffer=alloc.buffer, rows=range(1)))


def join(instruction: Join, live: dict[int, Buffer]) -> None:
    """Rows become the whole: row 0 of the r-th part is row r of it."""
    whole = Buffer(instruction.whole)
    for row, buffer in enumerate(instruction.parts):
        part = live.pop(buffer)
        whole.waits |= part.waits
        for access in part.accesses:
            here = access._replace(buffer=instruction.whole.buffer, rows=range(row, row + 1))
            whole.accesses.add(here)
    live[instruction.whole.buffer] = whole


def queue_of(
    instructions: Sequence[Instruction],
    conflicts: Sequence[set[int]],
    steps: Sequence[int],
    commands: Iterable[int],
) -> list[int]:
    """Transfers by instruction index, and commands as -1 - step, in the order of the queue."""
    number_of = {index: number for number, index in enumerate(steps)}
    loads: dict[int, int] = {}  # slots
    stores: dict[int, int] = {}
    last_load = last_store = 0
    keys: list[tuple[int, int, int, int]] = []  # rank, commands first, order among these, entry
    for index, instruction in enumerate(instructions):
        met = conflicts[index]
        least = max((1 + number_of[i] for i in met if i in number_of), default=0)
        if isinstance(instruction, Load):
            last_load = max([least, last_load, *(1 + stores[i] for i in met if i in stores)])
            loads[index] = last_load
            keys.append((2 * last_load, 1, index, index))
        elif isinstance(instruction, Store):
            last_store = max([least, last_store, *(loads[i] for i in met if i in loads)])
            stores[index] = last_store
            keys.append((2 * last_store + 1, 1, index, index))
    for entry in commands:
        number = -1 - entry
        keys.append((2 * max(number - 1, 0), 0, number, entry))
    return [entry for *_, entry in sorted(keys)]


def awaited_by(
    conflicts: Sequence[set[int]], steps: Sequence[int], queue: Sequence[int], channels: int
) -> dict[int, set[int]]:
    """The steps and transfers that must be over before each of them goes."""
    awaited = {entry: set(conflicts[entry]) if entry >= 0 else set() for entry in (*steps, *queue)}
    for number in range(1, len(steps)):
        awaited[steps[number]].add(steps[number - 1])
    for place in range(channels, len(queue)):
        awaited[queue[place]].add(queue[place - channels])
    for entry in queue:
        if entry < 0:
            awaited[steps[-1 - entry]].add(entry)
    return awaited


def timed(
    awaited: Mapping[int, set[int]],
    steps: Sequence[int],
    queue: Sequence[int],
    step_durations: Sequence[int],
    costs: Mapping[int, Cost],
) -> Expected:
    """Let the next step or the next transfer go as soon as all that it waits for is over."""
    over: dict[int, int] = {}  # when a step has ended, when a transfer is done
    free: defaultdict[int, int] = defaultdict(int)  # by bus
    step_times: list[tuple[int, int]] = []
    transfer_times: list[tuple[int, int, int]] = []
    while len(over) < len(awaited):
        number, place = len(step_times), len(transfer_times)
        heads = (*steps[number : number + 1], *queue[place : place + 1])
        entry = next((each for each in heads if awaited[each] <= over.keys()), None)
        if entry is None:
            raise AssertionError(f"deadlock: step {number} and place {place} of the queue wait")
        begin = max((over[each] for each in awaited[entry]), default=0)
        if entry in steps:
            over[entry] = begin + step_durations[number]
            step_times.append((begin, over[entry]))
            continue
        setup, durations = costs[entry]
        end = begin + setup
        for bus, duration in enumerate(durations):
            if duration > 0:
                free[bus] = max(begin + setup, free[bus]) + duration
                end = max(end, free[bus])
        over[entry] = max(end, over[queue[place - 1]]) if place > 0 else end
        transfer_times.append((begin, end, over[entry]))
    latency = max(over.values(), default=0)
    return Expected(tuple(step_times), tuple(queue), tuple(transfer_times), latency)
