"""The closed form against a simulator that walks the loop nest element by element."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_sim.graph.layer import LayerKind
from dataflow_sim.schedule.amounts import step_bits, tiling_costs
from dataflow_sim.schedule.closed_form import pinned_plane
from dataflow_sim.schedule.footprints import Axis
from dataflow_sim.schedule.frontier import layer_frontier
from dataflow_sim.schedule.problem import LayerProblem, Operand
from dataflow_sim.schedule.types import (
    DOUBLE,
    ORDERS,
    SINGLE,
    Buffering,
    LayerTiling,
    MemoryOptions,
    PartialSums,
)
from tests.oracle import loop_nest_oracle as oracle
from tests.oracle import loop_nest_spec as spec_of


@st.composite
def window(draw: st.DrawFn) -> Axis:
    """A sliding window without pooling."""
    kernel, stride, dilation = (draw(st.integers(1, n)) for n in (3, 3, 2))
    reach = (kernel - 1) * dilation + 1
    pad = draw(st.integers(0, min(2, reach - 1)))
    size = draw(st.integers(max(1, reach - 2 * pad), 8))
    body = (size + 2 * pad - reach) // stride + 1
    return Axis(size, body, body, kernel, stride, dilation, pad, 1, 1, 1, 0)


@st.composite
def enlarging_window(draw: st.DrawFn, transposed: bool) -> Axis:
    """A window over a spread input, at any offset, that makes any number of elements."""
    kernel, dilation, up = (draw(st.integers(1, n)) for n in (5, 2, 3))
    pad = draw(st.integers(-1, (kernel - 1) * dilation))
    size, body = draw(st.integers(1, 5)), draw(st.integers(1, 10))
    return Axis(size, body, body, kernel, 1, dilation, pad, 1, 1, 1, 0, up, transposed)


def plane_of(height: Axis, width: Axis) -> Axis:
    """The column axis of a volume whose planes have these two axes."""
    body = height.body_size * width.body_size
    taps = height.kernel * width.kernel
    sizes = (height.input_size * width.input_size, body, body)
    return Axis(*sizes, taps, 1, 1, 0, 1, 1, 1, 0, plane=(height, width))


@st.composite
def plane(draw: st.DrawFn, pooled: bool) -> Axis:
    """Planes of a volume; pooled they are pooled whole."""
    found = plane_of(draw(window()), draw(window()))
    if not pooled:
        return found
    return replace(found, output_size=1, pool_kernel=found.body_size, pool_stride=found.body_size)


@st.composite
def pooling_to(draw: st.DrawFn, pooled: int) -> Axis:
    """A window that pools to so many elements."""
    kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    pad = draw(st.integers(0, kernel // 2))
    least = (pooled - 1) * stride + kernel - 2 * pad
    size = max(1, least + draw(st.integers(0, stride - 1)))
    return Axis(size, pooled, pooled, kernel, stride, 1, pad, 1, 1, 1, 0)


@st.composite
def axis(
    draw: st.DrawFn,
    pooled: bool,
    plain: bool,
    transposed: bool | None = None,
    before: bool = False,
) -> Axis:
    """`transposed` tells whether an enlarging window is one; None where nothing enlarges.

    `before` pools the input on the way in.
    """
    if plain:
        size = draw(st.integers(1, 6))
        return Axis(size, size, size, 1, 1, 1, 0, 1, 1, 1, 0)
    found = draw(window() if transposed is None else enlarging_window(transposed))
    if before:
        found = replace(found, before=draw(pooling_to(found.input_size)))
    if not pooled:
        return found
    body = found.body_size
    pool_kernel, pool_stride = draw(st.integers(1, min(3, body))), draw(st.integers(1, 2))
    pool_pad = draw(st.integers(0, pool_kernel // 2))
    out = (body + 2 * pool_pad - pool_kernel) // pool_stride + 1
    return replace(
        found, output_size=out, pool_kernel=pool_kernel, pool_stride=pool_stride, pool_pad=pool_pad
    )


buffering = st.one_of(
    st.sampled_from([SINGLE, DOUBLE]),
    st.builds(Buffering, st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
# bytes of a memory for partial sums, from none that is of use to more than is ever needed
accumulators = st.sampled_from([None, None, 1, 16, 64, 256, 1024, 1 << 20])
alignments = st.sampled_from([1, 1, 2, 16, 64])


@st.composite
def problems(draw: st.DrawFn) -> LayerProblem:
    kind = draw(st.sampled_from([LayerKind.CONVOLUTION] * 3 + [LayerKind.CHANNELWISE]))
    weighted = kind is LayerKind.CONVOLUTION
    pooled = draw(st.booleans())
    transposed = weighted if draw(st.booleans()) else None
    volume = weighted and transposed is None and draw(st.booleans())
    before = weighted and not volume and draw(st.integers(0, 2)) == 2
    plain = not weighted and not pooled and transposed is None
    groups = draw(st.integers(1, 3)) if weighted else draw(st.integers(1, 5))
    input_channels = draw(st.integers(1, 4)) if weighted else 1
    output_channels = draw(st.integers(1, 4)) if weighted else 1
    operands: tuple[Operand, ...] = ()
    if not pooled:
        per_channel = st.booleans() if plain else st.just(False)
        whole = groups * output_channels
        operands = tuple(
            Operand(width, one, whole, whole * width, whole * width, True)
            for width, one in draw(
                st.lists(st.tuples(st.sampled_from([4, 8]), per_channel), max_size=2)
            )
        )
    bits = draw(st.sampled_from([3, 8]))
    kernel_bits = draw(st.sampled_from([4, 8]))
    return LayerProblem(
        kind=kind,
        batch=draw(st.integers(1, 2)),
        groups=groups,
        output_channels=output_channels,
        input_channels=input_channels,
        rows=draw(axis(pooled, plain, transposed, before)),
        columns=draw(plane(pooled) if volume else axis(pooled, plain, transposed, before)),
        has_kernel=weighted,
        has_pool=pooled,
        input_dram_channels=groups * input_channels,
        input_fetched_bits=groups * input_channels * bits,
        input_read_bits=groups * input_channels * bits,
        input_bits=bits,
        kernel_bits=kernel_bits,
        kernel_local_bits=kernel_bits + draw(st.sampled_from([0, 0, 1, 8])),
        output_bits=draw(st.sampled_from([4, 8])),
        vector_bits=32,
        input_vectors=draw(st.integers(0, 1)),
        output_vectors=draw(st.integers(0, 2)),
        operands=operands,
        memory=MemoryOptions(0, draw(buffering), 32, draw(accumulators), draw(alignments)),
    )


@st.composite
def tilings(draw: st.DrawFn, problem: LayerProblem) -> LayerTiling:
    weighted = problem.kind is LayerKind.CONVOLUTION
    group_tile = draw(st.integers(1, problem.groups))
    split = weighted and group_tile == 1
    m = draw(st.integers(1, problem.output_channels)) if split else problem.output_channels
    k = draw(st.integers(1, problem.input_channels)) if split else problem.input_channels
    sums = PartialSums.NONE
    if k < problem.input_channels:
        sums = draw(st.sampled_from([PartialSums.KEPT, PartialSums.SPILLED]))
    n = draw(st.integers(1, problem.batch))
    r = draw(st.integers(1, problem.rows.output_size))
    c = problem.columns.output_size
    if problem.columns.plane is None:
        c = draw(st.integers(1, c))
    elif not problem.has_pool:
        height, width = problem.columns.plane
        c = draw(st.integers(1, height.body_size)) * width.body_size
    extents = (
        (problem.groups, group_tile),
        (problem.output_channels, m),
        (problem.input_channels, k),
        (problem.batch, n),
        (problem.rows.output_size, r),
        (problem.columns.output_size, c),
    )
    steps = 1
    for extent, tile in extents:
        steps *= -(-extent // tile)
    if sums is not PartialSums.NONE and any(not o.per_channel for o in problem.operands):
        planes = steps // (-(-problem.output_channels // m) * -(-problem.input_channels // k))
        steps += planes * problem.output_channels
    pinned = [0, 0]
    if weighted and problem.groups == 1 and draw(st.booleans()):
        side = draw(st.integers(0, 1))
        most = (problem.output_channels, problem.input_channels)[side]
        pinned[side] = draw(st.integers(1, most))
    order = draw(st.sampled_from(ORDERS))
    return LayerTiling(order, sums, group_tile, m, k, n, r, c, steps, *pinned)


def as_spec(problem: LayerProblem) -> spec_of.LayerSpec:
    rows, columns = problem.rows, problem.columns
    pool = spec_of.PoolSpec(
        (rows.pool_kernel, columns.pool_kernel),
        (rows.pool_stride, columns.pool_stride),
        (rows.pool_pad, columns.pool_pad),
    )
    before = None
    if rows.before is not None and columns.before is not None:
        pools = (rows.before, columns.before)
        before = spec_of.PoolSpec(
            (pools[0].kernel, pools[1].kernel),
            (pools[0].stride, pools[1].stride),
            (pools[0].pad, pools[1].pad),
        )
    return spec_of.LayerSpec(
        n=problem.batch,
        groups=problem.groups,
        m=problem.output_channels,
        k=problem.input_channels,
        input_size=(rows.read_size, columns.read_size),
        kernel=(rows.kernel, columns.kernel),
        stride=(rows.stride, columns.stride),
        dilation=(rows.dilation, columns.dilation),
        pad_begin=(rows.pad, columns.pad),
        body_size=(rows.body_size, columns.body_size),
        output_size=(rows.output_size, columns.output_size),
        has_kernel=problem.has_kernel,
        pool=pool if problem.has_pool else None,
        before=before,
        pooled_size=(rows.input_size, columns.input_size),
        input_vectors=problem.input_vectors,
        output_vectors=problem.output_vectors,
        operands=tuple(spec_of.OperandSpec(o.bits, o.per_channel) for o in problem.operands),
        input_bits=problem.input_bits,
        kernel_bits=problem.kernel_bits,
        kernel_local_bits=problem.kernel_local_bits,
        output_bits=problem.output_bits,
        vector_bits=problem.vector_bits,
        accumulator_bits=problem.memory.accumulator_bits,
        up=(rows.up, columns.up),
        transposed=rows.transposed,
        plane=None if columns.plane is None else as_plane(*columns.plane),
    )


def as_plane(height: Axis, width: Axis) -> spec_of.PlaneSpec:
    return spec_of.PlaneSpec(
        input_size=(height.input_size, width.input_size),
        kernel=(height.kernel, width.kernel),
        stride=(height.stride, width.stride),
        dilation=(height.dilation, width.dilation),
        pad_begin=(height.pad, width.pad),
        body_size=(height.body_size, width.body_size),
    )


def as_chip(memory: MemoryOptions) -> spec_of.OnChip:
    doubled = memory.doubled
    kinds = {
        "inputs": doubled.inputs,
        "weights": doubled.weights,
        "outputs": doubled.outputs,
        "sums": doubled.partial_sums,
    }
    return spec_of.OnChip(
        frozenset(kind for kind, double in kinds.items() if double),
        memory.accumulator_capacity_bytes is not None,
        memory.alignment_bytes,
    )


def fits(problem: LayerProblem, counted: spec_of.NestCounts) -> bool:
    return counted.sums_bytes <= (problem.memory.accumulator_capacity_bytes or 0)


def as_nest(problem: LayerProblem, tiling: LayerTiling) -> spec_of.NestTiling:
    return spec_of.NestTiling(
        order=tiling.order,
        sums=tiling.partial_sums.value,
        group_tile=tiling.group_tile,
        m_tile=tiling.output_channel_tile,
        k_tile=tiling.input_channel_tile,
        n_tile=tiling.batch_tile,
        row_tile=tiling.row_tile,
        col_tile=tiling.column_tile,
        chip=as_chip(problem.memory),
        pinned_m=tiling.pinned_output_channels,
        pinned_k=tiling.pinned_input_channels,
    )


@settings(max_examples=800)
@given(st.data())
def test_every_count_of_any_tiling(data: st.DataObject) -> None:
    problem = data.draw(problems())
    tiling = data.draw(tilings(problem))
    spec, nest = as_spec(problem), as_nest(problem, tiling)
    costs = tiling_costs(problem, tiling)
    if not oracle.legal(spec, nest):
        assert costs is None
        return
    counted = oracle.simulate(spec, nest)
    assert (costs is not None) == fits(problem, counted)
    if costs is None:
        return
    channels_in = problem.groups * problem.input_channels
    assert int(costs.local_bytes[0]) == counted.local_bytes
    assert int(costs.accumulator_bytes[0]) == counted.sums_bytes
    assert int(costs.dram_bits[0]) == counted.dram_bits
    assert int(costs.macs[0]) == counted.macs
    assert int(costs.steps[0]) == counted.steps == tiling.steps
    pinned = tiling.pinned_input_channels
    streamed = int(costs.input_elements[0]) * (channels_in - pinned)
    read = counted.input_first + counted.input_again
    assert streamed + pinned * pinned_plane(problem) == read
    assert int(costs.kernel_elements[0]) == counted.kernel_first + counted.kernel_again
    spilled = counted.sums_written + counted.sums_read
    assert int(costs.partial_sum_bits[0]) == spilled * problem.memory.accumulator_bits
    assert sum(step_bits(problem, tiling)) == counted.step_bits


@st.composite
def tiny_problems(draw: st.DrawFn, enlarging: bool, volume: bool = False) -> LayerProblem:
    """Layers small enough to try every tiling there is, each extent of each axis."""
    kernel = draw(st.sampled_from([1, 2, 3, 4]))
    axes = []
    for _ in range(2):
        up = draw(st.integers(1, 2)) if enlarging else 1
        body = draw(st.integers(1, 3)) * up if enlarging else draw(st.integers(1, 4))
        pad = kernel - 1 - draw(st.integers(0, 1)) if enlarging else kernel // 2
        sizes = (max(1, body // up), body, body)
        axes.append(Axis(*sizes, kernel, 1, 1, pad, 1, 1, 1, 0, up, enlarging))
    if volume:
        stride, pad = draw(st.integers(1, 2)), draw(st.integers(0, kernel // 2))
        body = draw(st.integers(1, 3))
        size = max(1, (body - 1) * stride + kernel - 2 * pad)
        height = Axis(size, body, body, kernel, stride, 1, pad, 1, 1, 1, 0)
        axes[1] = plane_of(height, Axis(2, 2, 2, 3, 1, 1, 1, 1, 1, 1, 0))
    channels = draw(st.integers(1, 3))
    return LayerProblem(
        kind=LayerKind.CONVOLUTION,
        batch=1,
        groups=draw(st.sampled_from([1, 1, 2])),
        output_channels=draw(st.integers(1, 3)),
        input_channels=channels,
        rows=axes[0],
        columns=axes[1],
        has_kernel=True,
        has_pool=False,
        input_dram_channels=channels,
        input_fetched_bits=channels * 8,
        input_read_bits=channels * 8,
        input_bits=8,
        kernel_bits=8,
        kernel_local_bits=draw(st.sampled_from([8, 16])),
        output_bits=8,
        vector_bits=32,
        input_vectors=0,
        output_vectors=1,
        operands=(),
        memory=MemoryOptions(0, draw(buffering), 32, draw(accumulators), draw(alignments)),
    )


def all_points(problem: LayerProblem) -> set[tuple[int, int]]:
    """(local bytes, DRAM bits) of every legal tiling, every tile extent, counted one by one.

    With an alignment channels are pinned only where that saves fetches: in a unit that they fill
    in part they may take less than two slots of a tile do, which the search does not try.
    """
    spec = as_spec(problem)
    points = set()
    plain: dict[LayerTiling, int] = {}  # DRAM bits where nothing is pinned
    pins = [(0, 0)]
    if problem.groups == 1:
        pins += [(count, 0) for count in range(1, problem.output_channels + 1)]
        pins += [(0, count) for count in range(1, problem.input_channels + 1)]
    line = 1 if problem.columns.plane is None else problem.columns.plane[1].body_size
    extents = (
        problem.groups,
        problem.output_channels,
        problem.input_channels,
        problem.rows.output_size,
    )
    columns = range(line, problem.columns.output_size + 1, line)
    tiles = product(*(range(1, extent + 1) for extent in extents), columns)
    for (group, m, k, r, c), order, sums, pinned in product(tiles, ORDERS, PartialSums, pins):
        tiling = LayerTiling(order, sums, group, m, k, 1, r, c, 0, *pinned)
        if sums is PartialSums.SPILLED and any(pinned):
            continue
        nest = as_nest(problem, tiling)
        if oracle.legal(spec, nest):
            counted = oracle.simulate(spec, nest)
            rest = replace(tiling, pinned_output_channels=0, pinned_input_channels=0)
            if not any(pinned):
                plain[rest] = counted.dram_bits
            saves = problem.memory.alignment_bytes == 1 or counted.dram_bits < plain[rest]
            if fits(problem, counted) and (saves or not any(pinned)):
                points.add((counted.local_bytes, counted.dram_bits))
    return points


@settings(max_examples=24)
@given(st.one_of(tiny_problems(False), tiny_problems(True), tiny_problems(False, volume=True)))
@pytest.mark.slow
def test_the_frontier_is_that_of_every_tiling(problem: LayerProblem) -> None:
    if problem.groups > 1:
        channels = problem.groups * problem.input_channels
        problem = LayerProblem(
            **{
                **{name: getattr(problem, name) for name in LayerProblem.__slots__},
                "input_dram_channels": channels,
                "input_fetched_bits": channels * 8,
                "input_read_bits": channels * 8,
            }
        )
    points = sorted(all_points(problem))
    best: list[tuple[int, int]] = []
    for local, bits in points:
        if not best or bits < best[-1][1]:
            best.append((local, bits))
    frontier = layer_frontier(problem)
    found = list(zip(frontier.local_bytes.tolist(), frontier.dram_bits.tolist(), strict=True))
    assert found == best
    for local, bits in best:
        choice = frontier.best(local)
        assert choice is not None
        assert (choice.dram_bits, choice.local_bytes <= local) == (bits, True)
    assert frontier.best(best[0][0] - 1) is None
