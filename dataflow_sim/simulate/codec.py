"""How numbers lie in memory: as bit patterns of so many bits, which a codec makes and reads.

    numbers (float64)  ──encode──►  patterns (unsigned, so many bits)  ──►  bytes on chip
                       ◄──decode──                                     ◄──

Moving data moves patterns; only steps make numbers of them.  Where an element has more bits in
local memory than in DRAM, the DMA decodes it and encodes it again, wider.

    Float32          IEEE 754 single precision, 32 bits
    TwosComplement   integers of 1 to 64 bits; what is too large loses its upper bits, as it does
                     in an accumulator

Float64 holds every integer below 2^53, so that numbers pass through it unchanged; larger ones
nobody makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.region import Box

Array = npt.NDArray[np.float64]
Patterns = npt.NDArray[Any]  # unsigned integers

_CONTAINERS: Mapping[int, type[np.unsignedinteger[Any]]] = {
    8: np.uint8,
    16: np.uint16,
    32: np.uint32,
    64: np.uint64,
}
_WIDEST = 64


def container(bits: int) -> type[np.unsignedinteger[Any]]:
    """The unsigned integers that patterns of so many bits are held in outside of memory."""
    return next(kind for width, kind in _CONTAINERS.items() if bits <= width)


class Codec(Protocol):
    """How the numbers of a tensor lie in memory.

    `box` says which of the tensor's elements they are: some codecs differ by channel.
    """

    def encode(self, values: Array, box: Box, bits: int) -> Patterns:
        """Patterns of numbers.  Raises ProgramError for a width that the codec has not."""

    def decode(self, patterns: Patterns, box: Box, bits: int) -> Array:
        """The numbers that patterns stand for."""


@dataclass(frozen=True, slots=True)
class Float32:
    """Numbers in single precision."""

    def encode(self, values: Array, box: Box, bits: int) -> Patterns:
        """Patterns of numbers, which are rounded to single precision."""
        _check(bits == 32, f"{bits} bits hold no number in single precision")
        return values.astype(np.float32).view(np.uint32)

    def decode(self, patterns: Patterns, box: Box, bits: int) -> Array:
        """The numbers that patterns stand for."""
        _check(bits == 32, f"{bits} bits hold no number in single precision")
        plain = np.ascontiguousarray(patterns, np.uint32)
        return plain.view(np.float32).astype(np.float64)


@dataclass(frozen=True, slots=True)
class TwosComplement:
    """Integers in two's complement."""

    def encode(self, values: Array, box: Box, bits: int) -> Patterns:
        """Patterns of integers, of which the lowest bits stay."""
        patterns = values.astype(np.int64).view(np.uint64) & np.uint64((1 << bits) - 1)
        return patterns.astype(container(bits))

    def decode(self, patterns: Patterns, box: Box, bits: int) -> Array:
        """The integers that patterns stand for."""
        spare = _WIDEST - bits
        upper = (np.asarray(patterns, np.uint64) << np.uint64(spare)).view(np.int64)
        return np.asarray(upper >> spare, np.float64)


def _check(fine: bool, fault: str) -> None:
    if not fine:
        raise ProgramError(fault)


FLOAT32 = Float32()
TWOS_COMPLEMENT = TwosComplement()
