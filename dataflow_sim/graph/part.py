"""A part of a network: the layers from one to another, as if they were all of it.

    conv1_1 ─► conv1_2 ─┬► conv2_1 ─► conv2_2 ─┬► conv3_1
                        │                      │
    conv1_2:conv2_2     └► ................... ┘
                                                        map             in the part
    made before it, read in it                          conv1_1         network input
    made in it, read behind it or an output             conv2_2         network output
    made and read in it alone                           conv1_2, ...    feature map

The order is that of the network's layers, which is topological, so that any run of layers reads
nothing that is made behind it.  An input is read from DRAM whoever made it, an output is written
there whoever reads it: what a map costs between a part and the rest is charged to both.
Weights stay what they are; parameters are those constants that the layers of the part use, each
once, and shared ones count in each part that uses them.

Assumed: an input that other layers of the network read as well is in DRAM for all of them.
Ignored: maps that could stay in local memory across the border of the part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

from dataflow_sim.errors import InputError
from dataflow_sim.graph.arrangement import plain
from dataflow_sim.graph.layer import Layer, Segment, Tensor, TensorKind, View
from dataflow_sim.graph.names import find_layer
from dataflow_sim.graph.network import NetworkGraph, Placement, Result


def part_of(graph: NetworkGraph, text: str) -> NetworkGraph:
    """The layers `FIRST:LAST`, or `FIRST..LAST`, of a network, by name or number from 1.

    A side left out is the network's end.
    Raises InputError where the text names no layers, or the last before the first.
    """
    first, last = ends_of(graph, text, "--layers")
    layers = graph.layers[first : last + 1]
    label = f"{layers[0].name}:{layers[-1].name}"
    behind = {name for layer in graph.layers[last + 1 :] for name in _read(layer)}
    tensors = {tensor.name: tensor for tensor in _tensors(graph, layers, behind)}
    inputs = _of_kind(tensors, TensorKind.INPUT, graph.inputs)
    outputs = _of_kind(tensors, TensorKind.OUTPUT, graph.outputs)
    placements = [place for place in graph.placements if place.tensor in tensors]
    given = {place.tensor for place in placements}
    placements += [Placement(n, n, plain(tensors[n].shape)) for n in inputs if n not in given]
    learned = dict.fromkeys(name for layer in layers for name in layer.learned)
    return replace(
        graph,
        name=f"{graph.name} {label}",
        layers=layers,
        tensors=tensors,
        inputs=inputs,
        outputs=outputs,
        parameters=sum(prod(graph.constants[name].shape) for name in learned),
        placements=tuple(placements),
        results=tuple(_results(graph, [tensors[name] for name in outputs])),
        part=label,
    )


def ends_of(graph: NetworkGraph, text: str, flag: str) -> tuple[int, int]:
    """The places of the first and the last layer that a text names.  Raises InputError."""
    names = {layer.name for layer in graph.layers}
    cuts = [(cut.start(), cut.end()) for cut in re.finditer(r":|\.\.", text)]
    if not cuts:
        raise InputError(
            f"{flag} {text[:60] or repr(text)}: write FIRST:LAST, names or numbers from 1; one "
            f"layer is {text[:60] or 'NAME'}:{text[:60] or 'NAME'}"
        )
    # a name may have a colon itself
    known = [c for c in cuts if {text[: c[0]], text[c[1] :]} <= {*names, ""}]
    end, begin = (known or cuts)[0]
    try:
        first = find_layer(graph, text[:end]) if text[:end] else 0
        last = find_layer(graph, text[begin:]) if text[begin:] else len(graph.layers) - 1
    except InputError as error:
        raise InputError(f"{flag} {text[:60]}: {error}") from None
    if last < first:
        ends = f"'{graph.layers[first].name}' is layer {first + 1}"
        ends += f" and '{graph.layers[last].name}' layer {last + 1} of {graph.name}"
        raise InputError(f"{flag} {text[:60]}: {ends}; give the earlier one first")
    return first, last


def _read(layer: Layer) -> Iterator[str]:
    return (segment.tensor for view in layer.views for segment in view.segments)


def _tensors(graph: NetworkGraph, layers: Iterable[Layer], behind: set[str]) -> Iterator[Tensor]:
    """The tensors of some layers, as what they are to the part, in the order of their first use."""
    made: set[str] = set()
    known: set[str] = set()
    for layer in layers:
        for name in (*_read(layer), *layer.weights):
            tensor = graph.tensors[name]
            outside = name not in made and tensor.kind is not TensorKind.WEIGHT
            if name not in known:
                yield replace(tensor, kind=TensorKind.INPUT) if outside else tensor
            known.add(name)
        for name in layer.outputs:
            tensor = graph.tensors[name]
            yield replace(tensor, kind=TensorKind.OUTPUT) if name in behind else tensor
            made.add(name)
            known.add(name)


def _of_kind(
    tensors: Mapping[str, Tensor], kind: TensorKind, before: tuple[str, ...]
) -> tuple[str, ...]:
    """Names of the tensors of a kind, those first, and in their order, that the network lists."""
    found = [name for name, tensor in tensors.items() if tensor.kind is kind]
    return (*(n for n in before if n in found), *(n for n in found if n not in before))


def _results(graph: NetworkGraph, outputs: Sequence[Tensor]) -> Iterator[Result]:
    """The network's own results that the part makes; of other outputs each as it lies."""
    made = {tensor.name for tensor in outputs}
    told: set[str] = set()
    for result in graph.results:
        names = {segment.tensor for segment in result.view.segments}
        if names <= made:
            yield result
            told |= names
    for tensor in outputs:
        if tensor.name not in told:
            whole = View((Segment(tensor.name, 0, tensor.shape[1]),), tensor.shape)
            yield Result(tensor.name, whole, plain(tensor.shape))
