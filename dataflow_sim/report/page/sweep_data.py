"""What is drawn of a sweep, as plain data: axes with their values, points as columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dataflow_sim.results_of_studies import Row, Value
from dataflow_sim.units import format_capacity

_FIRST = ("dram_bytes", "energy_mj", "latency_ms", "map_bytes")  # to be drawn, where they are there
_SPREAD = 8.0  # from here on equal ratios are equal distances


@dataclass(frozen=True, slots=True)
class SweepAxis:
    """An axis and its values: numbers ascending, others in the order of the points."""

    name: str
    values: tuple[Value, ...]

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers."""
        return None not in self.values and _numeric(self.values)

    @property
    def spreads(self) -> bool:
        """Whether its values are positive numbers of several octaves."""
        if not self.numeric:
            return False
        numbers = [float(value) for value in self.values if value is not None]
        return min(numbers) > 0 and max(numbers) > _SPREAD * min(numbers)

    @property
    def texts(self) -> list[str]:
        """Its values as they are shown."""
        return [self._text(value) for value in self.values]

    def _text(self, value: Value) -> str:
        if value is None:
            return "none"
        if self.name.endswith("_bytes") and isinstance(value, int):
            return format_capacity(value)
        return str(value)


@dataclass(frozen=True, slots=True)
class Sweep:
    """Points with their axes; `columns` are those in which some point has something, `figures`
    those of numbers, the ones that are drawn first in front."""

    name: str
    axes: tuple[SweepAxis, ...]
    columns: tuple[str, ...]
    figures: tuple[str, ...]
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, object]:
        """Points by the places of their values on each axis, and their figures by column."""
        place = [{value: i for i, value in enumerate(axis.values)} for axis in self.axes]
        return {
            "kind": "sweep",
            "title": self.name,
            "axes": [
                {
                    "name": axis.name,
                    "values": list(axis.values),
                    "texts": axis.texts,
                    "numeric": axis.numeric,
                    "spreads": axis.spreads,
                }
                for axis in self.axes
            ],
            "keys": [
                [own[row[axis.name]] for own, axis in zip(place, self.axes, strict=True)]
                for row in self.rows
            ],
            "columns": {name: [_told(row[name]) for row in self.rows] for name in self.columns},
            "figures": list(self.figures),
        }


def sweep_of(name: str, axes: Sequence[str], columns: Sequence[str], rows: Sequence[Row]) -> Sweep:
    """A sweep by the name that it is shown under."""
    axes = _apart(axes, rows)
    own = [column for column in columns if column not in axes]
    shown = [column for column in own if any(row[column] is not None for row in rows)]
    numeric = [column for column in shown if _numeric([row[column] for row in rows])]
    wanted = [column for column in _FIRST if column in numeric]
    return Sweep(
        name=name,
        axes=tuple(SweepAxis(axis, _values([row[axis] for row in rows])) for axis in axes),
        columns=tuple(shown),
        figures=(*wanted, *(column for column in numeric if column not in wanted)),
        rows=tuple(rows),
    )


def _told(value: Value) -> Value:
    """A value as JSON knows it, which has no infinities."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _apart(axes: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Axes without those that say of every point the same as one before them, such as the labels of
    cases."""
    kept: list[str] = []
    for axis in axes:
        values = {row[axis] for row in rows}
        twins = (
            other
            for other in kept
            if len(values) > 1
            and len({row[other] for row in rows})
            == len(values)
            == len({(row[other], row[axis]) for row in rows})
        )
        if next(twins, None) is None:
            kept.append(axis)
    return kept


def _numeric(values: Sequence[Value]) -> bool:
    """Whether all that is there are numbers, and something is."""
    known = [value for value in values if value is not None]
    return bool(known) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in known
    )


def _values(found: Sequence[Value]) -> tuple[Value, ...]:
    distinct = list(dict.fromkeys(found))
    if _numeric(distinct) and None not in distinct:
        return tuple(sorted(distinct, key=lambda value: float(value or 0)))
    return tuple(distinct)
