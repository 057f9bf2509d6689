"""Programs: what the machine does, as a list of instructions on addresses and regions.

The machine has a DRAM of named tensors, a local memory of S bytes, and perhaps a second memory
on chip for partial sums alone.  A buffer is an address range of one of the two that holds a
dense (batch, channel, row, column) array; instructions address parts of it by an origin and
the box of the tensor that lies there.  The array lies row by row, each row with all of its
batch, channels and columns, so that a buffer and those of its rows can be the same bytes.

    Alloc   reserve a buffer                      Load    DRAM box -> buffer
    Free    give it back                          Store   buffer -> DRAM box
    Split   one buffer -> those of its rows       Join    buffers of rows -> one buffer
    Compute one step of a layer: reads buffers, writes one

Three readers execute a program, each in its own way: the ledger counts it, the timeline
times it, the replay computes with it.  No instruction says why it is there.  They are
named tuples, since a small memory makes millions of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from dataflow_sim.graph.layer import Layer, Tensor
from dataflow_sim.graph.region import Box, Shape4, Span
from dataflow_sim.program.homes import Home

Origin = tuple[int, int, int, int]


class Memory(StrEnum):
    """A memory on chip; each has addresses of its own, from 0 upwards."""

    LOCAL = "local"
    ACCUMULATORS = "accumulators"


class Alloc(NamedTuple):
    """Reserve bytes [address, address + size) as a buffer of the given shape and width.

    In local memory both are multiples of the program's alignment, so that what a buffer holds may
    end before it.  In the accumulators lie partial sums, and the results that they become, until
    stored.
    """

    buffer: int
    address: int
    size_bytes: int
    shape: Shape4
    bits: int
    label: str
    memory: Memory = Memory.LOCAL


class Free(NamedTuple):
    """Give a buffer back; its contents are lost."""

    buffer: int


class Split(NamedTuple):
    """A buffer that holds a whole map falls apart into buffers of its rows; nothing moves.

    The `parts`, row 0 first, lie one behind the other from the address of the whole on: of a
    whole (N, C, H, W) each is (N, C, 1, W), of the same width, in whole bytes.  The buffer is gone.
    """

    buffer: int
    parts: tuple[Alloc, ...]


class Join(NamedTuple):
    """Buffers of the rows of a map become one buffer of the whole; nothing moves.

    The `parts`, row 0 first, lie as those of a Split, and are gone.
    """

    parts: tuple[int, ...]
    whole: Alloc


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
    have buffers of their own.  Its kernel lies in one or several parts along the output
    channels, in their order; none where the layer has no kernel.  Reduces input channels
    [first_channel, last_channel) into the outputs of `result`'s box, in the coordinates of the
    layer's output.  `sums` holds partial sums in body coordinates, when the reduction takes several
    steps: `first` starts them, `last` finishes them and writes `result`, which until then is not
    touched.  The channels are those of the layer's input view.

    With `body_rows` the reduction is that of a pooling over the whole height: the step pools
    these rows of the body, finished, into running results, which `sums` holds in the coordinates
    of the layer's output: sums of what is averaged, or maxima.

    A result that lies in several buffers, which together make up a box, has `more` parts; all of
    them have the same channels.
    """

    layer: int
    result: Slice
    input: tuple[Slice, ...]
    kernel: tuple[Slice, ...]
    input_vectors: Slice | None
    output_vectors: Slice | None
    operands: tuple[tuple[Slice, ...], ...]
    sums: Slice | None
    first: bool
    last: bool
    body_rows: Span | None = None
    more: tuple[Slice, ...] = ()

    @property
    def made(self) -> Box:
        """The box that all parts of the result make up."""
        if not self.more:
            return self.result.box
        boxes = [self.result.box, *(part.box for part in self.more)]
        return Box(
            *(
                Span(min(span.start for span in axis), max(span.stop for span in axis))
                for axis in zip(*boxes, strict=True)
            )
        )

    @property
    def reads(self) -> tuple[Slice, ...]:
        """All buffers that the step reads, partial sums not among them."""
        vectors = (self.input_vectors, self.output_vectors)
        named = (part for part in vectors if part is not None)
        operands = (part for parts in self.operands for part in parts)
        return (*self.input, *self.kernel, *named, *operands)


class Stream(NamedTuple):
    """One step of a streamed layer: what it reads becomes what it writes.

    Of a sweep `inputs` has for each view of the layer the parts of the box that the step reads,
    in any order, none where it meets none of the view's columns.  Of a layer taken in one pass it
    has each region that the step reads, as a box of its tensor.  `constants` are parts of the
    layer's weights, `outputs` for each tensor that it writes the parts that the step makes of it.

    `sums` holds what a sweep has not finished: running sums, statistics, a state.  `first`
    starts them, without reading; `last` no longer changes them.
    """

    layer: int
    inputs: tuple[tuple[Slice, ...], ...]
    constants: tuple[Slice, ...]
    outputs: tuple[tuple[Slice, ...], ...]
    sums: Slice | None = None
    first: bool = True
    last: bool = True

    @property
    def reads(self) -> tuple[Slice, ...]:
        """All buffers that the step reads, running sums not among them."""
        return (*(part for parts in self.inputs for part in parts), *self.constants)

    @property
    def writes(self) -> tuple[Slice, ...]:
        """All buffers that it writes, running sums not among them."""
        return tuple(part for parts in self.outputs for part in parts)


Instruction = Alloc | Free | Split | Join | Load | Store | Compute | Stream


class Standing(NamedTuple):
    """A buffer that holds the whole of a tensor from one program to the next."""

    tensor: str
    alloc: Alloc


@dataclass(frozen=True, slots=True)
class Program:
    """Instructions with the tensors in DRAM and the layers that they speak of.

    `capacity_bytes` is the local memory, whose buffers begin at multiples of `alignment_bytes`,
    `accumulator_capacity_bytes` that for partial sums alone, 0 where there is none; `tensors`
    includes partial sums that are spilled.  The layers in `again` may make elements of their
    outputs more than once, for halos.  What `stands` is in local memory before the first
    instruction, allocated already; what it `leaves` is there behind the last one, not freed.
    Widths are the network's, `byte_bits` of them a byte.  `homes` say where tensors lie in DRAM;
    where there are none, every transfer is one piece.
    """

    name: str
    capacity_bytes: int
    layers: tuple[Layer, ...]
    tensors: Mapping[str, Tensor]
    instructions: tuple[Instruction, ...]
    accumulator_capacity_bytes: int = 0
    again: frozenset[int] = frozenset()
    stands: tuple[Standing, ...] = ()
    leaves: tuple[Standing, ...] = ()
    alignment_bytes: int = 1
    byte_bits: int = 8
    homes: Mapping[str, Home] = field(default_factory=dict)
