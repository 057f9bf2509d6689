"""All tilings of one layer at once: its frontier, and the best one within a budget.

Every distinct trip count of every loop is enumerated (`tile_sizes`), under every loop
order and place of the partial sums, as numpy arrays.  The frontier is the Pareto set of
(local bytes, DRAM bits): the whole budget curve of the layer.  Of tilings with equal DRAM
bits the one with the fewest kernel fetches is taken, then fewest partial sums spilled,
MACs, steps and local bytes; that, too, is a step function of the budget, and the
*ladder* holds all of its steps.

A layer with a resident map does not split its reduction: with its input in local memory it
is at its floor already, and partial sums would only take room.

Left out by dominance, never for speed alone: tile sizes that need more memory for the
same trip count, and spatial tiles dominated in all five of their costs
(`footprints.plane_tiles`); `tests/oracle` holds the undiminished search.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dataflow_sim.schedule.closed_form import Costs, TileArrays, evaluate
from dataflow_sim.schedule.footprints import PlaneTiles, plane_tiles, tile_sizes
from dataflow_sim.schedule.problem import LayerProblem, StreamProblem, splits_channels
from dataflow_sim.schedule.types import ORDERS, LayerTiling, PartialSums

Ints = npt.NDArray[np.int64]
_CHUNK_ELEMENTS = 1 << 20


@dataclass(frozen=True, slots=True)
class Choice:
    """A tiling with its local bytes and DRAM bits."""

    tiling: LayerTiling
    local_bytes: int
    dram_bits: int


@dataclass(frozen=True, slots=True, eq=False)
class Frontier:
    """Pareto points of a layer, ascending in local bytes, strictly descending in DRAM bits.

    `ladder` holds the best tiling from each of its local bytes upwards, ascending.
    """

    local_bytes: Ints
    dram_bits: Ints
    ladder: tuple[Choice, ...]

    def best(self, capacity_bytes: int) -> Choice | None:
        """The tiling with the fewest DRAM bits that fits; None if none does.

        Ties go to fewer kernel fetches, partial sums spilled, MACs, steps, local bytes.
        """
        place = bisect_right(self.ladder, capacity_bytes, key=lambda choice: choice.local_bytes)
        return self.ladder[place - 1] if place else None

    def best_of_equals(self, dram_bits: int, capacity_bytes: int) -> Choice:
        """The best tiling that fits among those that move exactly so many bits."""
        return [
            choice
            for choice in self.ladder
            if choice.dram_bits == dram_bits and choice.local_bytes <= capacity_bytes
        ][-1]


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """One order's tilings and costs, flattened over the legal ones by `legal`."""

    order: str
    sums: PartialSums
    tiles: TileArrays
    costs: Costs
    legal: npt.NDArray[np.bool_]


def _blocks(problem: LayerProblem) -> Iterator[_Block]:
    plane = plane_tiles(problem.batch, problem.rows, problem.columns)
    full_out = np.array([problem.output_channels], np.int64)
    full_in = np.array([problem.input_channels], np.int64)
    one = np.ones((1, 1, 1), np.int64)
    if problem.groups > 1:
        groups = tile_sizes(problem.groups)[:, None, None]
        tiles = TileArrays(groups, full_out, full_in, plane)
        yield _block(problem, "MPK", PartialSums.NONE, tiles)
    if problem.groups == 1 or splits_channels(problem):
        out_sizes = tile_sizes(problem.output_channels) if splits_channels(problem) else full_out
        in_sizes = tile_sizes(problem.input_channels) if splits_channels(problem) else full_in
        step = max(1, _CHUNK_ELEMENTS // (len(in_sizes) * len(plane.trips)))
        for first in range(0, len(out_sizes), step):
            out = out_sizes[first : first + step, None, None]
            for order in ("PMK", "MPK"):
                whole = TileArrays(one, out, full_in, plane)
                yield _block(problem, order, PartialSums.NONE, whole)
            if len(in_sizes) == 1 or problem.touches_local_maps:
                continue
            part = TileArrays(one, out, in_sizes[None, :-1, None], plane)
            for order in ORDERS:
                yield _block(problem, order, PartialSums.KEPT, part)
                if not order.endswith("K"):
                    yield _block(problem, order, PartialSums.SPILLED, part)


def _block(problem: LayerProblem, order: str, sums: PartialSums, tiles: TileArrays) -> _Block:
    costs, legal = evaluate(problem, order, sums, tiles)
    return _Block(order, sums, tiles, costs, legal)


def pareto(local_bytes: Ints, dram_bits: Ints) -> Ints:
    """Indices of the Pareto points, ascending in local bytes, strictly descending in bits."""
    order = np.lexsort((dram_bits, local_bytes))
    bits = dram_bits[order]
    best_before = np.concatenate([[np.iinfo(np.int64).max], np.minimum.accumulate(bits)[:-1]])
    return order[bits < best_before]


@dataclass(frozen=True, slots=True)
class _Rung:
    """A candidate: what it is ranked by, its local bytes, its block and place there."""

    rank: tuple[int, ...]
    local_bytes: int
    block: int
    index: tuple[int, ...]


def _candidates(block: _Block, number: int) -> tuple[Ints, Ints, list[_Rung]]:
    """The Pareto points of a block, and all its tilings that no smaller one undercuts."""
    places = np.argwhere(block.legal)
    costs = block.costs
    local, bits = costs.local_bytes[block.legal], costs.dram_bits[block.legal]
    keep = pareto(local, bits)
    steps = np.searchsorted(local[keep], local, "right") - 1
    level = np.flatnonzero(bits == bits[keep][steps])
    at = tuple(places[level].T)
    columns = [
        bits[level],
        costs.kernel_passes[at],
        costs.partial_sum_bits[at],
        costs.macs[at],
        costs.steps[at],
        local[level],
    ]
    rungs = []
    best: tuple[int, ...] | None = None
    for each in np.lexsort((*columns[::-1], local[level])).tolist():
        rank = tuple(int(column[each]) for column in columns)
        if best is None or rank[:-1] < best[:-1]:
            best = rank
            rungs.append(_Rung(rank, rank[-1], number, tuple(places[level[each]].tolist())))
    return local[keep], bits[keep], rungs


@lru_cache(maxsize=8192)
def layer_frontier(problem: LayerProblem) -> Frontier:
    """The frontier of one layer over all its tilings."""
    local, bits = [], []
    rungs: list[_Rung] = []
    blocks = []
    for number, block in enumerate(_blocks(problem)):
        if not block.legal.any():
            blocks.append(block)
            continue
        block_local, block_bits, found = _candidates(block, number)
        local.append(block_local)
        bits.append(block_bits)
        rungs.extend(found)
        blocks.append(block)
    all_local, all_bits = np.concatenate(local), np.concatenate(bits)
    keep = pareto(all_local, all_bits)
    ladder: list[Choice] = []
    best: tuple[int, ...] | None = None
    for rung in sorted(rungs, key=lambda r: (r.local_bytes, r.rank, r.block)):
        if best is None or rung.rank[:-1] < best[:-1]:
            best = rung.rank
            tiling = _tiling(blocks[rung.block], rung.index)
            ladder.append(Choice(tiling, rung.local_bytes, rung.rank[0]))
    return Frontier(all_local[keep], all_bits[keep], tuple(ladder))


def _tiling(block: _Block, index: tuple[int, ...]) -> LayerTiling:
    shape = block.legal.shape
    plane: PlaneTiles = block.tiles.plane

    def pick(array: Ints) -> int:
        return int(np.broadcast_to(array, shape)[index])

    return LayerTiling(
        order=block.order,
        partial_sums=block.sums,
        group_tile=pick(block.tiles.group),
        output_channel_tile=pick(block.tiles.output_channels),
        input_channel_tile=pick(block.tiles.input_channels),
        batch_tile=pick(plane.batch),
        row_tile=pick(plane.rows),
        column_tile=pick(plane.columns),
        steps=int(block.costs.steps[index]),
    )


def stream_local_bytes(problem: StreamProblem, steps: int) -> int:
    """Local bytes of an opaque layer whose tensors are each cut into at most `steps` slices."""
    slots = 2 if problem.memory.double_buffer and steps > 1 else 1
    return sum(
        -(-(-(-tensor.extent // steps) * tensor.slice_elements * tensor.bits) // 8) * slots
        for tensor in problem.tensors
        if not tensor.resident
    )


@lru_cache(maxsize=1024)
def stream_frontier(problem: StreamProblem) -> Frontier:
    """The frontier of an opaque layer: the traffic is the same for all slices."""
    longest = max(tensor.extent for tensor in problem.tensors)
    bits = sum(t.extent * t.slice_elements * t.bits for t in problem.tensors if t.moved)
    found: list[Choice] = []
    for steps in sorted({-(-longest // size) for size in tile_sizes(longest).tolist()}):
        local_bytes = stream_local_bytes(problem, steps)
        if not found or local_bytes < found[-1].local_bytes:
            tiling = LayerTiling("MPK", PartialSums.NONE, 1, 1, 1, 1, 1, 1, steps)
            found.append(Choice(tiling, local_bytes, bits))
    least = found[-1].local_bytes
    return Frontier(np.array([least]), np.array([bits]), tuple(reversed(found)))


def frontier(problem: LayerProblem | StreamProblem) -> Frontier:
    """The frontier of any layer."""
    if isinstance(problem, StreamProblem):
        return stream_frontier(problem)
    return layer_frontier(problem)
