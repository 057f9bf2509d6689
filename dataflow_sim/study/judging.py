"""Expectations against what was measured.

A number is met exactly, or within a part of it, or by so much, or at the digits that a source
prints, whether it rounded or cut them off.  Arrays are met element by element.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dataflow_sim.results_of_studies import Checked
from dataflow_sim.scenario.expressions import Evaluator, ExpressionError
from dataflow_sim.scenario.model import RELATIONS, Expectation, part_of
from dataflow_sim.scenario.table import Table

_WORDS = {
    "equals": "",
    "at_least": "at least ",
    "at_most": "at most ",
    "above": "above ",
    "below": "below ",
}
_MOST_SHOWN = 8  # elements of an array
_NEARLY = 1e-9  # sums of floats


def judged(
    tables: Mapping[str, Table], measure: Mapping[str, str], expect: Sequence[Expectation]
) -> tuple[Checked, ...]:
    """Every expectation with what was measured; what has no value does not hold."""
    evaluator = Evaluator(tables)
    for name, text in measure.items():
        try:
            evaluator.define(name, text)
        except ExpressionError as error:
            return tuple(
                Checked(each.label, _expected(each, None), f"{name}: {error}", holds=False)
                for each in expect
            )
    return tuple(_checked(evaluator, each) for each in expect)


def _checked(evaluator: Evaluator, each: Expectation) -> Checked:
    try:
        value = evaluator.value(each.value)
        relation = next(name for name in RELATIONS if getattr(each, name) is not None)
        wanted = getattr(each, relation)
        wanted = evaluator.value(wanted) if isinstance(wanted, str) else wanted
        holds = _holds(relation, value, wanted, each)
    except ExpressionError as error:
        return Checked(each.label, _expected(each, None), str(error), holds=False)
    unit = f" {each.unit}" if each.unit else ""
    measured = shown(value) + unit
    return Checked(each.label, _expected(each, wanted), measured, holds, each.refuted or "")


def _holds(relation: str, value: Any, wanted: Any, each: Expectation) -> bool:
    if relation == "holds":
        return bool(np.all(value)) is wanted
    if isinstance(value, str) or isinstance(wanted, str):
        if relation != "equals":
            raise ExpressionError(f"{each.value}: '{relation}' is of numbers")
        return bool(value == wanted)
    values, limits = np.asarray(value), np.asarray(wanted)
    if limits.ndim and values.shape != limits.shape:
        raise ExpressionError(f"{values.size} values are measured, {limits.size} expected")
    if values.dtype.kind in "US":
        return bool(relation == "equals" and np.all(values == limits))
    return bool(np.all(_relation(relation, values.astype(float), limits.astype(float), each)))


def _relation(relation: str, values: Any, limits: Any, each: Expectation) -> Any:
    slack = _NEARLY * np.abs(limits)
    if relation == "at_least":
        return values >= limits - slack
    if relation == "at_most":
        return values <= limits + slack
    if relation == "above":
        return values > limits
    if relation == "below":
        return values < limits
    if each.within is not None:
        return np.abs(values - limits) <= part_of(each.within) * np.abs(limits) + slack
    if each.by is not None:
        return np.abs(values - limits) <= each.by + slack
    if each.digits is not None:
        unit = 10.0**-each.digits
        cut = np.floor(values / unit + _NEARLY) * unit
        rounded = np.floor(values / unit + 0.5 + _NEARLY) * unit
        return np.minimum(np.abs(cut - limits), np.abs(rounded - limits)) < unit / 1000
    return np.abs(values - limits) <= slack


def _expected(each: Expectation, wanted: Any) -> str:
    relation = next(name for name in RELATIONS if getattr(each, name) is not None)
    given = getattr(each, relation) if wanted is None else wanted
    if relation == "holds":
        return "holds" if given else "does not hold"
    unit = f" {each.unit}" if each.unit else ""
    tolerance = ""
    if each.within is not None:
        tolerance = f" within {each.within}"
    elif each.by is not None:
        tolerance = f" ± {each.by:g}"
    elif each.digits is not None:
        tolerance = " at the printed digits"
    return f"{_WORDS[relation]}{shown(given)}{unit}{tolerance}"


def shown(value: Any) -> str:
    """A value for people: whole numbers whole, others with five digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "holds" if value else "does not hold"
    found = np.asarray(value)
    if found.ndim:
        some = found.ravel()[:_MOST_SHOWN].tolist()
        parts = [("no", "yes")[x] if isinstance(x, bool) else shown(x) for x in some]
        more = f", and {found.size - _MOST_SHOWN} more" if found.size > _MOST_SHOWN else ""
        return ", ".join(parts) + more
    number = found.item()
    if isinstance(number, int):
        return f"{number:,}"
    if number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}"
    return f"{number:,.5g}" if abs(number) < 1e5 else f"{number:,.0f}"
