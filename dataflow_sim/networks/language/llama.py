"""LLaMA (Touvron et al., arXiv:2302.13971 and arXiv:2307.09288) and what is built like it.

    token ─► layers ─► norm ─► matrix: logits

    a layer     x + attention(norm(x)), then x + down(swish(gate(norm(x))) * up(norm(x)))

No product has a bias.  Normalisation divides by the root of the mean square; queries and keys are
turned by angles that grow with their positions (Su et al., arXiv:2104.09864).  The tables of the
angles are computed in the graph from the numbers of the positions: nothing is learned there.
Prefill reads all tokens at once behind a causal mask; decoding reads one token and the keys and
values of all before it, and hands them back with its own behind them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx
from onnx import TensorProto

from dataflow_sim.networks.attention import (
    Attend,
    behind_cache,
    behind_mask,
    cache_length,
    depth,
    projected_heads,
)
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Parameter, Published, tokens


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a decoder measures; `groups` heads of keys and values serve `heads` of queries."""

    width: int
    layers: int
    heads: int
    groups: int
    hidden: int
    vocabulary: int
    context: int
    base: float = 10_000.0
    epsilon: float = 1e-5

    @property
    def head(self) -> int:
        """Features of a head."""
        return self.width // self.heads


SIZES = {
    "llama2_7b": Sizes(4096, 32, 32, 32, 11_008, 32_000, 4096),
    "llama3_8b": Sizes(4096, 32, 32, 8, 14_336, 128_256, 8192, base=500_000.0),
    "tinyllama_1b": Sizes(2048, 22, 32, 4, 5632, 32_000, 2048),
}
_SOURCES = {
    "llama2_7b": "arXiv:2302.13971, table 2; arXiv:2307.09288, table 1",
    "llama3_8b": "arXiv:2407.21783, table 3",
    "tinyllama_1b": "arXiv:2401.02385, table 1",
}
_PUBLISHED = {
    "llama2_7b": Published("arXiv:2302.13971, table 2", 6_700_000_000),
    "llama3_8b": Published("arXiv:2407.21783, table 3", 8_000_000_000),
    "tinyllama_1b": Published("arXiv:2401.02385, section 2.2", 1_100_000_000),
}


class Decoder:
    """A decoder under construction: its tokens are at positions from `start` on."""

    def __init__(self, name: str, sizes: Sizes, start: int, tokens: int) -> None:
        self.net = OnnxBuilder(name)
        self.sizes = sizes
        self.ids = self.net.input("ids", (1, tokens), TensorProto.INT64)
        self.cosine, self.sine = self._tables(range(start, start + tokens))

    def _tables(self, positions: range) -> tuple[str, str]:
        """Cosine and sine of every position's angles, (T, D); both halves of a head alike."""
        net, half = self.net, self.sizes.head // 2
        # whole numbers, from which on the reader knows what follows as nothing learned
        places = net.constant("positions", np.array(positions)[:, None], np.int64)
        places = net.node("Cast", "positions.float", [places], to=TensorProto.FLOAT)
        steps = self.sizes.base ** -(np.arange(half) / half)
        steps_name = net.constant("angle.steps", np.tile(steps, 2))
        angles = net.multiply("angles", places, steps_name)
        return net.node("Cos", "cosine", [angles]), net.node("Sin", "sine", [angles])

    def norm(self, name: str, value: str) -> str:
        """Division by the root of the mean square, then a learned scale."""
        net = self.net
        two = net.constant(f"{name}.two", 2.0)
        axes = net.whole_numbers(f"{name}.axes", [-1])
        mean = net.node(
            "ReduceMean", f"{name}.mean", [net.node("Pow", f"{name}.square", [value, two]), axes]
        )
        shifted = net.add(
            f"{name}.shifted", mean, net.constant(f"{name}.epsilon", self.sizes.epsilon)
        )
        root = net.node("Sqrt", f"{name}.root", [shifted])
        normal = net.node("Div", f"{name}.divided", [value, root])
        return net.multiply(name, normal, net.weight(f"{name}.scale", (self.sizes.width,)))

    def linear(self, name: str, value: str, outputs: int) -> str:
        """A matrix product without bias."""
        return self.net.linear(name, value, outputs, bias=False)

    def turned(self, name: str, value: str) -> str:
        """Rotary embedding: x cos + (-upper half, lower half of x) sin."""
        net, half = self.net, self.sizes.head // 2
        lower = net.slice(f"{name}.lower", value, 3, 0, half)
        upper = net.slice(f"{name}.upper", value, 3, half, 2 * half)
        crossed = net.concat(
            f"{name}.crossed", [net.node("Neg", f"{name}.negated", [upper]), lower], axis=3
        )
        kept = net.multiply(f"{name}.kept", value, self.cosine)
        return net.add(name, kept, net.multiply(f"{name}.moved", crossed, self.sine))

    def layer(self, name: str, value: str, attend: Attend) -> str:
        """Attention and the gated feed-forward, each behind a norm and beside a shortcut."""
        net, sizes = self.net, self.sizes
        normal = self.norm(f"{name}.norm1", value)
        counts = {"query": sizes.heads, "key": sizes.groups, "value": sizes.groups}
        query, key, each = (
            projected_heads(net, f"{name}.{label}", normal, count, sizes.head, bias=False)
            for label, count in counts.items()
        )
        query = self.turned(f"{name}.query.turned", query)
        key = self.turned(f"{name}.key.turned", key)
        found = self.linear(f"{name}.project", attend(name, query, key, each), sizes.width)
        value = net.add(f"{name}.add1", value, found)
        normal = self.norm(f"{name}.norm2", value)
        gate = self.linear(f"{name}.gate", normal, sizes.hidden)
        gate = net.activation(f"{name}.gate.act", gate, "Swish")
        above = net.multiply(f"{name}.gated", gate, self.linear(f"{name}.up", normal, sizes.hidden))
        below = self.linear(f"{name}.down", above, sizes.width)
        return net.add(f"{name}.add2", value, below)

    def logits(self, layers: int, attend: Attend) -> str:
        """The whole of it: (1, T, vocabulary)."""
        sizes = self.sizes
        value = self.net.embedding("embedding", self.ids, sizes.vocabulary, sizes.width)
        for number in range(1, layers + 1):
            value = self.layer(f"layer{number}", value, attend)
        return self.linear("logits", self.norm("norm", value), sizes.vocabulary)


def prefill(name: str, tokens: int, layers: int, vocabulary: int, sizes: Sizes) -> onnx.ModelProto:
    """All tokens at once; the result is (1, tokens, vocabulary)."""
    decoder = Decoder(name, replace(sizes, vocabulary=vocabulary), 0, tokens)
    return decoder.net.model(decoder.logits(layers, behind_mask(decoder.net, tokens)))


def decode(name: str, cache: int, layers: int, vocabulary: int, sizes: Sizes) -> onnx.ModelProto:
    """One token behind `cache` others; keys and values are (1, groups, cache, head) a layer."""
    decoder = Decoder(name, replace(sizes, vocabulary=vocabulary), cache, 1)
    presents: list[str] = []
    logits = decoder.logits(layers, behind_cache(decoder.net, cache, presents))
    return decoder.net.model(logits, *presents)


def _rows(name: str, sizes: Sizes) -> tuple[BuiltIn, BuiltIn]:
    words = Parameter("vocabulary", sizes.vocabulary, 2, 1 << 20, "entries of the vocabulary")
    heads = f"{sizes.heads} heads" + f" in {sizes.groups} groups" * (sizes.groups < sizes.heads)
    what = f"decoder of text, {sizes.layers} layers of {sizes.width} features, {heads}"
    deviations: tuple[str, ...] = (
        "the tables of the rotary embedding are computed, and cost no traffic",
    )
    if name == "llama3_8b":
        deviations += ("128,256 entries of vocabulary, as released; the table rounds to 128,000",)
    return (
        BuiltIn(
            name,
            "language",
            f"{what}: prefill of all tokens",
            _SOURCES[name],
            partial(prefill, sizes=sizes),
            (tokens(128, sizes.context), depth(sizes.layers), words),
            deviations=(
                "all scores count, those behind the causal mask too",
                "keys and values are not handed out",
                *deviations,
            ),
            published=(_PUBLISHED[name],),
        ),
        BuiltIn(
            f"{name}_decode",
            "language",
            f"{what}: one token behind a cache",
            _SOURCES[name],
            partial(decode, sizes=sizes),
            (cache_length(sizes.context - 1), depth(sizes.layers), words),
            deviations=deviations,
            published=(_PUBLISHED[name],),
        ),
    )


NETWORKS = tuple(row for name, sizes in SIZES.items() for row in _rows(name, sizes))
