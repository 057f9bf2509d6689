"""Lower bounds on DRAM traffic, printed beside every result.

Compulsory traffic: every weight, every network input and every network output crosses
the interface once.

One layer, alone, without recomputation.  Let each output of a convolution reduce over
multiplications of an input by a weight, and let S elements fit local memory.  A *read* is a
load, or the creation of an output's first partial sum.  Cut the execution into phases of 2S
reads each: in a phase at most 3S elements are at hand, S that were there and 2S that were
read.  By the discrete Loomis-Whitney inequality i inputs, w weights and o outputs meet in at
most sqrt(R·i·w·o) multiplications, where an input meets one channel's kernel in at most R
outputs, R = ceil(Kh/sh)·ceil(Kw/sw); of a dilation that has a factor g in common with the
stride only s/g counts.  With i + w + o ≤ 3S that is at most S·sqrt(R·S), so that there are at
least MACs / (S·sqrt(R·S)) − 1 phases of 2S reads.  Every output is created once and stored at
least once: loads and stores are no fewer than reads, hence

    traffic ≥ 2·MACs / sqrt(R·S) − 2S                 [elements]

and trivially traffic ≥ I + W + O, each needed element once.  With mixed widths S counts
elements of the narrowest operand in DRAM and so do the transfers, which keeps it a bound:
elements are no narrower on chip.  A memory of their own for partial sums counts towards S.
Adding "+ O" to the square root counts the stores twice, and leaving R out takes an input for
one that meets a single weight: neither is a bound, legal tilings beat both.

A transposed convolution is the same thing with inputs and outputs exchanged.  An input meets
all Kh·Kw taps there, each in another output, but an output gathers from at most R inputs of a
channel, R as above with the up-sampling for the stride.  Spread the outputs out, one element for
each (input place, tap): o outputs are at most R·o of them, and the inequality holds for these
with i inputs and w weights, so that again sqrt(R·i·w·o).

Where pooling is folded in, on either side, unpooled outputs or pooled inputs never occupy memory,
and only I + W + O holds.

Source: Hong & Kung, STOC 1981; Irony, Toledo & Tiskin, JPDC 2004; phases of any length, and
this constant: Smith et al., "A tight I/O lower bound for matrix multiplication",
arXiv:1702.02017; for convolutions
Chen et al., "Communication lower bound in convolution accelerators", arXiv:1911.05662.
"""

from __future__ import annotations

from math import ceil, gcd, prod, sqrt

from dataflow_sim.graph.analyses import layer_macs_without_padding
from dataflow_sim.graph.layer import Layer, LayerKind, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.footprints import layer_axes
from dataflow_sim.schedule.needed import needed_input_elements
from dataflow_sim.schedule.problem import stream_regions


def window_reuse(layer: Layer) -> int:
    """R: in how many outputs of one channel an input element meets the same channel's kernel.

    Of a layer that enlarges: from how many inputs of a channel an output element gathers.
    """
    reuse = 1
    for window, axis in layer.window.slides:
        step = window.stride[axis] * window.up[axis]
        reuse *= ceil(window.kernel[axis] / (step // gcd(step, window.dilation[axis])))
    return reuse


def _needed_input_bits(graph: NetworkGraph, layer: Layer) -> dict[str, int]:
    """Bits of each tensor that a layer cannot do without, operands included.

    A tensor read twice (as input and as operand) counts once, by its larger part.
    """
    needed: dict[str, int] = {}
    if layer.kind is LayerKind.STREAMED:
        for region in stream_regions(graph, layer):
            name, tensor = region.tensor, graph.tensors[region.tensor]
            if name not in layer.outputs and tensor.kind is not TensorKind.WEIGHT:
                bits = prod(region.shape(graph)) * tensor.bits
                needed[name] = needed.get(name, 0) + bits
        return needed
    rows, columns = layer_axes(layer)
    plane = needed_input_elements(rows) * needed_input_elements(columns)
    views = [(layer.input, plane)]
    views += [(view, view.shape[2] * view.shape[3]) for view in layer.operands]
    for view, area in views:
        channels: dict[str, set[int]] = {}
        for segment in view.segments:
            span = range(segment.channel_start, segment.channel_stop)
            channels.setdefault(segment.tensor, set()).update(span)
        for name, read in channels.items():
            bits = len(read) * view.shape[0] * area * graph.tensors[name].bits
            needed[name] = max(needed.get(name, 0), bits)
    return needed


def _weight_bits(graph: NetworkGraph, layer: Layer) -> int:
    names = set(layer.weights)
    if layer.kind is LayerKind.STREAMED:
        names |= {
            region.tensor
            for region in stream_regions(graph, layer)
            if graph.tensors[region.tensor].kind is TensorKind.WEIGHT
        }
    return sum(graph.tensors[name].elements * graph.tensors[name].bits for name in names)


def layer_floor_bytes(graph: NetworkGraph, layer: Layer) -> int:
    """I + W + O of one layer alone, in bytes."""
    outputs = (graph.tensors[name] for name in layer.outputs)
    bits = sum(_needed_input_bits(graph, layer).values()) + _weight_bits(graph, layer)
    bits += sum(tensor.elements * tensor.bits for tensor in outputs)
    return -(-bits // graph.byte_bits)


def square_root_bound_bytes(graph: NetworkGraph, layer: Layer, capacity_bytes: int) -> int | None:
    """2·MACs / sqrt(R·S) − 2S of one layer alone, in bytes; None where it does not hold.

    Below zero where the memory is so large that it says nothing.
    """
    if layer.kind is not LayerKind.CONVOLUTION or layer.weight is None:
        return None
    if layer.pool is not None or layer.input_pool is not None:
        return None
    widths = [graph.tensors[s.tensor].bits for s in layer.input.segments]
    widths += [graph.tensors[layer.weight].bits, graph.tensors[layer.output].bits]
    narrowest = min(widths)
    elements = capacity_bytes * graph.byte_bits / narrowest
    macs = layer_macs_without_padding(layer)
    transfers = 2 * macs / sqrt(window_reuse(layer) * elements) - 2 * elements
    return int(transfers * narrowest / graph.byte_bits)


def layer_bound_bytes(graph: NetworkGraph, layer: Layer, capacity_bytes: int) -> int:
    """Lower bound on the DRAM bytes of one layer alone, in a local memory of that size."""
    floor = layer_floor_bytes(graph, layer)
    root = square_root_bound_bytes(graph, layer, capacity_bytes)
    return floor if root is None else max(floor, root)


def compulsory_bytes(graph: NetworkGraph) -> int:
    """Every weight, needed network input and network output once, in bytes."""
    bits = 0
    inputs: dict[str, int] = {}
    weights: dict[str, None] = {}
    for layer in graph.layers:
        for name, needed in _needed_input_bits(graph, layer).items():
            if graph.tensors[name].kind is TensorKind.INPUT:
                inputs[name] = max(inputs.get(name, 0), needed)
        weights.update(dict.fromkeys(layer.weights))
        for view in layer.views:
            for segment in view.segments:
                if graph.tensors[segment.tensor].kind is TensorKind.WEIGHT:
                    weights[segment.tensor] = None
    tensors = [graph.tensors[name] for name in (*weights, *graph.outputs)]
    bits += sum(t.elements * t.bits for t in tensors if t.kind is not TensorKind.INPUT)
    return -(-(bits + sum(inputs.values())) // graph.byte_bits)
