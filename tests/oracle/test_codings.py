"""The closed forms of coded elements, against encoders that write the bits and decoders that read
them back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dataflow_sim.graph.coding import AS_IT_IS, Coding, coded_bits, run_length_entries
from dataflow_sim.graph.region import Shape4
from dataflow_sim.whatif.measured import (
    entropy_bits,
)
from tests.oracle.coders import (
    Reader,
    Values,
    bitmap,
    canonical,
    codebook,
    csr,
    dense,
    entries,
    from_bitmap,
    from_csr,
    from_dense,
    from_n_of_m,
    from_run_length,
    known_places,
    n_of_m,
    plain,
    run_length,
)

Ints = npt.NDArray[np.int64]

# ------------------------------------------------------------ arrays


@dataclass(frozen=True)
class Drawn:
    """A kernel of so many bits: its shape, and its elements with a row for each output channel."""

    shape: Shape4
    bits: int
    array: Ints

    @property
    def density(self) -> Fraction:
        return Fraction(int(np.count_nonzero(self.array)), self.array.size)

    def bits_of(self, coding: Coding) -> Fraction:
        """What the closed form says of all elements."""
        return coded_bits(coding, self.shape, Fraction(self.bits)) * self.array.size


@st.composite
def kernels(draw: st.DrawFn) -> Drawn:
    """Kernels of any density, none and all included."""
    shape = (
        draw(st.integers(1, 6)),
        draw(st.integers(1, 8)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
    )
    bits = draw(st.integers(2, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    array = rng.integers(1, 2**bits, (shape[0], shape[1] * shape[2] * shape[3]))
    zero = rng.random(array.shape) >= draw(st.sampled_from((0.0, 0.1, 0.5, 0.9, 1.0)))
    return Drawn(shape, bits, np.where(zero, 0, array))


@st.composite
def kernels_of_parts(draw: st.DrawFn) -> tuple[Drawn, int, int]:
    """Kernels with N of every M elements not zero."""
    of = draw(st.integers(1, 8))
    kept = draw(st.integers(1, of))
    shape = (draw(st.integers(1, 5)), of * draw(st.integers(1, 4)), 1, 1)
    bits = draw(st.integers(2, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    array = np.zeros((shape[0] * shape[1] // of, of), np.int64)
    for part in array:
        part[rng.permutation(of)[:kept]] = rng.integers(1, 2**bits, kept)
    return Drawn(shape, bits, array.reshape(shape[0], shape[1])), kept, of


def places_of(coding: str, drawn: Drawn, values: Values, parts: tuple[int, int] = (1, 1)) -> str:
    """The bits of a kernel without what is stored once; read back, they give the kernel again."""
    array = drawn.array
    rows, columns = array.shape
    if coding == "plain":
        found, again = dense(array, values), from_dense
    elif coding == "bitmap":
        found, again = bitmap(array, values), from_bitmap
    elif coding == "run_length":
        found, again = run_length(array, values), from_run_length
    elif coding == "csr":
        found = csr(array, values)
        elements = int(np.count_nonzero(array))
        np.testing.assert_array_equal(from_csr(found, rows, columns, elements, values), array)
        return found
    elif coding == "n_of_m":
        found = n_of_m(array, *parts, values)
        back = from_n_of_m(found, array.size // parts[1], *parts, values)
        np.testing.assert_array_equal(back.reshape(rows, columns), array)
        return found
    else:
        found, reader = known_places(array, values), Reader(known_places(array, values))
        kept = [values.read(reader) for _ in range(np.count_nonzero(array))]
        np.testing.assert_array_equal(kept, array[array != 0])
        return found
    np.testing.assert_array_equal(again(found, rows, columns, values), array)
    return found


# ------------------------------------------------------------ exactly


EXACT = ("bitmap", "csr", "ideal", "structured")


@pytest.mark.parametrize("places", EXACT)
@given(kernels())
@settings(max_examples=60, deadline=None)
def test_places_take_the_bits_that_an_encoder_writes(places: str, drawn: Drawn) -> None:
    found = places_of(places, drawn, plain(drawn.bits))
    assert drawn.bits_of(Coding(places, density=drawn.density)) == len(found)


@given(kernels_of_parts())
@settings(max_examples=60, deadline=None)
def test_n_of_m_takes_the_bits_that_an_encoder_writes(drawn: tuple[Drawn, int, int]) -> None:
    kernel, kept, of = drawn
    found = places_of("n_of_m", kernel, plain(kernel.bits), (kept, of))
    coding = Coding("n_of_m", density=kernel.density, parts=(kept, of))
    assert kernel.bits_of(coding) == len(found)


@given(kernels())
@settings(max_examples=60, deadline=None)
def test_plain_elements_have_their_width_whatever_they_are(drawn: Drawn) -> None:
    found = places_of("plain", drawn, plain(drawn.bits))
    assert drawn.bits_of(AS_IT_IS) == drawn.bits_of(Coding(density=drawn.density)) == len(found)


@given(kernels())
@settings(max_examples=60, deadline=None)
def test_a_codebook_is_stored_once_beside_the_numbers_of_its_values(drawn: Drawn) -> None:
    table = sorted({int(value) for value in drawn.array.flat})
    values = codebook(table, drawn.bits)
    found = places_of("plain", drawn, values)
    coding = Coding(values="codebook", entries=len(table))
    assert drawn.bits_of(coding) == len(found) + len(values.once)


@given(kernels())
@settings(max_examples=60, deadline=None)
def test_a_huffman_code_is_stored_once_beside_its_codes(drawn: Drawn) -> None:
    values = canonical(drawn.array.ravel().tolist())
    found = places_of("plain", drawn, values)
    mean = Fraction(len(found), drawn.array.size)
    coding = Coding(values="entropy", code_bits=mean, entries=len(values.codes))
    assert drawn.bits_of(coding) == len(found) + len(values.once)


@given(kernels(), st.integers(2, 8))
@settings(max_examples=60, deadline=None)
def test_packed_values_take_the_part_that_is_said(drawn: Drawn, packed: int) -> None:
    assume(packed <= drawn.bits)
    narrow = Drawn(drawn.shape, drawn.bits, drawn.array % 2**packed)
    found = places_of("plain", narrow, plain(packed))
    coding = Coding(values="packed", ratio=Fraction(packed, drawn.bits))
    assert narrow.bits_of(coding) == len(found)


# ------------------------------------------------------------ places and values together


@pytest.mark.parametrize("places", EXACT)
@given(kernels(), st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_places_of_packed_values(places: str, drawn: Drawn, packed: int) -> None:
    assume(packed <= drawn.bits)
    narrow = Drawn(drawn.shape, drawn.bits, drawn.array % 2**packed)
    found = places_of(places, narrow, plain(packed))
    coding = Coding(places, "packed", narrow.density, ratio=Fraction(packed, drawn.bits))
    assert narrow.bits_of(coding) == len(found)


@pytest.mark.parametrize("places", EXACT)
@given(kernels())
@settings(max_examples=40, deadline=None)
def test_places_of_values_of_a_codebook(places: str, drawn: Drawn) -> None:
    """The table is stored once, however many elements are zero."""
    table = sorted({int(value) for value in drawn.array.flat if value})
    assume(table)
    values = codebook(table, drawn.bits)
    found = places_of(places, drawn, values)
    coding = Coding(places, "codebook", drawn.density, entries=len(table))
    assert drawn.bits_of(coding) == len(found) + len(values.once)


@pytest.mark.parametrize("places", EXACT)
@given(kernels())
@settings(max_examples=40, deadline=None)
def test_places_of_values_of_a_huffman_code(places: str, drawn: Drawn) -> None:
    """The lengths of its codes are stored once, however many elements are zero."""
    kept = [int(value) for value in drawn.array.flat if value]
    assume(kept)
    values = canonical(kept)
    found = places_of(places, drawn, values)
    mean = Fraction(sum(len(values.codes[value]) for value in kept), len(kept))
    coding = Coding(places, "entropy", drawn.density, entries=len(values.codes), code_bits=mean)
    assert drawn.bits_of(coding) == len(found) + len(values.once)


@given(kernels_of_parts())
@settings(max_examples=40, deadline=None)
def test_n_of_m_of_values_of_a_codebook(drawn: tuple[Drawn, int, int]) -> None:
    kernel, kept, of = drawn
    table = sorted({int(value) for value in kernel.array.flat if value})
    values = codebook(table, kernel.bits)
    found = places_of("n_of_m", kernel, values, (kept, of))
    coding = Coding("n_of_m", "codebook", kernel.density, (kept, of), len(table))
    assert kernel.bits_of(coding) == len(found) + len(values.once)


@given(kernels())
@settings(max_examples=40, deadline=None)
def test_at_density_1_values_of_a_codebook_have_places_beside_them(drawn: Drawn) -> None:
    full = Drawn(drawn.shape, drawn.bits, np.maximum(drawn.array, 1))
    table = sorted({int(value) for value in full.array.flat})
    values = codebook(table, full.bits)
    for places in EXACT:
        coding = Coding(places, "codebook", entries=len(table))
        found = places_of(places, full, values)
        assert full.bits_of(coding) == len(found) + len(values.once)


# ------------------------------------------------------------ counts of zeros


def length_of_an_entry(density: Fraction) -> tuple[Fraction, Fraction]:
    """Mean and variance of the elements that an entry covers: to the first that is not zero, or
    16."""
    chances = [density * (1 - density) ** (length - 1) for length in range(1, 16)]
    chances.append(1 - sum(chances, Fraction(0)))
    mean = sum((chance * length for length, chance in enumerate(chances, 1)), Fraction(0))
    square = sum((chance * length**2 for length, chance in enumerate(chances, 1)), Fraction(0))
    return mean, square - mean**2


DENSITIES = (*(Fraction(part, 40) for part in range(1, 41)), Fraction(1, 1000), Fraction(1, 10**6))


@pytest.mark.parametrize("density", DENSITIES, ids=str)
def test_entries_are_one_for_each_length_of_an_entry(density: Fraction) -> None:
    mean, _ = length_of_an_entry(density)
    assert float(run_length_entries(density) * mean) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("density", [0.01, 0.1, 0.3, 0.5, 0.8, 0.97])
def test_entries_are_those_of_the_encoder_once_its_zeros_have_settled(density: float) -> None:
    """The encoder as a chain over the zeros that it has not written yet."""
    step = np.zeros((16, 16))
    step[:, 0] += density
    for zeros in range(16):
        step[zeros, (zeros + 1) % 16] += 1 - density
    equations = np.vstack([step.T - np.eye(16), np.ones(16)])
    settled, *_ = np.linalg.lstsq(equations, np.array([*[0.0] * 16, 1.0]), rcond=None)
    rate = density + (1 - density) * settled[15]
    assert float(run_length_entries(Fraction(density))) == pytest.approx(rate, rel=1e-9)


@pytest.mark.parametrize("density", [0.005, 0.02, 0.1, 0.25, 0.5, 0.75, 0.95])
def test_entries_of_many_elements_are_those_expected(density: float) -> None:
    """Entries are renewals: their number varies by so many elements x variance / mean^3 as the
    lengths of entries do, and by one for the part that is open at the end."""
    elements = 1 << 17
    rng = np.random.default_rng(round(density * 1000))
    array = rng.integers(1, 256, elements) * (rng.random(elements) < density)
    mean, variance = map(float, length_of_an_entry(Fraction(density)))
    found = sum(1 for _ in entries(array.tolist()))
    expected = float(run_length_entries(Fraction(density))) * elements
    assert abs(found - expected) <= 5 * sqrt(elements * variance / mean**3) + 16 / mean


@given(kernels())
@settings(max_examples=60, deadline=None)
def test_entries_of_any_elements_can_be_read_back(drawn: Drawn) -> None:
    values = plain(drawn.bits)
    found = places_of("run_length", drawn, values)
    kept = int(np.count_nonzero(drawn.array))
    written_entries, rest = divmod(len(found), 4 + drawn.bits)
    assert rest == 0
    assert kept <= written_entries <= kept + (drawn.array.size - kept) // 16


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_entries_at_both_extremes(bits: int) -> None:
    shape, values = (4, 4, 2, 4), plain(bits)
    full = Drawn(shape, bits, np.ones((4, 32), np.int64))
    empty = Drawn(shape, bits, np.zeros((4, 32), np.int64))
    for drawn, density in ((full, 1), (empty, 0)):
        coding = Coding("run_length", density=Fraction(density))
        assert drawn.bits_of(coding) == len(places_of("run_length", drawn, values))


def test_entries_of_values_of_a_codebook_at_density_1() -> None:
    """Zero needs no value of its own where nothing is zero."""
    full = Drawn((4, 8, 1, 1), 8, np.arange(32).reshape(4, 8) % 3 * 50 + 7)
    values = codebook((7, 57, 107), 8)
    found = places_of("run_length", full, values)
    coding = Coding("run_length", "codebook", entries=3)
    assert full.bits_of(coding) == len(found) + len(values.once)


def test_entries_of_nothing_but_zeros_and_a_codebook() -> None:
    """The one value is zero, which then is between runs."""
    empty = Drawn((4, 8, 2, 2), 8, np.zeros((4, 32), np.int64))
    values = codebook((0,), 8)
    found = places_of("run_length", empty, values)
    coding = Coding("run_length", "codebook", Fraction(0), entries=1)
    assert empty.bits_of(coding) == len(found) + len(values.once)


@pytest.mark.parametrize("digits", range(1, 19))
def test_entries_of_ever_fewer_elements_are_nearly_those_of_zeros(digits: int) -> None:
    density = 1 / 10**digits
    found = float(run_length_entries(Fraction(1, 10**digits)))
    assert (1 - 1e-4) / 16 <= found <= (1 + 1e-4) / 16 + density


# ------------------------------------------------------------ what holds of any coding


PLACES = ("plain", "ideal", "structured", "bitmap", "run_length", "csr", "n_of_m")
SHAPES = [(1, 1, 1, 1), (16, 3, 3, 3), (64, 1, 3, 3), (10, 100, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("places", PLACES)
def test_more_elements_that_are_not_zero_never_take_fewer_bits(places: str, shape: Shape4) -> None:
    for bits in (1, 8):
        codings = [Coding(places, density=Fraction(part, 64), parts=(2, 4)) for part in range(65)]
        found = [coded_bits(coding, shape, Fraction(bits)) for coding in codings]
        assert found == sorted(found)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bits", [1, 4, 8, 16])
def test_without_zeros_places_at_no_cost_leave_the_width(bits: int, shape: Shape4) -> None:
    for places in ("plain", "ideal", "structured"):
        assert coded_bits(Coding(places), shape, Fraction(bits)) == bits
    assert coded_bits(Coding("bitmap"), shape, Fraction(bits)) == bits + 1
    assert coded_bits(Coding("run_length"), shape, Fraction(bits)) == bits + 4


@pytest.mark.parametrize("places", ["bitmap", "run_length"])
@pytest.mark.parametrize("part", range(1, 64))
def test_no_places_take_less_than_their_entropy(places: str, part: int) -> None:
    density = Fraction(part, 64)
    least = entropy_bits([part, 64 - part])
    for bits in (1, 8):
        found = coded_bits(Coding(places, density=density), (8, 8, 4, 4), Fraction(bits))
        assert float(found) >= least + float(density) * bits - 1e-9


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Coding(density=Fraction(-1, 2)),
        lambda: Coding(density=Fraction(3, 2)),
        lambda: Coding(ratio=Fraction(0)),
        lambda: Coding(parts=(0, 4)),
        lambda: Coding(parts=(5, 4)),
    ],
)
def test_numbers_that_no_tensor_has_are_refused(wrong: Callable[[], Coding]) -> None:
    with pytest.raises(ValueError, match="codes no tensor"):
        wrong()
