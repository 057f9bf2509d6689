"""From a parsed model to resolved nodes: every shape known, every constant found."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.network import Constant
from dataflow_sim.ingest.checks import captured, check_graph
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.resolver import STANDARD_DOMAINS, Resolver, attributes_of

_MAXIMUM_EXTENT = 2**24
_MAXIMUM_ELEMENTS = 2**34


def _bind_dimensions(model: onnx.ModelProto, bindings: Mapping[str, int], label: str) -> None:
    """Replace symbolic input dimensions by numbers, in place; report all unbound at once."""
    initialised = {tensor.name for tensor in model.graph.initializer}
    read = {name for node in model.graph.node for name in (*node.input, *captured(node))}
    read |= {value.name for value in model.graph.output}
    used: set[str] = set()
    unbound: list[str] = []
    for value in model.graph.input:
        if value.name in initialised or value.name not in read:
            continue
        if not value.type.tensor_type.HasField("shape"):
            raise NetworkError(f"{label}: input '{value.name}' is no tensor of stated shape")
        for position, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value"):
                if not 0 < dim.dim_value <= _MAXIMUM_EXTENT:
                    raise NetworkError(
                        f"{label}: input '{value.name}' has the extent {dim.dim_value} on axis "
                        f"{position}; an extent is 1 to {_MAXIMUM_EXTENT:,}"
                    )
            elif dim.dim_param in bindings:
                used.add(dim.dim_param)
                dim.dim_value = bindings[dim.dim_param]
                if dim.dim_value > _MAXIMUM_EXTENT:
                    raise NetworkError(
                        f"{label}: axis {position} of '{value.name}' is bound to {dim.dim_value}; "
                        f"an extent is at most {_MAXIMUM_EXTENT:,} (--dim)"
                    )
            elif dim.dim_param:
                unbound.append(f"'{dim.dim_param}' (axis {position} of '{value.name}')")
            else:
                raise NetworkError(
                    f"{label}: axis {position} of input '{value.name}' has neither an extent nor "
                    "a name to bind; write one into the file"
                )
    if unbound:
        raise NetworkError(
            f"{label}: unbound dimensions {', '.join(unbound)}; give each with --dim NAME=VALUE"
        )
    for name in sorted(set(bindings) - used):
        raise NetworkError(f"{label}: no input has a dimension named '{name}' (--dim)")
    if used:  # what the file says of other shapes was true for its own binding only
        del model.graph.value_info[:]
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")


def _operator(node: onnx.NodeProto) -> str:
    """An operator's name, with its domain in front where that is not the standard's."""
    standard = node.domain in STANDARD_DOMAINS
    return str(node.op_type) if standard else f"{node.domain}::{node.op_type}"


def _keep_computed_outputs(model: onnx.ModelProto) -> None:
    """Drop outputs that no node computes: a shapeless one would hide its input's shape."""
    computed = {name for node in model.graph.node for name in node.output}
    kept = [value for value in model.graph.output if value.name in computed]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def _live_nodes(resolver: Resolver, outputs: tuple[str, ...]) -> list[onnx.NodeProto]:
    """Nodes that compute no constant and reach an output."""
    graph = resolver.model.graph
    wanted = set(outputs)
    live = []
    for node in reversed(graph.node):
        if any(name in wanted for name in node.output) and not all(
            name in resolver.constants for name in node.output if name
        ):
            live.append(node)
            wanted.update((*node.input, *captured(node)))
    return live[::-1]


def _check_extents(shape: tuple[int, ...], name: str, node: onnx.NodeProto, label: str) -> None:
    """Refuse maps and weights without elements, and those that no machine holds."""
    elements = 1
    for extent in shape:
        elements *= extent
    if min(shape, default=1) >= 1 and max(shape, default=1) <= _MAXIMUM_EXTENT:
        if elements <= _MAXIMUM_ELEMENTS:
            return
    elif 0 in shape and name not in node.output:
        return  # an empty constant is how some operators spell a missing input
    raise NetworkError(
        f"{label}: '{name}' of node '{node.name or node.output[0]}' ({node.op_type}) has the shape "
        f"{shape}; extents are 1 to {_MAXIMUM_EXTENT:,}, elements at most {_MAXIMUM_ELEMENTS:,}"
    )


def _resolved_node(node: onnx.NodeProto, resolver: Resolver, read: set[str], label: str) -> Node:
    """A live node with its shapes known and legal.  Raises NetworkError naming it."""
    name_of_node = node.name or node.output[0]
    for name in node.output:
        if name and name not in resolver.shapes and (name in read or name == node.output[0]):
            raise NetworkError(
                f"{label}: no shape can be inferred for '{name}', written by node "
                f"'{name_of_node}' ({node.op_type}): it depends on data, its inputs do not fit "
                "it, or the operator is unknown; state the shape in the file's value_info, or "
                "cut the network before this node"
            )
    results = tuple(name for name in node.output if name in resolver.shapes)
    for name in (*results, *(n for n in node.input if n in resolver.constants)):
        _check_extents(resolver.shapes.get(name, ()), name, node, label)
    inputs = (*node.input, *captured(node))
    return Node(name_of_node, _operator(node), inputs, results, attributes_of(node))


def resolve(model: onnx.ModelProto, label: str, dims: Mapping[str, int]) -> ResolvedNetwork:
    """Bind dimensions, infer all shapes, separate constants from feature maps.

    Raises NetworkError naming the node when the graph is malformed or a shape stays
    unknown.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    check_graph(copy, label)
    _bind_dimensions(copy, dims, label)
    outputs = tuple(dict.fromkeys(value.name for value in model.graph.output))
    _keep_computed_outputs(copy)
    resolver = Resolver(copy, label)
    resolver.run()
    live = _live_nodes(resolver, outputs)
    read = {name for node in live for name in (*node.input, *captured(node))}
    nodes = tuple(_resolved_node(node, resolver, read, label) for node in live)
    inputs = tuple(
        value.name
        for value in model.graph.input
        if value.name not in resolver.constants and (value.name in read or value.name in outputs)
    )
    return ResolvedNetwork(
        name=label,
        opset=max(
            (o.version for o in model.opset_import if o.domain in STANDARD_DOMAINS), default=1
        ),
        nodes=nodes,
        inputs=inputs,
        outputs=outputs,
        shapes=resolver.shapes,
        constants={
            name: Constant(
                name,
                resolver.shapes[name],
                resolver.values.get(name),
                resolver.real(resolver.constants[name]),
            )
            for name in resolver.constants
            if name in resolver.shapes
        },
        sources=resolver.constants,
    )
