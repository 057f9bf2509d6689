"""All tilings of one layer at once: its frontier, and the best one within a budget.

Every distinct trip count of every loop is enumerated (`tile_sizes`), under every loop
order and place of the partial sums, as numpy arrays.  The frontier is the Pareto set of
(local bytes, DRAM bits): the whole budget curve of the layer.  At each of its points the
tiling with the fewest kernel fetches is taken, then fewest partial sums spilled, MACs and
steps.  With more memory, but not enough for the next point, a tiling of the same traffic
that computes less or in fewer steps takes over; the *ladder* holds all of these.

A layer with a resident map does not split its reduction: with its input in local memory it
is at its floor already, and partial sums would only take room.  (In an accumulator memory they
would take none, and a smaller kernel tile would do; that is not searched.)

Left out by dominance, never for speed alone: tile sizes that need more memory for the
same trip count; spatial tiles dominated in all of their costs (`plane_tiles.plane_tiles`); and,
where the sums of a split reduction are kept, all but the smallest tile of input channels, since
the traffic is the same and the memory more.  Of those only the ladder knows, for their fewer
steps.  `tests/oracle` holds the undiminished search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dataflow_sim.schedule.closed_form import Costs, TileArrays, evaluate
from dataflow_sim.schedule.footprints import tile_sizes
from dataflow_sim.schedule.pinning import pinned_tilings
from dataflow_sim.schedule.plane_tiles import plane_tiles
from dataflow_sim.schedule.problem import LayerProblem, splits_channels
from dataflow_sim.schedule.types import ORDERS, SWEEP_ORDERS, LayerTiling, PartialSums

Ints = npt.NDArray[np.int64]
_CHUNK_ELEMENTS = 1 << 20
_MANY = 1 << 12  # points from which on a sample of every so many pays
_SAMPLED = 32


@dataclass(frozen=True, slots=True)
class Choice:
    """A tiling with its local bytes and DRAM bits."""

    tiling: LayerTiling
    local_bytes: int
    dram_bits: int


@dataclass(frozen=True, slots=True, eq=False)
class Frontier:
    """Pareto points of a layer, ascending in local bytes, strictly descending in DRAM bits.

    `ladder` holds the best tiling from each of its local bytes upwards, ascending: rows of
    local bytes, DRAM bits, order, place of the partial sums, and the fields of a tiling.
    """

    local_bytes: Ints
    dram_bits: Ints
    ladder: Ints

    def best(self, capacity_bytes: int) -> Choice | None:
        """The tiling with the fewest DRAM bits that fits, then the fewest MACs and steps.

        None if none fits.
        """
        place = int(np.searchsorted(self.ladder[:, 0], capacity_bytes, "right"))
        return self._choice(place - 1) if place else None

    def least(self, capacity_bytes: int) -> Choice | None:
        """The smallest tiling that moves as few DRAM bits as the best one that fits."""
        place = int(np.searchsorted(self.local_bytes, capacity_bytes, "right"))
        if not place:
            return None
        return self._choice(int(np.searchsorted(self.ladder[:, 0], self.local_bytes[place - 1])))

    def easiest(self, dram_bits: int, capacity_bytes: int) -> Choice:
        """Among the tilings that fit and move so many bits that with the least effort."""
        behind = int(np.searchsorted(-self.ladder[:, 1], -dram_bits, "right"))
        fitting = int(np.searchsorted(self.ladder[:, 0], capacity_bytes, "right"))
        return self._choice(min(behind, fitting) - 1)

    def _choice(self, rung: int) -> Choice:
        return _choice(self.ladder[rung].tolist())


_SUMS = tuple(PartialSums)
_ORDERS = (*ORDERS, *SWEEP_ORDERS)


def _choice(rung: list[int]) -> Choice:
    """A row of a ladder."""
    local, bits, order, sums, *extents = rung
    return Choice(LayerTiling(_ORDERS[order], _SUMS[sums], *extents), local, bits)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One order's tilings and costs, flattened over the legal ones by `legal`."""

    order: str
    sums: PartialSums
    tiles: TileArrays
    costs: Costs
    legal: npt.NDArray[np.bool_]


def blocks(problem: LayerProblem, coarse: bool = False) -> Iterator[Block]:
    """The tilings of a problem without pinned channels, order by order, illegal ones among them.

    Where sums are kept only those with the smallest tile of input channels, or with `coarse` all.
    """
    plane = plane_tiles(problem.batch, problem.rows, problem.columns, problem.input_doubled)
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
            if len(in_sizes) == 1 or problem.touches_local_maps or problem.plain:
                continue
            part = TileArrays(one, out, in_sizes[None, :-1, None], plane)
            kept = part if coarse else TileArrays(one, out, in_sizes[None, :1, None], plane)
            for order in ORDERS:
                yield _block(problem, order, PartialSums.KEPT, kept)
                if not order.endswith("K"):
                    yield _block(problem, order, PartialSums.SPILLED, part)


def _block(problem: LayerProblem, order: str, sums: PartialSums, tiles: TileArrays) -> Block:
    costs, legal = evaluate(problem, order, sums, tiles)
    return Block(order, sums, tiles, costs, legal)


def _pinned(problem: LayerProblem, plain: list[Block], found: Ints) -> list[Block]:
    """Blocks of tilings with pinned channels that may undercut those found without."""
    points = pareto(found[:, 0], found[:, 1])
    local, bits = found[points, 0], found[points, 1]
    return [
        Block(block.order, block.sums, tiles, costs, np.ones(costs.local_bytes.shape, bool))
        for block in plain
        for tiles, costs in pinned_tilings(
            problem, block.order, block.sums, block.tiles, block.costs, block.legal, local, bits
        )
    ]


def pareto(local_bytes: Ints, dram_bits: Ints) -> Ints:
    """Indices of the Pareto points, ascending in local bytes, strictly descending in bits.

    Of equal points the first.  Where there are many, those that a sample undercuts leave first,
    since sorting is what takes time.
    """
    if len(local_bytes) < _MANY:
        return _sorted_pareto(local_bytes, dram_bits)
    sample = np.arange(0, len(local_bytes), _SAMPLED)
    sample = sample[_sorted_pareto(local_bytes[sample], dram_bits[sample])]
    place = np.searchsorted(local_bytes[sample], local_bytes, "right")
    limits = np.concatenate([[np.iinfo(np.int64).max], dram_bits[sample]])
    left = np.flatnonzero(dram_bits <= limits[place])
    return left[_sorted_pareto(local_bytes[left], dram_bits[left])]


def _sorted_pareto(local_bytes: Ints, dram_bits: Ints) -> Ints:
    # a stable sort of rising stretches is quick; of equal memories the last one kept is the best
    order = np.argsort(local_bytes, kind="stable")
    bits = dram_bits[order]
    best_before = np.concatenate([[np.iinfo(np.int64).max], np.minimum.accumulate(bits)[:-1]])
    order = order[bits < best_before]
    local = local_bytes[order]
    last = np.ones(len(order), bool)
    np.not_equal(local[1:], local[:-1], out=last[:-1])
    return np.asarray(order[last], np.int64)


def _undercut_by_none(local_bytes: Ints, dram_bits: Ints) -> npt.NDArray[np.bool_]:
    """Of some points those that none with less memory or as much undercuts, ties included."""
    keep = pareto(local_bytes, dram_bits)
    place = np.searchsorted(local_bytes[keep], local_bytes, "right") - 1
    return np.asarray(dram_bits == dram_bits[keep][place], bool)


def _candidates(block: Block) -> Ints:
    """Tilings of a block that no smaller one of it undercuts, as rows of numbers.

    Columns: local bytes, DRAM bits, kernel elements, partial sum bits, MACs, steps, place.
    """
    costs = block.costs
    places = np.flatnonzero(block.legal)
    local, bits = costs.local_bytes.ravel()[places], costs.dram_bits.ravel()[places]
    found = _undercut_by_none(local, bits)
    columns = [costs.kernel_elements, costs.partial_sum_bits, costs.macs, costs.steps]
    others = [column.ravel()[places[found]] for column in columns]
    return np.stack([local[found], bits[found], *others, places[found]], axis=1)


def _on_curve(parts: list[Ints]) -> tuple[Ints, Ints]:
    """Of candidates in parts those that none undercuts, and which part each is of."""
    number = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    rows = np.concatenate(parts)
    found = np.flatnonzero(_undercut_by_none(rows[:, 0], rows[:, 1]))
    return rows[found], number[found]


def _coarser(problem: LayerProblem, block: Block, places: Ints) -> Block:
    """Tilings at some places of a block with all larger tiles of input channels but the whole."""
    index = np.unravel_index(places, block.legal.shape)
    sizes = tile_sizes(problem.input_channels)[1:-1]
    tiles, plane = block.tiles, block.tiles.plane

    def at(values: Ints) -> Ints:
        return np.asarray(np.broadcast_to(values, block.legal.shape)[index], np.int64)[:, None]

    some = TileArrays(
        group=at(tiles.group),
        output_channels=at(tiles.output_channels),
        input_channels=sizes[None, :],
        plane=plane.take(at(np.arange(len(plane.trips)))),
        pinned_outputs=at(tiles.pinned_outputs),
        pinned_inputs=at(tiles.pinned_inputs),
    )
    return _block(problem, block.order, block.sums, some)


@lru_cache(maxsize=8192)
def layer_frontier(problem: LayerProblem) -> Frontier:
    """The frontier of one layer over all its tilings."""
    found = [block for block in blocks(problem) if block.legal.any()]
    parts = [_candidates(block) for block in found]
    for block in _pinned(problem, found, np.concatenate(parts)):
        found.append(block)
        parts.append(_candidates(block))
    rows, number = _on_curve(parts)
    for each, block in enumerate(list(found)):
        places = rows[number == each, 6]
        if block.sums is PartialSums.KEPT and len(places):
            coarser = _coarser(problem, block, places)
            found.append(coarser)
            parts.append(_candidates(coarser))
    rows, number = _on_curve(parts)
    order = np.lexsort((number, *rows.T[[5, 4, 3, 2, 1, 0]]))
    rows, number = rows[order], number[order]
    local, bits = rows[:, 0], rows[:, 1]
    points = pareto(local, bits)
    level = np.searchsorted(local[points], local, "right") - 1
    # only what is on the curve, and divides its traffic like the point it belongs to
    same = (rows[:, 1:4] == rows[points[level], 1:4]).all(axis=1)
    rows, number, level = rows[same], number[same], level[same]
    effort = np.empty(len(rows), np.int64)
    effort[np.lexsort((rows[:, 5], rows[:, 4]))] = np.arange(len(rows))
    # a later point always beats an earlier one, so that the minimum starts anew there
    effort -= level * len(rows)
    better = np.concatenate([[True], effort[1:] < np.minimum.accumulate(effort)[:-1]])
    ladder = np.zeros((int(better.sum()), 13), np.int64)
    ladder[:, :2] = rows[better, :2]
    for each, block in enumerate(found):
        mine = number[better] == each
        if mine.any():
            ladder[mine, 2:] = _tilings(block, rows[better, 6][mine])
    return Frontier(local[points], bits[points], ladder)


def plain_curve(problem: LayerProblem) -> tuple[Ints, Ints]:
    """Local bytes and DRAM bits of the Pareto points of a problem's plain tilings."""
    found = [block for block in blocks(replace(problem, plain=True)) if block.legal.any()]
    local = np.concatenate([block.costs.local_bytes[block.legal] for block in found])
    bits = np.concatenate([block.costs.dram_bits[block.legal] for block in found])
    points = pareto(local, bits)
    return local[points], bits[points]


def _tilings(block: Block, places: Ints) -> Ints:
    """The tilings at some places of a block, as rows of numbers (`Frontier.ladder`)."""
    index = np.unravel_index(places, block.legal.shape)
    plane = block.tiles.plane
    extents = [
        block.tiles.group,
        block.tiles.output_channels,
        block.tiles.input_channels,
        plane.batch,
        plane.rows,
        plane.columns,
        block.costs.steps,
        block.tiles.pinned_outputs,
        block.tiles.pinned_inputs,
    ]
    found = np.zeros((len(places), 11), np.int64)
    found[:, 0], found[:, 1] = ORDERS.index(block.order), _SUMS.index(block.sums)
    for column, extent in enumerate(extents):
        found[:, 2 + column] = np.broadcast_to(extent, block.legal.shape)[index]
    return found


def choice_at(block: Block, place: int) -> Choice:
    """The tiling at one place of a block, counted as if its arrays were flat."""
    local, bits = block.costs.local_bytes.flat[place], block.costs.dram_bits.flat[place]
    return _choice([int(local), int(bits), *_tilings(block, np.array([place]))[0].tolist()])
