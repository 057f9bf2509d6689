"""Replay: programs executed on real tensors give the network's own answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from dataflow_sim.errors import ProgramError
from dataflow_sim.program.instructions import Alloc, Compute, Load, Memory, Program
from dataflow_sim.schedule.search import schedule_network
from dataflow_sim.schedule.types import DOUBLE, SINGLE, MemoryOptions
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.occupancy import occupancy
from dataflow_sim.simulate.replay import replay
from tests.support.runs import (
    Case,
    case,
    least_budget,
    least_of,
    outputs_of,
    proved,
    scheduled,
)

# networks whose operators keep small integers small integers: equality is exact
EXACT = ("padded_chain", "residual", "shuffled")
ROUNDED = (
    *("concatenated", "depthwise", "pooled_classifier", "squeeze_excite"),
    *("decoder", "transposed", "resized", "volumes", "pooled_volume"),
)
REAL = ("tiny_mobilenet_v1", "tiny_mobilenet_v2")
FACTORS = (1.3, 6.0, 1000.0)
FACTORS_OF_REAL = (12.0, 40.0, 1000.0)
# at their least memory these take long programs
LONG = ("pooled_classifier", "transposed", "residual", "decoder", "concatenated")


def runs() -> Iterator[object]:
    """Names, factors and whether buffers are double; some of them are slow."""
    for name in (*EXACT, *ROUNDED, *REAL):
        for factor in FACTORS_OF_REAL if name in REAL else (*FACTORS, 2.0):
            for double in (False, True):
                least = factor in (1.3, 12.0)
                slow = factor == 2.0 or (double and (not least or name in (*LONG, *REAL)))
                slow = slow or (least and name in ("tiny_mobilenet_v2", "transposed"))
                marks = [pytest.mark.slow] if slow else []
                label = f"{name}-{factor}-{'double' if double else 'single'}"
                yield pytest.param(name, factor, double, marks=marks, id=label)


def replayed(found: Case, program: Program) -> np.ndarray:
    result = replay(program, found.graph, found.inputs)
    ledger = count(program)
    assert result.dram_bytes == sum(ledger.traffic_bytes().values())
    return outputs_of(found.graph, result.tensors, found.expected)["output"]


@pytest.mark.parametrize(("name", "factor", "double_buffer"), list(runs()))
def test_the_replay_gives_the_networks_output(
    name: str, factor: float, double_buffer: bool
) -> None:
    found = case(name)
    budget = int(least_budget(found.graph, double_buffer) * factor)
    schedule, program = scheduled(found.graph, budget, double_buffer)
    assert schedule.traffic_bytes() == count(program).traffic_bytes()
    assert occupancy(program).peak_bytes <= budget
    output = replayed(found, program)
    if name in EXACT:
        np.testing.assert_array_equal(output, found.expected)
    else:
        scale = float(np.abs(found.expected).max())
        np.testing.assert_allclose(output, found.expected, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("name", ["padded_chain", "shuffled"])
def test_in_exactly_the_least_memory(name: str) -> None:
    found = case(name)
    least = least_budget(found.graph, False)
    _, program = scheduled(found.graph, least)
    assert program.capacity_bytes == occupancy(program).peak_bytes == least
    np.testing.assert_array_equal(replayed(found, program), found.expected)


@pytest.mark.parametrize("sums", [8, 100, 1000])
@pytest.mark.parametrize(
    "double",
    [pytest.param(False, id="single"), pytest.param(True, marks=pytest.mark.slow, id="double")],
)
@pytest.mark.parametrize("name", ["padded_chain", "shuffled", "pooled_classifier"])
def test_sums_in_a_memory_of_their_own(name: str, double: bool, sums: int) -> None:
    found = case(name)
    memory = MemoryOptions(0, DOUBLE if double else SINGLE, 32, sums)
    budget = int(least_of(found.graph, memory) * 1.6)
    schedule = schedule_network(found.graph, replace(memory, capacity_bytes=budget), "layerwise")
    program = proved(found.graph, schedule)
    places = [x for x in program.instructions if isinstance(x, Alloc)]
    used = {x.memory for x in places}
    assert (Memory.ACCUMULATORS in used) == (schedule.accumulator_bytes > 0)
    assert Memory.ACCUMULATORS in used or sums == 8
    output = replayed(found, program)
    if name in EXACT:
        np.testing.assert_array_equal(output, found.expected)
    else:
        scale = float(np.abs(found.expected).max())
        np.testing.assert_allclose(output, found.expected, rtol=1e-4, atol=1e-5 * scale)


def test_sums_beyond_their_memory_make_the_replay_fail() -> None:
    found = case("padded_chain")
    memory = MemoryOptions(0, SINGLE, 32, 64)
    memory = replace(memory, capacity_bytes=least_of(found.graph, memory))
    schedule = schedule_network(found.graph, memory, "layerwise")
    program = proved(found.graph, schedule)
    assert not fails(found, program)
    short = replace(program, accumulator_capacity_bytes=schedule.accumulator_bytes - 1)
    with pytest.raises(ProgramError, match=r"instruction \d+ \(Alloc\)"):
        replay(short, found.graph, found.inputs)


def test_constants_that_are_not_counted_still_apply() -> None:
    found = case("padded_chain", count_biases=False)
    _, program = scheduled(found.graph, 4096)
    assert not any(
        isinstance(step, Compute) and step.output_vectors for step in program.instructions
    )
    np.testing.assert_array_equal(replayed(found, program), found.expected)


def with_instruction(program: Program, index: int, changed: object) -> Program:
    instructions = list(program.instructions)
    instructions[index] = changed  # type: ignore[call-overload]  # a mutation may be anything
    return replace(program, instructions=tuple(instructions))


def halo_loads(program: Program) -> list[int]:
    """Loads of feature maps that do not begin at the map's first row: they hold a halo."""
    return [
        index
        for index, instruction in enumerate(program.instructions)
        if isinstance(instruction, Load)
        and program.tensors[instruction.tensor].kind in ("input", "map")
        and instruction.box.row.start > 0
        and instruction.box.row.length > 1
    ]


def fails(found: Case, program: Program) -> bool:
    try:
        output = replay(program, found.graph, found.inputs).tensors
    except ProgramError:
        return True
    joined = outputs_of(found.graph, output, found.expected)["output"]
    return not np.array_equal(joined, found.expected)


@pytest.mark.parametrize("name", ["padded_chain", pytest.param("residual", marks=pytest.mark.slow)])
def test_one_halo_row_deleted_makes_the_replay_fail(name: str) -> None:
    found = case(name)
    _, program = scheduled(found.graph, 2 * least_budget(found.graph, False))
    assert not fails(found, program)
    candidates = halo_loads(program)
    assert candidates
    for index in candidates[:: max(1, len(candidates) // 5)]:
        load = program.instructions[index]
        assert isinstance(load, Load)
        rows = load.box.row
        short = load.box._replace(row=rows._replace(stop=rows.stop - 1))
        assert fails(found, with_instruction(program, index, load._replace(box=short)))


def test_other_faults_are_caught_and_name_the_instruction() -> None:
    found = case("padded_chain")
    _, program = scheduled(found.graph, 700)
    steps = [i for i, x in enumerate(program.instructions) if isinstance(x, Compute)]
    loads = [i for i, x in enumerate(program.instructions) if isinstance(x, Load)]
    first = program.instructions[steps[0]]
    assert isinstance(first, Compute)
    load = program.instructions[loads[0]]
    assert isinstance(load, Load)
    # transfer and step agree on a tile that is one row short
    row = load.box.row
    short = load.box._replace(row=row._replace(stop=row.stop - 1))
    agreed = with_instruction(program, loads[0], load._replace(box=short))
    part = first._replace(input=(first.input[0]._replace(box=short),))
    with pytest.raises(ProgramError, match=rf"instruction {steps[0]} .*layer 'a' needs row"):
        replay(with_instruction(agreed, steps[0], part), found.graph, found.inputs)
    # the step claims rows that its buffer does not hold
    claimed = first.input[0]._replace(
        box=load.box._replace(row=row._replace(start=row.start + 1, stop=row.stop + 1))
    )
    wrong = with_instruction(program, steps[0], first._replace(input=(claimed,)))
    with pytest.raises(ProgramError, match=rf"instruction {steps[0]} .*missing or stale"):
        replay(wrong, found.graph, found.inputs)
    # a transfer is left out: its buffer holds poison
    nothing = Alloc(10_000, 0, 0, (0, 1, 1, 1), 32, "nothing")
    assert fails(found, with_instruction(program, loads[0], nothing))
    # a transfer lands one element too far
    away = load._replace(origin=(0, 0, 0, 1))
    with pytest.raises(ProgramError, match=r"instruction \d+ .*missing or stale"):
        replay(with_instruction(program, loads[0], away), found.graph, found.inputs)
