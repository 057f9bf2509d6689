"""Questions over the points of a study.

`pareto`       the points that no other one beats: as good in every column, better in one
`knee`         the least memory from which a column stays within so much of its floor
`needs`        the least of a resource from which on a target is always met
`sensitivity`  along each axis, all others the same: the ratio of a column to that at the axis's
               first value, on geometric mean, and at worst and best; for axes of numbers the
               elasticity as well, the slope in logarithms

Points that have an error play no part.  Ties keep the order of the points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from dataflow_sim.errors import InputError
from dataflow_sim.results_of_studies import Answer, Row, Value
from dataflow_sim.scenario.expressions import Evaluator
from dataflow_sim.scenario.model import Knee, Needs, Pareto, Question, Sensitivity, part_of
from dataflow_sim.scenario.table import Table, as_number, numbers

_OK = "ok"


def answered(table: Table, question: Question) -> Answer:
    """The answer to a question, apart for each of the values that it is asked by."""
    fitting = Table(
        table.axes, table.columns, tuple(row for row in table.rows if row["status"] == _OK)
    )
    # a model makes sure that it is of one kind
    asked: Any
    words: Callable[[Any], str]
    ask: Callable[[Table, Any], list[Row]]
    asked, words, ask = next(
        kind
        for kind in (
            (question.knee, _knee_words, knee),
            (question.pareto, _pareto_words, pareto),
            (question.needs, _needs_words, needs),
            (question.sensitivity, _sensitivity_words, sensitivity),
        )
        if kind[0] is not None
    )
    rows: list[Row] = []
    for part in _parts(fitting, question.by):
        told = {name: part.rows[0][name] for name in question.by}
        rows += [{**told, **row} for row in ask(part, asked)]
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Answer(question.ask or words(asked), columns, tuple(rows))


def _parts(table: Table, by: Sequence[str]) -> list[Table]:
    """The table apart for each of the values of some columns."""
    groups: dict[tuple[Value, ...], list[Row]] = {}
    for row in table.rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    return [Table(table.axes, table.columns, tuple(rows)) for rows in groups.values()]


def _shown(table: Table, row: Row, columns: Iterable[str]) -> Row:
    """What tells a row apart, and some columns of it."""
    return {name: row[name] for name in dict.fromkeys((*table.axes, *columns))}


# ------------------------------------------------------------ pareto


def _pareto_words(asked: Pareto) -> str:
    wanted = [f"least {name}" for name in asked.least] + [f"most {name}" for name in asked.most]
    return f"what no other point beats: {', '.join(wanted)}"


def pareto(table: Table, asked: Pareto) -> list[Row]:
    """The front, in the order of its first column."""
    columns = [*asked.least, *asked.most]
    signs = [1.0] * len(asked.least) + [-1.0] * len(asked.most)
    if not table.rows:
        return []
    values = np.array([numbers(table, name) for name in columns], dtype=float).T * signs
    front = [index for index in range(len(values)) if not _beaten(values, index)]
    front.sort(key=lambda index: (*values[index], index))
    return [_shown(table, table.rows[index], columns) for index in front]


def _beaten(values: Any, index: int) -> bool:
    """Whether another row is as good in all columns and better in one, or the same and earlier."""
    own = values[index]
    as_good = np.all(values <= own, axis=1)
    better = as_good & np.any(values < own, axis=1)
    same_earlier = np.all(values[:index] == own, axis=1)
    return bool(better.any() or same_earlier.any())


# ------------------------------------------------------------ knee and needs


def _knee_words(asked: Knee) -> str:
    return f"the least {asked.against} with {asked.of} within {asked.within} of {asked.floor}"


def knee(table: Table, asked: Knee) -> list[Row]:
    """The first point, by the column that is wanted least, from which on all stay within."""
    ordered = sorted(table.rows, key=lambda row: _number(row, asked.against))
    limit = 1 + part_of(asked.within)
    met = [_number(row, asked.of) <= limit * _number(row, asked.floor) for row in ordered]
    row = _first_lasting(ordered, met)
    columns = (asked.against, asked.of, asked.floor)
    return [] if row is None else [_shown(table, row, columns)]


def _number(row: Row, column: str) -> float:
    value = as_number(row[column])
    if value is None:
        raise InputError(f"'{column}' is {row[column]!r} at a point; a number is needed")
    return float(value)


def _first_lasting(ordered: Sequence[Row], met: Sequence[bool]) -> Row | None:
    """The first row from which on every one meets a condition."""
    place = len(ordered)
    while place and met[place - 1]:
        place -= 1
    return ordered[place] if place < len(ordered) else None


def _needs_words(asked: Needs) -> str:
    return f"the least {asked.least} with {asked.target}"


def needs(table: Table, asked: Needs) -> list[Row]:
    """The least of a resource from which on the target is met.

    Of several points with the same resource one that meets it is enough.
    """
    ordered = sorted(table.rows, key=lambda row: _number(row, asked.least))
    groups = [list(rows) for _, rows in groupby(ordered, lambda row: row[asked.least])]
    winners: list[Row | None] = []
    for rows in groups:
        met = [row for row in rows if _meets(table, row, asked.target)]
        winners.append(met[0] if met else None)
    found = _first_lasting([rows[0] for rows in groups], [winner is not None for winner in winners])
    if found is None:
        return []
    winner = next(w for w in winners if w is not None and w[asked.least] == found[asked.least])
    return [_shown(table, winner, (asked.least, *_columns_in(asked.target, table)))]


def _meets(table: Table, row: Row, target: str) -> bool:
    one = Table(table.axes, table.columns, (row,))
    return bool(np.all(Evaluator({"": one}).value(target)))


def _columns_in(target: str, table: Table) -> list[str]:
    words = "".join(c if c.isalnum() or c == "_" else " " for c in target).split()
    return [name for name in table.columns if name in words]


# ------------------------------------------------------------ sensitivity


def _sensitivity_words(asked: Sensitivity) -> str:
    return f"what moves {asked.of}"


_FIGURES = ("mean_ratio", "least_ratio", "most_ratio", "elasticity")


def sensitivity(table: Table, asked: Sensitivity) -> list[Row]:
    """One row for each axis that turns: how the column goes with it.

    An axis that never turns alone, such as one that is zipped with another, has no figures.
    """
    found: list[Row] = []
    for axis in table.axes:
        others = [name for name in table.axes if name != axis]
        lines = [part for part in _parts(table, others) if len(part.rows) > 1]
        changes = [_change(part, asked.of) for part in lines]
        ratios = [ratio for change in changes for ratio in change]
        count = len(dict.fromkeys(row[axis] for row in table.rows))
        if not ratios:
            if count > 1:  # it never turns alone: told, without a figure
                found.append({"axis": axis, "values": count, **dict.fromkeys(_FIGURES)})
            continue
        slopes = [slope for part in lines for slope in _slopes(part, axis, asked.of)]
        logs = [math.log(ratio) for ratio in ratios]
        found.append(
            {
                "axis": axis,
                "values": count,
                "mean_ratio": math.exp(sum(logs) / len(logs)),
                "least_ratio": min(ratios),
                "most_ratio": max(ratios),
                "elasticity": sum(slopes) / len(slopes) if slopes else None,
            }
        )
    return sorted(found, key=lambda row: -_spread(row))


def _spread(row: Row) -> float:
    low, high = as_number(row["least_ratio"]), as_number(row["most_ratio"])
    if low is None or high is None:
        return -1.0
    return math.log(max(high, 1.0) / min(low, 1.0))


def _change(part: Table, column: str) -> list[float]:
    """The column at every other value of an axis over that at the first one."""
    values = [_number(row, column) for row in part.rows]
    return [value / values[0] for value in values[1:] if values[0] > 0 and value > 0]


def _slopes(part: Table, axis: str, column: str) -> list[float]:
    """Slopes in logarithms between neighbours on an axis of numbers."""
    pairs = []
    for row in part.rows:
        place, value = as_number(row[axis]), as_number(row[column])
        if place is None or value is None or place <= 0 or value <= 0:
            return []
        pairs.append((math.log(place), math.log(value)))
    return [(w - v) / (q - p) for (p, v), (q, w) in pairwise(sorted(pairs)) if q > p]
