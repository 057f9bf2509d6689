"""Attention with one set of heads: the packed projection of Attention, and MultiHeadAttention."""

from __future__ import annotations

import onnx

from dataflow_sim.ingest.contrib.fresh import (
    Fresh,
    NoDefinitionError,
    given,
    integer,
    integers,
    number,
    wanted,
)
from dataflow_sim.ingest.contrib.heads import (
    attend,
    cached,
    causal_mask,
    merge_heads,
    padding_mask,
    scale_of,
    split_heads,
)

_FILTER = -10000.0


def _masks(
    node: onnx.NodeProto, fresh: Fresh, query: str, key: str, names: tuple[str, str]
) -> tuple[str, ...]:
    """What is added to the scores: the bias of attention, the padding mask, the causal mask."""
    bias, mask = names
    value = number(node, "mask_filter_value", _FILTER)
    padding = padding_mask(fresh, mask, query, key, value) if mask else ""
    causal = causal_mask(fresh, query, key, bool(integer(node, "unidirectional", 0)), 0)
    return bias, padding, causal


def attention(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of input, weights, bias, mask_index, past, attention_bias: one product gives q, k and v."""
    x, weights, bias, mask, past, added = (given(node, i) for i in range(6))
    if integer(node, "do_rotary", 0) or integer(node, "past_present_share_buffer", 0):
        raise NoDefinitionError("rotary angles or a cache that the node does not show")
    heads, sizes = integer(node, "num_heads", 0), integers(node, "qkv_hidden_sizes")
    projected = fresh.add("MatMul", x, weights)
    if bias:
        projected = fresh.add("Add", projected, bias)
    vector = fresh.constant("sizes", list(sizes)) if sizes else ""
    parts = fresh.split(projected, 2, 3, vector)
    query, key, value = (split_heads(fresh, part, heads) for part in parts)
    if past:
        sides = [fresh.add("Gather", past, fresh.constant("side", i), axis=0) for i in (0, 1)]
        key, value = cached(fresh, sides[0], key, ""), cached(fresh, sides[1], value, "")
    if wanted(node, 1):
        pair = [fresh.unsqueezed(part, 0) for part in (key, value)]
        fresh.add("Concat", *pair, axis=0, to=wanted(node, 1))
    masks = _masks(node, fresh, query, key, (added, mask))
    context = attend(fresh, (query, key, value), scale_of(node, fresh, query), masks)
    merge_heads(fresh, context, node.output[0])


def _unpacked(fresh: Fresh, packed: str, count: int) -> list[str]:
    """Parts of (batch, length, heads, count, depth) as (batch, length, heads, depth)."""
    return [fresh.add("Gather", packed, fresh.constant("part", i), axis=3) for i in range(count)]


def _projections(node: onnx.NodeProto, fresh: Fresh) -> tuple[str, str, str]:
    """Query, key and value as (batch, heads, length, depth), with the projections' bias."""
    query, key, value, bias = (given(node, i) for i in range(4))
    heads = integer(node, "num_heads", 0)
    ranks = [fresh.facts.rank(name) if name else 0 for name in (query, key, value)]
    if not key:
        if ranks[0] != 5:
            raise NoDefinitionError("a query alone that is not packed")
        parts = _unpacked(fresh, query, 3)
        if bias:
            rows = fresh.reshaped(bias, 3, heads, -1)
            for position, part in enumerate(parts):
                row = fresh.add("Gather", rows, fresh.constant("part", position), axis=0)
                parts[position] = fresh.add("Add", part, row)
        first, second, third = (fresh.add("Transpose", p, perm=[0, 2, 1, 3]) for p in parts)
        return first, second, third
    if ranks[1] == 5:
        parts = [fresh.add("Transpose", p, perm=[0, 2, 1, 3]) for p in _unpacked(fresh, key, 2)]
        if bias:
            raise NoDefinitionError("a bias of packed keys")
        return split_heads(fresh, query, heads), parts[0], parts[1]
    if ranks[1] == 4:
        if bias:
            raise NoDefinitionError("a bias of cached keys")
        return split_heads(fresh, query, heads), key, value
    names = [query, key, value]
    if bias:
        widths = fresh.add("Concat", *(fresh.extents(name, -1) for name in names), axis=0)
        shares = fresh.split(bias, 0, 3, widths)
        names = [fresh.add("Add", n, share) for n, share in zip(names, shares, strict=True)]
    first, second, third = (split_heads(fresh, name, heads) for name in names)
    return first, second, third


def multi_head_attention(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of query, key, value, bias, key_padding_mask, attention_bias, past_key, past_value."""
    mask, added, past_key, past_value = (given(node, i) for i in range(4, 8))
    if given(node, 8) or given(node, 9):
        raise NoDefinitionError("a cache that is written in place")
    query, key, value = _projections(node, fresh)
    key = cached(fresh, past_key, key, wanted(node, 1))
    value = cached(fresh, past_value, value, wanted(node, 2))
    masks = _masks(node, fresh, query, key, (added, mask))
    scale = scale_of(node, fresh, query)
    context = attend(fresh, (query, key, value), scale, masks, weights_to=wanted(node, 3))
    merge_heads(fresh, context, node.output[0])
