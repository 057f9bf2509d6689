"""Rotary position embedding, put together from the chain that Hugging Face's exporters write.

    y = x * cos + concat(-x[..., D/2:], x[..., :D/2]) * sin           over the last axis, D

Operands may stand in either order; the halves are two Slices or the parts of one Split.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.contract import Pass
from dataflow_sim.ingest.rewriting import NodeIndex, rewritten

OP = "dataflow_sim::RotaryEmbedding"


def _orders(node: Node) -> Iterator[tuple[str, str]]:
    """The two inputs of a node, as they stand and exchanged."""
    first, second = node.inputs
    yield first, second
    yield second, first


def _stated(index: NodeIndex, node: Node, position: int, key: str, default: int) -> int | None:
    """The one number that an input or an attribute of a Slice holds; None if it is no such."""
    if not any(node.inputs[position : position + 1]) and key not in node.attributes:
        return default
    values = index.steering(node, position, key)
    return values[0] if values is not None and len(values) == 1 else None


def _slice(index: NodeIndex, node: Node) -> tuple[int, int, int] | None:
    """(axis, start, stop) of a Slice along one axis in steps of 1, all from 0 on."""
    shape = index.shape(node.inputs[0])
    start, stop = _stated(index, node, 1, "starts", 0), _stated(index, node, 2, "ends", 0)
    axis, step = _stated(index, node, 3, "axes", 0), _stated(index, node, 4, "steps", 1)
    if start is None or stop is None or axis is None or step != 1:
        return None
    extent = shape[axis]
    start, stop = (bound + extent if bound < 0 else bound for bound in (start, stop))
    return axis % len(shape), min(max(start, 0), extent), min(max(stop, 0), extent)


def _half(index: NodeIndex, name: str) -> tuple[str, int] | None:
    """(of, which) where the name is the lower (0) or the upper (1) half of the last axis."""
    node = index.writer(name, "Slice", "Split")
    if node is None:
        return None
    source = node.inputs[0]
    last, extent = len(index.shape(source)) - 1, index.shape(source)[-1]
    if extent % 2:
        return None
    if node.op == "Slice":
        halves = ((last, 0, extent // 2), (last, extent // 2, extent))
        found = _slice(index, node)
        return (source, halves.index(found)) if found in halves else None
    axis = node.attributes.get("axis", 0)
    widths = [index.shape(part)[-1] for part in node.outputs]
    if axis not in (-1, last) or widths != [extent // 2] * 2:
        return None
    return source, node.outputs.index(index.root(name))


def _turned(index: NodeIndex, name: str) -> str | None:
    """What the name is concat(-upper half, lower half) of."""
    node = index.writer(name, "Concat")
    if node is None or len(node.inputs) != 2:
        return None
    if node.attributes.get("axis") not in (-1, len(index.shape(node.outputs[0])) - 1):
        return None
    negated = index.writer(node.inputs[0], "Neg")
    upper = _half(index, negated.inputs[0]) if negated is not None else None
    lower = _half(index, node.inputs[1])
    if upper is None or lower is None or (upper[1], lower[1]) != (1, 0):
        return None
    return upper[0] if index.root(upper[0]) == index.root(lower[0]) else None


def _matched(index: NodeIndex, node: Node) -> tuple[str, str, str] | None:
    """(x, cos, sin) of the embedding that ends at an Add."""
    for first, second in _orders(node):
        kept, turned = index.writer(first, "Mul"), index.writer(second, "Mul")
        if kept is None or turned is None:
            continue
        for (x, cos), (half, sin) in product(_orders(kept), _orders(turned)):
            source = _turned(index, half)
            if source is not None and index.root(source) == index.root(x):
                return index.plain(x), cos, sin
    return None


def _rewrite(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    index = NodeIndex(network)
    removed: list[Node] = []
    added: list[tuple[Node, Node]] = []
    for node in network.nodes:
        if node.op != "Add" or len(node.inputs) != 2 or not node.outputs:
            continue
        found = _matched(index, node)
        if found is None or index.shape(found[0]) != index.shape(node.outputs[0]):
            continue
        inner = index.between(node, (*found, index.root(found[0])))
        if inner is None:
            continue
        removed.extend(inner)
        added.append((Node(node.name, OP, found, node.outputs, {}), node))
    return rewritten(network, removed, added), tuple(new.name for new, _ in added)


ROTARY = Pass(
    "rotary",
    before=(
        "a rotary embedding may be Slice or Split, Neg, Concat, two Mul and an Add whose results "
        "between nothing else reads"
    ),
    after=(
        "each such chain is one dataflow_sim::RotaryEmbedding (x, cos, sin): x * cos + "
        "concat(-x[..., D/2:], x[..., :D/2]) * sin over the last axis of D elements, cos and sin "
        "broadcast to x"
    ),
    rewrite=_rewrite,
)
