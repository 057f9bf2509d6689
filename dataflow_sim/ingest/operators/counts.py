"""MACs of a node from its shapes alone, operator by operator.

One MAC is one multiplication with its addition.  Counted are convolutions, matrix products,
attention and recurrent layers, multiplications by zero padding included; biases,
normalisations, activations and interpolation are not, as the literature counts.
"""

from __future__ import annotations

from math import prod

from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.operators.row import Macs, Shapes

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _convolution(node: Node, shapes: Shapes) -> int:
    return prod(shapes[node.outputs[0]]) * prod(shapes[node.inputs[1]][1:])


def _transposed_convolution(node: Node, shapes: Shapes) -> int:
    return prod(shapes[node.inputs[0]]) * prod(shapes[node.inputs[1]][1:])


def _product(node: Node, shapes: Shapes) -> int:
    reduced = shapes[node.inputs[0]][0 if node.attributes.get("transA") else -1]
    return prod(shapes[node.outputs[0]]) * reduced


def _attention(node: Node, shapes: Shapes) -> int:
    batch, heads, queries, depth = shapes[node.inputs[0]]
    keys, values = shapes[node.inputs[1]], shapes[node.inputs[2]]
    return batch * heads * queries * keys[2] * (depth + values[3])


def _standard_attention(node: Node, shapes: Shapes) -> int:
    """ONNX's operator: heads apart (rank 4) or side by side (rank 3), maybe behind a past."""
    query, key, value = (shapes[name] for name in node.inputs[:3])
    past = node.inputs[4] if len(node.inputs) > 4 else ""
    keys = key[-2] + (shapes[past][-2] if past else 0)
    if len(query) == 4:
        batch, heads, queries, depth = query
        return batch * heads * queries * keys * (depth + value[3])
    heads, groups = (int(str(node.attributes[f"{kind}_num_heads"])) for kind in ("q", "kv"))
    return query[0] * query[1] * keys * (query[2] + heads * value[2] // groups)


def _recurrent(node: Node, shapes: Shapes) -> int:
    first, second, _ = shapes[node.inputs[0]]
    _, gates, inputs = shapes[node.inputs[1]]
    hidden = gates // _GATES[node.op]
    directions = shapes[node.inputs[1]][0]
    return first * second * directions * gates * (inputs + hidden)


def _einsum(node: Node, shapes: Shapes) -> int:
    """One MAC for each combination of indices, where two or more arrays are multiplied."""
    if len(node.inputs) < 2:
        return 0
    equation = str(node.attributes.get("equation", "")).replace(" ", "").partition("->")[0]
    extents: dict[str, int] = {}
    for term, name in zip(equation.split(","), node.inputs, strict=True):
        shape = shapes[name]
        before, dots, after = term.partition("...")
        hidden = len(shape) - len(before) - len(after) if dots else 0
        labels = [*before, *(f".{place}" for place in range(hidden, 0, -1)), *after]
        for label, extent in zip(labels, shape, strict=True):
            extents[label] = max(extents.get(label, 1), extent)
    return prod(extents.values()) * (len(node.inputs) - 1)


CONVOLUTION = Macs("output elements x kernel elements of an output channel", _convolution)
TRANSPOSED_CONVOLUTION = Macs(
    "input elements x kernel elements of an input channel", _transposed_convolution
)
PRODUCT = Macs("output elements x elements reduced", _product)
ATTENTION = Macs("heads x queries x keys x (key depth + value depth)", _attention)
STANDARD_ATTENTION = Macs(ATTENTION.formula, _standard_attention)
RECURRENT = Macs("steps x batch x directions x gates x hidden x (inputs + hidden)", _recurrent)
EINSUM = Macs("product of the extents of all indices", _einsum)
