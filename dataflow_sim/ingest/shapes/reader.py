"""From a parsed model to resolved nodes: every shape known, every constant found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.network import Constant
from dataflow_sim.ingest.file.checks import check_graph, standard_version
from dataflow_sim.ingest.file.nodes import (
    MAXIMUM_ELEMENTS,
    MAXIMUM_EXTENT,
    Reader,
    is_standard,
    name_of,
    names_read,
    titled,
)
from dataflow_sim.ingest.file.tensors import BITS
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.shapes.dequantised import constant_meanings
from dataflow_sim.ingest.shapes.resolver import Resolver, attributes_of, stated_types
from dataflow_sim.ingest.shapes.tails import outputs_of_static_part, shapeless_output, split_tails


def _bound(
    value: onnx.ValueInfoProto, bindings: Mapping[str, int], unbound: list[str], label: str
) -> onnx.TypeProto:
    """The type of an input with its symbolic dimensions replaced; `unbound` takes the others."""
    if not value.type.tensor_type.HasField("shape"):
        raise NetworkError(f"{label}: input '{value.name}' is no tensor of stated shape")
    kind = onnx.TypeProto()
    kind.CopyFrom(value.type)
    for axis, dim in enumerate(kind.tensor_type.shape.dim):
        if dim.HasField("dim_value"):
            if not 0 < dim.dim_value <= MAXIMUM_EXTENT:
                raise NetworkError(
                    f"{label}: input '{value.name}' has the extent {dim.dim_value} on axis "
                    f"{axis}; an extent is 1 to {MAXIMUM_EXTENT:,}"
                )
        elif dim.dim_param in bindings:
            extent = bindings[dim.dim_param]
            if not 0 < extent <= MAXIMUM_EXTENT:
                raise NetworkError(
                    f"{label}: axis {axis} of '{value.name}' is bound to {extent}; an extent is "
                    f"1 to {MAXIMUM_EXTENT:,} (--dim)"
                )
            dim.dim_value = extent
        elif dim.dim_param:
            unbound.append(f"'{dim.dim_param}' (axis {axis} of '{value.name}')")
        else:
            raise NetworkError(
                f"{label}: axis {axis} of input '{value.name}' has neither an extent nor a name "
                "to bind; write one into the file"
            )
    return kind


def bind_dimensions(
    model: onnx.ModelProto, bindings: Mapping[str, int], label: str, *, partly: bool = False
) -> dict[str, onnx.TypeProto]:
    """The types that the file states, with symbolic dimensions of inputs replaced by numbers.

    Raises NetworkError that names all unbound dimensions at once, unless only part of them is
    to be bound here.
    """
    initialised = {tensor.name for tensor in model.graph.initializer}
    read = {name for node in model.graph.node for name in names_read(node)}
    read |= {value.name for value in model.graph.output}
    named: set[str] = set()
    unbound: list[str] = []
    stated = stated_types(model)
    inputs: dict[str, onnx.TypeProto] = {}
    for value in model.graph.input:
        if value.name not in initialised and value.name in read:
            inputs[value.name] = _bound(value, bindings, unbound, label)
            named.update(dim.dim_param for dim in value.type.tensor_type.shape.dim)
    if unbound and not partly:
        raise NetworkError(
            f"{label}: unbound dimensions {', '.join(unbound)}; give each with --dim NAME=VALUE"
        )
    for name in sorted(set(bindings) - named):
        raise NetworkError(f"{label}: no input has a dimension named '{name}' (--dim)")
    if bindings:  # what the file says of other shapes was true for its own binding only
        for name, kind in stated.items():
            if kind.HasField("tensor_type"):
                stated[name] = onnx.TypeProto()
                stated[name].tensor_type.elem_type = kind.tensor_type.elem_type
    return {**stated, **inputs}


def _operator(node: onnx.NodeProto) -> str:
    """An operator's name, with its domain in front where that is not the standard's."""
    return str(node.op_type) if is_standard(node) else f"{node.domain}::{node.op_type}"


def _live_nodes(resolver: Resolver, outputs: tuple[str, ...]) -> list[Reader]:
    """Nodes that compute no constant and reach an output."""
    wanted = set(outputs)
    live = []
    for reader in reversed(resolver.readers):
        written = reader.node.output
        if any(name in wanted for name in written) and not all(
            name in resolver.constants for name in written if name
        ):
            live.append(reader)
            wanted.update(reader.names)
    return live[::-1]


def _needless(
    resolver: Resolver, live: Sequence[Reader]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the nodes that compute constants, and of those that no output needs."""
    needed = {id(reader) for reader in live}
    folded, dead = [], []
    for reader in resolver.readers:
        written = [name for name in reader.node.output if name]
        if all(name in resolver.constants for name in written):
            folded.append(name_of(reader.node))
        elif id(reader) not in needed:
            dead.append(name_of(reader.node))
    return tuple(folded), tuple(dead)


def _check_extents(shape: tuple[int, ...], name: str, node: onnx.NodeProto, label: str) -> None:
    """Refuse maps and weights without elements, and those that no machine holds."""
    elements = 1
    for extent in shape:
        elements *= extent
    if min(shape, default=1) >= 1 and max(shape, default=1) <= MAXIMUM_EXTENT:
        if elements <= MAXIMUM_ELEMENTS:
            return
    elif 0 in shape and name not in node.output:
        return  # an empty constant is how some operators spell a missing input
    raise NetworkError(
        f"{label}: '{name}' of {titled(node)} has the shape {shape}; extents are 1 to "
        f"{MAXIMUM_EXTENT:,}, elements at most {MAXIMUM_ELEMENTS:,}"
    )


def _resolved_node(reader: Reader, resolver: Resolver, read: set[str], label: str) -> Node:
    """A live node with its shapes known and legal.  Raises NetworkError naming it."""
    node = reader.node
    missing = shapeless_output(node, resolver.shapes, read)
    if missing is not None:
        raise NetworkError(
            f"{label}: no shape can be inferred for '{missing}', written by {titled(node)}: its "
            "inputs do not fit it, or the operator is unknown; state the shape in the file's "
            "value_info, or cut the network before this node"
        )
    known = [place for place, name in enumerate(node.output) if name in resolver.shapes]
    results = tuple(node.output[place] for place in known)
    for name in (*results, *(n for n in node.input if n in resolver.constants)):
        _check_extents(resolver.shapes.get(name, ()), name, node, label)
    captured = reader.names[sum(1 for name in node.input if name) :]
    inputs = (*node.input, *captured)
    places = tuple(known) if known != list(range(len(known))) else ()
    return Node(name_of(node), _operator(node), inputs, results, attributes_of(node), places)


def _constants(resolver: Resolver) -> dict[str, Constant]:
    """All constants whose shape is known."""
    shapes, meant = resolver.shapes, constant_meanings(resolver)
    found: dict[str, Constant] = {}
    for name, source in resolver.constants.items():
        if name in shapes:
            value, known = resolver.values.get(name), meant.get(name)
            if value is None and known is not None:
                value = known.integers
            means = None if known is None else known.meaning
            found[name] = Constant(name, shapes[name], value, resolver.real(source), means)
    return found


def resolve(model: onnx.ModelProto, label: str, dims: Mapping[str, int]) -> ResolvedNetwork:
    """Bind dimensions, infer all shapes, separate constants from feature maps.

    Nodes whose shapes depend on data are cut off, with all that is behind them.  Raises
    NetworkError naming the node when the graph is malformed or a shape stays unknown.
    """
    check_graph(model, label)
    resolver = Resolver(model, label, bind_dimensions(model, dims, label))
    resolver.run()
    asked = tuple(dict.fromkeys(value.name for value in model.graph.output))
    live = _live_nodes(resolver, asked)
    read = {name for reader in live for name in reader.names}
    static, cut = split_tails(live, resolver.shapes, resolver.constants, read, label)
    nodes = tuple(_resolved_node(reader, resolver, read, label) for reader in static)
    outputs = outputs_of_static_part(static, cut, asked)
    folded, dead = _needless(resolver, live)
    element_types = resolver.element_types()
    wanted = {name for reader in static for name in reader.names} | set(outputs)
    return ResolvedNetwork(
        name=label,
        opset=standard_version(model.opset_import),
        nodes=nodes,
        inputs=tuple(
            value.name
            for value in model.graph.input
            if value.name not in resolver.constants and value.name in wanted
        ),
        outputs=outputs,
        shapes=resolver.shapes,
        constants=_constants(resolver),
        sources=resolver.constants,
        bits={name: BITS[element] for name, element in element_types.items()},
        element_types=element_types,
        parts={name: parts for name, parts in resolver.joined.items() if len(parts) > 1},
        folded=folded,
        dead=dead,
        handed_over=frozenset(outputs) - frozenset(asked),
        left_out=tuple((name_of(each.node), _operator(each.node)) for each in cut),
    )
