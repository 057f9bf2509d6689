"""How a tensor's elements may be coded, and how many bits each then takes on average.

    plain       every element at its width b
    ideal       those not zero, at no cost for their places: d b
    structured  the same, at places that a pattern fixes beforehand: d b
    bitmap      a bit for each, and those not zero: 1 + d b
    run_length  those not zero, each with a count of up to 15 zeros before it: e (b + 4), where
                e = d / (1 - (1 - d)^16), since a longer run takes a zero between
    csr         those not zero with their columns, and where each row begins:
                d (b + log2 columns) + (rows + 1) log2(elements d + 1) / elements
    n_of_m      N of every M, each with its place among them: N / M (b + log2 M)
    codebook    for each the number of one of k values, and these: log2 k + k b / elements
    entropy     a Huffman code of so many bits on average, and the lengths of its codes
    packed      a part of the width, by a code of which only that is known

with d the part of elements that is not zero, independent of each other; logarithms are rounded up.
A row is an output channel of a kernel, and its columns all that belong to it; of a feature map a
row is an image.  What belongs to a whole tensor (table, row pointers) is spread over its elements,
so that who fetches part of a tensor again fetches its share of it again.

Where a figure was measured on the tensor's own values it takes the place of these formulas.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from dataflow_sim.graph.region import Shape4

PLAIN = "plain"
# bits of the count of zeros, as in deep compression
RUN_BITS = 4
# bits of the length of a code, of which a table has one for each value
LENGTH_BITS = 8


@dataclass(frozen=True, slots=True)
class Coding:
    """How elements are coded: a format, the part of them that is not zero, and its numbers.

    `parts` are N and M of `n_of_m`, `entries` the values of a codebook or the codes of `entropy`,
    `code_bits` the mean length of a code, `ratio` that of a packed element to a plain one, and
    `measured_bits` what an element takes on average, where it was measured at `measured_at` bits.
    Raises ValueError for numbers that no tensor has.
    """

    format: str = PLAIN
    density: Fraction = Fraction(1)
    parts: tuple[int, int] = (1, 1)
    entries: int = 0
    code_bits: Fraction = Fraction(0)
    ratio: Fraction = Fraction(1)
    measured_bits: Fraction | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if (
            not 0 <= self.density <= 1
            or not self.ratio > 0
            or not 0 < self.parts[0] <= self.parts[1]
        ):
            raise ValueError(f"{self} codes no tensor")


AS_IT_IS = Coding()


def log2_up(number: int) -> int:
    """Bits that tell so many things apart."""
    return max(0, (number - 1).bit_length())


def run_length_entries(density: Fraction) -> Fraction:
    """Entries for each element: those not zero, and one in every 16 zeros of a longer run."""
    longest = 1 << RUN_BITS
    if density == 0:
        return Fraction(1, longest)
    # to the places that matter: powers of exact fractions have hundreds of digits
    zeros = Fraction(float((1 - density) ** longest)).limit_denominator(10**12)
    return density / (1 - zeros)


def coded_bits(coding: Coding, shape: Shape4, bits: Fraction) -> Fraction:
    """Bits that an element of a tensor takes on average, of plain ones of so many bits."""
    if coding.measured_bits is not None:
        return coding.measured_bits
    rows, elements = shape[0], shape[0] * shape[1] * shape[2] * shape[3]
    density = coding.density
    if coding.format in ("ideal", "structured"):
        return density * bits
    if coding.format == "bitmap":
        return 1 + density * bits
    if coding.format == "run_length":
        return run_length_entries(density) * (bits + RUN_BITS)
    if coding.format == "csr":
        pointers = Fraction((rows + 1) * log2_up(ceil(elements * density) + 1), elements)
        return density * (bits + log2_up(elements // rows)) + pointers
    if coding.format == "n_of_m":
        kept, of = coding.parts
        return Fraction(kept, of) * (bits + log2_up(of))
    if coding.format == "codebook":
        return log2_up(coding.entries) + Fraction(coding.entries * bits, elements)
    if coding.format == "entropy":
        return coding.code_bits + Fraction(coding.entries * LENGTH_BITS, elements)
    if coding.format == "packed":
        return coding.ratio * bits
    assert coding.format == PLAIN, coding.format
    return bits
