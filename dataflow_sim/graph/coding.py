"""How a tensor's elements may be coded, and how many bits each then takes on average.

Values are coded in c bits each, of plain ones of b bits:

    plain       at their width: b
    codebook    the number of one of k values, and these once: log2 k + k b / elements
    entropy     a Huffman code of so many bits on average, and the lengths of its codes once; of
                the numbers of a codebook also that
    packed      a part of the width, by a code of which only that is known

Of elements some are zero, a part d is not, and these have places:

    plain       none: zeros are stored like all others: c
    ideal       at no cost: d c
    structured  fixed beforehand by a pattern: d c
    bitmap      a bit for each element: 1 + d c
    run_length  each with a count of up to 15 zeros before it: e (c + 4), where
                e = d / (1 - (1 - d)^16), since a longer run takes a zero between
    csr         each with its column, and where each row begins:
                d (c + log2 columns) + (rows + 1) log2(elements d + 1) / elements
    n_of_m      N of every M, each with its place among them: N / M (c + log2 M)

Zeros are taken to be independent of each other; logarithms are rounded up.  A row is an output
channel of a kernel, and its columns all that belong to it; of a feature map a row is an image.
What belongs to a whole tensor (table, row pointers) is spread over its elements, so that who
fetches part of a tensor again fetches its share of it again.
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
_DIGITS = 10**12
_UNEVEN = ("ideal", "bitmap", "run_length", "csr")


@dataclass(frozen=True, slots=True)
class Coding:
    """How values and places of elements are coded, and the part of them that is not zero.

    `parts` are N and M of `n_of_m`, `entries` the values of a codebook or the codes of `entropy`,
    `code_bits` the mean length of a code and `shared` the values of the codebook whose numbers it
    codes, 0 where it codes values; `ratio` is that of a packed value to a plain one.
    Raises ValueError for numbers that no tensor has.
    """

    places: str = PLAIN
    values: str = PLAIN
    density: Fraction = Fraction(1)
    parts: tuple[int, int] = (1, 1)
    entries: int = 0
    code_bits: Fraction = Fraction(0)
    shared: int = 0
    ratio: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        """Check the numbers."""
        kept, of = self.parts
        if not 0 <= self.density <= 1 or self.ratio <= 0 or not 0 < kept <= of:
            raise ValueError(f"{self} codes no tensor")

    @property
    def by_block(self) -> bool:
        """Whether elements take as many bits as they need, so that none can be found alone."""
        return self.places in _UNEVEN or self.values == "entropy"


AS_IT_IS = Coding()


def log2_up(number: int) -> int:
    """Bits that tell so many things apart."""
    return max(0, (number - 1).bit_length())


def run_length_entries(density: Fraction) -> Fraction:
    """Entries for each element: those not zero, and one in every 16 zeros of a longer run."""
    longest = 1 << RUN_BITS
    # to the places that matter: powers of exact fractions have hundreds of digits
    zeros = Fraction(float((1 - density) ** longest)).limit_denominator(_DIGITS)
    return density / (1 - zeros) if zeros < 1 else Fraction(1, longest)


def value_bits(coding: Coding, bits: Fraction) -> Fraction:
    """Bits of a coded value, of plain ones of so many bits."""
    if coding.values == "codebook":
        return Fraction(log2_up(coding.entries))
    if coding.values == "entropy":
        return coding.code_bits
    if coding.values == "packed":
        return coding.ratio * bits
    assert coding.values == PLAIN, coding.values
    return bits


def table_bits(coding: Coding, bits: Fraction) -> Fraction:
    """Bits of what is needed once to decode the values."""
    shared = coding.shared * bits
    if coding.values == "codebook":
        return coding.entries * bits
    return coding.entries * LENGTH_BITS + shared if coding.values == "entropy" else Fraction(0)


def coded_bits(coding: Coding, shape: Shape4, bits: Fraction) -> Fraction:
    """Bits that an element of a tensor takes on average, of plain ones of so many bits."""
    elements = shape[0] * shape[1] * shape[2] * shape[3]
    value, density = value_bits(coding, bits), coding.density
    table = table_bits(coding, bits) / elements
    if coding.places in ("ideal", "structured"):
        return density * value + table
    if coding.places == "bitmap":
        return 1 + density * value + table
    if coding.places == "run_length":
        return run_length_entries(density) * (value + RUN_BITS) + table
    if coding.places == "csr":
        pointers = Fraction((shape[0] + 1) * log2_up(ceil(elements * density) + 1), elements)
        return density * (value + log2_up(elements // shape[0])) + pointers + table
    if coding.places == "n_of_m":
        kept, of = coding.parts
        return Fraction(kept, of) * (value + log2_up(of)) + table
    assert coding.places == PLAIN, coding.places
    return value + table
