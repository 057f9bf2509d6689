"""Bounds of integer programs: true of every solution, whatever the multipliers."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_sim.schedule.allocation import Life
from dataflow_sim.schedule.exact_program import IntegerProgram, Row, bound_of


def solutions(program: IntegerProgram) -> list[tuple[int, ...]]:
    def within(row: Row, values: tuple[int, ...]) -> bool:
        total = sum(f * values[v] for v, f in zip(row.variables, row.factors, strict=True))
        return (row.low is None or row.low <= total) and (row.high is None or total <= row.high)

    every = product((0, 1), repeat=len(program.costs))
    return [values for values in every if all(within(row, values) for row in program.rows)]


@st.composite
def programs(draw: st.DrawFn) -> IntegerProgram:
    program = IntegerProgram()
    variables = [program.variable(8 * draw(st.integers(0, 9))) for _ in range(5)]
    some = st.lists(st.sampled_from(variables), max_size=3, unique=True)
    program.equal(draw(some), draw(some), draw(st.integers(0, 1)))
    program.at_most(draw(some), draw(some))
    needs = [(v, draw(st.integers(0, 50))) for v in variables[:2]]
    program.fits(needs, [(v, draw(st.integers(0, 50))) for v in variables[2:]])
    program.not_all(variables[1:4])
    return program


def cost(program: IntegerProgram, values: tuple[int, ...]) -> int:
    return sum(c * v for c, v in zip(program.costs, values, strict=True))


@given(programs(), st.data())
def test_bounds_hold(program: IntegerProgram, data: st.DataObject) -> None:
    numbers = st.floats(-20, 20)
    found = bound_of(program, [data.draw(numbers) for _ in program.rows])
    for values in solutions(program):
        moved = cost(program, values)
        assert found.least <= moved
        assert all(found.with_variable[v] <= moved for v, value in enumerate(values) if value)


@given(programs())
def test_the_solver_finds_the_least(program: IntegerProgram) -> None:
    solver = pytest.importorskip("dataflow_sim.schedule.exact_solver")
    pytest.importorskip("ortools")
    every = [cost(program, values) for values in solutions(program)]
    known = 1000
    found = solver.least(program, known, 10.0)
    assert found.cost == found.bound == min(every, default=known)
    again = solver.least(program, found.cost, 10.0)
    assert (again.chosen, again.cost, again.bound) == (None, found.cost, found.cost)


def test_addresses_are_found_up_to_the_last_byte() -> None:
    """Largest first from the bottom leaves a hole of 1 here; some order fits exactly."""
    solver = pytest.importorskip("dataflow_sim.schedule.exact_solver")
    pytest.importorskip("ortools")
    buffers = [Life(3, 0, 1), Life(2, 0, 2), Life(4, 2, 3), Life(0, 0, 3), Life(2, 3, 4)]
    found = solver.addresses(buffers, 6, 1.0)
    assert found is not None
    for one, (size, first, last) in enumerate(buffers):
        assert 0 <= found[one] <= 6 - size
        for other in range(one):
            apart = buffers[other].last < first or last < buffers[other].first
            below = found[other] + buffers[other].size_bytes <= found[one]
            assert apart or below or found[one] + size <= found[other]
    assert solver.addresses(buffers, 5, 1.0) is None
