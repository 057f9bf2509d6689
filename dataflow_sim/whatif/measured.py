"""What kernels hold: zeros, distinct values, lengths of codes, measured or by a distribution.

A kernel of a file is quantised symmetrically, a step for the whole kernel, the largest value at the
end of the range; of integers the values are taken as they are.  A histogram over the values is all
that is kept of it, so that kernels of any size are read piece by piece.

Where a file carries no values a distribution stands for them: normal, whose range ends at four
standard deviations, or Laplace's, whose range ends at eight of its scales.

A Huffman code (Huffman, 1952) has the least mean length of all codes that code value by value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from heapq import heapify, heappop, heappush
from itertools import pairwise
from math import erf, exp, log2, sqrt

from dataflow_sim.graph.histogram import Histogram

# ends of the range, in standard deviations of a normal and in scales of Laplace's distribution
_NORMAL_RANGE = 4.0
_LAPLACE_RANGE = 8.0
_FAR = 1e9
DISTRIBUTIONS = ("normal", "laplace")
# widest values that a histogram is kept of
WIDEST_BITS = 16


# of a constant of the file at so many bits; None where the file does not carry it
Measure = Callable[[str, int], Histogram | None]


def huffman_bits(weights: Sequence[float]) -> float:
    """Mean length of the codes of a Huffman code, in bits; a single value takes one bit."""
    heap = [weight for weight in weights if weight > 0]
    if len(heap) < 2:
        return 1.0
    heapify(heap)
    total, length = sum(heap), 0.0
    while len(heap) > 1:
        joined = heappop(heap) + heappop(heap)
        length += joined
        heappush(heap, joined)
    return length / total


def entropy_bits(weights: Sequence[float]) -> float:
    """Shannon's entropy of a distribution, in bits: what no code of single values is below."""
    total = float(sum(weights))
    return -sum(w / total * log2(w / total) for w in weights if w > 0)


def weights_of(distribution: str, bits: int) -> list[float]:
    """How likely each of the values of so many bits is, from the lowest on; zero is the middle one.

    There are 2^bits - 1 values, symmetrical about zero; of one bit there are two, and no zero.
    """
    if bits == 1:
        return [0.5, 0.5]
    most = (1 << (bits - 1)) - 1
    reach = _NORMAL_RANGE if distribution == "normal" else _LAPLACE_RANGE

    def below(x: float) -> float:
        if distribution == "normal":
            return (1 + erf(x / sqrt(2))) / 2
        return 0.5 * exp(x) if x < 0 else 1 - 0.5 * exp(-x)

    edges = [reach * (value + 0.5) / most for value in range(-most - 1, most + 1)]
    edges[0], edges[-1] = -_FAR, _FAR
    # both halves from the tail that is exact, the upper one mirrored
    lower = [below(high) - below(low) for low, high in pairwise(edges[: most + 2])]
    return [*lower, *reversed(lower[:-1])]


def apportioned(shares: Sequence[float], count: int) -> list[int]:
    """A count in shares, by the largest remainders; of equal ones the first."""
    total = sum(shares)
    exact = [count * share / total for share in shares]
    found = [int(each) for each in exact]
    order = sorted(range(len(shares)), key=lambda place: (found[place] - exact[place], place))
    for place in order[: count - sum(found)]:
        found[place] += 1
    return found


def stated_histogram(distribution: str, bits: int, density: Fraction, elements: int) -> Histogram:
    """The values that a distribution would give: those of the part that is not zero, and zeros."""
    likely = weights_of(distribution, bits)
    others = round(density * elements)
    counts = apportioned(likely, others)
    zeros = elements - others
    if bits > 1:
        zeros += counts.pop(len(likely) // 2)
    return Histogram(zeros, tuple(each for each in counts if each), elements - others, None)
