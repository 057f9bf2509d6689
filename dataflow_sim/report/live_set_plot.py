"""The picture of local memory over time: what it holds, the budget, the names at the peak.

A group is as wide as its number of layers, and its instructions are spread evenly over that
width.  A column of the picture shows the moment at which most is in use within it, so that
no peak is lost however many instructions there are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
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
from dataflow_sim.report.live_set import HELD, LiveSet, live_set
from dataflow_sim.report.live_set_frame import (
    COLUMNS,
    INK,
    NAMES,
    Heading,
    Part,
    Places,
    Span,
    framed,
    fullest,
    mark_peak,
    mark_spans,
    stack,
    write_heading,
    write_panel,
)
from dataflow_sim.results import RunResult
from dataflow_sim.units import format_capacity

_HELD_COLOURS = (RESIDENT_COLOUR, WEIGHTS_COLOUR, MAPS_COLOUR, SUMS_COLOUR)
_BUDGET_SHOWN_UP_TO = 2.5  # times the peak: a larger budget would flatten the picture


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
    begin = _layer_position(live, layers, live.instructions) * (COLUMNS / layers)
    columns, held = fullest(begin, live.held_bytes)
    stack(axes, columns * (layers / COLUMNS), layers, held / unit, _HELD_COLOURS)
    peak, budget = live.peak_bytes / unit, result.capacity_bytes / unit
    near = budget <= _BUDGET_SHOWN_UP_TO * peak
    top = 1.12 * (budget if near else peak)
    words = f"budget {format_capacity(result.capacity_bytes)}"
    if near:
        axes.axhline(budget, color=INK, linewidth=1.4, zorder=3)
    else:
        words += ", above the picture"
    axes.annotate(
        words,
        (0, budget if near else top),
        (3, 4 if near else -4),
        textcoords="offset points",
        va="bottom" if near else "top",
        weight="bold",
        color=INK,
        annotation_clip=False,
    )
    at = live.instructions[live.peak : live.peak + 1]
    (place,) = _layer_position(live, layers, at).tolist()
    mark_peak(axes, place, peak)
    axes.set_xlim(0, layers)
    axes.set_ylim(0, top)
    axes.set_ylabel(f"local memory in use [{ {1 << 20: 'MiB', 1 << 10: 'KiB', 1: 'B'}[unit] }]")
    axes.yaxis.set_major_locator(MultipleLocator(2.0 ** np.floor(np.log2(top / 4))))
    axes.yaxis.grid(True, linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)


def _parts(live: LiveSet) -> Iterator[Part]:
    """What is in use at the peak: each kind with its bytes, and the largest names in it."""
    for held, colour in zip(reversed(HELD), reversed(_HELD_COLOURS), strict=True):
        if not live.held_bytes[HELD.index(held)].any():
            continue
        total = sum(holding.size_bytes for holding in live.holdings if holding.held == held)
        named = [holding for holding in live.holdings[:NAMES] if holding.held == held]
        rest = [holding for holding in live.holdings[NAMES:] if holding.held == held]
        further = _size(sum(holding.size_bytes for holding in rest))
        yield Part(
            title=held,
            colour=colour,
            total=_size(total),
            names=tuple((h.label, h.count, _size(h.size_bytes)) for h in named),
            rest=(len(rest), further) if rest else None,
        )


def live_set_figure(result: RunResult) -> Figure:
    """Local memory over time of a run that lists its buffers."""
    live = live_set(result)
    figure, axes = framed()
    _draw(axes, result, live)
    spans = (
        Span(
            stretch.first_layer,
            stretch.stop_layer,
            stretch.name,
            stretch.first_name,
            stretch.stop_layer - stretch.first_layer - 1,
        )
        for stretch in live.stretches
    )
    mark_spans(figure, axes, spans, len(result.layers))
    at = live.instructions[live.peak]
    group = [stretch.name for stretch in live.stretches if stretch.start_instruction <= at]
    where = f"in {group[-1]}" if group else None
    write_panel(figure, f"at the peak: {_size(live.peak_bytes)}", where, _parts(live))
    used = (
        f"hardware {clipped(result.hardware, 40)}; {result.policy}; at most "
        f"{_size(live.peak_bytes)} in use, up to address {_size(result.peak_bytes)}, "
        f"of {format_capacity(result.capacity_bytes)}"
    )
    title = f"{clipped(result.network, 50)}: local memory over time"
    note = "left to right: instructions in order, each group as wide as its number of layers"
    write_heading(figure, Heading(title, used, note))
    return figure


def live_set_pictures(result: RunResult) -> dict[str, bytes]:
    """Local memory over time as PNG and SVG."""
    return pictures(lambda: live_set_figure(result), "png", "svg")
