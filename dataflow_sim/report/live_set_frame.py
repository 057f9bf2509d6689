"""What pictures of a live set share: areas over layers, the peak, names below and beside.

Layers follow one another from left to right, all of the same width.  A panel at the right
tells what is held at the peak; names stand below the axes where there is room for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dataflow_sim.report.drawing import clipped

Places = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

INK, GREY = "#1a1a1a", "#6b6b6b"
COLUMNS = 1500  # as many as the axes have pixels, about
NAMES = 14  # that the panel has room for

_WIDTH, _HEIGHT = 13.3, 6.2  # inches
_LEFT, _BOTTOM = 0.8, 1.55
AXES_WIDTH, AXES_HEIGHT = 8.6, 3.75
_PANEL, _LINE = 9.65, 0.215
_NAME_SPACING, _CHARACTER, _LONGEST_SPAN = 0.17, 0.065, 21
_MARGIN = 1.24  # below the axes, for names that stand
_LONGEST_NAME, _LONGEST_PLACE = 34, 46
_SHORTEST = 6  # characters: a name is clipped to no less
_GAP = 0.15


@dataclass(frozen=True, slots=True)
class Span:
    """Layers [first, stop) under one name; `further` are those that the name leaves out."""

    first: int
    stop: int
    name: str
    short_name: str
    further: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """One colour of the picture at the peak: its total, its names, and how many it leaves out.

    Names are (name, times, size); sizes are texts.  `rest` is None where all are named.
    """

    title: str
    colour: str
    total: str
    names: tuple[tuple[str, int, str], ...]
    rest: tuple[int, str] | None


@dataclass(frozen=True, slots=True)
class Heading:
    """Title, the line below it, and the note at the foot of a picture."""

    title: str
    line: str
    note: str


def framed() -> tuple[Figure, Axes]:
    """An empty picture, and the axes in it."""
    figure = Figure(figsize=(_WIDTH, _HEIGHT))
    FigureCanvasAgg(figure)
    box = (_LEFT / _WIDTH, _BOTTOM / _HEIGHT, AXES_WIDTH / _WIDTH, AXES_HEIGHT / _HEIGHT)
    return figure, figure.add_axes(box)


def fullest(begin: npt.NDArray[np.floating[Any]], held: Numbers) -> tuple[Numbers, Numbers]:
    """Columns at which the picture changes, and what is held at each one's fullest moment.

    `begin` are the places, in columns, from which `held` (one row a colour) is valid.
    """
    column = np.minimum(begin.astype(np.int64), COLUMNS - 1)
    total = held.sum(axis=0)
    edges: Places = np.arange(COLUMNS, dtype=np.float64)
    carried = np.maximum(np.searchsorted(begin, edges, side="right") - 1, 0)
    order = np.lexsort((-np.arange(len(total)), total, column))
    moments = carried.copy()
    ends = np.flatnonzero(np.append(np.diff(column[order]) > 0, True))
    inside = order[ends]
    better = total[inside] > total[carried[column[inside]]]
    moments[column[inside][better]] = inside[better]
    changed = np.append(True, np.diff(moments) != 0)
    return np.flatnonzero(changed), held[:, moments[changed]]


def stack(
    axes: Axes,
    edges: npt.NDArray[np.floating[Any]],
    layers: int,
    held: npt.NDArray[np.floating[Any]],
    colours: Sequence[str],
) -> None:
    """Areas one above the other, each as high from every edge on as its row of `held` says."""
    across = np.append(edges, layers)
    below = np.zeros(len(across))
    for heights, colour in zip(held, colours, strict=True):
        above = below + np.append(heights, heights[-1])
        axes.fill_between(across, below, above, step="post", color=colour, linewidth=0)
        below = above


def mark_peak(axes: Axes, place: float, height: float) -> None:
    """A dashed line and a marker where most is held."""
    axes.plot([place, place], [0, height], color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
    axes.plot(
        [place], [height], marker="v", color=INK, markersize=7, markeredgecolor="white", zorder=4
    )


def mark_spans(
    figure: Figure,
    axes: Axes,
    spans: Iterable[Span],
    layers: int,
    always: int | None = None,
    lines: bool = True,
) -> None:
    """Names below the axes where there is room, thin `lines` where spans meet.

    The name of layer `always`, which is a span of its own, is not left out.
    """
    inches = AXES_WIDTH / layers
    free_from, reserved_from = 0.0, np.inf
    if always is not None:
        reserved_from = (always + 0.5) * inches
    for span in spans:
        wide = (span.stop - span.first) * inches
        if lines and span.first and wide > _NAME_SPACING / 2:
            axes.axvline(span.first, color="white", linewidth=0.6, alpha=0.7)
        middle = (span.first + span.stop) / 2
        if span.first == always:
            reserved_from = np.inf
        if middle * inches < free_from:
            continue
        text, lying = _name(figure, span, wide)
        end = (span.stop if lying else middle) * inches + _NAME_SPACING * (0.5 if lying else 1)
        if end > reserved_from:
            continue
        axes.annotate(
            text,
            (middle, 0),
            (0, -5),
            textcoords="offset points",
            rotation=0 if lying else 90,
            ha="center",
            va="top",
            fontsize=7,
            annotation_clip=False,
        )
        free_from = end
    axes.set_xticks([])


def _name(figure: Figure, span: Span, wide: float) -> tuple[str, bool]:
    """A span's name as it is written, and whether it lies, so many inches having room for it."""
    name = clipped(span.name, len(span.name))
    if len(name) * _CHARACTER < wide and width(figure, name, fontsize=7) < wide:
        return name, True
    ending = f" +{span.further}" if span.further else ""
    room = _MARGIN - (width(figure, ending, fontsize=7) if ending else 0)
    longest = _LONGEST_SPAN - len(ending)
    return fitted(figure, span.short_name, longest, room, fontsize=7) + ending, False


def width(figure: Figure, text: str, **style: Any) -> float:
    """Inches that a text takes."""
    trial = figure.text(0, 0, text, **style)
    wide = trial.get_window_extent().width / figure.dpi
    trial.remove()
    return float(wide)


def fitted(figure: Figure, text: str, longest: int, inches: float, **style: Any) -> str:
    """A text clipped to so many characters, and to fewer where those are wider than the room."""
    shown = clipped(text, longest)
    while width(figure, shown, **style) > inches and longest > _SHORTEST:
        longest -= 1
        shown = clipped(text, longest)
    return shown


def write_panel(figure: Figure, title: str, where: str | None, parts: Iterable[Part]) -> None:
    """What is held at the peak, part by part, at the right of the axes."""
    line, names_at, right = _HEIGHT - 0.98, _PANEL + 0.2, _WIDTH - 0.2

    def write(text: str, x: float, **style: Any) -> None:
        figure.text(x / _WIDTH, line / _HEIGHT, text, va="top", **style)

    write(title, _PANEL, weight="bold", fontsize=11)
    line -= 0.24
    if where is not None:
        write(fitted(figure, where, _LONGEST_PLACE, right - _PANEL), _PANEL, color=GREY)
        line -= 0.1
    for part in parts:
        line -= _LINE + 0.05
        write("\u25a0", _PANEL, color=part.colour, fontsize=12)
        write(part.title, names_at, weight="bold")
        write(part.total, right, weight="bold", ha="right")
        for name, times, size in part.names:
            line -= _LINE
            ending = f" \u00d7 {times}" if times > 1 else ""
            room = right - names_at - width(figure, ending + size, fontsize=8) - _GAP
            write(
                fitted(figure, name, _LONGEST_NAME, room, fontsize=8) + ending,
                names_at,
                fontsize=8,
            )
            write(size, right, fontsize=8, ha="right")
        if part.rest is not None:
            line -= _LINE
            count, size = part.rest
            write(f"{count} more", names_at, fontsize=8, color=GREY)
            write(size, right, fontsize=8, ha="right", color=GREY)


def write_heading(figure: Figure, heading: Heading) -> None:
    """The texts above and below the axes."""
    left, top = _LEFT / _WIDTH, 1 - 0.15 / _HEIGHT
    figure.text(left, top, heading.title, va="top", fontsize=13, weight="bold", color=INK)
    figure.text(left, 0.1 / _HEIGHT, heading.note, fontsize=8, color=GREY)
    figure.text(left, 1 - 0.43 / _HEIGHT, heading.line, va="top", fontsize=10, color=GREY)
