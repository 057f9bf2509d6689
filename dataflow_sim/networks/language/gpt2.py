"""GPT-2 (Radford et al., "Language models are unsupervised multitask learners", 2019), smallest.

    token + position ─► layers ─► norm ─► times the table of tokens: logits

    a layer     x + attention(norm(x)), then x + feed_forward(norm(x))

The table of tokens is one learned constant that is read twice, by its rows and, transposed, as
the last matrix.  Prefill reads all tokens at once behind a causal mask; decoding reads one token
and the keys and values of all before it, and hands them back with its own behind them.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto

from dataflow_sim.networks.attention import (
    Attend,
    behind_cache,
    behind_mask,
    cache_length,
    depth,
    feed_forward,
    projected_heads,
    rows_of,
)
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Published, tokens

VOCABULARY = 50_257
POSITIONS = 1024
_WIDTH = 768
_HEADS = 12
_LAYERS = 12
_EPSILON = 1e-5


def _layer(net: OnnxBuilder, name: str, value: str, attend: Attend) -> str:
    normal = net.layer_norm(f"{name}.norm1", value, _EPSILON)
    operands = [
        projected_heads(net, f"{name}.{label}", normal, _HEADS, _WIDTH // _HEADS)
        for label in ("query", "key", "value")
    ]
    found = net.linear(f"{name}.project", attend(name, *operands), _WIDTH)
    value = net.add(f"{name}.add1", value, found)
    normal = net.layer_norm(f"{name}.norm2", value, _EPSILON)
    found = feed_forward(net, f"{name}.mlp", normal, 4 * _WIDTH, "GeluTanh")
    return net.add(f"{name}.add2", value, found)


def _logits(net: OnnxBuilder, tokens: int, start: int, layers: int, attend: Attend) -> str:
    """Logits of `tokens` tokens, the first of them at position `start`."""
    ids = net.input("ids", (1, tokens), TensorProto.INT64)
    value = net.embedding("embedding.token", ids, VOCABULARY, _WIDTH)
    place = rows_of(net, "embedding.position", (POSITIONS, _WIDTH), start, tokens)
    value = net.add("embedding", value, place)
    for number in range(1, layers + 1):
        value = _layer(net, f"layer{number}", value, attend)
    value = net.layer_norm("norm", value, _EPSILON)
    turned = net.transpose("head.weight", "embedding.token.weight", (1, 0))
    return net.node("MatMul", "logits", [value, turned])


def gpt2(name: str, tokens: int, layers: int) -> onnx.ModelProto:
    """The prefill: all tokens at once; the result is (1, tokens, 50257)."""
    net = OnnxBuilder(name)
    return net.model(_logits(net, tokens, 0, layers, behind_mask(net, tokens)))


def gpt2_decode(name: str, cache: int, layers: int) -> onnx.ModelProto:
    """One token behind `cache` others; keys and values are (1, 12, cache, 64) a layer."""
    net = OnnxBuilder(name)
    presents: list[str] = []
    logits = _logits(net, 1, cache, layers, behind_cache(net, cache, presents))
    return net.model(logits, *presents)


_SOURCE = "Radford et al. 2019, table 2, and the authors' code"
_PUBLISHED = (Published("the authors' repository, which corrects the paper's 117 M", 124_000_000),)
_THREE = "queries, keys and values are three matrix products; the authors' code packs them in one"

NETWORKS = (
    BuiltIn(
        "gpt2",
        "language",
        "decoder of text, 12 layers of 768 features: prefill of all tokens",
        _SOURCE,
        gpt2,
        (tokens(128, POSITIONS), depth(_LAYERS)),
        deviations=(
            _THREE,
            "all scores count, those behind the causal mask too",
            "keys and values are not handed out",
        ),
        published=_PUBLISHED,
    ),
    BuiltIn(
        "gpt2_decode",
        "language",
        "decoder of text, 12 layers of 768 features: one token behind a cache",
        _SOURCE,
        gpt2_decode,
        (cache_length(POSITIONS - 1), depth(_LAYERS)),
        deviations=(_THREE,),
        published=_PUBLISHED,
    ),
)
