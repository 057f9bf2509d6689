"""Which maps are alive between layers, who reads them, and which of them are alike.

Between two layers of the network's order a live map is in one of three states: in DRAM, in
local memory, or in both.  Maps are alike when exchanging them changes nothing for what is
still to come: same size, same readers, same part of them read.  A dense block's maps are;
only how many of them are in local memory matters then, which keeps the states few.

Constants that several layers read like maps (exporters share equal ones) may be *pinned*:
they are then local from their first reader to their last, all of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from dataflow_sim.graph.analyses import dying_operand
from dataflow_sim.graph.layer import Layer, LayerKind, TensorKind
from dataflow_sim.graph.network import NetworkGraph

DRAM, LOCAL, BOTH = 0, 1, 2
State = tuple[int, ...]

# with more maps alive than this none of them is kept in both places
MAXIMUM_LIVE_FOR_BOTH = 4


@dataclass(frozen=True, slots=True)
class _Reading:
    layer: int
    view: int
    channels: tuple[int, int]


def shared_constants(graph: NetworkGraph) -> frozenset[str]:
    """Constants that more than one layer reads like a map."""
    readers = Counter(name for layer in graph.layers for name in layer_reads(layer))
    return frozenset(
        name
        for name, count in readers.items()
        if count > 1 and graph.tensors[name].kind is TensorKind.WEIGHT
    )


class MapLives:
    """Lives of all maps of a network in its order, and of constants that are pinned."""

    def __init__(self, graph: NetworkGraph, pinned: frozenset[str] = frozenset()) -> None:
        self.graph = graph
        self.pinned = pinned
        self.readings: dict[str, list[_Reading]] = {}
        self.producer: dict[str, int] = dict.fromkeys(graph.inputs, -1)
        for index, layer in enumerate(graph.layers):
            for number, view in enumerate(layer.views):
                for segment in view.segments:
                    constant = graph.tensors[segment.tensor].kind is TensorKind.WEIGHT
                    if not constant or segment.tensor in pinned:
                        channels = (segment.channel_start, segment.channel_stop)
                        reading = _Reading(index, number, channels)
                        self.readings.setdefault(segment.tensor, []).append(reading)
            self.producer.update(dict.fromkeys(layer.outputs, index))
        for name in sorted(pinned):
            self.producer[name] = self.readings[name][0].layer - 1
        self.last_reader = {name: found[-1].layer for name, found in self.readings.items()}
        order = {name: place for place, name in enumerate(self.producer)}
        self.live: list[tuple[str, ...]] = []
        for position in range(len(graph.layers) + 1):
            alive = [
                name
                for name, last in self.last_reader.items()
                if self.producer[name] < position <= last
            ]
            self.live.append(tuple(sorted(alive, key=order.__getitem__)))

    @cached_property
    def size_bytes(self) -> dict[str, int]:
        """Bytes of each map, whole."""
        tensors = self.graph.tensors
        return {
            name: -(-tensors[name].elements * tensors[name].local_bits // 8) for name in tensors
        }

    def readers_from(self, name: str, position: int) -> list[int]:
        """Layers from `position` on that read a map, ascending."""
        return sorted({r.layer for r in self.readings.get(name, ()) if r.layer >= position})

    def may_be_both(self, name: str) -> bool:
        """Whether states with the map in DRAM and in local memory are searched."""
        first = self.producer[name] + 1
        last = self.last_reader.get(name, first)
        crowd = max(
            len(self.live[position]) - sum(other in self.pinned for other in self.live[position])
            for position in range(first, last + 1)
        )
        return crowd <= MAXIMUM_LIVE_FOR_BOTH

    def pinned_from(self, start: int, stop: int) -> list[str]:
        """Pinned constants that are read for the first time in layers [start, stop)."""
        return [name for name in sorted(self.pinned) if start <= self.producer[name] + 1 < stop]

    def alike(self, position: int) -> list[list[int]]:
        """Places in `live[position]` of maps that can be exchanged, by class."""
        classes: dict[object, list[int]] = {}
        for place, name in enumerate(self.live[position]):
            tensor = self.graph.tensors[name]
            readings = tuple(r for r in self.readings[name] if r.layer >= position)
            key = (tensor.kind, tensor.shape, tensor.bits, tensor.local_bits, readings)
            classes.setdefault(key, []).append(place)
        return [places for places in classes.values() if len(places) > 1]

    def states_of_output(self, name: str, stop: int) -> tuple[int, ...]:
        """States in which a group that ends at `stop` may leave a map that it made."""
        readers = self.readers_from(name, stop)
        if not readers:
            return (DRAM,)
        if self.graph.tensors[name].kind is TensorKind.OUTPUT:
            return (DRAM, BOTH)
        if len(readers) > 1 and self.may_be_both(name):
            return (DRAM, LOCAL, BOTH)
        return (DRAM, LOCAL)

    def overwritten(self, index: int, resident: frozenset[str]) -> str | None:
        """The resident map whose place a layer's resident output may take, if one dies there.

        Each element of it is read in the very step that writes the output's element: it is
        an operand, or the input of an elementwise layer, and nothing else in that layer.
        """
        layer = self.graph.layers[index]
        if layer.kind is LayerKind.STREAMED or layer.pool is not None:
            return None
        output = self.graph.tensors[layer.output]
        elementwise = dying_operand(self.graph, layer, index, self.last_reader)
        for number, view in enumerate(layer.views):
            name = view.segments[0].tensor
            tensor = self.graph.tensors[name]
            fits = len(view.segments) == 1 and tensor.shape == view.shape == output.shape
            if not fits or tensor.local_bits != output.bits or name not in resident:
                continue
            alone = [r.view for r in self.readings[name] if r.layer == index] == [number]
            dies = self.last_reader[name] == index
            if alone and dies and (number > 0 or name == elementwise):
                return name
        return None


def layer_reads(layer: Layer) -> frozenset[str]:
    """Names of the maps that a layer reads."""
    return frozenset(s.tensor for view in layer.views for s in view.segments)
