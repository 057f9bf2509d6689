"""One network's budget curves on one pair of axes: areas, lines, the floor, and their texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter

from dataflow_sim.report.curves import point_at
from dataflow_sim.report.drawing import (
    COLOURS,
    ENDS_COLOUR,
    MAPS_COLOUR,
    SUMS_COLOUR,
    WEIGHTS_COLOUR,
)
from dataflow_sim.report.labels import Labels, Place
from dataflow_sim.results_of_curves import CurvePoint, CurveResult
from dataflow_sim.traffic import Reason
from dataflow_sim.units import format_capacity

Heights = npt.NDArray[np.float64]

INK = "#1a1a1a"
LINES = (INK, "#7a7a7a")  # of the policies that are not areas
WEIGHTS_LINE = COLOURS[Reason.WEIGHT_REFETCH]
DASHES = (0, (4, 3))
_STEPS: dict[str, Any] = {"drawstyle": "steps-post", "solid_joinstyle": "miter"}
_MARKED_BYTES = (128 << 10, 256 << 10)


@dataclass(frozen=True, slots=True)
class Kind:
    """What moves, with its colour, from the bottom of the stack upwards."""

    name: str
    colour: str
    keys: tuple[str, ...]

    def of(self, point: CurvePoint) -> int:
        """Its DRAM bytes at a breakpoint."""
        moved = point.to_json()
        return sum(moved[key] for key in self.keys)


KINDS = (
    Kind("weights", WEIGHTS_COLOUR, ("weight_bytes",)),
    Kind("input and output", ENDS_COLOUR, ("input_bytes", "output_bytes")),
    Kind("maps", MAPS_COLOUR, ("map_bytes",)),
    Kind("partial sums", SUMS_COLOUR, ("partial_sum_bytes",)),
)


@dataclass(frozen=True, slots=True)
class View:
    """What all axes of a picture have in common.

    Memory from `least_bytes` to `most_bytes`, bytes in units of `factor`, called `unit`.
    """

    least_bytes: int
    most_bytes: int
    factor: float
    unit: str

    def number(self, value_bytes: int) -> str:
        """Bytes in the picture's unit, three digits."""
        value = value_bytes / self.factor
        digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
        return f"{value:,.{digits}f}"

    def size(self, value_bytes: int) -> str:
        """Bytes with their unit."""
        return f"{self.number(value_bytes)} {self.unit}"


class Curve:
    """The steps of one policy, in the units of the picture."""

    def __init__(self, result: CurveResult, view: View) -> None:
        self.policy = result.policy
        self.result = result
        self.local_bytes = np.array([point.local_bytes for point in result.points])
        self.kinds = {
            kind.name: np.array([kind.of(point) for point in result.points]) / view.factor
            for kind in KINDS
        }
        totals = [point.traffic.total_bytes for point in result.points]
        self.total: Heights = np.array(totals) / view.factor

    def sampled(self, heights: Heights, at_bytes: Heights) -> Heights:
        """A step curve at memory sizes, NaN where nothing runs."""
        place = np.searchsorted(self.local_bytes, at_bytes, side="right") - 1
        found: Heights = np.where(place < 0, np.nan, heights[np.maximum(place, 0)])
        return found


def _ended(heights: Heights) -> Heights:
    """Step heights with the last one again, where the picture ends."""
    return np.append(heights, heights[-1])


def draw_curves(axes: Axes, curves: Sequence[Curve], view: View) -> None:
    """The areas of the last policy, the lines of the others, and the compulsory floor."""
    filled, others = curves[-1], curves[:-1]
    across = np.append(filled.local_bytes, max(view.most_bytes, filled.local_bytes[-1] + 1))
    below = np.zeros(len(across))
    for kind in KINDS:
        above = below + _ended(filled.kinds[kind.name])
        axes.fill_between(across, below, above, step="post", color=kind.colour, linewidth=0)
        below = above
    axes.plot(across, _ended(filled.total), **_STEPS, color=INK, linewidth=0.8)
    for curve, colour in zip(others, LINES, strict=False):
        ends = np.append(curve.local_bytes, max(view.most_bytes, curve.local_bytes[-1] + 1))
        if curve is others[0]:
            weights = _ended(curve.kinds["weights"])
            axes.plot(ends, weights, **_STEPS, color=WEIGHTS_LINE, linewidth=1.3)
        axes.plot(ends, _ended(curve.total), **_STEPS, color=colour, linewidth=2.0)
    floor = filled.result.compulsory_bytes / view.factor
    axes.axhline(floor, color="white", linewidth=2.0)
    axes.axhline(floor, color=INK, linewidth=1.0, linestyle=DASHES)


def _tick_texts(view: View, inches: float) -> dict[int, str]:
    """The memory sizes that have room for their text, 256 KiB among them."""
    first, last = view.least_bytes.bit_length() - 1, view.most_bytes.bit_length() - 1
    step = 1
    while (last - first) * 0.6 > inches * step:
        step *= 2
    powers = (power for power in range(first, last + 1) if (power - 18) % step == 0)
    return {1 << power: format_capacity(1 << power) for power in powers}


def dress(axes: Axes, view: View, inches: float) -> None:
    """Scale, ticks and grid of axes that are so many inches wide."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(view.least_bytes, view.most_bytes)
    ticks = _tick_texts(view, inches)
    axes.set_xticks(list(ticks), list(ticks.values()), fontsize=8.5)
    every = [1 << p for p in range(64) if view.least_bytes <= 1 << p <= view.most_bytes]
    axes.xaxis.set_minor_locator(FixedLocator(every))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", labelsize=8.5)
    axes.yaxis.grid(True, linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)


def _beside(x: float, y: float) -> Iterator[Place]:
    """Places around a point of a curve that falls, the nearest first."""
    for away in (4.0, 9.0):
        yield Place(x, y, away, away - 1, "left", "bottom")
        yield Place(x, y, -away, 1 - away, "right", "top")
        yield Place(x, y, 0, away, "center", "bottom")
        yield Place(x, y, 0, -away, "center", "top")


def _along(curve: Curve, view: View) -> Iterator[Place]:
    """Places above a curve: at its end, else as near to its end as can be."""
    sizes = np.geomspace(view.least_bytes, view.most_bytes, 97)[::-1]
    heights = curve.sampled(curve.total, sizes)
    for up in (3, 12):
        yield Place(sizes[0], heights[0], -3, up, "right", "bottom")
    for up in (3, 10):
        for size, height in zip(sizes, heights, strict=True):
            if not np.isnan(height):
                yield Place(size, height, 4, up, "left", "bottom")
    for up in (22, 34, 46):
        yield Place(sizes[0], heights[0], -3, up, "right", "bottom")


class Annotator:
    """The texts of one pair of axes; notes which kinds found room."""

    def __init__(self, axes: Axes, view: View) -> None:
        self.axes = axes
        self.view = view
        self.labels = Labels(axes)
        self.sizes = self.labels.values_of_columns()
        self.named: set[str] = set()
        self.numbers: dict[str, int] = {}

    def annotate(self, curves: Sequence[Curve]) -> None:
        """Write what the curves are and the figures at the marked memory sizes."""
        self.numbers = {
            curve.policy: self.labels.keep_clear_of(curve.sampled(curve.total, self.sizes))
            for curve in curves
        }
        self._floor(curves)
        for curve in curves:
            self._values(curve)
        for curve in reversed(curves):
            self._policy(curve, curves)
        self._areas(curves[-1])

    def _floor(self, curves: Sequence[Curve]) -> None:
        """What the dashed line is, written below it at the right end."""
        bytes_ = curves[-1].result.compulsory_bytes
        height, right = bytes_ / self.view.factor, self.view.most_bytes
        edges = [curve.sampled(curve.kinds["weights"], self.sizes) for curve in curves]
        self.labels.put(
            f"compulsory {self.view.size(bytes_)}",
            [Place(right, height, -4, down, "right", "top") for down in (-5, -10, -16, -22)],
            clear_of=edges,
            color="white",
            path_effects=None,
            fontsize=8.5,
        )

    def _policy(self, curve: Curve, curves: Sequence[Curve]) -> None:
        """The policy's name with where it ends, or as much of that as has room."""
        last = curve.result.points[-1]
        total = last.traffic.total_bytes
        texts = [f"{curve.policy}: {self.view.size(total)}", curve.policy]
        if total == curve.result.compulsory_bytes:
            size = _short_size(last.local_bytes)
            texts[:1] = [f"{curve.policy}: {what} from {size}" for what in ("compulsory", "floor")]
        colour = INK if curve is curves[-1] else LINES[list(curves).index(curve)]
        style: dict[str, Any] = {"color": colour, "fontsize": 9.5, "weight": "bold"}
        for text in texts:
            places = _along(curve, self.view)
            if self.labels.put(text, places, self.numbers[curve.policy], **style):
                self.named.add(curve.policy)
                return

    def _values(self, curve: Curve) -> None:
        """Dots at the marked memory sizes, with their bytes unless they are the policy's last."""
        last = curve.result.points[-1].traffic.total_bytes
        for size in _MARKED_BYTES:
            point = point_at(curve.result, size)
            if point is None or not self.view.least_bytes < size < self.view.most_bytes:
                continue
            total = point.traffic.total_bytes
            height = total / self.view.factor
            self.axes.plot(
                [size],
                [height],
                marker="o",
                markersize=4.5,
                color=INK,
                markeredgecolor="white",
                markeredgewidth=0.8,
            )
            text, ending = self.view.number(total), self.view.number(last)
            if text != ending:
                self.labels.put(text, _beside(size, height), color=INK, fontsize=8.5)

    def _areas(self, filled: Curve) -> None:
        """The names of the kinds, inside the areas that are high enough."""
        below = np.zeros(len(self.sizes))
        floor = filled.result.compulsory_bytes / self.view.factor
        for kind in KINDS:
            above = below + filled.sampled(filled.kinds[kind.name], self.sizes)
            low = below if kind is KINDS[0] else np.maximum(below, floor)
            high = np.minimum(above, floor) if kind is KINDS[0] else above
            if self.labels.put_between(
                kind.name, low, high, color="white", fontsize=9.5, weight="bold"
            ):
                self.named.add(kind.name)
            below = above


def _short_size(value_bytes: int) -> str:
    """A memory size for a label, rounded up so that it suffices."""
    for factor, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if value_bytes >= factor:
            tenths = -(-value_bytes * 10 // factor)
            whole = -(-value_bytes // factor)
            return f"{whole} {unit}" if whole >= 10 else f"{tenths / 10:.1f} {unit}"
    return f"{value_bytes} B"
