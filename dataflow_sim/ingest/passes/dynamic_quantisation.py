"""Maps quantised by their own range, and the products of integers that read them.

x ─ DynamicQuantizeLinear ─ q ─ MatMulInteger ─ Cast ─ Mul ─ y        becomes    x ─ MatMul ─ y
                └ scale ─ Mul ─ scale of the weights ──┘
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from dataflow_sim.graph.network import Constant
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.contract import Pass
from dataflow_sim.ingest.passes.quantised_edges import (
    QuantisedEdges,
    quantised_bits,
    without_unread,
)
from dataflow_sim.ingest.passes.roundings import DEQUANTISE, QUANTISE, optional, stated
from dataflow_sim.ingest.rewriting import NodeIndex, casts_to_float, is_whole, rewritten
from dataflow_sim.ingest.scales import Stated, meaning

_RANGE = "DynamicQuantizeLinear"
_PRODUCTS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}
_LONGEST_PRODUCT = 16


@dataclass(frozen=True, slots=True)
class _Found:
    """A product of integers, the nodes behind it that make floats of its result, the last last,
    and the constants that these multiply by."""

    product: Node
    behind: tuple[Node, ...]
    scales: tuple[str, ...]


class _Matcher:
    """Recognises what makes floats of a product of integers."""

    def __init__(self, network: ResolvedNetwork) -> None:
        self.index = NodeIndex(network)

    def _scales(self, product: Node) -> tuple[Counter[str], int] | None:
        """Scales of the operands that are maps, and how many operands are constants.

        None where a map is not quantised by its own range.
        """
        scales: Counter[str] = Counter()
        constants = 0
        for name in product.inputs[:2]:
            if self.index.is_constant(name):
                constants += 1
                continue
            node = self.index.producer(name, _RANGE)
            if node is None or len(node.outputs) < 2 or node.outputs[0] != name:
                return None
            scales[node.outputs[1]] += 1
        return scales, constants

    def _factors(self, name: str, left: int = _LONGEST_PRODUCT) -> list[str]:
        """The names whose product a name is."""
        node = self.index.producer(name, "Mul")
        if node is None or not is_whole(node) or not left:
            return [name]
        return [f for each in node.inputs for f in self._factors(each, left - 1)]

    def _is_scale(self, name: str, shape: tuple[int, ...], product: Node) -> bool:
        """Whether a constant has one number, or one for each channel of a product's result."""
        if not self.index.is_constant(name):
            return False
        own = self.index.network.constants[name].shape
        if prod(own) == 1:
            return True
        axis = len(shape) - 1 if product.op == "MatMulInteger" else 1
        padded = (1,) * (len(shape) - len(own)) + own
        return len(padded) == len(shape) and padded[axis] == shape[axis] == prod(own)

    def find(self, product: Node) -> _Found | None:
        """The cast and the multiplications by the scales behind a product; None without them."""
        expected = self._scales(product) if is_whole(product) and product.inputs[1:2] else None
        cast = self.index.sole_reader(product.outputs[0]) if product.outputs else None
        if expected is None or cast is None or not casts_to_float(cast) or not is_whole(cast):
            return None
        scales, constants = expected
        shape = self.index.shape(product.outputs[0])
        behind = [cast]
        used: list[str] = []
        while scales or constants:
            name = behind[-1].outputs[0]
            node = self.index.sole_reader(name)
            if (
                node is None
                or node.op != "Mul"
                or not is_whole(node)
                or node.inputs[0] == node.inputs[1]
            ):
                break
            factors = Counter(self._factors(self.index.other_input(node, name)))
            own = Counter({f: n for f, n in factors.items() if f in scales})
            others = [f for f in factors.elements() if f not in scales]
            if not own <= scales or len(others) > constants:
                break
            if not all(self._is_scale(name, shape, product) for name in others):
                break
            scales, constants = scales - own, constants - len(others)
            behind.append(node)
            used += others
        return None if scales else _Found(product, tuple(behind), tuple(used))


def _weights(network: ResolvedNetwork, found: _Found) -> dict[str, Constant]:
    """The constant operand of a product with what its integers mean; nothing without one."""
    product = found.product
    places = [p for p in (0, 1) if product.inputs[p] in network.constants]
    if len(places) != 1:
        return {}
    name, zero_point = product.inputs[places[0]], optional(product, places[0] + 2)
    constant = network.constants[name]
    values = [network.constants[scale].value for scale in found.scales]
    scale = np.ones(1)
    for value in values:
        scale = scale * (np.nan if value is None else value.astype(np.float64).ravel())
    known = all(value is not None for value in values)
    each = meaning(
        Stated(scale.shape, scale if known else None),
        stated(network, zero_point),
        network.element_types.get(name, 0),
        0 if product.op == "ConvInteger" else -1,
    )
    return {name: replace(constant, quantisation=each)} if constant.quantisation is None else {}


def _without_products(network: ResolvedNetwork) -> tuple[ResolvedNetwork, list[str]]:
    """Products of integers as products of floats, which write the scaled result."""
    matcher = _Matcher(network)
    removed: list[Node] = []
    added: list[tuple[Node, Node]] = []
    changed: list[str] = []
    constants = dict(network.constants)
    for node in network.nodes:
        found = matcher.find(node) if node.op in _PRODUCTS else None
        if found is None:
            continue
        last = found.behind[-1]
        new = replace(node, op=_PRODUCTS[node.op], inputs=node.inputs[:2], outputs=last.outputs)
        removed.extend((found.product, *found.behind[:-1]))
        added.append((new, last))
        changed.extend(each.name for each in (node, *found.behind))
        constants.update(_weights(network, found))
    known = replace(network, constants=constants)
    return without_unread(rewritten(known, removed, added)), changed


def _is_free(index: NodeIndex, node: Node) -> bool:
    """Whether only dequantisers of its own result read a range's scale and zero point."""
    result, *parameters = node.outputs
    return all(
        reader.op == DEQUANTISE and reader.inputs[0] == result
        for name in parameters
        for reader in index.readers.get(name, [])
    ) and not any(name in index.outputs for name in parameters)


def _rewrite(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    network, changed = _without_products(network)
    index = NodeIndex(network)
    bits = dict(network.bits)
    nodes: list[Node] = []
    chosen: list[Node] = []
    quantised: set[str] = set()
    for node in network.nodes:
        if node.op == _RANGE and node.inputs[:1] and node.outputs and _is_free(index, node):
            result = node.outputs[0]
            node = Node(node.name, QUANTISE, node.inputs[:1], (result,), {})
            bits[result] = quantised_bits(network, result, "")
            quantised.add(result)
            chosen.append(node)
        elif node.op == DEQUANTISE and node.inputs and node.inputs[0] in quantised:
            node = replace(node, inputs=node.inputs[:1])
            chosen.append(node)
        nodes.append(node)
    if not chosen:
        return network, tuple(changed)
    plain = replace(network, nodes=tuple(nodes), bits=bits)
    folded, _ = QuantisedEdges(plain, chosen).fold()
    return folded, tuple(dict.fromkeys((*changed, *(node.name for node in chosen))))


DYNAMIC = Pass(
    "dynamic quantisation",
    before=(
        "DynamicQuantizeLinear may quantise maps for MatMulInteger and ConvInteger, whose result "
        "a Cast and multiplications by the scales of the operands make floats of"
    ),
    after=(
        "each such product is a MatMul or Conv of the map and the weights, the map having 8 "
        "bits, and writes the scaled result; no scale and no zero point is read; a map that is "
        "read in floats too is quantised by a QuantizeLinear of one input and one result"
    ),
    rewrite=_rewrite,
)
