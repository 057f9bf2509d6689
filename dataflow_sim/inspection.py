"""From a network alone to an InspectResult: counts and lifetimes, no hardware, no schedule."""

from __future__ import annotations

from dataflow_sim.graph.analyses import (
    dying_operand,
    input_elements,
    layer_macs,
    lifetimes,
    live_elements,
    output_elements,
    vector_elements,
    weight_elements,
)
from dataflow_sim.graph.layer import Layer, LayerKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.results_of_inspection import InspectedLayer, InspectResult, MapLifetime


def inspect(graph: NetworkGraph) -> InspectResult:
    """A network's counts and the lifetimes of its maps, without any hardware."""
    live = live_elements(graph)
    peak = live.index(max(live))
    layers = tuple(
        InspectedLayer(
            name=layer.name,
            op=layer.op,
            folded=_folded(layer),
            output_shape=layer.output_shape,
            macs=layer_macs(layer),
            weight_elements=weight_elements(graph, layer),
            vector_elements=vector_elements(graph, layer),
            input_elements=input_elements(graph, layer),
            output_elements=output_elements(graph, layer),
            live_elements=live[index],
        )
        for index, layer in enumerate(graph.layers)
    )
    return InspectResult(
        network=graph.name,
        macs=sum(layer.macs for layer in layers),
        parameters=graph.parameters,
        weight_elements=sum(layer.weight_elements for layer in layers),
        live_peak_elements=live[peak],
        live_peak_layer=layers[peak].name,
        live_peak_maps=_alive(graph, peak),
        layers=layers,
        lifetimes=tuple(
            MapLifetime(
                tensor=life.tensor,
                first_layer=layers[life.first].name,
                last_layer=layers[life.last].name,
                elements=graph.tensors[life.tensor].elements,
            )
            for life in lifetimes(graph)
        ),
        warnings=graph.warnings,
    )


def _alive(graph: NetworkGraph, index: int) -> tuple[str, ...]:
    """The maps alive while a layer runs, without the one that it overwrites in place."""
    spans = lifetimes(graph)
    last = {span.tensor: span.last for span in spans}
    overwritten = dying_operand(graph, graph.layers[index], index, last)
    return tuple(
        span.tensor
        for span in spans
        if span.first <= index <= span.last and span.tensor != overwritten
    )


def _folded(layer: Layer) -> str:
    """What is folded into a layer, in the order of execution: `pre: A B; post: C; pool`."""
    parts = []
    if layer.pre:
        parts.append("pre " + " ".join(layer.pre.ops))
    own_step = layer.kind is LayerKind.CHANNELWISE and not layer.pool
    post = layer.post.ops[1:] if own_step else layer.post.ops
    if post:
        parts.append(" ".join(post))
    if layer.pool is not None and layer.kind is LayerKind.CONVOLUTION:
        parts.append(f"{layer.pool.op} pool")
    return ", ".join(parts)
