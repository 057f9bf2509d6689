"""Tidy tables: one row a point, a layer of a point, or a breakpoint of a curve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from dataflow_sim.errors import InputError
from dataflow_sim.results_of_studies import Row, TableResult, Value
from dataflow_sim.units import parse_bytes

_SHOWN_ROWS = 5
_SIZE = "_bytes"


class Table(TableResult):
    """Rows of the same columns, in the order of the points, with ways to choose among them."""

    __slots__ = ()

    def where(self, filters: Mapping[str, object]) -> Table:
        """The rows whose columns have these values.

        A list keeps the order of its values.  A column of bytes takes sizes such as 256KiB, and is
        also known without its `_bytes`.  Raises InputError for a column that is not there, and for
        a value that no row has.
        """
        found = self
        for name, wanted in filters.items():
            column = name if name in self.columns else f"{name}{_SIZE}"
            if column not in self.columns:
                raise InputError(f"no column '{name}' to choose rows by")
            values = wanted if isinstance(wanted, list | tuple) else [wanted]
            rows: list[Row] = []
            for value in values:
                chosen = [row for row in found.rows if _same(row[column], value, column)]
                if not chosen:
                    there = dict.fromkeys(str(row[column]) for row in found.rows)
                    some = ", ".join(list(there)[:_SHOWN_ROWS])
                    raise InputError(f"no row has {name}={value!r}; there are {some or 'none'}")
                rows += chosen
            found = Table(found.axes, found.columns, tuple(rows))
        return found

    def values(self, column: str) -> list[Value]:
        """A column, row by row."""
        return [row[column] for row in self.rows]

    def label(self, row: Row) -> str:
        """A row by what tells it apart."""
        return ", ".join(f"{axis}={row[axis]}" for axis in self.axes)


def as_number(value: Value) -> float | None:
    """A value that is a number; None of any other."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def derived(table: Table, columns: Mapping[str, Callable[[Table], Value]]) -> Table:
    """The table with further columns, each from a row's own; None where a row has not got what it
    takes."""
    rows = table.rows
    names = list(table.columns)
    for name, found in columns.items():
        wide: list[Row] = []
        for row in rows:
            try:
                value = found(Table(table.axes, tuple(names), (row,)))
            except InputError:
                value = None
            wide.append({**row, name: value})
        rows = tuple(wide)
        names.append(name)
    return Table(table.axes, tuple(names), rows)


def relative(table: Table, base: Mapping[str, object], columns: Iterable[str]) -> Table:
    """The table with some columns as parts of those of a base row: the one with these values, all
    other axes the same.

    Raises InputError where a row has no base.
    """
    others = [axis for axis in table.axes if not {axis, axis.removesuffix(_SIZE)} & set(base)]
    bases = {tuple(row[axis] for axis in others): row for row in table.where(base).rows}
    found: list[Row] = []
    for row in table.rows:
        first = bases.get(tuple(row[axis] for axis in others))
        if first is None:
            raise InputError(f"{table.label(row)} has nothing to stand beside at {dict(base)}")
        parts: dict[str, Value] = {}
        for name in columns:
            value, whole = as_number(row[name]), as_number(first[name])
            if value is not None and whole is not None and name not in table.axes:
                parts[name] = value / whole if whole else None
        found.append({**row, **parts})
    return Table(table.axes, table.columns, tuple(found))


def _same(have: Value, wanted: object, column: str) -> bool:
    if have is None or wanted is None:
        return have is wanted
    if isinstance(have, bool) or isinstance(wanted, bool):
        return have is wanted
    if isinstance(have, int | float) and isinstance(wanted, str):
        if column.endswith(_SIZE):
            return have == parse_bytes(wanted)
        return str(have) == wanted
    if isinstance(have, str) and isinstance(wanted, int | float):
        return have == str(wanted)
    return have == wanted


def numbers(table: Table, column: str) -> Sequence[float | int | str | bool]:
    """A column without gaps.  Raises InputError naming a row that has none."""
    found = []
    for row in table.rows:
        value = row[column]
        if value is None:
            why = row.get("error") or row.get("status") or "nothing was found"
            raise InputError(f"{table.label(row)} has no {column}: {why}")
        found.append(value)
    return found
