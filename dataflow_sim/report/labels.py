"""Texts in a picture where they hide neither a curve nor each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation

Pixels = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]  # left, bottom, right, top

_CLEARANCE = 2.0  # pixels between a text and another
_CURVE_CLEARANCE = 5.0  # and a curve, from its middle
_HALO = (withStroke(linewidth=2.0, foreground="white"),)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text may go: beside a point of the axes, so many typographic points away."""

    x: float
    y: float
    right: float
    up: float
    horizontal: str = "left"
    vertical: str = "bottom"


class Labels:
    """The texts of one pair of axes, whose limits are final.

    Texts keep clear of curves, of one another and of the axes' edges.  A curve is given by
    its height at each of the pixel `columns` of the axes, NaN where there is none.
    """

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        box = axes.get_window_extent()
        self._left, self._right = box.x0, box.x1
        self._bottom, self._top = box.y0, box.y1
        self.columns: Pixels = np.arange(np.floor(box.width)) + box.x0 + 0.5
        self._curves: list[Pixels] = []
        self._taken: list[Box] = []

    def values_of_columns(self) -> Pixels:
        """The value on the horizontal axis at the middle of each pixel column."""
        points = np.column_stack([self.columns, np.full_like(self.columns, self._bottom)])
        found: Pixels = self.axes.transData.inverted().transform(points)[:, 0]
        return found

    def pixels(self, heights: Pixels) -> Pixels:
        """Heights in data units as pixels from the bottom of the figure."""
        across = np.full_like(heights, self.axes.get_xlim()[0])
        found: Pixels = self.axes.transData.transform(np.column_stack([across, heights]))[:, 1]
        return found

    def keep_clear_of(self, heights: Pixels) -> int:
        """Let no later text lie across a curve, given in data units; tell its number."""
        self._curves.append(self.pixels(heights))
        return len(self._curves) - 1

    def put(
        self,
        text: str,
        places: Iterable[Place],
        over: int | None = None,
        clear_of: Sequence[Pixels] = (),
        **style: Any,
    ) -> bool:
        """Write a text at the first place where it is clear; tell whether there is one.

        A text `over` a curve, given by its number, has no other curve between itself and
        that one; `clear_of` are further curves, in data units, that it does not lie across.
        """
        further = [self.pixels(heights) for heights in clear_of]
        for place in places:
            written = self._write(text, place, {"path_effects": _HALO, **style})
            box = self._box(written)
            if self._clear(box, further) and (over is None or self._next_to(box, over)):
                self._taken.append(box)
                return True
            written.remove()
        return False

    def put_between(self, text: str, lower: Pixels, upper: Pixels, **style: Any) -> bool:
        """Write a text into the band between two curves where that is highest, if it fits."""
        trial = self._write(text, Place(*self._middle(), 0, 0, "center", "center"), style)
        box = self._box(trial)
        trial.remove()
        width = int(np.ceil(box[2] - box[0] + 10 * _CLEARANCE))
        if width >= len(self.columns):
            return False
        floor = np.nan_to_num(self.pixels(lower), nan=np.inf)
        ceiling = np.nan_to_num(self.pixels(upper), nan=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view
        low, high = windows(floor, width).max(axis=1), windows(ceiling, width).min(axis=1)
        high = np.minimum(high, self._top)
        needed = box[3] - box[1] + 2 * _CLEARANCE
        for start in np.argsort(low - high, kind="stable")[:: max(1, width // 8)]:
            if high[start] - low[start] < needed:
                return False
            middle = self.columns[start] + width / 2, (low[start] + high[start]) / 2
            x, y = self.axes.transData.inverted().transform(middle)
            written = self._write(text, Place(x, y, 0, 0, "center", "center"), style)
            found = self._box(written)
            if not any(_overlap(found, other) for other in self._taken):
                self._taken.append(found)
                return True
            written.remove()
        return False

    def _middle(self) -> tuple[float, float]:
        centre = ((self._left + self._right) / 2, (self._bottom + self._top) / 2)
        x, y = self.axes.transData.inverted().transform(centre)
        return float(x), float(y)

    def _write(self, text: str, place: Place, style: dict[str, Any]) -> Annotation:
        return self.axes.annotate(
            text,
            (place.x, place.y),
            (place.right, place.up),
            textcoords="offset points",
            ha=place.horizontal,
            va=place.vertical,
            **style,
        )

    def _box(self, written: Annotation) -> Box:
        box = written.get_window_extent()
        return box.x0, box.y0, box.x1, box.y1

    def _span(self, box: Box) -> slice:
        """The pixel columns that a box covers, and a little more."""
        first = max(0, int(box[0] - self._left - _CLEARANCE))
        return slice(first, int(box[2] - self._left + _CLEARANCE) + 1)

    def _next_to(self, box: Box, number: int) -> bool:
        """Whether a box lies over its own curve, and over no other that could be meant."""
        span = self._span(box)
        own = self._curves[number][span]
        for heights in self._curves[:number] + self._curves[number + 1 :]:
            other = heights[span]
            if ((other >= own - _CURVE_CLEARANCE) & (other <= box[3])).any():
                return False
        return True

    def _clear(self, box: Box, further: Sequence[Pixels]) -> bool:
        x0, y0, x1, y1 = box
        if x0 < self._left or x1 > self._right or y0 < self._bottom or y1 > self._top:
            return False
        if any(_overlap(box, other) for other in self._taken):
            return False
        span = self._span(box)
        for heights in (*self._curves, *further):
            part = heights[span]
            part = part[~np.isnan(part)]
            if (
                part.size
                and part.min() <= y1 + _CURVE_CLEARANCE
                and part.max() >= y0 - _CURVE_CLEARANCE
            ):
                return False
        return True


def _overlap(one: Box, other: Box) -> bool:
    across = one[0] < other[2] + _CLEARANCE and other[0] < one[2] + _CLEARANCE
    return across and one[1] < other[3] + _CLEARANCE and other[1] < one[3] + _CLEARANCE
