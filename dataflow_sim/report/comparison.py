"""Two results beside each other, for the terminal and as Markdown."""

from __future__ import annotations

from dataflow_sim.report.studies import cell, markdown_table
from dataflow_sim.report.tables import Table
from dataflow_sim.results_of_comparison import Change, Comparison, LayerChange

_MOST_ROWS = 25


def _change_row(change: Change) -> tuple[str, ...]:
    ratio = change.ratio
    moved = "" if ratio is None else f"{ratio - 1:+.2%}" if ratio < 10 else f"{ratio:,.1f} x"
    return (change.what, cell(change.before), cell(change.after), moved)


def _layer_row(change: LayerChange) -> tuple[str, ...]:
    by_reason = ", ".join(f"{reason} {value:+,}" for reason, value in change.by_reason)
    return (
        change.layer,
        cell(change.before_bytes),
        cell(change.after_bytes),
        f"{change.difference_bytes:+,}",
        by_reason,
        "; ".join(change.why),
    )


def comparison_tables(found: Comparison) -> list[Table]:
    """What differs, as tables; those without rows are left out."""
    columns = ("", f"before: {found.before}", f"after: {found.after}", "change")
    layers = ("layer", "before, B", "after, B", "difference", "by reason", "why")
    parts = (
        ("What was asked", columns, [_change_row(each) for each in found.inputs]),
        ("What was found", columns, [_change_row(each) for each in found.figures]),
        ("Layers", layers, [_layer_row(each) for each in found.layers]),
    )
    tables = []
    for title, heads, rows in parts:
        left = len(rows) - _MOST_ROWS
        more = f"; {left:,} smaller differences are left out" if left > 0 else ""
        if rows:
            tables.append(Table(f"{title}{more}", heads, tuple(rows[:_MOST_ROWS])))
    return tables or [Table("Nothing differs", ("",), ())]


def comparison_page(found: Comparison) -> str:
    """What differs, as Markdown for a review."""
    lines = [f"# {found.before} against {found.after}", ""]
    for table in comparison_tables(found):
        lines += [f"## {table.title}", ""]
        lines += markdown_table(table.columns, table.rows) if table.rows else []
    return "\n".join(lines).rstrip() + "\n"
