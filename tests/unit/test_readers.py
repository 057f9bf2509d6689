"""What the readers of a program refuse: transfers and steps that reach beyond what is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TypeVar

import pytest

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.region import Box, Span
from dataflow_sim.hardware import load_hardware
from dataflow_sim.program.instructions import Alloc, Compute, Instruction, Load, Program, Store
from dataflow_sim.proof import counts_of
from dataflow_sim.schedule.types import Schedule
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.occupancy import occupancy
from dataflow_sim.simulate.replay import replay
from tests.support.runs import case, scheduled

Kind = TypeVar("Kind", bound=Instruction)


@cache
def sound() -> tuple[Schedule, Program]:
    """Convolutions with biases, the reduction of the second in several steps."""
    found = scheduled(case("padded_chain").graph, 700)
    count(found[1])
    occupancy(found[1])
    return found


def changed(
    kind: type[Kind], change: Callable[[Kind], Instruction], where: Callable[[Kind], bool]
) -> Program:
    """The program with one instruction changed: the first of a kind that is as wanted."""
    _, program = sound()
    instructions = list(program.instructions)
    for number, each in enumerate(instructions):
        if isinstance(each, kind) and where(each):
            instructions[number] = change(each)
            return replace(program, instructions=tuple(instructions))
    raise AssertionError(f"no such {kind.__name__}")


def moved(box: Box, axis: int, by: int) -> Box:
    spans = list(box)
    start, stop, step = spans[axis]
    spans[axis] = Span(start + by, stop + by, step)
    return Box(*spans)


@pytest.mark.parametrize("by", [-1, 100])
@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("kind", [Load, Store])
def test_a_transfer_beyond_its_tensor(kind: type[Load | Store], axis: int, by: int) -> None:
    def beyond(each: Load | Store) -> Load | Store:
        return each._replace(box=moved(each.box, axis, by))

    program = changed(kind, beyond, lambda each: each.box[axis].start == 0)
    with pytest.raises(ProgramError, match=r"leaves '.*' of shape"):
        count(program)


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("kind", [Load, Store])
def test_a_transfer_beyond_its_buffer(kind: type[Load | Store], axis: int) -> None:
    """An origin of -1, or one above the last that leaves room for the box."""
    _, program = sound()
    shapes = {each.buffer: each.shape for each in program.instructions if isinstance(each, Alloc)}
    for beyond in (True, False):

        def away(each: Load | Store, beyond: bool = beyond) -> Load | Store:
            room = shapes[each.buffer][axis] - each.box[axis].length
            origin = list(each.origin)
            origin[axis] = room + 1 if beyond else -1
            return each._replace(origin=(origin[0], origin[1], origin[2], origin[3]))

        with pytest.raises(ProgramError, match=r"leaves '.*' of \("):
            occupancy(changed(kind, away, lambda each: True))


def test_a_step_beyond_its_buffer() -> None:
    """Rows too far apart, and a result of one column more."""

    def apart(step: Compute) -> Compute:
        return step._replace(input=(step.input[0]._replace(stride=(9, 1)), *step.input[1:]))

    def wider(step: Compute) -> Compute:
        low, high, by = step.result.box.column
        box = step.result.box._replace(column=Span(low, high + 1, by))
        return step._replace(result=step.result._replace(box=box))

    with pytest.raises(ProgramError, match=r"\(9, 1\) apart, leaves"):
        occupancy(changed(Compute, apart, lambda step: step.input[0].box.row.length > 1))
    with pytest.raises(ProgramError, match="apart, leaves"):
        occupancy(changed(Compute, wider, lambda step: step.last))
    # what an unfinished step is going to make is not touched
    occupancy(changed(Compute, wider, lambda step: not step.last))


def test_a_step_that_reads_an_empty_buffer() -> None:
    _, program = sound()
    first = next(each for each in program.instructions if isinstance(each, Load))
    short = tuple(each for each in program.instructions if each is not first)
    with pytest.raises(ProgramError, match="is read, but nothing was brought there"):
        occupancy(replace(program, instructions=short))


def test_sums_that_go_on_before_they_begin() -> None:
    def goes_on(step: Compute) -> Compute:
        return step._replace(first=False)

    program = changed(Compute, goes_on, lambda step: step.sums is not None)
    with pytest.raises(ProgramError, match="partial sums' is read, but nothing was brought there"):
        occupancy(program)


@pytest.mark.parametrize(("first", "last"), [(False, True), (True, False)])
def test_a_part_of_a_reduction_without_sums(first: bool, last: bool) -> None:
    program = changed(
        Compute,
        lambda step: step._replace(first=first, last=last),
        lambda step: step.sums is None,
    )
    with pytest.raises(ProgramError, match="a part of a reduction, but no sums"):
        count(program)


def test_a_step_without_the_constants_that_it_applies() -> None:
    found = case("padded_chain")
    program = changed(
        Compute,
        lambda step: step._replace(output_vectors=None),
        lambda step: step.output_vectors is not None,
    )
    with pytest.raises(ProgramError, match=r"instruction \d+ .*has no constants"):
        replay(program, found.graph, found.inputs)


def test_a_program_higher_than_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule, program = sound()
    graph = case("padded_chain").graph
    counts_of(graph, load_hardware("bare"), schedule, lambda *_: None)
    last = max(
        (each for each in program.instructions if isinstance(each, Alloc)),
        key=lambda each: each.address + each.size_bytes,
    )
    higher = changed(
        Alloc, lambda each: each._replace(address=each.address + 4), lambda each: each is last
    )
    higher = replace(higher, capacity_bytes=higher.capacity_bytes + 4)
    monkeypatch.setattr("dataflow_sim.proof.lower", lambda *_: higher)
    with pytest.raises(ProgramError, match="memory 'local': the schedule takes"):
        counts_of(graph, load_hardware("bare"), schedule, lambda *_: None)
