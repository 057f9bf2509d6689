"""A row of the registry: all that the reader knows of one operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.network import Node

Rule = Callable[[GraphBuilder, Node], None]
Shapes = Mapping[str, tuple[int, ...]]


class Merges(StrEnum):
    """How an operator takes part in merged groups."""

    BY_ROWS = "by rows"
    ALONE = "alone"
    NO_LAYER = "no layer"


@dataclass(frozen=True, slots=True)
class Macs:
    """A formula for the MACs of a node, in words and as a function of node and shapes."""

    formula: str
    count: Callable[[Node, Shapes], int]


NO_MACS = Macs("0", lambda node, shapes: 0)


@dataclass(frozen=True, slots=True)
class Operator:
    """A row of the registry.

    `becomes` names what a node is turned into by `rule`; `reads` says what of its inputs is
    read, of which only the first `data` are data (None: all) while the others steer it,
    and of the data those at the places `vectors` are biases, scales or shifts; `in_place`
    tells whether the result may take the place of an input.  Shapes are inferred
    by ONNX itself; operators outside the standard are defined by standard ones first
    (`ingest.contrib`), and so are their shapes.
    """

    name: str
    becomes: str
    rule: Rule
    macs: Macs = NO_MACS
    reads: str = "every input once"
    merges: Merges = Merges.ALONE
    in_place: bool = False
    data: int | None = None
    vectors: tuple[int, ...] = ()


def streaming(macs: Macs = NO_MACS, data: int | None = None, vectors: tuple[int, ...] = ()) -> Rule:
    """The rule of an operator that is streamed: inputs once, results once."""

    def rule(builder: GraphBuilder, node: Node) -> None:
        count = macs.count(node, builder.network.shapes)
        builder.stream(node, macs=count, data=data, vectors=vectors)

    return rule


def streamed(
    name: str,
    becomes: str,
    macs: Macs = NO_MACS,
    reads: str = "every input once",
    data: int | None = None,
    vectors: tuple[int, ...] = (),
) -> Operator:
    """The row of an operator that is always streamed."""
    rule = streaming(macs, data, vectors)
    return Operator(name, becomes, rule, macs, reads, data=data, vectors=vectors)
