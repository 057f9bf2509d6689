"""The picture of energy by component."""

from __future__ import annotations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dataflow_sim.report.drawing import (
    BUFFERS_COLOUR,
    ENDS_COLOUR,
    MAPS_COLOUR,
    RESIDENT_COLOUR,
    SUMS_COLOUR,
    WEIGHTS_COLOUR,
    WRITTEN_COLOUR,
)
from dataflow_sim.report.tables import energy_components
from dataflow_sim.results import RunResult
from dataflow_sim.units import format_capacity

ENERGY_COLOURS = {
    "MAC": WEIGHTS_COLOUR,
    "DRAM": MAPS_COLOUR,
    "DRAM, background": WRITTEN_COLOUR,
    "flash": ENDS_COLOUR,
    "system cache": RESIDENT_COLOUR,
    "local memory": BUFFERS_COLOUR,
    "static": "#969696",
    "idle lanes": SUMS_COLOUR,
}


def energy_figure(run: RunResult) -> Figure:
    """Bars of the components that cost something, with their shares."""
    parts = energy_components(run.energy)
    total = parts.pop("total")
    shown = {name: pj for name, pj in parts.items() if pj}
    figure = Figure(figsize=(7.2, 1.4 + 0.4 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = list(shown)[::-1]
    axes.barh(names, [shown[n] / 1e6 for n in names], color=[ENERGY_COLOURS[n] for n in names])
    for place, name in enumerate(names):
        text = f" {shown[name] / 1e6:,.2f} uJ, {shown[name] / total:.1%}"
        axes.text(shown[name] / 1e6, place, text, va="center", fontsize=8)
    axes.margins(x=0.28)
    axes.set_xlabel("energy of a frame [uJ]")
    axes.set_title(
        f"{run.network} on {run.hardware}, {run.policy}, "
        f"{format_capacity(run.capacity_bytes)} local memory\n{total / 1e9:,.3f} mJ a frame",
        loc="left",
    )
    return figure
