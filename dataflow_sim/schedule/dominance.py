"""Which of many choices no other one beats: the Pareto set of rows of costs.

A row is dominated where another is no higher in any column; of equal rows the first in
lexicographic order stays.  Sorted that way, only an earlier row can dominate a later one, so that
one sweep in blocks suffices.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_BLOCK = 256


def undominated(costs: Ints) -> Ints:
    """Indices, ascending, of the rows of costs (choices, costs) that no other row dominates."""
    order = np.lexsort(costs.T[::-1])
    sorted_costs = costs[order]
    kept = np.zeros((0, costs.shape[1]), np.int64)
    alive: list[int] = []
    for first in range(0, len(order), _BLOCK):
        block = sorted_costs[first : first + _BLOCK]
        places = np.flatnonzero(~_dominated(block, kept))
        block = block[places]
        # within the block a choice can only be dominated by an earlier one
        earlier = np.tri(len(block), k=-1, dtype=bool)
        better = np.all(block[None, :, :] <= block[:, None, :], axis=2) & earlier
        unbeaten = ~np.any(better, axis=1)
        kept = np.concatenate([kept, block[unbeaten]])
        alive.extend(order[first + places[unbeaten]].tolist())
    return np.array(sorted(alive), np.int64)


def _dominated(block: Ints, kept: Ints) -> npt.NDArray[np.bool_]:
    """Which rows of a block are nowhere below some kept row."""
    beaten = np.zeros(len(block), bool)
    for first in range(0, len(kept), 4 * _BLOCK):
        part = kept[first : first + 4 * _BLOCK]
        left = np.flatnonzero(~beaten)
        no_worse = np.all(part[None, :, :] <= block[left][:, None, :], axis=2)
        beaten[left] = np.any(no_worse, axis=1)
    return beaten
