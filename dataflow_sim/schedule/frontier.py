"""All tilings of one layer at once: its frontier, and the best one within a budget.

Every distinct trip count of every loop is enumerated (`tile_sizes`), under every loop
order and place of the partial sums, as numpy arrays.  The frontier is the Pareto set of
(local bytes, DRAM bits): the whole budget curve of the layer.

A layer with a resident map does not split its reduction: with its input in local memory it
is at its floor already, and partial sums would only take room.

Left out by dominance, never for speed alone: tile sizes that need more memory for the
same trip count, and spatial tiles dominated in all five of their costs
(`footprints.plane_tiles`); `tests/oracle` holds the undiminished search.
"""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True, eq=False)
class Frontier:
    """Pareto points of a layer, ascending in local bytes, strictly descending in DRAM bits."""

    local_bytes: Ints
    dram_bits: Ints


@dataclass(frozen=True, slots=True)
class Choice:
    """A tiling with its local bytes and DRAM bits."""

    tiling: LayerTiling
    local_bytes: int
    dram_bits: int


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


@lru_cache(maxsize=1024)
def layer_frontier(problem: LayerProblem) -> Frontier:
    """The frontier of one layer over all its tilings."""
    local, bits = [], []
    for block in _blocks(problem):
        block_local = block.costs.local_bytes[block.legal]
        block_bits = block.costs.dram_bits[block.legal]
        keep = pareto(block_local, block_bits)
        local.append(block_local[keep])
        bits.append(block_bits[keep])
    all_local, all_bits = np.concatenate(local), np.concatenate(bits)
    keep = pareto(all_local, all_bits)
    return Frontier(all_local[keep], all_bits[keep])


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


@lru_cache(maxsize=4096)
def best_tiling(problem: LayerProblem, capacity_bytes: int) -> Choice | None:
    """The tiling with the fewest DRAM bits that fits; None if none does.

    Ties go to fewer MACs, fewer steps, fewer local bytes, then the first in order.
    """
    best: tuple[tuple[int, int, int, int], _Block, tuple[int, ...]] | None = None
    for block in _blocks(problem):
        fits = block.legal & (block.costs.local_bytes <= capacity_bytes)
        if not fits.any():
            continue
        places = np.argwhere(fits)
        costs = block.costs
        columns = [costs.dram_bits, costs.macs, costs.steps, costs.local_bytes]
        least = columns[0][fits].min()
        places = places[columns[0][fits] == least]
        values = np.array([column[tuple(places.T)] for column in columns])
        first = int(np.lexsort(values[::-1])[0])
        key = tuple(int(v) for v in values[:, first])
        rank = (key[0], key[1], key[2], key[3])
        if best is None or rank < best[0]:
            best = (rank, block, tuple(int(i) for i in places[first]))
    if best is None:
        return None
    rank, block, index = best
    return Choice(_tiling(block, index), rank[3], rank[0])


def least_local_bytes(problem: LayerProblem) -> int:
    """The smallest footprint over all tilings of a layer."""
    return int(layer_frontier(problem).local_bytes[0])


def stream_local_bytes(problem: StreamProblem, steps: int) -> int:
    """Local bytes of an opaque layer whose tensors are each cut into at most `steps` slices."""
    slots = 2 if problem.memory.double_buffer and steps > 1 else 1
    return sum(
        -(-(-(-extent // steps) * elements * bits) // 8) * slots
        for extent, elements, bits in problem.tensors
    )


def best_stream(problem: StreamProblem, capacity_bytes: int) -> Choice | None:
    """The fewest slices that fit; the traffic is the same for all."""
    longest = max(extent for extent, _, _ in problem.tensors)
    bits = sum(extent * elements * width for extent, elements, width in problem.tensors)
    trips = sorted({-(-longest // size) for size in tile_sizes(longest).tolist()})
    for steps in trips:
        local_bytes = stream_local_bytes(problem, steps)
        if local_bytes <= capacity_bytes:
            tiling = LayerTiling("MPK", PartialSums.NONE, 1, 1, 1, 1, 1, 1, steps)
            return Choice(tiling, local_bytes, bits)
    return None


def least_stream_bytes(problem: StreamProblem) -> int:
    """The smallest footprint of an opaque layer."""
    longest = max(extent for extent, _, _ in problem.tensors)
    return min(
        stream_local_bytes(problem, -(-longest // size)) for size in tile_sizes(longest).tolist()
    )
