"""Huffman codes against all prefix codes, and distributions that stand for values."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from math import log2

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dataflow_sim.whatif.measured import (
    DISTRIBUTIONS,
    entropy_bits,
    huffman_bits,
    stated_histogram,
    weights_of,
)
from tests.oracle.coders import (
    canonical,
)

# ------------------------------------------------------------ Huffman codes


def least_mean_length(weights: Sequence[int]) -> Fraction:
    """The least of all prefix codes: there is one of every lengths that satisfy Kraft."""
    longest = max(1, len(weights) - 1)
    return min(
        Fraction(sum(w * each for w, each in zip(weights, lengths, strict=True)), sum(weights))
        for lengths in product(range(1, longest + 1), repeat=len(weights))
        if sum(Fraction(1, 2**each) for each in lengths) <= 1
    )


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_a_huffman_code_is_the_best_prefix_code(weights: list[int]) -> None:
    assert huffman_bits(weights) == pytest.approx(float(least_mean_length(weights)), rel=1e-12)


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=300))
@settings(max_examples=60, deadline=None)
def test_a_huffman_code_is_the_one_that_an_encoder_makes(weights: list[int]) -> None:
    drawn = [value for value, number in enumerate(weights) for _ in range(number)]
    codes = canonical(drawn).codes
    length = sum(number * len(codes[value]) for value, number in enumerate(weights))
    assert huffman_bits(weights) == pytest.approx(length / len(drawn), rel=1e-12)


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=300))
@settings(max_examples=100, deadline=None)
def test_a_huffman_code_is_less_than_a_bit_above_the_entropy(weights: list[int]) -> None:
    assume(sum(weight > 0 for weight in weights) > 1)
    least = entropy_bits(weights)
    assert least - 1e-12 <= huffman_bits(weights) < least + 1


@pytest.mark.parametrize("values", [2**bits for bits in range(1, 9)])
def test_equally_likely_values_take_whole_bits(values: int) -> None:
    assert huffman_bits([3] * values) == entropy_bits([3] * values) == log2(values)


def test_a_single_value_takes_one_bit_and_has_no_entropy() -> None:
    assert huffman_bits([5]) == huffman_bits([0, 5, 0]) == 1
    assert entropy_bits([0, 5, 0]) == 0


# ------------------------------------------------------------ stated distributions


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_distribution_is_symmetrical_and_whole(distribution: str, bits: int) -> None:
    found = weights_of(distribution, bits)
    assert len(found) == 2**bits - 1
    assert sum(found) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found, found[::-1], rtol=1e-9, atol=1e-15)
    assert min(found) > 0
    middle = 2 ** (bits - 1) - 1
    # the ends hold the tails as well
    assert found[1 : middle + 1] == sorted(found[1 : middle + 1])


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_no_values_take_more_bits_than_they_have(distribution: str, bits: int) -> None:
    found = weights_of(distribution, bits)
    assert len(found) <= 2**bits
    assert huffman_bits(found) <= bits


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_distribution_is_the_share_of_drawn_values(distribution: str) -> None:
    """Drawn, quantised and counted: within five standard deviations of every share."""
    draws, bits = 400_000, 4
    rng = np.random.default_rng(7)
    normal = distribution == "normal"
    numbers = rng.standard_normal(draws) if normal else rng.laplace(size=draws)
    step = (4.0 if normal else 8.0) / 7
    places = np.clip(np.rint(numbers / step), -7, 7).astype(np.int64) + 7
    shares = np.array(weights_of(distribution, bits))
    counts = np.bincount(places, minlength=15)
    assert (np.abs(counts - draws * shares) <= 5 * np.sqrt(draws * shares) + 1).all()


@pytest.mark.parametrize("density", [Fraction(1), Fraction(1, 2), Fraction(1, 10)])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_stated_kernel_has_all_its_elements(
    distribution: str, bits: int, density: Fraction
) -> None:
    for elements in (1, 9, 27, 64, 100, 1000, 100_000):
        found = stated_histogram(distribution, bits, density, elements)
        assert found.elements == elements
        assert found.exact_zeros == elements - round(float(density) * elements)


@pytest.mark.parametrize(
    ("bits", "elements"), [(4, 10_000), (8, 100_000), (8, 4096), (8, 12), (16, 4096)]
)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_stated_kernel_takes_the_bits_of_drawn_ones(
    distribution: str, bits: int, elements: int
) -> None:
    """Few elements have few values, but hardly two of them the same one of many."""
    stated = stated_histogram(distribution, bits, Fraction(1), elements)
    shares = np.array(weights_of(distribution, bits))
    rng = np.random.default_rng(elements)
    drawn = [rng.multinomial(elements, shares / shares.sum()).tolist() for _ in range(5)]
    mean = sum(map(huffman_bits, drawn)) / len(drawn)
    assert huffman_bits((stated.zeros, *stated.others)) == pytest.approx(mean, rel=0.15)
