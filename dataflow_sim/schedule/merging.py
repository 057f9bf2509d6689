"""What a merged group costs: local bytes and DRAM bits, for every way to keep its maps and weights.

Model.  The rows that live are those of the `timetable`.  A group's local memory is

    largest over all firings of   rows that live, of maps that come from or go to DRAM
                                  or stay inside the group
                                + running results, where they lie in local memory
                                + the kernel tile of the layer that fires, if it streams
    + kernels that stay           + per-channel constants, which always do

A row of a map that comes from DRAM, one of a map that goes there and a kernel tile have a
second buffer each where the hardware buffers inputs, outputs and weights doubly.

Maps that are resident (whole in local memory, before or behind the group) are counted by
whoever keeps them, not here.

A kernel either stays for the whole group and is fetched once, or is *streamed*: fetched
again in every firing, one output channel at a time, which needs next to no room.  For
every number k the k largest kernels are streamed and the others stay.  Since all layers
fire about equally often, bytes saved and bytes fetched again trade one for one whichever
kernels are chosen; taking the largest first gives every other trade of the largest size.

The DRAM bits are those of the kernels and constants, of each needed row of a map from
DRAM once, and of each stored map once.

Source: the closed form is this project's; `tests/oracle` holds a simulation, row by row,
that knows nothing of it.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.layer import Layer, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.timetable import LAYERS, MapRows, RowTables, Timetable, live_sums
from dataflow_sim.schedule.types import Buffering

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class KernelSizes:
    """A layer's weights in a group: bytes kept, bytes of a streamed tile, bits fetched."""

    kernel_bytes: int
    kernel_bits: int
    tile_bytes: int
    vector_bytes: int
    vector_bits: int
    can_stream: bool


def kernel_sizes(graph: NetworkGraph, layer: Layer, weights_doubled: bool) -> KernelSizes:
    """Sizes of a layer's weights.  Kernels of grouped convolutions always stay."""
    vectors = [graph.tensors[name] for name in (layer.input_vectors, layer.output_vectors) if name]
    bits = bytes_ = tile = 0
    if layer.weight is not None:
        kernel = graph.tensors[layer.weight]
        bits = kernel.elements * kernel.bits
        bytes_ = -(-kernel.elements * kernel.local_bits // 8)
        tile = -(-(kernel.elements // kernel.shape[0]) * kernel.local_bits // 8)
        tile *= 2 if weights_doubled and kernel.shape[0] > 1 else 1
    return KernelSizes(
        kernel_bytes=bytes_,
        kernel_bits=bits,
        tile_bytes=tile,
        vector_bytes=sum(-(-v.elements * v.bits // 8) for v in vectors),
        vector_bits=sum(v.elements * v.bits for v in vectors),
        can_stream=layer.weight is not None and layer.groups == 1 and tile < bytes_,
    )


def streaming_order(kernels: list[KernelSizes], start: int, stop: int) -> list[int]:
    """Layers [start, stop) whose kernels can be streamed, the largest kernel first."""
    able = [i for i in range(start, stop) if kernels[i].can_stream]
    return sorted(able, key=lambda i: (-kernels[i].kernel_bytes, i))


@dataclass(frozen=True, slots=True, eq=False)
class GroupTable:
    """Costs of a group: axes are (maps from outside, maps to outside, streamed kernels)."""

    local_bytes: Ints
    dram_bits: Ints


class MergedGroup:
    """A group that grows layer by layer, with its costs."""

    def __init__(
        self,
        tables: RowTables,
        kernels: list[KernelSizes],
        readers: dict[str, int],
        start: int,
        height: int | None,
        doubled: Buffering,
        running: bool = False,
    ) -> None:
        self.timetable = Timetable(tables, start, height, running)
        self.height = height
        self._graph = tables.graph
        self._kernels = kernels
        self._last_reader = readers
        self._doubled = doubled
        self._weights: tuple[int, tuple[Ints, Ints, Ints]] | None = None

    def extend(self) -> bool:
        """Take the next layer in; False where that is impossible."""
        return self.timetable.extend()

    def carrying(self) -> MergedGroup | None:
        """A copy in which layers carry their reductions; None unless the next is the first to."""
        table = self.timetable
        may = table.tables.running[table.start : table.stop + 1]
        if table.running or not may or may[-1] is None or any(may[:-1]):
            return None
        twin = copy(self)
        twin.timetable = table.fork()
        return twin

    @property
    def outgoing(self) -> list[MapRows]:
        """Maps that the group makes and that someone outside needs, or nobody at all."""
        stop = self.timetable.stop
        return [
            found
            for found in self.timetable.produced()
            if self._graph.tensors[found.name].kind is TensorKind.OUTPUT
            or self._last_reader.get(found.name, stop) >= stop
        ]

    def fetched_bits(self, found: MapRows) -> int:
        """DRAM bits of a map from outside that is not resident: each needed row once."""
        tensor = self._graph.tensors[found.name]
        elements = len(found.needed) * found.channels.length * found.columns.length
        return elements * tensor.shape[0] * tensor.bits

    def weight_costs(self) -> tuple[Ints, Ints, Ints]:
        """For each number of streamed kernels: bytes kept, DRAM bits, tile bytes by layer."""
        start, stop = self.timetable.start, self.timetable.stop
        if self._weights is not None and self._weights[0] == stop:
            return self._weights[1]
        kernels = self._kernels[start:stop]
        order = [i - start for i in streaming_order(self._kernels, start, stop)]
        kept = sum(k.kernel_bytes + k.vector_bytes for k in kernels)
        bits = sum(k.kernel_bits + k.vector_bits for k in kernels)
        kept_bytes, fetched_bits = [kept], [bits]
        tiles = np.zeros((len(order) + 1, len(kernels)), np.int64)
        for count, place in enumerate(order):
            kept -= kernels[place].kernel_bytes
            again = len(self.timetable.firings[place]) - 1
            bits += again * kernels[place].kernel_bits
            kept_bytes.append(kept)
            fetched_bits.append(bits)
            tiles[count + 1 :, place] = kernels[place].tile_bytes
        costs = (np.array(kept_bytes), np.array(fetched_bits), tiles)
        self._weights = (stop, costs)
        return costs

    def table(self, outside: Bools, going: Bools, streamed: Ints) -> GroupTable:
        """Costs where the rows of `outside` say which maps from outside are resident, in the
        order of `timetable.outside()`, those of `going` (choices, maps, 2) which of the
        `outgoing` maps are resident and which are stored, and `streamed` how many kernels
        are fetched again in every firing.
        """
        sources, targets = self.timetable.outside(), self.outgoing
        names = {found.name for found in targets}
        inner = [found for found in self.timetable.produced() if found.name not in names]
        inner += self.timetable.carried_locally()
        firings = np.sort(np.concatenate(self.timetable.firings))
        inside = live_sums(inner, False, firings, apart=False)
        rows_in = live_sums(sources, self._doubled.inputs, firings, apart=True)
        rows_out = live_sums(targets, self._doubled.outputs, firings, apart=True)
        # products of small integers: exact in float64
        live = inside + (~outside).astype(float) @ rows_in
        live_out = (~going[:, :, 0]).astype(float) @ rows_out
        both = live[:, None, :] + live_out[None, :, :]
        if not streamed.any():
            peaks = both.max(axis=2)[:, :, None].astype(np.int64)
        else:
            places = firings % LAYERS
            order = np.argsort(places, kind="stable")
            offsets = np.searchsorted(places[order], np.arange(len(self.timetable.firings)))
            peaks = np.maximum.reduceat(both[:, :, order], offsets, axis=2).astype(np.int64)
        kept, bits, tiles = (part[streamed] for part in self.weight_costs())
        if streamed.any():
            local = kept + (peaks[:, :, None, :] + tiles).max(axis=3)
        else:
            local = kept + peaks
        in_bits = (~outside) @ np.array([self.fetched_bits(f) for f in sources], np.int64)
        sizes = [self._graph.tensors[f.name] for f in targets]
        out_bits = going[:, :, 1] @ np.array([t.elements * t.bits for t in sizes], np.int64)
        return GroupTable(local, in_bits[:, None, None] + out_bits[:, None] + bits)
