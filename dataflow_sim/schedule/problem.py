"""What the search needs to know of one layer: integers only, so that equal layers are equal.

Names of tensors stay outside (`Roles`), which lets one solved problem serve every layer
of the same shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from dataflow_sim.graph.layer import Layer, LayerKind, View
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.region import Shape4
from dataflow_sim.schedule.footprints import Axis, layer_axes
from dataflow_sim.schedule.types import Buffering, MemoryOptions


@dataclass(frozen=True, slots=True)
class Operand:
    """A further map read beside the input: as large as the output, or one value a channel.

    `bits` is the width of its buffer, `dram_channels` how many of its channels come from
    DRAM, `fetched_bits` and `read_bits` the bits of one element of all those channels in
    DRAM, and of all its channels in local memory.
    """

    bits: int
    per_channel: bool
    dram_channels: int
    fetched_bits: int
    read_bits: int
    whole_from_dram: bool


@dataclass(frozen=True, slots=True)
class LayerProblem:
    """One layer as numbers: extents, windows, widths, and what may be split.

    Widths are bits per element, `kernel_bits` in DRAM and `kernel_local_bits` in local
    memory; `*_vectors` count the per-channel constants on either side.  Of the input view
    `input_dram_channels` come from DRAM, the rest is resident in local memory;
    `input_fetched_bits` and `input_read_bits` are the bits of one element of all those
    channels in DRAM, and of all channels in local memory.  The output is resident, stored to
    DRAM, or both.  A `plain` problem has only the tilings that there are whichever maps are
    resident: the reduction is not split, no channels of the input are pinned.  `standing` are the
    roles of weights that are there before it; `packed` widths are DRAM's, where the DMA unpacks.
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
    input_dram_channels: int
    input_fetched_bits: int
    input_read_bits: int
    input_bits: int
    kernel_bits: int
    kernel_local_bits: int
    output_bits: int
    vector_bits: int
    input_vectors: int
    output_vectors: int
    operands: tuple[Operand, ...]
    memory: MemoryOptions
    output_resident: bool = False
    output_stored: bool = True
    plain: bool = False
    standing: frozenset[str] = frozenset()
    packed_input_bits: int | None = None
    packed_output_bits: int | None = None

    @property
    def input_dram_bits(self) -> int:
        """Bits of an element of the input in DRAM, where all channels have the same."""
        return self.input_bits if self.packed_input_bits is None else self.packed_input_bits

    @property
    def output_dram_bits(self) -> int:
        """Bits of an element of the output in DRAM."""
        return self.output_bits if self.packed_output_bits is None else self.packed_output_bits

    @property
    def fetches_kernel(self) -> bool:
        """Whether there is a kernel, and it comes from DRAM."""
        return self.has_kernel and "kernel" not in self.standing

    @property
    def fetched_input_vectors(self) -> int:
        """Constants of an input channel that come from DRAM."""
        return 0 if "input vectors" in self.standing else self.input_vectors

    @property
    def fetched_output_vectors(self) -> int:
        """Constants of an output channel that come from DRAM."""
        return 0 if "output vectors" in self.standing else self.output_vectors

    @property
    def kernel_area(self) -> int:
        """Taps of the kernel."""
        return self.rows.kernel * self.columns.kernel

    @property
    def elementwise(self) -> bool:
        """Whether input and output tiles have the same elements, so that they may share."""
        window = (self.rows, self.columns)
        plain = all(
            a.kernel == a.stride == a.up == a.pool_kernel == a.pool_stride == 1
            and a.pad == a.pool_pad == 0
            and a.before is None
            for a in window
        )
        return self.kind is LayerKind.CHANNELWISE and plain and not self.has_pool

    @property
    def touches_local_maps(self) -> bool:
        """Whether any map that the layer reads or writes is resident."""
        whole = self.groups * self.input_channels
        return (
            self.output_resident
            or self.input_dram_channels < whole
            or any(not operand.whole_from_dram for operand in self.operands)
        )

    @property
    def may_take_over(self) -> bool:
        """Whether the output may take the place of a resident map that the layer reads.

        Nothing may then be loaded to where the output will be: what is read is still there.
        """
        whole = self.groups * self.input_channels
        maps = (operand for operand in self.operands if not operand.per_channel)
        return self.output_resident and (
            self.input_dram_channels < whole or any(not each.whole_from_dram for each in maps)
        )

    @property
    def input_in_place(self) -> bool:
        """The input is loaded to where the output will be (elementwise, equal widths)."""
        from_dram = self.input_dram_channels == self.groups * self.input_channels
        same = self.elementwise and self.input_bits == self.output_bits
        return same and from_dram and not self.may_take_over

    @property
    def sums_hold_results(self) -> bool:
        """Whether a tile's results have room where its sums were, as those of a split reduction
        need: they are no wider, and no pooling over padding makes more of them."""
        larger = any(axis.output_size > axis.body_size for axis in (self.rows, self.columns))
        return self.output_bits <= self.memory.accumulator_bits and not larger

    @property
    def finishes_by_channel(self) -> bool:
        """Whether the sums of a split reduction are finished one output channel at a time.

        So that of a map that is read beside the input, a channel takes room and not a tile.
        """
        return any(o.dram_channels and not o.per_channel for o in self.operands)

    def operand_in_place(self, index: int) -> bool:
        """Operand `index` is loaded to where the output will overwrite it.

        Only the first operand of the output's size and width that comes from DRAM, and
        only if no input is there already.  With a split reduction partial sums are there
        instead.
        """
        if self.input_in_place or self.may_take_over:
            return False
        fits = [
            i
            for i, operand in enumerate(self.operands)
            if not operand.per_channel
            and operand.whole_from_dram
            and operand.bits == self.output_bits
        ]
        return bool(fits) and fits[0] == index

    @property
    def input_doubled(self) -> bool:
        """Whether input tiles have two buffers, in which the output may lie too."""
        doubled = self.memory.doubled
        return doubled.inputs or (self.input_in_place and doubled.outputs)

    @property
    def output_doubled(self) -> bool:
        """Whether output tiles have two buffers, in which an operand may wait."""
        doubled = self.memory.doubled
        waits = any(self.operand_in_place(index) for index in range(len(self.operands)))
        return doubled.outputs or (waits and doubled.inputs)

    @property
    def sums_doubled(self) -> bool:
        """Whether partial sums, which the results leave through, have two buffers."""
        return self.memory.doubled.partial_sums or self.memory.doubled.outputs

    @property
    def sums_apart(self) -> bool:
        """Whether partial sums have a memory of their own."""
        return self.memory.accumulator_capacity_bytes is not None


@dataclass(frozen=True, slots=True)
class StreamedTensor:
    """A region that a streamed layer moves: its longest extent, elements of a slice, its widths.

    `bits` is the width in DRAM, `local_bits` that in local memory.  `resident` says that it
    is whole in local memory, `moved` that it crosses the DRAM interface, `doubled` that its
    slices have two buffers.
    """

    extent: int
    slice_elements: int
    bits: int
    local_bits: int
    resident: bool
    moved: bool
    doubled: bool


@dataclass(frozen=True, slots=True)
class StreamProblem:
    """A streamed layer as numbers."""

    tensors: tuple[StreamedTensor, ...]
    memory: MemoryOptions


class StreamRegion(NamedTuple):
    """Channels [start, stop) of a tensor, which a streamed layer reads or writes whole."""

    tensor: str
    start: int
    stop: int

    def shape(self, graph: NetworkGraph) -> Shape4:
        """Elements along each axis."""
        n, _, h, w = graph.tensors[self.tensor].shape
        return (n, self.stop - self.start, h, w)


def longest_axis(shape: tuple[int, ...]) -> int:
    """The axis along which a streamed tensor is cut: its longest, the first of equals."""
    return max(range(len(shape)), key=lambda axis: (shape[axis], -axis))


def shares(graph: NetworkGraph, view: View, resident: frozenset[str]) -> tuple[int, int, int, int]:
    """Of a view: its width in buffers, channels from DRAM, their bits, bits read locally."""
    tensors = graph.tensors
    width = max(tensors[s.tensor].local_bits for s in view.segments)
    away = [s for s in view.segments if s.tensor not in resident]
    fetched = sum(s.channels * tensors[s.tensor].bits for s in away)
    read = sum(
        s.channels * (tensors[s.tensor].local_bits if s.tensor in resident else width)
        for s in view.segments
    )
    return width, sum(s.channels for s in away), fetched, read


def weight_roles(layer: Layer) -> list[tuple[str, str]]:
    """What the weights of a layer are to it, with their names, in the order of its weights."""
    named = (
        ("kernel", layer.weight),
        ("input vectors", layer.input_vectors),
        ("output vectors", layer.output_vectors),
    )
    return [(role, name) for role, name in named if name is not None]


def _operand(graph: NetworkGraph, layer: Layer, view: View, resident: frozenset[str]) -> Operand:
    width, channels, fetched, read = shares(graph, view, resident)
    return Operand(
        bits=width,
        per_channel=view.shape != layer.body_shape,
        dram_channels=channels,
        fetched_bits=fetched,
        read_bits=read,
        whole_from_dram=channels == view.shape[1],
    )


def layer_problem(
    graph: NetworkGraph,
    layer: Layer,
    memory: MemoryOptions,
    resident: frozenset[str] = frozenset(),
    stored: bool = True,
) -> LayerProblem:
    """The numbers of a layer that is not streamed.

    `resident` names the maps and weights that are whole in local memory while it runs, its own
    output among them or not; `stored` tells whether the output goes to DRAM.
    """
    tensors = graph.tensors

    def vectors(name: str | None) -> int:
        return tensors[name].shape[0] if name is not None else 0

    width, channels, fetched, read = shares(graph, layer.input, resident)
    row_axis, column_axis = layer_axes(layer)
    output = tensors[layer.output]
    packed = {tensors[segment.tensor].bits for segment in layer.input.segments}
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
        input_dram_channels=channels,
        input_fetched_bits=fetched,
        input_read_bits=read,
        input_bits=width,
        kernel_bits=tensors[layer.weight].bits if layer.weight else 0,
        kernel_local_bits=tensors[layer.weight].local_bits if layer.weight else 0,
        output_bits=output.local_bits,
        vector_bits=tensors[named[0]].bits if named else 0,
        input_vectors=vectors(layer.input_vectors),
        output_vectors=vectors(layer.output_vectors),
        operands=tuple(_operand(graph, layer, view, resident) for view in layer.operands),
        memory=memory,
        output_resident=layer.output in resident,
        output_stored=stored,
        standing=frozenset(role for role, name in weight_roles(layer) if name in resident),
        packed_input_bits=packed.pop() if len(packed) == 1 and packed != {width} else None,
        packed_output_bits=output.bits if output.bits != output.local_bits else None,
    )


def stream_regions(graph: NetworkGraph, layer: Layer) -> tuple[StreamRegion, ...]:
    """What a streamed layer moves: the channels that it reads, each once, vectors, outputs."""
    read: dict[str, list[tuple[int, int]]] = {}
    for view in layer.views:
        for segment in view.segments:
            span = (segment.channel_start, segment.channel_stop)
            read.setdefault(segment.tensor, []).append(span)
    regions = []
    for name, spans in read.items():
        low, high = min(spans)
        for start, stop in sorted(spans):
            if start > high:
                regions.append(StreamRegion(name, low, high))
                low, high = start, stop
            high = max(high, stop)
        regions.append(StreamRegion(name, low, high))
    whole = (*layer.weights, *layer.outputs)
    return (*regions, *(StreamRegion(name, 0, graph.tensors[name].shape[1]) for name in whole))


def region_doubled(layer: Layer, name: str, doubled: Buffering) -> bool:
    """Whether the slices of a tensor that a streamed layer moves have two buffers."""
    if name in layer.outputs:
        return doubled.outputs
    return doubled.weights if name in layer.weights else doubled.inputs


def stream_problem(
    graph: NetworkGraph,
    layer: Layer,
    memory: MemoryOptions,
    resident: frozenset[str] = frozenset(),
    stored: frozenset[str] | None = None,
) -> StreamProblem:
    """The numbers of a streamed layer; of its outputs those in `stored` go to DRAM, or all."""
    rows = []
    for region in stream_regions(graph, layer):
        shape = region.shape(graph)
        extent = shape[longest_axis(shape)]
        local = region.tensor in resident
        moved = not local
        if region.tensor in layer.outputs:
            moved = stored is None or region.tensor in stored
        tensor = graph.tensors[region.tensor]
        rows.append(
            StreamedTensor(
                extent=extent,
                slice_elements=prod(shape) // extent,
                bits=tensor.bits,
                local_bits=tensor.local_bits,
                resident=local,
                moved=moved,
                doubled=region_doubled(layer, region.tensor, memory.doubled),
            )
        )
    return StreamProblem(tuple(rows), memory)


def splits_channels(problem: LayerProblem) -> bool:
    """Whether tiles may take part of the channels of a group."""
    return problem.kind is LayerKind.CONVOLUTION
