"""BERT (Devlin et al., arXiv:1810.04805) and its smaller sizes (Turc et al., arXiv:1908.08962).

word + kind + position ─► norm ─► layers ─┬─► hidden states
                                          └─► first token ─► linear, tanh: pooled

a layer     norm(x + attention(x)), then norm(x + feed_forward(x))
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import onnx
from onnx import TensorProto

from dataflow_sim.networks.attention import (
    attention,
    depth,
    feed_forward,
    first_token,
    projected_heads,
    rows_of,
)
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Published, tokens

VOCABULARY = 30_522
POSITIONS = 512
KINDS = 2
_HEAD = 64
_EPSILON = 1e-12


@dataclass(frozen=True, slots=True)
class _Size:
    """Layers and features; a head has 64 of them, a feed-forward four times as many."""

    layers: int
    width: int
    source: str = "arXiv:1908.08962, table 1"


_PAPER = "arXiv:1810.04805, section 3"
_SIZES = {
    "bert_tiny": _Size(2, 128),
    "bert_mini": _Size(4, 256),
    "bert_small": _Size(4, 512),
    "bert_medium": _Size(8, 512),
    "bert_base": _Size(12, 768, _PAPER),
    "bert_large": _Size(24, 1024, _PAPER),
}


_COMPACT = "arXiv:1908.08962, table 1"
_WITH_HEAD = (
    "the table's figures fit a count with the head of the masked words: "
    "width^2 + 3 width + 30,522 more"
)


_PUBLISHED = {
    "bert_tiny": (Published(_COMPACT, 4_400_000),),
    "bert_mini": (Published(_COMPACT, 11_300_000, because=_WITH_HEAD),),
    "bert_small": (Published(_COMPACT, 29_100_000, because=_WITH_HEAD),),
    "bert_medium": (Published(_COMPACT, 41_700_000),),
    "bert_base": (
        Published(_PAPER, 110_000_000),
        Published("arXiv:2004.02984, table 4 (22.5 GFLOPs)", 109_000_000, 11_250_000_000),
    ),
    "bert_large": (Published("arXiv:2004.02984, table 1", 334_000_000),),
}


def with_kind_and_position(net: OnnxBuilder, name: str, value: str) -> str:
    """Words' features with those of the first kind of sentence and of positions from 0 on."""
    _, count, width = net.shape(value)
    kind = rows_of(net, f"{name}.kind", (KINDS, width), 0, 1)
    position = rows_of(net, f"{name}.position", (POSITIONS, width), 0, count)
    return net.add(f"{name}.placed", net.add(f"{name}.typed", value, kind), position)


def layer(net: OnnxBuilder, name: str, value: str) -> str:
    """Attention and feed-forward, each beside a shortcut and before a normalisation."""
    width = net.shape(value)[-1]
    operands = [
        projected_heads(net, f"{name}.{label}", value, width // _HEAD, _HEAD)
        for label in ("query", "key", "value")
    ]
    found = attention(net, f"{name}.attention", *operands)
    found = net.linear(f"{name}.project", found, width)
    value = net.layer_norm(f"{name}.norm1", net.add(f"{name}.add1", found, value), _EPSILON)
    found = feed_forward(net, f"{name}.mlp", value, 4 * width)
    return net.layer_norm(f"{name}.norm2", net.add(f"{name}.add2", found, value), _EPSILON)


def bert(name: str, tokens: int, layers: int, width: int) -> onnx.ModelProto:
    """A BERT encoder with its pooler; results are (1, tokens, width) and (1, width)."""
    net = OnnxBuilder(name)
    ids = net.input("ids", (1, tokens), TensorProto.INT64)
    value = net.embedding("embedding.word", ids, VOCABULARY, width)
    value = with_kind_and_position(net, "embedding", value)
    value = net.layer_norm("embedding.norm", value, _EPSILON)
    for number in range(1, layers + 1):
        value = layer(net, f"layer{number}", value)
    pooled = net.linear("pooler", first_token(net, "pooler.token", value), width)
    return net.model(value, net.activation("pooler.tanh", pooled, "Tanh"))


NETWORKS = tuple(
    BuiltIn(
        name,
        "language",
        f"encoder of text, {size.layers} layers of {size.width} features, "
        f"{size.width // _HEAD} heads",
        size.source,
        partial(bert, width=size.width),
        (tokens(128, POSITIONS), depth(size.layers)),
        deviations=("one sentence that fills its length: no second kind of sentence and no mask",),
        published=_PUBLISHED[name],
    )
    for name, size in _SIZES.items()
)
