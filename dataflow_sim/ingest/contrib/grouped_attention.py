"""Attention in which several query heads share one head of keys and values."""

from __future__ import annotations

import onnx

from dataflow_sim.ingest.contrib.fresh import (
    Fresh,
    NoDefinitionError,
    given,
    integer,
    number,
    text,
    wanted,
)
from dataflow_sim.ingest.contrib.heads import (
    Softness,
    attend,
    cached,
    causal_mask,
    merge_heads,
    scale_of,
    split_heads,
)
from dataflow_sim.ingest.contrib.normalisations import root_mean_square_norm
from dataflow_sim.ingest.contrib.rotary import looked_up, partial_width, rotated

_NORM_EPSILON = 1e-6


def _check(node: onnx.NodeProto) -> None:
    quantised = {text(node, f"{side}_quant_type", "NONE") for side in "kv"} != {"NONE"}
    if quantised or given(node, 12) or given(node, 13):
        raise NoDefinitionError("a quantised cache")
    if integer(node, "sliding_window_cache", 0):
        raise NoDefinitionError("a cache that evicts")
    if wanted(node, 3):
        raise NoDefinitionError("scores as an output")


def _heads(node: onnx.NodeProto, fresh: Fresh) -> tuple[str, str, str]:
    """Query, key and value as (batch, heads, length, depth), of one packed input or of three."""
    query, key, value = (given(node, i) for i in range(3))
    count, shared = integer(node, "num_heads", 0), integer(node, "kv_num_heads", 0)
    if count < 1 or shared < 1 or count % shared:
        raise NoDefinitionError("heads that do not divide")
    if key and value:
        first, *others = (
            split_heads(fresh, name, heads)
            for name, heads in ((query, count), (key, shared), (value, shared))
        )
        return first, others[0], others[1]
    sizes = fresh.constant("heads", [count, shared, shared])
    first, second, third = fresh.split(split_heads(fresh, query, count + 2 * shared), 1, 3, sizes)
    return first, second, third


def _turned(node: onnx.NodeProto, fresh: Fresh, query: str, key: str, past: str) -> tuple[str, str]:
    """Query and key with their positions, which follow those of the cache unless stated."""
    cos, sin, positions = (given(node, i) for i in range(7, 10))
    if not cos or not sin:
        raise NoDefinitionError("rotary angles that the node does not show")
    if not positions:
        step = fresh.constant("step", 1)
        length = fresh.extent(query, 2)
        first = fresh.extent(past, 2) if past else fresh.constant("zero", 0)
        last = fresh.add("Add", first, length) if past else length
        positions = fresh.add("Range", first, last, step)
    interleaved = bool(integer(node, "rotary_interleaved", 0))
    tables = looked_up(fresh, (cos, sin), positions, -3, interleaved)
    width = partial_width(fresh, cos, fresh.facts.extent(query, 3))
    turned = (rotated(fresh, part, tables, interleaved, width) for part in (query, key))
    first, second = turned
    return first, second


def _repeated(fresh: Fresh, x: str, times: int, heads: int) -> str:
    """Each head `times` times in a row."""
    if times == 1:
        return x
    factors = fresh.constant("times", [1, 1, times, 1, 1])
    wide = fresh.add("Expand", fresh.unsqueezed(x, 2), factors)
    kept = fresh.constant("heads", [0, heads])
    shape = fresh.add("Concat", kept, fresh.extents(x, 2, 3), axis=0)
    return fresh.add("Reshape", wide, shape)


def group_query_attention(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of query, key, value, past_key, past_value, lengths, caches, positions, bias, sink, norms.

    The cache holds exactly the past: keys and values are appended to it, and `seqlens_k` says
    what the shapes say.  (ONNX Runtime may also hand over a longer buffer and write into it;
    a file does not tell.)
    """
    _check(node)
    past_key, past_value, added, sink = (given(node, i) for i in (3, 4, 10, 11))
    query, key, value = _heads(node, fresh)
    if given(node, 14) and given(node, 15):
        epsilon = number(node, "qk_norm_epsilon", _NORM_EPSILON)
        query = root_mean_square_norm(fresh, query, given(node, 14), epsilon)
        key = root_mean_square_norm(fresh, key, given(node, 15), epsilon)
    if integer(node, "do_rotary", 0):
        query, key = _turned(node, fresh, query, key, past_key)
    key = cached(fresh, past_key, key, wanted(node, 1))
    value = cached(fresh, past_value, value, wanted(node, 2))
    causal = bool(integer(node, "causal", 1))
    mask = causal_mask(fresh, query, key, causal, integer(node, "local_window_size", -1))
    heads = integer(node, "num_heads", 0)
    times = heads // integer(node, "kv_num_heads", 1)
    operands = (query, _repeated(fresh, key, times, heads), _repeated(fresh, value, times, heads))
    softness = Softness(
        number(node, "softcap", 0.0), bool(integer(node, "smooth_softmax", 0)), sink
    )
    scale = scale_of(node, fresh, query)
    context = attend(fresh, operands, scale, (added, mask), softness)
    merge_heads(fresh, context, node.output[0])
