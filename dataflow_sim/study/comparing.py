"""What moved between two results, by how much, in which layers, and why.

Of two runs: what was asked (options, keys of the machine, what-ifs), totals and bytes by reason,
and the layers whose bytes changed, with what is different about how they run.  Of two sweeps: every
figure of the points that both have.  Only what differs is told, the largest difference first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dataflow_sim.results_of_comparison import Change, Comparison, LayerChange
from dataflow_sim.results_of_studies import Row
from dataflow_sim.scenario.columns import ALWAYS
from dataflow_sim.scenario.table import Table

_ASKED = ("network", "part", "hardware", "policy", "objective")
_NAMES = 2  # of maps that stay, in a reason
_NOT_KEYS = ("name", "description", "figures", "overrides", "based_on")
_TOTALS = (
    ("DRAM bytes", ("dram", "total_bytes")),
    ("compulsory bytes", ("bounds", "compulsory_bytes")),
    ("gap to the bound", ("bounds", "gap")),
    ("local memory in use, bytes", ("local", "peak_bytes")),
    ("MACs executed", ("macs_executed",)),
    ("parameters", ("parameters",)),
    ("energy, pJ", ("energy_pj", "total")),
    ("latency, s", ("latency_s",)),
    ("groups", ("groups",)),
)


def compare_runs(
    before: Mapping[str, Any], after: Mapping[str, Any], names: tuple[str, str]
) -> Comparison:
    """Two runs, as their JSON says."""
    figures = [Change(what, _at(before, p), _at(after, p)) for what, p in _TOTALS]
    reasons = [each["dram"]["by_reason"] for each in (before, after)]
    for reason in dict.fromkeys([*reasons[0], *reasons[1]]):
        told = Change(f"bytes of {reason}", *(each.get(reason, 0) for each in reasons))
        figures.append(told)
    return Comparison(
        *names,
        inputs=tuple(_inputs(before, after)),
        figures=tuple(each for each in figures if each.before != each.after),
        layers=tuple(_layers(before, after)),
    )


def _at(result: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = result
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key below which there is none, by dotted path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _inputs(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for key in _ASKED:
        if before.get(key) != after.get(key):
            yield Change(key, _text(before.get(key)), _text(after.get(key)))
    what_ifs = ["; ".join(e["text"] for e in each.get("what_ifs", ())) for each in (before, after)]
    if what_ifs[0] != what_ifs[1]:
        yield Change("what-ifs", what_ifs[0] or "none", what_ifs[1] or "none")
    machines = [
        dict(_flat({k: v for k, v in each["machine"].items() if k not in _NOT_KEYS}))
        for each in (before, after)
    ]
    for key in dict.fromkeys([*machines[0], *machines[1]]):
        values = [machine.get(key) for machine in machines]
        if values[0] != values[1]:
            yield Change(f"machine: {key}", *map(_text, values))


def _text(value: Any) -> str | float | None:
    if value is None or isinstance(value, int | float | str):
        return value
    return str(value)


def _layers(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[LayerChange]:
    sides = [{layer["name"]: layer for layer in each["layers"]} for each in (before, after)]
    groups = [_groups(each) for each in (before, after)]
    stays = [_stays(each) for each in (before, after)]
    found = []
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        own = [side.get(name) for side in sides]
        traffic = [{} if each is None else each["dram"]["by_reason"] for each in own]
        moved = tuple(
            (reason, traffic[1].get(reason, 0) - traffic[0].get(reason, 0))
            for reason in dict.fromkeys([*traffic[0], *traffic[1]])
            if traffic[1].get(reason, 0) != traffic[0].get(reason, 0)
        )
        totals = [None if each is None else each["dram"]["total_bytes"] for each in own]
        if moved or totals[0] != totals[1]:
            why = tuple(_why(name, own[0], own[1], groups, stays))
            found.append(LayerChange(name, totals[0], totals[1], moved, why))
    return sorted(found, key=lambda each: -abs(each.difference_bytes))


def _groups(result: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The layers that each layer runs together with, itself among them."""
    return {
        layer: tuple(group["layers"]) for group in result["group_list"] for layer in group["layers"]
    }


def _stays(result: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The maps that are resident while each layer runs."""
    return {
        layer: tuple(group["resident"])
        for group in result["group_list"]
        for layer in group["layers"]
    }


def _why(
    name: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    groups: Sequence[Mapping[str, tuple[str, ...]]],
    stays: Sequence[Mapping[str, tuple[str, ...]]],
) -> Iterator[str]:
    """What is different about how a layer runs."""
    if before is None or after is None:
        yield "only before" if after is None else "only after"
        return
    one, other = (each.get(name, ()) for each in groups)
    if one != other:
        yield f"ran {_together(one)}, runs {_together(other)}"
    gone, come = (
        [name for name in one if name not in other]
        for one, other in ((stays[0][name], stays[1][name]), (stays[1][name], stays[0][name]))
    )
    if one == other and gone:
        yield f"no longer in local memory: {_few(gone)}"
    if one == other and come:
        yield f"now in local memory: {_few(come)}"
    tilings = [dict(each["tiling"]) for each in (before, after)]
    changed = [
        f"{key} {tilings[0].get(key, '-')} to {tilings[1].get(key, '-')}"
        for key in dict.fromkeys([*tilings[0], *tilings[1]])
        if tilings[0].get(key) != tilings[1].get(key)
    ]
    if one == other and changed:
        yield f"tiled otherwise: {', '.join(changed[:3])}"
    if before["macs"] != after["macs"] or before["output_shape"] != after["output_shape"]:
        yield "the layer itself is another size"


def _together(group: tuple[str, ...]) -> str:
    if len(group) <= 1:
        return "alone"
    others = "1 other" if len(group) == 2 else f"{len(group) - 1} others"
    return f"with {others} ({group[0]} to {group[-1]})"


def _few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:_NAMES])
    return shown if len(names) <= _NAMES else f"{shown} and {len(names) - _NAMES} more"


# ------------------------------------------------------------ sweeps


def compare_sweeps(before: Table, after: Table, names: tuple[str, str]) -> Comparison:
    """Two sweeps: every figure of the points that both have, and the points that one has."""
    axes = [axis for axis in before.axes if axis in after.axes]
    sides = [
        {tuple(row[axis] for axis in axes): row for row in table.rows} for table in (before, after)
    ]
    figures: list[Change] = []
    for key in sides[0]:
        if key in sides[1]:
            label = ", ".join(f"{axis}={value}" for axis, value in zip(axes, key, strict=True))
            figures += _row_changes(label, sides[0][key], sides[1][key], before, after)
    inputs = [
        Change(what, *counts)
        for what, counts in (
            ("points", (len(before.rows), len(after.rows))),
            ("axes", (", ".join(before.axes), ", ".join(after.axes))),
            ("columns", (", ".join(before.columns), ", ".join(after.columns))),
        )
        if counts[0] != counts[1]
    ]
    alone = [len(set(sides[0]) - set(sides[1])), len(set(sides[1]) - set(sides[0]))]
    if any(alone):
        inputs.append(Change("points that the other has not", *alone))
    figures.sort(key=_size)
    return Comparison(*names, inputs=tuple(inputs), figures=tuple(figures), layers=())


def _row_changes(label: str, one: Row, other: Row, before: Table, after: Table) -> Iterator[Change]:
    for name in before.columns:
        if name in after.columns and name not in before.axes and one[name] != other[name]:
            if name == ALWAYS[1]:
                continue
            yield Change(f"{label}: {name}", _text(one[name]), _text(other[name]))


def _size(change: Change) -> tuple[float, str]:
    """The largest ratio first, either way; what is no number before all."""
    if change.ratio is None or change.ratio <= 0:
        return (-math.inf, change.what)
    return (-abs(math.log(change.ratio)), change.what)
