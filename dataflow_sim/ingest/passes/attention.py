"""Scaled dot product attention, put together from what exporters write.

    q ─ MatMul ─ k transposed ─► scores, scaled and masked ─ Softmax ─► weights ─ MatMul ─ v

Three questions, a module each: `attention_chain` goes back from the second product to the first
one, `attention_operands` finds what their operands are views of, `attention_masks` makes
tensors of what is added to the scores.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf, prod

from dataflow_sim.graph.pointwise import Attribute
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.additions import Additions
from dataflow_sim.ingest.passes.attention_chain import Chain, Matcher
from dataflow_sim.ingest.passes.attention_masks import Masks, refitted
from dataflow_sim.ingest.passes.attention_operands import IN_PLACE, Heads, Trace, Wanted
from dataflow_sim.ingest.passes.contract import Pass
from dataflow_sim.ingest.passes.standard_attention import OP, standard_to_own
from dataflow_sim.ingest.rewriting import NodeIndex, rewritten


@dataclass(frozen=True, slots=True)
class _Operands:
    """Traces of query, key and value, and the step of each that attention reads."""

    traces: tuple[Trace, Trace, Trace]
    heads: tuple[Heads, Heads, Heads]


def _operands(index: NodeIndex, chain: Chain) -> _Operands | None:
    """Query, key and value of a chain, as few heads of key and value as there are."""
    shape, first, second = index.shape, chain.scores.product, chain.product
    batch, heads, rows, columns = shape(chain.last.outputs[0])
    keys = shape(first.outputs[0])[-1]
    depth = shape(first.inputs[0])[-1]
    before, behind = shape(first.outputs[0])[:-2], shape(second.outputs[0])[:-2]
    apart = (batch, heads)
    traces = (
        Trace(index, first.inputs[0], scaled=True),
        Trace(index, first.inputs[1], scaled=True),
        Trace(index, second.inputs[1], scaled=False),
    )
    query = [h for h in traces[0].heads(Wanted(before, apart, rows, depth)) if h.groups == heads]
    key = list(traces[1].heads(Wanted(before, apart, keys, depth, transposed=True)))
    value = list(traces[2].heads(Wanted(behind, apart, keys, columns)))
    shared = {h.groups for h in key} & {h.groups for h in value}
    if not query or not shared:
        return None
    groups = min(shared)
    found = [
        min((h for h in each if h.groups == wanted), key=lambda h: h.preference)
        for each, wanted in ((query, heads), (key, groups), (value, groups))
    ]
    return _Operands(traces, (found[0], found[1], found[2]))


class _Fusion:
    """Collects what is removed from a network and what stands in its place."""

    def __init__(self, index: NodeIndex) -> None:
        self.index = index
        self.additions = Additions(index.network)
        self.removed: list[Node] = []
        self.passed: list[Node] = []
        self.changed: list[str] = []

    def fuse(self, chain: Chain, operands: _Operands) -> None:
        """Put one attention in the place of a chain; nothing if masks or scale do not fit."""
        target = (
            *self.index.shape(chain.last.outputs[0])[:3],
            self.index.shape(chain.scores.product.outputs[0])[-1],
        )
        masks = chain.scores.masks
        shapes = [refitted(self.index.shape(m.name), m.domain, target) for m in masks]
        scale = prod(trace.factor for trace in operands.traces) * chain.scores.factor
        if None in shapes or not 0 < scale < inf:
            return
        inputs = [
            self._ordered(trace, heads, chain.product, label)
            for trace, heads, label in zip(
                operands.traces, operands.heads, ("query", "key", "value"), strict=True
            )
        ]
        maker = Masks(self.additions, chain.product)
        inputs.extend(maker.tensor(mask, target) for mask in masks)
        for trace, heads in zip(operands.traces, operands.heads, strict=True):
            self.additions.nodes.extend(trace.unscaled(heads))
            self.passed.extend(trace.passed(heads))
        last = chain.last
        attributes: dict[str, Attribute] = {"scale": scale, "is_causal": 0}
        new = Node(last.name, OP, tuple(inputs), last.outputs, attributes)
        self.additions.nodes.append((new, last))
        self.removed.extend(chain.nodes)
        self.changed.append(last.name)

    def _ordered(self, trace: Trace, heads: Heads, place: Node, label: str) -> str:
        """The name of an operand's heads, transposed if their axes stand in another order."""
        name = trace.steps[heads.position].name
        if heads.order == IN_PLACE:
            return name
        reader = trace.steps[heads.position].reader
        base = place.name if reader is None else reader.name
        shape = tuple(self.index.shape(name)[axis] for axis in heads.order)
        return self.additions.once(
            ("Transpose", name, heads.order),
            lambda: self.additions.node(
                "Transpose", (name,), shape, (base, label), place, perm=heads.order
            ),
        )

    def result(self) -> ResolvedNetwork:
        """The network with everything in place, and without what nobody reads any longer."""
        network = rewritten(self.index.network, self.removed, self.additions.nodes)
        return self.additions.described(_without_unread(network, self.passed))


def _without_unread(network: ResolvedNetwork, nodes: Iterable[Node]) -> ResolvedNetwork:
    """The network without those of some nodes whose results nobody reads."""
    candidates = {id(node) for node in nodes}
    read = set(network.outputs)
    kept: list[Node] = []
    for node in reversed(network.nodes):
        if id(node) in candidates and read.isdisjoint(node.outputs):
            continue
        read.update(node.inputs)
        kept.append(node)
    return replace(network, nodes=tuple(reversed(kept)))


def _rewrite(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    index = NodeIndex(network)
    matcher, fusion = Matcher(index), _Fusion(index)
    for node in network.nodes:
        if node.op == "Attention" and standard_to_own(index, fusion.additions, node):
            fusion.changed.append(node.name)
        chain = matcher.chain(node) if node.op == "MatMul" else None
        operands = _operands(index, chain) if chain is not None else None
        if chain is not None and operands is not None:
            fusion.fuse(chain, operands)
    return (fusion.result(), tuple(fusion.changed)) if fusion.changed else (network, ())


ATTENTION = Pass(
    "attention",
    before=(
        "attention may be a product of queries and transposed keys, scaled before or behind, a "
        "sum with masks or a choice of a number of at most -1000 that leaves something of every "
        "row, a Softmax over the last axis and a product with the values, whose results between "
        "nothing else reads, or ONNX's Attention without past, cap, window and further results"
    ),
    after=(
        "each such attention whose heads stand apart is one dataflow_sim::Attention (q, k, v, "
        "masks...) with scale and is_causal: softmax(scale * q k^T + sum of masks) v, q being "
        "(B, H, T, D), k (B, G, S, D), v (B, G, S, E), each head of k and v there once, masks "
        "broadcast to (B, H, T, S)"
    ),
    rewrite=_rewrite,
)
