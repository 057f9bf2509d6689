"""Addresses of buffers: the front door.

From the cheapest to the dearest, each only where the one before did not do: the largest first
(`allocation.pack`), other orders and changes of them (`placement_orders`), the exact search
(`placement_search`).  What is looked for is a height not above the capacity, or, where none is
given, the least height: the largest live set, where that is reached, or else the one below which
the exact search has shown that there is nothing.

Pushed down, each buffer of a placement lies on a stack of others, so that the height is a sum of
sizes rounded up to the alignment, and the size itself of the one on top:

    least height = k gcd(rounded sizes) + size of some buffer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from dataflow_sim.errors import InputError
from dataflow_sim.schedule.allocation import Life, pack
from dataflow_sim.schedule.placement_orders import Found, first_fit, improve, largest_first
from dataflow_sim.schedule.placement_problem import Problem
from dataflow_sim.schedule.placement_search import can_search, search, work_of_node

WORK = 1_000_000  # buffers placed, where nobody asks for more
_WORK_ON_ORDERS = 30_000  # of these, where the exact search can do better with the rest


@dataclass(frozen=True, slots=True)
class Placed:
    """Addresses in bytes, in the order of the buffers, and what is known of the height.

    `live_bytes` is the largest live set; no height is below `least_bytes`, which is never less and
    takes in the alignment and what a search has proved.  `proved` where the question is settled: a
    capacity is held, or nothing holds it (`least_bytes` is above it); without a capacity where no
    height is lower than `height_bytes`.
    """

    addresses: tuple[int, ...]
    height_bytes: int
    live_bytes: int
    least_bytes: int
    proved: bool


def place(
    lives: Sequence[Life],
    capacity_bytes: int | None = None,
    *,
    alignment_bytes: int = 1,
    apart: Sequence[tuple[int, int]] = (),
    bank_bytes: int | None = None,
    work: int = WORK,
) -> Placed:
    """Addresses at which no two buffers overlap that live at one moment.

    Addresses are multiples of the alignment.  Pairs in `apart` (places in `lives`) have no bank of
    `bank_bytes` in common.  The search stops at `capacity_bytes`, or without one at the least
    height, or after so much `work`, counted in buffers placed; where the capacity is not reached,
    the lowest placement found is returned all the same, above the capacity.  Raises InputError that
    names all that is wrong with the buffers or the rules.
    """
    problem = Problem(tuple(lives), alignment_bytes, tuple(apart), bank_bytes)
    if capacity_bytes is not None and capacity_bytes < 0:
        raise InputError(f"the capacity is {capacity_bytes} bytes, it must be 0 or more")
    aim = problem.least_bytes if capacity_bytes is None else capacity_bytes
    found = _largest_first(problem)
    least = problem.least_bytes
    if found.height_bytes > aim >= least:
        exact = can_search(problem, found.height_bytes)
        first = min(work, _WORK_ON_ORDERS) if exact else work
        found, left = improve(problem, first_fit(problem), found, aim, first)
        if exact and found.height_bytes > aim:
            nodes = (work - first + left) // work_of_node(problem)
            found, least = _exactly(problem, found, capacity_bytes, nodes)
    if capacity_bytes is None:
        proved = found.height_bytes == least
    else:
        proved = found.height_bytes <= capacity_bytes or least > capacity_bytes
    return Placed(found.addresses, found.height_bytes, problem.live_bytes, least, proved)


def _largest_first(problem: Problem) -> Found:
    """The largest first, each at the lowest address that it may have."""
    if problem.apart:
        return first_fit(problem)(largest_first(problem))
    sizes = problem.rounded
    addresses, _ = pack(
        [life._replace(size_bytes=size) for life, size in zip(problem.lives, sizes, strict=True)]
    )
    return Found(tuple(addresses), problem.height_of(addresses))


def _exactly(
    problem: Problem, found: Found, capacity_bytes: int | None, nodes: int
) -> tuple[Found, int]:
    """A placement as low as asked for, or the one `found`; and what no height is below.

    Without a capacity the least height is tried first, with half of the work, and then by halves
    what lies between it and the lowest placement, each with half of the work that is left.
    """
    least = problem.least_bytes
    if capacity_bytes is not None:
        answer = search(problem, capacity_bytes, nodes)
        if answer.impossible:
            least = _next_height(problem, capacity_bytes + 1)
        return answer.found or found, least
    low = at = least
    while low < found.height_bytes and nodes > 0:
        answer = search(problem, at, (nodes + 1) // 2)
        nodes -= (nodes + 1) // 2 - answer.nodes
        if answer.found:
            found = answer.found
        else:
            low = _next_height(problem, at + 1)
            least = low if answer.impossible else least
        at = (low + found.height_bytes) // 2
    return found, least


def _next_height(problem: Problem, at_least_bytes: int) -> int:
    """The least height, of those that a lowest placement may have, that is not below some bytes."""
    step = gcd(*problem.rounded)
    sizes = {life.size_bytes for life in problem.lives if life.size_bytes}
    return min(size + max(0, -(-(at_least_bytes - size) // step)) * step for size in sizes)
