"""Addresses: never an overlap, never below the live set, and exact where it can be told."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_sim.schedule.allocation import Life, pack, rings
from dataflow_sim.schedule.residents import place_residents


@st.composite
def lives(draw: st.DrawFn, most: int = 30, moments: int = 12) -> list[Life]:
    found = []
    for _ in range(draw(st.integers(0, most))):
        first = draw(st.integers(0, moments - 1))
        last = draw(st.integers(first, moments - 1))
        found.append(Life(draw(st.integers(1, 40)), first, last))
    return found


def live_peak(found: list[Life], moments: int = 12) -> int:
    return max(
        sum(life.size_bytes for life in found if life.first <= moment <= life.last)
        for moment in range(moments)
    )


def no_overlap(found: list[Life], addresses: list[int]) -> bool:
    boxes = list(zip(found, addresses, strict=True))
    return all(
        one.last < other.first
        or other.last < one.first
        or a + one.size_bytes <= b
        or b + other.size_bytes <= a
        for index, (one, a) in enumerate(boxes)
        for other, b in boxes[:index]
    )


@given(lives())
def test_packed_buffers_do_not_overlap(found: list[Life]) -> None:
    addresses, height = pack(found)
    assert no_overlap(found, addresses)
    assert all(address >= 0 for address in addresses)
    ends = [a + life.size_bytes for a, life in zip(addresses, found, strict=True)]
    assert height == max(ends, default=0) >= live_peak(found)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=25), st.integers(1, 9))
def test_rows_of_one_map_form_a_ring(births: list[int], size: int) -> None:
    """Equal sizes: as few slots as rows are ever live."""
    found = [Life(size, birth, birth + 3) for birth in sorted(births)]
    assert pack(found)[1] == live_peak(found, 30)


@given(lives(), st.integers(1, 5))
def test_rings_do_not_overlap_and_each_is_as_small_as_can_be(
    found: list[Life], owners: int
) -> None:
    names = [index % owners for index in range(len(found))]
    addresses, height = rings(found, names)
    assert no_overlap(found, addresses)
    ends = [a + life.size_bytes for a, life in zip(addresses, found, strict=True)]
    assert max(ends, default=0) <= height
    most = 0
    for owner in range(owners):
        mine = [life for life, name in zip(found, names, strict=True) if name == owner]
        slots = live_peak([life._replace(size_bytes=1) for life in mine]) if mine else 0
        most += slots * max((life.size_bytes for life in mine), default=0)
    assert height == most


def best_of_all_orders(found: list[Life]) -> int:
    """The least height: the order by address of the best addresses, each in its lowest gap."""
    best = sum(life.size_bytes for life in found)
    for order in permutations(range(len(found))):
        placed: list[tuple[Life, int]] = []
        for index in order:
            life = found[index]
            rivals = sorted(
                (a, a + other.size_bytes)
                for other, a in placed
                if other.first <= life.last and life.first <= other.last
            )
            address = 0
            for low, high in rivals:
                if low - address >= life.size_bytes:
                    break
                address = max(address, high)
            placed.append((life, address))
        best = min(best, max((a + x.size_bytes for x, a in placed), default=0))
    return best


@settings(max_examples=40)
@given(lives(most=5, moments=4))
def test_packing_is_at_most_a_third_above_the_best_of_all_orders(found: list[Life]) -> None:
    best = best_of_all_orders(found)
    assert best <= pack(found)[1] <= best * 4 / 3


@settings(max_examples=60)
@given(lives(most=4, moments=3), st.lists(st.integers(1, 40), min_size=3, max_size=3))
def test_few_residents_are_placed_as_low_as_can_be(found: list[Life], groups: list[int]) -> None:
    pieces = [Life(own, group, group) for group, own in enumerate(groups)]
    assert place_residents(found, groups).height == best_of_all_orders([*found, *pieces])


@given(lives(most=8, moments=6), st.lists(st.integers(1, 60), min_size=6, max_size=6))
def test_residents_and_groups_share_the_memory(found: list[Life], groups: list[int]) -> None:
    placed = place_residents(found, groups)
    everything = [*found, *(Life(own, g, g) for g, own in enumerate(groups))]
    addresses = [*placed.residents, *placed.groups]
    assert no_overlap(everything, addresses)
    ends = [a + life.size_bytes for a, life in zip(addresses, everything, strict=True)]
    assert max(ends) <= placed.height
    assert placed.height >= live_peak(everything, 6)


def test_where_stacks_leave_no_gap_all_are_packed_together() -> None:
    """The second map would have to move for the last group but one."""
    residents = [Life(3, 2, 4), Life(1, 1, 3), Life(6, 0, 2)]
    assert place_residents(residents, [6, 1, 1, 8, 9]).height == 12


def test_a_chain_of_residents_takes_its_live_set() -> None:
    """Maps that hand over from group to group stack from both ends."""
    chain = [Life(size, group, group + 1) for group, size in enumerate((50, 20, 70, 10, 40))]
    own = [5, 9, 3, 8, 2, 6]
    everything = [*chain, *(Life(size, group, group) for group, size in enumerate(own))]
    assert place_residents(chain, own).height == live_peak(everything, 6)
