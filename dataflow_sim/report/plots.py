"""Pictures of a run, as bytes: the same input gives the same bytes."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dataflow_sim.results import RunResult
from dataflow_sim.traffic import Reason
from dataflow_sim.units import format_bytes, format_capacity

# One hue for each kind of tensor, a lighter tone for what is read again: weights blue,
# maps orange and red, input and output green, partial sums violet (safe for colour blindness
# in their lightness as well).
_COLOURS = {
    Reason.WEIGHT_FETCH: "#08519c",
    Reason.WEIGHT_REFETCH: "#9ecae1",
    Reason.INPUT_READ: "#006d2c",
    Reason.INPUT_REFETCH: "#a1d99b",
    Reason.MAP_FILL: "#d94801",
    Reason.MAP_REFILL: "#fdd0a2",
    Reason.MAP_SPILL: "#7f2704",
    Reason.PARTIAL_SUM_SPILL: "#54278f",
    Reason.PARTIAL_SUM_FILL: "#bcbddc",
    Reason.OUTPUT_WRITE: "#41ab5d",
    Reason.BURST_PADDING: "#969696",
}
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "dataflow_sim",
    "svg.fonttype": "path",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def _scale(largest_bytes: float) -> tuple[float, str]:
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if largest_bytes >= factor:
            return factor, unit
    return 1.0, "B"


def traffic_per_layer(result: RunResult) -> Figure:
    """Stacked bars: the DRAM bytes of each layer by reason, in network order."""
    layers = result.layers
    factor, unit = _scale(max(layer.traffic.total_bytes for layer in layers))
    width = min(24.0, max(7.0, 2.0 + 0.17 * len(layers)))
    figure = Figure(figsize=(width, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = list(range(len(layers)))
    base = [0.0] * len(layers)
    for reason, colour in _COLOURS.items():
        heights = [layer.traffic.by_reason[reason] / factor for layer in layers]
        if any(heights):
            label = f"{reason.value}  {format_bytes(result.traffic.by_reason[reason])}"
            axes.bar(places, heights, bottom=base, color=colour, width=0.8, label=label)
            base = [below + height for below, height in zip(base, heights, strict=True)]
    bounds = [layer.lower_bound_bytes / factor for layer in layers]
    axes.scatter(places, bounds, marker="_", color="black", s=22, label="lower bound", zorder=3)
    axes.set_xticks(places, [layer.name for layer in layers], rotation=90, fontsize=6)
    axes.set_xlim(-0.8, len(layers) - 0.2)
    axes.set_ylim(0, 1.06 * max(base))
    axes.set_ylabel(f"DRAM traffic per layer [{unit}]")
    axes.set_title(
        f"{result.network} on {result.hardware}, {result.policy}, "
        f"{format_capacity(result.capacity_bytes)} local memory\n"
        f"{format_bytes(result.traffic.total_bytes)} of DRAM traffic, "
        f"compulsory floor {format_bytes(result.compulsory_bytes)}",
        loc="left",
    )
    axes.legend(frameon=False, fontsize=8)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
    return figure


def render(figure: Figure, kind: str) -> bytes:
    """A figure as `png` or `svg`, without a date or the renderer's version."""
    target = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    figure.savefig(target, format=kind, dpi=150, metadata=metadata)
    return target.getvalue()


def traffic_pictures(result: RunResult) -> dict[str, bytes]:
    """The traffic per layer as PNG and SVG."""
    with mpl.rc_context(_STYLE):
        figure = traffic_per_layer(result)
        return {kind: render(figure, kind) for kind in ("png", "svg")}
