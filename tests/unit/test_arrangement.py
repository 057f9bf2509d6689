"""Arrangements against numpy: reshaping and transposing move indices, never elements."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_sim.graph.arrangement import CHANNEL, COLUMN, ROW, Arrangement, arranged, plain
from dataflow_sim.graph.region import Shape4

EXTENTS = st.sampled_from([1, 2, 3, 4, 6])
SHAPES = st.tuples(EXTENTS, EXTENTS, EXTENTS, EXTENTS)


def divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


@given(SHAPES, st.data())
def test_reshapes_and_transposes_are_those_of_numpy(shape: Shape4, data: st.DataObject) -> None:
    array = np.arange(prod(shape)).reshape(shape)
    axes, seen = plain(shape), array
    for _ in range(data.draw(st.integers(1, 5))):
        if data.draw(st.booleans()):
            order = data.draw(st.permutations(range(seen.ndim)))
            axes, seen = axes.transposed(order), seen.transpose(order)
        else:
            left, wanted = prod(shape), []
            while left > 1:
                wanted.append(data.draw(st.sampled_from(divisors(left))))
                left //= wanted[-1]
            changed = axes.reshaped(wanted)
            if changed is None:
                continue
            axes, seen = changed, seen.reshape(wanted)
        assert axes.shape == seen.shape
        np.testing.assert_array_equal(axes.from_map(array), seen)
        np.testing.assert_array_equal(axes.to_map(seen, shape), array)


@given(st.lists(EXTENTS, min_size=1, max_size=6), st.data())
def test_any_axis_can_be_the_channels(shape: list[int], data: st.DataObject) -> None:
    channel_axis = data.draw(st.integers(0, len(shape) - 1))
    found, axes = arranged(shape, channel_axis)
    assert axes.shape == tuple(shape)
    assert found[1] == shape[channel_axis]
    array = np.arange(prod(shape)).reshape(shape)
    lying = axes.to_map(array, found)
    np.testing.assert_array_equal(
        lying.sum(axis=(0, 2, 3)), np.moveaxis(array, channel_axis, 0).reshape(found[1], -1).sum(1)
    )
    np.testing.assert_array_equal(axes.from_map(lying), array)


def test_the_tokens_and_heads_of_a_transformer() -> None:
    shape = (2, 12, 4, 5)
    tokens = plain(shape).reshaped((2, 12, 20))
    assert tokens is not None
    tokens = tokens.transposed((0, 2, 1))
    assert tokens.covers([2], [CHANNEL], shape)
    assert tokens.covers([1], [ROW, COLUMN], shape)
    assert tokens.axis_of(CHANNEL, shape) == 2
    heads = tokens.reshaped((2, 20, 3, 4))
    assert heads is not None
    assert heads.transposed((0, 2, 1, 3)).axes[1] == ((CHANNEL, 3, 4),)
    assert heads.reshaped((2, 20, 12)) == tokens


@pytest.mark.parametrize(
    ("wanted", "legal"),
    [((6, 4), True), ((24,), True), ((3, 2, 4), True), ((12, 2), True), ((4, 6), False)],
)
def test_a_reshape_that_cuts_across_axes_is_a_copy(wanted: tuple[int, ...], legal: bool) -> None:
    swapped = Arrangement.of((1, 4, 6, 1), [(2,), (1,)])
    assert (swapped.reshaped(wanted) is not None) == legal
