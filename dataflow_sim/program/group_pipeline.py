"""What all merged groups have in common when they are lowered: buffers that come and go, weights.

In every firing, in this order: buffers that begin to live are reserved, and loaded where they come
from DRAM; the layer computes; what goes to DRAM is stored; buffers that nobody needs any more are
freed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.region import Box, Span, whole
from dataflow_sim.program.emitter import ORIGIN, Emitter
from dataflow_sim.program.instructions import Free, Instruction, Load, Slice
from dataflow_sim.schedule.layout import PINNED, GroupLayout, Held
from dataflow_sim.schedule.timetable import LAYERS
from dataflow_sim.schedule.types import Group, LayerTiling, PlaneTiling, RowTiling

ONE = Span(0, 1)


class GroupPipeline(ABC):
    """Lowers one merged group into an emitter."""

    def __init__(
        self, graph: NetworkGraph, group: Group, layout: GroupLayout, emitter: Emitter
    ) -> None:
        self.graph = graph
        self.group = group
        self.layout = layout
        self.emit = emitter
        self.buffers: dict[Held, int] = {}
        self.births: dict[int, list[int]] = defaultdict(list)
        self.deaths: dict[int, list[int]] = defaultdict(list)
        # what else is due by moment, before the layer computes and when it has
        self.due_before: dict[int, list[Instruction]] = defaultdict(list)
        self.due_behind: dict[int, list[Instruction]] = defaultdict(list)
        for index, life in enumerate(layout.lives):
            self.births[life.first].append(index)
            self.deaths[life.last].append(index)

    def lower(self) -> None:
        """Fire all firings in order."""
        for moment, firing in enumerate(self.layout.firings):
            for number in self.births[moment]:
                held = self.layout.held[number]
                address = self.group.address + self.layout.addresses[number]
                if held.layer >= 0:
                    self.begin_weights(held, address)
                else:
                    self.begin_map(held, address)
            index = self.group.members[firing % LAYERS]
            self.emit.instructions.extend(self.due_before[moment])
            self.fire(index, moment, firing)
            self.emit.instructions.extend(self.due_behind[moment])
            for number in self.deaths[moment]:
                self.emit.instructions.append(Free(self.buffers.pop(self.layout.held[number])))

    @abstractmethod
    def begin_map(self, held: Held, address: int) -> None:
        """Reserve a buffer for part of a map, and load it if it comes from DRAM."""

    @abstractmethod
    def fire(self, index: int, moment: int, firing: int) -> None:
        """Let a layer compute what it makes in a firing, and store what goes to DRAM."""

    # ------------------------------------------------------------ weights

    def begin_weights(self, held: Held, address: int) -> None:
        """Reserve a buffer for weights, and load those that stay."""
        tensor, layer = self.graph.tensors[held.tensor], self.graph.layers[held.layer]
        shape = tensor.shape
        tiling = self.tiling(held.layer)
        streamed = tiling.streamed and held.tensor == layer.weight
        if held.number == PINNED:
            assert isinstance(tiling, RowTiling)
            streamed, shape = False, (tiling.pinned_channels, *shape[1:])
        elif streamed:
            shape = (tiling.output_channel_tile, *shape[1:])
        role = "kernel" if held.tensor == layer.weight else "constants"
        label = f"{layer.name}: {role}"
        self.buffers[held] = self.emit.place(label, shape, tensor.local_bits, address)
        if not streamed:
            box = whole(shape)
            self.emit.instructions.append(Load(held.tensor, box, self.buffers[held], ORIGIN))

    def tiling(self, index: int) -> RowTiling | PlaneTiling:
        """How a layer runs in the group."""
        tiling = self.group.layers[self.group.members.index(index)].tiling
        assert not isinstance(tiling, LayerTiling)
        return tiling

    def kernels(self, index: int, layer: Layer, moment: int) -> Iterator[tuple[Span, Slice | None]]:
        """Output channels of each step with the kernel for them, loaded when it streams."""
        everything = Span(0, layer.output_shape[1])
        if layer.weight is None:
            yield everything, None
            return
        shape = self.graph.tensors[layer.weight].shape
        tiling = self.tiling(index)
        if not tiling.streamed:
            buffer = self.weights(layer.weight, index)
            yield everything, Slice(buffer, ORIGIN, whole(shape))
            return
        turns = [self.buffers.get(Held(layer.weight, index, slot, moment)) for slot in (0, 1)]
        slots = [buffer for buffer in turns if buffer is not None]
        size, pinned = tiling.output_channel_tile, 0
        stays = self.buffers.get(Held(layer.weight, index, PINNED, 0))
        if stays is not None:
            assert isinstance(tiling, RowTiling)
            pinned = tiling.pinned_channels
            channels = Span(0, pinned)
            yield channels, Slice(stays, ORIGIN, whole(shape)._replace(batch=channels))
        for number, first in enumerate(range(pinned, shape[0], size)):
            channels = Span(first, min(first + size, shape[0]))
            box = whole(shape)._replace(batch=channels)
            buffer = slots[number % len(slots)]
            self.emit.instructions.append(Load(layer.weight, box, buffer, ORIGIN))
            yield channels, Slice(buffer, ORIGIN, box)

    def constants(self, index: int, name: str | None, channels: Span) -> Slice | None:
        """Constants of some channels of a layer, if it has such."""
        if name is None:
            return None
        shape = self.graph.tensors[name].shape
        box = Box(Span(0, shape[0]), channels, ONE, ONE)
        return Slice(self.weights(name, index), (0, channels.start, 0, 0), box)

    def weights(self, name: str, index: int) -> int:
        """The buffer of weights that stay: for the group, or from one frame to the next."""
        there = self.emit.resident.get(name)
        return self.buffers[Held(name, index, 0, 0)] if there is None else there
