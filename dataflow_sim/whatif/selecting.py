"""Which kernels and maps a what-if of formats is about: all, or those of some layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dataflow_sim.energy.compute import kind_of
from dataflow_sim.errors import InputError
from dataflow_sim.graph.histogram import Histogram
from dataflow_sim.graph.layer import Layer, LayerKind, Tensor, TensorKind, WeightRole
from dataflow_sim.graph.names import find_layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.whatif.contract import Asked, Option, anything, word
from dataflow_sim.whatif.measured import Measure

KINDS = ("convolution", "pointwise", "depthwise", "fully_connected", "streamed")

KIND = Option("kind", word(*KINDS), None, "only layers of a kind")
LAYER = Option("layer", anything("NAME"), None, "only one layer, by name or number from 1")
SELECTION = (KIND, LAYER)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel, or a constant that is read like a map, with a layer that uses it."""

    tensor: Tensor
    layer: Layer


def measured(asked: Asked, each: Kernel, bits: int) -> Histogram | None:
    """The values of a kernel at so many bits; None where the file does not carry them."""
    return None if asked.measure is None else values_of(asked.measure, each, bits)


def values_of(measure: Measure, each: Kernel, bits: int) -> Histogram | None:
    """The values of a kernel as they are measured; None where they are not there."""
    own = each.tensor.name == each.layer.weight
    names = [each.layer.weight_constant, *each.layer.learned] if own else [each.tensor.name]
    for name in names:
        found = measure(name, bits) if name else None
        if found is not None and found.elements == each.tensor.elements:
            return found
    return None


def layer_kind(layer: Layer) -> str:
    """The kind of a layer: of dense convolutions those of a point apart."""
    found = kind_of(layer)
    if found == "convolution" and layer.window.kernel == (1, 1):
        return "pointwise"
    return found


def chosen_layers(graph: NetworkGraph, asked: Asked) -> list[Layer]:
    """The layers that the options name.  Raises InputError where there is none."""
    layers = list(graph.layers)
    name, kind = asked.options.get("layer"), asked.options.get("kind")
    if isinstance(name, str):
        try:
            layers = [graph.layers[find_layer(graph, name)]]
        except InputError as error:
            raise asked.refused(str(error)) from None
    if isinstance(kind, str):
        layers = [layer for layer in layers if layer_kind(layer) == kind]
    if not layers:
        raise asked.refused("no layer is of that kind")
    return layers


def kernels(graph: NetworkGraph, layers: Iterable[Layer]) -> list[Kernel]:
    """The kernels of some layers, each once, in the order of the network."""
    found: dict[str, Kernel] = {}
    for layer in layers:
        names = [layer.weight] if layer.weight is not None else []
        if layer.kind is LayerKind.STREAMED:
            names += [name for name in layer.weights if name != layer.weight]
        names += [s.tensor for view in layer.views for s in view.segments]
        for name in names:
            tensor = graph.tensors[name]
            if tensor.kind is TensorKind.WEIGHT and tensor.role is not WeightRole.VECTOR:
                found.setdefault(name, Kernel(tensor, layer))
    return list(found.values())


def maps(graph: NetworkGraph, layers: Iterable[Layer]) -> list[Tensor]:
    """The maps that some layers make, and the network's inputs that they read."""
    found: dict[str, Tensor] = {}
    for layer in layers:
        names = [s.tensor for view in layer.views for s in view.segments]
        inputs = [name for name in names if graph.tensors[name].kind is TensorKind.INPUT]
        for name in (*inputs, *layer.outputs):
            found[name] = graph.tensors[name]
    return list(found.values())


def at_width(tensor: Tensor, bits: int) -> Tensor:
    """A tensor of another width, which neither the machine nor a general option replaces."""
    meaning = tensor.quantisation
    if meaning is not None and meaning.bits > bits:
        meaning = None
    return replace(
        tensor, bits=bits, quantised=True, asked=True, unpacked_bits=None, quantisation=meaning
    )
