"""How many input elements of an axis any output depends on: what no schedule can do without.

Tiles read spans (`footprints`), from the first element to the last; here every place that a
window touches counts, and no other (reports/decisions/0003-needed-elements.md).  In a plane of
lines the places that a window touches are the product of those along height and width.

Source: the arithmetic of convolution, as `footprints`.
"""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from dataflow_sim.schedule.footprints import Axis

Ints = npt.NDArray[np.int64]


def needed_input_elements(axis: Axis) -> int:
    """Input elements along an axis that some output depends on.

    Of a plane its lines times the elements of a line: all of the body is needed, pooled or not.
    """
    if axis.plane is not None:
        return prod(needed_input_elements(each) for each in axis.plane)
    outputs = np.arange(axis.output_size, dtype=np.int64)
    starts = outputs * axis.pool_stride - axis.pool_pad
    body = _covered(starts, axis.pool_kernel, axis.pool_dilation, axis.body_size)
    starts = np.flatnonzero(body) * axis.stride - axis.pad
    size = (axis.input_size - 1) * axis.up + 1
    touched = _covered(starts, axis.kernel, axis.dilation, size)[:: axis.up]
    before = axis.before
    if before is not None:
        starts = np.flatnonzero(touched) * before.stride - before.pad
        touched = _covered(starts, before.kernel, before.dilation, before.input_size)
    return int(touched.sum())


def _covered(starts: Ints, taps: int, dilation: int, size: int) -> npt.NDArray[np.bool_]:
    """Which of `size` elements some window that starts at one of `starts` touches."""
    if dilation == 1:
        change = np.zeros(size + 1, np.int64)
        np.add.at(change, np.clip(starts, 0, size), 1)
        np.add.at(change, np.clip(starts + taps, 0, size), -1)
        return np.cumsum(change[:-1]) > 0
    covered = np.zeros(size, bool)
    for tap in range(taps):
        place = starts + tap * dilation
        covered[place[(place >= 0) & (place < size)]] = True
    return covered
