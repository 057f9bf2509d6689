"""Budget curves as plain data: bytes by kind at a memory size, and tables of knee points."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from dataflow_sim.report.tables import Table
from dataflow_sim.results_of_curves import CurvePoint, CurveResult
from dataflow_sim.units import format_bytes, format_capacity

KNEES_BYTES = tuple(1 << power for power in range(14, 23))  # 16 KiB to 4 MiB

_COLUMNS = (
    "policy",
    "local memory",
    "weights",
    "maps",
    "input",
    "output",
    "partial sums",
    "total",
    "x compulsory",
)


def point_at(result: CurveResult, local_bytes: int) -> CurvePoint | None:
    """The point that holds in a local memory; None where nothing runs in it."""
    place = bisect_right(result.points, local_bytes, key=lambda point: point.local_bytes)
    return result.points[place - 1] if place else None


def precision_text(result: CurveResult) -> str:
    """The widths in use, as in `8-bit weights, 8-bit maps`."""
    named = (("weights", result.weight_bits), ("maps", result.activation_bits))
    return ", ".join(
        f"{' and '.join(f'{bits}-bit' for bits in widths)} {name}"
        for name, widths in named
        if widths
    )


def curve_table(results: Sequence[CurveResult]) -> Table:
    """The curves of one network under its policies at knee points.

    The first breakpoint, the powers of two between 16 KiB and 4 MiB, the last breakpoint.
    """
    first = results[0]
    title = (
        f"{first.network} on {first.hardware}, {precision_text(first)}, "
        f"compulsory floor {format_bytes(first.compulsory_bytes)}"
    )
    rows = tuple(row for result in results for row in _rows(result))
    return Table(title, _COLUMNS, rows)


def _rows(result: CurveResult) -> list[tuple[str, ...]]:
    least, last = result.points[0], result.points[-1]
    shown = [(least.local_bytes, least)]
    for knee in KNEES_BYTES:
        point = point_at(result, knee)
        if point is not None and least.local_bytes < knee < last.local_bytes:
            shown.append((knee, point))
    if last is not least:
        shown.append((last.local_bytes, last))
    rows = []
    for local_bytes, point in shown:
        moved = point.to_json()
        parts = ("weight", "map", "input", "output", "partial_sum", "dram")
        rows.append(
            (
                result.policy,
                format_capacity(local_bytes),
                *(format_bytes(moved[f"{part}_bytes"]) for part in parts),
                f"{point.traffic.total_bytes / result.compulsory_bytes:.3f}",
            )
        )
    return rows
