"""Every picture of a page as PNG and SVG, for print."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from matplotlib.figure import Figure

from dataflow_sim.report.curve_plot import budget_figure
from dataflow_sim.report.drawing import PRINT_DPI, pictures
from dataflow_sim.report.energy_plot import energy_figure
from dataflow_sim.report.lanes_plot import network_figure
from dataflow_sim.report.live_set_plot import live_set_figure
from dataflow_sim.report.memory_map_plot import memory_figure
from dataflow_sim.report.plots import traffic_per_layer
from dataflow_sim.report.timeline_plot import over_time, roofline, tornado, tracks_figure
from dataflow_sim.results_of_review import Review

Draw = Callable[[], Figure]


def pictures_of(reviews: Sequence[Review], names: Sequence[str]) -> dict[str, dict[str, bytes]]:
    """File names and pictures by folder: the directory itself for one run, else one each."""
    return {
        "" if len(names) == 1 else name: _drawn(review)
        for review, name in zip(reviews, names, strict=True)
    }


def _drawn(review: Review) -> dict[str, bytes]:
    return {
        f"{name}.{kind}": picture
        for name, draw in figures_of(review)
        for kind, picture in pictures(draw, "png", "svg", dpi=PRINT_DPI).items()
    }


def figures_of(review: Review) -> Iterator[tuple[str, Draw]]:
    """The pictures that a review has, by name, each still to be drawn."""
    run, timed = review.run, review.over_time
    yield "traffic", lambda: traffic_per_layer(run)
    if review.curves:
        yield "curve", lambda: budget_figure([review.curves])
    yield "energy", lambda: energy_figure(run)
    yield "network", lambda: network_figure(run, review.edges)
    if run.buffers:
        yield "live_set", lambda: live_set_figure(run)
        yield "memory", lambda: memory_figure(run)
    if timed is not None:
        yield "timeline", lambda: tracks_figure(run, timed.tracks)
        yield "bandwidth", lambda: over_time(run, timed.series)
        yield "roofline", lambda: roofline(run, timed.roofline)
        if timed.sensitivity:
            yield "sensitivity", lambda: tornado(run, timed.sensitivity)
