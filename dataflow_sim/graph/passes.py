"""Graph to graph passes.  Each states what holds before and after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dataflow_sim.graph.layer import TensorKind, WeightRole
from dataflow_sim.graph.network import NetworkGraph


@dataclass(frozen=True, slots=True)
class Precision:
    """Bits per element.  `force` replaces also the widths that a quantised file states.

    `local_weight_bits` is the width that the DMA unpacks narrower kernels to, None where
    they lie in local memory as in DRAM.
    """

    weight_bits: int
    activation_bits: int
    accumulator_bits: int
    force_weights: bool = False
    force_activations: bool = False
    local_weight_bits: int | None = None


def assign_precision(graph: NetworkGraph, precision: Precision) -> NetworkGraph:
    """Give every tensor its width.

    Before: widths are those of the file.  After: kernels have `weight_bits`, maps
    `activation_bits`, per-channel constants `accumulator_bits`, except tensors whose
    width the file states by quantisation, unless forced, and those whose own was asked for.
    In local memory every kernel has at least `local_weight_bits`, where given.  A tensor forced
    to fewer bits than the file's integers have no longer means these.  Nothing else changes.
    """
    changed = []
    for tensor in graph.tensors.values():
        if tensor.role is WeightRole.VECTOR:
            bits, forced = precision.accumulator_bits, True
        elif tensor.kind is TensorKind.WEIGHT:
            bits, forced = precision.weight_bits, precision.force_weights
        else:
            bits, forced = precision.activation_bits, precision.force_activations
        if tensor.asked or (tensor.quantised and not forced):
            bits = tensor.bits
        unpacked = None
        if tensor.role is WeightRole.KERNEL and precision.local_weight_bits is not None:
            unpacked = max(bits, precision.local_weight_bits)
        # integers that the element no longer holds are not what it means
        meaning = tensor.quantisation
        if meaning is not None and meaning.bits > bits:
            meaning = None
        changed.append(replace(tensor, bits=bits, unpacked_bits=unpacked, quantisation=meaning))
    return graph.with_tensors(changed)


def drop_vectors(graph: NetworkGraph) -> NetworkGraph:
    """Leave biases and folded scale and shift out of the traffic.

    Before: layers may name counted per-channel constants.  After: none does, and no
    such tensor is left.  What the layers compute is unchanged, and so is `parameters`.
    """
    layers = tuple(
        replace(layer, input_vectors=None, output_vectors=None) for layer in graph.layers
    )
    tensors = {
        name: tensor
        for name, tensor in graph.tensors.items()
        if tensor.role is not WeightRole.VECTOR
    }
    return replace(graph, layers=layers, tensors=tensors)
