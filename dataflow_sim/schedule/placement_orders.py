"""Addresses from an order, and a search for a better order.

Model.  Given an order, each buffer gets the lowest address at which it overlaps none before it
that lives when it does, and lies in no bank of one that it must be apart from (*first fit*):

    address ▲  ┌───────┐                     order A, B, C, D: D falls into the gap that A
            │  │   C   │ ┌───┐               leaves when its life has ended
            │  ├─────┬─┘ │ D │
            │  │  B  │   └───┴──┐
            │  ├─────┤   │  A'  │
            └──┴─────┴───┴──────┴──► time

Some order gives the least height: that of the addresses of a best placement.  For each buffer then
finds its own address there, or a lower one, free: those before it have not risen, and a bank that
one of them has come down to lies below all that it left.

The search begins with the largest first and a few other orders, and changes the best one: a buffer
that ends above the height aimed at, or one below it that lives when it does, gets its turn earlier,
or two change turns.  A change stays where the height does not rise; of equal heights that with less
above the height aimed at.  Work is counted in buffers placed; the random numbers have a fixed seed.

Source: first fit, as in `allocation`; that squeaky wheels get their turn earlier is after Joslin
and Clements, JAIR 1999.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import gcd
from random import Random
from typing import NamedTuple

from dataflow_sim.schedule.allocation import MOST_UNITS, starts_of
from dataflow_sim.schedule.placement_problem import Problem

_SEED = 1
# of changes: two change turns; the rest move one to an earlier turn
_SWAPS = 0.5


class Found(NamedTuple):
    """An address for each buffer, and the height."""

    addresses: tuple[int, ...]
    height_bytes: int


Place = Callable[[Sequence[int]], Found]


def first_fit(problem: Problem) -> Place:
    """What places buffers in a given order, each at the lowest address that it may have."""
    unit = gcd(*problem.rounded)
    if problem.apart or not unit or problem.live_bytes > unit * MOST_UNITS:
        return _Gaps(problem).place
    return _Bits(problem, unit).place


class _Bits:
    """First fit where the free units of a section are the bits of an integer without end."""

    def __init__(self, problem: Problem, unit: int) -> None:
        self.problem = problem
        self.unit = unit
        self.sizes = [size // unit for size in problem.rounded]

    def place(self, order: Sequence[int]) -> Found:
        """Addresses for all buffers in this order."""
        free = [-1] * len(self.problem.ends)
        spans, sizes = self.problem.spans, self.sizes
        addresses = [0] * len(sizes)
        for index in order:
            size = sizes[index]
            if not size:
                continue
            first, behind = spans[index]
            starts = starts_of(-1, free[first:behind], size)
            at = (starts & -starts).bit_length() - 1
            taken = ~(((1 << size) - 1) << at)
            for section in range(first, behind):
                free[section] &= taken
            addresses[index] = at * self.unit
        return Found(tuple(addresses), self.problem.height_of(addresses))


class _Gaps:
    """First fit with the gaps between ranges of addresses, and with banks."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        beside: list[set[int]] = [set() for _ in problem.lives]
        for members in problem.sections:
            for place in members:
                beside[place].update(members)
        self.beside = [sorted(each - {place}) for place, each in enumerate(beside)]

    def place(self, order: Sequence[int]) -> Found:
        """Addresses for all buffers in this order."""
        lives, step = self.problem.lives, self.problem.alignment_bytes
        addresses = [-1] * len(lives)
        for index in order:
            size = lives[index].size_bytes
            at = 0
            for low, high in sorted(self._taken(index, addresses)) if size else ():
                if low - at >= size:
                    break
                if high > at:
                    at = -(-high // step) * step
            addresses[index] = at
        return Found(tuple(addresses), self.problem.height_of(addresses))

    def _taken(self, index: int, addresses: Sequence[int]) -> Iterator[tuple[int, int]]:
        """The ranges of addresses where a buffer cannot lie."""
        lives, bank = self.problem.lives, self.problem.bank_bytes
        for other in self.beside[index]:
            at = addresses[other]
            if at >= 0:
                yield at, at + lives[other].size_bytes
        if bank is None:
            return
        for other in self.problem.apart_from[index]:
            at, size = addresses[other], lives[other].size_bytes
            if at >= 0 and size:
                yield at // bank * bank, -(-(at + size) // bank) * bank


def largest_first(problem: Problem) -> list[int]:
    """The order of `allocation.pack`."""
    lives = problem.lives
    return sorted(range(len(lives)), key=lambda i: (-lives[i].size_bytes, lives[i].first, i))


def plain_orders(problem: Problem) -> Iterator[tuple[str, list[int]]]:
    """Orders that need no search, by name: the largest first is the first of them."""
    lives, sizes = problem.lives, problem.rounded
    load = [sum(sizes[place] for place in members) for members in problem.sections]
    most = [max(load[first:behind]) for first, behind in problem.spans]
    length = [life.last - life.first + 1 for life in lives]
    yield "largest first", largest_first(problem)
    every = range(len(lives))
    yield "largest area first", sorted(every, key=lambda i: (-sizes[i] * length[i], i))
    yield "longest life first", sorted(every, key=lambda i: (-length[i], -sizes[i], i))
    yield "fullest moment first", sorted(every, key=lambda i: (-most[i], -sizes[i], i))
    yield "earliest first", sorted(every, key=lambda i: (lives[i].first, -sizes[i], i))


def improve(
    problem: Problem, place: Place, found: Found, aim_bytes: int, work: int
) -> tuple[Found, int]:
    """A placement no higher than the one `found` largest first, and the work that is left.

    The search ends where the height is not above `aim_bytes`, or the work is done.
    """
    count = len(problem.lives)
    best, best_order = found, largest_first(problem)
    for _, order in plain_orders(problem):
        if best.height_bytes <= aim_bytes or work < count:
            return best, work
        other = place(order)
        work -= count
        if other.height_bytes < best.height_bytes:
            best, best_order = other, order
    draw = Random(_SEED).random
    order, now = best_order, best
    score = (now.height_bytes, _above(problem, now, aim_bytes))
    while now.height_bytes > aim_bytes and work >= count:
        changed = _changed(problem, order, now, aim_bytes, draw)
        other = place(changed)
        work -= count
        reached = (other.height_bytes, _above(problem, other, aim_bytes))
        if reached <= score:
            order, now, score = changed, other, reached
    return now, work


def _above(problem: Problem, found: Found, aim_bytes: int) -> int:
    """By how much all buffers together end above the height aimed at."""
    return sum(
        max(0, at + life.size_bytes - aim_bytes)
        for at, life in zip(found.addresses, problem.lives, strict=True)
    )


def _changed(
    problem: Problem,
    order: list[int],
    found: Found,
    aim_bytes: int,
    draw: Callable[[], float],
) -> list[int]:
    """An order in which one that ends too high, or one that lives with it, comes earlier."""
    lives, addresses, spans = problem.lives, found.addresses, problem.spans
    high = [i for i in order if addresses[i] + lives[i].size_bytes > aim_bytes]
    chosen = high[int(draw() * len(high))]
    if draw() < 0.5:
        first, behind = spans[chosen]
        members = problem.sections[first + int(draw() * (behind - first))]
        chosen = members[int(draw() * len(members))]
    turn = order.index(chosen)
    earlier = int(draw() * turn)
    changed = list(order)
    if draw() < _SWAPS:
        changed[turn], changed[earlier] = changed[earlier], changed[turn]
    else:
        changed.insert(earlier, changed.pop(turn))
    return changed
