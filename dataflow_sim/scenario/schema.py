"""The keys of a scenario file as a JSON Schema, and what it may record and compute with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow_sim.scenario.columns import CURVE_COLUMNS, LAYER_COLUMNS, POINT_COLUMNS, Column
from dataflow_sim.scenario.expressions import CONSTANTS, FUNCTIONS
from dataflow_sim.scenario.model import Range, ScenarioFile


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file; the reader checks more than it can say."""
    found = ScenarioFile.model_json_schema(by_alias=True)
    definitions = {**found["$defs"], "Range": Range.model_json_schema(by_alias=True)}
    columns = {"items": {"type": "string", "enum": list(POINT_COLUMNS)}}
    of_layers = {"items": {"type": "string", "enum": list(LAYER_COLUMNS)}}
    properties = found["properties"]
    axis = {
        "anyOf": [
            {"type": "array", "minItems": 1},
            {"$ref": "#/$defs/Range"},
            {"type": "object", "description": "values by name"},
        ]
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **found,
        "title": "Scenario of dataflow_sim",
        "$defs": definitions,
        "properties": {
            **properties,
            "record": {**properties["record"], **columns},
            "record_layers": {**properties["record_layers"], **of_layers},
            "axes": {**properties["axes"], "additionalProperties": axis},
        },
    }


def _told(columns: Mapping[str, Column]) -> dict[str, str]:
    return {name: f"{each.meaning} ({each.finder.name.lower()})" for name, each in columns.items()}


def described_columns() -> dict[str, dict[str, str]]:
    """Names with their meaning: columns by table, functions, units."""
    return {
        "columns of points (record), and what finds them": _told(POINT_COLUMNS),
        "columns of layers (record_layers), as layer.NAME": _told(LAYER_COLUMNS),
        "columns of breakpoints (curves: true), as curve.NAME": dict(CURVE_COLUMNS),
        "functions of expressions": {name: told for name, (_, told) in FUNCTIONS.items()},
        "units of expressions": {name: f"{value:,}" for name, value in CONSTANTS.items()},
    }
