"""Budget curves as step functions: joining them, taking the best of several.

A front is a pair of arrays, local bytes ascending and costs strictly descending: with
at least `local[i]` bytes of local memory, the cost is `costs[i]`: DRAM bits, or what another
objective counts.  Two stretches of a network that run one after the other need the larger
of their memories and cost the sum of theirs, so that their joint front is the sum of the
two step functions:

    cost ▲  ──┐                 ──┐                     ──┐
         │    └───┐        +      │           =           └──┐
         │        └──────         └───────                   └───┐
         └──────────────► local bytes                            └──

Its breakpoints are those of either, from where both exist.  Every point remembers from
which point of either it came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dataflow_sim.schedule.frontier import pareto
from dataflow_sim.schedule.rows import Ints


@dataclass(frozen=True, slots=True, eq=False)
class Front:
    """Local bytes ascending, costs strictly descending, and where each point came from.

    `source` indexes the points of the front before, `choice` those of the option taken,
    `chunk` the options themselves.
    """

    local_bytes: Ints
    costs: Ints
    source: Ints
    choice: Ints
    chunk: Ints


Part = tuple[Ints, Ints, Ints, Ints]


def join(front: Front, local_bytes: Ints, costs: Ints) -> Part:
    """The sum of a front and an option's: local bytes, costs, source and choice."""
    here = front.local_bytes
    if len(local_bytes) == 1:
        need, more = local_bytes[0], costs[0]
        first = int(np.searchsorted(here, need, "right")) - 1
        if first < 0:
            source = np.arange(len(here))
            return here, front.costs + more, source, np.zeros(len(here), np.int64)
        local = here[first:].copy()
        local[0] = need
        source = np.arange(first, len(here))
        return local, front.costs[first:] + more, source, np.zeros(len(local), np.int64)
    # both ascend: those of one are placed among those of the other, from where both exist
    first = int(np.searchsorted(here, local_bytes[0], "right"))
    start = int(np.searchsorted(local_bytes, here[0], "right"))
    first, start = max(first - 1, 0), max(start - 1, 0)
    mine, others = here[first:], local_bytes[start:]
    local = np.concatenate([mine, others])
    local[0] = local[len(mine)] = max(here[0], local_bytes[0])
    local.sort(kind="stable")
    local = local[np.concatenate([[True], local[1:] > local[:-1]])]
    source = np.searchsorted(here, local, "right") - 1
    choice = np.searchsorted(local_bytes, local, "right") - 1
    return local, front.costs[source] + costs[choice], source, choice


def best_of(parts: list[Part]) -> Front:
    """The lower envelope of several joined fronts, empty of none; the first of equals wins."""
    if not parts:
        return Front(*(np.zeros(0, np.int64) for _ in range(5)))
    if len(parts) == 1:  # a joined front descends as it is
        return Front(*parts[0], np.zeros(len(parts[0][0]), np.int64))
    sizes = [len(part[0]) for part in parts]
    local, costs, source, choice = (np.concatenate(column) for column in zip(*parts, strict=True))
    chunk = np.repeat(np.arange(len(parts)), sizes)
    keep = pareto(local, costs)
    return Front(local[keep], costs[keep], source[keep], choice[keep], chunk[keep])


class Waiting(NamedTuple):
    """An option that is yet to be joined: number of the front before it, and its own front."""

    front: int
    local_bytes: Ints
    costs: Ints


class FrontGrid:
    """Numbered fronts and their costs on a grid of budgets, to tell which joins can matter.

    Between two budgets of the grid a joined front is never below its value just before
    the second, and the lower envelope never above its value at the first.  What is above
    that everywhere cannot lower the envelope; most options are.
    """

    def __init__(self, least_bytes: int, ceiling_bytes: int) -> None:
        highest = min(ceiling_bytes, 1 << 40)
        grid = np.geomspace(max(1, least_bytes), max(least_bytes + 1, highest), _GRID)
        self.ceiling_bytes = ceiling_bytes
        self._budgets = np.unique(np.concatenate([[1], grid.astype(np.int64), [highest]]))
        self.fronts: list[Front] = []
        self._at: list[Ints] = []
        self._before: list[Ints] = []

    def add(self, front: Front) -> int:
        """Number a front."""
        self.fronts.append(front)
        self._at.append(_costs_at(front.local_bytes, front.costs, self._budgets))
        ends = np.append(self._budgets[1:] - 1, np.iinfo(np.int64).max)
        self._before.append(_costs_at(front.local_bytes, front.costs, ends))
        return len(self.fronts) - 1

    def costs(self, front: Front) -> Ints:
        """A front's costs by budget of the grid."""
        return _costs_at(front.local_bytes, front.costs, self._budgets)

    def below_ceiling(self, part: Part) -> Part:
        """The part of a joined front within the ceiling."""
        stop = int(np.searchsorted(part[0], self.ceiling_bytes, "right"))
        return part if stop == len(part[0]) else (*(column[:stop] for column in part),)  # type: ignore[return-value]  # four columns

    def useful(self, waiting: list[Waiting], parts: list[Part]) -> list[int]:
        """Places of the options that may lower the envelope of all options and parts."""
        if not waiting:
            return []
        envelope = np.full(len(self._budgets), IMPOSSIBLE_COST)
        for part in parts:
            np.minimum(envelope, _costs_at(part[0], part[1], self._budgets), out=envelope)
        owner = np.repeat(np.arange(len(waiting)), [len(w.local_bytes) for w in waiting])
        source = np.array([w.front for w in waiting])[owner]
        need = np.concatenate([w.local_bytes for w in waiting])
        more = np.concatenate([w.costs for w in waiting])
        used, line = np.unique(source, return_inverse=True)
        at = np.stack([self._at[i] for i in used])
        before = np.stack([self._before[i] for i in used])
        first = np.searchsorted(self._budgets, need)
        places = np.arange(len(self._budgets))
        for begin in range(0, len(need), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            costs = at[line[block]] + more[block, None]
            costs[places < first[block, None]] = IMPOSSIBLE_COST
            np.minimum(envelope, costs.min(axis=0), out=envelope)
        keep = np.zeros(len(need), bool)
        for begin in range(0, len(need), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            costs = before[line[block]] + more[block, None]
            keep[block] = ((costs <= envelope) & (places >= first[block, None] - 1)).any(axis=1)
        return np.unique(owner[keep]).tolist()  # type: ignore[no-any-return]  # integers


_GRID = 254
_BLOCK = 1 << 12
IMPOSSIBLE_COST = 1 << 50


def _costs_at(local_bytes: Ints, costs: Ints, budgets: Ints) -> Ints:
    """Bits in each of these memories."""
    if not len(local_bytes):
        return np.full(len(budgets), IMPOSSIBLE_COST)
    place = np.searchsorted(local_bytes, budgets, "right") - 1
    return np.where(place >= 0, costs[place], IMPOSSIBLE_COST)
