"""The keys of a scenario file, its expressions and its columns, as a page to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dataflow_sim.hardware import DEFAULT_HARDWARE
from dataflow_sim.pipeline import RunOptions
from dataflow_sim.scenario.columns import (
    CURVE_COLUMNS,
    LAYER_COLUMNS,
    POINT_COLUMNS,
    Column,
    Finder,
)
from dataflow_sim.scenario.expressions import CONSTANTS, FUNCTIONS
from dataflow_sim.scenario.model import Range, ScenarioFile, Settings
from dataflow_sim.scenario.reference_words import (
    AXES,
    AXIS_VALUES,
    BELOW,
    EXPRESSIONS,
    HEAD,
    HEADINGS,
    LANGUAGE,
    OPERATORS,
    REASONS,
    ROWS_AND_FINDERS,
    TEXT_COLUMNS,
    unit_of,
)


def reference_page() -> str:
    """Every key of a scenario file, the expressions and the columns, as Markdown."""
    schema = ScenarioFile.model_json_schema(by_alias=True)
    groups = schema["$defs"]
    own = [name for name in schema["properties"] if name not in Settings.model_fields]
    study = {**schema, "properties": {name: schema["properties"][name] for name in own}}
    values = _table(("values", "example", "column"), AXIS_VALUES)
    lines = [HEAD, "## Keys of a study", "", *_keys(study)]
    lines += ["## Settings", "", f"{Settings.__doc__} They stand in the file and in its cases.", ""]
    lines += [*_keys(groups["Settings"], _left_out()), "## Axes", "", AXES, *values]
    lines += ["### Ranges", "", f"{Range.__doc__} Give one of `per_octave` and `points`.", ""]
    lines += _keys(Range.model_json_schema(by_alias=True))
    for name, heading in HEADINGS.items():
        told = " ".join(filter(None, (groups[name]["description"], BELOW.get(name))))
        level = "##" if heading[0].isupper() else "###"
        lines += [f"{level} {heading}", "", " ".join(told.split()), "", *_keys(groups[name])]
    return "\n".join([*lines, *_expressions(), *_columns()]).rstrip() + "\n"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return [*head, *(f"| {' | '.join(map(_plain, row))} |" for row in rows), ""]


def _keys(group: Mapping[str, Any], left_out: Mapping[str, str] | None = None) -> list[str]:
    """The keys of a model as a table; `left_out` has defaults that the model does not know."""
    required = group.get("required", ())
    known = left_out or {}
    rows = (
        (
            f"`{key}`",
            _KINDS.get(key) or _kind(entry),
            known.get(key) or _default(entry, key in required),
            entry["description"],
        )
        for key, entry in group["properties"].items()
    )
    return _table(("key", "value", "default", "meaning"), rows)


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _linked(name: str) -> str:
    """A group of keys by a link to its heading."""
    heading = {"Settings": "Settings", **HEADINGS}[name].lower()
    return f"[{heading}](#{heading})"


_KINDS: Mapping[str, str] = {"axes": "[values](#axes) by name"}
_SCALARS: Mapping[str, str] = {
    "": "value",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
}


def _kind(entry: Mapping[str, Any], several: str = "") -> str:
    """What values a key takes, in words; `several` is the ending of more than one."""
    if "$ref" in entry:
        return _linked(entry["$ref"].rpartition("/")[2])
    if "enum" in entry:
        return (" or " if several else ", ").join(f"`{each}`" for each in entry["enum"])
    if "anyOf" in entry:
        kinds = [_kind(each) for each in entry["anyOf"] if each.get("type") != "null"]
        # a whole number is a number
        kinds = [each for each in kinds if not (each == "whole number" and "number" in kinds)]
        return " or ".join(dict.fromkeys(kinds))
    if entry.get("examples"):
        return f"as `{entry['examples'][0]}`"
    if entry.get("type") == "array":
        return f"list{several} of {_kind(entry['items'], 's')}"
    if entry.get("type") == "object":
        inner = entry["additionalProperties"]
        return f"{_kind(inner if isinstance(inner, Mapping) else {}, 's')} by name"
    return _SCALARS[entry.get("type", "")] + several + _limits(entry)


def _left_out() -> dict[str, str]:
    """What a setting is that is left out."""
    plain = RunOptions()
    return {
        "hardware": f"`{DEFAULT_HARDWARE}`",
        "policy": f"`{plain.policy}`",
        "objective": f"`{plain.objective}`",
        "local_memory": "the machine's",
        **dict.fromkeys(("batch", "input_size"), "the network's"),
        **dict.fromkeys(("weight_bits", "activation_bits"), "the file's, or the machine's"),
        "frames": f"`{plain.frames}`",
        "in_flight": f"`{plain.in_flight}`",
        "layers": "all",
        "halo": f"`{plain.group.halo}`",
        "weights": f"`{plain.group.kernels}`",
    }


def _limits(entry: Mapping[str, Any]) -> str:
    """The range of a number, in words."""
    above = f" above {entry['exclusiveMinimum']:g}" if "exclusiveMinimum" in entry else ""
    least = f" from {entry['minimum']:g}" if "minimum" in entry else ""
    most = f" up to {entry['maximum']:,.0f}" if "maximum" in entry else ""
    return above + least + most


def _default(entry: Mapping[str, Any], required: bool) -> str:
    if required:
        return "required"
    value = entry.get("default")
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, list):
        return ", ".join(f"`{each}`" for each in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _expressions() -> list[str]:
    """The language of expressions: operators, functions, units."""
    functions = [(f"`{name}`", told) for name, (_, told) in FUNCTIONS.items()]
    operators = [(f"`{symbol}`", told) for symbol, told in OPERATORS.items()]
    units = [(f"`{name}`", f"{value:,}") for name, value in CONSTANTS.items()]
    return [
        *("## Expressions", "", EXPRESSIONS, "### Operators", ""),
        *(*_table(("operator", "meaning"), operators), LANGUAGE, "### Functions", ""),
        *(*_table(("function", "value"), functions), "### Units", ""),
        *_table(("unit", "value"), units),
    ]


def _columns() -> list[str]:
    """The columns of the three tables, and the reasons that their names are made of."""
    breakpoints = {name: Column(Finder.CURVE, told) for name, told in CURVE_COLUMNS.items()}
    lines = ["## Columns", "", ROWS_AND_FINDERS]
    for heading, columns in (
        ("Columns of points (`record`)", POINT_COLUMNS),
        ("Columns of layers (`record_layers`), as `layer.NAME`", LAYER_COLUMNS),
        ("Columns of breakpoints (`curves: true`), as `curve.NAME`", breakpoints),
    ):
        rows = [_column(name, each) for name, each in columns.items()]
        lines += [f"### {heading}", "", *_table(("column", "unit", "found by", "meaning"), rows)]
    reasons = [(f"`{reason.value}`", told) for reason, told in REASONS.items()]
    lines += [TEXT_COLUMNS, "### Reasons of DRAM bytes", "", "Every byte has one reason.", ""]
    return [*lines, *_table(("reason", "bytes"), reasons)]


def _column(name: str, column: Column) -> tuple[str, ...]:
    unit = unit_of(name)
    return f"`{name}`", unit, column.finder.name.lower(), column.meaning.removesuffix(f", {unit}")
