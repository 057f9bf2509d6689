"""From a network file to a NetworkGraph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.network import NetworkGraph, PassReport
from dataflow_sim.ingest.catalogue import catalogue
from dataflow_sim.ingest.file.load import load_model
from dataflow_sim.ingest.file.measure import FileWeights
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.finish import counted, finish
from dataflow_sim.ingest.layers.folding import place_pointwise
from dataflow_sim.ingest.layers.pointwise import PointNode, gather_pointwise
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.operators import OPERATORS
from dataflow_sim.ingest.passes import run_passes
from dataflow_sim.ingest.passes.replacements import REPLACEMENTS
from dataflow_sim.ingest.passes.roundings import lost_inside
from dataflow_sim.ingest.preparing import prepared
from dataflow_sim.ingest.request import ReadRequest
from dataflow_sim.ingest.shapes.reader import resolve

__all__ = [
    "REPLACEMENTS",
    "FileWeights",
    "ReadRequest",
    "catalogue",
    "graph_from_model",
    "load_model",
    "read_network",
    "ready_model",
]

# a file may contradict itself in more ways than rules can foresee
_MALFORMED = (ArithmeticError, LookupError, TypeError, ValueError)

_FOLDED = "nodes that compute constants are constants"
_LIVE = "every node reaches an output"
_ARRANGED = "reshapes and transposes move nothing, but for the copies named"

# operators whose rules look after inputs that are constants or states themselves
_ANY_INPUT = ("Concat", "Gather", "dataflow_sim::Attention")


def _place(builder: GraphBuilder, node: Node | PointNode) -> None:
    """Turn one node into a layer, fold it, or give its value another name."""
    if isinstance(node, PointNode):
        place_pointwise(builder, node)
        return
    builder.roundings.keep(node)
    row = OPERATORS.get(node.op)
    if row is None:
        builder.stream(node, known=False)
    elif node.inputs and (builder.is_map(node.inputs[0]) or node.op in _ANY_INPUT):
        row.rule(builder, node)
    else:
        builder.stream(node, macs=row.macs.count(node, builder.network.shapes), data=row.data)


def _rewritten(
    network: ResolvedNetwork, replaced: tuple[str, ...]
) -> tuple[ResolvedNetwork, tuple[PassReport, ...]]:
    try:
        network, reports = run_passes(network, [REPLACEMENTS[name] for name in replaced])
    except _MALFORMED as error:
        raise NetworkError(
            f"{network.name}: a node is malformed: {type(error).__name__}: {error}"
        ) from error
    return replace(network, unrounded=(*network.unrounded, *lost_inside(network))), reports


# what is done of a request once a model is ready
_DONE: Mapping[str, Any] = {"batch": None, "input_size": None, "branches": {}, "trips": {}}


def ready_model(
    model: onnx.ModelProto, name: str, request: ReadRequest
) -> tuple[onnx.ModelProto, ReadRequest, tuple[str, ...]]:
    """A model as it was asked for, what is left to ask of the reader, and what is to be told.

    Others may change the constants of what comes back, and execute it.
    """
    ready = prepared(model, name, request)
    left = replace(request, dims=ready.dims, **_DONE)
    return ready.model, left, ready.statements


def graph_from_model(
    model: onnx.ModelProto, name: str, request: ReadRequest | None = None
) -> NetworkGraph:
    """Build the graph of a model in memory.

    Raises NetworkError naming the node that is malformed.
    """
    request = request or ReadRequest()
    ready = prepared(model, name, request)
    network = replace(resolve(ready.model, name, ready.dims), statements=ready.statements)
    network, reports = _rewritten(network, request.replaced)
    nodes = gather_pointwise(network)
    builder = GraphBuilder(network, nodes, request)
    for node in nodes:
        try:
            _place(builder, node)
            builder.settle(node)
        except _MALFORMED as error:
            raise NetworkError(
                f"{name}: node '{node.name}' is malformed: {type(error).__name__}: {error}"
            ) from error
    if request.strict and builder.unsupported:
        raise NetworkError(
            f"{name}: operators that are not understood (--strict): {counted(builder.unsupported)};"
            " `dataflow-sim operators` lists those that are"
        )
    told = (
        PassReport("constants", _FOLDED, network.folded),
        PassReport("dead code", _LIVE, network.dead),
    )
    copies = PassReport("arrangements", _ARRANGED, tuple(builder.copies))
    graph = replace(finish(builder), passes=(*ready.reports, *told, *reports, copies))
    if not graph.layers:
        raise NetworkError(f"{name}: the network has no layer; its outputs are constants")
    by_layer, by_node = sum(map(layer_macs, graph.layers)), _macs_of_nodes(network)
    assert by_layer == by_node, f"{name}: layers have {by_layer:,} MACs, nodes {by_node:,}"
    return graph


def _macs_of_nodes(network: ResolvedNetwork) -> int:
    """MACs by the registry's formulas, node by node: what the layers must add up to."""
    rows = ((OPERATORS.get(node.op), node) for node in network.nodes)
    return sum(row.macs.count(node, network.shapes) for row, node in rows if row is not None)


def read_network(path: Path, request: ReadRequest | None = None) -> NetworkGraph:
    """Read an ONNX file; its name without the ending becomes the network's."""
    return graph_from_model(load_model(path), path.stem, request)
