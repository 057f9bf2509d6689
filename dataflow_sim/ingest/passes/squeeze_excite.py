"""Reductions over the whole plane as global pooling, so that squeeze-and-excitation shows."""

from __future__ import annotations

from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.contract import Pass
from dataflow_sim.ingest.rewriting import NodeIndex, is_whole, rewritten

_POOLING = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}


def _rewrite(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    index = NodeIndex(network)
    added: list[tuple[Node, Node]] = []
    for node in network.nodes:
        if node.op not in _POOLING or not is_whole(node):
            continue
        plane = len(index.shape(node.inputs[0])) == 4 and index.axes(node) == (2, 3)
        if plane and node.attributes.get("keepdims", 1) == 1:
            new = Node(node.name, _POOLING[node.op], node.inputs[:1], node.outputs, {})
            added.append((new, node))
    return rewritten(network, (), added), tuple(new.name for new, _ in added)


SQUEEZE_EXCITE = Pass(
    "squeeze_excite",
    before=(
        "a mean or a maximum over rows and columns of a map of rank 4 may be a ReduceMean or a "
        "ReduceMax that keeps the axes"
    ),
    after="each such reduction is one GlobalAveragePool or GlobalMaxPool",
    rewrite=_rewrite,
)
