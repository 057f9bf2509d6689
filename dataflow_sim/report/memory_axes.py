"""The axis of a memory in bytes: its unit, its budget; sizes, and what holds them, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator

from dataflow_sim.report.live_set import Holding
from dataflow_sim.report.live_set_frame import INK, NAMES, Part
from dataflow_sim.units import format_capacity

_BUDGET_SHOWN_UP_TO = 2.5  # times the peak: a larger budget would flatten the picture
_UNITS = {1 << 20: "MiB", 1 << 10: "KiB", 1: "B"}


def binary_size(value_bytes: int) -> str:
    """A size in local memory for people, in binary units."""
    for factor, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if value_bytes >= factor:
            value = value_bytes / factor
            return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{value_bytes} B"


def part_of(held: str, colour: str, holdings: Sequence[Holding]) -> Part:
    """Of all holdings, the largest first, those of one colour: their total and largest names."""
    named = [holding for holding in holdings[:NAMES] if holding.held == held]
    rest = [holding for holding in holdings[NAMES:] if holding.held == held]
    further = binary_size(sum(holding.size_bytes for holding in rest))
    return Part(
        title=held,
        colour=colour,
        total=binary_size(sum(holding.size_bytes for holding in (*named, *rest))),
        names=tuple((h.label, h.count, binary_size(h.size_bytes)) for h in named),
        rest=(len(rest), further) if rest else None,
    )


def draw_memory_axis(
    axes: Axes, budget_bytes: int | None, peak_bytes: int, what: str, budget: str = "budget"
) -> int:
    """Bytes upwards, from 0 to a little above the peak, or the budget where that is near.

    `what` names the axis, `budget` the budget.  Gives the bytes of the unit of the axis.
    """
    unit = 1 << 20 if peak_bytes >= 4 << 20 else 1 << 10 if peak_bytes >= 2048 else 1
    peak = peak_bytes / unit
    near = budget_bytes is not None and budget_bytes / unit <= _BUDGET_SHOWN_UP_TO * peak
    top = 1.12 * (budget_bytes / unit if budget_bytes is not None and near else peak)
    if budget_bytes is not None:
        words = f"{budget} {format_capacity(budget_bytes)}"
        _draw_budget(axes, words, budget_bytes / unit if near else None, top)
    axes.set_ylim(0, top)
    axes.set_ylabel(f"{what} [{_UNITS[unit]}]")
    axes.yaxis.set_major_locator(MultipleLocator(2.0 ** np.floor(np.log2(top / 4))))
    axes.yaxis.grid(True, linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
    return unit


def _draw_budget(axes: Axes, words: str, height: float | None, top: float) -> None:
    """The budget in words, and as a line where its height is in the picture."""
    if height is None:
        words += ", above the picture"
    else:
        axes.axhline(height, color=INK, linewidth=1.4, zorder=3)
    axes.annotate(
        words,
        (0, top if height is None else height),
        (3, -4 if height is None else 4),
        textcoords="offset points",
        va="top" if height is None else "bottom",
        weight="bold",
        color=INK,
        annotation_clip=False,
    )
