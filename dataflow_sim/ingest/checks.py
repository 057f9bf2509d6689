"""What must hold of a graph before anything is inferred from it."""

from __future__ import annotations

import onnx

from dataflow_sim.errors import NetworkError


def captured(node: onnx.NodeProto) -> list[str]:
    """Values of the outer graph that the bodies of an If, Loop or Scan read."""
    found: list[str] = []
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs
        for graph in graphs:
            inner = {value.name for value in graph.input}
            inner |= {tensor.name for tensor in graph.initializer}
            for member in graph.node:
                names = (*member.input, *captured(member))
                found.extend(name for name in names if name and name not in inner)
                inner.update(member.output)
    return list(dict.fromkeys(found))


def check_graph(model: onnx.ModelProto, label: str) -> None:
    """Every value is written once, and before it is read; all names are text."""
    if not model.graph.output:
        raise NetworkError(f"{label}: the graph has no outputs; name at least one")
    for node in model.graph.node:
        texts = (node.name, node.op_type, node.domain, *node.input, *node.output)
        if not all(isinstance(text, str) for text in texts):
            raise NetworkError(
                f"{label}: a node of type {node.op_type!r} has names that are no text"
            )
        if not any(node.output):
            raise NetworkError(f"{label}: node '{node.name}' ({node.op_type}) has no output")
    known = {tensor.name for tensor in model.graph.initializer}
    known |= {value.name for value in model.graph.input} | {""}
    for node in model.graph.node:
        what = f"node '{node.name or node.output[0] if node.output else node.op_type}'"
        for name in node.input:
            if name not in known:
                raise NetworkError(
                    f"{label}: {what} ({node.op_type}) reads '{name}', which no earlier node, "
                    "input or initialiser gives; the graph is cyclic, unsorted or cut"
                )
        for name in node.output:
            if name and name in known:
                raise NetworkError(f"{label}: {what} ({node.op_type}) writes '{name}' again")
            known.add(name)
    for value in model.graph.output:
        if value.name not in known:
            raise NetworkError(f"{label}: no node writes the output '{value.name}'")
