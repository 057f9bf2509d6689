"""The picture of local memory over time: what it holds, the budget, the names at the peak.

A group is as wide as its number of layers, and its instructions are spread evenly over that
width.  A column of the picture shows the moment at which most is in use within it, so that
no peak is lost however many instructions there are.
"""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dataflow_sim.report.drawing import (
    MAPS_COLOUR,
    RESIDENT_COLOUR,
    SUMS_COLOUR,
    WEIGHTS_COLOUR,
    clipped,
    pictures,
)
from dataflow_sim.report.live_set import HELD, LiveSet, layer_positions, live_set
from dataflow_sim.report.live_set_frame import (
    COLUMNS,
    Heading,
    Part,
    Span,
    framed,
    fullest,
    mark_peak,
    mark_spans,
    stack,
    write_heading,
    write_panel,
)
from dataflow_sim.report.memory_axes import binary_size, draw_memory_axis, part_of
from dataflow_sim.results import RunResult
from dataflow_sim.units import format_capacity

HELD_COLOURS = (RESIDENT_COLOUR, WEIGHTS_COLOUR, MAPS_COLOUR, SUMS_COLOUR)


def _draw(axes: Axes, result: RunResult, live: LiveSet) -> None:
    """Areas by what is held, the budget, the peak."""
    layers = len(result.layers)
    unit = draw_memory_axis(axes, result.capacity_bytes, live.peak_bytes, "local memory in use")
    begin = layer_positions(live, layers, live.instructions) * (COLUMNS / layers)
    columns, held = fullest(begin, live.held_bytes)
    stack(axes, columns * (layers / COLUMNS), layers, held / unit, HELD_COLOURS)
    at = live.instructions[live.peak : live.peak + 1]
    (place,) = layer_positions(live, layers, at).tolist()
    mark_peak(axes, place, live.peak_bytes / unit)
    axes.set_xlim(0, layers)


def _parts(live: LiveSet) -> Iterator[Part]:
    """What is in use at the peak: each kind with its bytes, and the largest names in it."""
    for kind, colour in reversed(tuple(enumerate(HELD_COLOURS))):
        if live.held_bytes[kind].any():
            yield part_of(HELD[kind], colour, live.holdings)


def group_spans(live: LiveSet) -> Iterator[Span]:
    """The groups along the layers, by name."""
    return (
        Span(
            stretch.first_layer,
            stretch.stop_layer,
            stretch.name,
            stretch.first_name,
            stretch.stop_layer - stretch.first_layer - 1,
        )
        for stretch in live.stretches
    )


def live_set_figure(result: RunResult) -> Figure:
    """Local memory over time of a run that lists its buffers."""
    live = live_set(result)
    figure, axes = framed()
    _draw(axes, result, live)
    mark_spans(figure, axes, group_spans(live), len(result.layers))
    at = live.instructions[live.peak]
    group = [stretch.name for stretch in live.stretches if stretch.start_instruction <= at]
    where = f"in {group[-1]}" if group else None
    write_panel(figure, f"at the peak: {binary_size(live.peak_bytes)}", where, _parts(live))
    used = (
        f"hardware {clipped(result.hardware, 40)}; {result.policy}; at most "
        f"{binary_size(live.peak_bytes)} in use, up to address {binary_size(result.peak_bytes)}, "
        f"of {format_capacity(result.capacity_bytes)}"
    )
    title = f"{clipped(result.network, 50)}: local memory over time"
    note = "left to right: instructions in order, each group as wide as its number of layers"
    write_heading(figure, Heading(title, used, note))
    return figure


def live_set_pictures(result: RunResult) -> dict[str, bytes]:
    """Local memory over time as PNG and SVG."""
    return pictures(lambda: live_set_figure(result), "png", "svg")
