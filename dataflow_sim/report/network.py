"""What `inspect` shows: a network's layers and live set as plain data.  Reads results only."""

from __future__ import annotations

from dataflow_sim.report.tables import Table
from dataflow_sim.results import InspectResult


def inspect_tables(result: InspectResult) -> tuple[Table, Table]:
    """A summary and the layers, in network order."""
    summary = Table(
        result.network,
        ("", ""),
        (
            ("layers", f"{len(result.layers):,}"),
            ("MACs", f"{result.macs:,}"),
            ("parameters", f"{result.parameters:,}"),
            ("largest live set", f"{result.live_peak_elements:,} elements"),
            ("MACs per weight element", _ratio(result.macs, result.weight_elements)),
        ),
    )
    rows = tuple(
        (
            layer.name,
            layer.op,
            layer.folded or "-",
            "x".join(str(extent) for extent in layer.output_shape[1:]),
            f"{layer.macs:,}",
            f"{layer.weight_elements:,}",
            f"{layer.vector_elements:,}",
            f"{layer.input_elements:,}",
            f"{layer.output_elements:,}",
            f"{layer.live_elements:,}",
        )
        for layer in result.layers
    )
    columns = (
        "layer",
        "op",
        "folded",
        "output",
        "MACs",
        "weights",
        "bias",
        "input",
        "written",
        "live",
    )
    return summary, Table("Layers, counts in elements", columns, rows)


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:,.1f}" if whole else "-"
