"""The picture of local memory over time: what it holds, the budget, the names at the peak.

Layers follow one another from left to right; a group is as wide as its number of layers,
and its instructions are spread evenly over that width.  A column of the picture shows the
moment at which most is in use within it, so that no peak is lost however many instructions
there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from dataflow_sim.report.drawing import (
    MAPS_COLOUR,
    RESIDENT_COLOUR,
    SUMS_COLOUR,
    WEIGHTS_COLOUR,
    clipped,
    pictures,
)
from dataflow_sim.report.live_set import HELD, LiveSet, Numbers, Stretch, live_set
from dataflow_sim.results import RunResult
from dataflow_sim.units import format_capacity

Places = npt.NDArray[np.float64]

_HELD_COLOURS = (RESIDENT_COLOUR, WEIGHTS_COLOUR, MAPS_COLOUR, SUMS_COLOUR)
_COLUMNS = 1500
_NAMES = 14
_LONGEST_NAME = 34
_BUDGET_SHOWN_UP_TO = 2.5  # times the peak: a larger budget would flatten the picture
_INK, _GREY = "#1a1a1a", "#6b6b6b"
_WIDTH, _HEIGHT = 13.3, 6.2  # inches
_LEFT, _BOTTOM, _AXES_WIDTH, _AXES_HEIGHT = 0.8, 1.55, 8.6, 3.75
_PANEL, _LINE = 9.65, 0.215
_NAME_SPACING, _CHARACTER, _LONGEST_GROUP = 0.17, 0.065, 21


def _layer_position(
    live: LiveSet, layers: int, at: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Instructions as places along the layers."""
    starts = [stretch.start_instruction for stretch in live.stretches]
    places = [stretch.first_layer for stretch in live.stretches]
    if not starts or starts[0] > live.instructions[0]:
        starts, places = [int(live.instructions[0]), *starts], [0, *places]
    found: Places = np.interp(at, [*starts, live.end_instruction], [*places, layers])
    return found


def _columns(live: LiveSet, layers: int) -> tuple[Places, Numbers]:
    """Left edges of columns and the bytes of each kind at each column's fullest moment."""
    begin = _layer_position(live, layers, live.instructions) * (_COLUMNS / layers)
    column = np.minimum(begin.astype(np.int64), _COLUMNS - 1)
    total = live.held_bytes.sum(axis=0)
    edges: Places = np.arange(_COLUMNS, dtype=np.float64)
    carried = np.maximum(np.searchsorted(begin, edges, side="right") - 1, 0)
    order = np.lexsort((-np.arange(len(total)), total, column))
    fullest = carried.copy()
    ends = np.flatnonzero(np.append(np.diff(column[order]) > 0, True))
    inside = order[ends]
    better = total[inside] > total[carried[column[inside]]]
    fullest[column[inside][better]] = inside[better]
    changed = np.append(True, np.diff(fullest) != 0)
    return edges[changed] * (layers / _COLUMNS), live.held_bytes[:, fullest[changed]]


def _size(value_bytes: int) -> str:
    """A size in local memory for people, in binary units."""
    for factor, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if value_bytes >= factor:
            value = value_bytes / factor
            return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{value_bytes} B"


def _draw(axes: Axes, result: RunResult, live: LiveSet) -> None:
    """Areas by what is held, the budget, the peak."""
    layers = len(result.layers)
    unit = 1 << 20 if live.peak_bytes >= 4 << 20 else 1 << 10 if live.peak_bytes >= 2048 else 1
    edges, heights = _columns(live, layers)
    across = np.append(edges, layers)
    below = np.zeros(len(across))
    for held, colour in zip(heights, _HELD_COLOURS, strict=True):
        above = below + np.append(held, held[-1]) / unit
        axes.fill_between(across, below, above, step="post", color=colour, linewidth=0)
        below = above
    peak, budget = live.peak_bytes / unit, result.capacity_bytes / unit
    near = budget <= _BUDGET_SHOWN_UP_TO * peak
    top = 1.12 * (budget if near else peak)
    words = f"budget {format_capacity(result.capacity_bytes)}"
    if near:
        axes.axhline(budget, color=_INK, linewidth=1.4, zorder=3)
    else:
        words += ", above the picture"
    axes.annotate(
        words,
        (0, budget if near else top),
        (3, 4 if near else -4),
        textcoords="offset points",
        va="bottom" if near else "top",
        weight="bold",
        color=_INK,
        annotation_clip=False,
    )
    at = live.instructions[live.peak : live.peak + 1]
    (place,) = _layer_position(live, layers, at).tolist()
    axes.plot([place, place], [0, peak], color=_INK, linewidth=0.9, linestyle=(0, (2, 2)))
    axes.plot(
        [place], [peak], marker="v", color=_INK, markersize=7, markeredgecolor="white", zorder=4
    )
    axes.set_xlim(0, layers)
    axes.set_ylim(0, top)
    axes.set_ylabel(f"local memory in use [{ {1 << 20: 'MiB', 1 << 10: 'KiB', 1: 'B'}[unit] }]")
    axes.yaxis.set_major_locator(MultipleLocator(2.0 ** np.floor(np.log2(top / 4))))
    axes.yaxis.grid(True, linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)


def _mark_groups(axes: Axes, live: LiveSet, layers: int) -> None:
    """Names of groups below the axes where there is room, thin lines where groups meet."""
    inches = _AXES_WIDTH / layers
    free_from = 0.0
    for stretch in live.stretches:
        wide = (stretch.stop_layer - stretch.first_layer) * inches
        if stretch.first_layer and wide > _NAME_SPACING / 2:
            axes.axvline(stretch.first_layer, color="white", linewidth=0.6, alpha=0.7)
        middle = (stretch.first_layer + stretch.stop_layer) / 2
        if middle * inches < free_from:
            continue
        lying = len(stretch.name) * _CHARACTER < wide
        axes.annotate(
            stretch.name if lying else _standing(stretch),
            (middle, 0),
            (0, -5),
            textcoords="offset points",
            rotation=0 if lying else 90,
            ha="center",
            va="top",
            fontsize=7,
            annotation_clip=False,
        )
        free_from = (stretch.stop_layer if lying else middle) * inches + _NAME_SPACING * (
            0.5 if lying else 1
        )
    axes.set_xticks([])


def _standing(stretch: Stretch) -> str:
    """A group's first layer and the number of further ones, as short as the margin is."""
    further = stretch.stop_layer - stretch.first_layer - 1
    ending = f" +{further}" if further else ""
    return clipped(stretch.first_name, _LONGEST_GROUP - len(ending)) + ending


def _panel(figure: Figure, result: RunResult, live: LiveSet) -> None:
    """What is in use at the peak: each kind with its bytes, and the largest names in it."""
    line = _HEIGHT - 0.98

    def write(text: str, x: float, **style: Any) -> None:
        figure.text(x / _WIDTH, line / _HEIGHT, text, va="top", **style)

    at = live.instructions[live.peak]
    group = [stretch.name for stretch in live.stretches if stretch.start_instruction <= at]
    write(f"at the peak: {_size(live.peak_bytes)}", _PANEL, weight="bold", fontsize=11)
    line -= 0.24
    if group:
        write(clipped(f"in {group[-1]}", 46), _PANEL, color=_GREY)
        line -= 0.1
    shown = live.holdings[:_NAMES]
    for held, colour in zip(reversed(HELD), reversed(_HELD_COLOURS), strict=True):
        total = sum(holding.size_bytes for holding in live.holdings if holding.held == held)
        if not live.held_bytes[HELD.index(held)].any():
            continue
        line -= _LINE + 0.05
        write("\u25a0", _PANEL, color=colour, fontsize=12)
        write(held, _PANEL + 0.2, weight="bold")
        write(_size(total), _WIDTH - 0.2, weight="bold", ha="right")
        named = [holding for holding in shown if holding.held == held]
        for holding in named:
            line -= _LINE
            name = clipped(holding.label, _LONGEST_NAME)
            name += f" \u00d7 {holding.count}" if holding.count > 1 else ""
            write(name, _PANEL + 0.2, fontsize=8)
            write(_size(holding.size_bytes), _WIDTH - 0.2, fontsize=8, ha="right")
        rest = [h for h in live.holdings[_NAMES:] if h.held == held]
        if rest:
            line -= _LINE
            write(f"{len(rest)} more", _PANEL + 0.2, fontsize=8, color=_GREY)
            size = _size(sum(holding.size_bytes for holding in rest))
            write(size, _WIDTH - 0.2, fontsize=8, ha="right", color=_GREY)


def live_set_figure(result: RunResult) -> Figure:
    """Local memory over time of a run that lists its buffers."""
    live = live_set(result)
    figure = Figure(figsize=(_WIDTH, _HEIGHT))
    FigureCanvasAgg(figure)
    axes = figure.add_axes(
        (_LEFT / _WIDTH, _BOTTOM / _HEIGHT, _AXES_WIDTH / _WIDTH, _AXES_HEIGHT / _HEIGHT)
    )
    _draw(axes, result, live)
    _mark_groups(axes, live, len(result.layers))
    _panel(figure, result, live)
    title = f"{clipped(result.network, 50)}: local memory over time"
    figure.text(
        _LEFT / _WIDTH, 1 - 0.15 / _HEIGHT, title, va="top", fontsize=13, weight="bold", color=_INK
    )
    used = (
        f"hardware {clipped(result.hardware, 40)}; {result.policy}; at most "
        f"{_size(live.peak_bytes)} in use, up to address {_size(result.peak_bytes)}, "
        f"of {format_capacity(result.capacity_bytes)}"
    )
    how = "left to right: instructions in order, each group as wide as its number of layers"
    figure.text(_LEFT / _WIDTH, 0.1 / _HEIGHT, how, fontsize=8, color=_GREY)
    figure.text(_LEFT / _WIDTH, 1 - 0.43 / _HEIGHT, used, va="top", fontsize=10, color=_GREY)
    return figure


def live_set_pictures(result: RunResult) -> dict[str, bytes]:
    """Local memory over time as PNG and SVG."""
    return pictures(lambda: live_set_figure(result), "png", "svg")
