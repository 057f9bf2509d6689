"""Every tiling of one convolution, one after the other, in plain Python: slow, obvious, the same
space as the search's.

For a layer of one image and one group, without pooling, constants or further maps, in single
buffers.  Extents are plain numbers, windows are walked tile by tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from dataflow_sim.schedule.footprints import Axis
from dataflow_sim.schedule.problem import LayerProblem


class Tiles(NamedTuple):
    """What the tiles of one size read and make along an axis."""

    trips: int
    largest: int
    total: int
    rolled: int
    output: int


def _sizes(extent: int) -> list[int]:
    """The least tile of each trip count."""
    return sorted({-(-extent // trips) for trips in range(1, extent + 1)})


def _parts(channels: int) -> list[int]:
    """Numbers of channels that may be pinned: multiples of a 64th, or every one."""
    parts = min(64, channels)
    return sorted({channels * part // parts for part in range(1, parts + 1)})


def _axis(axis: Axis, size: int) -> Tiles:
    spans = []
    for start in range(0, axis.output_size, size):
        stop = min(start + size, axis.output_size)
        low = max(0, start * axis.stride - axis.pad)
        high = min(axis.input_size, (stop - 1) * axis.stride - axis.pad + axis.kernel)
        spans.append((low, max(low, high)))
    end, rolled = 0, 0
    for low, high in spans:
        rolled += max(0, high - max(low, end))
        end = max(end, high)
    lengths = [high - low for low, high in spans]
    return Tiles(len(spans), max(lengths), sum(lengths), rolled, size)


def _times(order: str, trips: dict[str, int], indexed_by: str) -> int:
    """How often a tensor is read whole: a loop outside repeats it if its tile has changed."""
    times = 1
    for place, loop in enumerate(order):
        changes = any(trips[inner] > 1 for inner in order[place + 1 :] if inner in indexed_by)
        if loop not in indexed_by and changes:
            times *= trips[loop]
    return times


def _left(tile: int, pinned: int, channels: int) -> tuple[int, int]:
    """(tiles with channels that are not pinned, the most of these in one tile)."""
    sizes = [
        min(start + tile, channels) - max(start, pinned)
        for start in range(0, channels, tile)
        if min(start + tile, channels) > pinned
    ]
    return len(sizes), max(sizes, default=0)


def every_tiling(problem: LayerProblem) -> Iterator[tuple[int, int]]:
    """(local bytes, DRAM bits) of every tiling, order, place of the sums, and pinning."""
    outputs, inputs = problem.output_channels, problem.input_channels
    rows = [_axis(problem.rows, size) for size in _sizes(problem.rows.output_size)]
    columns = [_axis(problem.columns, size) for size in _sizes(problem.columns.output_size)]
    plane = rows[-1].total * columns[-1].total
    body = problem.rows.output_size * problem.columns.output_size
    pins = [(0, 0), *((n, 0) for n in _parts(outputs)), *((0, n) for n in _parts(inputs))]
    for m, k, row, column in product(_sizes(outputs), _sizes(inputs), rows, columns):
        trips = {"M": -(-outputs // m), "K": -(-inputs // k), "P": row.trips * column.trips}
        orders = ("PMK", "MPK") if trips["K"] == 1 else _ORDERS
        for order in orders:
            inside = order[order.index("K") + 1 :]
            if trips["K"] == 1:
                places = [("none", m * row.output * column.output)]
            else:
                live = (outputs if "M" in inside else m) * (
                    body if "P" in inside else row.output * column.output
                )
                places = [("kept", live)]
                enclosed = 1
                for loop in inside:
                    enclosed *= trips[loop]
                if enclosed > 1:
                    places.append(("spilled", m * row.output * column.output))
            for (where, results), (pinned_m, pinned_k) in product(places, pins):
                if where == "spilled" and (pinned_m or pinned_k):
                    continue
                open_k, left_k = _left(k, pinned_k, inputs)
                open_m, left_m = _left(m, pinned_m, outputs)
                if (pinned_k and open_k == 1) or (pinned_m and open_m == 1):
                    continue
                rolls = open_k <= 1 or "P" in inside
                a_pass = (row.rolled if rolls else row.total) * column.total
                of_input = a_pass * _times(order, {**trips, "K": open_k}, "KP")
                of_kernel = _times(order, {**trips, "M": open_m}, "MK")
                unit = inputs * problem.kernel_area
                bits = ((inputs - pinned_k) * of_input + pinned_k * plane) * problem.input_bits
                bits += ((outputs - pinned_m) * of_kernel + pinned_m) * unit * problem.kernel_bits
                bits += outputs * body * problem.output_bits
                accumulator = problem.memory.accumulator_bits
                if where == "spilled":
                    bits += 2 * (trips["K"] - 1) * outputs * body * accumulator
                width = problem.output_bits if where == "none" else accumulator
                buffers = (
                    left_k * row.largest * column.largest * problem.input_bits,
                    left_m * k * problem.kernel_area * problem.kernel_bits,
                    results * width,
                    pinned_k * plane * problem.input_bits,
                    pinned_m * unit * problem.kernel_bits,
                )
                yield sum(-(-each // 8) for each in buffers), bits


_ORDERS = ("PMK", "MPK", "PKM", "MKP", "KPM", "KMP")


def plain_frontier(problem: LayerProblem) -> list[tuple[int, int]]:
    """The Pareto points of `every_tiling`, ascending in local bytes."""
    least: dict[int, int] = {}
    for local, bits in every_tiling(problem):
        if bits < least.get(local, bits + 1):
            least[local] = bits
    points: list[tuple[int, int]] = []
    for local in sorted(least):
        if not points or least[local] < points[-1][1]:
            points.append((local, least[local]))
    return points
