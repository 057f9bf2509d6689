"""The guard that exporters write behind a softmax, for rows that a mask leaves nothing of."""

from __future__ import annotations

from dataclasses import replace

from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.contract import Pass
from dataflow_sim.ingest.rewriting import NodeIndex, is_whole


def _guarded(index: NodeIndex, node: Node) -> str | None:
    """What a Where passes on wherever it is a number; None if the node is no such guard."""
    if node.op != "Where" or len(node.inputs) != 3 or not is_whole(node):
        return None
    test = index.writer(node.inputs[0], "IsNaN")
    filler, guarded = node.inputs[1:]
    if test is None or not index.is_constant(filler) or node.outputs[0] in index.outputs:
        return None
    same = index.plain(test.inputs[0]) == index.plain(guarded)
    alike = index.shape(guarded) == index.shape(node.outputs[0])
    return guarded if same and alike and not index.is_constant(guarded) else None


def _rewrite(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    index = NodeIndex(network)
    instead: dict[str, str] = {}
    kept: list[Node] = []
    changed: list[str] = []
    for node in network.nodes:
        guarded = _guarded(index, node)
        if guarded is not None:
            instead[node.outputs[0]] = instead.get(guarded, guarded)
            changed.append(node.name)
            continue
        inputs = tuple(instead.get(name, name) for name in node.inputs)
        kept.append(node if inputs == node.inputs else replace(node, inputs=inputs))
    if not changed:
        return network, ()
    read = {name for node in kept for name in node.inputs} | index.outputs
    nodes = (n for n in kept if n.op != "IsNaN" or not read.isdisjoint(n.outputs))
    return replace(network, nodes=tuple(nodes)), tuple(changed)


NAN_GUARD = Pass(
    "nan_guard",
    before=(
        "a map that has no NaN where the network is used as it is meant may go through "
        "Where(IsNaN(map), constant, map)"
    ),
    after=(
        "no such Where is left but those that write an output of the network, no IsNaN that "
        "nothing reads; readers read the map itself"
    ),
    rewrite=_rewrite,
)
