"""All tilings of a sweep at once: its frontier.

Every distinct number of trips of every loop is enumerated, under every order, as numpy arrays.
At each Pareto point of (local bytes, DRAM bits) the tiling of the fewest steps is taken; the
ladder goes on with those of fewer steps that read every tensor as often.

Left out by dominance, never for speed alone: tile sizes that need more memory for the same
trip counts; `tests/oracle` holds the undiminished search.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.sweep import Sweep, SweepKind
from dataflow_sim.schedule.footprints import tile_sizes
from dataflow_sim.schedule.frontier import Frontier, pareto
from dataflow_sim.schedule.sweep import SweepProblem, SweepTiles, evaluate
from dataflow_sim.schedule.sweep_steps import tile_extents
from dataflow_sim.schedule.types import ORDERS, SWEEP_ORDERS, PartialSums

Ints = npt.NDArray[np.int64]
_CHUNK_ELEMENTS = 1 << 20
_KEPT = tuple(PartialSums).index(PartialSums.KEPT)


def _batches_and_groups(sweep: Sweep) -> Ints:
    """Pairs of tile sizes: some groups of one batch, or all groups of several batches."""
    largest = dict(tile_extents(sweep))["group_tile"]
    groups = [(1, int(size)) for size in tile_sizes(sweep.groups) if size <= largest]
    batches = [(int(size), sweep.groups) for size in tile_sizes(sweep.batch) if size > 1]
    return np.array(groups + batches if largest == sweep.groups else groups, np.int64)


def column_sizes(sweep: Sweep) -> Ints:
    """The least column tile for each way to cut the parts, and the one of all columns."""
    sizes = [tile_sizes(extent) for extent in sweep.parts]
    return np.unique(np.concatenate([*sizes, [sweep.columns]]))


def sweep_tilings(problem: SweepProblem) -> Iterator[tuple[str, SweepTiles]]:
    """All tilings, in parts: the order of P and N, and arrays of tile sizes."""
    sweep = problem.sweep
    pairs = _batches_and_groups(sweep)
    rows = tile_sizes(sweep.rows)
    if sweep.kind is SweepKind.RECURRENT:  # of the input one is held, or all
        rows = np.array([1, sweep.rows] if sweep.turns else [1], np.int64)
    columns = column_sizes(sweep)
    step = max(1, _CHUNK_ELEMENTS // (len(pairs) * len(columns)))
    for order in sweep.orders:
        for first in range(0, len(rows), step):
            tiles = SweepTiles(
                pairs[:, 0, None, None],
                pairs[:, 1, None, None],
                rows[first : first + step, None],
                columns,
            )
            yield order, tiles


def _candidates(problem: SweepProblem, order: str, tiles: SweepTiles) -> Ints:
    """Some tilings that no smaller one of them undercuts, as rows of numbers.

    Columns: local bytes, DRAM bits, passes of each input, steps, then the tiling.
    """
    costs = evaluate(problem, order, tiles)
    local, bits = costs.local_bytes.ravel(), costs.dram_bits.ravel()
    keep = pareto(local, bits)
    level = bits[keep][np.searchsorted(local[keep], local, "right") - 1]
    found = np.flatnonzero(bits == level)
    number = np.full((), len(ORDERS) + SWEEP_ORDERS.index(order))
    kept = _KEPT * ((tiles.columns < problem.sweep.columns) & bool(problem.sweep.sums))
    extents = (tiles.groups, 1, 1, tiles.batch, tiles.rows, tiles.columns)
    columns = [costs.local_bytes, costs.dram_bits, *costs.passes, costs.steps]
    columns += [np.asarray(part) for part in (number, kept, *extents)]
    shape = costs.local_bytes.shape
    return np.stack([np.broadcast_to(part, shape).ravel()[found] for part in columns], axis=1)


@lru_cache(maxsize=1024)
def sweep_frontier(problem: SweepProblem) -> Frontier:
    """The frontier of a sweep over all its tilings."""
    rows = np.concatenate([_candidates(problem, *each) for each in sweep_tilings(problem)])
    rows = rows[np.lexsort(rows.T[::-1])]
    reads = 2 + len(problem.inputs)
    local, bits, steps = rows[:, 0], rows[:, 1], rows[:, reads]
    points = pareto(local, bits)
    level = np.searchsorted(local[points], local, "right") - 1
    same = (rows[:, 1:reads] == rows[points[level], 1:reads]).all(axis=1)
    ladder: list[Ints] = []
    least, at = 0, -1
    for place in np.flatnonzero(same):
        if level[place] > at or steps[place] < least:
            at, least = int(level[place]), int(steps[place])
            ladder.append(rows[place])
    found = np.stack(ladder)
    # as a frontier holds them: local bytes, bits, order, sums, six extents, steps
    extents = found[:, reads + 1 :]
    nothing = np.zeros((len(found), 2), np.int64)  # of a sweep no channels are pinned
    table = np.concatenate([found[:, :2], extents, found[:, reads, None], nothing], axis=1)
    return Frontier(local[points], bits[points], table)
