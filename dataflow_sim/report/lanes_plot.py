"""The picture of a network by rows and lanes, for print: long networks stand in several columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from dataflow_sim.report.drawing import (
    BUFFERS_COLOUR,
    MAPS_COLOUR,
    RESIDENT_COLOUR,
    WEIGHTS_COLOUR,
    clipped,
)
from dataflow_sim.report.page.lanes import LaneEdge, LaneGraph, lane_graph
from dataflow_sim.results import RunResult
from dataflow_sim.results_of_review import Edge
from dataflow_sim.units import format_bytes, format_capacity

ROWS = 72  # of a column
_ROW, _LANE = 0.155, 0.11  # inches
_NAME, _BAR = 2.7, 1.1
_MARGIN, _HEAD, _FOOT = 0.25, 0.62, 0.55
_LONGEST_NAME = 38
Dashes = Literal["-"] | tuple[float, tuple[float, ...]]
WAYS: dict[str, tuple[str, Dashes, str]] = {
    "rows": (WEIGHTS_COLOUR, "-", "rows, inside a merged group"),
    "resident": (RESIDENT_COLOUR, "-", "whole, stays in local memory"),
    "dram": (MAPS_COLOUR, (0, (3, 1.2)), "through DRAM"),
}
_BANDS = ("#e2ecf6", "#eef4fa")


def network_figure(run: RunResult, edges: Sequence[Edge]) -> Figure:
    """Layers from the top down in the order in which they run, maps as lanes, merged groups as
    bands."""
    graph = lane_graph(run, edges)
    columns = max(1, -(-len(graph.rows) // ROWS))
    rows = min(ROWS, len(graph.rows))
    lanes_wide = (graph.lanes + 1) * _LANE
    one = lanes_wide + _NAME + _BAR + _MARGIN
    width, height = max(7.0, columns * one + _MARGIN), rows * _ROW + _HEAD + _FOOT
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")

    def place(row: int, lane: float) -> tuple[float, float]:
        column, line = divmod(row, ROWS)
        return _MARGIN + column * one + (lane + 0.5) * _LANE, _HEAD + (line + 0.5) * _ROW

    merged = [group.merged for group in run.groups]
    for number, row in enumerate(graph.rows):
        if row.group is not None and merged[row.group]:
            left, middle = place(number, -0.5)
            axes.add_patch(
                Rectangle(
                    (left - 0.06, middle - _ROW / 2),
                    one - _MARGIN + 0.1,
                    _ROW * 1.02,
                    color=_BANDS[row.group % 2],
                    linewidth=0,
                )
            )
    for way, (colour, dashes, _) in WAYS.items():
        lines = [
            [place(row, lane) for row, lane in part]
            for edge in graph.edges
            if edge.way == way
            for part in _parts(graph, edge)
        ]
        axes.add_collection(
            LineCollection(lines, colors=colour, linestyles=[dashes], linewidths=1.1)
        )
    most = max((row.dram_bytes for row in graph.rows), default=0) or 1
    for number, row in enumerate(graph.rows):
        x, y = place(number, row.lane)
        axes.plot(x, y, "o", color="black", markersize=3, markerfacecolor=_face(row.group))
        name_at = place(number, 0)[0] + lanes_wide
        axes.text(name_at, y, clipped(row.name, _LONGEST_NAME), fontsize=6, va="center")
        bar = _BAR * 0.9 * row.dram_bytes / most
        corner = (name_at + _NAME - 0.25, y - _ROW * 0.3)
        axes.add_patch(Rectangle(corner, bar, _ROW * 0.6, color=BUFFERS_COLOUR, linewidth=0))
    _head(figure, run, most, height)
    return figure


def _face(group: int | None) -> str:
    return "white" if group is None else "black"


def _parts(graph: LaneGraph, edge: LaneEdge) -> list[list[tuple[int, float]]]:
    """An edge as lines of (row, lane), a line for each column of the picture that it is seen in."""
    lane, own = graph.rows[edge.source].lane, graph.rows[edge.target].lane
    parts: list[list[tuple[int, float]]] = []
    for column in range(edge.source // ROWS, edge.target // ROWS + 1):
        first = max(edge.source, column * ROWS)
        last = min(edge.target, (column + 1) * ROWS - 1)
        parts.append([(first, lane), (last, lane)])
    end = parts.pop()
    if lane != own:
        bend = max(end[0][0], edge.target - 1)
        end = [end[0], (bend, lane), (edge.target, own)]
    parts.append(end)
    return parts


def _head(figure: Figure, run: RunResult, most: int, height: float) -> None:
    legend = [
        Line2D([], [], color=colour, linestyle=dashes, label=meaning)
        for colour, dashes, meaning in WAYS.values()
    ]
    band = Patch(color=_BANDS[0], label="merged group")
    bar = Patch(color=BUFFERS_COLOUR, label=f"DRAM bytes of a layer, {format_bytes(most)} at most")
    figure.legend(
        handles=[*legend, band, bar], loc="lower left", ncols=3, frameon=False, fontsize=6.5
    )
    figure.text(
        _MARGIN / figure.get_figwidth(),
        1 - 0.28 / height,
        f"{run.network} on {run.hardware}, {run.policy}, "
        f"{format_capacity(run.capacity_bytes)} local memory: {len(run.groups):,} groups",
        fontsize=9,
        va="center",
    )
