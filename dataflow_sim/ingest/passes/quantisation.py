"""Quantised networks as networks of floats whose maps and weights have fewer bits.

After these passes a name stands for the real numbers that its integers mean, and `bits` says
in how many bits they are held; which integers these are, `quantisations` says of maps, and each
constant of itself.  Constants keep the values that the file gives.  Biases are held at the
accumulators' width whatever the file says: no width is entered for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

from dataflow_sim.graph.network import Constant
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.contract import Pass
from dataflow_sim.ingest.passes.dynamic_quantisation import DYNAMIC
from dataflow_sim.ingest.passes.quantised_edges import (
    QuantisedEdges,
    quantised_bits,
    without_unread,
)
from dataflow_sim.ingest.passes.quantised_operands import QLinearMeanings
from dataflow_sim.ingest.passes.roundings import DEQUANTISE, QUANTISE, sentences

__all__ = ["DYNAMIC", "QDQ", "QLINEAR"]

_ACCUMULATOR_BITS = 32
# position of the data inputs; the zero point of the result stands behind its scale
_QLINEAR = {"QLinearConv": ("Conv", (0, 3, 8)), "QLinearMatMul": ("MatMul", (0, 3))}
_RESULT_ZERO_POINT = 7


def _as_bias(network: ResolvedNetwork, name: str, bits: dict[str, int]) -> Constant:
    """A constant of 32-bit integers as the numbers that they are, without a width."""
    bits.pop(name, None)
    return replace(network.constants[name], real=True)


def _rewrite_qlinear(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    bits, constants = dict(network.bits), dict(network.constants)
    meanings = QLinearMeanings(network)
    nodes: list[Node] = []
    changed: list[str] = []
    for node in network.nodes:
        op, positions = _QLINEAR.get(node.op, ("", ()))
        if not op or len(node.inputs) <= _RESULT_ZERO_POINT or not node.outputs:
            nodes.append(node)
            continue
        inputs = tuple(node.inputs[p] for p in positions if p < len(node.inputs))
        if len(inputs) == 3 and inputs[2] in constants:
            constants[inputs[2]] = _as_bias(network, inputs[2], bits)
        meanings.read(node, inputs)
        result = node.outputs[0]
        bits[result] = quantised_bits(network, result, node.inputs[_RESULT_ZERO_POINT])
        nodes.append(replace(node, op=op, inputs=inputs))
        changed.append(node.name)
    if not changed:
        return network, ()
    for name, each in meanings.constants.items():
        constants[name] = replace(constants[name], quantisation=each)
    found = replace(
        network,
        nodes=tuple(nodes),
        bits=bits,
        constants=constants,
        quantisations={**network.quantisations, **meanings.maps},
        unrounded=(*network.unrounded, *sentences(meanings.trouble, {})),
    )
    return without_unread(found), tuple(changed)


QLINEAR = Pass(
    "qlinear",
    before=(
        "QLinearConv and QLinearMatMul read maps and weights of integers, their scales and "
        "their zero points"
    ),
    after=(
        "each is the Conv or MatMul of the same maps and weights, whose result has the bits of "
        "its element type; no scale and no zero point is read, and a bias has no width"
    ),
    rewrite=_rewrite_qlinear,
)


def _passed_through(network: ResolvedNetwork, read: Iterable[str]) -> dict[tuple[str, int], int]:
    """Least width of the unread constants derived from a source, by it and their elements.

    Training for quantisation leaves weights in floats, quantised and dequantised on the way.
    """
    found: dict[tuple[str, int], int] = {}
    known = frozenset(read)
    for name, constant in network.constants.items():
        source, bits = network.sources.get(name, name), network.bits.get(name, _ACCUMULATOR_BITS)
        truth = constant.value is not None and constant.value.dtype.kind == "b"
        if source != name and name not in known and bits < _ACCUMULATOR_BITS and not truth:
            key = (source, prod(constant.shape))
            found[key] = min(bits, found.get(key, bits))
    return found


def _constants(network: ResolvedNetwork) -> ResolvedNetwork:
    """Constants derived from narrow ones with the width of those, biases without any.

    The reader has evaluated what dequantises a constant: of `weights ─ DequantizeLinear` only
    the result is left, and in `sources` what it is derived from.
    """
    bits, constants = dict(network.bits), dict(network.constants)
    read = dict.fromkeys(name for node in network.nodes for name in node.inputs)
    is_quantised = any(node.op in (QUANTISE, DEQUANTISE) for node in network.nodes)
    through = _passed_through(network, read) if is_quantised else {}
    for name in read:
        constant = network.constants.get(name)
        source = network.sources.get(name, name)
        if constant is None or source == name or name in network.bits:
            continue
        stated = network.bits.get(source, through.get((source, prod(constant.shape))))
        if stated is None:
            continue
        value, known = constant.value, constant.quantisation is not None
        whole = value is None or known or "float" in value.dtype.name
        if stated == _ACCUMULATOR_BITS and whole and prod(constant.shape) > 1:
            constants[name] = _as_bias(network, name, bits)
        elif stated < _ACCUMULATOR_BITS and constant.real:
            bits[name] = stated
    return replace(network, bits=bits, constants=constants)


def _rewrite_pairs(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    return QuantisedEdges(_constants(network)).fold()


QDQ = Pass(
    "quantisation",
    before=(
        "maps may go through QuantizeLinear and DequantizeLinear, constants may be derived from "
        "integers of fewer bits"
    ),
    after=(
        "no such node is left but QuantizeLinear (one input) of a map that is read in floats or "
        "in another width too, or that nothing else can write as an output, and DequantizeLinear "
        "(one input) that alone can write an output; what they joined is one map with the bits "
        "of the quantised type, and a constant has the bits of what it is derived from, a bias "
        "none"
    ),
    rewrite=_rewrite_pairs,
)
