"""A placement of buffers as a table and as CSV."""

from __future__ import annotations

import pandas as pd

from dataflow_sim.report.tables import Table
from dataflow_sim.results_of_placement import PlacementResult
from dataflow_sim.units import format_capacity


def placement_table(result: PlacementResult) -> Table:
    """The placement in a few lines: how high it is, and how high it has to be."""
    rows = [
        ("buffers", f"{len(result.lifetimes):,}"),
        ("live peak, which no placement is below", format_capacity(result.live_peak_bytes)),
        ("allocated peak", format_capacity(result.peak_bytes)),
        ("fragmentation", f"{result.fragmentation:.2%}"),
        ("proved the least", _proof(result)),
    ]
    if result.capacity_bytes is not None:
        rows.insert(3, ("capacity", format_capacity(result.capacity_bytes)))
    if result.alignment_bytes > 1:
        rows.append(("alignment", format_capacity(result.alignment_bytes)))
    return Table(f"{result.source}: placed", ("", ""), tuple(rows))


def _proof(result: PlacementResult) -> str:
    if result.proved_least:
        return "yes"
    return f"no, none is below {format_capacity(result.least_bytes)}"


def placement_csv(result: PlacementResult) -> bytes:
    """One row a buffer in the order of its file: id, lower, upper, size, offset."""
    records = [
        [life.name, life.lower, life.upper, life.size_bytes, offset]
        for life, offset in zip(result.lifetimes, result.offsets, strict=True)
    ]
    columns = ["id", "lower", "upper", "size", "offset"]
    frame = pd.DataFrame(records, columns=columns)
    return frame.to_csv(index=False, lineterminator="\n").encode()
