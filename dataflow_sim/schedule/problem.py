"""What the search needs to know of one layer: integers only, so that equal layers are equal.

Names of tensors stay outside (`Roles`), which lets one solved problem serve every layer
of the same shape.
"""

from __future__ import annotations

from dataclasses import dataclass

from dataflow_sim.graph.layer import Layer, LayerKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.footprints import Axis, layer_axes
from dataflow_sim.schedule.types import MemoryOptions


@dataclass(frozen=True, slots=True)
class Operand:
    """A further map read beside the input: as large as the output, or one value a channel."""

    bits: int
    per_channel: bool


@dataclass(frozen=True, slots=True)
class LayerProblem:
    """One layer as numbers: extents, windows, widths, and what may be split.

    `input_segment_bits` holds (channels, bits) of each segment of the input view; widths
    are bits per element; `*_vectors` count the per-channel constants on either side.
    """

    kind: LayerKind
    batch: int
    groups: int
    output_channels: int  # of one group
    input_channels: int  # of one group
    rows: Axis
    columns: Axis
    has_kernel: bool
    has_pool: bool
    input_segment_bits: tuple[tuple[int, int], ...]
    input_bits: int
    kernel_bits: int
    output_bits: int
    vector_bits: int
    input_vectors: int
    output_vectors: int
    operands: tuple[Operand, ...]
    memory: MemoryOptions

    @property
    def kernel_area(self) -> int:
        """Taps of the kernel."""
        return self.rows.kernel * self.columns.kernel

    @property
    def elementwise(self) -> bool:
        """Whether input and output tiles have the same elements, so that they may share."""
        window = (self.rows, self.columns)
        plain = all(
            a.kernel == a.stride == a.pool_kernel == a.pool_stride == 1 and a.pad == a.pool_pad == 0
            for a in window
        )
        return self.kind is LayerKind.CHANNELWISE and plain and not self.has_pool

    @property
    def input_in_place(self) -> bool:
        """The input tile's buffer takes the output tile (elementwise, equal widths)."""
        return self.elementwise and self.input_bits == self.output_bits

    def operand_in_place(self, index: int) -> bool:
        """The output tile's buffer holds operand `index` until it is overwritten.

        Only the first operand of the output's size and width, and only if no input is
        there already.  With a split reduction the buffer holds partial sums instead.
        """
        if self.input_in_place:
            return False
        fits = [
            i
            for i, operand in enumerate(self.operands)
            if not operand.per_channel and operand.bits == self.output_bits
        ]
        return bool(fits) and fits[0] == index


@dataclass(frozen=True, slots=True)
class StreamProblem:
    """An opaque layer as numbers: the (longest axis, elements of a slice, bits) of its tensors."""

    tensors: tuple[tuple[int, int, int], ...]
    memory: MemoryOptions


def longest_axis(shape: tuple[int, ...]) -> int:
    """The axis along which a streamed tensor is cut: its longest, the first of equals."""
    return max(range(len(shape)), key=lambda axis: (shape[axis], -axis))


def layer_problem(graph: NetworkGraph, layer: Layer, memory: MemoryOptions) -> LayerProblem:
    """The numbers of a layer that is not opaque."""
    tensors = graph.tensors

    def vectors(name: str | None) -> int:
        return tensors[name].shape[0] if name is not None else 0

    segments: list[tuple[int, int]] = []
    for segment in layer.input.segments:
        bits = tensors[segment.tensor].bits
        if segments and segments[-1][1] == bits:
            segments[-1] = (segments[-1][0] + segment.channels, bits)
        else:
            segments.append((segment.channels, bits))
    row_axis, column_axis = layer_axes(layer)
    channelwise = layer.kind is LayerKind.CHANNELWISE
    groups = layer.output_shape[1] if channelwise else layer.groups
    named = [name for name in (layer.input_vectors, layer.output_vectors) if name]
    return LayerProblem(
        kind=layer.kind,
        batch=layer.output_shape[0],
        groups=groups,
        output_channels=layer.output_shape[1] // groups,
        input_channels=layer.input.shape[1] // groups,
        rows=row_axis,
        columns=column_axis,
        has_kernel=layer.weight is not None,
        has_pool=layer.pool is not None,
        input_segment_bits=tuple(segments),
        input_bits=graph.view_bits(layer),
        kernel_bits=tensors[layer.weight].bits if layer.weight else 0,
        output_bits=tensors[layer.output].bits,
        vector_bits=tensors[named[0]].bits if named else 0,
        input_vectors=vectors(layer.input_vectors),
        output_vectors=vectors(layer.output_vectors),
        operands=tuple(
            Operand(
                bits=max(tensors[s.tensor].bits for s in view.segments),
                per_channel=view.shape != layer.body_shape,
            )
            for view in layer.operands
        ),
        memory=memory,
    )


def stream_tensors(graph: NetworkGraph, layer: Layer) -> tuple[str, ...]:
    """The tensors that an opaque layer streams: those it reads, each once, then its outputs."""
    read = dict.fromkeys(s.tensor for view in layer.views for s in view.segments)
    return (*read, *layer.outputs)


def stream_problem(graph: NetworkGraph, layer: Layer, memory: MemoryOptions) -> StreamProblem:
    """The numbers of an opaque layer."""
    rows = []
    for name in stream_tensors(graph, layer):
        tensor = graph.tensors[name]
        extent = tensor.shape[longest_axis(tensor.shape)]
        rows.append((extent, tensor.elements // extent, tensor.bits))
    return StreamProblem(tuple(rows), memory)


def splits_channels(problem: LayerProblem) -> bool:
    """Whether tiles may take part of the channels of a group."""
    return problem.kind is LayerKind.CONVOLUTION
