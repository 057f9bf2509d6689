"""Programs: what the machine does, as a list of instructions on addresses and regions.

The machine has a DRAM of named tensors and a local memory of S bytes.  A buffer is an
address range of local memory that holds a dense (batch, channel, row, column) array;
instructions address parts of it by an origin and the box of the tensor that lies there.

    Alloc   reserve a buffer                      Load    DRAM box -> buffer
    Free    give it back                          Store   buffer -> DRAM box
    Compute one step of a layer: reads buffers, writes one

Three readers execute a program, each in its own way: the ledger counts it, the timeline
times it, the replay computes with it.  No instruction says why it is there.  They are
named tuples, since a small memory makes millions of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dataflow_sim.graph.layer import Layer, Tensor
from dataflow_sim.graph.region import Box, Shape4

Origin = tuple[int, int, int, int]


class Alloc(NamedTuple):
    """Reserve bytes [address, address + size) as a buffer of the given shape and width."""

    buffer: int
    address: int
    size_bytes: int
    shape: Shape4
    bits: int
    label: str


class Free(NamedTuple):
    """Give a buffer back; its contents are lost."""

    buffer: int


class Load(NamedTuple):
    """Copy a box of a DRAM tensor to the buffer, its first element to `origin`."""

    tensor: str
    box: Box
    buffer: int
    origin: Origin


class Store(NamedTuple):
    """Copy from the buffer, starting at `origin`, to a box of a DRAM tensor."""

    tensor: str
    box: Box
    buffer: int
    origin: Origin


class Slice(NamedTuple):
    """Part of a buffer: the box of the tensor or view that lies at `origin`.

    `stride` tells how far apart in the buffer the box's rows and columns are: above 1
    where a strided box is read from a buffer that holds the elements between, too.
    """

    buffer: int
    origin: Origin
    box: Box
    stride: tuple[int, int] = (1, 1)


class Compute(NamedTuple):
    """One step of a layer.

    Its input, and each of its operands, is a box of a view that lies in local memory in
    one or several parts, in any order, none of them twice: rows and segments of a view may
    have buffers of their own.  Reduces input channels [first_channel, last_channel) into
    the outputs of `result`'s box, in the coordinates of the layer's output.  `sums` holds
    partial sums in body coordinates, when the reduction takes several steps: `first`
    starts them, `last` finishes them and writes `result`, which until then is not touched.
    The channels are those of the layer's input view.
    """

    layer: int
    result: Slice
    input: tuple[Slice, ...]
    kernel: Slice | None
    input_vectors: Slice | None
    output_vectors: Slice | None
    operands: tuple[tuple[Slice, ...], ...]
    sums: Slice | None
    first: bool
    last: bool

    @property
    def reads(self) -> tuple[Slice, ...]:
        """All buffers that the step reads, partial sums not among them."""
        single = (self.kernel, self.input_vectors, self.output_vectors)
        operands = (part for parts in self.operands for part in parts)
        return (*self.input, *(part for part in single if part is not None), *operands)


class Stream(NamedTuple):
    """One step of a streamed layer: the contents of `reads` become those of `writes`.

    `sums` holds what a sweep has not finished: running sums, statistics, a state.  `first`
    starts them, without reading; `last` no longer changes them.
    """

    layer: int
    reads: tuple[Slice, ...]
    writes: tuple[Slice, ...]
    sums: Slice | None = None
    first: bool = True
    last: bool = True


Instruction = Alloc | Free | Load | Store | Compute | Stream


@dataclass(frozen=True, slots=True)
class Program:
    """Instructions with the tensors in DRAM and the layers that they speak of.

    `capacity_bytes` is the local memory; `tensors` includes partial sums that are
    spilled.
    """

    name: str
    capacity_bytes: int
    layers: tuple[Layer, ...]
    tensors: Mapping[str, Tensor]
    instructions: tuple[Instruction, ...]
