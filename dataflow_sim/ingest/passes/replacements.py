"""Operators that a user replaces by cheaper ones: not what the file says, but what it might.

    gelu=relu             x Phi(x), exact or approximated  ->  max(0, x)
    layer_norm=no_norm    (x - mean) / deviation * scale + shift  ->  x * scale + shift

The second is MobileBERT's NoNorm (Sun et al., arXiv:2004.02984): without statistics it needs no
second look at a row, and folds into the layer before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.contract import Pass
from dataflow_sim.ingest.rewriting import rewritten

_SCALED = ".scaled"


def _relu(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    added = [
        (Node(node.name, "Relu", node.inputs[:1], node.outputs, {}), node)
        for node in network.nodes
        if node.op == "Gelu"
    ]
    return rewritten(network, (), added), tuple(new.name for new, _ in added)


def _no_norm(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    added: list[tuple[Node, Node]] = []
    shapes, changed = dict(network.shapes), []
    for node in network.nodes:
        statistics = any(node.outputs[1:])
        if node.op != "LayerNormalization" or statistics or len(node.inputs) < 2:
            continue
        (result, *_), (value, scale, *shift) = node.outputs, node.inputs
        between = f"{result}{_SCALED}" if any(shift) else result
        shapes[between] = shapes[result]
        added.append((Node(f"{node.name}.scale", "Mul", (value, scale), (between,), {}), node))
        if any(shift):
            added.append((Node(node.name, "Add", (between, shift[0]), (result,), {}), node))
        changed.append(node.name)
    return replace(rewritten(network, (), added), shapes=shapes), tuple(changed)


REPLACEMENTS: Mapping[str, Pass] = {
    "gelu=relu": Pass(
        "gelu=relu",
        before="an activation may be a Gelu",
        after="each Gelu is a Relu",
        rewrite=_relu,
    ),
    "layer_norm=no_norm": Pass(
        "layer_norm=no_norm",
        before="a map may be normalised by a LayerNormalization whose statistics nobody else reads",
        after="each such normalisation is a product with its scale and a sum with its shift",
        rewrite=_no_norm,
    ),
}
