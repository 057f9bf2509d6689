"""From a network file to a NetworkGraph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest.builder import GraphBuilder
from dataflow_sim.ingest.finish import finish
from dataflow_sim.ingest.folding import place_pointwise
from dataflow_sim.ingest.load import load_model
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.operators import OPERATORS
from dataflow_sim.ingest.pointwise import PointNode, gather_pointwise
from dataflow_sim.ingest.reader import resolve

# operators whose rules look after inputs that are constants or states themselves
_ANY_INPUT = ("Concat", "Gather", "dataflow_sim::Attention")


def _place(builder: GraphBuilder, node: Node | PointNode) -> None:
    """Turn one node into a layer, fold it, or give its value another name."""
    if isinstance(node, PointNode):
        place_pointwise(builder, node)
        return
    row = OPERATORS.get(node.op)
    if row is None:
        builder.stream(node, known=False)
    elif node.inputs and (node.inputs[0] in builder.values or node.op in _ANY_INPUT):
        row.rule(builder, node)
    else:
        builder.stream(node, macs=row.macs.count(node, builder.network.shapes), data=row.data)


def graph_from_model(
    model: onnx.ModelProto, name: str, dims: Mapping[str, int] | None = None
) -> NetworkGraph:
    """Build the graph of a model in memory; `dims` binds symbolic dimensions.

    Raises NetworkError naming the node that is malformed.
    """
    network = resolve(model, name, dims or {})
    nodes = gather_pointwise(network)
    builder = GraphBuilder(network, nodes)
    for node in nodes:
        try:
            _place(builder, node)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # a file may contradict itself in more ways than rules can foresee
            raise NetworkError(
                f"{name}: node '{node.name}' is malformed: {type(error).__name__}: {error}"
            ) from error
    graph = finish(builder)
    if not graph.layers:
        raise NetworkError(f"{name}: the network has no layer; its outputs are constants")
    return graph


def read_network(path: Path, dims: Mapping[str, int] | None = None) -> NetworkGraph:
    """Read an ONNX file; its name without the ending becomes the network's."""
    return graph_from_model(load_model(path), path.stem, dims)
