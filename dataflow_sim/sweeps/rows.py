"""From results of tasks to tidy tables: of points, of layers, of breakpoints."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from dataflow_sim.results_of_costs import DramTraffic
from dataflow_sim.results_of_studies import Row, Value
from dataflow_sim.scenario.columns import ALWAYS, CURVE_COLUMNS, POINT_COLUMNS, Finder
from dataflow_sim.scenario.model import ScenarioFile
from dataflow_sim.scenario.points import Point
from dataflow_sim.scenario.table import Table
from dataflow_sim.sweeps.work import DOES_NOT_FIT, OK, Payload, traffic_columns
from dataflow_sim.traffic import Reason

LAYER = "layer"
_CAPACITY = "capacity_bytes"
_MEMORY = "local_memory_bytes"

Results = Mapping[str, Payload]  # of a point, by the kind of the task


def _at(curve: Payload, capacity_bytes: int) -> Payload:
    """A curve at one memory, as the result of a point there."""
    points = curve["points"]
    place = bisect_right(points, capacity_bytes, key=lambda point: point[0])
    if not place:
        return {
            "status": DOES_NOT_FIT,
            "error": f"the network needs {points[0][0]:,} bytes of local memory, there are "
            f"{capacity_bytes:,}",
        }
    used, traffic = _breakpoint(curve, points[place - 1])
    return {"status": OK, "row": {"used_bytes": used, **traffic_columns(traffic)}}


def _breakpoint(curve: Payload, point: list[int]) -> tuple[int, DramTraffic]:
    """Local bytes and traffic of a stored point of a curve."""
    used, *by_reason = point
    reasons = map(Reason, curve["reasons"])
    return used, DramTraffic(dict(zip(reasons, by_reason, strict=True)))


class Tables:
    """Collects rows point by point; `record` and `record_layers` say which columns."""

    def __init__(self, scenario: ScenarioFile, points: Sequence[Point]) -> None:
        self._axes = tuple(dict.fromkeys(k for point in points for k, _ in point.coordinates))
        self._record = tuple(dict.fromkeys(scenario.record))
        self._record_layers = tuple(dict.fromkeys(scenario.record_layers))
        self._curves = scenario.curves
        # what is read off a curve is of points that have no run
        self._by_curve = any(POINT_COLUMNS[name].finder is Finder.CURVE for name in self._record)
        self._points: list[Row] = []
        self._layers: list[Row] = []
        self._breakpoints: dict[tuple[Value, ...], list[Row]] = {}

    def add(self, point: Point, machine: Mapping[str, Any], results: Results) -> None:
        """The rows of one point."""
        coordinates = {**dict.fromkeys(self._axes), **dict(point.coordinates)}
        parts = dict(results)
        curve = parts.get("curve")
        if curve is not None and curve["status"] == OK:
            if "run" not in parts and self._by_curve:
                parts["curve"] = _at(curve, int(machine[_CAPACITY]))
            if self._curves:
                self._add_breakpoints(coordinates, curve)
        wrong = next((part for part in parts.values() if part["status"] != OK), None)
        found: dict[str, Any] = dict(machine)
        for part in parts.values():
            found |= part.get("row", {})
        row: dict[str, Value] = dict(coordinates)
        row["status"] = OK if wrong is None else wrong["status"]
        row |= {name: found.get(name) for name in self._record}
        row["error"] = None if wrong is None else wrong["error"]
        self._points.append(row)
        if self._record_layers:
            self._add_layers(coordinates, parts)

    def _add_layers(self, coordinates: Mapping[str, Value], parts: Results) -> None:
        by_layer: dict[str, dict[str, Any]] = {}
        for kind in ("facts", "run"):
            for each in parts.get(kind, {}).get("layers", ()):
                by_layer.setdefault(each[LAYER], {}).update(each)
        for name, found in by_layer.items():
            values = {column: found.get(column) for column in self._record_layers}
            self._layers.append({**coordinates, LAYER: name, **values})

    def _add_breakpoints(self, coordinates: Mapping[str, Value], curve: Payload) -> None:
        axes = {name: value for name, value in coordinates.items() if name != _MEMORY}
        if tuple(axes.values()) in self._breakpoints:
            return
        found: list[Row] = []
        for point in curve["points"]:
            used, traffic = _breakpoint(curve, point)
            told = {"local_bytes": used, **traffic_columns(traffic)}
            found.append({**axes, **{name: told[name] for name in CURVE_COLUMNS}})
        self._breakpoints[tuple(axes.values())] = found

    def tables(self) -> dict[str, Table]:
        """The tables by their name in expressions: "" of points, `layer`, `curve`."""
        of_curves = tuple(name for name in self._axes if name != _MEMORY)
        status, error = ALWAYS
        breakpoints = tuple(row for rows in self._breakpoints.values() for row in rows)
        layers = (*self._axes, LAYER)
        return {
            "": Table(self._axes, (*self._axes, status, *self._record, error), tuple(self._points)),
            "layer": Table(layers, (*layers, *self._record_layers), tuple(self._layers)),
            "curve": Table(of_curves, (*of_curves, *CURVE_COLUMNS), breakpoints),
        }
