"""What `inspect` shows: layers, live set and lifetimes as plain data.  Reads results only."""

from __future__ import annotations

from dataflow_sim.report.tables import Table
from dataflow_sim.results_of_inspection import InspectResult


def inspect_tables(result: InspectResult) -> tuple[Table, Table, Table]:
    """A summary, the layers in network order, and the lifetimes of the maps."""
    summary = Table(
        result.network,
        ("", ""),
        (
            ("layers", f"{len(result.layers):,}"),
            ("MACs", f"{result.macs:,}"),
            ("parameters", f"{result.parameters:,}"),
            ("largest live set", f"{result.live_peak_elements:,} elements"),
            ("in layer", result.live_peak_layer),
            ("maps alive there", ", ".join(result.live_peak_maps)),
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
    return summary, Table("Layers, counts in elements", columns, rows), _lifetimes(result)


def _lifetimes(result: InspectResult) -> Table:
    """Every map from its first write to its last read."""
    rows = tuple(
        (life.tensor, life.first_layer, life.last_layer, f"{life.elements:,}")
        for life in result.lifetimes
    )
    columns = ("map", "alive from", "to", "elements")
    return Table("Lifetimes of maps", columns, rows)


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:,.1f}" if whole else "-"
