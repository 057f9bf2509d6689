"""The picture of memory over time: a box a buffer, addresses upwards, time rightwards.

A box of a few pixels has an edge, and its name where there is room for that; what is smaller is
blended, so that a picture of many thousand buffers shows what they take together.  A dashed line
is the live peak: what lies above it is there because addresses below it were not free in one
piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from dataflow_sim.report.drawing import BUFFERS_COLOUR, DPI, clipped, pictures
from dataflow_sim.report.live_set import HELD, live_set
from dataflow_sim.report.live_set_frame import (
    AXES_HEIGHT,
    AXES_WIDTH,
    INK,
    Heading,
    Part,
    fitted,
    framed,
    mark_spans,
    width,
    write_heading,
    write_panel,
)
from dataflow_sim.report.live_set_plot import HELD_COLOURS, group_spans
from dataflow_sim.report.memory_axes import binary_size, draw_memory_axis, part_of
from dataflow_sim.report.memory_map import MemoryMap, divided, map_of_placement, map_of_run
from dataflow_sim.results import RunResult
from dataflow_sim.results_of_placement import PlacementResult
from dataflow_sim.units import format_capacity

_LEAST_PIXELS = 3.0  # of a box of its own
_MOST_BOXES, _MOST_NAMES = 4000, 300
_LARGE, _SMALL = 6.5, 5.0  # points of a name
_LINE, _MARGIN = 0.017, 0.05  # inches, of a line by point, and beside a name
_NARROWEST = 0.02  # inches: no character is narrower
_SCALED = 1.05  # for what rounding to pixels adds to a text in other points
_SHORTEST, _LONGEST = 10, 60  # characters of a name that is clipped
_SHORT = _SHORTEST * _NARROWEST
_UNUSED = "#d9d9d9"
_NOTE = (
    "a box is a buffer, with its addresses; small ones are blended; "
    "dashed: the live peak, which no addresses can be below"
)


def _draw(figure: Figure, axes: Axes, found: MemoryMap, colours: Sequence[str], unit: int) -> None:
    """Boxes and their names, and what is too small for a box."""
    axes.set_xlim(found.begin, found.end)
    top = axes.get_ylim()[1]
    columns, rows = round(AXES_WIDTH * DPI), round(AXES_HEIGHT * DPI)
    division = divided(found, columns, rows, top * unit, _LEAST_PIXELS, _MOST_BOXES)
    if division.shares.any():
        axes.imshow(
            _blended(division.shares, colours),
            extent=(found.begin, found.end, 0, top),
            origin="lower",
            aspect="auto",
            interpolation="none",
            zorder=1.5,
        )
    large = list(division.large)
    left, right = found.left[large], found.right[large]
    bottom, upper = found.bottom[large] / unit, found.top[large] / unit
    corners = [(left, bottom), (right, bottom), (right, upper), (left, upper)]
    boxes = PolyCollection(
        list(np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)),
        facecolors=[colours[kind] for kind in found.kinds[large].tolist()],
        edgecolors="white",
        linewidths=0.4,
        zorder=2,
    )
    axes.add_collection(boxes, autolim=False)
    inches = AXES_WIDTH / (found.end - found.begin), AXES_HEIGHT / top
    for index, *box in list(zip(large, left, right, bottom, upper, strict=True))[:_MOST_NAMES]:
        _write_name(figure, axes, found.names[index], box, inches)


def _write_name(
    figure: Figure, axes: Axes, text: str, box: Sequence[float], inches: tuple[float, float]
) -> None:
    """A name in the middle of its box, if there is room; `inches` are of a unit of each axis."""
    left, right, bottom, top = map(float, box)
    name = _name(figure, text, (right - left) * inches[0], (top - bottom) * inches[1])
    if name is not None:
        axes.text(
            (left + right) / 2,
            (bottom + top) / 2,
            name.text,
            rotation=name.rotation,
            ha="center",
            va="center",
            fontsize=name.points,
            color="white",
            zorder=3,
        )


def _blended(shares: npt.NDArray[np.float64], colours: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Red, green, blue and how opaque it is, of each pixel."""
    total = shares.sum(axis=0)
    there = total.nonzero()
    image = np.zeros((len(there[0]), 4))
    for share, colour in zip(shares, colours, strict=False):
        image[:, :3] += (share[there] / total[there])[:, None] * to_rgb(colour)
    image[:, 3] = total[there]
    pixels: npt.NDArray[np.uint8] = np.zeros((*total.shape, 4), dtype=np.uint8)
    pixels[there] = np.rint(np.minimum(image, 1) * 255)
    return pixels


@dataclass(frozen=True, slots=True)
class _Name:
    """A name as it is written into a box: clipped, turned so many degrees, in so many points."""

    text: str
    rotation: int
    points: float


def _name(figure: Figure, name: str, wide: float, high: float) -> _Name | None:
    """A name in a box of so many inches, whole and large if it can be; None without room."""
    name = clipped(name, _LONGEST)
    ways = [
        (length - 2 * _MARGIN, rotation, points)
        for points in (_LARGE, _SMALL)
        for length, across, rotation in ((wide, high, 0), (high, wide, 90))
        if across >= _LINE * points and length > 2 * _MARGIN
    ]
    if not any(len(name) * _NARROWEST < room or room > _SHORT for room, _, _ in ways):
        return None
    inches = width(figure, name, fontsize=_LARGE)
    for room, rotation, points in ways:
        if inches * points / _LARGE * _SCALED <= room:
            return _Name(name, rotation, points)
    for room, rotation, points in ways:
        longest = min(len(name), int(len(name) * room / inches * _LARGE / points) + 2)
        if longest >= _SHORTEST:
            text = fitted(figure, name, longest, room, fontsize=points)
            if len(text) >= _SHORTEST and width(figure, text, fontsize=points) <= room:
                return _Name(text, rotation, points)
    return None


def _parts(found: MemoryMap, titles: Sequence[str], colours: Sequence[str]) -> Iterator[Part]:
    """What lives when the highest address comes into use, and what lies unused below it."""
    holdings = found.holdings(titles)
    for kind in reversed(np.unique(found.kinds).tolist()):
        yield part_of(titles[kind], colours[kind], holdings)
    unused = found.height_bytes - sum(holding.size_bytes for holding in holdings)
    if unused:
        yield Part("in no buffer", _UNUSED, binary_size(unused), (), None)


def memory_figure(result: RunResult) -> Figure:
    """Addresses in local memory over the layers of a run that lists its buffers."""
    live = live_set(result)
    found = map_of_run(result, live)
    figure, axes = framed()
    peak_bytes = result.peak_bytes
    unit = draw_memory_axis(axes, result.capacity_bytes, peak_bytes, "address in local memory")
    _draw(figure, axes, found, HELD_COLOURS, unit)
    axes.axhline(live.peak_bytes / unit, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=4)
    mark_spans(figure, axes, group_spans(live), len(result.layers), lines=False)
    group = [each.name for each in live.stretches if each.start_instruction <= found.moment]
    write_panel(
        figure,
        f"at the allocated peak: {binary_size(peak_bytes)}",
        f"in {group[-1]}" if group else None,
        _parts(found, HELD, HELD_COLOURS),
    )
    line = (
        f"hardware {clipped(result.hardware, 30)}; {result.policy}; "
        f"live peak {binary_size(live.peak_bytes)}, allocated peak {binary_size(peak_bytes)} "
        f"({result.fragmentation or 0.0:.2%} fragmentation), "
        f"of {format_capacity(result.capacity_bytes)}"
    )
    title = f"{clipped(result.network, 50)}: addresses in local memory over time"
    write_heading(figure, Heading(title, line, f"left to right: instructions in order; {_NOTE}"))
    return figure


def memory_pictures(result: RunResult) -> dict[str, bytes]:
    """Addresses in local memory over time as PNG and SVG."""
    return pictures(lambda: memory_figure(result), "png", "svg")


def placement_figure(result: PlacementResult) -> Figure:
    """Addresses of buffers over the time of their file."""
    found = map_of_placement(result)
    figure, axes = framed()
    # buffers may all be of no bytes
    peak_bytes = max(1, result.peak_bytes)
    unit = draw_memory_axis(axes, result.capacity_bytes, peak_bytes, "address", "capacity")
    _draw(figure, axes, found, (BUFFERS_COLOUR,), unit)
    live = result.live_peak_bytes / unit
    axes.axhline(live, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=4)
    axes.set_xlabel("time, as the file counts it")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    write_panel(
        figure,
        f"at the allocated peak: {binary_size(result.peak_bytes)}",
        f"from {found.moment:,} on",
        _parts(found, ("buffers",), (BUFFERS_COLOUR,)),
    )
    line = (
        f"live peak {format_capacity(result.live_peak_bytes)}, "
        f"allocated peak {format_capacity(result.peak_bytes)} "
        f"({result.fragmentation:.2%} fragmentation)"
    )
    line += ", proved the least" if result.proved_least else ", not proved the least"
    title = f"{clipped(result.source, 50)}: {len(result.lifetimes):,} buffers placed"
    write_heading(figure, Heading(title, line, _NOTE))
    return figure


def placement_picture(result: PlacementResult, kind: str) -> bytes:
    """Addresses of buffers over time as `png` or `svg`."""
    return pictures(lambda: placement_figure(result), kind)[kind]
