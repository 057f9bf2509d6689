"""Expressions over the tables of a study, such as

    dram_bytes(policy='merged', local_memory='64KiB') / dram_bytes(policy='layerwise')

A column's name called with filters is that column of the rows that they choose: an array, or a
single value where one row is left.  `layer.` and `curve.` in front of a column take it from the
table of layers, or of breakpoints.  Arithmetic and comparisons go element by element; `all`, `any`
and the functions below make one value of an array.  `and`, `or` and `not` are of single values.

Nothing else of the language that it is parsed as is legal: no attributes, no other calls, no names
but these.  A number above 1e300 or a power above 64 is refused, so that an expression always ends;
products and powers above 2^62 are no longer exact.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from dataflow_sim.errors import InputError
from dataflow_sim.hardware.tables import ENERGY_TABLES
from dataflow_sim.results_of_studies import Value
from dataflow_sim.scenario.table import Table, numbers

TABLES = ("", "layer", "curve")  # the points', the layers', the breakpoints'
_LARGEST_POWER = 64
_LARGEST = 1e300
_LARGEST_WHOLE = 2.0**62  # beyond it numbers are no longer exact
_LONGEST = 2000


class ExpressionError(InputError):
    """An expression is not legal, or has no value."""


def _in_range(value: Any) -> Any:
    """What arithmetic is of: numbers that are not too large."""
    if np.asarray(value).dtype.kind not in "biuf":
        raise ExpressionError(f"arithmetic is of numbers up to {_LARGEST:g}")
    if np.any(np.abs(value) > _LARGEST):
        raise ExpressionError(f"a number above {_LARGEST:g}")
    return value


def _rises(values: Any) -> bool:
    return bool(np.all(np.diff(values) >= 0))


def _falls(values: Any) -> bool:
    return bool(np.all(np.diff(values) <= 0))


def _least(values: Any, condition: Any) -> Any:
    chosen = np.asarray(values)[np.asarray(condition, dtype=bool)]
    if not chosen.size:
        raise ExpressionError("least: nothing meets the condition")
    return chosen.min()


def _step(places: Any, values: Any, at: Any) -> Any:
    found = np.searchsorted(np.asarray(places), np.asarray(at), side="right") - 1
    if np.any(found < 0):
        raise ExpressionError("step: a place lies before the first")
    return np.asarray(values)[found]


def _energy(table: Any, operation: Any) -> float:
    known = ENERGY_TABLES.get(str(table))
    if known is None:
        raise ExpressionError(f"no table of energies '{table}'; {', '.join(ENERGY_TABLES)}")
    if str(operation) in known.operations:
        return known.operations[str(operation)]
    if str(operation) in known.dram:
        return sum(known.dram[str(operation)]) / 2
    legal = ", ".join((*known.operations, *known.dram))
    raise ExpressionError(f"'{operation}' is not in the table '{table}'; {legal}")


def _picked(values: Any, condition: Any) -> Any:
    chosen = np.asarray(values)[np.asarray(condition, dtype=bool)]
    return chosen[0] if chosen.size == 1 else chosen


FUNCTIONS: Mapping[str, tuple[Callable[..., Any], str]] = {
    "all": (lambda x: bool(np.all(x)), "every element holds"),
    "any": (lambda x: bool(np.any(x)), "some element holds"),
    "count": (lambda x: int(np.count_nonzero(x)), "how many elements hold"),
    "len": (lambda x: int(np.size(x)), "how many elements there are"),
    "sum": (np.sum, "the sum"),
    "mean": (np.mean, "the mean"),
    "min": (np.min, "the least"),
    "max": (np.max, "the most"),
    "first": (lambda x: np.ravel(x)[0], "the first element"),
    "last": (lambda x: np.ravel(x)[-1], "the last element"),
    "least": (_least, "least(values, condition): the least of those where it holds"),
    "where": (_picked, "where(values, condition): those where it holds"),
    "step": (
        _step,
        "step(places, values, at): of values that hold from their place on, those at other places",
    ),
    "energy": (
        _energy,
        "energy(table, operation): of a shipped table, pJ, or pJ a bit of external memory",
    ),
    "rises": (_rises, "no element is below the one before"),
    "falls": (_falls, "no element is above the one before"),
    "abs": (np.abs, "magnitude"),
    "larger": (np.maximum, "larger(x, y): the larger of each pair"),
    "round": (np.round, "round(values, digits)"),
    "floor": (np.floor, "rounded down"),
    "log2": (np.log2, "logarithm to base 2"),
    "log10": (np.log10, "logarithm to base 10"),
    "sqrt": (np.sqrt, "square root"),
    "order": (lambda x: np.argsort(x, kind="stable"), "places of the elements, the least first"),
    "cumsum": (np.cumsum, "sums of the elements so far"),
    "integer": (lambda x: np.asarray(x).astype(int), "the whole part"),
}
CONSTANTS: Mapping[str, int | float] = {
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}
_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@lru_cache(maxsize=1024)
def parse(text: str) -> ast.expr:
    """The tree of an expression.  Raises ExpressionError where it is none."""
    if len(text) > _LONGEST:
        raise ExpressionError(f"an expression of {len(text):,} letters; {_LONGEST:,} are the most")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        what = error.msg if isinstance(error, SyntaxError) else "it cannot be read"
        raise ExpressionError(f"'{_short(text)}' is no expression: {what}") from None


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 80 else f"{flat[:77]}..."


def near(name: str, known: Iterable[str]) -> str:
    """The known name that one was perhaps meant to be, as the end of a message."""
    found = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean '{found[0]}'?" if found else ""


@dataclass(frozen=True, slots=True)
class Names:
    """What an expression may name: columns by table, filters by table, and other values."""

    columns: Mapping[str, frozenset[str]]
    filters: Mapping[str, frozenset[str]]
    values: frozenset[str]


def problems(text: str, names: Names) -> list[str]:
    """Everything that is wrong with an expression before there are any results."""
    try:
        tree = parse(text)
    except ExpressionError as error:
        return [str(error)]
    return list(dict.fromkeys(_Checker(names).check(tree)))


class _Checker:
    """Walks a tree and tells what is not legal."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def check(self, node: ast.expr) -> list[str]:
        match node:
            case ast.Constant(value=value) if isinstance(value, str | int | float | bool):
                return []
            case ast.Name(id=name):
                return self._name(name)
            case ast.Call():
                return self._call(node)
            case ast.BinOp(left=left, right=right) if type(node.op) in _BINARY:
                return self.check(left) + self.check(right)
            case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=inner):
                return self.check(inner)
            case ast.BoolOp(values=inner):
                return [each for value in inner for each in self.check(value)]
            case ast.Compare(left=left, comparators=others) if all(
                type(each) in _COMPARE for each in node.ops
            ):
                return [each for value in (left, *others) for each in self.check(value)]
            case ast.List(elts=inner):
                return [each for value in inner for each in self.check(value)]
            case ast.Subscript(value=inner, slice=place):
                return self.check(inner) + self._place(place)
        return [f"'{_short(ast.unparse(node))}' is not part of this language"]

    def _place(self, place: ast.expr) -> list[str]:
        parts = [place]
        if isinstance(place, ast.Slice):
            parts = [each for each in (place.lower, place.upper, place.step) if each is not None]
        return [each for part in parts for each in self.check(part)]

    def _name(self, name: str) -> list[str]:
        known = {*self._names.values, *CONSTANTS, *self._names.columns.get("", ())}
        if name in known:
            return []
        return [f"unknown name '{name}'{near(name, [*known, *FUNCTIONS])}"]

    def _call(self, node: ast.Call) -> list[str]:
        found = [each for value in node.args for each in self.check(value)]
        found += [each for word in node.keywords for each in self.check(word.value)]
        table, column = _called(node.func)
        if column is None:
            return [*found, f"'{_short(ast.unparse(node.func))}' cannot be called"]
        if not table and column in FUNCTIONS:
            return [*found, *(["a function takes no filters"] if node.keywords else [])]
        columns = self._names.columns.get(table, frozenset())
        if column not in columns:
            hint = near(column, [*columns, *FUNCTIONS])
            where = f"{table}." if table else ""
            return [*found, f"'{where}{column}' is neither recorded nor a function{hint}"]
        if node.args:
            found.append(f"{column}: choose rows by name, as in {column}(network='...')")
        for word in node.keywords:
            if word.arg not in self._names.filters[table]:
                legal = ", ".join(sorted(self._names.filters[table]))
                found.append(f"{column}: no rows are told apart by '{word.arg}'; by {legal}")
        return found


def _called(function: ast.expr) -> tuple[str, str | None]:
    """The table and the name of what is called."""
    match function:
        case ast.Name(id=name):
            return "", name
        case ast.Attribute(value=ast.Name(id=table), attr=name) if table in TABLES:
            return table, name
    return "", None


class Evaluator:
    """Values of expressions over tables; `define` gives a name to the value of one."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self._values: dict[str, Any] = dict(CONSTANTS)

    def define(self, name: str, text: str) -> Any:
        """Evaluate an expression, and keep its value under a name."""
        self._values[name] = self.value(text)
        return self._values[name]

    def value(self, text: str) -> Any:
        """The value of an expression.  Raises ExpressionError where it has none."""
        try:
            with np.errstate(all="raise"):
                return self._value(parse(text))
        except ExpressionError:
            raise
        except InputError as error:
            raise ExpressionError(f"{_short(text)}: {error}") from None
        except (ArithmeticError, TypeError, ValueError, LookupError) as error:
            raise ExpressionError(f"{_short(text)}: {error}") from None

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._values[name] if name in self._values else self._column("", name, {})
            case ast.List(elts=inner):
                return [self._value(each) for each in inner]
            case ast.Call():
                return self._call(node)
            case ast.Subscript(value=inner, slice=place):
                return np.asarray(self._value(inner))[self._place(place)]
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                return not self._single(inner)
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return -_array(self._value(inner))
            case ast.BoolOp(op=ast.And(), values=inner):
                return all(self._single(each) for each in inner)
            case ast.BoolOp(values=inner):
                return any(self._single(each) for each in inner)
            case ast.BinOp(left=left, right=right):
                return self._arithmetic(node.op, self._value(left), self._value(right))
            case ast.Compare():
                return self._compare(node)
        raise ExpressionError(f"'{_short(ast.unparse(node))}' is not part of this language")

    def _arithmetic(self, op: ast.operator, left: Any, right: Any) -> Any:
        sides = [_in_range(_array(side)) for side in (left, right)]
        if isinstance(op, ast.Pow) and np.any(np.abs(sides[1]) > _LARGEST_POWER):
            raise ExpressionError(f"a power above {_LARGEST_POWER}")
        if isinstance(op, ast.Pow | ast.Mult):
            # in floating point first: whole numbers would wrap around, or grow without end
            about = _BINARY[type(op)](*(np.asarray(side, float) for side in sides))
            if np.any(np.abs(about) >= _LARGEST_WHOLE):
                return _in_range(about)
        return _in_range(_BINARY[type(op)](*sides))

    def _compare(self, node: ast.Compare) -> Any:
        values = [_array(self._value(each)) for each in (node.left, *node.comparators)]
        found: Any = True
        for op, (left, right) in zip(node.ops, pairwise(values), strict=True):
            found = np.logical_and(found, _COMPARE[type(op)](left, right))
        return bool(found) if np.ndim(found) == 0 else found

    def _single(self, node: ast.expr) -> bool:
        value = self._value(node)
        if np.ndim(value):
            raise ExpressionError("'and', 'or' and 'not' take single values; use all or any")
        return bool(value)

    def _place(self, place: ast.expr) -> Any:
        if isinstance(place, ast.Slice):
            ends = (place.lower, place.upper, place.step)
            return slice(*(None if each is None else int(self._value(each)) for each in ends))
        return self._value(place)

    def _call(self, node: ast.Call) -> Any:
        table, name = _called(node.func)
        if name is None:
            raise ExpressionError(f"'{_short(ast.unparse(node.func))}' cannot be called")
        if not table and name in FUNCTIONS:
            return FUNCTIONS[name][0](*(_array(self._value(each)) for each in node.args))
        filters = {str(each.arg): self._value(each.value) for each in node.keywords}
        return self._column(table, name, filters)

    def _column(self, table: str, name: str, filters: Mapping[str, object]) -> Any:
        source = self._tables.get(table)
        if source is None or name not in source.columns:
            raise ExpressionError(f"'{table}.{name}' is not recorded".replace("'.", "'"))
        values = numbers(source.where(filters), name)
        if len(values) == 1:
            return values[0]
        return np.asarray(values)


def _array(value: Any) -> Any:
    """Lists as arrays, so that arithmetic goes element by element; whole numbers stay whole."""
    return np.asarray(value) if isinstance(value, list) else value


def plain(value: Any) -> Value:
    """A single value as one of the language.  Raises ExpressionError for an array."""
    if np.ndim(value):
        raise ExpressionError("one value is needed, and this is an array")
    found: Value = value.item() if isinstance(value, np.generic | np.ndarray) else value
    return found
