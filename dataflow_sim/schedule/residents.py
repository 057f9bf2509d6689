"""Addresses of maps that outlive their group, and of each group's own bytes in one piece.

Moments are indices of groups.  Maps are stacked from both ends of the memory, so that what the
groups themselves need finds one gap in the middle:

    address ▲   ├── map B ──┤            ├── map D ──┤
            │      groups       groups       groups
            │  ├── map A ──┤  ├── map C ──┤

Where that leaves some group without a gap, a search below a given height: each buffer at one end
of what is free, the largest first; the one that finds no gap comes first the next time, and with
another now and then changes its end.  The height aimed at is the least memory that could do, the
largest sum of what is held at once, then heights between this and what needs no search: all packed
together, or the maps below the groups.  The work is bounded by a number of tries, and the random
numbers have a fixed seed, so that the same buffers always get the same addresses.

Source: own; that squeaky wheels get their turn earlier is after Joslin and Clements, JAIR 1999.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import numpy as np

from dataflow_sim.schedule.allocation import Ints, Life, lowest_gap, pack
from dataflow_sim.schedule.handover import saved_bytes
from dataflow_sim.schedule.types import Handover, Resident, Schedule

_TRIES = 300  # at each height aimed at
_SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7)  # of what is needed without a search
# how often another buffer, and the one that found no gap, changes its end
_OTHER, _OWN = 0.2, 0.3


class Sharing(NamedTuple):
    """Places of two maps in a list, of which the first gives its rows to the second."""

    taken: int
    made: int
    distance_bytes: int


def sharing_of(homes: Sequence[Resident], hands: Sequence[Handover | None]) -> list[Sharing]:
    """Which homes share a group, for what is handed over in each group."""
    found = []
    for number, each in enumerate(hands):
        if each is not None:
            here = [place for place, home in enumerate(homes) if home.first <= number <= home.last]
            taken = next(place for place in here if each.taken in homes[place].tensors)
            made = next(place for place in here if each.made in homes[place].tensors)
            found.append(Sharing(taken, made, each.distance_bytes))
    return found


@dataclass(frozen=True, slots=True)
class Placed:
    """Addresses of residents and of the groups' own buffers, and the height of all."""

    residents: tuple[int, ...]
    groups: tuple[int, ...]
    height: int


def place_residents(
    residents: Sequence[Life],
    groups: Sequence[int],
    sharing: Sequence[Sharing] = (),
    alignment_bytes: int = 1,
) -> Placed:
    """Place maps that live from one group to another, and each group's own bytes in one piece.

    Of maps that are `sharing` a group, which is the last of one and the first of the other, the
    latter may lie below the former at some distance.  Addresses are multiples of the alignment,
    as all sizes and distances are.
    """
    own = np.array(groups, np.int64)[:, None]
    targets = _targets(residents, own, sharing)
    ((_, stacks),) = _stacked(residents, targets - own)
    target = int(targets[0])
    if stacks is not None:
        addresses = [at if at >= 0 else target + at for at in stacks.addresses]
        return Placed(tuple(addresses), tuple(stacks.bottom), target)
    plain = _from_the_bottom(residents, groups)
    pieces = [Life(size, group, group) for group, size in enumerate(groups)]
    search = _Search([*residents, *pieces], sharing)
    for share in _SHARES:
        aim = target + int(share * (plain.height - target))
        aim -= aim % alignment_bytes
        if aim >= plain.height:
            break
        found = search.below(aim)
        if found is not None:
            # what takes no bytes lies nowhere
            found = [
                at if life.size_bytes else 0 for at, life in zip(found, search.lives, strict=True)
            ]
            height = max(at + life.size_bytes for at, life in zip(found, search.lives, strict=True))
            count = len(residents)
            return Placed(tuple(found[:count]), tuple(found[count:]), height)
    return plain


def _from_the_bottom(residents: Sequence[Life], groups: Sequence[int]) -> Placed:
    """The lower of two ways: all together, the largest first, or the maps before the groups."""
    pieces = [Life(size, group, group) for group, size in enumerate(groups)]
    together, height = pack([*residents, *pieces])
    addresses, _ = pack(residents)
    bases = [_base(residents, addresses, index, own) for index, own in enumerate(groups)]
    ends = [
        a + life.size_bytes
        for a, life in zip([*addresses, *bases], [*residents, *pieces], strict=True)
    ]
    if height <= max(ends):
        addresses, bases = together[: len(residents)], together[len(residents) :]
    return Placed(tuple(addresses), tuple(bases), min(height, max(ends)))


class _Search:
    """Buffers to place below some height.

    A map below another that gives it its rows begins at a distance from it at the least: what is
    taken for it ends there, and for the other only so far.
    """

    def __init__(self, lives: Sequence[Life], sharing: Sequence[Sharing]) -> None:
        self.lives = list(lives)
        self.ends = {}
        for taken, made, distance in sharing:
            above = lives[made].size_bytes - distance
            self.ends[made, taken] = (above, lives[taken].size_bytes)
            self.ends[taken, made] = (0, distance)
        self.beside = [
            [
                j
                for j, other in enumerate(lives)
                if j != i and other.first <= life.last and life.first <= other.last
            ]
            for i, life in enumerate(lives)
        ]

    def below(self, height: int) -> list[int] | None:
        """Addresses below a height, None where no try finds any."""
        random = Random(1).random
        count = len(self.lives)
        rank = [float(life.size_bytes) for life in self.lives]
        first = max(rank)
        from_top = [False] * count
        for _ in range(_TRIES):
            order = sorted(range(count), key=lambda i: (-rank[i], i))
            addresses, failed = self._place(order, from_top, height)
            if failed is None:
                return addresses
            first *= 1.02
            rank[failed] = first
            if random() < _OTHER:
                other = int(random() * count)
                from_top[other] = not from_top[other]
            if random() < _OWN:
                from_top[failed] = not from_top[failed]
        return None

    def _place(
        self, order: Sequence[int], from_top: Sequence[bool], height: int
    ) -> tuple[list[int], int | None]:
        """Addresses in an order, up to the first buffer that finds no gap."""
        addresses = [-1] * len(self.lives)
        for index in order:
            size = self.lives[index].size_bytes
            taken = sorted(
                (addresses[j] + low, addresses[j] + high)
                for j in self.beside[index]
                if addresses[j] >= 0
                for low, high in [self.ends.get((index, j), (0, self.lives[j].size_bytes))]
            )
            found, at = -1, 0
            for low, high in (*taken, (height, height)):
                if low - at >= size:
                    found = low - size if from_top[index] else at
                    if not from_top[index]:
                        break
                at = max(at, high)
            if found < 0:
                return addresses, index
            addresses[index] = found
        return addresses, None


def resident_heights(
    residents: Sequence[Life],
    groups: Ints,
    sharing: Sequence[Sharing] = (),
    alignment_bytes: int = 1,
) -> Ints:
    """The heights of `place_residents` for many sizes of the groups (groups, cases)."""
    heights = _targets(residents, groups, sharing)
    if residents:
        for cases, stacks in _stacked(residents, heights - groups):
            for case in cases.tolist() if stacks is None else ():
                own = groups[:, case].tolist()
                heights[case] = place_residents(residents, own, sharing, alignment_bytes).height
    return heights


def held_bytes(residents: Sequence[Life], groups: int, sharing: Sequence[Sharing] = ()) -> Ints:
    """Bytes of the maps that live in each of so many groups."""
    held = np.zeros(groups + 1, np.int64)
    for size, first, last in residents:
        held[first] += size
        held[last + 1] -= size
    held = np.cumsum(held)[:-1]
    for taken, made, distance in sharing:
        sizes = residents[taken].size_bytes, residents[made].size_bytes
        held[residents[made].first] -= saved_bytes(*sizes, distance)
    return np.asarray(held, np.int64)


def held_in(schedule: Schedule, homes: Sequence[Resident] | None = None) -> list[int]:
    """Bytes of the maps that are resident in each group of a schedule, of all homes or of some."""
    homes = schedule.residents if homes is None else homes
    lives = [Life(home.size_bytes, home.first, home.last) for home in homes]
    sharing = sharing_of(homes, [group.hands for group in schedule.groups])
    return [int(each) for each in held_bytes(lives, len(schedule.groups), sharing)]


def _targets(residents: Sequence[Life], groups: Ints, sharing: Sequence[Sharing]) -> Ints:
    """The least memories that could hold residents and groups (groups, cases)."""
    needs = groups + held_bytes(residents, len(groups), sharing)[:, None]
    return np.asarray(needs.max(axis=0), np.int64)


@dataclass(slots=True)
class _Stacks:
    """Bytes taken from the bottom and from the top in each group; addresses from the top are
    negative, less the target."""

    addresses: list[int]
    bottom: list[int]
    top: list[int]


def _stacked(residents: Sequence[Life], room: Ints) -> Iterator[tuple[Ints, _Stacks | None]]:
    """Stack maps from both ends where each group has some room (groups, cases) in between.

    Cases that come to the same stacks come together; None where something does not fit.
    """
    order = sorted(range(len(residents)), key=lambda i: (residents[i].first, -residents[i].last, i))
    groups, cases = room.shape
    start = _Stacks([0] * len(residents), [0] * groups, [0] * groups)
    work = [(0, np.arange(cases), start)]
    while work:
        number, mine, stacks = work.pop()
        if number == len(order):
            yield mine, stacks
            continue
        index = order[number]
        size, first, last = residents[index]
        bottom, top = stacks.bottom[first : last + 1], stacks.top[first : last + 1]
        from_bottom, from_top = max(bottom), max(top)
        wasted_below = from_bottom * len(bottom) - sum(bottom)
        wasted_above = from_top * len(top) - sum(top)
        # what the groups leave beside what is stacked at the other end
        there = room[first : last + 1, mine]
        below = from_bottom + size <= (there - np.array(top)[:, None]).min(axis=0)
        above = from_top + size <= (there - np.array(bottom)[:, None]).min(axis=0)
        low = below & (wasted_below <= wasted_above or ~above)
        for chosen, at_bottom in ((low, True), (above & ~low, False)):
            if chosen.any():
                other = stacks
                if not chosen.all():
                    other = _Stacks([*stacks.addresses], [*stacks.bottom], [*stacks.top])
                ends = other.bottom if at_bottom else other.top
                filled = (from_bottom if at_bottom else from_top) + size
                other.addresses[index] = from_bottom if at_bottom else -filled
                ends[first : last + 1] = [filled] * (last + 1 - first)
                work.append((number + 1, mine[chosen], other))
        neither = ~(low | above)
        if neither.any():
            yield mine[neither], None


def _base(residents: Sequence[Life], addresses: Sequence[int], group: int, size: int) -> int:
    """The lowest gap for a group's own buffers."""
    ranges = [
        (address, address + life.size_bytes)
        for life, address in zip(residents, addresses, strict=True)
        if life.first <= group <= life.last
    ]
    low, high = (np.array([r[side] for r in ranges], np.int64) for side in (0, 1))
    return lowest_gap(low, high, size)
