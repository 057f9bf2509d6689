"""Everything on random networks: schedules, counts, occupancy, programs and what they compute.

The seeds of the ordinary suite and of the soak are disjoint.  A failure names its seed, and
`tests.support.random_runs.check(seed)` is the same case again.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from tests.support.random_networks import draw
from tests.support.random_runs import check, drawn_case

CASES = 200
BLOCK = 50
SOAK = range(10_000, 14_000, BLOCK)


@pytest.mark.parametrize("seed", range(CASES))
def test_everything_holds(seed: int) -> None:
    check(seed)


@pytest.mark.soak
@pytest.mark.parametrize("first", SOAK)
def test_everything_holds_of_thousands(first: int) -> None:
    """All seeds of a block are tried before any of their failures is told."""
    failures = []
    for seed in range(first, first + BLOCK):
        try:
            check(seed)
        except Exception as error:
            failures.append(error)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {BLOCK} cases", failures)


# what a few of the networks of the ordinary suite have at the least
FEATURES = (
    *("convolution", "depthwise", "transposed", "folded", "shared kernel", "auto pad"),
    *("MaxPool", "AveragePool", "tall MaxPool", "tall AveragePool", "rounded up"),
    *("GlobalAveragePool", "GlobalMaxPool", "resize nearest", "resize linear"),
    *("concat", "split", "slice", "crop", "shuffle", "gate", "batch norm"),
    *("per channel", "constant map"),
    *("Add", "Mul", "Sub", "Max", "Relu", "Relu6", "Sigmoid", "PRelu", "Swish"),
    *("Gemm", "MatMul", "layer norm", "softmax", "softmax of rows", "LRN", "tokens", "flat"),
    "residual of rows",
    *("several outputs", "output that is read", "unused branch"),
    *("copy", "instance norm", "softmax of lines", "attention", "LSTM", "GRU", "RNN"),
)


def test_the_networks_have_everything() -> None:
    """Of each feature several, whichever of the networks have it."""
    counts = Counter(what for seed in range(CASES) for what in draw(Random(seed)).drawn)
    assert {what: counts[what] for what in FEATURES if counts[what] < 2} == {}


def test_the_networks_are_of_all_sizes() -> None:
    """Nine layers and fewer, one or two images, on real numbers and on integers, some of parts."""
    cases = [drawn_case(Random(seed)) for seed in range(0, CASES, 2)]
    assert 0.2 < sum(case.single_precision for case in cases) / len(cases) < 0.6
    assert any(case.graph.part for case in cases)
    layers = [len(case.graph.layers) for case in cases]
    assert min(layers) <= 1
    assert max(layers) >= 9
    assert {case.graph.layers[0].input.shape[0] for case in cases if case.graph.layers} == {1, 2}
    sides = [min(layer.output_shape[2:]) for case in cases for layer in case.graph.layers]
    assert 0.1 < sides.count(1) / len(sides) < 0.7


def test_a_seed_is_the_same_case_again() -> None:
    one, same, other = (draw(Random(seed)).model.SerializeToString() for seed in (3, 3, 4))
    assert one == same != other
