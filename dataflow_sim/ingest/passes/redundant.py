"""Nodes that change nothing vanish: their readers read what they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.contract import Pass
from dataflow_sim.ingest.rewriting import NodeIndex, casts_to_float, is_whole

# Operators that exist for floating-point maps only
_FLOAT_OPS = frozenset(
    (
        *("Conv", "ConvTranspose", "BatchNormalization", "LayerNormalization", "LRN"),
        *("InstanceNormalization", "GroupNormalization", "RMSNormalization", "Dropout"),
        *("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "DequantizeLinear", "Softmax"),
        *("LogSoftmax", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Gelu", "Mish", "Elu"),
        *("Selu", "Celu", "LeakyRelu", "Softplus", "Softsign", "ThresholdedRelu", "Tanh", "Erf"),
        *("Exp", "Log", "Sqrt", "Reciprocal", "Sin", "Cos", "Floor", "Ceil", "LSTM", "GRU", "RNN"),
    )
)
# Operators whose result has the type of their inputs, or of the map that they take from
_SAME_TYPE_OPS = frozenset(
    (
        *("Add", "Sub", "Mul", "Div", "Pow", "Neg", "Abs", "Max", "Min", "Sum", "Mean", "Clip"),
        *("Relu", "PRelu", "MatMul", "Gemm", "MaxPool", "ReduceMean", "ReduceMax", "ReduceMin"),
        *("ReduceSum", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"),
        *("Expand", "Tile", "Pad", "Concat", "Split", "Slice", "Gather", "Resize"),
    )
)
_LARGEST_FLOAT = 3.4028234663852886e38
_UNSTATED_BITS = 32


def _floats(network: ResolvedNetwork) -> frozenset[str]:
    """Names that are certain to be floating-point."""
    found = {
        name
        for name, constant in network.constants.items()
        if (
            "float" in constant.value.dtype.name
            if constant.value is not None
            else constant.real and network.bits.get(name, 32) > 8
        )
    }
    for node in network.nodes:
        same = node.op in _SAME_TYPE_OPS and any(name in found for name in node.inputs[:2])
        if node.op in _FLOAT_OPS or casts_to_float(node) or same:
            # further results are masks and places, but for the parts of a Split
            found.update(node.outputs if node.op == "Split" else node.outputs[:1])
    return frozenset(found)


class _Judge:
    """Tells which input of a node its result is, element by element, if any."""

    def __init__(self, network: ResolvedNetwork) -> None:
        self.network = network
        self.index = NodeIndex(network)
        self.floats = _floats(network)
        self.rules: Mapping[str, Callable[[Node], str | None]] = {
            "Identity": _first,
            "Dropout": self._dropout,
            "Cast": self._cast,
            "Mul": lambda node: self._neutral(node, 1, either=True),
            "Add": lambda node: self._neutral(node, 0, either=True),
            "Div": lambda node: self._neutral(node, 1),
            "Sub": lambda node: self._neutral(node, 0),
            "Pow": lambda node: self._neutral(node, 1),
            "Clip": self._clip,
            "Concat": lambda node: _first(node) if len(node.inputs) == 1 else None,
            "Transpose": self._transpose,
            "Reshape": _first,
            "Expand": _first,
            "Pad": self._pad,
        }

    def same(self, node: Node) -> str | None:
        """The input that the node's first result equals; None if there is none."""
        rule = self.rules.get(node.op)
        if rule is None or not is_whole(node):
            return None
        if any(name in self.index.outputs for name in node.outputs):
            return None
        if any(name in self.index.readers for name in node.outputs[1:]):
            return None
        kept = rule(node)
        if kept is None or self.index.shape(kept) != self.index.shape(node.outputs[0]):
            return None
        return kept if self.rounds_alike(node, kept) or self.can_round(node, kept) else None

    def rounds_alike(self, node: Node, kept: str) -> bool:
        """Whether a node's result is rounded to no other integers than the input that it equals."""
        rounded = self.network.quantisations
        own = rounded.get(node.outputs[0])
        return own is None or own == rounded.get(kept)

    def can_round(self, node: Node, kept: str) -> bool:
        """Whether the input that a node's result equals can be rounded in place of the result."""
        alone = self.index.sole_reader(kept) is node and kept in self.index.producers
        return alone and kept not in self.network.quantisations

    def _neutral(self, node: Node, number: int, *, either: bool = False) -> str | None:
        first, second = node.inputs
        if self.index.scalar(second) == number:
            return first
        return second if either and self.index.scalar(first) == number else None

    def _dropout(self, node: Node) -> str | None:
        """Any but one that the file wants to train."""
        training = node.inputs[2] if len(node.inputs) > 2 else ""
        return _first(node) if not training or self.index.scalar(training) == 0 else None

    def _clip(self, node: Node) -> str | None:
        low, high = self.index.limits(node)
        if low is None or high is None:
            return None
        return _first(node) if low <= -_LARGEST_FLOAT and high >= _LARGEST_FLOAT else None

    def _transpose(self, node: Node) -> str | None:
        rank = len(self.index.shape(node.inputs[0]))
        order = node.attributes.get("perm", tuple(range(rank))[::-1])
        return _first(node) if order == tuple(range(rank)) else None

    def _pad(self, node: Node) -> str | None:
        pads = self.index.steering(node, 1, "pads")
        return _first(node) if pads is not None and not any(pads) else None

    def _cast(self, node: Node) -> str | None:
        """Between floats; to fewer bits only where nothing keeps the map in more of them."""
        name = node.inputs[0]
        if not casts_to_float(node) or name not in self.floats:
            return None
        alone = self.index.sole_reader(name) is node and name in self.index.producers
        return name if alone or not self.narrows(node) else None

    def narrows(self, node: Node) -> bool:
        """Whether a node's result has fewer bits than its first input."""
        before, after = node.inputs[0], node.outputs[0]
        return self._width(after) < self._width(before)

    def _width(self, name: str) -> int:
        return self.network.bits.get(name, _UNSTATED_BITS)


def _first(node: Node) -> str:
    return node.inputs[0]


def _rewrite(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    judge = _Judge(network)
    bits, rounded = dict(network.bits), dict(network.quantisations)
    instead: dict[str, str] = {}
    nodes: list[Node] = []
    changed: list[str] = []
    for node in network.nodes:
        kept = judge.same(node)
        rounding = kept is not None and not judge.rounds_alike(node, kept)
        narrowing = kept is not None and (rounding or (node.op == "Cast" and judge.narrows(node)))
        if kept is None or (narrowing and kept in instead):
            inputs = tuple(instead.get(name, name) for name in node.inputs)
            nodes.append(node if inputs == node.inputs else replace(node, inputs=inputs))
            continue
        if narrowing:  # the map is written in the width that its only reader wants
            bits[kept] = bits.get(node.outputs[0], _UNSTATED_BITS)
        own = rounded.pop(node.outputs[0], None)
        if rounding and own is not None:
            rounded[kept] = own
        instead[node.outputs[0]] = instead.get(kept, kept)
        changed.append(node.name)
    found = replace(network, nodes=tuple(nodes), bits=bits, quantisations=rounded)
    return found, tuple(changed)


REDUNDANT = Pass(
    "redundant",
    before=(
        "nodes may repeat one of their inputs: Mul, Div or Pow by 1, Add or Sub of 0, Clip "
        "without limits, Concat of one map, Transpose in the same order, Reshape or Expand to the "
        "same shape, Pad by nothing, Cast between floating-point types, Identity, Dropout"
    ),
    after=(
        "no such node is left but those that write an output of the network, casts to fewer bits "
        "of a map that is also read in more, and those whose result alone is rounded to integers; "
        "readers read what the node read"
    ),
    rewrite=_rewrite,
)
