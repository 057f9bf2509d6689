"""Quantising and dequantising nodes folded into the maps between them.

    Conv ─ x ─ QuantizeLinear ─ q ─ DequantizeLinear ─ y ─ Conv      becomes
    Conv ─────────────── x, of the width of q ──────────── Conv

Three names of one map are one class, and its representative the name that is written.  A
quantiser stays where its input is wanted in floats too; a dequantiser where it writes an output
of the network and nothing can write that instead.  Both then have one input: scales and zero
points are never fetched.  To what integers the map is rounded is kept beside it (`roundings`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import onnx

from dataflow_sim.ingest.file.tensors import BITS
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.roundings import DEQUANTISE, QUANTISE, Roundings, sentences
from dataflow_sim.ingest.rewriting import NodeIndex

_DEFAULT_BITS = 8  # of an output without zero point
_FULL_BITS = 32


def quantised_bits(network: ResolvedNetwork, name: str, zero_point: str) -> int:
    """Width of a quantised name: what the file states of it, else of its zero point, else 8."""
    for each in (name, zero_point):
        if each in network.bits:
            return network.bits[each]
    constant = network.constants.get(zero_point)
    if constant is None or constant.value is None:
        return _DEFAULT_BITS
    return BITS[onnx.helper.np_dtype_to_tensor_dtype(constant.value.dtype)]


def without_unread(network: ResolvedNetwork) -> ResolvedNetwork:
    """The network without nodes whose results nobody reads any longer."""
    wanted = set(network.outputs)
    kept: list[Node] = []
    for node in reversed(network.nodes):
        if not wanted.isdisjoint(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    return replace(network, nodes=tuple(kept[::-1]))


class QuantisedEdges:
    """Folds some quantising and dequantising nodes of a network, all unless `chosen` names them."""

    def __init__(self, network: ResolvedNetwork, chosen: Iterable[Node] | None = None) -> None:
        self.network = network
        self.index = NodeIndex(network)
        self.bits = dict(network.bits)
        nodes = network.nodes if chosen is None else tuple(chosen)
        self.quantisers = {id(n): n for n in nodes if n.op == QUANTISE and self._is_pair(n)}
        self.dequantisers = {id(n): n for n in nodes if n.op == DEQUANTISE and self._is_pair(n)}
        self.pairs = self.quantisers | self.dequantisers
        self.same: dict[str, str] = {}
        self.members: dict[str, list[str]] = {}
        self.renamed: dict[str, str] = {}
        self.staying: set[int] = set()

    def _is_pair(self, node: Node) -> bool:
        """One map in, one out; a quantised constant is read as it is."""
        whole = bool(node.inputs) and len(node.outputs) == 1 and bool(node.inputs[0])
        return whole and (node.op == DEQUANTISE or not self.index.is_constant(node.inputs[0]))

    def fold(self) -> tuple[ResolvedNetwork, tuple[str, ...]]:
        """The network with the pairs folded, and the names of the nodes that changed."""
        for node in self.dequantisers.values():
            self._join(node.outputs[0], node.inputs[0])
        for node in self.network.nodes:
            if id(node) in self.quantisers:
                self._settle(node)
        for name in dict.fromkeys(self.network.outputs):
            self._keep_name(name)
        return self._result()

    # ---------------------------------------------------------------- classes of names

    def root(self, name: str) -> str:
        """The representative of a name's class."""
        while name in self.same:
            name = self.same[name]
        return name

    def _join(self, name: str, other: str) -> None:
        root = self.root(other)
        self.same[name] = root
        self.members.setdefault(root, [root]).extend(self.members.pop(name, [name]))

    def _readers(self, root: str) -> list[Node]:
        """Who reads a class of names, nodes that have vanished into it aside."""
        return [
            node
            for name in self.members.get(root, [root])
            for node in self.index.readers.get(name, [])
            if id(node) not in self.pairs or self.root(node.outputs[0]) != root
        ]

    def _width(self, node: Node) -> int:
        zero_point = node.inputs[2] if len(node.inputs) > 2 else ""
        return quantised_bits(self.network, node.outputs[0], zero_point)

    # ---------------------------------------------------------------- what goes, what stays

    def _is_movable(self, name: str) -> bool:
        """Whether the node that writes a name can write another one instead."""
        return name in self.index.producers and name not in self.index.outputs

    def _settle(self, node: Node) -> None:
        """Let a quantiser vanish into the map that it reads, or stay."""
        root, width = self.root(node.inputs[0]), self._width(node)
        result = node.outputs[0]
        held = self.bits.get(root, _FULL_BITS)
        wanted = result in self.index.outputs and not self._is_movable(root)
        if wanted or not (width >= held or self._is_only_quantised(root, width)):
            self._stay(node, root, width)
            return
        self.bits[root] = min(width, held)
        self._join(result, root)

    def _is_only_quantised(self, root: str, width: int) -> bool:
        """Whether all who read a class of names quantise it to one width."""
        if any(name in self.index.outputs for name in self.members.get(root, [root])):
            return False
        return all(
            id(reader) in self.quantisers
            and self._width(reader) == width
            and all(self.root(name) != root for name in reader.inputs[1:])
            for reader in self._readers(root)
        )

    def _stay(self, node: Node, root: str, width: int) -> None:
        """Keep a quantiser; several that do the same are one."""
        result = node.outputs[0]
        for other in (self.quantisers[key] for key in self.quantisers if key in self.staying):
            alike = self.root(other.inputs[0]) == root and other.inputs[1:] == node.inputs[1:]
            if alike and self._width(other) == width and result not in self.index.outputs:
                self._join(result, other.outputs[0])
                return
        self.bits[result] = width
        self.staying.add(id(node))

    def _keep_name(self, output: str) -> None:
        """An output behind a pair keeps its name: the map's writer takes it, or the node stays."""
        root = self.root(output)
        if root == output:
            return
        if self._is_movable(root) and root not in self.renamed:
            self.renamed[root] = output
            if root in self.bits:
                self.bits[output] = self.bits[root]
            return
        del self.same[output]
        node = self.index.producers[output]
        if id(node) in self.quantisers:
            self.bits[output] = self._width(node)
        self.staying.add(id(node))

    # ---------------------------------------------------------------- the new network

    def _final(self, name: str) -> str:
        root = self.root(name)
        return self.renamed.get(root, root)

    def _result(self) -> tuple[ResolvedNetwork, tuple[str, ...]]:
        nodes: list[Node] = []
        changed: list[str] = []
        for node in self.network.nodes:
            outputs = tuple(self.renamed.get(name, name) for name in node.outputs)
            if id(node) not in self.pairs:
                inputs = tuple(self._final(name) for name in node.inputs)
                nodes.append(replace(node, inputs=inputs, outputs=outputs))
                continue
            inputs = (self._final(node.inputs[0]),)
            stripped = replace(node, inputs=inputs, outputs=outputs, attributes={})
            if id(node) in self.staying:
                nodes.append(stripped)
            if id(node) not in self.staying or stripped != node:
                changed.append(node.name)
        gone = {*self.same, *self.renamed}.difference(self.network.outputs)
        bits = {name: bits for name, bits in self.bits.items() if name not in gone}
        network = self._rounded(replace(self.network, nodes=tuple(nodes), bits=bits))
        return without_unread(network), tuple(changed)

    def _is_folded(self, node: Node) -> bool:
        """Whether a node has vanished into the map that it reads."""
        return id(node) in self.pairs and self.root(node.inputs[0]) == self.root(node.outputs[0])

    def _rounded(self, network: ResolvedNetwork) -> ResolvedNetwork:
        """The new network with what the nodes folded say of its maps."""
        roundings = Roundings(self.network, self._is_folded, self.root)
        roundings.follow()
        read: dict[str, list[str]] = {}
        for node in self.network.nodes:
            if not self._is_folded(node):
                for name in node.inputs:
                    read.setdefault(self.root(name), []).append(name)
        for name in self.network.outputs:
            read.setdefault(self.root(name), []).append(name)
        found = {self._final(root): each for root, each in roundings.of_maps(read).items()}
        told = sentences(roundings.trouble, self.renamed)
        return replace(
            network,
            quantisations=found,
            unrounded=tuple(dict.fromkeys((*network.unrounded, *told))),
        )
