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
from dataflow_sim.ingest.file.nodes import STANDARD_DOMAINS, bodies, is_standard, name_of

__all__ = ["DEFINITIONS", "Definition", "standardised"]

_OLDEST_OPSET = 13
# a variant without definition, or a node that is malformed and is refused by name later
_UNDEFINED = (
    *(NoDefinitionError, ArithmeticError, LookupError, TypeError, ValueError),
    NotImplementedError,
)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all graphs inside its nodes."""
    pending = [graph]
    while pending:
        graph = pending.pop()
        yield graph
        for node in graph.node:
            pending.extend(bodies(node))


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
    def __init__(self, model: onnx.ModelProto) -> None:
        standard = [o.version for o in model.opset_import if o.domain in STANDARD_DOMAINS]
        self.opset = max(standard, default=1)
        self.own = {(function.domain, function.name) for function in model.functions}
        self.rewritten: list[str] = []

    def definition(self, node: onnx.NodeProto) -> Definition | None:
        """The row of a node; none for what the standard set has, or the model itself defines."""
        if self.opset < _OLDEST_OPSET or (node.domain, node.op_type) in self.own:
            return None
        if not is_standard(node):
            return DEFINITIONS.get((node.domain, node.op_type))
        row = DEFINITIONS.get(("", node.op_type))
        known = onnx.defs.has(node.op_type, max_inclusive_version=self.opset, domain="")
        return None if known else row

    def run(self, graph: onnx.GraphProto, names: Names, outer: Facts | None = None) -> None:
        """Rewrite a graph and those inside its nodes, in place."""
        facts = Facts(self.opset, outer)
        facts.enter(graph)
        nodes: list[onnx.NodeProto] = []
        for node in graph.node:
            for body in bodies(node):
                self.run(body, names, facts)
            fresh = self._rewrite(node, facts, names)
            if fresh is None:
                facts.learn(node)
                nodes.append(node)
                continue
            nodes.extend(fresh.nodes)
            graph.initializer.extend(fresh.constants)
        kept = onnx.GraphProto()
        kept.node.extend(nodes)
        del graph.node[:]
        graph.node.extend(kept.node)

    def _rewrite(self, node: onnx.NodeProto, facts: Facts, names: Names) -> Fresh | None:
        """What stands in a node's place; None where it stays."""
        row = self.definition(node)
        if row is None or not any(node.output):
            return None
        fresh = Fresh(node, facts, names)
        try:
            row.rewrite(node, fresh)
        except _UNDEFINED:
            return None
        fresh.nodes[-1].name = node.name
        self.rewritten.append(name_of(node))
        return fresh


def standardised(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The model with operators of other domains rewritten into standard ones.

    Returns a new model, in which the last new node of each keeps its name and writes its
    outputs, and the names of the nodes rewritten, bodies of If, Loop and Scan included.  The
    model given stays as it is, and is returned where nothing is to be done: no such operator,
    or an opset below 13.  Weights are never read; external data stay external.
    """
    standardiser = _Standardiser(model)
    nodes = (node for graph in _graphs(model.graph) for node in graph.node)
    if not any(standardiser.definition(node) for node in nodes):
        return model, ()
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    standardiser.run(copy.graph, _names(copy))
    return (copy, tuple(standardiser.rewritten)) if standardiser.rewritten else (model, ())
