"""OR-tools: the one module that imports it, and only when it is asked for.

A program is solved in two stages.  Its relaxation, in which variables may be fractions, is
solved by GLOP; the multipliers that it ends with bound all solutions (`exact_program`).  What
that bound says cannot be part of a better solution than the known one is left out, and the
rest goes to CP-SAT.  Where the bound is the known cost, nothing is left.

Each stage has half of the work that is allowed, in the solvers' deterministic time: about
seconds, but counted by what they do.  They run with one thread and a fixed seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dataflow_sim.errors import InputError
from dataflow_sim.schedule.exact_program import IntegerProgram, bound_of, without

INSTALL = (
    "the exact search needs OR-tools, which is not installed; "
    "install the extra: pip install 'dataflow-sim[exact]'"
)
_SEED = 1


class Solution(NamedTuple):
    """The best that was found below a known cost: variables at 1, None where nothing was.

    No solution costs less than `bound`, which is not above the known cost; `cost` is the known
    one where nothing was found.
    """

    chosen: frozenset[int] | None
    cost: int
    bound: int


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
    cp_model, _ = _modules()
    found = bound_of(program, _multipliers(program, work / 2))
    left = [each < known for each in found.with_variable]
    if found.least >= known:
        return Solution(None, known, known)
    model = cp_model.CpModel()
    places = [number for number, there in enumerate(left) if there]
    variables = {number: model.new_bool_var("") for number in places}
    for row in without(program, left):
        if not row.variables:
            if (row.low or 0) > 0 or (0 if row.high is None else row.high) < 0:
                return Solution(None, known, known)
            continue
        inside = _domain(cp_model, row.low, row.high)
        expression = cp_model.LinearExpr.weighted_sum(
            [variables[number] for number in row.variables], row.factors
        )
        model.add_linear_expression_in_domain(expression, inside)
    cost = cp_model.LinearExpr.weighted_sum(
        [variables[number] for number in places], [program.costs[number] for number in places]
    )
    model.add_linear_expression_in_domain(cost, cp_model.Domain(found.least, known - 1))
    model.minimize(cost)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = _SEED
    solver.parameters.linearization_level = 2
    solver.parameters.max_deterministic_time = work / 2
    status = solver.solve(model)
    if status == cp_model.INFEASIBLE:
        return Solution(None, known, known)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        # the solver's bound is a whole number that comes as a float, exact below 2**53
        bound = round(solver.best_objective_bound)
        return Solution(None, known, min(known, max(found.least, bound)))
    chosen = frozenset(n for n, each in variables.items() if solver.boolean_value(each))
    moved = sum(program.costs[number] for number in chosen)
    bound = moved if status == cp_model.OPTIMAL else round(solver.best_objective_bound)
    return Solution(chosen, moved, min(moved, max(found.least, bound)))


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
