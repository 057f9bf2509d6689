"""Addresses of a merged group where memory is short: a search, spell by spell.

Model.  As in `allocation`: a buffer is a size and a first and last moment, two that live at one
moment must not overlap.  A merged group's rows come and go in a pattern that repeats.  Time is
therefore cut into *spells* of about one period, each ending just behind a peak of the live set:

    live set   .-'|.-'|.-'|.-'|          spells are filled from the highest peak onwards,
               ───┴───┴───┴───┴─► time   then from it back to the beginning

A spell's buffers are placed one after the other below a given height.  A *way* to do so says,
for each role in the pattern (whose buffer, and the how-many-th of the spell), how early it has
its turn and which end of which gap it takes.  The ways that did for the spells before are
tried first, so that the pattern, once found, carries on at no cost; where none of them does,
the buffer that found no gap gets its turn earlier and a few roles change at random; where that
does not help either, some spells are taken back and done in other ways.  The free addresses
that such a spell found are kept: a way that leads an equal spell to the same ones has failed.

The free addresses of a moment are the bits of one integer: the gaps of a whole life are an
`and` over its moments, and those that are large enough a few shifts.  A bit stands for as many
bytes as all sizes are multiples of, or, where this gives too many bits, for some more: small
buffers are then rounded up.  Where addresses have an alignment, a bit stands for whole units of it.

What lives all the time lies at the bottom.  The height aimed at is the largest live set,
and, where it is not reached, heights between this and what `pack` needs.

Assumed: nothing of the pattern; it only makes the search short.  Ignored: whether the height is the
least possible.  The work is bounded by a number of placements, and the random numbers have a
fixed seed, so that the same buffers always get the same addresses.

Source: own; that squeaky wheels get their turn earlier is after Joslin and Clements, JAIR 1999.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from math import gcd
from random import Random

import numpy as np

from dataflow_sim.schedule.allocation import MOST_UNITS, Life, peak_bytes, starts_of

_PLACEMENTS = 4_000  # for each height aimed at, where nobody asks for fewer
_TRIES = 20  # at one spell before others are taken back, and as many for each of its buffers as
_TRIES_EACH = 2
_WAYS = 6  # that are remembered
_RANKS = 5  # of the buffers of one owner in a spell have roles of their own
_LARGE = 64  # of a large buffer no more than this many lie side by side
_TIGHT = 0.97  # of the height: moments whose buffers may come first
_SHARES = (0.0, 0.5, 0.25, 0.375, 0.125, 0.75)  # of what `pack` takes above the live set

# which end of which gap: of the lowest or highest, or of the smallest that is large enough
_LOWEST, _HIGHEST, _TIGHTEST_LOW, _TIGHTEST_HIGH = range(4)

# how much earlier the buffers of tight moments come, and by role weights and ends
_Way = tuple[float, list[float], list[int]]


def pack_closely(
    lives: Sequence[Life],
    owners: Sequence[Hashable],
    packed: tuple[list[int], int],
    placements: int = _PLACEMENTS,
    unit_bytes: int = 1,
) -> tuple[list[int], int]:
    """An address for each buffer, and the height: those `packed` by `pack`, or lower ones.

    `owners` tells whose a buffer is; buffers of one owner have like roles in the pattern.  For
    each height aimed at no more than so many `placements` are tried.  Addresses are multiples of
    `unit_bytes`, as all sizes are.
    """
    addresses, height = packed
    if height <= peak_bytes(lives):
        return addresses, height
    search = _Search(lives, owners, unit_bytes)
    least, most = search.live_bytes, height
    failed, done = -1.0, 1.0
    for share in _SHARES:
        aim = least + int(share * (most - least))
        if not failed < share < done or aim >= height:
            continue
        found = search.below(aim, placements)
        if found is None:
            failed = share
            continue
        addresses, height = found
        done = share
    return addresses, height


class _Search:
    """Buffers by moment, spell and role; lives are in places of the moments at which one ends.

    Of the moments between two that end lives, the last has the largest live set.
    """

    def __init__(self, lives: Sequence[Life], owners: Sequence[Hashable], unit_bytes: int) -> None:
        self.unit_bytes = unit_bytes
        ends = np.unique([life.last for life in lives])
        first = np.searchsorted(ends, [life.first for life in lives])
        last = np.searchsorted(ends, [life.last for life in lives])
        sizes = np.array([life.size_bytes for life in lives])
        self.count = len(lives)
        always = (first == 0) & (last == len(ends) - 1)
        self.lasting = np.flatnonzero(always).tolist()
        self.passing = np.flatnonzero(~always).tolist()
        self.sizes: list[int] = sizes.tolist()
        self.base = int(sizes[always].sum())
        self.first: list[int] = first[self.passing].tolist()
        self.last: list[int] = last[self.passing].tolist()
        change = np.zeros(len(ends) + 1, np.int64)
        np.add.at(change, first, sizes)
        np.add.at(change, last + 1, -sizes)
        self.live = np.cumsum(change)[:-1]
        self.live_bytes = int(self.live.max())
        mine = [owners[index] for index in self.passing]
        self.spells, self.roles = self._spells(mine)
        most = [int(self.live[a : b + 1].max()) for a, b in zip(self.first, self.last, strict=True)]
        self.most = most

    def _spells(self, owners: list[Hashable]) -> tuple[list[list[int]], list[int]]:
        """The passing buffers by spell in the order of the search, and the role of each."""
        cuts = self._cuts(owners)
        peak = int(np.searchsorted(cuts, int(self.live.argmax()), "right")) - 1
        begin = np.searchsorted(cuts, self.first, "right") - 1
        end = np.searchsorted(cuts, self.last, "right") - 1
        # a buffer belongs to the first spell in which it lives, as seen from the peak
        spell = np.where(begin > peak, begin, np.minimum(end, peak)).tolist()
        order = [*range(peak, len(cuts)), *range(peak - 1, -1, -1)]
        members: dict[int, list[int]] = {number: [] for number in order}
        for index in sorted(range(len(spell)), key=lambda i: (self.first[i], i)):
            members[spell[index]].append(index)
        numbers: dict[tuple[Hashable, int], int] = {}
        roles = [0] * len(spell)
        for mine in members.values():
            seen: dict[Hashable, int] = {}
            for index in mine:
                owner = owners[index]
                rank = seen[owner] = seen.get(owner, -1) + 1
                roles[index] = numbers.setdefault((owner, min(rank, _RANKS)), len(numbers))
        return [mine for mine in members.values() if mine], roles

    def _cuts(self, owners: list[Hashable]) -> list[int]:
        """Where spells begin: just behind the peak of every period of the slowest owner."""
        births: dict[Hashable, list[int]] = {}
        for index, owner in enumerate(owners):
            births.setdefault(owner, []).append(self.first[index])
        moments = len(self.live)
        slow = min((b for b in births.values() if len(b) >= _RANKS), key=len, default=[])
        steps = sorted(b - a for a, b in pairwise(sorted(slow)))
        period = max(1, steps[len(steps) // 2]) if steps else moments
        cuts = [0]
        while cuts[-1] + period < moments:
            window = self.live[cuts[-1] : cuts[-1] + period]
            cuts.append(cuts[-1] + int(window.argmax()) + 1 + period // 16)
        return [cut for cut in cuts if cut < moments]

    def below(self, aim: int, placements: int) -> tuple[list[int], int] | None:
        """Addresses below `aim` and the height, None where the search finds none."""
        room = aim - self.base
        units = [self.sizes[index] // self.unit_bytes for index in self.passing]
        unit = _unit(units, room // self.unit_bytes) * self.unit_bytes
        memory = _Memory(
            room // unit,
            [max(1, -(-self.sizes[index] // unit)) for index in self.passing],
            self.first,
            self.last,
            len(self.live),
        )
        tight = [most - self.base > _TIGHT * room for most in self.most]
        if not _Filling(memory, self.spells, self.roles, tight, placements).fill():
            return None
        addresses = [0] * self.count
        height = 0
        for index in self.lasting:
            addresses[index] = height
            height += self.sizes[index]
        for index, at in zip(self.passing, memory.at, strict=True):
            addresses[index] = self.base + at * unit
            height = max(height, addresses[index] + self.sizes[index])
        return addresses, height


def _unit(sizes: list[int], room: int) -> int:
    """What a bit stands for: the common divisor of all sizes, else a divisor of the large ones'."""
    unit = gcd(*sizes)
    if room <= unit * MOST_UNITS:
        return unit
    whole = gcd(*(size for size in sizes if size * _LARGE >= room))
    least = -(-room // MOST_UNITS)
    fine = [whole // n for n in range(1, whole // least + 1) if whole % n == 0]
    return min(fine, default=least)


class _Memory:
    """Addresses in units: which are free at each moment, and where each buffer lies."""

    def __init__(
        self, units: int, sizes: list[int], first: list[int], last: list[int], moments: int
    ) -> None:
        self.all = (1 << units) - 1
        self.sizes = sizes
        self.first = first
        self.behind = [moment + 1 for moment in last]
        self.free = [self.all] * moments
        self.at = [0] * len(sizes)

    def place(self, index: int, end: int) -> bool:
        """Place a buffer at the given end of a gap; False where there is no gap."""
        first, behind, size = self.first[index], self.behind[index], self.sizes[index]
        free = self.free
        starts = starts_of(self.all, free[first:behind], size)
        if not starts:
            return False
        if end == _LOWEST:
            at = (starts & -starts).bit_length() - 1
        elif end == _HIGHEST:
            at = starts.bit_length() - 1
        else:
            at = _tightest(starts, end)
        self.at[index] = at
        taken = ~(((1 << size) - 1) << at)
        for moment in range(first, behind):
            free[moment] &= taken
        return True

    def remove(self, indices: Sequence[int]) -> None:
        """Take placed buffers back."""
        for index in indices:
            mine = ((1 << self.sizes[index]) - 1) << self.at[index]
            for moment in range(self.first[index], self.behind[index]):
                self.free[moment] |= mine


def _tightest(starts: int, end: int) -> int:
    """The place at one end of the shortest run of bits, of the lowest or of the highest."""
    lows, highs = starts & ~(starts << 1), starts & ~(starts >> 1)
    best, shortest = 0, starts.bit_length()
    while lows:
        low, high = (lows & -lows).bit_length() - 1, (highs & -highs).bit_length() - 1
        if high - low < shortest or (high - low == shortest and end == _TIGHTEST_HIGH):
            shortest = high - low
            best = low if end == _TIGHTEST_LOW else high
        lows &= lows - 1
        highs &= highs - 1
    return best


class _Filling:
    """The search below one height."""

    def __init__(
        self,
        memory: _Memory,
        spells: list[list[int]],
        roles: list[int],
        tight: list[bool],
        placements: int,
    ) -> None:
        self.memory = memory
        self.spells = spells
        self.roles = roles
        self.tight = tight
        self.random = Random(1).random
        self.work = placements
        self.hopeless: set[tuple[int, ...]] = set()
        self.spans = [
            slice(min(memory.first[i] for i in spell), max(memory.behind[i] for i in spell))
            for spell in spells
        ]
        self.kinds = self._kinds()
        even, low = [1.0] * (max(roles, default=0) + 1), [_LOWEST] * (max(roles, default=0) + 1)
        self.ways: list[_Way] = [
            (0.0, even, low),
            (100.0, even, low),
            (0.0, even, [_TIGHTEST_LOW] * len(low)),
            (100.0, even, [_HIGHEST] * len(low)),
        ]

    def _kinds(self) -> list[int]:
        """Equal numbers for spells with equal buffers that equal ones follow."""
        memory = self.memory
        shapes: list[tuple[tuple[int, int, int], ...]] = [
            tuple(
                (memory.sizes[i], memory.first[i] - span.start, memory.behind[i] - span.start)
                for i in spell
            )
            for spell, span in zip(self.spells, self.spans, strict=True)
        ]
        numbers: dict[object, int] = {}
        pairs = zip(shapes, [*shapes[1:], ()], strict=True)
        return [numbers.setdefault(pair, len(numbers)) for pair in pairs]

    def fill(self) -> bool:
        """Place all spells; False where the work is used up, or nothing is left to try."""
        number = furthest = 0
        back = 1
        while number < len(self.spells):
            if self._spell(number):
                number += 1
                if number > furthest:
                    furthest, back = number, 1
                continue
            if self.work <= 0 or number == 0:
                return False
            self.hopeless.add(self._state(number))
            before = max(0, number - back)
            for spell in self.spells[before:number]:
                self.memory.remove(spell)
            number = before
            back = back % 10 + 1
        return True

    def _state(self, number: int) -> tuple[int, ...]:
        """What a spell finds when its turn comes."""
        return (self.kinds[number], *self.memory.free[self.spans[number]])

    def _spell(self, number: int) -> bool:
        """Place the buffers of a spell so that the next may have a chance."""
        failed = None
        for place, way in enumerate(self.ways):
            failed = self._place(number, way)
            if failed is None:
                self.ways.insert(0, self.ways.pop(place))
                return True
        way = self.ways[0]
        for attempt in range(_TRIES + _TRIES_EACH * len(self.spells[number])):
            if self.work <= 0:
                break
            if attempt % 4 == 0:
                way = self.ways[self._draw(2)]
            way = self._other(way, self.spells[number], failed)
            failed = self._place(number, way)
            if failed is None:
                self.ways.insert(0, way)
                del self.ways[_WAYS:]
                return True
        return False

    def _place(self, number: int, way: _Way) -> int | None:
        """Place all buffers of a spell, or none; the one that found no gap or the last."""
        spell = self.spells[number]
        before, weights, ends = way
        sizes, roles, tight = self.memory.sizes, self.roles, self.tight
        # equals in the order of their lives: `spell` has it, and sorting is stable
        turns = sorted(
            spell,
            key=lambda i: -sizes[i] * weights[roles[i]] * (1 + before if tight[i] else 1),
        )
        for done, index in enumerate(turns):
            if not self.memory.place(index, ends[roles[index]]):
                self.memory.remove(turns[:done])
                self.work -= done + 1
                return index
        self.work -= len(turns)
        if number + 1 < len(self.spells) and self._state(number + 1) in self.hopeless:
            self.memory.remove(turns)
            return turns[-1]
        return None

    def _draw(self, count: int) -> int:
        return int(self.random() * count)

    def _other(self, way: _Way, spell: list[int], failed: int | None) -> _Way:
        """A way in which the buffer that found no gap comes earlier, and some roles differ."""
        before, weights, ends = way
        weights, ends = list(weights), list(ends)
        if failed is not None:
            weights[self.roles[failed]] *= (2.0, 4.0, 16.0)[self._draw(3)]
        for _ in range(2 + self._draw(3)):
            role = self.roles[spell[self._draw(len(spell))]]
            kind = self.random()
            if kind < 0.6:
                ends[role] = self._draw(4)
            elif kind < 0.95:
                weights[role] = 2.0 ** (self._draw(6) - 2)
            else:
                before = (0.0, 4.0, 100.0)[self._draw(3)]
        return before, weights, ends
