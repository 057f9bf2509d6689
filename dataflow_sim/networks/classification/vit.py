"""ViT (Dosovitskiy et al., arXiv:2010.11929) and DeiT (Touvron et al., arXiv:2012.12877).

patches of 16x16 ─► tokens ─┬─► + positions ─► layers ─► first token ─► norm ─► classes
               class token ─┘

a layer     x + attention(norm(x)), then x + feed_forward(norm(x))
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import onnx

from dataflow_sim.networks.attention import (
    attention,
    depth,
    feed_forward,
    first_token,
    packed_heads,
)
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Published, resolution

PATCH = 16
_EPSILON = 1e-6
_LAYERS = 12


@dataclass(frozen=True, slots=True)
class _Size:
    """Features of a token and heads; a feed-forward has four times as many features."""

    width: int
    heads: int
    source: str


_VIT = "arXiv:2010.11929, section 3.1 and table 1"
_DEIT = "arXiv:2012.12877, table 1"
_SIZES = {
    "vit_b16": _Size(768, 12, _VIT),
    "deit_tiny": _Size(192, 3, _DEIT),
    "deit_small": _Size(384, 6, _DEIT),
    "deit_base": _Size(768, 12, _DEIT),
}
_PUBLISHED = {
    "vit_b16": Published("arXiv:2010.11929, table 1", 86_000_000),
    "deit_tiny": Published(
        _DEIT, 5_000_000, because="the table gives whole millions, here rounded down"
    ),
    "deit_small": Published("the model card of the framework's graph", 22_100_000, 4_600_000_000),
    "deit_base": Published(_DEIT, 86_000_000),
}


def layer(net: OnnxBuilder, name: str, value: str, heads: int) -> str:
    """Attention and feed-forward, each behind a normalisation and beside a shortcut."""
    width = net.shape(value)[-1]
    normal = net.layer_norm(f"{name}.norm1", value, _EPSILON)
    query, key, each = packed_heads(net, f"{name}.qkv", normal, heads)
    found = attention(net, f"{name}.attention", query, key, each)
    value = net.add(f"{name}.add1", value, net.linear(f"{name}.project", found, width))
    normal = net.layer_norm(f"{name}.norm2", value, _EPSILON)
    return net.add(f"{name}.add2", value, feed_forward(net, f"{name}.mlp", normal, 4 * width))


def vit(name: str, resolution: int, layers: int, width: int, heads: int) -> onnx.ModelProto:
    """A vision transformer with its classifier."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    side = resolution // PATCH
    value = net.convolution("patches", "input", width, PATCH, stride=PATCH, pad=0, bias=True)
    value = net.reshape("patches.flat", value, (1, width, side * side))
    value = net.transpose("tokens", value, (0, 2, 1))
    value = net.concat("all_tokens", [net.weight("class_token", (1, 1, width)), value])
    positions = net.weight("positions", (1, side * side + 1, width))
    value = net.add("placed", value, positions)
    for number in range(1, layers + 1):
        value = layer(net, f"layer{number}", value, heads)
    value = net.layer_norm("norm", first_token(net, "class", value), _EPSILON)
    return net.model(net.linear("head", value, 1000))


NETWORKS = tuple(
    BuiltIn(
        name,
        "classification",
        f"vision transformer, patches of {PATCH}x{PATCH}, {size.width} features, "
        f"{size.heads} heads",
        size.source,
        partial(vit, width=size.width, heads=size.heads),
        (resolution(224, PATCH, PATCH), depth(_LAYERS)),
        deviations=("the table of positions has the size of the resolution, as if trained at it",),
        published=(_PUBLISHED[name],),
    )
    for name, size in _SIZES.items()
)
