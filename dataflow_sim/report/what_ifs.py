"""What-ifs as tables, from their plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dataflow_sim.report.tables import Table


def list_table(what_ifs: Sequence[Mapping[str, Any]]) -> Table:
    """All of them in the order in which they run."""
    rows = tuple(
        (f"{each['name']}={each['value']}", each["stage"], each["meaning"], each["after"])
        for each in what_ifs
    )
    return Table("What-ifs", ("what-if", "stage", "meaning", "effect"), rows)


def one_table(what_if: Mapping[str, Any]) -> Table:
    """One of them with its contract and its options."""
    rows = [
        ("meaning", what_if["meaning"]),
        ("looks for", what_if["before"]),
        ("then", what_if["after"]),
        ("stage", what_if["stage"]),
    ]
    for option in what_if["options"]:
        default = "" if option["default"] is None else f"  [default: {option['default']}]"
        rows.append((f":{option['name']}={option['value']}", f"{option['meaning']}{default}"))
    return Table(f"{what_if['name']}={what_if['value']}", ("", ""), tuple(rows))
