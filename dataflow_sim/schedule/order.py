"""Orders of layers: what comes before what, and the order whose largest live set is lowest.

The live set while a layer runs are all maps that were made and are still to be read, and those
that it makes.  The order of a stretch of the network that keeps the largest live set
lowest is a path through its cuts, all paths of one length at a time: of all orders that
come to one cut only that with the lowest peak matters.  It is exact as long as no more than
`MAXIMUM_WIDTH` cuts of one length are alive; of more those with the lowest peaks are kept.

Assumed: whole maps, weights left out, nothing in place.  Source: dynamic programming over
order ideals, Ahn et al., "Ordering Chaos" (MLSys 2020).
"""

from __future__ import annotations

from collections.abc import Iterator

from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.graph.network import NetworkGraph

# more cuts of one length than this are thinned out
MAXIMUM_WIDTH = 256


class Precedence:
    """Which layers each layer reads from, as bit sets."""

    def __init__(self, graph: NetworkGraph) -> None:
        writer: dict[str, int] = {}
        self.before: list[int] = []
        for index, layer in enumerate(graph.layers):
            names = {segment.tensor for view in layer.views for segment in view.segments}
            sources = sorted({writer[name] for name in names if name in writer})
            self.before.append(sum(1 << source for source in sources))
            writer.update(dict.fromkeys(layer.outputs, index))

    def ready(self, cut: int, start: int, stop: int) -> Iterator[int]:
        """Layers [start, stop) outside a cut all of whose sources are in it, ascending."""
        for layer in range(start, stop):
            if not cut >> layer & 1 and self.before[layer] & ~cut == 0:
                yield layer

    def necks(self) -> list[int]:
        """Positions of the network's order that every order passes, ends included.

        All layers before such a position come before all layers behind it.
        """
        layers = len(self.before)
        everything: list[int] = []
        for before in self.before:
            above = before
            rest = before
            while rest:
                source = rest.bit_length() - 1
                above |= everything[source]
                rest &= ~(everything[source] | 1 << source)
            everything.append(above)
        common = [0] * (layers + 1)
        common[layers] = (1 << layers) - 1
        for index in reversed(range(layers)):
            common[index] = common[index + 1] & (everything[index] | ~((1 << index) - 1))
        return [p for p in range(layers + 1) if common[p] & ((1 << p) - 1) == (1 << p) - 1]


def lowest_peak_order(
    graph: NetworkGraph, precedence: Precedence, start: int, stop: int
) -> tuple[int, ...]:
    """The order of the layers between two necks with the lowest peak of live bits."""
    readers: dict[str, int] = {}
    for index, layer in enumerate(graph.layers):
        for view in layer.views:
            for segment in view.segments:
                readers[segment.tensor] = readers.get(segment.tensor, 0) | 1 << index
    bits = {
        name: tensor.elements * tensor.local_bits
        for name, tensor in graph.tensors.items()
        if tensor.kind is not TensorKind.WEIGHT
    }
    first = (1 << start) - 1
    made = {name for layer in graph.layers[:start] for name in layer.outputs} | set(graph.inputs)
    live = sum(bits[name] for name in made if readers.get(name, 0) & ~first)
    # by cut: peak, live bits, order
    wave: dict[int, tuple[int, int, tuple[int, ...]]] = {first: (0, live, ())}
    for _ in range(stop - start):
        after: dict[int, tuple[int, int, tuple[int, ...]]] = {}
        for cut, (peak, held, order) in wave.items():
            for index in precedence.ready(cut, start, stop):
                layer, there = graph.layers[index], cut | 1 << index
                more = held + sum(bits[name] for name in layer.outputs)
                names = {segment.tensor for view in layer.views for segment in view.segments}
                names |= set(layer.outputs)
                gone = sum(bits.get(name, 0) for name in names if not readers.get(name, 0) & ~there)
                found = (max(peak, more), more - gone, (*order, index))
                if there not in after or found < after[there]:
                    after[there] = found
        kept = sorted(after.items(), key=lambda item: (item[1], item[0]))[:MAXIMUM_WIDTH]
        wave = dict(kept)
    ((_, _, order),) = wave.values()
    return order
