"""Where things lie: the rules of addresses that a schedule must obey.

What is in local memory at the same time lies apart, within the memory and at multiples of its
alignment; two resident maps of which one gives its rows to the other keep their distance.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from dataflow_sim.schedule.types import Group, Handover, Resident, Schedule


def place_faults(schedule: Schedule) -> Iterator[str]:
    """Every rule of addresses that a schedule breaks, each as one sentence."""
    yield from _overlap_faults(schedule)
    yield from _alignment_faults(schedule)


def _overlap_faults(schedule: Schedule) -> Iterator[str]:
    """No two things lie in the same place at the same time, all within the memory."""
    if schedule.local_bytes > schedule.memory.capacity_bytes:
        worst = max(schedule.groups, key=lambda group: group.address + group.local_bytes)
        yield (
            f"layer '{worst.layers[0].layer}': needs {schedule.local_bytes:,} bytes of "
            f"local memory, there are {schedule.memory.capacity_bytes:,}"
        )
    for number, group in enumerate(schedule.groups):
        ranges = [(group.address, group.address + group.local_bytes, f"group {number}")]
        named: set[str] = set()
        here = [home for home in schedule.residents if home.first <= number <= home.last]
        for home in here:
            ranges.append((home.address, home.address + home.size_bytes, home.tensors[0]))
            named.update(home.tensors)
        if group.hands is not None:
            yield from (f"group {number}: {each}" for each in _handover_faults(group))
            ranges = _shared(ranges, here, group.hands)
        if not group.resident <= named:
            yield f"group {number}: {sorted(group.resident - named)} have no place"
        ranges.sort()
        for (_, end, one), (begin, _, other) in pairwise(ranges):
            if begin < end:
                yield f"group {number}: {one} and {other} overlap"


def _alignment_faults(schedule: Schedule) -> Iterator[str]:
    """Whatever lies in local memory begins and ends at multiples of the alignment."""
    unit = schedule.memory.alignment_bytes
    for number, group in enumerate(schedule.groups):
        sizes = [(f"group {number}", group.address, group.local_bytes)]
        if group.hands is not None:
            name = f"'{group.hands.made}' below '{group.hands.taken}'"
            sizes.append((name, group.hands.distance_bytes, 0))
        yield from _unaligned(sizes, unit)
    homes = [(f"'{home.tensors[0]}'", home.address, home.size_bytes) for home in schedule.residents]
    yield from _unaligned(homes, unit)


def _unaligned(ranges: list[tuple[str, int, int]], unit: int) -> Iterator[str]:
    for name, address, size in ranges:
        if address % unit or size % unit:
            yield f"{name}: {size:,} bytes at {address:,} are not aligned to {unit:,}"


def _handover_faults(group: Group) -> Iterator[str]:
    """Rows are handed over between resident maps of a group that runs by rows."""
    hands = group.hands
    assert hands is not None
    if not group.merged or group.tile is not None:
        yield f"'{hands.taken}' gives rows away, but the group does not run by rows"
    for name in (hands.taken, hands.made):
        if name not in group.resident:
            yield f"'{name}' is not resident, and cannot give or take rows"
    if hands.distance_bytes < 0:
        yield f"a distance of {hands.distance_bytes} bytes"


def _shared(
    ranges: list[tuple[int, int, str]], homes: list[Resident], hands: Handover
) -> list[tuple[int, int, str]]:
    """Ranges of addresses, two maps of which one gives its rows to the other as one of them."""
    pair = [home for home in homes if hands.taken in home.tensors or hands.made in home.tensors]
    if len(pair) != 2:
        return ranges
    taken, made = sorted(pair, key=lambda home: hands.taken not in home.tensors)
    if taken.address - made.address < hands.distance_bytes:
        return ranges
    ends = [home.address + home.size_bytes for home in pair]
    if made.address + made.size_bytes <= taken.address:
        return ranges
    names = {home.tensors[0] for home in pair}
    both = (made.address, max(ends), made.tensors[0])
    return [*(each for each in ranges if each[2] not in names), both]
