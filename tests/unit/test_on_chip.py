"""Memory of the replay: buffers of any width in bytes that have one owner each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.region import Box, Span, whole
from dataflow_sim.program.instructions import Alloc, Memory, Slice
from dataflow_sim.simulate.codec import FLOAT32, TWOS_COMPLEMENT
from dataflow_sim.simulate.on_chip import OnChip

SHAPE = (2, 3, 4, 5)
ANY = whole(SHAPE)


def alloc(buffer: int, address: int, bits: int, shape: tuple[int, int, int, int] = SHAPE) -> Alloc:
    size = -(-int(np.prod(shape)) * bits // 8)
    return Alloc(buffer, address, size, shape, bits, f"buffer {buffer}")


def unpacked(memory: bytes, bits: int, count: int) -> list[int]:
    """Elements bit by bit, the lowest first, from the definition."""
    ones = [byte >> place & 1 for byte in memory for place in range(8)]
    return [sum(ones[e * bits + b] << b for b in range(bits)) for e in range(count)]


@settings(max_examples=60, deadline=None)
@given(bits=st.integers(1, 32), address=st.integers(0, 9), seed=st.integers(0, 99))
def test_elements_lie_bit_behind_bit(bits: int, address: int, seed: int) -> None:
    """Parts written in any order, among neighbours that stay as they are."""
    random = np.random.default_rng(seed)
    buffer = alloc(0, address, bits)
    chip = OnChip(address + buffer.size_bytes + 3, 0)
    chip.alloc(buffer)
    values = random.integers(0, 1 << bits, SHAPE, dtype=np.uint64)
    rows = list(random.permutation(SHAPE[2]))
    for row in rows:
        box = ANY._replace(row=Span(int(row), int(row) + 1))
        part = Slice(0, (0, 0, int(row), 0), box)
        chip.put(part, values[box.slices], np.zeros(box.shape, np.int64))
    memory = bytes(chip.memory[Memory.LOCAL])
    flat = values.transpose(2, 0, 1, 3).ravel().tolist()
    assert unpacked(memory[address : address + buffer.size_bytes], bits, len(flat)) == flat
    assert set(memory[:address] + memory[address + buffer.size_bytes :]) == {0xFF}
    strided = Slice(0, (1, 1, 1, 0), Box(Span(0, 1), Span(0, 2), Span(0, 2), Span(0, 3)), (2, 2))
    np.testing.assert_array_equal(chip.patterns(strided), values[1:2, 1:3, 1::2, ::2])


@pytest.mark.parametrize("bits", [1, 3, 4, 8, 13, 16, 24, 32])
def test_integers_come_back(bits: int) -> None:
    half = 1 << (bits - 1)
    values = np.random.default_rng(bits).integers(-half, half, SHAPE).astype(np.float64)
    patterns = TWOS_COMPLEMENT.encode(values, ANY, bits)
    np.testing.assert_array_equal(TWOS_COMPLEMENT.decode(patterns, ANY, bits), values)
    over = TWOS_COMPLEMENT.encode(values + 2 * half, ANY, bits)
    np.testing.assert_array_equal(over, patterns)


def test_single_precision_has_32_bits() -> None:
    values = np.array([1.5, -2.0, np.pi])
    found = FLOAT32.decode(FLOAT32.encode(values, ANY, 32), ANY, 32)
    np.testing.assert_array_equal(found, values.astype(np.float32))
    with pytest.raises(ProgramError, match="16 bits"):
        FLOAT32.encode(values, ANY, 16)


def test_every_byte_has_one_owner() -> None:
    chip = OnChip(64, 0)
    chip.alloc(alloc(0, 0, 8, (1, 1, 4, 8)))
    with pytest.raises(ProgramError, match="buffer 1 'buffer 1' at 31 to 33 overlaps buffer 0"):
        chip.alloc(alloc(1, 31, 8, (1, 1, 1, 2)))
    with pytest.raises(ProgramError, match="leaves the 64 bytes"):
        chip.alloc(alloc(2, 63, 8, (1, 1, 1, 2)))
    chip.free(0)
    chip.alloc(alloc(3, 31, 8, (1, 1, 1, 2)))


def test_slices_stay_in_their_buffer() -> None:
    chip = OnChip(480, 0)
    chip.alloc(alloc(0, 0, 32))
    below = Box(Span(0, 1), Span(0, 1), Span(0, 2), Span(0, 1))
    assert chip.patterns(Slice(0, (0, 0, 2, 0), below)).shape == (1, 1, 2, 1)
    for origin, stride in [((0, 0, 3, 0), (1, 1)), ((0, 0, 1, 0), (3, 1)), ((0, -1, 0, 0), (1, 1))]:
        with pytest.raises(ProgramError, match="leaves buffer 0"):
            chip.patterns(Slice(0, origin, below, stride))


def test_fresh_and_freed_bytes_are_poison() -> None:
    chip = OnChip(16, 0)
    first = alloc(0, 0, 8, (1, 1, 1, 16))
    chip.alloc(first)
    chip.put(
        Slice(0, (0, 0, 0, 0), whole(first.shape)),
        np.zeros(first.shape),
        np.zeros(first.shape, np.int64),
    )
    chip.free(0)
    assert set(chip.memory[Memory.LOCAL]) == {0xFF}
    chip.alloc(alloc(1, 0, 32, (1, 1, 1, 4)))
    poison = chip.patterns(Slice(1, (0, 0, 0, 0), whole((1, 1, 1, 4))))
    assert np.isnan(FLOAT32.decode(poison, ANY, 32)).all()
