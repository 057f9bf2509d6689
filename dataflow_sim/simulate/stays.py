"""When buffers are really in use: from the first access in time to the last one.

A program says in which order buffers begin and end; on the timeline a load goes ahead of steps
that stand before it, so that its buffer is in use earlier.  Buffers of overlapping addresses are
never in use at a time, since who touches the later one waits for all who touched the earlier:
what is in use at an instant fits the memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from dataflow_sim.program.instructions import (
    Alloc,
    Compute,
    Join,
    Load,
    Memory,
    Program,
    Split,
    Store,
    Stream,
)
from dataflow_sim.simulate.accesses import reads_of, writes_of
from dataflow_sim.simulate.precedence import Precedence
from dataflow_sim.simulate.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Stay:
    """A buffer of local memory from its first access to its last one, in femtoseconds."""

    label: str
    address: int
    size_bytes: int
    begin: int
    end: int


def stays(program: Program, found: Precedence, timeline: Timeline) -> tuple[Stay, ...]:
    """The stays of the buffers of a program, the first one that was followed, as they begin.

    What stands before the program is in use from its beginning, what it leaves until its end; of a
    buffer that falls apart the rows have been in use as long as it has.
    """
    when = _instants(found, timeline)
    allocs: dict[int, Alloc] = {}
    used: dict[int, tuple[int, int]] = {}
    for standing in program.stands:
        allocs[standing.alloc.buffer] = standing.alloc
        used[standing.alloc.buffer] = (0, 0)
    for index, ins in enumerate(program.instructions):
        if isinstance(ins, Alloc):
            allocs[ins.buffer] = ins
        elif isinstance(ins, Split):
            allocs.update((part.buffer, part) for part in ins.parts)
            span = used.pop(ins.buffer, None)
            if span is not None:
                used.update((part.buffer, span) for part in ins.parts)
        elif isinstance(ins, Join):
            allocs[ins.whole.buffer] = ins.whole
            spans = [used[part] for part in ins.parts if part in used]
            if spans:
                last = max(end for _, end in spans)
                used[ins.whole.buffer] = (last, last)
        elif isinstance(ins, Load | Store | Compute | Stream):
            begin, end = when[index]
            for buffer in _buffers(ins):
                first, last = used.get(buffer, (begin, end))
                used[buffer] = (min(first, begin), max(last, end))
    for standing in program.leaves:
        first, _ = used.get(standing.alloc.buffer, (0, 0))
        used[standing.alloc.buffer] = (first, timeline.latency)
    result = []
    for buffer, (begin, end) in used.items():
        alloc = allocs[buffer]
        if alloc.memory is Memory.LOCAL:
            result.append(Stay(alloc.label, alloc.address, alloc.size_bytes, begin, end))
    return tuple(sorted(result, key=lambda stay: (stay.begin, stay.address, stay.end, stay.label)))


def _instants(found: Precedence, timeline: Timeline) -> dict[int, tuple[int, int]]:
    """From when to when each instruction of the first program runs."""
    steps = zip(
        found.instruction.tolist(),
        found.frame.tolist(),
        timeline.start.tolist(),
        timeline.end.tolist(),
        strict=True,
    )
    moved = zip(
        found.moved.tolist(),
        found.of_frame.tolist(),
        timeline.begin.tolist(),
        timeline.finish.tolist(),
        strict=True,
    )
    return {
        index: (begin, end)
        for events in (steps, moved)
        for index, frame, begin, end in events
        if frame == 0 and index >= 0
    }


def _buffers(ins: Load | Store | Compute | Stream) -> set[int]:
    if isinstance(ins, Load | Store):
        return {ins.buffer}
    return {part.buffer for part in (*reads_of(ins), *writes_of(ins))}
