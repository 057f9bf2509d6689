"""Operators outside the standard domain, defined by standard ones before anything is inferred.

Shapes, counts and meaning of `com.microsoft` operators, and of those that old exporters put
into the standard domain, follow from what ONNX says of the nodes in their place.  Definitions
are legal from opset 13 on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx

from dataflow_sim.ingest.contrib.facts import Facts
from dataflow_sim.ingest.contrib.fresh import Fresh, Names, NoDefinitionError
from dataflow_sim.ingest.contrib.table import DEFINITIONS, Definition
from dataflow_sim.ingest.resolver import STANDARD_DOMAINS

__all__ = ["DEFINITIONS", "Definition", "standardised"]

_OLDEST_OPSET = 13


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside an If, Loop or Scan."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all graphs inside its nodes."""
    yield graph
    for node in graph.node:
        for body in _bodies(node):
            yield from _graphs(body)


def _definition(node: onnx.NodeProto, opset: int) -> Definition | None:
    """The row of a node; none for an operator that the standard set has at that opset."""
    if node.domain not in STANDARD_DOMAINS:
        return DEFINITIONS.get((node.domain, node.op_type))
    row = DEFINITIONS.get(("", node.op_type))
    if row is None or onnx.defs.has(node.op_type, max_inclusive_version=opset, domain=""):
        return None
    return row


def _names(model: onnx.ModelProto) -> Names:
    """All names of the model, and the initialisers that can change their type in place."""
    read: Counter[str] = Counter()
    stated: set[str] = set()
    taken: set[str] = set()
    for graph in _graphs(model.graph):
        stated.update(v.name for v in (*graph.input, *graph.value_info, *graph.output))
        taken.update(tensor.name for tensor in graph.initializer)
        for node in graph.node:
            read.update(node.input)
            taken.update((node.name, *node.output))
    once = frozenset(name for name, count in read.items() if count == 1 and name not in stated)
    return Names(taken | stated | set(read), once)


class _Standardiser:
    def __init__(self, model: onnx.ModelProto, opset: int) -> None:
        self.opset = opset
        self.names = _names(model)
        self.rewritten: list[str] = []

    def run(self, graph: onnx.GraphProto, outer: Facts | None = None) -> None:
        """Rewrite a graph and those inside its nodes, in place."""
        facts = Facts(self.opset, outer)
        facts.enter(graph)
        nodes: list[onnx.NodeProto] = []
        for node in graph.node:
            for body in _bodies(node):
                self.run(body, facts)
            fresh = self._rewrite(node, facts)
            if fresh is None:
                facts.learn(node)
                nodes.append(node)
                continue
            nodes.extend(fresh.nodes)
            graph.initializer.extend(fresh.constants)
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(kept)

    def _rewrite(self, node: onnx.NodeProto, facts: Facts) -> Fresh | None:
        """What stands in a node's place; None where it stays."""
        row = _definition(node, self.opset)
        if row is None or not any(node.output):
            return None
        fresh = Fresh(node, facts, self.names)
        try:
            row.rewrite(node, fresh)
        except (
            NoDefinitionError,
            IndexError,
        ):  # a variant without definition, or inputs are missing
            return None
        fresh.nodes[-1].name = node.name
        self.rewritten.append(node.name or node.output[0])
        return fresh


def standardised(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The model with operators of other domains rewritten into standard ones.

    Returns a new model, in which the last new node of each keeps its name and writes its
    outputs, and the names of the nodes rewritten, bodies of If, Loop and Scan included.  The
    model given stays as it is, and is returned where nothing is to be done: no such operator,
    or an opset below 13.  Weights are never read; external data stay external.
    """
    opset = max((o.version for o in model.opset_import if o.domain in STANDARD_DOMAINS), default=1)
    if opset < _OLDEST_OPSET or not any(
        _definition(node, opset) for graph in _graphs(model.graph) for node in graph.node
    ):
        return model, ()
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    standardiser = _Standardiser(copy, opset)
    standardiser.run(copy.graph)
    return (copy, tuple(standardiser.rewritten)) if standardiser.rewritten else (model, ())
