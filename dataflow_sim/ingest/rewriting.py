"""Finding and replacing patterns of nodes: an index of a network, and one rewriting of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

from dataflow_sim.ingest.network import Node, ResolvedNetwork


class NodeIndex:
    """Who writes and who reads each name of a network."""

    def __init__(self, network: ResolvedNetwork) -> None:
        self.network = network
        self.producers: dict[str, Node] = {}
        self.readers: dict[str, list[Node]] = {}
        self.outputs = frozenset(network.outputs)
        for node in network.nodes:
            self.producers.update((name, node) for name in node.outputs)
            for name in dict.fromkeys(node.inputs):
                self.readers.setdefault(name, []).append(node)

    def producer(self, name: str, *ops: str) -> Node | None:
        """The node that writes a name, if its operator is one of these (or any)."""
        node = self.producers.get(name)
        return node if node is not None and (not ops or node.op in ops) else None

    def sole_reader(self, name: str) -> Node | None:
        """The only reader of a name that is no output of the network."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a name."""
        return self.network.shapes[name]

    def is_constant(self, name: str) -> bool:
        """Whether the name is a constant."""
        return name in self.network.constants

    def scalar(self, name: str) -> float | None:
        """The value of a constant of one element; None where there is none, or it is unknown."""
        constant = self.network.constants.get(name)
        if constant is None or constant.value is None or prod(constant.shape) != 1:
            return None
        return float(constant.value.ravel()[0])

    def other_input(self, node: Node, name: str) -> str:
        """Of a node with two inputs the one that is not `name`."""
        first, second = node.inputs
        return second if first == name else first


def rewritten(
    network: ResolvedNetwork, removed: Iterable[Node], added: Iterable[tuple[Node, Node]]
) -> ResolvedNetwork:
    """The network without some nodes, and with others in the place of nodes removed.

    `added` pairs each new node with the removed one whose place in the order it takes; that
    must be behind everything the new node reads, and before everything that reads it.
    """
    gone = {id(node) for node in removed}
    at: dict[int, list[Node]] = {}
    for new, place in added:
        at.setdefault(id(place), []).append(new)
        gone.add(id(place))
    nodes: list[Node] = []
    for node in network.nodes:
        nodes.extend(at.get(id(node), ()))
        if id(node) not in gone:
            nodes.append(node)
    return replace(network, nodes=tuple(nodes))
