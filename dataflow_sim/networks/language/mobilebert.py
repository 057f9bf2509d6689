"""MobileBERT (Sun et al., arXiv:2004.02984), table 1, with its feed-forwards of one layer stacked.

    narrow = bottleneck(x)                                      512 to 128 features
    shared = bottleneck'(x)                                     for queries and keys; values of x
    inner  = norm(narrow + attention(shared, shared, x))
    inner  = norm(inner + feed_forward(inner))                  4 times, 128 to 512 to 128
    y      = norm(x + widen(inner))                             128 to 512

TINY takes queries, keys and values from `narrow` and has 2 feed-forwards.  A norm, also behind
every bottleneck, is NoNorm: a learned scale and shift.  Where asked for, it is layer
normalisation, with GELU in the place of ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import onnx
from onnx import TensorProto

from dataflow_sim.networks.attention import attention, depth, feed_forward, projected_heads
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.language.bert import POSITIONS, VOCABULARY, with_kind_and_position
from dataflow_sim.networks.row import BuiltIn, Published, tokens

_EMBEDDED = 128
_WIDTH = 512
_INNER = 128
_HIDDEN = 512
_HEADS = 4
_LAYERS = 24
_EPSILON = 1e-12


@dataclass(frozen=True, slots=True)
class _Form:
    """What tells the networks apart; a shared bottleneck serves queries and keys."""

    feed_forwards: int
    shared_bottleneck: bool
    no_norm: bool = True

    @property
    def activation(self) -> str:
        """The one that goes with the normalisation."""
        return "Relu" if self.no_norm else "Gelu"


_FORMS = {
    "mobilebert": _Form(4, shared_bottleneck=True),
    "mobilebert_tiny": _Form(2, shared_bottleneck=False),
    "mobilebert_layernorm_gelu": _Form(4, shared_bottleneck=True, no_norm=False),
    "mobilebert_tiny_layernorm_gelu": _Form(2, shared_bottleneck=False, no_norm=False),
}
_TABLE = "arXiv:2004.02984, table 4, FLOPS halved"
_PUBLISHED = {
    True: Published(
        _TABLE,
        25_300_000,
        2_850_000_000,
        because="table 1 makes queries, keys and values from 512 features each, 25,359,104 "
        "parameters and 2,793 M MACs; the released network saves 32,384 parameters and 4.2 M "
        "MACs a layer by a bottleneck that queries and keys share",
    ),
    False: Published(
        _TABLE,
        15_100_000,
        1_550_000_000,
        because="table 1 and the authors' configuration come to 15,485,696 parameters; the paper "
        "does not say what its 15.1 M leave out",
    ),
}


def _normal(net: OnnxBuilder, name: str, value: str, form: _Form) -> str:
    """NoNorm or layer normalisation."""
    if not form.no_norm:
        return net.layer_norm(name, value, _EPSILON)
    scale, shift = (
        net.weight(f"{name}.{part}", net.shape(value)[-1:]) for part in ("scale", "shift")
    )
    return net.add(name, net.multiply(f"{name}.scaled", value, scale), shift)


def _bottleneck(net: OnnxBuilder, name: str, value: str, form: _Form) -> str:
    """Fewer features, normalised."""
    return _normal(net, f"{name}.norm", net.linear(name, value, _INNER), form)


def _attention(net: OnnxBuilder, name: str, value: str, narrow: str, form: _Form) -> str:
    """Attention of a layer that reads `value`, `narrow` being that behind its bottleneck."""
    sources = {"query": narrow, "key": narrow, "value": narrow}
    if form.shared_bottleneck:
        shared = _bottleneck(net, f"{name}.shared", value, form)
        sources = {"query": shared, "key": shared, "value": value}
    operands = [
        projected_heads(net, f"{name}.{label}", source, _HEADS, _INNER // _HEADS)
        for label, source in sources.items()
    ]
    found = attention(net, f"{name}.attention", *operands)
    return net.linear(f"{name}.project", found, _INNER)


def layer(net: OnnxBuilder, name: str, value: str, form: _Form) -> str:
    """Narrow, attend, feed forward some times, widen."""
    narrow = _bottleneck(net, f"{name}.bottleneck", value, form)
    found = _attention(net, name, value, narrow, form)
    inner = _normal(net, f"{name}.norm", net.add(f"{name}.add", found, narrow), form)
    for number in range(1, form.feed_forwards + 1):
        place = f"{name}.mlp{number}"
        found = feed_forward(net, place, inner, _HIDDEN, form.activation)
        inner = _normal(net, f"{place}.norm", net.add(f"{place}.add", found, inner), form)
    wide = net.linear(f"{name}.widen", inner, _WIDTH)
    return _normal(net, f"{name}.last.norm", net.add(f"{name}.last.add", wide, value), form)


def mobilebert(name: str, tokens: int, layers: int, form: _Form) -> onnx.ModelProto:
    """A MobileBERT encoder; the result is (1, tokens, 512)."""
    net = OnnxBuilder(name)
    ids = net.input("ids", (1, tokens), TensorProto.INT64)
    value = net.embedding("embedding.word", ids, VOCABULARY, _EMBEDDED)
    # three neighbours to one token: a convolution over the tokens as rows
    value = net.reshape("embedding.rows", value, (1, tokens, 1, _EMBEDDED))
    value = net.transpose("embedding.planes", value, (0, 3, 1, 2))
    value = net.convolution("embedding.neighbours", value, _WIDTH, (3, 1), bias=True)
    value = net.transpose("embedding.last", value, (0, 2, 3, 1))
    value = net.reshape("embedding.tokens", value, (1, tokens, _WIDTH))
    value = with_kind_and_position(net, "embedding", value)
    value = _normal(net, "embedding.norm", value, form)
    for number in range(1, layers + 1):
        value = layer(net, f"layer{number}", value, form)
    return net.model(value)


NETWORKS = tuple(
    BuiltIn(
        name,
        "language",
        f"encoder of text with bottlenecks, {form.feed_forwards} feed-forwards a layer, "
        + ("NoNorm and ReLU" if form.no_norm else "layer normalisation and GELU"),
        "arXiv:2004.02984, table 1, and the authors' configurations",
        partial(mobilebert, form=form),
        (tokens(128, POSITIONS), depth(_LAYERS)),
        deviations=(
            "the three tokens that the authors' code joins before a matrix product are a "
            "convolution over three tokens, as in table 1: the same products",
            "one sentence that fills its length: no second kind of sentence and no mask",
        ),
        published=(_PUBLISHED[form.shared_bottleneck],),
    )
    for name, form in _FORMS.items()
)
