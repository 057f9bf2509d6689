"""Finding and replacing patterns of nodes: an index of a network, and one rewriting of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import inf, prod

from dataflow_sim.graph.pointwise import Attribute
from dataflow_sim.ingest.network import Node, ResolvedNetwork

# FLOAT, FLOAT16, DOUBLE and BFLOAT16 of onnx.TensorProto
_FLOATING_POINT = (1, 10, 11, 16)


def casts_to_float(node: Node) -> bool:
    """Whether the node is a Cast whose result is floating-point."""
    return node.op == "Cast" and node.attributes.get("to") in _FLOATING_POINT


def integer_tuple(value: Attribute | None) -> tuple[int, ...] | None:
    """An attribute that is a list of integers; None if it is anything else."""
    if not isinstance(value, tuple) or not all(isinstance(each, int) for each in value):
        return None
    return tuple(int(each) for each in value)


def is_whole(node: Node) -> bool:
    """Whether the node has the inputs and the result that a pattern is going to ask it for."""
    binary = node.op in ("Add", "Sub", "Mul", "Div", "Pow", "MatMul")
    fits = len(node.inputs) == 2 and "" not in node.inputs if binary else any(node.inputs[:1])
    return fits and bool(node.outputs)


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

    def integers(self, name: str) -> tuple[int, ...] | None:
        """The values of a constant that steers an operator; None where they are unknown."""
        constant = self.network.constants.get(name)
        if constant is None or constant.value is None:
            return None
        return tuple(int(value) for value in constant.value.ravel())

    def steering(self, node: Node, position: int, key: str) -> tuple[int, ...] | None:
        """Integers in an input (newer operator sets) or an attribute (older ones), if known."""
        if position < len(node.inputs) and node.inputs[position]:
            return self.integers(node.inputs[position])
        return integer_tuple(node.attributes.get(key))

    def limits(self, node: Node) -> tuple[float | None, float | None]:
        """The lower and the upper limit of a Clip; None for one that is unknown."""

        def limit(position: int, key: str, default: float) -> float | None:
            if position < len(node.inputs) and node.inputs[position]:
                return self.scalar(node.inputs[position])
            value = node.attributes.get(key, default)
            return float(value) if isinstance(value, int | float) else None

        return limit(1, "min", -inf), limit(2, "max", inf)

    def axes(self, node: Node) -> tuple[int, ...] | None:
        """The axes that a reduction reduces, ascending from 0; None where they are unknown.

        They stand in an attribute or in a second input; without either all are reduced.
        """
        rank = len(self.shape(node.inputs[0]))
        stated = "axes" in node.attributes or any(node.inputs[1:2])
        axes = self.steering(node, 1, "axes") if stated else ()
        if axes is None or any(not -rank <= axis < rank for axis in axes):
            return None
        if not axes:
            return () if node.attributes.get("noop_with_empty_axes") else tuple(range(rank))
        return tuple(sorted({axis % rank for axis in axes}))

    def plain(self, name: str) -> str:
        """The name behind identities."""
        node = self.producer(name, "Identity")
        while node is not None and is_whole(node):
            name = node.inputs[0]
            node = self.producer(name, "Identity")
        return name

    def root(self, name: str) -> str:
        """The name behind identities and casts to floating point.

        Only for names inside patterns of floating-point operators: there such a cast changes
        the precision, and nothing else.
        """
        name = self.plain(name)
        node = self.producer(name, "Cast")
        while node is not None and is_whole(node) and casts_to_float(node):
            name = self.plain(node.inputs[0])
            node = self.producer(name, "Cast")
        return name

    def writer(self, name: str, *ops: str) -> Node | None:
        """The node that computes a name before casts, if its operator is one of these.

        A node with another number of inputs than its operator has is none.
        """
        node = self.producer(self.root(name), *ops)
        return node if node is not None and is_whole(node) else None

    def between(self, last: Node, names: Iterable[str]) -> tuple[Node, ...] | None:
        """The nodes that compute the result of `last` from some names and from constants.

        None if one of their results, but for that of `last`, is an output of the network or
        read by another node, or if they read anything else that no node writes.
        """
        known = frozenset(names)
        found = {id(last): last}
        pending = [last]
        while pending:
            for name in pending.pop().inputs:
                if not name or name in known or self.is_constant(name):
                    continue
                node = self.producers.get(name)
                if node is None:
                    return None
                if id(node) not in found:
                    found[id(node)] = node
                    pending.append(node)
        for node in found.values():
            for name in node.outputs if node is not last else ():
                if name in self.outputs:
                    return None
                if any(id(reader) not in found for reader in self.readers.get(name, ())):
                    return None
        return tuple(found.values())

    def spans(self, name: str, shape: tuple[int, ...], count: int) -> bool:
        """Whether a constant has one value per place of the last `count` axes of a shape."""
        constant = self.network.constants.get(name)
        if constant is None or len(constant.shape) > len(shape):
            return False
        padded = (1,) * (len(shape) - len(constant.shape)) + constant.shape
        return padded == (1,) * (len(shape) - count) + shape[len(shape) - count :]

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
