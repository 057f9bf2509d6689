"""What a tiling costs: local bytes, DRAM bits, MACs and steps, as numpy expressions.

Model.  A layer is the loop nest drawn in `schedule.types`.  With T_M, T_K, T_P trips of
its three loops, a tensor that is indexed by some of the loops is fetched whole once for
every iteration of the loops that do *not* index it and stand outside the innermost loop
that does and makes more than one trip; its last tile stays otherwise:

              indexed by     fetched whole ... times (order P M K, all trips > 1)
    input     K, P           T_M   (M stands outside K)
    weights   M, K           T_P
    output    M, P           1     (K is innermost: sums are finished tile by tile)

Constants per output channel and further operands are fetched only in the last iteration of
K, where the results appear; an operand as large as the output channel by channel, if the
reduction is split, since its tile would take as much room as the sums do.  Partial sums:
with K innermost one tile of them is live.  Otherwise all output tiles enclosed by K are
unfinished at a time; they are kept (memory) or spilled: written after each but the last
iteration of K, read back before each but the first (T_K − 1 times either way).

Local memory is the sum of the buffers: input tile, weight tile, constants, output tile
or partial sums, operands; a tile that is streamed (moved more than once) takes two
buffers when the hardware buffers its kind doubly.  Finished results leave through the buffer
of their partial sums, which therefore replaces the output's.  A buffer that serves two kinds
(sums that results leave through, an input that the output overwrites, an operand that waits
where the output will be) is doubled where either of them is: the transfer of each may then
go on beside the next step.

Every slot takes whole units of the alignment of local memory, a ring of rows as one; so that
addresses, one buffer behind the other, are multiples of it.

Partial sums may have a memory of their own.  Their buffer then takes nothing of local memory
and must fit there, both slots of it; a tiling whose sums do not fit is not legal.  Kernels may
be wider in local memory than in DRAM: fetches count the one width, buffers the other.

Pinned channels.  Left-over memory may hold, for the whole layer, all of the kernel of the
first output channels, or the whole plane of the first input channels: fetched once, before the
first step.  The rest streams as above, as though there were no other channels: a tile whose
channels are all pinned makes no trip, and buffers hold what is left of a tile.  Either at least
two tiles of channels still stream, or the whole tensor is pinned.  What pinning
saves is proportional to its bytes, times the passes less one, so that the tensor that is
fetched most often gains most.

Within P the row tiles of one column of tiles follow one another, and their common rows stay
(`footprints`), where nothing changes the input's channels between them: K is not split, or
stands outside P.

Assumed: the column halo is read again, loop bodies in order.  Ignored: sharing of a tile
between iterations that run back to back in opposite directions.

Source: the reuse analysis of loop nests, e.g. Yang et al., "A systematic approach to
blocking convolutional neural networks", arXiv:1606.04209.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dataflow_sim.schedule.footprints import elements_read
from dataflow_sim.schedule.plane_tiles import PlaneTiles
from dataflow_sim.schedule.problem import LayerProblem, Operand
from dataflow_sim.schedule.types import PartialSums, bytes_taken

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def _none() -> Ints:
    return np.zeros((), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class TileArrays:
    """Tilings of one problem under one order, as arrays that broadcast against each other.

    `group` and the channel tiles are in elements of their axes; `plane` holds the
    spatial choices; `pinned_outputs` output channels have their kernel pinned,
    `pinned_inputs` input channels their plane.  The axes of the broadcast are (group or M,
    K, P).
    """

    group: Ints
    output_channels: Ints
    input_channels: Ints
    plane: PlaneTiles
    pinned_outputs: Ints = field(default_factory=_none)
    pinned_inputs: Ints = field(default_factory=_none)


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Closed-form costs of tilings, arrays of one broadcast shape; traffic in bits.

    `input_elements` are those read of each channel that is not pinned, halos included,
    `kernel_elements` all that are fetched; passes count how often a whole tensor is read.
    `input_bytes` and `kernel_bytes` are those of the buffers of their tiles,
    `accumulator_bytes` what partial sums take of a memory of their own.
    """

    local_bytes: Ints
    input_bytes: Ints
    kernel_bytes: Ints
    accumulator_bytes: Ints
    dram_bits: Ints
    macs: Ints
    steps: Ints
    input_elements: Ints
    kernel_elements: Ints
    input_vector_passes: Ints
    output_vector_passes: Ints
    partial_sum_bits: Ints


class _Nest:
    """Trip counts of the loops and what follows from their order."""

    def __init__(self, order: str, trips: dict[str, Ints]) -> None:
        self.order = order
        self.trips = trips

    def without(self, loop: str, tile: Ints, pinned: Ints, channels: int) -> _Nest:
        """The nest as the tiles of a tensor see it whose first channels are pinned."""
        left = np.where(pinned < channels, self.trips[loop] - pinned // tile, 0)
        return _Nest(self.order, {**self.trips, loop: left})

    def passes(self, indexed_by: str, loops: str = "MKP") -> Ints:
        """How often a tensor is fetched whole, given the loops that index it."""
        nest = [loop for loop in self.order if loop in loops]
        total = np.ones((), np.int64)
        for position, loop in enumerate(nest):
            if loop in indexed_by:
                continue
            inner = [self.trips[name] for name in nest[position + 1 :] if name in indexed_by]
            reloads = np.zeros((), bool)
            for count in inner:
                reloads = reloads | (count > 1)
            total = total * np.where(reloads, self.trips[loop], 1)
        return total

    def rows_roll(self) -> Bools:
        """Whether the input's tiles follow one another row by row."""
        return np.asarray((self.trips["K"] <= 1) | self.inside("P", "K"), bool)

    def inside(self, loop: str, other: str) -> bool:
        """Whether `loop` stands inside `other`."""
        return self.order.index(loop) > self.order.index(other)


def _trips(problem: LayerProblem, tiles: TileArrays) -> dict[str, Ints]:
    return {
        "M": -(-problem.output_channels // tiles.output_channels),
        "K": -(-problem.input_channels // tiles.input_channels),
        "P": tiles.plane.trips,
    }


def _sums_extent(
    problem: LayerProblem, tiles: TileArrays, nest: _Nest, kept: bool
) -> tuple[Ints, Ints]:
    """(partial sums live at a time, how often their buffer changes hands, per group tile)."""
    channels, area = tiles.output_channels, tiles.plane.body_largest
    changes = np.ones((), np.int64)
    if kept and nest.inside("M", "K"):
        channels = np.full(1, problem.output_channels, np.int64)
    else:
        changes = changes * nest.trips["M"]
    if kept and nest.inside("P", "K"):
        whole_body = problem.batch * problem.rows.body_size * problem.columns.body_size
        area = np.full(1, whole_body, np.int64)
    else:
        changes = changes * nest.trips["P"]
    return channels * area, changes


def evaluate(
    problem: LayerProblem, order: str, sums: PartialSums, tiles: TileArrays
) -> tuple[Costs, Bools]:
    """Costs of all tilings of one order, and which of them are legal (boolean array).

    `sums` NONE is legal where the reduction is not split, KEPT and SPILLED where it is and
    results find room where the sums were; SPILLED only where K encloses more than one output
    tile; tiles that recompute the body for overlapping pooling windows keep K inside P; partial
    sums with a memory of their own fit it.
    """
    nest = _Nest(order, _trips(problem, tiles))
    group_trips = -(-problem.groups // tiles.group)
    source = _nest_of_input(problem, tiles, nest)
    a_pass = np.where(source.rows_roll(), tiles.plane.input_rolled, tiles.plane.input_sum)
    input_elements = source.passes("KP") * a_pass
    channel = problem.groups * problem.input_channels * problem.kernel_area * problem.fetches_kernel
    kernel_passes = _nest_of_kernel(problem, tiles, nest).passes("MK")
    streamed = problem.output_channels - tiles.pinned_outputs
    kernel_elements = (kernel_passes * streamed + tiles.pinned_outputs) * channel
    pinned_bits = tiles.pinned_inputs * pinned_plane(problem) * problem.input_dram_bits
    input_vector_passes = nest.passes("K")
    output_vector_passes = nest.passes("M", loops="MP")
    all_sums = problem.groups * problem.output_channels * tiles.plane.body_sum
    spills = (nest.trips["K"] - 1) * all_sums * problem.memory.accumulator_bits
    partial_sum_bits = 2 * spills * (1 if sums is PartialSums.SPILLED else 0)
    channels_in = problem.groups * problem.input_channels
    channels_out = problem.groups * problem.output_channels
    dram_bits = (
        input_elements
        * (problem.input_fetched_bits - tiles.pinned_inputs * problem.input_dram_bits)
        + pinned_bits
        + kernel_elements * problem.kernel_bits
        + input_vector_passes * problem.fetched_input_vectors * channels_in * problem.vector_bits
        + output_vector_passes * problem.fetched_output_vectors * channels_out * problem.vector_bits
        + _output_elements(problem) * problem.output_dram_bits * problem.output_stored
        + partial_sum_bits
        + sum(_operand_area(problem, o) * o.fetched_bits for o in problem.operands)
    )
    buffers = _buffers(problem, sums, tiles, nest)
    apart = np.zeros((), np.int64)
    if problem.sums_apart:
        apart = buffers.pop("partial sums", apart)
    local_bytes = np.asarray(sum(buffers.values()), np.int64)
    macs = channels_out * problem.input_channels * tiles.plane.multiplications * problem.has_kernel
    steps = group_trips * nest.trips["M"] * nest.trips["K"] * nest.trips["P"]
    if sums is not PartialSums.NONE and problem.finishes_by_channel:
        steps = steps + problem.groups * problem.output_channels * nest.trips["P"]
    arrays = [
        np.asarray(each, np.int64)
        for each in (
            local_bytes,
            buffers.get("input", 0),
            buffers.get("kernel", 0),
            apart,
            dram_bits,
            macs,
            steps,
            input_elements,
            kernel_elements,
            input_vector_passes,
            output_vector_passes,
            partial_sum_bits,
        )
    ]
    shape = np.broadcast_shapes(local_bytes.shape, apart.shape, dram_bits.shape, steps.shape)
    costs = Costs(*(a if a.shape == shape else np.broadcast_to(a, shape) for a in arrays))
    fits = apart <= (problem.memory.accumulator_capacity_bytes or 0)
    legal = _legal(problem, sums, nest) & _may_pin(problem, tiles, nest) & fits
    return costs, np.broadcast_to(legal, shape)


def _may_pin(problem: LayerProblem, tiles: TileArrays, nest: _Nest) -> Bools:
    """Where nothing is pinned, all of a tensor, or at least two tiles of it are left."""
    kernel = _nest_of_kernel(problem, tiles, nest).trips["M"]
    source = _nest_of_input(problem, tiles, nest).trips["K"]
    return np.asarray(
        ((tiles.pinned_outputs == 0) | (kernel != 1))
        & ((tiles.pinned_inputs == 0) | (source != 1)),
        bool,
    )


def _legal(problem: LayerProblem, sums: PartialSums, nest: _Nest) -> Bools:
    """Which tilings may hold their partial sums this way."""
    split = nest.trips["K"] > 1
    if sums is PartialSums.NONE:
        return ~split
    split = split & problem.sums_hold_results
    if sums is PartialSums.KEPT:
        # tiles that recompute a pooled body cannot share one region of sums
        overlapping = problem.has_pool and nest.inside("P", "K")
        return split & (nest.trips["P"] == 1 if overlapping else True)
    enclosed = np.ones((), np.int64)
    for loop in "MP":
        if nest.inside(loop, "K"):
            enclosed = enclosed * nest.trips[loop]
    return split & (enclosed > 1) & (not problem.has_pool)


def _nest_of_input(problem: LayerProblem, tiles: TileArrays, nest: _Nest) -> _Nest:
    return nest.without("K", tiles.input_channels, tiles.pinned_inputs, problem.input_channels)


def _nest_of_kernel(problem: LayerProblem, tiles: TileArrays, nest: _Nest) -> _Nest:
    return nest.without("M", tiles.output_channels, tiles.pinned_outputs, problem.output_channels)


def open_channels(tile: Ints, pinned: Ints, channels: int) -> Ints:
    """The most channels of a tile that are not pinned: of the first one with any, or the next."""
    border = (pinned // tile + 1) * tile
    left = np.minimum(border, channels) - pinned
    return np.asarray(np.maximum(left, np.minimum(tile, channels - border)), np.int64)


def pinned_plane(problem: LayerProblem) -> int:
    """Elements of a pinned input channel: what a single tile of the whole plane reads."""
    return problem.batch * elements_read(problem.rows) * elements_read(problem.columns)


def _output_elements(problem: LayerProblem) -> int:
    channels = problem.batch * problem.groups * problem.output_channels
    return channels * problem.rows.output_size * problem.columns.output_size


def _operand_area(problem: LayerProblem, operand: Operand) -> int:
    """Elements of one channel of an operand."""
    if operand.per_channel:
        return problem.batch
    return problem.batch * problem.rows.body_size * problem.columns.body_size


def _two_tiles(plane: PlaneTiles, moves: Ints) -> Ints:
    """Elements of a channel in a ring of two tiles: one pass over the plane, or several."""
    return np.where(moves > plane.trips, plane.two_again, plane.two_once)


def rows_roll(problem: LayerProblem, order: str, tiles: TileArrays) -> Bools:
    """Whether rows that the tile above read stay, where the two have rows in common."""
    return _Nest(order, _trips(problem, tiles)).rows_roll()


def buffer_bytes(
    problem: LayerProblem, order: str, sums: PartialSums, tiles: TileArrays
) -> dict[str, Ints]:
    """Bytes that every buffer of these tilings takes by what it holds, each rounded up by itself.

    Partial sums are among them, whichever memory they lie in.
    """
    return _buffers(problem, sums, tiles, _Nest(order, _trips(problem, tiles)))


def _buffers(
    problem: LayerProblem, sums: PartialSums, tiles: TileArrays, nest: _Nest
) -> dict[str, Ints]:
    plane, trips = tiles.plane, nest.trips
    doubled, taken = problem.memory.doubled, problem.memory.bytes_taken
    group_trips = -(-problem.groups // tiles.group)

    def slots(double: bool, moves: Ints) -> Ints:
        return np.where(moves > 1, 2, 1) if double else np.ones((), np.int64)

    channels_in = tiles.group * tiles.input_channels
    channels_out = tiles.group * tiles.output_channels
    source = _nest_of_input(problem, tiles, nest)
    input_moves = group_trips * source.trips["K"] * trips["P"] * source.passes("KP")
    output_moves = group_trips * trips["M"] * trips["P"]
    found: dict[str, Ints] = {}
    if problem.input_dram_channels and not (problem.input_in_place and problem.output_resident):
        left = open_channels(tiles.input_channels, tiles.pinned_inputs, problem.input_channels)
        fetched = np.minimum(tiles.group * left, problem.input_dram_channels)
        one = taken(fetched * plane.input_largest * problem.input_bits)
        if problem.input_doubled:
            ring = taken(fetched * _two_tiles(plane, input_moves) * problem.input_bits)
            two = np.where(source.rows_roll() & plane.common, ring, 2 * one)
            one = np.where(input_moves > 1, two, one)
        found["input"] = one
        pinned = tiles.pinned_inputs * pinned_plane(problem)
        found["pinned input"] = taken(pinned * problem.input_bits)
    if problem.fetches_kernel:
        weights = _nest_of_kernel(problem, tiles, nest)
        left = open_channels(tiles.output_channels, tiles.pinned_outputs, problem.output_channels)
        kernel = tiles.group * left * tiles.input_channels * problem.kernel_area
        moves = group_trips * weights.trips["M"] * trips["K"] * weights.passes("MK")
        size = taken(kernel * problem.kernel_local_bits)
        found["kernel"] = size * slots(doubled.weights, moves)
        pinned = tiles.pinned_outputs * problem.input_channels * problem.kernel_area
        found["pinned kernel"] = taken(pinned * problem.kernel_local_bits)
    if problem.fetched_input_vectors:
        moves = group_trips * trips["K"] * nest.passes("K")
        size = taken(problem.input_vectors * channels_in * problem.vector_bits)
        found["input vectors"] = size * slots(doubled.weights, moves)
    if problem.fetched_output_vectors:
        moves = group_trips * trips["M"] * nest.passes("M", loops="MP")
        size = taken(problem.output_vectors * channels_out * problem.vector_bits)
        found["output vectors"] = size * slots(doubled.weights, moves)
    if sums is not PartialSums.NONE:
        kept = sums is PartialSums.KEPT
        extent, changes = _sums_extent(problem, tiles, nest, kept)
        if not kept:
            changes = changes * trips["K"]
        bits = tiles.group * extent * problem.memory.accumulator_bits
        apart = problem.sums_apart
        size = bytes_taken(bits, 1, problem.memory.byte_bits) if apart else taken(bits)
        found["partial sums"] = size * slots(problem.sums_doubled, group_trips * changes)
    elif not (problem.input_in_place or problem.output_resident):
        size = taken(channels_out * plane.output_largest * problem.output_bits)
        found["output"] = size * slots(problem.output_doubled, output_moves)
    for index, operand in enumerate(problem.operands):
        in_place = sums is PartialSums.NONE and problem.operand_in_place(index)
        if in_place or not operand.dram_channels:
            continue
        if operand.per_channel:
            area, parts, fetched = plane.batch, -(-problem.batch // plane.batch), channels_out
        else:
            area, parts, fetched = plane.output_largest, trips["M"] * trips["P"], channels_out
            if sums is not PartialSums.NONE:
                parts, fetched = problem.output_channels * trips["P"], np.ones((), np.int64)
        moves = group_trips * parts
        size = taken(np.minimum(fetched, operand.dram_channels) * area * operand.bits)
        found[f"operand {index}"] = size * slots(doubled.inputs, moves)
    return found
