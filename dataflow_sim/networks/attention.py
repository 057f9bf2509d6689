"""Attention and what stands around it, in the operators that exporters write.

    query (1, H, T, D) ─ MatMul ─ key (1, G, S, D) transposed ─► scaled, masked ─► Softmax
                                                        ─ MatMul ─ value (1, G, S, E)

The reader puts the products together again (`ingest.passes.attention`): scores stay where they
are made, and each head of keys and values is there once.  Dropout is left out everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import Parameter

_HEADS_SECOND = (0, 2, 1, 3)
_DEEPEST = 128

# name of a layer, its queries, keys and values to what attention finds
Attend = Callable[[str, str, str, str], str]


def depth(default: int) -> Parameter:
    """How many layers a transformer stacks."""
    return Parameter("layers", default, 1, _DEEPEST, "layers stacked")


def cache_length(most: int) -> Parameter:
    """How many tokens came before the one that is decoded."""
    return Parameter("cache", most, 1, most, "valid positions of the cache")


def rows_of(net: OnnxBuilder, name: str, table: Sequence[int], start: int, count: int) -> str:
    """`count` rows from `start` on of a learned table of this shape, such as positions."""
    return net.slice(name, net.weight(f"{name}.weight", table), 0, start, start + count)


def first_token(net: OnnxBuilder, name: str, value: str) -> str:
    """The features of the first token: (1, T, F) to (1, F)."""
    place = net.constant(f"{name}.place", 0, np.int64)
    return net.node("Gather", name, [value, place], axis=1)


def heads_apart(net: OnnxBuilder, name: str, value: str, heads: int) -> str:
    """Features as heads: (1, T, H x D) to (1, H, T, D)."""
    batch, tokens, features = net.shape(value)
    apart = net.reshape(f"{name}.apart", value, (batch, tokens, heads, features // heads))
    return net.transpose(name, apart, _HEADS_SECOND)


def projected_heads(
    net: OnnxBuilder, name: str, value: str, heads: int, features: int, *, bias: bool = True
) -> str:
    """Heads of as many features of a matrix product: (1, T, F) to (1, heads, T, features)."""
    value = net.linear(name, value, heads * features, bias=bias)
    return heads_apart(net, f"{name}.heads", value, heads)


def packed_heads(net: OnnxBuilder, name: str, value: str, heads: int) -> list[str]:
    """Query, key and value of one matrix product with bias, their heads apart."""
    width = net.shape(value)[-1]
    parts = net.split(f"{name}.parts", net.linear(name, value, 3 * width), [width] * 3, axis=2)
    labels = ("query", "key", "value")
    return [
        heads_apart(net, f"{name}.{label}", part, heads)
        for label, part in zip(labels, parts, strict=True)
    ]


def with_cache(net: OnnxBuilder, name: str, value: str, cache: int) -> str:
    """Heads behind those of `cache` earlier tokens, an input: (1, G, cache + T, D)."""
    batch, heads, _, features = net.shape(value)
    past = net.input(f"past.{name}", (batch, heads, cache, features))
    return net.concat(f"present.{name}", [past, value], axis=2)


def causal_mask(net: OnnxBuilder, name: str, tokens: int) -> str:
    """Where a token may look: at itself and those before it, (T, T) of truth values."""
    columns = net.whole_numbers(f"{name}.positions", range(tokens))
    rows = net.reshape(f"{name}.rows", columns, (tokens, 1))
    return net.node("LessOrEqual", name, [columns, rows])


def _one_for_all(net: OnnxBuilder, value: str) -> tuple[int, ...]:
    """The shape in which a head stands before all queries of its group."""
    batch, groups, *inner = net.shape(value)
    return batch, groups, 1, *inner


def attention(
    net: OnnxBuilder, name: str, query: str, key: str, value: str, mask: str | None = None
) -> str:
    """Scaled dot product attention of heads that stand apart, heads joined: (1, T, H x E).

    Fewer heads of keys and values than of queries each serve as many neighbours.
    """
    batch, heads, tokens, features = net.shape(query)
    groups = net.shape(key)[1]
    turned = net.transpose(f"{name}.key", key, (0, 1, 3, 2))
    if groups < heads:
        shared = (batch, groups, heads // groups, tokens, features)
        query = net.reshape(f"{name}.query.groups", query, shared)
        turned = net.reshape(f"{name}.key.groups", turned, _one_for_all(net, turned))
        value = net.reshape(f"{name}.value.groups", value, _one_for_all(net, value))
    scores = net.node("MatMul", f"{name}.scores", [query, turned])
    scale = net.constant(f"{name}.scale", 1 / sqrt(features))
    scores = net.multiply(f"{name}.scaled", scores, scale)
    if mask is not None:
        never = net.constant(f"{name}.never", -np.inf)
        scores = net.node("Where", f"{name}.masked", [mask, scores, never])
    weights = net.softmax(f"{name}.weights", scores)
    result = net.node("MatMul", f"{name}.heads", [weights, value])
    inner = net.shape(result)[-1]
    if groups < heads:
        result = net.reshape(f"{name}.joined", result, (batch, heads, tokens, inner))
    together = net.transpose(f"{name}.together", result, _HEADS_SECOND)
    return net.reshape(name, together, (batch, tokens, heads * inner))


def behind_mask(net: OnnxBuilder, tokens: int) -> Attend:
    """The attention of a prefill: a token looks at itself and those before it."""
    mask = causal_mask(net, "mask", tokens)

    def attend(layer: str, query: str, key: str, value: str) -> str:
        return attention(net, f"{layer}.attention", query, key, value, mask)

    return attend


def behind_cache(net: OnnxBuilder, cache: int, presents: list[str]) -> Attend:
    """The attention of a decoder to `cache` earlier tokens, inputs of the network, and to its own.

    What the caches hold afterwards is appended to `presents`.
    """

    def attend(layer: str, query: str, key: str, value: str) -> str:
        keys = with_cache(net, f"{layer}.key", key, cache)
        values = with_cache(net, f"{layer}.value", value, cache)
        presents.extend((keys, values))
        return attention(net, f"{layer}.attention", query, keys, values)

    return attend


def feed_forward(
    net: OnnxBuilder, name: str, value: str, hidden: int, activation: str = "Gelu"
) -> str:
    """Two matrix products with biases and an activation; `GeluTanh` is GELU's formula by tanh."""
    width = net.shape(value)[-1]
    value = net.linear(f"{name}.up", value, hidden)
    if activation == "GeluTanh":
        value = net.node("Gelu", f"{name}.act", [value], approximate="tanh")
    else:
        value = net.activation(f"{name}.act", value, activation)
    return net.linear(f"{name}.down", value, width)
