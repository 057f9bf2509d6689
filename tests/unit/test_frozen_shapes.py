"""Axes through reshapes, cuts and joins, against the same axes computed at the new size."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_sim.ingest.sizes.frozen import (
    Axes,
    Axis,
    Factor,
    boundary,
    joined,
    new_extent,
    new_shape,
    old_shape,
    part_of,
    plain,
    regrouped,
)

atoms = st.lists(
    st.tuples(st.integers(2, 6), st.integers(1, 9)).map(lambda each: Factor(*each)),
    min_size=1,
    max_size=7,
)


def grouped(factors: list[Factor], cuts: set[int]) -> Axes:
    """The factors as axes, with a new axis at every cut."""
    places = [0, *sorted(cut for cut in cuts if 0 < cut < len(factors)), len(factors)]
    return tuple(tuple(factors[start:end]) for start, end in pairwise(places))


@given(atoms, st.sets(st.integers(1, 6)), st.sets(st.integers(1, 6)))
def test_any_grouping_of_the_same_factors(
    factors: list[Factor], first: set[int], second: set[int]
) -> None:
    """Whatever product of factors an axis is in the file, it is the same product now."""
    source, target = grouped(factors, first), grouped(factors, second)
    found = regrouped(source, old_shape(target))
    assert found is not None
    assert old_shape(found) == old_shape(target)
    assert new_shape(found) == new_shape(target)
    assert prod(new_shape(found)) == prod(new_shape(source))


@given(
    st.lists(st.integers(2, 6), min_size=2, max_size=5),
    st.integers(0, 4),
    st.booleans(),
    st.booleans(),
    st.integers(2, 5),
)
def test_a_batch_of_one_among_fixed_axes(
    extents: list[int], place: int, alone: bool, came_alone: bool, batch: int
) -> None:
    """It stands alone, or leads the heads that follow it, before and after."""
    place = min(place, len(extents) - 2)
    own = Factor(1, batch)
    fixed = [Factor(extent, extent) for extent in extents]

    def arranged(lone: bool) -> Axes:
        led = [(own,), (fixed[place],)] if lone else [(own, fixed[place])]
        return (
            *((each,) for each in fixed[:place]),
            *led,
            *((each,) for each in fixed[place + 1 :]),
        )

    target = arranged(alone)
    found = regrouped(arranged(came_alone), old_shape(target), (1, batch))
    assert found is not None
    assert new_shape(found) == new_shape(target)


@pytest.mark.parametrize(
    ("axes", "target", "wanted"),
    [
        # tokens before the batch, merged with it: features never take the batch
        ([(400, 400), (1, 3), (256, 256)], (400, 256), (1200, 256)),
        ([(400, 400), (1, 3), (256, 256)], (400, 8, 32), (400, 24, 32)),
        ([(1, 3), (256, 256)], (256,), (768,)),
        ([(1, 1), (1, 3), (9, 9)], (1, 9), (3, 9)),
        ([(1, 1), (1, 3), (9, 9), (4, 4)], (1, 9, 4), (3, 9, 4)),
        ([(1, 1), (1, 3), (9, 9)], (1, 1, 9), (1, 3, 9)),
        ([(1, 3), (9, 9), (1, 1)], (1, 9), (3, 9)),
        # a plane of one place that grows is no batch
        ([(1, 1), (1, 2), (1, 5), (6, 6), (4, 4)], (1, 6, 4), (1, 60, 4)),
        ([(1, 1), (24, 24), (1, 2), (1, 5)], (1, 24), (1, 240)),
        ([(1, 1), (1, 2), (1, 5), (24, 24)], (1, 24), (1, 240)),
    ],
)
def test_ones_that_become_more(
    axes: list[tuple[int, int]], target: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    found = regrouped(tuple((Factor(*axis),) for axis in axes), target, (1, 3))
    assert found is not None
    assert new_shape(found) == wanted


def test_windows_keep_their_size_and_products_are_not_cut() -> None:
    side = plain((56,), (84,), sides=True)
    found = regrouped(side, (8, 7))
    assert found is not None
    assert new_shape(found) == (12, 7)
    assert regrouped(plain((56,), (80,), sides=True), (8, 7)) is None
    assert regrouped(plain((56,), (84,)), (8, 7)) is None
    assert regrouped(side, (5, 7)) is None


def test_fixed_axes_may_be_cut_across_each_other() -> None:
    found = regrouped((*plain((1,), (3,)), *plain((6, 4), (6, 4))), (1, 4, 6), (1, 3))
    assert found is not None
    assert new_shape(found) == (3, 4, 6)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=2, max_size=5))
def test_maps_come_apart_where_they_were_joined(extents: list[tuple[int, int]]) -> None:
    parts: list[Axis] = [(Factor(*each),) for each in extents]
    axis = joined(parts)
    old = np.cumsum([0, *(each[0] for each in extents)])
    new = np.cumsum([0, *(each[1] for each in extents)])
    for start, cut in enumerate(old):
        assert boundary(axis, int(cut)) == new[start]
        for end in range(start + 1, len(old)):
            if any(factor.old != factor.new for (factor,) in parts):
                found = part_of(axis, int(cut), int(old[end]))
                assert found is not None
                assert new_extent(found) == new[end] - new[start]


def test_cuts_inside_a_side() -> None:
    (side,) = plain((56,), (112,), sides=True)
    assert [boundary(side, place) for place in (0, 3, 53, 28, 56)] == [0, 3, 109, 56, 112]
    (odd,) = plain((56,), (81,), sides=True)
    assert boundary(odd, 28) is None
    (small,) = plain((56,), (4,), sides=True)
    assert boundary(small, 20) is None


def test_cuts_inside_a_flattened_plane_are_between_rows() -> None:
    plane: Axis = (Factor(6, 10), Factor(5, 7))
    assert [boundary(plane, place) for place in (5, 10, 25)] == [7, 14, 63]
    assert boundary(plane, 7) is None


def test_a_plane_turned_keeps_its_area_and_is_still_followed() -> None:
    """4 x 6 becomes 6 x 4: behind a class token the axis has as many places as before."""
    axis = joined([(Factor(1, 1),), (Factor(4, 6), Factor(6, 4))])
    inside = part_of(axis, 1, 25)
    assert inside is not None
    found = regrouped((inside,), (4, 6))
    assert found is not None
    assert new_shape(found) == (6, 4)
