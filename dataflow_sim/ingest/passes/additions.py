"""What a pass adds to a network: nodes, maps and constants, under names that nobody has."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.network import Constant
from dataflow_sim.graph.pointwise import Attribute
from dataflow_sim.ingest.network import Node, ResolvedNetwork


class Additions:
    """Collects new nodes, each with the node removed whose place in the order it takes."""

    def __init__(self, network: ResolvedNetwork) -> None:
        self.network = network
        self.nodes: list[tuple[Node, Node]] = []
        self._shapes = dict(network.shapes)
        self.constants = dict(network.constants)
        self._sources = dict(network.sources)
        self._bits = dict(network.bits)
        self._taken = {node.name for node in network.nodes} | set(network.shapes)
        self._taken.update(name for node in network.nodes for name in (*node.inputs, *node.outputs))
        self._made: dict[Hashable, str] = {}

    def name(self, base: str, label: str) -> str:
        """A name that nobody has, made of another one and a label."""
        number, name = 1, f"{base}/{label}"
        while name in self._taken:
            number += 1
            name = f"{base}/{label}.{number}"
        self._taken.add(name)
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a name, old or new."""
        return self._shapes[name]

    def once(self, key: Hashable, make: Callable[[], str]) -> str:
        """The name made for a key; made when it is asked for first."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def map(self, base: str, label: str, shape: tuple[int, ...], like: str = "") -> str:
        """The name of a new map, which derives from another one's; its elements are as wide.

        They are as wide as those of `like`, if that is given.
        """
        name = self.name(base, label)
        self._shapes[name] = shape
        if (like or base) in self._bits:
            self._bits[name] = self._bits[like or base]
        return name

    def node(
        self,
        op: str,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        named: tuple[str, str],
        place: Node,
        like: str = "",
        **attributes: Attribute,
    ) -> str:
        """Append a node with one result, whose elements are as wide as its first input's.

        `named` are the name that the node's derives from, and a label; `like` is a name whose
        elements are as wide as the result's, where the first input's are not.  Returns the
        result's name.
        """
        base, label = named
        end = self.map(inputs[0], label, shape, like)
        self.nodes.append((Node(self.name(base, label), op, inputs, (end,), attributes), place))
        return end

    def steering(self, base: str, *values: int) -> str:
        """A constant vector of integers."""
        return self.constant(base, "shape", np.array(values, np.int64), (len(values),))

    def constant(
        self,
        base: str,
        label: str,
        value: npt.NDArray[np.generic] | None,
        shape: tuple[int, ...],
        like: str = "",
    ) -> str:
        """A constant that is not learned, or one as learned as the constant `like`."""
        name = self.name(base, label)
        real = bool(like) and self.constants[like].real
        self.constants[name] = Constant(name, shape, value, real)
        self._sources[name] = self._sources.get(like, like) if like else name
        self._shapes[name] = shape
        if like in self._bits:
            self._bits[name] = self._bits[like]
        elif value is not None and value.dtype not in (np.float32, np.float64):
            self._bits[name] = 8 * value.dtype.itemsize
        return name

    def described(self, network: ResolvedNetwork) -> ResolvedNetwork:
        """The network with the shapes and the constants of what was added."""
        return replace(
            network,
            shapes=self._shapes,
            constants=self.constants,
            sources=self._sources,
            bits=self._bits,
        )
