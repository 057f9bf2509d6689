"""What the best tiling of every other loop nest would cost.

A nest is told apart by its loops of more than one trip and by the place of its partial sums.
Its best tiling is that with the fewest DRAM bits among all that fit: those of the search, without
pinned channels, and with channels of the kernel or of the input pinned where that saves fetches,
in the numbers that the search allows (`pinning.pinned_counts`).  As in the search, several images
share a tile only when the plane is whole.

Exact for that space.  A tiling is expanded only if it could undercut the nest's best so far:

    least bits = bits - saved by a channel * channels that fit beside its other buffers

Those that promise most go first, and the rest is left out once none of them promises less than
what is found.  What is expanded is costed by the closed form like any other tiling.  Of those that
are costed and move the same bits, fewest fetches of the kernel go first, then partial sums, MACs,
steps and local bytes; pinned channels only replace what moves more.

The nests of a sweep are told apart by their loops alone: running sums wait in local memory.  All
tilings of its frontier are costed; of the same bits fewest steps go first, then local bytes.

Source: the reuse analysis of `schedule.closed_form`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.results_of_explanation import Alternative
from dataflow_sim.schedule.closed_form import evaluate
from dataflow_sim.schedule.explanation import (
    THROUGH_DRAM,
    Whereabouts,
    moved_bytes,
    schedule_alone,
)
from dataflow_sim.schedule.frontier import Block, Choice, blocks, choice_at
from dataflow_sim.schedule.nest import nest_loops, nest_name, stationary
from dataflow_sim.schedule.pinning import Side, sides
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.sweep import SweepProblem
from dataflow_sim.schedule.sweep import evaluate as sweep_costs
from dataflow_sim.schedule.sweep_frontier import sweep_tilings
from dataflow_sim.schedule.sweep_nest import (
    sweep_loops,
    sweep_nest_name,
    sweep_stationary,
    sweep_tiling,
)
from dataflow_sim.schedule.sweep_steps import step_rows
from dataflow_sim.schedule.types import LayerSchedule, LayerTiling, MemoryOptions

Ints = npt.NDArray[np.int64]
Rank = tuple[int, ...]
_EXPANDED = 256  # tilings that are expanded together
_NO_LIMIT = int(np.iinfo(np.int64).max)


def _nests(problem: LayerProblem, block: Block) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """The nests of a block as the loops of several trips, and which tilings have each."""
    tiles = block.tiles
    several = {
        "G": problem.groups > tiles.group,
        "M": problem.output_channels > tiles.output_channels,
        "K": problem.input_channels > tiles.input_channels,
        "P": tiles.plane.trips > 1,
    }
    loops = f"G{block.order}"
    code = sum(np.asarray(several[loop]) * (1 << place) for place, loop in enumerate(loops))
    codes = np.broadcast_to(code, block.legal.shape)
    for value in np.unique(codes).tolist():
        name = "".join(loop for place, loop in enumerate(loops) if value >> place & 1)
        yield name, codes == value


def _best(block: Block, places: Ints) -> tuple[Rank, int]:
    """The costs that the search orders tilings by, of the best at these places, and its place."""
    costs = block.costs
    keys = (
        *(costs.dram_bits, costs.kernel_elements, costs.partial_sum_bits),
        *(costs.macs, costs.steps, costs.local_bytes),
    )
    rank: list[int] = []
    for key in keys:
        values = key.ravel()[places]
        rank.append(int(values.min()))
        places = places[values == rank[-1]]
    return tuple(rank), int(places[0])


def _expanded(
    problem: LayerProblem, block: Block, side: Side, places: Ints, capacity_bytes: int, limit: int
) -> tuple[Rank, Choice] | None:
    """The best tiling with channels of one tensor pinned that fits, if below `limit` bits.

    `places` are the tilings of the block to choose from, counted as if its arrays were flat.
    """
    costs, shape = block.costs, block.legal.shape

    def at(values: Ints) -> Ints:
        return np.asarray(np.broadcast_to(values, shape).ravel()[places], np.int64)

    saved = at(side.saved_bits(costs))
    room = capacity_bytes - at(costs.local_bytes) + at(side.tile_bytes(costs))
    channel_bits = max(1, side.elements * side.local_bits)
    most = np.clip(problem.memory.byte_bits * room // channel_bits, 0, side.channels)
    least_bits = at(costs.dram_bits) - most * saved
    useful = np.flatnonzero((saved > 0) & (most > 0) & (least_bits < limit))
    order = useful[np.lexsort((at(costs.steps)[useful], least_bits[useful]))]
    best: tuple[Rank, Choice] | None = None
    for first in range(0, len(order), _EXPANDED):
        some = order[first : first + _EXPANDED]
        if least_bits[some[0]] >= limit:
            break
        which, count = (a.ravel() for a in np.meshgrid(some, side.counts, indexing="ij"))
        inside = count <= most[which]
        tiles = side.pin(block.tiles, shape, places[which[inside]], count[inside])
        there, legal = evaluate(problem, block.order, block.sums, tiles)
        fitting = np.flatnonzero(legal & (there.local_bytes <= capacity_bytes))
        if len(fitting):
            pinned = Block(block.order, block.sums, tiles, there, legal)
            rank, place = _best(pinned, fitting)
            if rank[0] < limit:
                limit, best = rank[0], (rank, choice_at(pinned, place))
    return best


def best_of_each_nest(problem: LayerProblem, capacity_bytes: int) -> tuple[Choice, ...]:
    """The best tiling of each nest and place of partial sums that fits, fewest bits first.

    With pinned channels where that saves fetches; nothing else in a nest moves fewer bits.
    """
    best: dict[tuple[str, str], tuple[Rank, Choice]] = {}
    for block in blocks(problem, coarse=True):
        fits = block.legal & (block.costs.local_bytes <= capacity_bytes)
        which = sides(problem, block.sums, block.tiles)
        for name, here in _nests(problem, block):
            key = (name, block.sums.value)
            places = np.flatnonzero(fits & here)
            if len(places):
                rank, place = _best(block, places)
                if key not in best or rank < best[key][0]:
                    best[key] = (rank, choice_at(block, place))
            places = np.flatnonzero(block.legal & here)
            for side in which:
                limit = best[key][0][0] if key in best else _NO_LIMIT
                pinned = _expanded(problem, block, side, places, capacity_bytes, limit)
                if pinned is not None:
                    best[key] = pinned
    found = sorted(best.items(), key=lambda item: (item[1][0], item[0]))
    return tuple(choice for _, (_, choice) in found)


def best_of_each_sweep(problem: SweepProblem, capacity_bytes: int) -> tuple[Choice, ...]:
    """The best tiling of each nest of a sweep that fits, fewest bits first, then fewest steps."""
    sweep = problem.sweep
    best: dict[tuple[str, ...], tuple[Rank, Choice]] = {}
    for order, tiles in sweep_tilings(problem):
        costs = sweep_costs(problem, order, tiles)
        shape = costs.local_bytes.shape
        sizes = (tiles.batch, tiles.groups, tiles.rows, tiles.columns)
        taken = (*sizes[:2], np.asarray(step_rows(sweep, tiles.rows)), tiles.columns)
        extents = (sweep.batch, sweep.groups, sweep.rows, sweep.columns)
        several = [size < extent for size, extent in zip(taken, extents, strict=True)]
        code = sum(np.asarray(each) * (1 << place) for place, each in enumerate(several))
        codes = np.broadcast_to(code, shape)
        fits = costs.local_bytes <= capacity_bytes
        for value in np.unique(codes[fits]).tolist():
            places = np.flatnonzero(fits & (codes == value))
            keys = [each.ravel()[places] for each in (costs.dram_bits, costs.steps)]
            local = costs.local_bytes.ravel()[places]
            first = np.lexsort((local, *keys[::-1]))[0]
            rank = (*(int(key[first]) for key in keys), int(local[first]))
            at = [int(np.broadcast_to(size, shape).flat[places[first]]) for size in sizes]
            tiling = sweep_tiling(sweep, order, (at[0], at[1], at[2], at[3]))
            nest = sweep_nest_name(sweep_loops(problem, tiling))
            if nest not in best or rank < best[nest][0]:
                best[nest] = (rank, Choice(tiling, rank[2], rank[0]))
    found = sorted(best.items(), key=lambda item: (item[1][0], item[0]))
    return tuple(choice for _, (_, choice) in found)


def _named(
    problem: LayerProblem | SweepProblem, tiling: LayerTiling
) -> tuple[tuple[str, ...], str]:
    """The nest of a tiling, and what its innermost loop leaves in place."""
    if isinstance(problem, SweepProblem):
        nest = sweep_nest_name(sweep_loops(problem, tiling))
        return nest, sweep_stationary(problem, nest)
    nest = nest_name(nest_loops(problem, tiling))
    return nest, stationary(problem, nest)


def alternatives(
    graph: NetworkGraph,
    index: int,
    problem: LayerProblem | SweepProblem,
    chosen: LayerSchedule,
    memory: MemoryOptions,
    maps: Whereabouts = THROUGH_DRAM,
) -> tuple[Alternative, ...]:
    """What the best tilings of all other nests would cost that fit, fewest bytes first."""
    tiling, moved = chosen.tiling, moved_bytes(chosen, graph.byte_bits)
    assert isinstance(tiling, LayerTiling)
    own = (_named(problem, tiling)[0], tiling.partial_sums)
    if isinstance(problem, SweepProblem):
        choices = best_of_each_sweep(problem, memory.capacity_bytes)
    else:
        choices = best_of_each_nest(problem, memory.capacity_bytes)
    found = []
    for choice in choices:
        nest, stays = _named(problem, choice.tiling)
        if (nest, choice.tiling.partial_sums) == own:
            continue
        there = moved_bytes(
            schedule_alone(graph, index, choice.tiling, memory, maps), graph.byte_bits
        )
        found.append(
            Alternative(
                nest=nest,
                stationary=stays,
                partial_sums=choice.tiling.partial_sums.value,
                tiling=asdict(choice.tiling),
                local_bytes=choice.local_bytes,
                dram_bytes=there,
                more_share=there / moved - 1 if moved else 0.0,
            )
        )
    # fewer bits may be a byte more, since each tensor rounds up by itself
    return tuple(sorted(found, key=lambda each: each.dram_bytes))
