"""Where a network rounds its maps to integers, once quantising nodes are folded into the maps.

A node QuantizeLinear rounds, a node DequantizeLinear says what its integers mean.  Of several
names that have become one map each is behind some of its quantisers:

    x ─ QuantizeLinear ─ q ─ DequantizeLinear ─ y ─ QuantizeLinear ─ r
    x behind none, q and y behind one, r behind both

A tensor has one meaning: the readers left must all read behind the same quantisers.  What cannot
be said so of a map is told in a sentence, and its traffic is that of its width all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from dataflow_sim.graph.quantisation import Quantisation
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.scales import (
    NO_ZERO_POINT,
    SIGNED,
    Stated,
    integer_attribute,
    meaning,
)

QUANTISE, DEQUANTISE = "QuantizeLinear", "DequantizeLinear"
LONGEST_CHAIN = 8

# operators whose result has no other numbers than their first input
KEEPING = frozenset(
    (
        *("MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "Identity", "Dropout", "Reshape"),
        *("Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather", "Expand"),
        *("DepthToSpace", "SpaceToDepth", "Tile"),
    )
)


def kept_by(node: Node) -> tuple[str, ...]:
    """The results of a node that have no other numbers than its first input."""
    if node.op not in KEEPING or not node.inputs:
        return ()
    return node.outputs if node.op == "Split" else node.outputs[:1]


def stated(network: ResolvedNetwork, name: str) -> Stated:
    """A scale or a zero point by its name; where there is none, zero."""
    if not name:
        return NO_ZERO_POINT
    constant = network.constants.get(name)
    return Stated(network.shapes.get(name, ()), constant.value if constant is not None else None)


def optional(node: Node, place: int) -> str:
    """An input of a node, or "" where it is left out."""
    return node.inputs[place] if place < len(node.inputs) else ""


def stated_meaning(network: ResolvedNetwork, node: Node) -> Quantisation | None:
    """What a quantising or dequantising node says of its integers; None without a scale."""
    if len(node.inputs) < 2 or not network.constants.get(node.inputs[1]):
        return None
    zero_point = optional(node, 2)
    integers = node.outputs[0] if node.op == QUANTISE else node.inputs[0]
    types = network.element_types
    return meaning(
        stated(network, node.inputs[1]),
        stated(network, zero_point),
        types.get(integers, types.get(zero_point, 0)),
        integer_attribute(node.attributes, "axis", 1),
        integer_attribute(node.attributes, "block_size", 0),
    )


def why_unstated(network: ResolvedNetwork, node: Node) -> str:
    """Why a node that quantises states no meaning that a map can have."""
    if len(node.inputs) < 2 or not network.constants.get(node.inputs[1]):
        return "is quantised by its own range"
    element = network.element_types.get(node.outputs[0], 0)
    if element and element not in SIGNED:
        return "is quantised to floats"
    return "has a scale or a zero point that its type does not allow"


@dataclass
class Roundings:
    """How the names of a network are rounded, with some of its nodes folded into the maps.

    `is_folded` tells of a quantising or dequantising node whether it is; `root` gives the name that
    stands for a map.  After `follow`: `told` says by name what quantisers a name is behind since
    its map was written, `trouble` of which maps that cannot be said, by their root.
    """

    network: ResolvedNetwork
    is_folded: Callable[[Node], bool]
    root: Callable[[str], str]
    told: dict[str, Quantisation] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)

    def follow(self) -> None:
        """Go through the nodes in order."""
        self.told.update(self.network.quantisations)
        on = dict(self.told)  # what integers hold a name's numbers, whoever rounded them
        for node in self.network.nodes:
            if node.op == QUANTISE and node.inputs and node.outputs:
                self._quantise(node, on)
            elif node.op == DEQUANTISE and node.inputs and node.outputs:
                self._dequantise(node, on)
            else:
                for name in kept_by(node):
                    if node.inputs[0] in on:
                        on.setdefault(name, on[node.inputs[0]])

    def _quantise(self, node: Node, on: dict[str, Quantisation]) -> None:
        (source, *_), result = node.inputs, node.outputs[0]
        found = stated_meaning(self.network, node)
        if found is None or found.axis is not None:
            if result not in self.network.quantisations:
                why = "is quantised channel by channel"
                self._report(result, why if found else why_unstated(self.network, node))
            return
        if self.is_folded(node):
            before = self.told.get(source)
            found = before if before is not None and before.alone == found else found.behind(before)
            if len(found.earlier) > LONGEST_CHAIN:
                self._report(result, f"is quantised more than {LONGEST_CHAIN} times in a row")
                found = found.alone
        known = self.network.quantisations.get(result)
        if known is not None and known != found.alone:
            self._report(result, "is read with another scale than it is written with")
        self.told[result] = on[result] = found

    def _dequantise(self, node: Node, on: dict[str, Quantisation]) -> None:
        (source, *_), result = node.inputs, node.outputs[0]
        found = stated_meaning(self.network, node)
        if found is not None and found.axis is not None:
            self._report(source, "is quantised channel by channel")
            return
        if found is not None:
            known = on.get(source)
            if known is None:
                self.told[source] = on[source] = found
            elif known.alone != found:
                self._report(source, "is read with another scale than it is written with")
        elif optional(node, 1) in self.network.constants:
            self._report(source, "has a scale or a zero point that its type does not allow")
        if source in on:
            on[result] = on[source]
        if source in self.told and self.is_folded(node):
            self.told[result] = self.told[source]

    def _report(self, name: str, why: str) -> None:
        self.trouble.setdefault(self.root(name), why)

    def of_maps(self, read: Mapping[str, Iterable[str]]) -> dict[str, Quantisation]:
        """How each map is rounded, by its root, given the names by which each is read."""
        found: dict[str, Quantisation] = {}
        for root, names in read.items():
            states = dict.fromkeys(self.told.get(name) for name in names)
            first = next((state for state in states if state is not None), None)
            if len(states) > 1:
                self.trouble.setdefault(root, "is quantised in several ways")
            if first is not None and root not in self.network.constants:
                found[root] = first
        return found


def sentences(trouble: Mapping[str, str], names: Mapping[str, str]) -> tuple[str, ...]:
    """What is told of maps whose rounding cannot be said; `names` are what maps are called now."""
    return tuple(f"'{names.get(name, name)}' {why}" for name, why in trouble.items())


def lost_inside(network: ResolvedNetwork) -> tuple[str, ...]:
    """A sentence for each rounded map that no node writes: it is inside an operator."""
    left = {name for node in network.nodes for name in node.outputs} | set(network.inputs)
    return tuple(
        f"'{name}' is inside an operator that is taken as one"
        for name in network.quantisations
        if name not in left
    )
