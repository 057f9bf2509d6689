"""Who pools: the layer that makes a map, the one that reads it, or a layer between them.

Three machines, one network; maps that cross the DRAM interface when each layer runs alone:

    separate   conv ─► map ─► pool ─► pooled ─► conv        map and pooled, both written and read
    producer   conv + pool ─────────► pooled ─► conv        pooled, written and read
    consumer   conv ─► map ──────────► pool + conv          map, written, and read by each reader

What is computed is the same.  `producer` is what the reader of a file makes of it: a pooling folds
into the convolution in front of it, if nobody else reads that (reports/decisions/0002-folding.md);
any other is a layer.  `separate` takes the folded ones out again.  `consumer` does so as well,
then has every reader of a pooled map pool on the way in: the window slides over a pooled map that
is nowhere in memory, and what a tile reads are the elements that its part of that map is
pooled from, overlapping windows or not (`schedule.footprints`).  Between tiles of a reader, and
between readers, elements are then pooled again, which is neither a MAC nor traffic.

A reader can pool on the way in if it is a convolution or a fully connected layer, of maps and not
of volumes, that reads the pooled map as its input and whole, and nothing else of it.  Unless
every reader can, or where the pooled map is an output of the network or is pooled from a map with
a pre-activation, the pooling stays a layer, and a warning names it.

Ignored: the work of pooling itself, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum

from dataflow_sim.graph.layer import Layer, LayerKind, Segment, Tensor, TensorKind, View
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.quantisation import Quantisation

_NAMED = 8  # poolings that the warning names


class Pooler(StrEnum):
    """Who pools."""

    SEPARATE = "separate"
    PRODUCER = "producer"
    CONSUMER = "consumer"


def place_pooling(graph: NetworkGraph, pooler: Pooler) -> NetworkGraph:
    """Have poolings done by whom the machine has do them.

    Before: a graph as it was read, poolings folded into their producers, widths unassigned.
    After: of `separate` no layer pools but those that do nothing else; of `consumer` besides,
    poolings are done by the layers that read them, where all of them can.  Unchanged of
    `producer`.
    """
    if pooler is Pooler.PRODUCER:
        return graph
    graph = _taken_out(graph)
    return graph if pooler is Pooler.SEPARATE else _on_the_way_in(graph)


def _taken_out(graph: NetworkGraph) -> NetworkGraph:
    """Every pooling that folded into its producer as a layer behind it."""
    layers: list[Layer] = []
    tensors = dict(graph.tensors)
    for layer in graph.layers:
        found = layer.unpooled
        if found is None:
            layers.append(layer)
            continue
        between, shape = found.tensor, layer.body_shape
        tensors[between.name] = between
        own = replace(layer, pool=None, unpooled=None, output=between.name, output_shape=shape)
        pooling = Layer(
            name=found.name,
            op=found.op,
            kind=LayerKind.CHANNELWISE,
            input=View((Segment(between.name, 0, shape[1]),), shape),
            output=layer.output,
            body_shape=shape,
            output_shape=layer.output_shape,
            groups=shape[1],
            pool=layer.pool,
        )
        layers += [own, pooling]
    return replace(graph, layers=tuple(layers), tensors=tensors)


def _on_the_way_in(graph: NetworkGraph) -> NetworkGraph:
    """Poolings that are layers done by their readers, where all of them can."""
    readers: dict[str, list[Layer]] = {}
    for layer in graph.layers:
        for name in dict.fromkeys(s.tensor for view in layer.views for s in view.segments):
            readers.setdefault(name, []).append(layer)
    poolings = {layer.output: layer for layer in graph.layers if _only_pools(layer)}
    absorbed = {
        name: pooling
        for name, pooling in poolings.items()
        if graph.tensors[name].kind is TensorKind.MAP
        and not pooling.pre
        and readers.get(name)
        and all(_can_pool(reader, pooling) for reader in readers[name])
    }
    left = [pooling.name for name, pooling in poolings.items() if name not in absorbed]
    warnings = graph.warnings
    if left:
        more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        named = ", ".join(left[:_NAMED]) + more
        warnings += (f"pooled in layers of their own, since not all readers can: {named}",)
    return replace(
        graph,
        layers=tuple(_layers_left(graph, absorbed)),
        tensors={name: t for name, t in graph.tensors.items() if name not in absorbed},
        warnings=warnings,
    )


def _only_pools(layer: Layer) -> bool:
    return layer.kind is LayerKind.CHANNELWISE and layer.pool is not None


def _can_pool(reader: Layer, pooling: Layer) -> bool:
    """Whether a reader of a pooled map can pool on the way in."""
    whole = [(pooling.output, 0, pooling.output_shape[1])]
    read = [(s.tensor, s.channel_start, s.channel_stop) for s in reader.input.segments]
    return (
        reader.kind is LayerKind.CONVOLUTION
        and reader.window.plane is None
        and (read, reader.input.shape) == (whole, pooling.output_shape)
        and all(s.tensor != pooling.output for view in reader.operands for s in view.segments)
    )


def _layers_left(graph: NetworkGraph, absorbed: Mapping[str, Layer]) -> Iterator[Layer]:
    """The layers without the absorbed poolings, which their readers have taken over."""
    for layer in graph.layers:
        if layer.output in absorbed:
            continue
        segment = layer.input.segments[0]
        pooling = absorbed.get(segment.tensor)
        if pooling is None:
            yield layer
        else:
            yield replace(
                layer,
                input=pooling.input,
                input_pool=pooling.pool,
                pooled_shape=pooling.output_shape,
                pooled_rounded=_rounded(graph.tensors[pooling.output], segment),
            )


def _rounded(pooled: Tensor, read: Segment) -> Quantisation | None:
    """How a pooled map that is in no memory is rounded: as it would be written, then read."""
    if read.rounded is None:
        return pooled.quantisation
    return read.rounded.behind(pooled.quantisation)
