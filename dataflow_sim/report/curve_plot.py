"""The picture of budget curves: DRAM bytes a frame against local memory, network by network.

Each network has its own axes.  The policy with the largest space is drawn as areas, stacked
by what moves, the others as lines:

    MB │━━┓ layerwise
       │▒▒┗━━━━━━━━━━━━━━━━   line: another policy's total
       │▒▒▒▒┓ maps            light blue line: the weights in it
       │▒▒▒▒┗━━┓ merged
       │░░░░░░░┗━━━━━━━━━━━   areas: weights, input and output, maps, partial sums
       │████████ weights      dashed in black: the compulsory floor
       └────────────────────
        16 KiB  64 KiB  256 KiB

Curves are exact: each step stands where the breakpoint is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dataflow_sim.report.curve_axes import (
    DASHES,
    INK,
    KINDS,
    LINES,
    WEIGHTS_LINE,
    Annotator,
    Curve,
    Kind,
    View,
    draw_curves,
    dress,
)
from dataflow_sim.report.curves import point_at, precision_text
from dataflow_sim.report.drawing import clipped, pictures, scale
from dataflow_sim.results_of_curves import CurveResult

_POLICIES = ("layerwise", "resident", "merged")  # the larger space later
_DOTS_PER_INCH = 150.0
_LEAST_SHOWN_BYTES = 16 << 10
_LEAST_OCTAVES = 6
_SHARED_UP_TO = 2.0  # axes share their scale where the largest is at most twice the smallest
_GREY = "#6b6b6b"
_CHARACTER = 0.115  # inches, of a network's name above its axes
_LEFT, _RIGHT, _BOTTOM, _BETWEEN, _ABOVE = 0.72, 0.38, 0.62, 0.65, 0.42  # inches


def _power_from(value: int) -> int:
    """The power of two at or above a value."""
    return 1 << max(0, value - 1).bit_length()


def common_view(groups: Sequence[Sequence[CurveResult]]) -> View:
    """The range of memory that shows every curve to where it is flat, and the unit of bytes."""
    results = [result for group in groups for result in group]
    most = _power_from(max(result.points[-1].local_bytes * 3 // 2 for result in results))
    lowest = min(result.points[0].local_bytes for result in results)
    least = min(_LEAST_SHOWN_BYTES, max(1, most >> _LEAST_OCTAVES))
    least = max(least, _power_from(lowest + 1) >> 1)
    most = max(most, least << _LEAST_OCTAVES)
    return View(least, most, *scale(min(_top(group, least) for group in groups)))


def _top(group: Sequence[CurveResult], least_bytes: int) -> int:
    """The largest total of a network in the picture."""
    points = (point_at(result, least_bytes) or result.points[0] for result in group)
    return max(point.traffic.total_bytes for point in points)


def _grid(count: int) -> tuple[int, int, float, float]:
    """Columns and rows of axes, width and height of each in inches."""
    columns = count if count <= 3 else 2 if count == 4 else 3
    rows = -(-count // columns)
    width = {1: 8.2, 2: 5.6, 3: 3.75}[columns]
    return columns, rows, width, 4.2 if rows == 1 else 2.9


def _moved(kind: Kind, result: CurveResult, view: View) -> bool:
    """Whether any bytes of a kind are in the picture."""
    shown = [point for point in result.points if point.local_bytes > view.least_bytes]
    shown.append(point_at(result, view.least_bytes) or result.points[0])
    return any(kind.of(point) for point in shown)


def _key(
    groups: Sequence[Sequence[CurveResult]], view: View, named: Sequence[set[str]]
) -> list[Line2D | Patch]:
    """What the axes could not say in place: a kind in none of them, a policy in one."""
    somewhere = set().union(*named)
    handles: list[Line2D | Patch] = [
        Patch(color=kind.colour, label=kind.name)
        for kind in KINDS
        if kind.name not in somewhere and any(_moved(kind, group[-1], view) for group in groups)
    ]
    others = groups[0][:-1]
    for result, colour in zip(others, LINES, strict=False):
        if not all(result.policy in names for names in named):
            handles.append(Line2D([], [], color=colour, linewidth=2.0, label=result.policy))
    if others:
        label = f"weights, {others[0].policy}"
        handles.append(Line2D([], [], color=WEIGHTS_LINE, linewidth=1.3, label=label))
    floor = Line2D([], [], color=INK, linewidth=1.0, linestyle=DASHES, label="compulsory floor")
    return [*handles, floor]


def _fitted(
    figure: Figure, below: float, texts: Callable[[int], str], longest: int, **style: Any
) -> None:
    """Write a text as long as the axes are wide, so many inches below the top.

    `texts` gives the text with its part of free length in so many characters.
    """
    width, height = figure.get_size_inches()
    written = figure.text(_LEFT / width, 1 - below / height, texts(longest), va="top", **style)
    while written.get_window_extent().width > (width - _LEFT) * figure.dpi and longest > 8:
        longest -= max(1, longest // 20)
        written.set_text(texts(longest))


def _head(figure: Figure, groups: Sequence[Sequence[CurveResult]]) -> None:
    first = groups[0][0]
    subject = "DRAM traffic per frame against local memory"
    name = first.network
    _fitted(
        figure,
        0.14,
        lambda n: f"{clipped(name, n)}: {subject}" if len(groups) == 1 else subject,
        len(name),
        fontsize=13,
        weight="bold",
        color=INK,
    )
    how = [f"hardware {clipped(first.hardware, 40)}"]
    widths = {precision_text(result) for group in groups for result in group}
    if len(widths) == 1:
        how += widths
    how.append(f"areas: {groups[0][-1].policy}")
    lines = " and ".join(result.policy for result in groups[0][:-1])
    if lines:
        how.append(f"line{'s' * (len(groups[0]) > 2)}: {lines}")
    if first.overrides:
        how.append(", ".join(f"{key}={value}" for key, value in first.overrides))
    text = "; ".join(how)
    _fitted(
        figure,
        0.42,
        lambda n: text if len(text) <= n else f"{text[: n - 3]}...",
        len(text),
        fontsize=10,
        color=_GREY,
    )


def budget_figure(networks: Sequence[Sequence[CurveResult]]) -> Figure:
    """Budget curves: for each network its results under the same one or more policies."""
    groups = [
        sorted(group, key=lambda result: _POLICIES.index(result.policy)) for group in networks
    ]
    view = common_view(groups)
    columns, rows, wide, high = _grid(len(groups))
    tops = [_top(group, view.least_bytes) for group in groups]
    shared = max(tops) <= _SHARED_UP_TO * min(tops)
    width = _LEFT + columns * wide + (columns - 1) * _BETWEEN + _RIGHT
    head = 0.85 + (_ABOVE if len(groups) > 1 else 0.1)
    height = _BOTTOM + rows * high + (rows - 1) * (_ABOVE + 0.4) + head
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    named: list[set[str]] = []
    for index, group in enumerate(groups):
        row, column = divmod(index, columns)
        left = _LEFT + column * (wide + _BETWEEN)
        bottom = height - head - (row + 1) * high - row * (_ABOVE + 0.4)
        axes = figure.add_axes((left / width, bottom / height, wide / width, high / height))
        curves = [Curve(result, view) for result in group]
        draw_curves(axes, curves, view)
        dress(axes, view, wide)
        axes.set_ylim(0, 1.06 * (max(tops) if shared else tops[index]) / view.factor)
        if column == 0:
            axes.set_ylabel(f"DRAM bytes per frame [{view.unit}]")
        elif shared:
            axes.tick_params(labelleft=False)
        if index + columns >= len(groups):
            axes.set_xlabel("local memory")
        if len(groups) > 1:
            name = clipped(group[0].network, int(wide / _CHARACTER))
            axes.set_title(name, loc="left", weight="bold", fontsize=11)
        annotator = Annotator(axes, view)
        annotator.annotate(curves)
        named.append(annotator.named)
    _head(figure, groups)
    figure.legend(
        handles=_key(groups, view, named),
        loc="upper left",
        bbox_to_anchor=(_LEFT / width, 1 - 0.6 / height),
        ncols=8,
        frameon=False,
        fontsize=9,
        borderaxespad=0,
        borderpad=0,
        handlelength=1.8,
    )
    return figure


def budget_picture(networks: Sequence[Sequence[CurveResult]], kind: str) -> bytes:
    """Budget curves as `png` or `svg`: for each network its results, policy by policy."""
    return pictures(lambda: budget_figure(networks), kind)[kind]
