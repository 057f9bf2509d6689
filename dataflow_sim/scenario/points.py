"""From the axes of a scenario to its points.

Axes are crossed, the later ones turning faster, but for those that are zipped, which go together
value by value; then the filter chooses.  What a point runs is said in this order, the later wins:
the file's own settings, the point's case, its axes.  What-ifs and keys of hardware add up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

from dataflow_sim.errors import InputError
from dataflow_sim.results_of_studies import Value
from dataflow_sim.scenario.expressions import Evaluator
from dataflow_sim.scenario.model import Range, ScenarioFile, Settings
from dataflow_sim.scenario.table import Table
from dataflow_sim.units import parse_bytes

MOST_POINTS = 1_000_000
NETWORK, HARDWARE, CASE = "network", "hardware", "case"
MEMORY = "local_memory"
_SHARED = (NETWORK, HARDWARE)  # lists of their own
_MAPPINGS = ("dims", "branches", "trips")
_ADDED = ("what_ifs", *_MAPPINGS, "set")
_PLAIN = tuple(name for name in Settings.model_fields if name not in (*_SHARED, *_ADDED, MEMORY))
FIELDS = (MEMORY, "what_ifs", *_PLAIN)  # settings that may be axes


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: the column that it makes, and for each value its label and what it sets."""

    key: str
    column: str
    labels: tuple[Value, ...]
    settings: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One point: what tells it apart, by column, and what it runs."""

    coordinates: tuple[tuple[str, Value], ...]
    settings: Settings


def column_of(key: str) -> str:
    """The column of an axis: its key, dots and hyphens written as underscores."""
    if key == MEMORY:
        return "local_memory_bytes"
    return key.replace(".", "_").replace("-", "_")


def axis_of(key: str, given: list[Any] | dict[str, Any]) -> Axis:
    """An axis as the file gives it.  Raises InputError with all that is wrong with it."""
    named = isinstance(given, dict) and not {"from", "to"} & set(given)
    values: Sequence[Any]
    labels: list[Value]
    if isinstance(given, dict) and named:
        labels, values = list(given), list(given.values())
    elif isinstance(given, dict):
        values = spread(Range.model_validate(given), sizes=key == MEMORY)
        labels = list(values)
    else:
        values = given
        labels = [_label(value) for value in values]
    if not values:
        raise InputError("an axis without values; give one or more")
    problems: list[str] = []
    found: list[Mapping[str, Any]] = []
    shown: list[Value] = []
    for label, value in zip(labels, values, strict=True):
        try:
            setting = _setting(key, value)
            found.append(setting)
            shown.append(setting[MEMORY] if key == MEMORY and not named else label)
        except InputError as error:
            problems.append(str(error))
    twice = [each for each, count in Counter(shown).items() if count > 1]
    problems += [f"{each!r} stands twice; each point is computed once" for each in twice]
    if problems:
        raise InputError("\n".join(problems))
    column = "memory" if key == MEMORY and named else column_of(key)
    return Axis(key, column, tuple(shown), tuple(found))


def _label(value: Any) -> Value:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {each}" for key, each in value.items()) or "none"
    return value if isinstance(value, str | int | float | bool) else str(value)


def _setting(key: str, value: Any) -> Mapping[str, Any]:
    """What a value of an axis sets.  Raises InputError."""
    if key == MEMORY:
        return {MEMORY: parse_bytes(value)}
    if key == "what_ifs":
        return {"what_ifs": [value] if isinstance(value, str) else value}
    head, dot, rest = key.partition(".")
    if dot and head in _MAPPINGS:
        return {head: {rest: value}}
    return {key: value} if key in _PLAIN else {"set": {key: value}}


def spread(given: Range, *, sizes: bool) -> list[int | float]:
    """Values in equal ratios from one end to the other, as whole numbers where both ends are.

    Raises InputError for ends that are no sizes, not positive, or the wrong way round.
    """
    ends = [_end(each, sizes) for each in (given.least, given.most)]
    low, high = ends
    if not 0 < low < high:
        raise InputError(f"from {given.least} to {given.most}: give two ends above 0 that rise")
    whole = all(isinstance(each, int) for each in ends)
    if given.points is not None:
        steps = given.points - 1
    else:
        steps = max(1, round(math.log2(high / low) * (given.per_octave or 1)))
    found: dict[int | float, None] = {}
    for index in range(steps + 1):
        value = low * math.pow(high / low, index / steps)
        exact = low if index == 0 else high if index == steps else value
        found[round(exact) if whole else exact] = None
    return list(found)


def _end(value: str | int | float, sizes: bool) -> int | float:
    if sizes:
        return parse_bytes(value)
    if isinstance(value, str):
        raise InputError(f"'{value}' is no number; only local_memory takes sizes as a range")
    return value


def combined(layers: Iterable[Mapping[str, Any]]) -> Settings:
    """Settings laid over each other, the later over the earlier."""
    found: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if key == "what_ifs":
                found[key] = [*found.get(key, []), *value]
            elif key in _ADDED:
                found[key] = {**found.get(key, {}), **value}
            else:
                found[key] = parse_bytes(value) if key == MEMORY else value
    return Settings.model_validate(found)


def stated(settings: Settings) -> dict[str, Any]:
    """What settings say, without what they leave out."""
    return {
        name: getattr(settings, name)
        for name in Settings.model_fields
        if name in settings.model_fields_set and getattr(settings, name) is not None
    }


def axes_of(scenario: ScenarioFile) -> list[Axis]:
    """The axes in the order in which their columns stand.  Raises InputError."""
    found = []
    for key, several, one in (
        (NETWORK, scenario.networks, scenario.network),
        (HARDWARE, scenario.machines, scenario.hardware),
    ):
        names = several or ([] if one is None else [one])
        if names:
            found.append(Axis(key, key, tuple(names), tuple({key: name} for name in names)))
    if scenario.cases:
        cases = scenario.cases.values()
        found.append(Axis(CASE, CASE, tuple(scenario.cases), tuple(map(stated, cases))))
    return [*found, *(axis_of(key, given) for key, given in scenario.axes.items())]


def _blocks(axes: Sequence[Axis], zipped: Sequence[Sequence[str]]) -> list[list[Axis]]:
    """Axes that are crossed, those that go together in one block, at the place of the first."""
    blocks: list[list[Axis]] = []
    for axis in axes:
        group = next((names for names in zipped if axis.key in names), None)
        held = next((b for b in blocks if group is not None and b[0].key in group), None)
        if held is None:
            blocks.append([axis])
        else:
            held.append(axis)
    return blocks


def points_of(scenario: ScenarioFile, default_hardware: str) -> tuple[Point, ...]:
    """The points of a scenario, in order.

    Raises InputError where they are none or too many, where an axis is wrong, and where the filter
    is.
    """
    blocks = _blocks(axes_of(scenario), scenario.zip)
    count = math.prod(len(block[0].labels) for block in blocks)
    if count > MOST_POINTS:
        raise InputError(f"{count:,} points; {MOST_POINTS:,} are the most: shorten an axis")
    found = []
    base = stated(scenario)
    for turns in product(*(range(len(block[0].labels)) for block in blocks)):
        placed = list(
            chain.from_iterable(
                ((axis, turn) for axis in block) for block, turn in zip(blocks, turns, strict=True)
            )
        )
        ranked = sorted(placed, key=lambda each: each[0].key != CASE)
        settings = combined([base, *(axis.settings[turn] for axis, turn in ranked)])
        if settings.hardware is None:
            settings = settings.model_copy(update={"hardware": default_hardware})
        coordinates = tuple((axis.column, axis.labels[turn]) for axis, turn in placed)
        found.append(Point(_with_names(coordinates, settings), settings))
    return tuple(_chosen(found, scenario.where))


def _with_names(
    coordinates: tuple[tuple[str, Value], ...], settings: Settings
) -> tuple[tuple[str, Value], ...]:
    """Network and machine first, whether or not they are axes."""
    given = dict(coordinates)
    names: dict[str, Value] = {NETWORK: settings.network, HARDWARE: settings.hardware}
    rest = {key: value for key, value in given.items() if key not in names}
    return (*names.items(), *rest.items())


def _chosen(points: Sequence[Point], where: str | None) -> Iterator[Point]:
    for point in points:
        if where is None:
            yield point
            continue
        row = {key: value for key, value in point.coordinates if value is not None}
        table = Table(tuple(row), tuple(row), (row,))
        if Evaluator({"": table}).value(where) is True:
            yield point
