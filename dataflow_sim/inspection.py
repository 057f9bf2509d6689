"""From a network alone to an InspectResult: counts and lifetimes, no hardware, no schedule."""

from __future__ import annotations

from pathlib import Path

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
from dataflow_sim.graph.layer import Layer, LayerKind, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest import FileWeights
from dataflow_sim.ingest.file.annotate import (
    Annotation,
    LayerFigures,
    check_target,
    write_annotated,
)
from dataflow_sim.results_of_inspection import (
    InspectedLayer,
    InspectedPass,
    InspectResult,
    MapLifetime,
    MeasuredKernel,
)
from dataflow_sim.results_of_what_ifs import WhatIfResult
from dataflow_sim.whatif.measured import entropy_bits, huffman_bits
from dataflow_sim.whatif.selecting import kernels, values_of

# bits of the values whose codes are measured
_MEASURED_BITS = 8


def measured_kernels(graph: NetworkGraph, path: Path) -> tuple[MeasuredKernel, ...]:
    """What a file's own kernels hold, of those whose values it carries.

    Raises NetworkError where values cannot be read.
    """
    measure = FileWeights(path).measure
    found = []
    for each in kernels(graph, graph.layers):
        histogram = values_of(measure, each, _MEASURED_BITS)
        if histogram is None:
            continue
        counts = [float(count) for count in (histogram.zeros, *histogram.others) if count]
        found.append(
            MeasuredKernel(
                layer=each.layer.name,
                elements=histogram.elements,
                zeros=histogram.exact_zeros,
                distinct=histogram.distinct,
                bits=_MEASURED_BITS,
                entropy_bits=entropy_bits(counts),
                huffman_bits=huffman_bits(counts),
            )
        )
    return tuple(found)


def inspect(graph: NetworkGraph) -> InspectResult:
    """A network's counts and the lifetimes of its maps, without any hardware."""
    live = live_elements(graph)
    peak = live.index(max(live))
    layers = tuple(
        InspectedLayer(
            name=layer.name,
            op=layer.op,
            folded=folded(layer),
            input_shape=layer.input.shape,
            output_shape=layer.output_shape,
            reads=_maps_read(graph, layer),
            writes=layer.outputs,
            macs=layer_macs(layer),
            weight_elements=weight_elements(graph, layer),
            vector_elements=vector_elements(graph, layer),
            input_elements=input_elements(graph, layer),
            output_elements=output_elements(graph, layer),
            live_elements=live[index],
        )
        for index, layer in enumerate(graph.layers)
    )
    lives = _lifetimes(graph)
    return InspectResult(
        network=graph.name,
        parameters=graph.parameters,
        live_peak_elements=live[peak],
        live_peak_layer=layers[peak].name,
        live_peak_maps=tuple(
            life.tensor
            for life in lives
            if life.first <= peak <= life.last and not (life.overwritten and life.last == peak)
        ),
        layers=layers,
        lifetimes=lives,
        passes=tuple(
            InspectedPass(report.name, report.after, report.changed) for report in graph.passes
        ),
        warnings=graph.warnings,
        what_ifs=tuple(WhatIfResult(each.text, each.effects) for each in graph.changes),
    )


def check_annotated_copy(source: Path, target: Path) -> None:
    """Refuse a file that no annotated copy of `source` can be written to.  Raises InputError."""
    check_target(source, target)


def write_annotated_copy(result: InspectResult, source: Path, target: Path) -> tuple[str, ...]:
    """Write a copy of the network's file with the figures in its metadata; return the warnings.

    Raises InputError when the copy cannot be written.
    """
    return write_annotated(source, target, annotation(result))


def annotation(result: InspectResult) -> Annotation:
    """The figures that an annotated copy carries, as texts; "-" where there is none."""
    totals = (
        ("input_shapes", _input_shapes(result)),
        ("layers", str(len(result.layers))),
        ("macs", str(result.macs)),
        ("parameters", str(result.parameters)),
        ("weight_elements", str(result.weight_elements)),
        ("input_elements", str(result.input_elements)),
        ("output_elements", str(result.output_elements)),
        ("live_peak_elements", str(result.live_peak_elements)),
        ("live_peak_layer", result.live_peak_layer),
        ("operations_per_weight_byte", _ratio(result.operations_per_weight_byte)),
    )
    layers = tuple(
        LayerFigures(
            name=layer.name,
            outputs=layer.writes,
            figures=(
                ("macs", str(layer.macs)),
                ("weight_elements", str(layer.weight_elements)),
                ("input_elements", str(layer.input_elements)),
                ("output_elements", str(layer.output_elements)),
                ("live_elements", str(layer.live_elements)),
                ("operations_per_weight_byte", _ratio(layer.operations_per_weight_byte)),
                ("folded", layer.folded or "-"),
            ),
        )
        for layer in result.layers
    )
    return Annotation(totals, layers)


def _input_shapes(result: InspectResult) -> str:
    """The network's inputs with their extents, which the file may leave open."""
    return ", ".join(
        f"{life.tensor} {'x'.join(map(str, life.shape))}"
        for life in result.lifetimes
        if life.kind == TensorKind.INPUT.value
    )


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _maps_read(graph: NetworkGraph, layer: Layer) -> tuple[str, ...]:
    """The maps that a layer reads, each once, in the order in which it names them."""
    names = dict.fromkeys(s.tensor for view in layer.views for s in view.segments)
    return tuple(name for name in names if graph.tensors[name].kind is not TensorKind.WEIGHT)


def _lifetimes(graph: NetworkGraph) -> tuple[MapLifetime, ...]:
    """All maps in order of first write, and which of them are overwritten in place."""
    spans = lifetimes(graph)
    last = {span.tensor: span.last for span in spans}
    overwritten = {
        dying_operand(graph, layer, index, last) for index, layer in enumerate(graph.layers)
    }
    return tuple(
        MapLifetime(
            tensor=span.tensor,
            kind=graph.tensors[span.tensor].kind.value,
            first_layer=graph.layers[span.first].name,
            last_layer=graph.layers[span.last].name,
            first=span.first,
            last=span.last,
            shape=graph.tensors[span.tensor].shape,
            elements=graph.tensors[span.tensor].elements,
            overwritten=span.tensor in overwritten,
        )
        for span in spans
    )


def folded(layer: Layer) -> str:
    """What is folded into a layer, in the order of execution: `input pool, pre A B, C, pool`."""
    parts = []
    if layer.input_pool is not None:
        parts.append(f"{layer.input_pool.op} pool of the input")
    if layer.pre:
        parts.append("pre " + " ".join(layer.pre.ops))
    own_step = layer.kind is LayerKind.CHANNELWISE and not layer.pool
    post = layer.post.ops[1:] if own_step else layer.post.ops
    if post:
        parts.append(" ".join(post))
    if layer.pool is not None and layer.kind is LayerKind.CONVOLUTION:
        parts.append(f"{layer.pool.op} pool")
    return ", ".join(parts)
