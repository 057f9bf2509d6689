"""Pictures of a run, as bytes: the same input gives the same bytes."""

from __future__ import annotations

import math

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from dataflow_sim.report.drawing import COLOURS, clipped, pictures, scale
from dataflow_sim.results import RunResult
from dataflow_sim.units import format_bytes, format_capacity

_NAME_INCHES = 0.12  # of a name that stands, and the space beside it
_BESIDE_INCHES = 2.8  # of the axes, for the numbers and the legend
_LONGEST_NAME = 30
_HALF = 0.4  # of a bar's width


def traffic_per_layer(result: RunResult) -> Figure:
    """Stacked bars: the DRAM bytes of each layer by reason, in network order."""
    layers = result.layers
    factor, unit = scale(max(layer.traffic.total_bytes for layer in layers))
    width = min(24.0, max(8.5, 3.5 + 0.17 * len(layers)))
    figure = Figure(figsize=(width, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = list(range(len(layers)))
    base = [0.0] * len(layers)
    for reason, colour in COLOURS.items():
        heights = [layer.traffic.by_reason[reason] / factor for layer in layers]
        if any(heights):
            label = f"{reason.value}  {format_bytes(result.traffic.by_reason[reason])}"
            tops = [below + height for below, height in zip(base, heights, strict=True)]
            boxes = [
                ((x - _HALF, below), (x - _HALF, top), (x + _HALF, top), (x + _HALF, below))
                for x, below, top in zip(places, base, tops, strict=True)
                if top > below
            ]
            axes.add_collection(PolyCollection(boxes, facecolors=colour, label=label))
            base = tops
    bounds = [layer.lower_bound_bytes / factor for layer in layers]
    axes.scatter(places, bounds, marker="_", color="black", s=22, label="lower bound", zorder=3)
    # as many names as stand beside one another without touching
    every = max(1, math.ceil(len(layers) * _NAME_INCHES / (width - _BESIDE_INCHES)))
    named = places[::every]
    names = [clipped(layers[place].name, _LONGEST_NAME) for place in named]
    axes.set_xticks(named, names, rotation=90, fontsize=6)
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
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
    return figure


def traffic_pictures(result: RunResult) -> dict[str, bytes]:
    """The traffic per layer as PNG and SVG."""
    return pictures(lambda: traffic_per_layer(result), "png", "svg")
