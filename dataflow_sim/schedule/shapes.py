"""Groups that are alike: what the costs of a group depend on, without its names.

Two groups have one *shape* when their layers are equal one by one, read from one another and from
outside in the same way, and leave maps for the same places outside.  Then their timetables
are equal, and what one costs the other does: networks repeat their blocks, and each is
looked at once.  Scales of rows count up to a common factor: a timetable knows stripes, and
these scale with them.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from math import gcd

from dataflow_sim.graph.layer import Layer, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.timetable import RowTables


@dataclass(frozen=True, slots=True)
class GroupShape:
    """A shape by a `key`, and the names that stand in its places.

    `outside` are the maps that come from outside in the order of the timetable, `outgoing` those
    that the group makes and that someone outside needs, or nobody at all.
    """

    key: Hashable
    outside: tuple[str, ...]
    outgoing: tuple[str, ...]


class Shapes:
    """The shapes of a network's groups; `readers` are the layers that read each map, as bit sets.

    `compute` tells layers apart that are equal but for their compute time.
    """

    def __init__(
        self, tables: RowTables, readers: dict[str, int], compute: tuple[int, ...]
    ) -> None:
        self.graph = tables.graph
        self._scale = tables.scale
        self._readers = readers
        numbers: dict[Hashable, int] = {}
        self._layers = []
        for index, layer in enumerate(self.graph.layers):
            key = (_layer_key(self.graph, layer), compute[index] if compute else 0)
            self._layers.append(numbers.setdefault(key, len(numbers)))

    def of(self, members: tuple[int, ...]) -> GroupShape:
        """The shape of layers that can run by rows, in the order in which they fire."""
        tensors, scale = self.graph.tensors, self._scale
        inside = sum(1 << index for index in members)
        outside: dict[str, int] = {}
        made: dict[str, int] = {}
        outgoing, wiring, scales = [], [], []
        for place, index in enumerate(members):
            layer = self.graph.layers[index]
            sources = []
            for view in layer.views:
                for segment in view.segments:
                    name = segment.tensor
                    if name in made:
                        sources.append(made[name])
                    else:
                        sources.append(-1 - outside.setdefault(name, len(outside)))
            readers = self._readers.get(layer.output, 0)
            is_output = tensors[layer.output].kind is TensorKind.OUTPUT
            goes = is_output or not readers or bool(readers & ~inside)
            if goes:
                outgoing.append(layer.output)
            made[layer.output] = place
            scales.append(scale[layer.output])
            wiring.append((self._layers[index], tuple(sources), goes, is_output))
        scales.extend(scale[name] for name in outside)
        unit = gcd(*scales)
        comes = tuple(
            (t.kind is TensorKind.INPUT, t.shape, t.bits, t.local_bits)
            for t in map(tensors.__getitem__, outside)
        )
        key = (tuple(wiring), comes, tuple(each // unit for each in scales))
        return GroupShape(key, tuple(outside), tuple(outgoing))


def _layer_key(graph: NetworkGraph, layer: Layer) -> Hashable:
    """Everything about a layer that its part in a group depends on, but for names and wiring."""
    weights = tuple(
        (role, tensor.shape, tensor.bits, tensor.local_bits)
        for role, tensor in (
            (role, graph.tensors[name])
            for role, name in (
                ("kernel", layer.weight),
                ("input", layer.input_vectors),
                ("output", layer.output_vectors),
            )
            if name is not None
        )
    )
    views = tuple(
        (view.shape, tuple((s.channel_start, s.channel_stop) for s in view.segments))
        for view in layer.views
    )
    output = graph.tensors[layer.output]
    return (
        layer.kind,
        layer.groups,
        layer.window,
        layer.pool,
        layer.input_pool,
        layer.pooled_shape,
        layer.body_shape,
        layer.output_shape,
        layer.extra_outputs,
        layer.sweep,
        views,
        weights,
        (output.bits, output.local_bits),
    )
