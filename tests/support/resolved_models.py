"""Resolved networks as ONNX models, so that onnx's own evaluator says what they compute.

Constants whose values the file does not carry are drawn, each by a seed made of its name: two
networks that name the same constant read the same numbers, whatever a pass did in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from dataflow_sim.graph.network import Constant
from dataflow_sim.ingest.network import Node, ResolvedNetwork

Array = npt.NDArray[Any]

ROTARY = "dataflow_sim::RotaryEmbedding"
ATTENTION = "dataflow_sim::Attention"

# Operators that a file of an older operator set may come to need, and their first version
FIRST_VERSIONS = {
    "LayerNormalization": 17,
    "Mish": 18,
    "HardSwish": 14,
    "Gelu": 20,
    "RMSNormalization": 23,
    ROTARY: 23,
    ATTENTION: 23,
    "Swish": 24,
}
# Between the versions of one range no operator changed what its old attributes and inputs mean,
# but for GroupNormalization, whose scale and bias became one per channel at 21
RANGES = ((13, 17), (20, 24))
# Operators, and those of their inputs that are Boolean, or integers
_CHOICES = (("Where", 0), ("And", 0), ("And", 1), ("Or", 0), ("Or", 1), ("Not", 0))
_STEERING = tuple(
    (op, position)
    for op in ("Gather", "GatherElements", "GatherND", "Reshape", "Expand", "Slice", "Tile", "Pad")
    for position in range(1, 5)
)
# Operators that hand their first input's integers on, so that an index may come through them
_MOVING = ("Reshape", "Unsqueeze", "Squeeze", "Identity", "Flatten", "Transpose", "Expand")


def model_of(network: ResolvedNetwork) -> onnx.ModelProto:
    """An ONNX model that computes what the network computes; all constants are initialisers.

    Raises ValueError for an operator of another domain than ONNX's and our own, or if the
    network's operator set would have to become one in which its nodes mean something else.
    """
    expansion = _Expansion(network)
    nodes = [made for node in network.nodes for made in expansion.expand(node)]
    values = {**constants_of(network), **expansion.constants}
    read = {name for node in nodes for name in node.input} | set(network.outputs)
    written = {name for node in nodes for name in node.output}
    rows = _indices(network)
    feeds = {
        name: TensorProto.INT64 if name in rows else TensorProto.FLOAT for name in network.inputs
    }
    graph = helper.make_graph(
        nodes,
        "resolved",
        [
            helper.make_tensor_value_info(name, kind, network.shapes[name])
            for name, kind in feeds.items()
        ],
        [
            helper.make_empty_tensor_value_info(name)
            for name in network.outputs
            if name in written or name in feeds
        ],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in values.items()
            if name in read
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _version(network))])


def inputs_of(network: ResolvedNetwork, seed: int = 0) -> dict[str, Array]:
    """Values for all inputs: standard normal floats, or legal indices where rows are picked."""
    rows = _indices(network)
    found: dict[str, Array] = {}
    for position, name in enumerate(network.inputs):
        generator = np.random.default_rng((seed, position))
        shape = network.shapes[name]
        if name in rows:
            found[name] = generator.integers(0, rows[name], shape, np.int64)
        else:
            found[name] = generator.standard_normal(shape).astype(np.float32)
    return found


def constants_of(network: ResolvedNetwork) -> dict[str, Array]:
    """Values of all constants: their own, else small floats drawn by the constant's name."""
    positive = {
        node.inputs[4]
        for node in network.nodes
        if node.op == "BatchNormalization" and len(node.inputs) > 4
    }
    uses = {
        name: (node.op, position)
        for node in network.nodes
        for position, name in enumerate(node.inputs)
        if name in network.constants
    }
    return {
        name: _drawn(constant, uses.get(name, ("", 0)), name in positive)
        if constant.value is None
        else constant.value
        for name, constant in network.constants.items()
    }


def evaluate(network: ResolvedNetwork, seed: int = 0) -> dict[str, Array]:
    """All outputs of the network, by name, on the inputs of that seed."""
    model = model_of(network)
    names = [value.name for value in model.graph.output]
    with np.errstate(over="ignore", invalid="ignore"):  # in branches that are not taken
        results = ReferenceEvaluator(model).run(names, inputs_of(network, seed))
    return {name: np.asarray(result) for name, result in zip(names, results, strict=True)}


def _drawn(constant: Constant, use: tuple[str, int], positive: bool) -> Array:
    """Floats, but for what the file itself has no floats for and an operator wants none of.

    A constant that is computed from integers may be either: `real` is False for both.
    """
    if not constant.real and use in _CHOICES:
        return np.zeros(constant.shape, np.bool_)
    if not constant.real and use in _STEERING:
        return np.zeros(constant.shape, np.int64)
    generator = np.random.default_rng(crc32(constant.name.encode()))
    drawn = 0.3 * generator.standard_normal(constant.shape).astype(np.float32)
    return (np.abs(drawn) + np.float32(0.1) if positive else drawn).astype(np.float32)


def _indices(network: ResolvedNetwork) -> dict[str, int]:
    """Names that hold row numbers, and how many rows there are to pick from."""
    rows: dict[str, int] = {}
    for node in reversed(network.nodes):
        if node.op == "Gather":
            table = network.shapes[node.inputs[0]]
            axis = node.attributes.get("axis", 0)
            assert isinstance(axis, int)
            rows[node.inputs[1]] = table[axis % len(table)]
        elif node.op in _MOVING and node.outputs[0] in rows:
            rows[node.inputs[0]] = rows[node.outputs[0]]
    return rows


def _version(network: ResolvedNetwork) -> int:
    needed = max(
        [network.opset] + [FIRST_VERSIONS[n.op] for n in network.nodes if n.op in FIRST_VERSIONS]
    )
    harmless = any(low <= network.opset and needed <= high for low, high in RANGES)
    grouped = any(node.op == "GroupNormalization" for node in network.nodes)
    if needed > network.opset and (grouped or not harmless):
        raise ValueError(
            f"{network.name}: its operators need operator set {needed}, and those of its own "
            f"({network.opset}) may mean something else there; build it at 20 or newer"
        )
    return needed


class _Expansion:
    """Nodes of a network as nodes of ONNX; keeps the constants that this takes."""

    def __init__(self, network: ResolvedNetwork) -> None:
        self.network = network
        self.values: Mapping[str, Array] = constants_of(network)
        self.constants: dict[str, Array] = {}
        self.expansions: Mapping[str, Callable[[Node], list[onnx.NodeProto]]] = {
            ROTARY: self._rotary,
            ATTENTION: self._attention,
            "RMSNormalization": self._normalization,
            "LayerNormalization": self._normalization,
        }

    def expand(self, node: Node) -> list[onnx.NodeProto]:
        """What a node is made of."""
        own = self.expansions.get(node.op)
        if own is None:
            if "::" in node.op:
                raise ValueError(f"{self.network.name}: '{node.name}' ({node.op}) has no ONNX form")
            return [_standard(node, node.inputs)]
        return own(node)

    def _constant(self, name: str, value: Array) -> str:
        assert name not in self.network.shapes
        self.constants[name] = value
        return name

    def _normalization(self, node: Node) -> list[onnx.NodeProto]:
        inputs = list(node.inputs)
        if not inputs[1]:
            shape = self.network.shapes[inputs[0]]
            axis = node.attributes.get("axis", -1)
            assert isinstance(axis, int)
            ones = np.ones(shape[axis % len(shape) :], np.float32)
            inputs[1] = self._constant(f"{node.outputs[0]}/ones", ones)
        return [_standard(node, tuple(inputs))]

    def _rotary(self, node: Node) -> list[onnx.NodeProto]:
        tables = (self._half_table(node, name) for name in node.inputs[1:3])
        caches = [table for table in tables if table is not None]
        if len(self.network.shapes[node.inputs[0]]) != 4 or len(caches) != 2:
            return self._rotary_by_formula(node)
        names = [
            self._constant(f"{node.outputs[0]}/cache{position}", cache)
            for position, cache in enumerate(caches)
        ]
        return [helper.make_node("RotaryEmbedding", [node.inputs[0], *names], node.outputs)]

    def _half_table(self, node: Node, name: str) -> Array | None:
        """A constant table of (T, D) whose halves agree as (B, T, D/2); else None."""
        if name not in self.values:
            return None
        batch, _, length, depth = (1, 1, 1, *self.network.shapes[node.inputs[0]])[-4:]
        table = self.values[name]
        if table.size != length * depth or table.shape[-2:] != (length, depth):
            return None
        table = table.reshape(length, depth)
        low, high = np.split(table, 2, axis=-1)
        if not np.array_equal(low, high):
            return None
        return np.broadcast_to(low, (batch, *low.shape)).copy()

    def _rotary_by_formula(self, node: Node) -> list[onnx.NodeProto]:
        x, cos, sin = node.inputs
        end = node.outputs[0]
        half = self.network.shapes[x][-1] // 2
        sizes = self._constant(f"{end}/halves", np.array([half, half], np.int64))
        return [
            helper.make_node("Split", [x, sizes], [f"{end}/low", f"{end}/high"], axis=-1),
            helper.make_node("Neg", [f"{end}/high"], [f"{end}/negated"]),
            helper.make_node(
                "Concat", [f"{end}/negated", f"{end}/low"], [f"{end}/rotated"], axis=-1
            ),
            helper.make_node("Mul", [x, cos], [f"{end}/kept"]),
            helper.make_node("Mul", [f"{end}/rotated", sin], [f"{end}/turned"]),
            helper.make_node("Add", [f"{end}/kept", f"{end}/turned"], [end]),
        ]

    def _attention(self, node: Node) -> list[onnx.NodeProto]:
        query, key, value, *masks = node.inputs
        end = node.outputs[0]
        batch, heads, length, _ = self.network.shapes[query]
        assert heads % self.network.shapes[key][1] == 0
        full = (batch, heads, length, self.network.shapes[key][2])
        nodes: list[onnx.NodeProto] = []
        total = ""
        for position, mask in enumerate(name for name in masks if name):
            if not total:
                total = mask
                continue
            nodes.append(helper.make_node("Add", [total, mask], [f"{end}/masks{position}"]))
            total = f"{end}/masks{position}"
        if total:
            shape = self._constant(f"{end}/full", np.array(full, np.int64))
            nodes.append(helper.make_node("Expand", [total, shape], [f"{end}/mask"]))
            total = f"{end}/mask"
        inputs = [query, key, value, total] if total else [query, key, value]
        scale, causal = node.attributes["scale"], node.attributes.get("is_causal", 0)
        nodes.append(helper.make_node("Attention", inputs, [end], scale=scale, is_causal=causal))
        return nodes


def _standard(node: Node, inputs: tuple[str, ...]) -> onnx.NodeProto:
    made = helper.make_node(node.op, inputs, node.outputs, node.name)
    for name, value in sorted(node.attributes.items()):
        if value == ():
            continue
        made.attribute.append(helper.make_attribute(name, value))
    return made
