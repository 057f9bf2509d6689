"""Addresses: where buffers lie that live for a while.

A buffer is a size and a first and last moment, both included.  Two buffers that live at one
moment must not overlap; the height is the highest address in use.  It is never below the
largest live set; how near it comes is a packing problem, NP-hard in general.

`pack` places the largest buffer first and each at the lowest address where a gap is large
enough for as long as it lives: rows of one map thus form a ring, and small short-lived
buffers slip into the slots of larger ones while these are empty.

`rings` gives each map a region of its own, with as many slots as rows of it ever live: next to no
work, and good enough wherever memory is to spare.

Source: first-fit decreasing for dynamic storage allocation, e.g. Gergov, SODA 1999;
`tests/unit/test_allocation` holds it against the live set and an exhaustive search.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from heapq import heappush, heapreplace
from itertools import accumulate
from math import gcd
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

# of a memory as the bits of an integer, at most
MOST_UNITS = 1 << 15


class Life(NamedTuple):
    """A buffer to place: bytes, first and last moment."""

    size_bytes: int
    first: int
    last: int


def pack(lives: Sequence[Life]) -> tuple[list[int], int]:
    """An address for each buffer, and the height."""
    order = sorted(range(len(lives)), key=lambda i: (-lives[i].size_bytes, lives[i].first, i))
    if lives and lives[order[-1]].size_bytes:
        unit = gcd(*(life.size_bytes for life in lives))
        if peak_bytes(lives) <= unit * MOST_UNITS:
            return _pack_units(lives, order, unit)
    return _pack_bytes(lives, order)


def _pack_units(lives: Sequence[Life], order: Sequence[int], unit: int) -> tuple[list[int], int]:
    """As `pack`: the free units of a moment are the bits of an integer, without end.

    A moment stands for those behind the last at which a life ends.
    """
    ends = np.unique([life.last for life in lives])
    firsts = np.searchsorted(ends, [life.first for life in lives]).tolist()
    behinds = (np.searchsorted(ends, [life.last for life in lives]) + 1).tolist()
    free = [-1] * len(ends)
    addresses = [0] * len(lives)
    height = 0
    for index in order:
        first, behind, size = firsts[index], behinds[index], lives[index].size_bytes // unit
        starts = starts_of(-1, free[first:behind], size)
        at = (starts & -starts).bit_length() - 1
        taken = ~(((1 << size) - 1) << at)
        for moment in range(first, behind):
            free[moment] &= taken
        addresses[index] = at * unit
        height = max(height, (at + size) * unit)
    return addresses, height


def starts_of(starts: int, free: Iterable[int], size: int) -> int:
    """Of some bits those at which a run of `size` bits begins that all of `free` have."""
    for there in free:
        starts &= there
    # a bit stays where it and those behind it are free, twice as many in each step
    long = 1
    while long * 2 <= size:
        starts &= starts >> long
        long *= 2
    return starts & (starts >> (size - long))


def peak_bytes(lives: Sequence[Life]) -> int:
    """The largest live set."""
    change: dict[int, int] = defaultdict(int)
    for size, first, last in lives:
        change[first] += size
        change[last + 1] -= size
    return max(accumulate(change[moment] for moment in sorted(change)), default=0)


def _pack_bytes(lives: Sequence[Life], order: Sequence[int]) -> tuple[list[int], int]:
    """As `pack`, with the gaps between ranges of addresses."""
    count = len(lives)
    addresses = [0] * count
    first, last, low, high = (np.zeros(count, np.int64) for _ in range(4))
    height = 0
    for placed, index in enumerate(order):
        life = lives[index]
        there = (first[:placed] <= life.last) & (last[:placed] >= life.first)
        address = lowest_gap(low[:placed][there], high[:placed][there], life.size_bytes)
        addresses[index] = address
        first[placed], last[placed] = life.first, life.last
        low[placed], high[placed] = address, address + life.size_bytes
        height = max(height, address + life.size_bytes)
    return addresses, height


def rings(lives: Sequence[Life], owners: Sequence[Hashable]) -> tuple[list[int], int]:
    """As `pack`, but every owner's buffers take turns in slots that are nobody else's."""
    addresses = [0] * len(lives)
    mine: dict[Hashable, list[int]] = {}
    for index, owner in enumerate(owners):
        mine.setdefault(owner, []).append(index)
    base = 0
    for indices in mine.values():
        size = max(lives[index].size_bytes for index in indices)
        slots: list[tuple[int, int]] = []  # (last moment, slot), a heap
        for index in sorted(indices, key=lambda i: (lives[i].first, i)):
            life = lives[index]
            if slots and slots[0][0] < life.first:
                slot = heapreplace(slots, (life.last, slots[0][1]))[1]
            else:
                slot = len(slots)
                heappush(slots, (life.last, slot))
            addresses[index] = base + slot * size
        base += len(slots) * size
    return addresses, base


def lowest_gap(low: np.ndarray, high: np.ndarray, size: int) -> int:
    """The lowest address with `size` bytes free between the ranges [low, high)."""
    if not len(low):
        return 0
    order = np.argsort(low, kind="stable")
    tops = np.concatenate([[0], np.maximum.accumulate(high[order])])
    gaps = np.append(low[order], np.iinfo(np.int64).max) - tops
    return int(tops[int(np.argmax(gaps >= size))])
