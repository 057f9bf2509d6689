"""OR-tools: the one module that imports it, and only when it is asked for.

A program's relaxation, in which variables may be fractions, is solved by GLOP; the multipliers
that it ends with bound all solutions, and those with each variable (`exact_program`).  CP-SAT
then looks for solutions that cost no more than a *ceiling*: of these no variable can be part
whose own bound is above it, so that a low ceiling leaves few.  The first ceiling is the bound
itself, which is mostly enough; while nothing is found it rises, in the end to the known cost.

    bound = ceiling                                                known cost
      ├──────────┼──────────────────┼───────────────────────────────────┤
      few variables left            more                              nothing better

Half of the work that is allowed is the relaxation's, half that of all the ceilings, in the
solvers' deterministic time: about seconds, but counted by what they do.  They run with one
thread and a fixed seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dataflow_sim.errors import InputError
from dataflow_sim.schedule.allocation import Life
from dataflow_sim.schedule.exact_program import IntegerProgram, bound_of, without
from dataflow_sim.schedule.residents import Sharing

INSTALL = (
    "the exact search needs OR-tools, which is not installed; "
    "install the extra: pip install 'dataflow-sim[exact]'"
)
_SEED = 1
# ceilings, as parts of the way from the bound to the known cost
_PARTS = (0, 1, 4, 16, 64)
# for a ceiling that comes after all the work is done
_LEAST_WORK = 1e-3


class Solution(NamedTuple):
    """The best that was found below a known cost: variables at 1, None where nothing was.

    No solution costs less than `bound`, which is not above the known cost; `cost` is the known
    one where nothing was found.  `work` is what CP-SAT did.
    """

    chosen: frozenset[int] | None
    cost: int
    bound: int
    work: float = 0.0


def check_installed() -> None:
    """Raise InputError that tells how to install OR-tools where it is missing."""
    _modules()


def _modules() -> tuple[Any, Any]:
    try:
        from ortools.linear_solver import pywraplp
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise InputError(INSTALL) from error
    return cp_model, pywraplp


def least(program: IntegerProgram, known: int, work: float) -> Solution:
    """The least cost of a program, if it is below a known one."""
    found = bound_of(program, _multipliers(program, work / 2))
    bound, left = found.least, work / 2
    for part in _PARTS:
        if bound >= known:
            break
        ceiling = found.least + (known - 1 - found.least) * part // _PARTS[-1]
        if ceiling < bound:
            continue
        there = [each <= ceiling for each in found.with_variable]
        solution = _up_to(program, there, (bound, ceiling), left)
        left = max(left - solution.work, _LEAST_WORK)
        if solution.chosen is not None:
            return solution._replace(work=work / 2 - left)
        bound = solution.bound
        if bound <= ceiling:
            break
    return Solution(None, known, min(bound, known), work / 2 - left)


def _up_to(
    program: IntegerProgram, there: Sequence[bool], costs: tuple[int, int], work: float
) -> Solution:
    """The best solution of some variables between two costs.

    The bound is that of all solutions; it is above the higher cost where there is proof of none.
    """
    cp_model, _ = _modules()
    least_cost, ceiling = costs
    model = cp_model.CpModel()
    places = [number for number, here in enumerate(there) if here]
    variables = {number: model.new_bool_var("") for number in places}
    none = Solution(None, ceiling + 1, ceiling + 1)
    for row in without(program, there):
        inside = _domain(cp_model, row.low, row.high)
        if not row.variables:
            if not inside.contains(0):
                return none
            continue
        expression = cp_model.LinearExpr.weighted_sum(
            [variables[number] for number in row.variables], row.factors
        )
        model.add_linear_expression_in_domain(expression, inside)
    cost = cp_model.LinearExpr.weighted_sum(
        [variables[number] for number in places], [program.costs[number] for number in places]
    )
    model.add_linear_expression_in_domain(cost, cp_model.Domain(least_cost, ceiling))
    model.minimize(cost)
    solver = _solver(cp_model, work)
    status = solver.solve(model)
    used = float(solver.response_proto.deterministic_time)
    if status == cp_model.INFEASIBLE:
        return none._replace(work=used)
    # a whole number that comes as a float, exact below 2**53
    bound = min(ceiling, max(least_cost, round(solver.best_objective_bound)))
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Solution(None, ceiling + 1, bound, used)
    chosen = frozenset(n for n, each in variables.items() if solver.boolean_value(each))
    moved = sum(program.costs[number] for number in chosen)
    return Solution(chosen, moved, moved if status == cp_model.OPTIMAL else bound, used)


def addresses(
    buffers: Sequence[Life],
    capacity_bytes: int,
    work: float,
    sharing: Sequence[Sharing] = (),
    alignment_bytes: int = 1,
) -> list[int] | None:
    """Addresses of buffers in a memory, none of them above it; None where none were found.

    Of two that are `sharing` the last moment of the one, the other may lie below at a distance.
    All sizes and distances are multiples of the alignment; the solver counts in its units.
    """
    unit = alignment_bytes
    buffers = [each._replace(size_bytes=each.size_bytes // unit) for each in buffers]
    sharing = [each._replace(distance_bytes=each.distance_bytes // unit) for each in sharing]
    capacity_bytes //= unit
    cp_model, _ = _modules()
    model = cp_model.CpModel()
    if any(buffer.size_bytes > capacity_bytes for buffer in buffers):
        return None
    starts = [model.new_int_var(0, capacity_bytes - each.size_bytes, "") for each in buffers]
    times, ranges = [], []
    giving = {each.taken for each in sharing}
    for place, (start, (size, first, last)) in enumerate(zip(starts, buffers, strict=True)):
        last -= place in giving
        if size and first <= last:
            times.append(model.new_fixed_size_interval_var(first, last - first + 1, ""))
            ranges.append(model.new_fixed_size_interval_var(start, size, ""))
    model.add_no_overlap_2d(times, ranges)
    for taken, made, distance in sharing:
        moment = buffers[taken].last
        for place, other in enumerate(buffers):
            if place != taken and other.first <= moment <= other.last and other.size_bytes:
                above = model.new_bool_var("")
                ends = distance if place == made else other.size_bytes
                model.add(starts[taken] >= starts[place] + ends).only_enforce_if(above)
                below = starts[taken] + buffers[taken].size_bytes <= starts[place]
                model.add(below).only_enforce_if(~above)
    solver = _solver(cp_model, work)
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    return [solver.value(start) * unit for start in starts]


def _solver(cp_model: Any, work: float) -> Any:
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = _SEED
    solver.parameters.linearization_level = 2
    solver.parameters.max_deterministic_time = work
    return solver


def _domain(cp_model: Any, low: int | None, high: int | None) -> Any:
    most = 1 << 60
    return cp_model.Domain(-most if low is None else low, most if high is None else high)


def _multipliers(program: IntegerProgram, work: float) -> Sequence[float]:
    """Multipliers of the rows, from the relaxation as far as it was solved."""
    _, pywraplp = _modules()
    solver = pywraplp.Solver.CreateSolver("GLOP")
    infinity = solver.infinity()
    variables = [solver.NumVar(0, 1, "") for _ in program.costs]
    rows = []
    for row in program.rows:
        low = -infinity if row.low is None else row.low
        made = solver.Constraint(low, infinity if row.high is None else row.high)
        for number, factor in zip(row.variables, row.factors, strict=True):
            made.SetCoefficient(variables[number], factor)
        rows.append(made)
    objective = solver.Objective()
    for each, cost in zip(variables, program.costs, strict=True):
        objective.SetCoefficient(each, cost)
    objective.SetMinimization()
    limit = f"use_dual_simplex: true, max_deterministic_time: {work!r}"
    solver.SetSolverSpecificParametersAsString(limit)
    status = solver.Solve()
    if status != pywraplp.Solver.OPTIMAL:
        return [0.0] * len(rows)
    return [made.dual_value() for made in rows]
