"""Which maps are alive between layers, who reads them, and which of them are alike.

At a cut of the network (`cuts`) a live map is in one of three states: in DRAM, in
local memory, or in both.  Maps are alike when exchanging them changes nothing for what is
still to come: same size, same readers, same part of them read.  A dense block's maps are;
only how many of them are in local memory matters then, which keeps the states few.

Constants that several layers read like maps (exporters share equal ones) may be *pinned*:
they are then local from their first reader to their last, all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import or_

import numpy as np

from dataflow_sim.graph.analyses import dying_operand
from dataflow_sim.graph.layer import Layer, LayerKind, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.cuts import Cuts, prefixes

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
    """Lives of all maps of a network over its cuts, and of constants that are pinned.

    Without `cuts` the network's own order is taken.  `live[cut]` are the maps that are made
    and still to be read at a cut, `alike[cut]` the places in it of those that can be exchanged.
    """

    def __init__(
        self,
        graph: NetworkGraph,
        pinned: frozenset[str] = frozenset(),
        cuts: Cuts | None = None,
    ) -> None:
        self.graph = graph
        self.pinned = pinned
        self.cuts = cuts or prefixes(len(graph.layers))
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
        self._order = {name: place for place, name in enumerate(self.producer)}
        self.readers = {
            name: reduce(or_, (1 << reading.layer for reading in found))
            for name, found in self.readings.items()
        }
        self.live = self._lives()
        self._both = self._uncrowded()

    def _lives(self) -> list[tuple[str, ...]]:
        """Maps that are alive at each cut, in the order in which they are made."""
        outside = [*self.graph.inputs, *(n for n in self.pinned if self.producer[n] < 0)]
        found: list[tuple[str, ...]] = [()] * len(self.cuts.done)
        found[0] = tuple(sorted(filter(self.readers.get, outside), key=self._order.__getitem__))
        pinned = [
            sorted(n for n in self.pinned if self.producer[n] == i) for i in range(self.cuts.layers)
        ]
        seen = {0}
        for cut, steps in enumerate(self.cuts.steps):
            for layer, there in steps:
                if there in seen:
                    continue
                seen.add(there)
                names = [*found[cut], *self.graph.layers[layer].outputs, *pinned[layer]]
                ahead = ~self.cuts.done[there]
                alive = [name for name in names if self.readers.get(name, 0) & ahead]
                found[there] = tuple(sorted(alive, key=self._order.__getitem__))
        return found

    def _uncrowded(self) -> frozenset[str]:
        """Maps that never have too many others beside them, in the network's own order."""
        layers = self.cuts.layers
        change = [0] * (layers + 2)
        spans = {}
        for name, readers in self.readers.items():
            first, last = self.producer[name] + 1, readers.bit_length() - 1
            spans[name] = (first, last)
            if name not in self.pinned:
                change[first] += 1
                change[last + 1] -= 1
        crowd = np.cumsum(change)
        return frozenset(
            name
            for name, (first, last) in spans.items()
            if crowd[first : last + 1].max() <= MAXIMUM_LIVE_FOR_BOTH
        )

    def readers_ahead(self, name: str, cut: int) -> int:
        """How many layers outside a cut read a map."""
        return (self.readers.get(name, 0) & ~self.cuts.done[cut]).bit_count()

    def may_be_both(self, name: str) -> bool:
        """Whether states with the map in DRAM and in local memory are searched."""
        return name in self._both

    def pinned_by(self, members: Iterable[int]) -> list[str]:
        """Pinned constants that are read for the first time by one of these layers."""
        first = {index - 1 for index in members}
        return [name for name in sorted(self.pinned) if self.producer[name] in first]

    def alike(self, cut: int) -> list[list[int]]:
        """Places in `live[cut]` of maps that can be exchanged, by class."""
        classes: dict[object, list[int]] = {}
        done = self.cuts.done[cut]
        for place, name in enumerate(self.live[cut]):
            tensor = self.graph.tensors[name]
            readings = tuple(r for r in self.readings[name] if not done >> r.layer & 1)
            key = (tensor.kind, tensor.shape, tensor.bits, tensor.local_bits, readings)
            classes.setdefault(key, []).append(place)
        return [places for places in classes.values() if len(places) > 1]

    def states_of_output(self, name: str, cut: int) -> tuple[int, ...]:
        """States in which a group that ends at a cut may leave a map that it made."""
        readers = self.readers_ahead(name, cut)
        if not readers:
            return (DRAM,)
        if self.graph.tensors[name].kind is TensorKind.OUTPUT:
            return (DRAM, BOTH)
        if readers > 1 and self.may_be_both(name):
            return (DRAM, LOCAL, BOTH)
        return (DRAM, LOCAL)

    def overwritten(self, index: int, cut: int, resident: frozenset[str]) -> str | None:
        """The resident map whose place a layer's resident output may take, if one dies there.

        `cut` is the one behind the layer.  Each element of the map is read in the very step that
        writes the output's element: it is an operand, or the input of an elementwise layer, and
        nothing else in that layer.
        """
        layer = self.graph.layers[index]
        if layer.kind is LayerKind.STREAMED or layer.pool is not None:
            return None
        output = self.graph.tensors[layer.output]
        last = {n: index for n in layer_reads(layer) if not self.readers_ahead(n, cut)}
        elementwise = dying_operand(self.graph, layer, index, last)
        for number, view in enumerate(layer.views):
            name = view.segments[0].tensor
            tensor = self.graph.tensors[name]
            fits = len(view.segments) == 1 and tensor.shape == view.shape == output.shape
            if not fits or tensor.local_bits != output.local_bits or name not in resident:
                continue
            alone = [r.view for r in self.readings[name] if r.layer == index] == [number]
            if alone and name in last and (number > 0 or name == elementwise):
                return name
        return None


def layer_reads(layer: Layer) -> frozenset[str]:
    """Names of the maps that a layer reads."""
    return frozenset(s.tensor for view in layer.views for s in view.segments)
