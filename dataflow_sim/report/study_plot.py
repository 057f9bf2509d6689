"""Pictures of studies: rows of a table as lines, steps, bars, points, a heap or a matrix.

    lines   values joined            steps   values that hold until the next
    points  values, not joined       bars    side by side for each series
    heap    areas over the rows      matrix  a coloured cell for each pair, its value written in

Series are told apart by colour and by line or marker, so that none is told by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dataflow_sim.report.drawing import DPI, clipped, pictures
from dataflow_sim.results_of_studies import PictureResult, Row, Value
from dataflow_sim.units import format_capacity

_COLOURS = (
    *("#08519c", "#d94801", "#006d2c", "#7f2704", "#54278f", "#737373", "#9e9ac8", "#41ab5d"),
    *("#fd8d3c", "#6baed6"),
)
_DASHES = ("-", "--", "-.", ":")
_MARKERS = "osD^vPX*<>"
_LONGEST_LABEL = 44
_LETTERS_BELOW = 70  # a line of names of equal width, below bars
_MANY_BARS = 12  # names below them stand upright from here on
_FACTORS = ((1e9, "G"), (1e6, "M"), (1e3, "K"))

Series = tuple[str, list[Value], list[float]]


def _number(value: Value) -> float:
    """A value as a number, NaN for none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value)


def _series(picture: PictureResult) -> list[Series]:
    """The rows apart by the columns of `by`, and by each column of values."""
    groups: dict[tuple[Value, ...], list[Row]] = {}
    for row in picture.rows:
        groups.setdefault(tuple(row[name] for name in picture.by), []).append(row)
    found: list[Series] = []
    for key, rows in groups.items():
        for column in picture.y:
            parts = [str(part) for part in key]
            if len(picture.y) > 1 or not parts:
                parts.append(column.replace("_", " "))
            xs = [row[picture.x] for row in rows]
            label = clipped(", ".join(parts), _LONGEST_LABEL)
            found.append((label, xs, [_number(row[column]) for row in rows]))
    return found


def _text(value: float) -> str:
    """A number on an axis or in a cell."""
    for factor, unit in _FACTORS:
        if abs(value) >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.3g}"


def _memory(value: float, _: int | None = None) -> str:
    """A size on an axis of memory; its powers of two."""
    return format_capacity(round(value))


def _ratio_axis(axis: Axis) -> None:
    """Numbers at powers of ten, and between these where there are few."""
    low, high = axis.get_view_interval()
    few = high < 1000 * low
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _text(value)))
    axis.set_minor_formatter(NullFormatter())


def _dress(axes: Axes, picture: PictureResult, *, numeric: bool) -> None:
    if numeric:
        memory = picture.x.endswith("_bytes") and ("local" in picture.x or "capacity" in picture.x)
        if "x" in picture.log:
            axes.set_xscale("log", base=2 if memory else 10)
        if memory:
            axes.xaxis.set_major_formatter(FuncFormatter(_memory))
            if "x" in picture.log:
                axes.xaxis.set_major_locator(LogLocator(base=4))
                axes.xaxis.set_minor_formatter(NullFormatter())
        elif "x" in picture.log:
            _ratio_axis(axes.xaxis)
        else:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _text(v)))
    if "y" in picture.log:
        axes.set_yscale("log")
        _ratio_axis(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _text(v)))
    if picture.limit_line is not None:
        axes.axhline(picture.limit_line, color="black", linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlabel(picture.x_label or picture.x.replace("_", " "))
    axes.set_ylabel(picture.y_label or " and ".join(y.replace("_", " ") for y in picture.y))
    axes.grid(visible=True, axis="y", linewidth=0.4, color="#dddddd")
    axes.set_axisbelow(True)


def _lines(axes: Axes, picture: PictureResult, series: Sequence[Series]) -> bool:
    numeric = all(isinstance(x, int | float) for _, xs, _ in series for x in xs)
    joined = picture.kind != "points"
    for index, (label, xs, ys) in enumerate(series):
        style: dict[str, Any] = {
            "color": _COLOURS[index % len(_COLOURS)],
            "label": label,
            "linestyle": _DASHES[index // len(_COLOURS) % len(_DASHES)] if joined else "none",
            "linewidth": 1.6,
        }
        if not joined or (picture.kind == "lines" and len(xs) <= 24):
            style |= {"marker": _MARKERS[index % len(_MARKERS)], "markersize": 4.5}
        if picture.kind == "steps":
            style["drawstyle"] = "steps-post"
            xs, ys = _to_the_end(xs, ys, series)
        places: Any = [_number(x) for x in xs] if numeric else [str(x) for x in xs]
        axes.plot(places, ys, **style)
    return numeric


def _to_the_end(
    xs: list[Value], ys: list[float], series: Sequence[Series]
) -> tuple[list[Value], list[float]]:
    """The last value holds as far as any series goes."""
    furthest = max((x for _, others, _ in series for x in others), key=_number)
    return ([*xs, furthest], [*ys, ys[-1]]) if _number(furthest) > _number(xs[-1]) else (xs, ys)


def _bars(axes: Axes, series: Sequence[Series]) -> bool:
    names = list(dict.fromkeys(str(x) for _, xs, _ in series for x in xs))
    width = 0.8 / len(series)
    for index, (label, xs, ys) in enumerate(series):
        offset = (index - (len(series) - 1) / 2) * width
        places = [names.index(str(x)) + offset for x in xs]
        axes.bar(places, ys, width=width * 0.94, color=_COLOURS[index % len(_COLOURS)], label=label)
    shown = [clipped(name, 30) for name in names]
    upright = len(names) > _MANY_BARS or max(map(len, shown)) * len(shown) > _LETTERS_BELOW
    axes.set_xticks(range(len(names)), shown, rotation=90 if upright else 0)
    return False


def _heap(axes: Axes, series: Sequence[Series]) -> bool:
    """What is held over the rows, one area behind the other, over the part that has passed."""
    for index, (label, _, ys) in enumerate(series):
        places = np.linspace(0, 100, len(ys)) if len(ys) > 1 else np.zeros(1)
        colour = _COLOURS[index % len(_COLOURS)]
        axes.fill_between(places, ys, step="mid", color=colour, alpha=0.25, linewidth=0)
        axes.step(places, ys, where="mid", color=colour, linewidth=1.3, label=label)
    axes.set_xlim(0, 100)
    return False


def _matrix(figure: Figure, picture: PictureResult) -> None:
    """A row for each value of `by`, and a column for each of `x`, or for each of several `y`.

    The middle of the colours is 1, since cells are parts of a whole.
    """
    several = len(picture.y) > 1
    rows: dict[str, dict[str, float]] = {}
    for row in picture.rows:
        name = ", ".join(str(row[key]) for key in picture.by or (picture.x,))
        for column in picture.y:
            head = column.replace("_", " ") if several else str(row[picture.x])
            rows.setdefault(name, {})[head] = _number(row[column])
    heads = list(dict.fromkeys(head for cells in rows.values() for head in cells))
    values = np.array([[cells.get(head, math.nan) for head in heads] for cells in rows.values()])
    axes = figure.add_subplot()
    largest = np.nanmax(np.abs(values - 1)) if np.isfinite(values).any() else 1.0
    reach = float(min(max(largest, 0.1), 1.0))
    axes.imshow(values, cmap="PuOr_r", vmin=1 - reach, vmax=1 + reach, aspect="auto")
    upright = max(map(len, heads)) * len(heads) > _LETTERS_BELOW + 20
    axes.set_xticks(range(len(heads)), heads, rotation=90 if upright else 0)
    axes.set_yticks(range(len(rows)), [clipped(name, 40) for name in rows])
    for y, cells in enumerate(values):
        for x, value in enumerate(cells):
            if math.isfinite(value):
                dark = abs(value - 1) > 0.7 * reach
                colour = "white" if dark else "black"
                axes.text(x, y, _text(value), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xlabel(picture.x_label)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _size(picture: PictureResult, series: Sequence[Series]) -> tuple[float, float]:
    if picture.kind == "matrix":
        lines = {tuple(row[key] for key in picture.by) for row in picture.rows}
        return 8.5, 1.6 + 0.3 * len(lines)
    if picture.kind == "bars":
        names = {str(x) for _, xs, _ in series for x in xs}
        return min(16.0, max(7.0, 0.16 * len(names) * (len(series) + 1) + 2.5)), 4.6
    return 8.0, 4.6


def study_figure(picture: PictureResult) -> Figure:
    """A picture as a figure."""
    series = _series(picture)
    figure = Figure(figsize=_size(picture, series), layout="constrained")
    FigureCanvasAgg(figure)
    if picture.kind == "matrix":
        _matrix(figure, picture)
        figure.axes[0].set_title(picture.title, loc="left", fontsize=10)
        return figure
    axes = figure.add_subplot()
    draw: Mapping[str, Callable[[], bool]] = {
        "bars": lambda: _bars(axes, series),
        "heap": lambda: _heap(axes, series),
    }
    plain: Callable[[], bool] = lambda: _lines(axes, picture, series)  # noqa: E731
    numeric = draw.get(picture.kind, plain)()
    _dress(axes, picture, numeric=numeric)
    axes.set_title(picture.title, loc="left", fontsize=10)
    if len(series) > 1:
        columns = max(1, min(len(series), _LETTERS_BELOW // max(len(s[0]) for s in series)))
        figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
    return figure


def study_picture(
    picture: PictureResult, kinds: Sequence[str], dpi: float = DPI
) -> dict[str, bytes]:
    """A picture as bytes of each kind."""
    return pictures(lambda: study_figure(picture), *kinds, dpi=dpi)
