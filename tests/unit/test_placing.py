"""Placing buffers: the check of a placement against its definition, the capacity at n and n - 1."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_sim.errors import EXIT_DOES_NOT_FIT, BuffersDoNotFitError, ScheduleError
from dataflow_sim.placing import check_placement, place_buffers
from dataflow_sim.results_of_placement import Lifetime, PlacementResult, fragmentation

LIFETIMES = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 4), st.integers(0, 5)), min_size=1, max_size=6
).map(
    lambda rows: tuple(
        Lifetime(f"b{place}", lower, lower + length, size)
        for place, (lower, length, size) in enumerate(rows)
    )
)


def bytes_of(lives: tuple[Lifetime, ...], offsets: tuple[int, ...]) -> list[tuple[int, int]]:
    """Every byte at every moment, by definition."""
    return [
        (moment, byte)
        for life, offset in zip(lives, offsets, strict=True)
        for moment, byte in product(
            range(life.lower, life.upper), range(offset, offset + life.size_bytes)
        )
    ]


@given(LIFETIMES, st.data())
def test_the_check_finds_what_shares_a_byte_at_a_moment(
    lives: tuple[Lifetime, ...], data: st.DataObject
) -> None:
    offsets = tuple(data.draw(st.integers(0, 8)) for _ in lives)
    taken = bytes_of(lives, offsets)
    if len(set(taken)) == len(taken):
        check_placement(lives, offsets)
    else:
        with pytest.raises(ScheduleError, match="overlap at"):
            check_placement(lives, offsets)


def test_the_check_of_addresses() -> None:
    lives = (Lifetime("a", 0, 1, 4), Lifetime("b", 1, 2, 4))
    check_placement(lives, (8, 8), 8)
    for wrong, alignment in (((-4, 0), 1), ((0, 4), 8)):
        with pytest.raises(ScheduleError, match="no multiple of"):
            check_placement(lives, wrong, alignment)


@given(LIFETIMES, st.sampled_from((1, 4)))
def test_heights_of_a_placement(lives: tuple[Lifetime, ...], alignment: int) -> None:
    found = place_buffers("f", lives, None, alignment_bytes=alignment)
    taken = bytes_of(lives, found.offsets)
    assert len(set(taken)) == len(taken)
    assert all(offset % alignment == 0 for offset in found.offsets)
    in_use = [sum(at == moment for at, _ in taken) for moment in range(12)]
    assert found.live_peak_bytes == max(in_use) <= found.least_bytes <= found.peak_bytes
    assert found.peak_bytes == max(
        offset + life.size_bytes for life, offset in zip(lives, found.offsets, strict=True)
    )
    if found.proved_least and found.peak_bytes > 1:
        # what is proved the least fits itself, and nothing below it
        again = place_buffers("f", lives, found.peak_bytes, alignment_bytes=alignment)
        assert again.peak_bytes == found.peak_bytes
        with pytest.raises(BuffersDoNotFitError, match="proved impossible"):
            place_buffers("f", lives, found.peak_bytes - 1, alignment_bytes=alignment)


def test_what_does_not_fit_tells_why() -> None:
    lives = tuple(Lifetime(f"b{place}", place, place + 2, 10) for place in range(3))
    assert place_buffers("f", lives, 20).offsets in {(0, 10, 0), (10, 0, 10)}
    with pytest.raises(BuffersDoNotFitError) as failure:
        place_buffers("f", lives, 19)
    error = failure.value
    assert error.exit_code == EXIT_DOES_NOT_FIT
    assert (error.capacity_bytes, error.live_peak_bytes, error.lowest_bytes) == (19, 20, 20)
    assert str(error) == (
        "the buffers do not fit 19 bytes: their live peak is 20, the lowest placement found "
        "reaches 20 (proved impossible, since so much lives at a time); raise --capacity to 20B"
    )
    # 3 bytes at multiples of 4: two take 7, though 6 live
    with pytest.raises(BuffersDoNotFitError, match="since no placement is below 7"):
        place_buffers("f", (Lifetime("a", 0, 1, 3), Lifetime("b", 0, 1, 3)), 6, alignment_bytes=4)


def test_a_search_without_work_does_not_claim_a_proof() -> None:
    # the largest first: d and a at 0, c above a, b above c
    lives = tuple(
        Lifetime(*each) for each in (("a", 1, 4, 4), ("b", 3, 6, 1), ("c", 0, 3, 4), ("d", 4, 7, 5))
    )
    found = place_buffers("f", lives, None, work=0)
    assert (found.live_peak_bytes, found.peak_bytes, found.proved_least) == (8, 9, False)
    with pytest.raises(BuffersDoNotFitError, match=r"9 \(not proved impossible\).*\(--work\)$"):
        place_buffers("f", lives, 8, work=0)
    better = place_buffers("f", lives, 8)
    assert (better.peak_bytes, better.proved_least) == (8, True)
    with pytest.raises(BuffersDoNotFitError, match="proved impossible, since"):
        place_buffers("f", lives, 7)


def test_a_result_holds_its_heights_together() -> None:
    lives = (Lifetime("a", 0, 1, 4), Lifetime("b", 1, 2, 4))
    good = PlacementResult("f", 8, 1, lives, (0, 0), 4, 4, 4)
    assert good.fragmentation == 0.0
    assert good.proved_least
    for heights in ((4, 4, 5), (5, 4, 4), (4, 5, 4), (3, 6, 4)):
        with pytest.raises(ValueError, match=r"order|highest"):
            PlacementResult("f", 8, 1, lives, (0, 0), *heights)
    with pytest.raises(ValueError, match="shorter"):
        PlacementResult("f", 8, 1, lives, (0,), 4, 4, 4)
    with pytest.raises(ValueError, match="lives"):
        Lifetime("a", 1, 1, 4)


def test_fragmentation() -> None:
    assert fragmentation(0, 0) == 0.0
    assert fragmentation(3, 4) == 0.25
    assert fragmentation(4, 4) == 0.0


def test_names_tell_apart_who_overlaps() -> None:
    lives = (Lifetime("one", 0, 9, 4), Lifetime("two", 3, 5, 4), Lifetime("three", 4, 6, 1))
    check_placement(lives, (0, 4, 8))
    for one, other in combinations(range(3), 2):
        offsets = [0, 4, 8]
        offsets[other] = offsets[one]
        names = rf"'({lives[one].name}|{lives[other].name})' and '"
        with pytest.raises(ScheduleError, match=names):
            check_placement(lives, offsets)
