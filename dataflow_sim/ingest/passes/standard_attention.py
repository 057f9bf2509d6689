"""ONNX's own Attention, from operator set 23 on, as ours.

rank 4    (B, H, T, D), (B, G, S, D), (B, G, S, E) ─► (B, H, T, E)
rank 3    (B, T, H * D) ─ Reshape, Transpose ─► the same ─ Transpose, Reshape ─► (B, T, H * E)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from dataflow_sim.graph.pointwise import Attribute
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.passes.additions import Additions
from dataflow_sim.ingest.passes.attention_masks import Mask, Masks, broadcasts
from dataflow_sim.ingest.rewriting import NodeIndex

Shape = tuple[int, ...]

OP = "dataflow_sim::Attention"
_LABELS = ("query", "key", "value")
_HEADS_SECOND = (0, 2, 1, 3)
_WINDOWS = ("left_window_size", "right_window_size")
_BOOLEAN_BITS = 8


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Extents of an attention, by the letters of its operands' shapes."""

    batch: int
    heads: int
    groups: int
    rows: int
    keys: int
    depth: int
    columns: int

    @property
    def operands(self) -> tuple[Shape, Shape, Shape]:
        """The shapes of query, key and value with the heads apart."""
        shared = (self.batch, self.groups, self.keys)
        query = (self.batch, self.heads, self.rows, self.depth)
        return query, (*shared, self.depth), (*shared, self.columns)

    @property
    def scores(self) -> Shape:
        """The shape that masks broadcast to."""
        return self.batch, self.heads, self.rows, self.keys


def _sizes(index: NodeIndex, node: Node) -> _Sizes | None:
    """The extents of a node whose operands fit each other."""
    shapes = tuple(index.shape(name) for name in node.inputs[:3])
    query, key, value = shapes
    ranks = {len(shape) for shape in shapes}
    if ranks == {4}:
        found = _Sizes(query[0], query[1], key[1], query[2], key[2], query[3], value[3])
        fits = shapes == found.operands
    elif ranks == {3}:
        parts = [node.attributes.get(f"{kind}_num_heads") for kind in ("q", "kv")]
        heads, groups = (part if isinstance(part, int) and part > 0 else 1 for part in parts)
        depth, columns = query[2] // heads, value[2] // groups
        found = _Sizes(query[0], heads, groups, query[1], key[1], depth, columns)
        fits = shapes == tuple((b, rows, h * inner) for b, h, rows, inner in found.operands)
    else:
        return None
    return found if fits and found.heads % found.groups == 0 else None


def _is_plain(index: NodeIndex, node: Node) -> bool:
    """Whether a node has no past, no cap, no window, and no further result that is read."""
    if len(node.inputs) < 3 or not all(node.inputs[:3]) or any(node.inputs[4:]):
        return False
    if any(name in index.readers or name in index.outputs for name in node.outputs[1:]):
        return False
    windows = all(node.attributes.get(key, -1) == -1 for key in _WINDOWS)
    return bool(node.outputs) and windows and not node.attributes.get("softcap", 0)


def _mask(index: NodeIndex, node: Node, sizes: _Sizes) -> Mask | None:
    """The mask of a node that has one; None where it would be padded, or does not fit."""
    name = node.inputs[3]
    shape = index.shape(name)
    if not broadcasts(shape, sizes.scores) or shape[-1:] != (sizes.keys,):
        return None
    constant = index.network.constants.get(name)
    if constant is not None and constant.value is not None:
        boolean = constant.value.dtype.kind == "b"
    else:
        boolean = index.network.bits.get(name) == _BOOLEAN_BITS
    return Mask(name, sizes.scores, np.float32(-np.inf) if boolean else None)


def _apart(additions: Additions, node: Node, position: int, shape: Shape) -> str:
    """The name of an operand with its heads apart."""
    name, label = node.inputs[position], _LABELS[position]
    if len(additions.shape(name)) == 4:
        return name
    split = tuple(shape[axis] for axis in _HEADS_SECOND)
    inputs = (name, additions.steering(node.name, *split))
    name = additions.node("Reshape", inputs, split, (node.name, f"{label}/split"), node)
    named = (node.name, label)
    return additions.node("Transpose", (name,), shape, named, node, perm=_HEADS_SECOND)


def standard_to_own(index: NodeIndex, additions: Additions, node: Node) -> bool:
    """Put our Attention in the place of ONNX's; False if the node is no plain one."""
    sizes = _sizes(index, node) if _is_plain(index, node) else None
    masked = any(node.inputs[3:4])
    mask = _mask(index, node, sizes) if masked and sizes is not None else None
    if sizes is None or (masked and mask is None):
        return False
    scale = node.attributes.get("scale", 1 / sqrt(sizes.depth))
    if not isinstance(scale, int | float) or not 0 < scale < inf:
        return False
    operands = [_apart(additions, node, i, shape) for i, shape in enumerate(sizes.operands)]
    if mask is not None:
        operands.append(Masks(additions, node).tensor(mask, sizes.scores))
    attributes: dict[str, Attribute] = {
        "scale": float(scale),
        "is_causal": node.attributes.get("is_causal", 0),
    }
    flat = len(index.shape(node.inputs[0])) == 3
    shape = (*sizes.operands[0][:3], sizes.columns)
    end = additions.map(node.outputs[0], "heads", shape) if flat else node.outputs[0]
    additions.nodes.append((Node(node.name, OP, tuple(operands), (end,), attributes), node))
    if flat:
        joined = tuple(shape[axis] for axis in _HEADS_SECOND)
        named = (node.name, "result")
        end = additions.node("Transpose", (end,), joined, named, node, perm=_HEADS_SECOND)
        steering = additions.steering(node.name, *index.shape(node.outputs[0]))
        name = additions.name(node.name, "result/join")
        additions.nodes.append((Node(name, "Reshape", (end, steering), node.outputs, {}), node))
    return True
