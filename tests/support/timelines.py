"""Programs written by hand, and their timelines, for tests of who waits for whom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dataflow_sim.graph.layer import Layer, LayerKind, Segment, Tensor, TensorKind, View
from dataflow_sim.graph.region import Box, Span
from dataflow_sim.program.instructions import (
    Alloc,
    Compute,
    Free,
    Instruction,
    Load,
    Program,
    Slice,
    Store,
)
from dataflow_sim.simulate.arrays import Ints
from dataflow_sim.simulate.precedence import precedence
from dataflow_sim.simulate.timeline import Durations, Timeline, play

BITS = 8
_PLANE = (1, 1, 64, 1)  # rows are all that these programs tell apart
TENSORS = {
    "x": Tensor("x", TensorKind.INPUT, _PLANE, BITS),
    "k": Tensor("k", TensorKind.WEIGHT, _PLANE, BITS),
    "m": Tensor("m", TensorKind.MAP, _PLANE, BITS),
    "y": Tensor("y", TensorKind.OUTPUT, _PLANE, BITS),
}
_LAYER = Layer(
    "layer",
    "Relu",
    LayerKind.CHANNELWISE,
    View((Segment("x", 0, 1),), _PLANE),
    "y",
    _PLANE,
    _PLANE,
)


def rows(first: int, count: int) -> Box:
    """So many rows from the first on."""
    one = Span(0, 1)
    return Box(one, one, Span(first, first + count), one)


def alloc(buffer: int, address: int, size: int) -> Alloc:
    """A buffer of so many rows of one byte."""
    return Alloc(buffer, address, size, (1, 1, size, 1), BITS, f"buffer {buffer}")


def load(buffer: int, first: int, count: int, tensor: str = "x", at: int = 0) -> Load:
    """Rows of a tensor to a buffer."""
    return Load(tensor, rows(first, count), buffer, (0, 0, at, 0))


def store(buffer: int, first: int, count: int, tensor: str = "y", at: int = 0) -> Store:
    """Rows of a buffer to a tensor."""
    return Store(tensor, rows(first, count), buffer, (0, 0, at, 0))


def step(
    reads: Sequence[tuple[int, int, int]], writes: tuple[int, int, int], first: int = 0
) -> Compute:
    """A step that reads and writes (buffer, row, count)."""
    parts = tuple(Slice(b, (0, 0, row, 0), rows(first, count)) for b, row, count in reads)
    buffer, row, count = writes
    made = Slice(buffer, (0, 0, row, 0), rows(first, count))
    return Compute(0, made, parts, (), None, None, (), None, first=True, last=True)


def program(*instructions: Instruction) -> Program:
    """A program; its buffers are freed at the end."""
    begun = [ins.buffer for ins in instructions if isinstance(ins, Alloc)]
    ended = {ins.buffer for ins in instructions if isinstance(ins, Free)}
    frees = [Free(buffer) for buffer in begun if buffer not in ended]
    return Program("by hand", 64, (_LAYER,), TENSORS, (*instructions, *frees))


def timeline(
    of: Program,
    steps: Sequence[int],
    *,
    per_byte: int = 1,
    setup: int = 0,
    channels: int = 1,
    flash_per_byte: int = 0,
) -> Timeline:
    """The timeline, in cycles, of steps that take so many; weights come from flash if told."""
    found = precedence([of])
    size = found.bits // 8
    weights = np.array([name == "k" for name in found.tensors])[found.tensor]
    flash = np.where(weights & (flash_per_byte > 0), size * flash_per_byte, 0)
    dram = np.where(flash > 0, 0, size * per_byte)
    durations = Durations(np.array(steps, np.int64), np.stack([dram, flash]), setup, channels)
    return play(found, durations)


def spans(starts: Ints, ends: Ints) -> list[tuple[int, int]]:
    """(start, end) of each."""
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
