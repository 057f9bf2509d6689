"""Encoders that write the bits of kernels, and decoders that read them back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop, heappush
from itertools import count

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

# ------------------------------------------------------------ bits


def width(number: int) -> int:
    """The least bits that so many numbers fit in."""
    return next(bits for bits in count() if 2**bits >= number)


def written(number: int, bits: int) -> str:
    assert 0 <= number < 2**bits
    return f"{number:0{bits}b}" if bits else ""


class Reader:
    """Bits, read from the first on."""

    def __init__(self, bits: str) -> None:
        self.bits, self.at = bits, 0

    def number(self, bits: int) -> int:
        self.at += bits
        assert self.at <= len(self.bits)
        return int(self.bits[self.at - bits : self.at] or "0", 2)

    @property
    def empty(self) -> bool:
        return self.at == len(self.bits)


# ------------------------------------------------------------ values


@dataclass(frozen=True)
class Values:
    """A code of values: each value's bits, and what is stored once for all."""

    codes: dict[int, str]
    once: str

    @cached_property
    def meant(self) -> dict[str, int]:
        return {code: value for value, code in self.codes.items()}

    def read(self, reader: Reader) -> int:
        code = ""
        while code not in self.meant:
            code += written(reader.number(1), 1)
        return self.meant[code]


def plain(bits: int) -> Values:
    return Values({value: written(value, bits) for value in range(2**bits)}, "")


def codebook(table: Sequence[int], bits: int) -> Values:
    places = width(len(table))
    once = "".join(written(value, bits) for value in table)
    return Values({value: written(place, places) for place, value in enumerate(table)}, once)


def canonical(values: Sequence[int]) -> Values:
    """A Huffman code; the lengths of its codes, a byte each, tell the codes again."""
    counts = Counter(values)
    lengths = dict.fromkeys(counts, 0 if len(counts) > 1 else 1)
    heap: list[tuple[int, int, tuple[int, ...]]] = [
        (number, value, (value,)) for value, number in sorted(counts.items())
    ]
    heapify(heap)
    while len(heap) > 1:
        one, other = heappop(heap), heappop(heap)
        both = (*one[2], *other[2])
        for value in both:
            lengths[value] += 1
        heappush(heap, (one[0] + other[0], min(both), both))
    codes, code, before = {}, 0, 0
    for value in sorted(lengths, key=lambda each: (lengths[each], each)):
        code <<= lengths[value] - before
        before = lengths[value]
        codes[value] = written(code, before)
        code += 1
    return Values(codes, "".join(written(lengths[value], 8) for value in sorted(lengths)))


# ------------------------------------------------------------ places


def dense(array: Ints, values: Values) -> str:
    return "".join(values.codes[int(value)] for value in array.flat)


def from_dense(bits: str, rows: int, columns: int, values: Values) -> Ints:
    reader = Reader(bits)
    found = np.array([values.read(reader) for _ in range(rows * columns)], np.int64)
    assert reader.empty
    return found.reshape(rows, columns)


def bitmap(array: Ints, values: Values) -> str:
    return "".join("1" + values.codes[int(value)] if value else "0" for value in array.flat)


def from_bitmap(bits: str, rows: int, columns: int, values: Values) -> Ints:
    reader = Reader(bits)
    found = np.zeros(rows * columns, np.int64)
    for place in range(len(found)):
        if reader.number(1):
            found[place] = values.read(reader)
    assert reader.empty
    return found.reshape(rows, columns)


def known_places(array: Ints, values: Values) -> str:
    """Those that are not zero; who reads them has their places from elsewhere."""
    return "".join(values.codes[int(value)] for value in array.flat if value)


def csr(array: Ints, values: Values) -> str:
    """Where each row begins and the last one ends; then each element with its column."""
    rows, columns = array.shape
    starts = [0, *np.cumsum((array != 0).sum(axis=1)).tolist()]
    pointers = "".join(written(start, width(starts[-1] + 1)) for start in starts)
    return pointers + "".join(
        written(int(column), width(columns)) + values.codes[int(array[row, column])]
        for row in range(rows)
        for column in np.flatnonzero(array[row])
    )


def from_csr(bits: str, rows: int, columns: int, elements: int, values: Values) -> Ints:
    reader = Reader(bits)
    starts = [reader.number(width(elements + 1)) for _ in range(rows + 1)]
    found = np.zeros((rows, columns), np.int64)
    for row in range(rows):
        for _ in range(starts[row + 1] - starts[row]):
            column = reader.number(width(columns))
            found[row, column] = values.read(reader)
    assert reader.empty
    return found


def n_of_m(array: Ints, kept: int, of: int, values: Values) -> str:
    """Of every M those that are not zero, each with its place among them."""
    found = []
    for part in array.reshape(-1, of):
        places = np.flatnonzero(part)
        assert len(places) == kept
        found += [
            written(int(place), width(of)) + values.codes[int(part[place])] for place in places
        ]
    return "".join(found)


def from_n_of_m(bits: str, parts: int, kept: int, of: int, values: Values) -> Ints:
    reader = Reader(bits)
    found = np.zeros((parts, of), np.int64)
    for part in found:
        for _ in range(kept):
            place = reader.number(width(of))
            part[place] = values.read(reader)
    assert reader.empty
    return found


def entries(flat: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Up to 15 zeros and then a value, which is zero where a run is longer; to the last element
    that is not zero, or to the end of a full entry."""
    zeros = 0
    for value in flat:
        if value or zeros == 15:
            yield zeros, value
            zeros = 0
        else:
            zeros += 1


def run_length(array: Ints, values: Values) -> str:
    return "".join(
        written(zeros, 4) + values.codes[value] for zeros, value in entries(array.ravel().tolist())
    )


def from_run_length(bits: str, rows: int, columns: int, values: Values) -> Ints:
    reader = Reader(bits)
    found: list[int] = []
    while not reader.empty:
        found += [0] * reader.number(4)
        found.append(values.read(reader))
    rest = rows * columns - len(found)
    assert 0 <= rest < 16
    return np.array(found + [0] * rest, np.int64).reshape(rows, columns)
