"""What tilings move, given one by one: the closed form of some tilings at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dataflow_sim.schedule.closed_form import Costs, TileArrays, evaluate
from dataflow_sim.schedule.plane_tiles import given_plane_tiles
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.types import LayerTiling, PartialSums


class Amounts(NamedTuple):
    """What one tiling reads of each operand, as `closed_form.Costs` has it, and what its steps do.

    `step_read_bits` and `step_write_bits` are what all steps read from and write to local memory.
    """

    input_elements: int
    kernel_elements: int
    input_vector_passes: int
    output_vector_passes: int
    partial_sum_bits: int
    accumulator_bytes: int
    macs: int
    step_read_bits: int
    step_write_bits: int


def tile_arrays(problem: LayerProblem, *tilings: LayerTiling) -> TileArrays:
    """Tilings of one order as arrays of as many elements."""
    tiles = [(tiling.batch_tile, tiling.row_tile, tiling.column_tile) for tiling in tilings]
    return TileArrays(
        group=np.array([tiling.group_tile for tiling in tilings]),
        output_channels=np.array([tiling.output_channel_tile for tiling in tilings]),
        input_channels=np.array([tiling.input_channel_tile for tiling in tilings]),
        plane=given_plane_tiles(problem.batch, problem.rows, problem.columns, tiles),
        pinned_outputs=np.array([tiling.pinned_output_channels for tiling in tilings]),
        pinned_inputs=np.array([tiling.pinned_input_channels for tiling in tilings]),
    )


def tiling_costs(problem: LayerProblem, tiling: LayerTiling) -> Costs | None:
    """Closed-form costs of one tiling, as arrays of one element; None if it is not legal."""
    tiles = tile_arrays(problem, tiling)
    costs, legal = evaluate(problem, tiling.order, tiling.partial_sums, tiles)
    return costs if legal.all() else None


def tiling_amounts(problem: LayerProblem, tilings: Sequence[LayerTiling]) -> list[Amounts]:
    """The amounts of each of some legal tilings."""
    nests: dict[tuple[str, PartialSums], list[int]] = {}
    for place, tiling in enumerate(tilings):
        nests.setdefault((tiling.order, tiling.partial_sums), []).append(place)
    found: dict[int, Amounts] = {}
    for (order, sums), places in nests.items():
        mine = [tilings[place] for place in places]
        tiles = tile_arrays(problem, *mine)
        costs, legal = evaluate(problem, order, sums, tiles)
        assert legal.all(), f"{problem}: the search chose an illegal tiling"
        columns = [getattr(costs, name) for name in Amounts._fields[:-2]]
        columns = [np.broadcast_to(column, legal.shape).tolist() for column in columns]
        steps = _step_bits(problem, mine, tiles)
        for place, step, *amounts in zip(places, steps, *columns, strict=True):
            found[place] = Amounts(*amounts, *step)
    return [found[place] for place in range(len(tilings))]


def step_bits(problem: LayerProblem, tiling: LayerTiling) -> tuple[int, int]:
    """Bits that all steps of one tiling read from and write to local memory."""
    (bits,) = _step_bits(problem, [tiling], tile_arrays(problem, tiling))
    return bits


def _step_bits(
    problem: LayerProblem, tilings: Sequence[LayerTiling], tiles: TileArrays
) -> list[tuple[int, int]]:
    """Bits that all steps of each tiling read from and write to local memory.

    Every step reads its input tile, kernel tile and constants once; unfinished sums are
    written after each but the last step of a reduction and read before each but the
    first; a finished tile's operands are read and its result written once.  What lies in an
    accumulator memory, results that leave through it among it, is not counted.
    """
    plane = tiles.plane
    trips_m = -(-problem.output_channels // tiles.output_channels)
    trips_k = -(-problem.input_channels // tiles.input_channels)
    trips_p = plane.trips
    channels_in = problem.groups * problem.input_channels
    channels_out = problem.groups * problem.output_channels
    bits = trips_m * plane.input_sum * problem.input_read_bits
    if problem.has_kernel:
        kernel = channels_out * problem.input_channels * problem.kernel_area
        bits = bits + trips_p * kernel * problem.kernel_local_bits
    bits += trips_m * trips_p * problem.input_vectors * channels_in * problem.vector_bits
    bits += trips_p * problem.output_vectors * channels_out * problem.vector_bits
    spatial_trips = trips_p // -(-problem.batch // plane.batch)
    for operand in problem.operands:
        area = problem.rows.body_size * problem.columns.body_size
        reads = spatial_trips if operand.per_channel else area
        bits = bits + problem.batch * reads * operand.read_bits
    if not problem.sums_apart:
        splits = trips_k - 1
        if problem.finishes_by_channel:
            splits = splits + (splits > 0)  # the steps that finish sums read them once more
        unfinished = splits * channels_out * plane.body_sum * problem.memory.accumulator_bits
    else:
        unfinished = np.zeros((), np.int64)
    result = result_bits(problem)
    reads, sums = np.broadcast_arrays(bits + unfinished, unfinished)
    return [
        (read, written + (0 if leaves_from_accumulators(problem, tiling) else result))
        for read, written, tiling in zip(reads.tolist(), sums.tolist(), tilings, strict=True)
    ]


def leaves_from_accumulators(problem: LayerProblem, tiling: LayerTiling) -> bool:
    """Whether results go to DRAM from an accumulator memory, past local memory."""
    split = tiling.partial_sums is not PartialSums.NONE
    return split and problem.sums_apart and not problem.output_resident


def result_bits(problem: LayerProblem) -> int:
    """Bits of a layer's output."""
    area = problem.rows.output_size * problem.columns.output_size
    channels = problem.groups * problem.output_channels
    return problem.batch * channels * area * problem.output_bits
