"""Budget curves as step functions: joining them, taking the best of many joins.

A front is a pair of arrays, local bytes ascending and costs strictly descending: with
at least `local[i]` bytes of local memory, the cost is `costs[i]`: DRAM bits, or what another
objective counts.  Two stretches of a network that run one after the other need the larger
of their memories and cost the sum of theirs, so that their joint front is the sum of the
two step functions:

    cost ▲  ──┐                 ──┐                     ──┐
         │    └───┐        +      │           =           └──┐
         │        └──────         └───────                   └───┐
         └──────────────► local bytes                            └──

Its breakpoints are those of either, from where both exist.  Of many such sums only their
lower envelope is of use: all of them are laid out in one array, each as stretches of the
front before it, one for each point of the option, from where this point begins to where the
next one does.  Every point of the envelope remembers from which point of either it came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataflow_sim.schedule.frontier import pareto
from dataflow_sim.schedule.rows import Ints

# there are many fronts, and all are kept
Places = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Front:
    """Local bytes ascending, costs strictly descending, and where each point came from.

    `step` numbers the steps that were joined; `source` indexes the points of the front
    before that step, `choice` those of the option taken.
    """

    local_bytes: Ints
    costs: Ints
    source: Places
    choice: Places
    step: Places


class Step(NamedTuple):
    """What may follow a front: the front's number, bytes held meanwhile, and a front of its own."""

    front: int
    held_bytes: int
    local_bytes: Ints
    costs: Ints


class Fronts:
    """Numbered fronts up to a ceiling, and joins of steps to them."""

    def __init__(self, ceiling_bytes: int) -> None:
        self.ceiling_bytes = min(ceiling_bytes, _APART - 2)
        self._fronts: list[Front] = []

    def add(self, front: Front) -> int:
        """Number a front."""
        self._fronts.append(front)
        return len(self._fronts) - 1

    def join(self, steps: Sequence[Step]) -> Front:
        """The lower envelope of steps joined to their fronts, empty of none; of equals the first.

        What is above the ceiling is left out.
        """
        if not steps:
            nothing, nowhere = np.zeros(0, np.int64), np.zeros(0, np.int32)
            return Front(nothing, nothing, nowhere, nowhere, nowhere)
        if len(steps) == 1 and len(steps[0].costs) == 1:
            (step,) = steps
            front = self._fronts[step.front]
            if step.local_bytes[0] + step.held_bytes <= front.local_bytes[0]:
                return _raised(front, step)
        points = [len(step.costs) for step in steps]
        begins = np.array([0, *accumulate(points[:-1])])
        owner = np.repeat(np.arange(len(steps)), points)
        held = np.array([step.held_bytes for step in steps])
        need = np.concatenate([step.local_bytes for step in steps]) + held[owner]
        more = np.concatenate([step.costs for step in steps])
        until = np.empty(len(need), np.int64)
        until[:-1], until[begins - 1] = need[1:], _APART
        until = np.minimum(until, self.ceiling_bytes + 1)
        used, which = np.unique([step.front for step in steps], return_inverse=True)
        fronts = [self._fronts[number] for number in used.tolist()]
        sizes = [len(front.costs) for front in fronts]
        starts = np.array([0, *accumulate(sizes[:-1])])
        here = np.concatenate([front.local_bytes for front in fronts])
        costs = np.concatenate([front.costs for front in fronts])
        apart = here + np.repeat(np.arange(len(fronts)) * _APART, sizes)
        # the stretch of its front that each point of an option covers
        line = which[owner]
        first = np.searchsorted(apart, need + line * _APART, "right") - 1
        first = np.maximum(first, starts[line])
        stop = np.searchsorted(apart, until + line * _APART)
        count = np.where(need <= self.ceiling_bytes, np.maximum(stop - first, 0), 0)
        found = []
        for block in _blocks(count):
            mine = _Stretches(first[block], count[block], need[block], more[block])
            found.append(_least(here, costs, mine, block.start))
        local, joint, index, point = (np.concatenate(part) for part in zip(*found, strict=True))
        if len(found) > 1:
            keep = pareto(local, joint)
            local, joint, index, point = local[keep], joint[keep], index[keep], point[keep]
        taken = owner[point]
        places = (index - starts[line[point]], point - begins[taken], taken)
        return Front(local, joint, *(each.astype(np.int32) for each in places))


def _raised(front: Front, step: Step) -> Front:
    """A front behind a step of one point that needs no more memory than it."""
    places = np.arange(len(front.costs), dtype=np.int32)
    none = np.zeros(len(places), np.int32)
    return Front(front.local_bytes, front.costs + step.costs[0], places, none, none)


class _Stretches(NamedTuple):
    """Stretches of fronts: first place, number of places, local bytes and costs of the point."""

    first: Ints
    places: Ints
    need: Ints
    more: Ints


def _least(
    here: Ints, costs: Ints, stretches: _Stretches, number: int
) -> tuple[Ints, Ints, Ints, Ints]:
    """The envelope of stretches: local bytes, costs, places, stretches, which count from number."""
    first, count, need, more = stretches
    behind = np.cumsum(count)
    index = np.repeat(first - (behind - count), count) + np.arange(behind[-1])
    local = here[index]
    there = count > 0
    heads = (behind - count)[there]
    local[heads] = np.maximum(local[heads], need[there])
    joint = costs[index] + np.repeat(more, count)
    keep = pareto(local, joint)
    point = np.searchsorted(behind, keep, "right") + number
    return local[keep], joint[keep], index[keep], np.asarray(point, np.int64)


# further apart than any two memories
_APART = 1 << 44
_BLOCK = 1 << 20


def _blocks(count: Ints) -> Iterator[slice]:
    """Ranges of stretches that are not much longer together than a block."""
    ends = np.cumsum(count)
    low = 0
    while low < len(ends):
        before = int(ends[low - 1]) if low else 0
        high = max(low + 1, int(np.searchsorted(ends, before + _BLOCK, "right")))
        yield slice(low, high)
        low = high


IMPOSSIBLE_COST = 1 << 50


def costs_at(front: Front, budgets: Ints) -> Ints:
    """Costs in each of these memories."""
    place = np.searchsorted(front.local_bytes, budgets, "right") - 1
    return np.where(place >= 0, front.costs[place], IMPOSSIBLE_COST)
