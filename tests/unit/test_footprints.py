"""Footprints along an axis against their definition, element by element."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_sim.graph.region import Span
from dataflow_sim.schedule.footprints import Axis, axis_tiles, tile_sizes
from dataflow_sim.schedule.needed import needed_input_elements
from dataflow_sim.schedule.plane_tiles import PlaneTiles, given_plane_tiles, plane_tiles


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    kernel, stride, dilation = (draw(st.integers(1, n)) for n in (5, 3, 2))
    up = draw(st.sampled_from([1, 1, 2, 3]))
    reach = (kernel - 1) * dilation + 1
    pad = draw(st.integers(0, reach - 1))
    if up > 1:
        stride, size = 1, draw(st.integers(1, 12))
        body = size * up + draw(st.integers(0, reach))
    else:
        size = draw(st.integers(max(1, reach - 2 * pad), 24))
        body = (size + 2 * pad - reach) // stride + 1
    pool_kernel, pool_stride = draw(st.integers(1, min(3, body))), draw(st.integers(1, 3))
    pool_pad = draw(st.integers(0, pool_kernel // 2))
    output = (body + 2 * pool_pad - pool_kernel) // pool_stride + 1
    window = (kernel, stride, dilation, pad)
    pool = (pool_kernel, pool_stride, 1, pool_pad)
    found = Axis(size, body, output, *window, *pool, up, transposed=up > 1)
    return replace(found, before=draw(poolings(size))) if draw(st.integers(0, 2)) == 2 else found


@st.composite
def poolings(draw: st.DrawFn, pooled: int) -> Axis:
    """A window that pools to so many elements."""
    kernel, stride, dilation = (draw(st.integers(1, n)) for n in (3, 3, 2))
    reach = (kernel - 1) * dilation + 1
    pad = draw(st.integers(0, (reach - 1) // 2))
    size = (pooled - 1) * stride + reach - 2 * pad + draw(st.integers(0, stride - 1))
    return Axis(max(1, size), pooled, pooled, kernel, stride, dilation, pad, 1, 1, 1, 0)


def taps(axis: Axis, output: int) -> set[int]:
    """Input elements that one output depends on, by definition."""
    found = set()
    for pool_tap in range(axis.pool_kernel):
        body = output * axis.pool_stride - axis.pool_pad + pool_tap
        if 0 <= body < axis.body_size:
            for tap in range(axis.kernel):
                place = body * axis.stride - axis.pad + tap * axis.dilation
                element, between = divmod(place, axis.up)
                if between == 0 and 0 <= element < axis.input_size:
                    found.add(element)
    if axis.before is not None:
        found = set().union(*(taps(axis.before, element) for element in found))
        found = {element for element in found if element < axis.before.input_size}
    return found


@given(axes(), st.data())
def test_a_tile_holds_what_its_outputs_need_and_begins_and_ends_there(
    axis: Axis, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, axis.output_size - 1))
    stop = data.draw(st.integers(start + 1, axis.output_size))
    span = axis.input_span(axis.body_span(start, stop))
    held = set(range(span.start, span.stop, span.step))
    needed = set().union(*(taps(axis, output) for output in range(start, stop)))
    assert needed <= held
    if axis.before is not None:
        return
    if needed and axis.kernel > 1:
        assert min(held) <= min(needed)
        assert max(held) >= max(needed)
        spare = (axis.kernel - 1) * axis.dilation + axis.stride
        assert len(held) <= max(needed) - min(needed) + 1 + 2 * spare
    contiguous = axis.dilation == 1 and axis.pool_stride <= axis.pool_kernel
    if axis.up > 1 and contiguous:  # a body tile without a tap on an element holds nothing
        assert held == needed
    if axis.kernel == 1 and axis.stride > 1 and axis.pool_kernel == axis.pool_stride == 1:
        assert held == needed


@given(axes())
def test_needed_elements_by_definition(axis: Axis) -> None:
    needed: set[int] = set().union(*(taps(axis, output) for output in range(axis.output_size)))
    assert needed_input_elements(axis) == len(needed)


@pytest.mark.parametrize("extent", [1, 2, 7, 28, 112, 513])
def test_tile_sizes_are_the_least_for_each_trip_count(extent: int) -> None:
    sizes = tile_sizes(extent).tolist()
    by_trips: dict[int, int] = {}
    for size in range(extent, 0, -1):
        by_trips[-(-extent // size)] = size
    assert sorted(by_trips.values()) == sizes


def test_a_strided_one_by_one_kernel_reads_only_what_it_touches() -> None:
    axis = Axis(56, 28, 28, 1, 2, 1, 0, 1, 1, 1, 0)
    tiles = axis_tiles(axis)
    assert set(tiles.input_sum.tolist()) == {28}
    assert axis.input_span(axis.body_span(0, 28))[:3] == (0, 55, 2)


def test_enlarging_by_two() -> None:
    """U-Net's transposed convolution, a nearest neighbour, a bilinear one, and one with gaps."""
    plain = (1, 1, 1, 0, 2)
    up_convolution = Axis(28, 56, 56, 2, 1, 1, 1, *plain, transposed=True)
    assert [up_convolution.input_span(Span(x, x + 1))[:2] for x in (0, 1, 2, 55)] == [
        *((0, 1), (0, 1), (1, 2), (27, 28)),
    ]
    assert up_convolution.multiplications(Span(0, 56)) == 28 * 2
    nearest = Axis(28, 56, 56, 2, 1, 1, 1, *plain)
    assert [nearest.input_span(Span(x, x + 1)).start for x in (0, 1, 2, 3)] == [0, 0, 1, 1]
    linear = Axis(28, 56, 56, 4, 1, 1, 2, *plain)
    assert [linear.input_span(Span(x, x + 1))[:2] for x in (0, 1, 2, 55)] == [
        *((0, 1), (0, 2), (0, 2), (27, 28)),
    ]
    gaps = Axis(4, 7, 7, 1, 1, 1, 0, *plain, transposed=True)
    assert [gaps.input_span(Span(x, x + 1)).length for x in range(7)] == [1, 0, 1, 0, 1, 0, 1]
    cropped = Axis(4, 6, 6, 4, 1, 1, 1, *plain, transposed=True)
    # inputs 0 and 3 each lose a product beyond the border, which is charged to the border
    assert cropped.multiplications(Span(0, 6)) == 4 * 4
    assert [cropped.multiplications(Span(x, x + 1)) for x in range(6)] == [4, 2, 2, 2, 2, 4]


def test_clipping_makes_padding_free() -> None:
    axis = Axis(28, 28, 28, 3, 1, 1, 1, 1, 1, 1, 0)
    whole = axis_tiles(axis, (28,))
    assert whole.input_sum.tolist() == [28]
    halves = axis_tiles(axis, (14,))
    assert halves.input_sum.tolist() == [30]
    assert halves.input_largest.tolist() == [15]


SINGLE = (
    *("input_largest", "body_largest", "output_largest"),
    *("input_sum", "input_rolled", "body_sum", "trips"),
)


@given(axes(), axes(), st.integers(1, 3), st.booleans())
def test_pruned_plane_tiles_are_all_dominated(
    rows: Axis, columns: Axis, batch: int, double_buffer: bool
) -> None:
    names = (*SINGLE, "two_once", "two_again") if double_buffer else SINGLE

    def costs(tiles: PlaneTiles) -> list[tuple[int, ...]]:
        return list(zip(*(getattr(tiles, name).tolist() for name in names), strict=True))

    kept = costs(plane_tiles(batch, rows, columns, double_buffer))
    for row in axis_tiles(rows).size.tolist():
        for column in axis_tiles(columns).size.tolist():
            (one,) = costs(given_plane_tiles(batch, rows, columns, [(1, row, column)]))
            assert any(all(a <= b for a, b in zip(k, one, strict=True)) for k in kept)


@given(axes(), axes())
def test_rolled_rows_are_read_once_in_each_column_of_tiles(rows: Axis, columns: Axis) -> None:
    for row in axis_tiles(rows).size.tolist():
        tile = given_plane_tiles(1, rows, columns, [(1, row, columns.output_size)])
        touched: set[int] = set()
        for start in range(0, rows.output_size, row):
            stop = min(start + row, rows.output_size)
            touched.update(range(*rows.input_span(rows.body_span(start, stop))))
        width = columns.input_span(columns.body_span(0, columns.output_size)).length
        assert int(tile.input_rolled[0]) == len(touched) * width
        # a ring of two holds a tile and never takes more than two slots
        assert tile.input_largest[0] <= tile.two_once[0] <= tile.two_again[0]
        assert tile.two_again[0] <= 2 * tile.input_largest[0]
