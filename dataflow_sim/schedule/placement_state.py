"""How far a placement from the bottom upwards has come, and what follows from it.

The state is a lowest address for every buffer, `low`: no placement that is still looked for has the
buffer below it.  A buffer that got its address has left the state, all others lie above it.

    address ▲ ══════════════════ capacity      Of the buffers left in a section, by lowest address,
            │  ┌───┐                           those from the k-th on lie above low(k), all of them:
            │  │ C │        ┌───┐
            │  └───┘  ┌───┐ │ D │                low(k) + sum of sizes from the k-th on <= capacity
            │  ┌───┐  │ B │ └───┘
            │  │ A │  └───┘                    The lowest of all leaves room for the rest above it:
            │▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒
            └──────────────────► one section     low <= capacity - sum of all sizes = latest

What is above `latest` in some section lies on another buffer there, so no lower than the least
top of those that are not.  This is applied until nothing changes; what cannot be met is a
contradiction.

Addresses are multiples of the alignment and sizes are rounded up to it; the one on top needs only
its own bytes, which a section's room takes into account.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from dataflow_sim.schedule.placement_problem import Problem

Ints = npt.NDArray[np.int64]

# the lowest address of a buffer that has left; no address is as high
GONE = 1 << 42
# a buffer's number takes so many bits of a key for sorting
_NUMBER_BITS = 20
_NUMBERS = (1 << _NUMBER_BITS) - 1
# sections times buffers in the fullest, and pairs of buffers of a section, at most
_MOST_CELLS = 1 << 21
_MOST_PAIRS = 1 << 24


class State:
    """Lowest addresses of the buffers of a problem below a capacity.

    Buffers are numbered by their first sections, those without bytes are left out; `names` has
    their places in the problem, `at` the addresses of those that left.  `known` has a row for each
    section: the least address of those left, `latest` as above, how many of them can be the lowest.
    `counts` has how many are left, `fails` how often there was a contradiction, and `crossing` for
    each border between a section and the one before the buffers left on both sides of it.
    """

    def __init__(self, problem: Problem, capacity_bytes: int) -> None:
        spans, sizes = problem.spans, problem.rounded
        step = problem.alignment_bytes
        names = sorted((i for i, size in enumerate(sizes) if size), key=lambda i: (*spans[i], i))
        self.names = names
        self.sections = len(problem.ends)
        self.sizes = np.array([sizes[i] for i in names] + [0], np.int64)
        self.first = np.array([spans[i][0] for i in names], np.int64)
        self.behind = np.array([spans[i][1] for i in names], np.int64)
        real = np.array([problem.lives[i].size_bytes for i in names] + [0], np.int64)
        self.last = (capacity_bytes - real) // step * step
        self._relate(problem)
        self._room = (self.last + self.sizes)[self.members].max(axis=1, initial=0, keepdims=True)
        self._begin()

    @staticmethod
    def can_hold(problem: Problem, capacity_bytes: int) -> bool:
        """Whether a problem is of a kind and a size that a state can be made of."""
        return (
            not problem.apart
            and State.cells(problem) <= _MOST_CELLS
            and sum(len(members) ** 2 for members in problem.sections) <= _MOST_PAIRS
            and len(problem.lives) < _NUMBERS
            and capacity_bytes + problem.alignment_bytes < GONE // 2
        )

    @staticmethod
    def cells(problem: Problem) -> int:
        """Sections times buffers in the fullest: what a node takes grows with it."""
        return len(problem.ends) * max(map(len, problem.sections), default=0)

    def _relate(self, problem: Problem) -> None:
        """Find who lives with whom, and who is like whom."""
        names = self.names
        number = {name: place for place, name in enumerate(names)}
        inside = [[number[i] for i in members if i in number] for members in problem.sections]
        self.members = np.full((self.sections, max(map(len, inside), default=0)), len(names))
        beside: list[set[int]] = [set() for _ in names]
        for section, there in enumerate(inside):
            self.members[section, : len(there)] = there
            for one in there:
                beside[one].update(there)
        self.beside = [np.array(sorted(b - {i}), np.int64) for i, b in enumerate(beside)]
        same: dict[tuple[int, ...], list[int]] = {}
        for one, name in enumerate(names):
            kind = (*problem.spans[name], int(self.sizes[one]), int(self.last[one]))
            same.setdefault(kind, []).append(one)
        self.twins: list[Ints] = [np.array([], np.int64)] * len(names)
        for group in same.values():
            for one in group:
                self.twins[one] = np.array(group, np.int64)

    def _begin(self) -> None:
        """Nothing has an address yet."""
        count, sections = len(self.names), self.sections
        self.low = np.zeros(count + 1, np.int64)
        self.low[-1] = GONE
        self.left = self.sizes.copy()
        self.at = np.zeros(count + 1, np.int64)
        self.known = np.zeros((sections, 3), np.int64)
        self.counts = (self.members < count).sum(axis=1)
        self.fails = np.zeros(sections, np.int64)
        edges = np.zeros(sections + 1, np.int64)
        np.add.at(edges, self.first + 1, 1)
        np.add.at(edges, self.behind, -1)
        self.crossing = edges.cumsum()
        self.starts = np.searchsorted(self.first, np.arange(sections + 1)).tolist()
        self._trail: list[tuple[Ints, Ints | slice | int, Ints | int]] = []

    def settle_all(self) -> bool:
        """Draw all conclusions; False where they contradict each other."""
        if not self.names:
            return True
        return not (self.last < 0).any() and self._settle(slice(0, self.sections))

    def mark(self) -> int:
        """What `undo` takes to come back to where things are."""
        return len(self._trail)

    def undo(self, mark: int) -> None:
        """Take back all since a mark."""
        trail = self._trail
        while len(trail) > mark:
            array, where, old = trail.pop()
            array[where] = old

    def key(self, begin: int, behind: int) -> bytes:
        """What is equal where the same of some sections are left with the same lowest addresses."""
        low = self.low[self.starts[begin] : self.starts[behind]]
        return blake2b(low.tobytes(), digest_size=16, salt=begin.to_bytes(8, "big")).digest()

    def count(self, begin: int, behind: int) -> int:
        """How many buffers of some sections are left."""
        return int(np.count_nonzero(self.left[self.starts[begin] : self.starts[behind]]))

    def place(self, number: int) -> bool:
        """Give a buffer its lowest address; False where that contradicts the rest."""
        low, left, trail = self.low, self.left, self._trail
        at = low[number]
        top = at + self.sizes[number]
        a, b = int(self.first[number]), int(self.behind[number])
        self.at[number] = at
        trail.append((low, number, at))
        trail.append((left, number, left[number]))
        low[number], left[number] = GONE, 0
        for counts, lives in ((self.counts, slice(a, b)), (self.crossing, slice(a + 1, b))):
            trail.append((counts, lives, counts[lives].copy()))
            counts[lives] -= 1
        beside = self.beside[number]
        moved = beside[low[beside] < top]
        if len(moved):
            if not self._lift(moved, top):
                return False
            # all of them live with this one: their lives are one piece of time
            a = min(a, int(self.first[moved].min()))
            b = max(b, int(self.behind[moved].max()))
        return self._settle(slice(a, b))

    def refuse(self, number: int) -> bool:
        """Keep a buffer from its lowest address: it lies on another; False where none is left.

        Nor does any of its twins lie there, which could change places with it.
        """
        beside = self.beside[number]
        if not len(beside):
            return False
        twins = self.twins[number]
        alike = twins[self.low[twins] == self.low[number]]
        if not self._lift(alike, (self.low[beside] + self.left[beside]).min()):
            return False
        return self._settle(slice(int(self.first[number]), int(self.behind[number])))

    def lowest_below(self, number: int) -> int:
        """The buffer itself, or one left that fits below it and has no such other."""
        while True:
            beside = self.beside[number]
            if not len(beside):
                return number
            tops = self.low[beside] + self.left[beside]
            lowest = tops.argmin()
            if tops[lowest] > self.low[number]:
                return number
            number = int(beside[lowest])

    def _lift(self, numbers: Ints, addresses: Ints | np.int64) -> bool:
        """Raise the lowest addresses of some buffers; False where one is too high."""
        self._trail.append((self.low, numbers, self.low[numbers]))
        self.low[numbers] = addresses
        return not np.count_nonzero(self.last[numbers] < addresses)

    def _spans_of(self, numbers: Ints) -> Ints:
        """The sections in which any of some buffers lives."""
        edges = np.bincount(self.first[numbers], minlength=self.sections + 1)
        edges -= np.bincount(self.behind[numbers], minlength=self.sections + 1)
        return np.flatnonzero(edges.cumsum())

    def _settle(self, where: slice | Ints) -> bool:
        """Draw conclusions from what changed in some sections, until nothing changes."""
        low_of, left_of, trail = self.low, self.left, self._trail
        while True:
            keys, room = self.members[where], self._room[where]
            keys = (low_of[keys] << _NUMBER_BITS) | keys
            keys.sort(axis=1)
            # those that are gone come last
            counts = self.counts[where]
            keys = keys[:, : max(1, counts.max())]
            numbers, low = keys & _NUMBERS, keys >> _NUMBER_BITS
            sizes = left_of[numbers]
            sums = sizes.cumsum(axis=1)
            latest = room - sums[:, -1:]
            tops = low + sizes
            there = low < GONE
            contradicts = tops - sums > latest
            contradicts &= there
            if np.count_nonzero(contradicts):
                self.fails[where] += contradicts.any(axis=1)
                return False
            late = low > latest
            least = np.where(late, GONE, tops).min(axis=1, keepdims=True)
            late &= there
            trail.append((self.known, where, self.known[where].copy()))
            known = np.empty((len(keys), 3), np.int64)
            known[:, 0], known[:, 1] = low[:, 0], latest[:, 0]
            np.subtract(counts, late.sum(axis=1), out=known[:, 2])
            self.known[where] = known
            late &= low < least
            if not np.count_nonzero(late):
                return True
            moved, addresses = _highest(numbers[late], (late * least)[late])
            if not self._lift(moved, addresses):
                return False
            where = self._spans_of(moved)


def _highest(numbers: Ints, addresses: Ints) -> tuple[Ints, Ints]:
    """Each number once, with the highest of its addresses."""
    order = np.lexsort((addresses, numbers))
    numbers, addresses = numbers[order], addresses[order]
    last = np.append(numbers[1:] != numbers[:-1], True)
    return numbers[last], addresses[last]
