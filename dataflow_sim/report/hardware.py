"""Hardware as tables, from its plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dataflow_sim.report.tables import Table
from dataflow_sim.units import format_capacity


def list_table(machines: Sequence[Mapping[str, Any]], default: str) -> Table:
    """The shipped machines, one a row; the default is marked."""
    rows = tuple(
        (
            machine["name"] + (" (default)" if machine["name"] == default else ""),
            format_capacity(machine["local_memory"]["capacity_bytes"]),
            f"{machine['dram']['bandwidth_bytes_per_second'] / 1e9:g} GB/s",
            f"{machine['compute']['macs_per_cycle']}",
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
            yield f"{prefix}{key}", str(value)


def hardware_table(machine: Mapping[str, Any]) -> Table:
    """Every key of a machine with its value in the unit that the key names."""
    rows = tuple((key, value) for key, value in _leaves(machine) if key != "overrides")
    return Table(str(machine["name"]), ("key", "value"), rows)
