"""Hardware as tables, from its plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dataflow_sim.report.tables import Table
from dataflow_sim.units import format_capacity

_NOT_KEYS = ("overrides", "figures", "based_on")


def _rate(macs_per_cycle: int | Mapping[str, int]) -> str:
    """MACs a cycle, of a table the most."""
    return f"{macs_per_cycle if isinstance(macs_per_cycle, int) else max(macs_per_cycle.values())}"


def _confidence(machine: Mapping[str, Any]) -> str:
    """How many figures are published, derived, assumed."""
    marks = Counter(figure["confidence"] for figure in machine["figures"])
    return ", ".join(f"{number} {mark}" for mark, number in sorted(marks.items()))


def list_table(machines: Sequence[Mapping[str, Any]], default: str) -> Table:
    """The shipped machines, one a row; the default is marked."""
    rows = tuple(
        (
            machine["name"] + (" (default)" if machine["name"] == default else ""),
            format_capacity(machine["local_memory"]["capacity_bytes"]),
            f"{machine['dram']['bandwidth_bytes_per_second'] / 1e9:g} GB/s",
            _rate(machine["compute"]["macs_per_cycle"]),
            f"{machine['compute']['clock_hertz'] / 1e6:g} MHz",
            machine["description"],
        )
        for machine in machines
    )
    columns = ("hardware", "local memory", "DRAM", "MACs/cycle", "clock", "description")
    return Table("Hardware", columns, rows)


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", f"{value:.12g}" if isinstance(value, float) else str(value)


def hardware_table(machine: Mapping[str, Any]) -> Table:
    """Every key of a machine with its value in the unit that the key names."""
    rows = tuple((key, value) for key, value in _leaves(machine) if key not in _NOT_KEYS)
    return Table(str(machine["name"]), ("key", "value"), rows)


def figures_table(machine: Mapping[str, Any]) -> Table:
    """Every figure that a file states, how well it is known, and where it is from."""
    rows = tuple(
        (figure["key"], figure["value"], figure["confidence"], figure["source"])
        for figure in machine["figures"]
    )
    title = f"Sources: {_confidence(machine)}" if rows else "Sources"
    return Table(title, ("key", "value", "confidence", "source"), rows)
