"""Integer programs as plain data, and what multipliers of their rows prove.

    least   sum over j of cost[j] x[j]      x[j] in {0, 1}
    with    low[i] <= sum over j of a[i, j] x[j] <= high[i]

Of any multipliers u, positive where a row's low side counts and negative where its high side
does, the weak duality of linear programming makes

    bound = sum over i of u[i] side[i] + sum over j of min(0, r[j])
    r[j]  = cost[j] - sum over i of u[i] a[i, j]                      (reduced cost)

a lower bound of every solution, and bound + r[j] one of every solution with x[j] = 1, for
r[j] > 0.  The multipliers come from a solver in floating point; they are rounded to whole
numbers of 2**-30, and all else is reckoned in integers, so that no rounding can spoil
the bound: poor multipliers make it weak, never wrong.  Since all costs are multiples of
their greatest common divisor, so is the least cost, to which the bound is rounded up.

Source: Lagrangian bounds and reduced-cost fixing, e.g. Wolsey, "Integer Programming" (1998).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import NamedTuple

_ONE = 1 << 30


class Row(NamedTuple):
    """A linear constraint: `low` <= sum of factors times variables <= `high`, None for no side."""

    low: int | None
    high: int | None
    variables: Sequence[int]
    factors: Sequence[int]


@dataclass(slots=True)
class IntegerProgram:
    """Variables of 0 or 1, numbered as they are made, with their costs; and rows."""

    costs: list[int] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def variable(self, cost: int = 0) -> int:
        """A new variable's number."""
        self.costs.append(cost)
        return len(self.costs) - 1

    def equal(self, left: Sequence[int], right: Sequence[int], constant: int = 0) -> None:
        """The sum of some variables less that of others is a constant."""
        self._add(constant, constant, left, right)

    def at_most(self, left: Sequence[int], right: Sequence[int]) -> None:
        """The sum of some variables is at most that of others."""
        if left:
            self._add(None, 0, left, right)

    def fits(self, needs: Sequence[tuple[int, int]], rooms: Sequence[tuple[int, int]]) -> None:
        """What variables need, (variable, amount), is at most what others leave room for."""
        pairs = [*needs, *((variable, -room) for variable, room in rooms)]
        self.rows.append(Row(None, 0, *zip(*pairs, strict=True)))

    def not_all(self, variables: Sequence[int]) -> None:
        """Some variable of these is 0."""
        self._add(None, len(variables) - 1, variables, ())

    def _add(
        self, low: int | None, high: int | None, left: Sequence[int], right: Sequence[int]
    ) -> None:
        factors = [1] * len(left) + [-1] * len(right)
        self.rows.append(Row(low, high, [*left, *right], factors))


class Bound(NamedTuple):
    """A lower bound of an integer program, and of its solutions with each variable at 1."""

    least: int
    with_variable: tuple[int, ...]


def bound_of(program: IntegerProgram, multipliers: Sequence[float]) -> Bound:
    """What multipliers, one for each row, prove; all costs are at least 0."""
    scaled = 0
    reduced = [cost * _ONE for cost in program.costs]
    for row, multiplier in zip(program.rows, multipliers, strict=True):
        whole = round(multiplier * _ONE)
        side = row.low if whole > 0 else row.high
        if whole == 0 or side is None:
            continue
        scaled += whole * side
        for variable, factor in zip(row.variables, row.factors, strict=True):
            reduced[variable] -= whole * factor
    scaled += sum(each for each in reduced if each < 0)
    unit = max(1, gcd(*program.costs)) * _ONE

    def up(value: int) -> int:
        return max(0, -(-value // unit)) * (unit // _ONE)

    return Bound(up(scaled), tuple(up(scaled + max(0, each)) for each in reduced))


def without(program: IntegerProgram, left: Sequence[bool]) -> Iterator[Row]:
    """The rows of a program in which only some variables are left, the others 0."""
    for row in program.rows:
        pairs = [
            (variable, factor)
            for variable, factor in zip(row.variables, row.factors, strict=True)
            if left[variable]
        ]
        yield Row(row.low, row.high, [v for v, _ in pairs], [f for _, f in pairs])
