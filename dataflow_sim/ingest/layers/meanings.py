"""Meanings of streamed layers: a node's inputs as the layer's views, vectors and constants."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from dataflow_sim.graph.meaning import LEFT_OUT, Input, Seen
from dataflow_sim.ingest.file.tensors import WHOLE
from dataflow_sim.ingest.layers.drafts import Value
from dataflow_sim.ingest.network import Node, ResolvedNetwork

# where a map of bytes is one of whole numbers; elsewhere it may be a quantised one
_OF_BYTES = frozenset(
    ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "DequantizeLinear")
)


def element_of(network: ResolvedNetwork, node: Node, name: str) -> str:
    """The type of the elements of a node's input, as numpy names it."""
    constant = network.constants.get(name)
    if constant is not None and constant.value is not None:
        return str(constant.value.dtype)
    found = WHOLE.get(network.element_types.get(name, 0), "float32")
    return "float32" if found.endswith("int8") and node.op not in _OF_BYTES else found


def given(
    network: ResolvedNetwork,
    node: Node,
    name: str,
    views: Sequence[tuple[int, Value]],
    vector: int | None = None,
) -> Input | None:
    """One input of a node, which the layer reads through views, as vectors or not at all.

    None where it is a map that the layer does not read.
    """
    if not name:
        return LEFT_OUT
    element = element_of(network, node, name)
    if views:
        seen = tuple(Seen(place, value.axes) for place, value in views)
        return Input(seen, element=element)
    if name not in network.constants:
        return None
    return Input(constant=name, vector=vector, element=element)


def inputs_of(
    network: ResolvedNetwork,
    node: Node,
    read: Sequence[tuple[int, Value]],
    held: Sequence[str] = (),
) -> tuple[Input, ...] | None:
    """The inputs of a node whose layer reads these values, each with its place among the inputs.

    `held` are the constants among the layer's vectors.  None where an input is a map that the
    layer does not read: what it computes is then unknown.
    """
    starts, at = {}, 0
    for name in held:
        starts[name] = at
        at += prod(network.constants[name].shape)
    found: list[Input] = []
    for place, name in enumerate(node.inputs):
        first = node.inputs.index(name) if name else place
        views = [(view, value) for view, (own, value) in enumerate(read) if own == first]
        each = given(network, node, name, views, starts.get(name))
        if each is None:
            return None
        found.append(each)
    return tuple(found)
