"""The keys of a hardware file as a JSON Schema for editors, and as a page to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dataflow_sim.hardware.dram_parts import DRAM_PARTS
from dataflow_sim.hardware.machine import Confidence, HardwareFile
from dataflow_sim.hardware.presets import DRAM_PRESETS
from dataflow_sim.hardware.tables import ENERGY_TABLES

_MARKS = [Confidence.PUBLISHED.value, Confidence.DERIVED.value, Confidence.ASSUMED.value]
_FOR_ALL: Mapping[str, Mapping[str, Any]] = {
    "extends": {
        "type": "string",
        "description": "a shipped machine, or a file beside this one, whose keys hold where this "
        "file gives no others; groups of keys merge",
    },
    "sources": {
        "type": "object",
        "description": "where figures are from: a dotted key, or the beginning of several, and a "
        f"text that begins with {', '.join(f'`{mark}:`' for mark in _MARKS)}",
        "additionalProperties": {"type": "string", "pattern": f"^({'|'.join(_MARKS)}): "},
    },
}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a hardware file, for editors; the reader checks more than it can say."""
    found = HardwareFile.model_json_schema(by_alias=True)
    # what a file extends may give the keys that it leaves out
    without = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **found,
        "title": "Hardware file of dataflow_sim",
        "properties": {**found["properties"], **_FOR_ALL},
    }
    without.pop("required", None)
    for group in without["$defs"].values():
        group.pop("required", None)
    return without


def _group(entry: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The group of keys that a property holds, None where it holds a value."""
    for each in (entry, *entry.get("anyOf", ()), *entry.get("allOf", ())):
        name = each.get("$ref", "").rpartition("/")[2]
        if name and "properties" in definitions[name]:
            found: Mapping[str, Any] = definitions[name]
            return found
    return None


def _kind(entry: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What values a key takes, in words."""
    if "$ref" in entry:
        return _kind(definitions[entry["$ref"].rpartition("/")[2]], definitions)
    if "enum" in entry:
        return ", ".join(f"`{each}`" for each in entry["enum"])
    if "anyOf" in entry:
        kinds = (_kind(each, definitions) for each in entry["anyOf"] if each.get("type") != "null")
        return " or ".join(dict.fromkeys(kinds))
    if entry.get("examples"):
        first, *more = entry["examples"]
        return f"as `{first}`, or a range" if more else f"as `{first}`"
    kind = {
        "integer": "whole number",
        "boolean": "true or false",
        "string": "text",
        "object": "table",
        "number": "number",
    }[entry["type"]]
    return f"{kind} up to {entry['maximum']}" if "maximum" in entry else kind


def _default(entry: Mapping[str, Any], required: bool) -> str:
    if required:
        return "required"
    value = entry.get("default")
    if value is None or value == "":
        return "none"
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _rows(
    group: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str, str, str]]:
    for key, entry in group["properties"].items():
        inner = _group(entry, definitions)
        if inner is not None:
            yield from _rows(inner, definitions, f"{prefix}{key}.")
            continue
        kind = _kind(entry, definitions)
        told = " ".join(entry.get("description", "").split()).replace("|", "\\|")
        yield f"{prefix}{key}", kind, _default(entry, key in group.get("required", ())), told


def _parts() -> Iterator[str]:
    """The parts that `dram.model` can play, as rows of a table."""
    yield "Times are in ns, those that follow the clock (tCCD) in clocks. `dram.model` plays them."
    yield ""
    columns = ("preset", "channels", "ranks x groups x banks", "row", "access", "tRCD tRP tRAS")
    more = ("tRRD tFAW", "tCCD_S tCCD_L", "tRFC tREFI", "sources")
    yield f"| {' | '.join((*columns, *more))} |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name, part in DRAM_PARTS.items():
        core = " ".join(f"{each / 1000:g}" for each in (part.rcd_ps, part.rp_ps, part.ras_ps))
        rows = " ".join(f"{each / 1000:g}" for each in (part.rrd_other_ps, part.faw_ps))
        yield (
            f"| `{name}` | {part.channels} x {part.width_bits} bit | "
            f"{part.ranks} x {part.groups} x {part.banks} | {part.row_bytes} B | "
            f"{part.access_bytes} B | {core} | {rows} | {part.ccd_other} {part.ccd_same} | "
            f"{part.rfc_ps / 1000:g} {part.refi_ps / 1000:g} | "
            f"{part.timing_source}; currents {part.current_source} |"
        )


_HEAD = """\
# Hardware files

Made from the models by `dataflow-sim hardware --reference`; `dataflow-sim hardware --schema` prints
the same as a JSON Schema for editors. Quantities carry their unit. A *range* is `LOW..HIGH` with
the unit behind, as in `8..11.8pJ/bit`, or `LOW..NOMINAL..HIGH`; without a nominal figure it is the
middle. Results then carry the least and the most that energy and latency can be.

| key | value | default | meaning |
|---|---|---|---|
"""


def reference_page() -> str:
    """Every key of a hardware file with its values, default and meaning, as Markdown."""
    schema = HardwareFile.model_json_schema(by_alias=True)
    rows = [
        f"| `{key}` | {kind} | {default} | {told} |"
        for key, kind, default, told in _rows(schema, schema["$defs"])
    ]
    rows += [f"| `{key}` | | none | {entry['description']} |" for key, entry in _FOR_ALL.items()]
    lines = [_HEAD + "\n".join(rows), "", "## DRAM presets", ""]
    lines += ["| preset | interface | bandwidth | energy | sources |", "|---|---|---|---|---|"]
    lines += [
        f"| `{p.name}` | {p.interface} | {p.bandwidth} | {p.energy} | "
        f"{p.bandwidth_source}; {p.energy_source} |"
        for p in DRAM_PRESETS.values()
    ]
    lines += ["", "## DRAM parts", "", *_parts(), "", "## Tables of energies", ""]
    for table in ENERGY_TABLES.values():
        operations = ", ".join(f"{name} {pj:g} pJ" for name, pj in table.operations.items())
        sram = ", ".join(f"{size // 1024} KiB {pj:.4g} pJ/bit" for size, pj in table.sram)
        dram = ", ".join(
            f"{name} {low:.4g} pJ/bit" if low == high else f"{name} {low:.4g} to {high:.4g} pJ/bit"
            for name, (low, high) in table.dram.items()
        )
        lines += [
            f"`{table.name}`: {table.description} ({table.source}). {operations}. Memory on chip: "
            f"{sram}. External: {dram}.",
            "",
        ]
    lines += [
        "A MAC of widths w and a is a multiplication at √(w a) bits and an addition at",
        "`accumulator_bits`. Between listed widths and sizes an energy is a straight line in",
        "logarithms; beyond them multipliers go with the square of the width, adders with the",
        "width, memories with the square root of the size.",
    ]
    return "\n".join(lines) + "\n"
