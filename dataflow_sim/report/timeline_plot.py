"""Pictures of a timeline: rates and memory over time, roofline, what more of a resource buys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from dataflow_sim.report.drawing import (
    BUFFERS_COLOUR,
    ENDS_COLOUR,
    MAPS_COLOUR,
    RESIDENT_COLOUR,
    SUMS_COLOUR,
    WEIGHTS_COLOUR,
    pictures,
    scale,
)
from dataflow_sim.report.timeline import by_effect
from dataflow_sim.results import RunResult
from dataflow_sim.results_of_review import Track
from dataflow_sim.results_of_time_study import (
    Roofline,
    RooflinePoint,
    Sensitivity,
    Series,
    TimeStudy,
)
from dataflow_sim.units import format_bytes, format_capacity

# what bounds a layer, by colour
_BOUND = {
    "compute": WEIGHTS_COLOUR,
    "dram": MAPS_COLOUR,
    "latency": SUMS_COLOUR,
    "flash": ENDS_COLOUR,
    "system cache": RESIDENT_COLOUR,
    "local memory": BUFFERS_COLOUR,
}
_DECADE = 10.0
# Okabe and Ito's, safe for colour blindness, but for the yellow one
LAYER_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555")


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _title(run: RunResult) -> str:
    return (
        f"{run.network} on {run.hardware}, {run.policy}, "
        f"{format_capacity(run.capacity_bytes)} local memory"
    )


def over_time(run: RunResult, series: Series) -> Figure:
    """DRAM rates in windows above, local memory in use below."""
    figure = _figure(9.0, 5.2)
    rates, memory = figure.subplots(2, 1, sharex=True)
    found = run.timeline
    assert found is not None
    edges = [edge * 1e3 for edge in series.edges_s]
    read = [value / 1e9 for value in series.read_bytes_per_second]
    both = [
        one + other / 1e9 for one, other in zip(read, series.written_bytes_per_second, strict=True)
    ]
    rates.stairs(both, edges, fill=True, color=MAPS_COLOUR, label="written")
    rates.stairs(read, edges, fill=True, color=WEIGHTS_COLOUR, label="read")
    for bus in (bus for bus in found.buses if bus.name == "dram"):
        mean, pins = bus.mean_bytes_per_second / 1e9, bus.pins_bytes_per_second / 1e9
        rates.axhline(mean, color="black", linewidth=0.8, label=f"mean {mean:.2f} GB/s")
        rates.axhline(pins, color="black", linewidth=0.8, linestyle=":", label=f"pins {pins:g}")
    rates.set_ylabel("DRAM [GB/s]")
    rates.set_ylim(bottom=0)
    rates.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    rates.set_title(
        f"{_title(run)}\n{found.latency_s * 1e3:,.3f} ms, limited by {found.limited_by}, "
        f"{format_bytes(run.traffic.total_bytes)} of DRAM traffic",
        loc="left",
    )
    factor, unit = scale(max(series.local_bytes))
    in_use = [value / factor for value in series.local_bytes]
    memory.fill_between(edges, in_use, step="post", color=BUFFERS_COLOUR, label="in use")
    capacity = run.capacity_bytes / factor
    if capacity < 4 * max(in_use):
        memory.axhline(capacity, color="black", linewidth=0.8, linestyle=":", label="capacity")
    memory.set_ylabel(f"local memory [{unit}]")
    memory.set_ylim(bottom=0)
    memory.set_xlim(0, edges[-1])
    memory.set_xlabel("time [ms]")
    memory.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def tracks_figure(run: RunResult, tracks: Sequence[Track]) -> Figure:
    """What each engine does over the frame: steps by layer, and what each bus moves."""
    figure = _figure(11.0, 1.5 + 0.55 * len(tracks))
    axes = figure.add_subplot()
    for place, track in enumerate(reversed(tracks)):
        if track.name == "compute":
            colours = [LAYER_COLOURS[number % len(LAYER_COLOURS)] for number in track.of]
        else:
            colours = [MAPS_COLOUR if track.name.endswith("out") else WEIGHTS_COLOUR]
        spans = [
            (start / 1e6, length / 1e6)
            for start, length in zip(track.start_ns, track.duration_ns, strict=True)
        ]
        # an edge of their own, so that none is too narrow to be seen
        axes.broken_barh(
            spans, (place - 0.36, 0.72), facecolors=colours, edgecolors=colours, linewidth=0.3
        )
    axes.set_yticks(range(len(tracks)), [track.name for track in reversed(tracks)])
    axes.set_xlim(0, run.latency_s * 1e3)
    axes.set_xlabel("time [ms]; steps change colour from layer to layer")
    axes.set_title(f"{_title(run)}\n{run.latency_s * 1e3:,.3f} ms a frame", loc="left")
    return figure


def roofline(run: RunResult, found: Roofline) -> Figure:
    """Operations a second against operations per DRAM byte: the roof, the layers, the network."""
    figure = _figure(7.6, 4.8)
    axes = figure.add_subplot()
    timeline = run.timeline
    assert timeline is not None
    bound = {layer.name: layer.limited_by for layer in timeline.layers}
    known = [p.operations_per_byte for p in found.layers if p.operations_per_byte]
    knee = found.knee_operations_per_byte
    low = min([knee, *known]) / _DECADE
    high = max([knee, *known]) * _DECADE
    slope = [low, knee, high]
    roof = [
        min(found.peak_operations_per_second, each * found.bandwidth_bytes_per_second) / 1e9
        for each in slope
    ]
    axes.plot(slope, roof, color="black", linewidth=1.2)
    axes.axvline(knee, color="black", linewidth=0.5, linestyle=":")
    for name, colour in _BOUND.items():
        points = [p for p in found.layers if bound.get(p.name) == name]
        if points:
            _points(axes, points, colour, name, high)
    _points(axes, [found.network], "black", "network", high, marker="*", size=110)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_xlim(low, high)
    axes.set_xlabel("operations per DRAM byte (2 a MAC; at the right edge: no byte moves)")
    axes.set_ylabel("Gop/s")
    axes.set_title(f"{_title(run)}\nknee at {knee:,.1f} operations per byte", loc="left")
    axes.legend(frameon=False, fontsize=8, title="limited by", title_fontsize=8)
    axes.grid(linewidth=0.3, alpha=0.5)
    return figure


def _points(
    axes: Axes,
    points: list[RooflinePoint],
    colour: str,
    label: str,
    edge: float,
    marker: str = "o",
    size: int = 18,
) -> None:
    across = [point.operations_per_byte or edge for point in points]
    up = [point.reached_operations_per_second / 1e9 for point in points]
    axes.scatter(across, up, s=size, color=colour, marker=marker, label=label, zorder=3)


def tornado(run: RunResult, sensitivity: Sequence[Sensitivity]) -> Figure:
    """Bars: how latency changes with half and twice of each resource, the largest swing on top."""
    base = run.latency_s
    found = [each for each in by_effect(base, sensitivity) if each.latency_s is not None]
    names = list(dict.fromkeys(each.resource for each in found))
    figure = _figure(7.2, 1.4 + 0.5 * len(names))
    axes = figure.add_subplot()
    for each in found:
        assert each.latency_s is not None
        change = (each.latency_s / base - 1) * 100
        more = each.factor > 1
        place = len(names) - 1 - names.index(each.resource)
        colour = WEIGHTS_COLOUR if more else MAPS_COLOUR
        axes.barh(place, change, color=colour, height=0.6)
        axes.annotate(
            f"x {each.factor:g}: {each.latency_s * 1e3:,.3f} ms",
            (change, place),
            xytext=(3 if change >= 0 else -3, 7 if more else -7),
            textcoords="offset points",
            ha="left" if change >= 0 else "right",
            va="center",
            fontsize=7,
        )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names[::-1])
    axes.margins(x=0.35)
    axes.set_xlabel("latency changes by [%]")
    axes.set_title(f"{_title(run)}\n{base * 1e3:,.3f} ms as it is", loc="left")
    return figure


def timeline_pictures(study: TimeStudy) -> dict[str, bytes]:
    """All of them as PNG and SVG, by file name."""
    run = study.run
    drawn: dict[str, Callable[[], Figure]] = {
        "timeline": lambda: over_time(run, study.series),
        "roofline": lambda: roofline(run, study.roofline),
    }
    if study.sensitivity:
        drawn["sensitivity"] = lambda: tornado(run, study.sensitivity)
    return {
        f"{name}.{kind}": picture
        for name, draw in drawn.items()
        for kind, picture in pictures(draw, "png", "svg").items()
    }
