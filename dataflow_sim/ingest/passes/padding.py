"""Explicit padding of a plane, moved into the sliding window that reads it."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.contract import Pass
from dataflow_sim.ingest.rewriting import NodeIndex, integer_tuple, rewritten

_WINDOWS = ("Conv", "AveragePool", "MaxPool")


def _pads(index: NodeIndex, node: Node) -> tuple[int, ...] | None:
    """What a Pad adds at the begin and at the end of each spatial axis, all begins first.

    None if that is unknown, negative, or if another axis is padded.
    """
    rank = len(index.shape(node.inputs[0]))
    pads = index.steering(node, 1, "pads")
    named = len(node.inputs) > 3 and node.inputs[3]
    axes = index.integers(node.inputs[3]) if named else tuple(range(rank))
    if pads is None or axes is None or len(pads) != 2 * len(axes):
        return None
    if any(not -rank <= axis < rank for axis in axes):
        return None
    begins, ends = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        begins[axis], ends[axis] = pads[place], pads[place + len(axes)]
    if rank < 3 or any((*begins[:2], *ends[:2])) or min(*begins, *ends) < 0:
        return None
    return (*begins[2:], *ends[2:])


def _value(index: NodeIndex, node: Node) -> float | None:
    """The number that a Pad pads with; None where it is unknown, or no constant is padded."""
    if node.attributes.get("mode", "constant") != "constant":
        return None
    if len(node.inputs) > 2 and node.inputs[2]:
        return index.scalar(node.inputs[2])
    value = node.attributes.get("value", 0.0)
    return float(value) if isinstance(value, int | float) else None


def _extents(node: Node, key: str, default: tuple[int, ...]) -> tuple[int, ...] | None:
    """An attribute of as many integers as the default has."""
    value = integer_tuple(node.attributes.get(key, default))
    return value if value is not None and len(value) == len(default) else None


def _reaches(index: NodeIndex, node: Node) -> tuple[int, ...] | None:
    """How many rows, columns, ... one position of a window covers."""
    rank = len(index.shape(node.inputs[0])) - 2
    weights = index.network.shapes.get(node.inputs[1], ()) if len(node.inputs) > 1 else ()
    kernel = integer_tuple(node.attributes.get("kernel_shape", weights[2:]))
    dilations = _extents(node, "dilations", (1,) * rank)
    if kernel is None or len(kernel) != rank or dilations is None:
        return None
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))


def _own_pads(index: NodeIndex, node: Node, reaches: tuple[int, ...]) -> tuple[int, ...] | None:
    """The padding of a window, automatic padding worked out."""
    rank = len(reaches)
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        return _extents(node, "pads", (0,) * (2 * rank))
    if auto == "VALID":
        return (0,) * (2 * rank)
    strides = _extents(node, "strides", (1,) * rank)
    if auto not in ("SAME_UPPER", "SAME_LOWER") or strides is None:
        return None
    sizes, results = index.shape(node.inputs[0])[2:], index.shape(node.outputs[0])[2:]
    total = [max(0, (results[a] - 1) * strides[a] + reaches[a] - sizes[a]) for a in range(rank)]
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return (*small, *large) if auto == "SAME_UPPER" else (*large, *small)


def _takes(node: Node, value: float, own: tuple[int, ...]) -> bool:
    """Whether a window treats its own padding as numbers of that value."""
    if node.op == "MaxPool":
        return value == -inf and len(node.outputs) == 1
    counted = node.op == "Conv" or bool(node.attributes.get("count_include_pad")) or not any(own)
    return value == 0 and counted


def _folded(index: NodeIndex, node: Node, pad: Node) -> Node | None:
    """The window with the padding of the Pad that it reads, reading what the Pad reads."""
    added, value = _pads(index, pad), _value(index, pad)
    reaches = _reaches(index, node)
    own = _own_pads(index, node, reaches) if reaches is not None else None
    if added is None or value is None or reaches is None or own is None:
        return None
    if len(own) != len(added) or not _takes(node, value, own):
        return None
    pads = tuple(first + second for first, second in zip(own, added, strict=True))
    attributes = {**node.attributes, "pads": pads}
    if "auto_pad" in attributes:
        attributes["auto_pad"] = "NOTSET"
    if node.op != "Conv":
        # a window that lies in padding alone, or ends behind it, is the operator's own affair
        inside = all(p < reach for p, reach in zip(pads, (*reaches, *reaches), strict=True))
        if node.attributes.get("ceil_mode") or not inside:
            return None
    if node.op == "AveragePool":
        attributes["count_include_pad"] = 1
    return replace(node, inputs=(pad.inputs[0], *node.inputs[1:]), attributes=attributes)


def _foldable(index: NodeIndex, node: Node) -> Node | None:
    """The Pad whose result a window alone reads, and reads as its map."""
    if node.op not in _WINDOWS or not node.inputs or not node.outputs:
        return None
    pad = index.producer(node.inputs[0], "Pad")
    if pad is None or not pad.inputs or node.inputs[0] in node.inputs[1:]:
        return None
    alone = index.sole_reader(node.inputs[0])
    return pad if alone is not None and alone.outputs == node.outputs else None


def _once(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    index = NodeIndex(network)
    removed: list[Node] = []
    added: list[tuple[Node, Node]] = []
    rounded = dict(network.quantisations)
    for node in network.nodes:
        pad = _foldable(index, node)
        new = _folded(index, node, pad) if pad is not None else None
        if pad is not None and new is not None:
            removed.append(pad)
            added.append((new, node))
            # zeros and minus infinity are what padding adds: the map has no other integers
            own = rounded.get(pad.outputs[0])
            if own is not None and own == rounded.get(pad.inputs[0]):
                del rounded[pad.outputs[0]]
    network = replace(network, quantisations=rounded)
    return rewritten(network, removed, added), tuple(new.name for new, _ in added)


def _rewrite(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    """Fold until no Pad is left that can be: a window may stand behind several."""
    changed: dict[str, None] = {}
    while True:
        network, names = _once(network)
        if not names:
            return network, tuple(changed)
        changed.update(dict.fromkeys(names))


PADDING = Pass(
    "padding",
    before=(
        "rows and columns may be padded by a Pad of their own, of constant extents, whose result "
        "one Conv, AveragePool or MaxPool alone reads"
    ),
    after=(
        "padding by zeros is part of the Conv, or of the AveragePool that counts it, padding by "
        "minus infinity part of the MaxPool, all with explicit pads"
    ),
    rewrite=_rewrite,
)
