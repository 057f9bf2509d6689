"""A LLaMA-class decoder as an exporter writes it before anything simplifies it.

Every reshape computes its shape from the shapes of its inputs (Shape, Gather, Unsqueeze,
Concat), constants are nodes, normalisation and rotary embedding are primitives, keys and
values are joined to a cache and repeated for grouped queries through Expand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
Array = npt.NDArray[np.generic]
Dimensions = Sequence[int | str]


@dataclass(frozen=True)
class Sizes:
    """What a decoder measures; `head` is the width of one head."""

    width: int = 4096
    heads: int = 32
    key_heads: int = 8
    hidden: int = 14336
    vocabulary: int = 32000
    positions: int = 4096

    @property
    def head(self) -> int:
        return self.width // self.heads

    def macs(self, layers: int, batch: int, sequence: int, past: int) -> int:
        """Multiplications of all matrix products, scores and weighted sums included."""
        kept = self.key_heads * self.head
        projections = 2 * self.width * self.width + 2 * self.width * kept
        gates = 3 * self.width * self.hidden
        attention = 2 * sequence * (past + sequence) * self.width
        tokens = batch * sequence
        each = tokens * (projections + gates) + batch * attention
        return layers * each + tokens * self.width * self.vocabulary


@dataclass
class _Writer:
    """Nodes under construction; every method returns the name of what it wrote."""

    sizes: Sizes
    seed: int | None
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    known: dict[tuple[bytes, Any, tuple[int, ...]], str] = field(default_factory=dict)
    offset: int = 0

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"/{op}_{len(self.nodes)}"
        attributes.setdefault("name", name)
        made = helper.make_node(op, list(inputs), [f"{name}_output_0"], **attributes)
        self.nodes.append(made)
        return str(made.output[0])

    def constant(self, value: object, kind: type[np.generic] = np.int64) -> str:
        """A node that gives a constant; one node for all that are equal."""
        array = np.array(value, kind)
        key = (array.tobytes(), array.dtype, array.shape)
        if key not in self.known:
            self.known[key] = self.node("Constant", value=numpy_helper.from_array(array))
        return self.known[key]

    def weight(self, name: str, *dims: int) -> str:
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
        if self.seed is None:
            length = 4 * prod(dims)
            tensor.data_location = TensorProto.EXTERNAL
            keys = {"location": "decoder.onnx_data", "offset": self.offset, "length": length}
            for key, value in keys.items():
                tensor.external_data.add(key=key, value=str(value))
            self.offset += length
        else:
            generator = np.random.default_rng((self.seed, len(self.weights)))
            tensor.raw_data = generator.standard_normal(dims).astype("<f4").tobytes()
        self.weights.append(tensor)
        return name

    def extent(self, value: str, axis: int) -> str:
        """One extent of a value, as a number without axes."""
        return self.node("Gather", self.node("Shape", value), self.constant(axis), axis=0)

    def shape(self, *extents: str | int) -> str:
        """Extents, computed or known, joined to a shape."""
        parts = [
            self.constant([extent])
            if isinstance(extent, int)
            else self.node("Unsqueeze", extent, self.constant([0]))
            for extent in extents
        ]
        return self.node("Concat", *parts, axis=0)

    def reshape(self, value: str, *extents: str | int) -> str:
        return self.node("Reshape", value, self.shape(*extents))

    def slice(self, value: str, start: str | int, end: str | int, axis: int) -> str:
        bounds = [self.shape(start), self.shape(end)]
        return self.node("Slice", value, *bounds, self.constant([axis]), self.constant([1]))

    def norm(self, value: str, name: str) -> str:
        """Normalisation by the root of the mean of squares, in primitives, between casts."""
        value = self.node("Cast", value, to=1)
        square = self.node("Pow", value, self.constant(2, np.float32))
        mean = self.node("ReduceMean", square, axes=[-1], keepdims=1)
        root = self.node("Sqrt", self.node("Add", mean, self.constant(1e-5, np.float32)))
        value = self.node("Mul", value, self.node("Div", self.constant(1, np.float32), root))
        return self.node("Mul", self.weight(name, self.sizes.width), self.node("Cast", value, to=1))

    def linear(self, value: str, name: str, width: int, outputs: int) -> str:
        return self.node("MatMul", value, self.weight(name, width, outputs))

    def expand(self, value: str, shape: str) -> str:
        """Expand, guarded as exporters do: an extent of -1 keeps what there is."""
        rank = self.node("Shape", shape)
        one = numpy_helper.from_array(np.array([1], np.int64))
        ones = self.node("ConstantOfShape", rank, value=one)
        kept = self.node("Mul", ones, self.constant(-1))
        chosen = self.node("Where", self.node("Equal", shape, kept), ones, shape)
        return self.node("Expand", value, chosen)


@dataclass(frozen=True)
class _Shared:
    """What all layers read: names of values."""

    positions: str
    mask: str
    cosine: str
    sine: str


def _heads(net: _Writer, value: str, source: str, heads: int) -> str:
    """(batch, sequence, heads × head) as (batch, heads, sequence, head)."""
    batch, sequence = net.extent(source, 0), net.extent(source, 1)
    split = net.reshape(value, batch, sequence, heads, net.sizes.head)
    return net.node("Transpose", split, perm=[0, 2, 1, 3])


def _rotate(net: _Writer, value: str, cosine: str, sine: str) -> str:
    """Rotary embedding: x·cos + [−x₂, x₁]·sin, halves found from the shape."""
    half = net.node("Div", net.extent(value, 3), net.constant(2))
    half = net.node("Cast", net.node("Cast", half, to=7), to=7)
    first = net.slice(value, 0, half, 3)
    second = net.slice(value, half, 2**63 - 1, 3)
    turned = net.node("Concat", net.node("Neg", second), first, axis=-1)
    return net.node("Add", net.node("Mul", value, cosine), net.node("Mul", turned, sine))


def _angles(net: _Writer, table: str, total: str, positions: str) -> str:
    """The rows of a table of angles that the positions name, with an axis for the heads."""
    rows = net.node("Gather", net.slice(table, 0, total, 0), positions, axis=0)
    return net.node("Cast", net.node("Unsqueeze", rows, net.constant([1])), to=1)


def _repeat(net: _Writer, value: str) -> str:
    """Each head of keys or values once for every head of queries that shares it."""
    extents = [net.extent(value, axis) for axis in range(4)]
    batch, heads, total, head = extents
    repeats = net.sizes.heads // net.sizes.key_heads
    spread = net.node("Unsqueeze", value, net.constant([2]))
    spread = net.expand(spread, net.shape(batch, heads, repeats, total, head))
    return net.reshape(spread, batch, net.node("Mul", heads, net.constant(repeats)), total, head)


def _attention(net: _Writer, value: str, layer: str, shared: _Shared) -> tuple[str, str, str]:
    """The attention of a layer, and its cache of keys and values afterwards."""
    sizes = net.sizes
    kept = sizes.key_heads * sizes.head
    queries = net.linear(value, f"{layer}.q_proj", sizes.width, sizes.width)
    keys = net.linear(value, f"{layer}.k_proj", sizes.width, kept)
    values = net.linear(value, f"{layer}.v_proj", sizes.width, kept)
    queries = _heads(net, queries, value, sizes.heads)
    keys = _heads(net, keys, value, sizes.key_heads)
    values = _heads(net, values, value, sizes.key_heads)
    total = net.node("Add", net.extent(keys, 2), net.extent(f"past.{layer}.key", 2))
    cosine = _angles(net, shared.cosine, total, shared.positions)
    sine = _angles(net, shared.sine, total, shared.positions)
    queries, keys = _rotate(net, queries, cosine, sine), _rotate(net, keys, cosine, sine)
    keys = net.node("Concat", f"past.{layer}.key", keys, axis=2)
    values = net.node("Concat", f"past.{layer}.value", values, axis=2)
    turned = net.node("Transpose", _repeat(net, keys), perm=[0, 1, 3, 2])
    scores = net.node("MatMul", queries, turned)
    scores = net.node("Div", scores, net.constant(sizes.head**0.5, np.float32))
    scores = net.node("Cast", net.node("Add", scores, shared.mask), to=1)
    weights = net.node("Cast", net.node("Softmax", scores, axis=-1), to=1)
    joined = net.node("MatMul", weights, _repeat(net, values))
    joined = net.node("Transpose", joined, perm=[0, 2, 1, 3])
    joined = net.reshape(joined, net.extent(value, 0), net.extent(value, 1), -1)
    return net.linear(joined, f"{layer}.o_proj", sizes.width, sizes.width), keys, values


def _mask(net: _Writer) -> str:
    """0 where a query may look, a large negative number elsewhere: (batch, 1, queries, keys)."""
    batch, total = net.extent("attention_mask", 0), net.extent("attention_mask", 1)
    sequence = net.extent("input_ids", 1)
    zero, one = net.constant(0), net.constant(1)
    past = net.node("Sub", total, sequence)
    queries = net.node("Range", past, total, one)
    queries = net.node("Unsqueeze", queries, net.constant([1]))
    keys = net.node("Unsqueeze", net.node("Range", zero, total, one), net.constant([0]))
    later = net.node("Greater", keys, queries)
    hidden = net.node("Equal", net.node("Unsqueeze", "attention_mask", net.constant([1, 2])), zero)
    hidden = net.expand(hidden, net.shape(batch, 1, sequence, total))
    barred = net.node("Or", hidden, later)
    low, none = net.constant(-3e38, np.float32), net.constant(0, np.float32)
    return net.node("Where", barred, low, none)


def _tables(net: _Writer) -> tuple[str, str]:
    """Cosine and sine of all positions, (positions, head), computed in the graph."""
    head = net.sizes.head
    powers = np.arange(0, head, 2) / head
    steps = net.constant(1 / 10000.0**powers, np.float32)
    last = net.constant(net.sizes.positions)
    positions = net.node("Range", net.constant(0), last, net.constant(1))
    positions = net.node("Unsqueeze", net.node("Cast", positions, to=1), net.constant([1]))
    angles = net.node("Mul", positions, net.node("Unsqueeze", steps, net.constant([0])))
    angles = net.node("Concat", angles, angles, axis=-1)
    return net.node("Cos", angles), net.node("Sin", angles)


def _layer(net: _Writer, value: str, layer: str, shared: _Shared) -> tuple[str, str, str]:
    """One layer: attention and gated projections, each behind a norm and beside a shortcut."""
    sizes = net.sizes
    normal = net.norm(value, f"{layer}.input_norm")
    found, keys, values = _attention(net, normal, layer, shared)
    value = net.node("Add", value, found)
    normal = net.norm(value, f"{layer}.post_norm")
    gate = net.linear(normal, f"{layer}.gate_proj", sizes.width, sizes.hidden)
    gate = net.node("Mul", gate, net.node("Sigmoid", gate))
    above = net.linear(normal, f"{layer}.up_proj", sizes.width, sizes.hidden)
    above = net.node("Mul", gate, above)
    below = net.linear(above, f"{layer}.down_proj", sizes.hidden, sizes.width)
    return net.node("Add", value, below), keys, values


def decoder(
    layers: int = 32, sizes: Sizes | None = None, seed: int | None = None
) -> onnx.ModelProto:
    """A decoder with a key-value cache; symbolic `batch`, `sequence`, `past`, `total`.

    `total` is past + sequence.  Without a seed the weights are external data in a file
    that does not exist; with one they are in the model, drawn from the seed.
    """
    sizes = sizes or Sizes()
    net = _Writer(sizes, seed)
    cosine, sine = _tables(net)
    shared = _Shared("position_ids", _mask(net), cosine, sine)
    table = net.weight("embedding", sizes.vocabulary, sizes.width)
    value = net.node("Gather", table, "input_ids", axis=0)
    integers, floats = TensorProto.INT64, TensorProto.FLOAT
    inputs: list[tuple[str, int, Dimensions]] = [
        ("input_ids", integers, ("batch", "sequence")),
        ("attention_mask", integers, ("batch", "total")),
        ("position_ids", integers, ("batch", "sequence")),
    ]
    outputs: list[tuple[str, int, Dimensions]] = []
    for number in range(layers):
        cache = {"key": "", "value": ""}
        value, cache["key"], cache["value"] = _layer(net, value, str(number), shared)
        for what, name in cache.items():
            kept: list[int | str] = ["batch", sizes.key_heads, "past", sizes.head]
            inputs.append((f"past.{number}.{what}", floats, kept))
            outputs.append((f"present.{number}.{what}", floats, [*kept[:2], "total", sizes.head]))
            present = helper.make_node("Identity", [name], [outputs[-1][0]])
            net.nodes.append(present)
    value = net.linear(net.norm(value, "norm"), "lm_head", sizes.width, sizes.vocabulary)
    net.nodes.append(helper.make_node("Identity", [value], ["logits"]))
    outputs.insert(0, ("logits", floats, ("batch", "sequence", sizes.vocabulary)))
    graph = helper.make_graph(
        net.nodes,
        "decoder",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
        net.weights,
    )
    imports = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)
