"""A single node of a file: what it reads and holds, and what must hold of it.

Shape inference trusts some attributes and input counts without looking (an axis of 2**31, a
Split into another number of outputs than it has); what would end the process there is refused
here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import onnx
from onnx import AttributeProto

from dataflow_sim.errors import NetworkError

STANDARD_DOMAINS = ("", "ai.onnx")
MAXIMUM_EXTENT = 2**24
MAXIMUM_ELEMENTS = 2**34
MAXIMUM_RANK = 64
_MOST_NAMES = 10_000
_LONGEST_QUOTE = 60

# attributes that name axes, or count them
_AXES = frozenset(("axis", "axes", "batch_dims", "batch_axis", "time_axis"))
_NUMBERS = dict(AttributeProto.AttributeType.items())
_KINDS = {
    AttributeProto.FLOAT: "no number",
    AttributeProto.INT: "no integer",
    AttributeProto.STRING: "no text",
    AttributeProto.TENSOR: "no tensor",
    AttributeProto.GRAPH: "no graph",
    AttributeProto.FLOATS: "no list of numbers",
    AttributeProto.INTS: "no list of integers",
    AttributeProto.STRINGS: "no list of texts",
}


def is_standard(node: onnx.NodeProto) -> bool:
    """Whether the operator is one of the ONNX standard's."""
    return node.domain in STANDARD_DOMAINS


def name_of(node: onnx.NodeProto) -> str:
    """What messages call a node: its name, else its first output, else its operator."""
    return str(node.name or (node.output[0] if node.output else "") or node.op_type)


def titled(node: onnx.NodeProto) -> str:
    """A node as messages name it, with its operator."""
    return f"node '{name_of(node)}' ({node.op_type})"


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs that a node holds: branches of an If, the body of a Loop or Scan."""
    found: list[onnx.GraphProto] = []
    for attribute in node.attribute:
        if attribute.HasField("g"):
            found.append(attribute.g)
        if attribute.graphs:
            found.extend(attribute.graphs)
    return found


class _Scope:
    """A body being walked: the names known in it, the nodes and inner bodies still to walk."""

    def __init__(self, graph: onnx.GraphProto | None, pending: list[onnx.GraphProto]) -> None:
        self.names: set[str] = set()
        self.nodes: Iterator[onnx.NodeProto] = iter(())
        self.results: list[str] = []
        self.node: onnx.NodeProto | None = None
        self.pending = pending[::-1]
        if graph is not None:
            self.names.update(value.name for value in graph.input)
            self.names.update(tensor.name for tensor in graph.initializer)
            self.nodes = iter(graph.node)
            self.results = [value.name for value in graph.output]


def captured(node: onnx.NodeProto) -> list[str]:
    """Values of the outer graph that the bodies of an If, Loop or Scan read, each once."""
    if not node.attribute:
        return []
    held = bodies(node)
    if not held:
        return []
    found: dict[str, None] = {}
    scopes = [_Scope(None, held)]

    def read(names: Iterable[str]) -> None:
        for name in names:
            if name and not any(name in scope.names for scope in scopes):
                found[name] = None

    while scopes:
        scope = scopes[-1]
        if scope.pending:
            scopes.append(_Scope(scope.pending.pop(), []))
            continue
        if scope.node is not None:
            scope.names.update(scope.node.output)
        scope.node = next(scope.nodes, None)
        if scope.node is None:
            read(scope.results)
            scopes.pop()
        else:
            read(scope.node.input)
            scope.pending = bodies(scope.node)[::-1]
    return list(found)


def names_read(node: onnx.NodeProto) -> tuple[str, ...]:
    """All names that a node reads, through its inputs and in its bodies; "" is left out."""
    return (*(name for name in node.input if name), *captured(node))


@dataclass(frozen=True, slots=True)
class Reader:
    """A node and all names that it reads, gathered once."""

    node: onnx.NodeProto
    names: tuple[str, ...]


def readers_of(nodes: Iterable[onnx.NodeProto]) -> list[Reader]:
    """The nodes, each with the names that it reads."""
    return [Reader(node, names_read(node)) for node in nodes]


@dataclass(frozen=True, slots=True)
class _Signature:
    """What the standard says of an operator: counts of inputs and outputs, attributes."""

    inputs: tuple[int, int]
    outputs: int
    needs_first: bool
    attributes: Mapping[str, int]


@lru_cache(maxsize=4096)
def _signature(op: str, version: int) -> _Signature | None:
    """The signature of a standard operator at a version; None where there is none."""
    try:
        schema = onnx.defs.get_schema(op, version, "")
    except onnx.defs.SchemaError:
        return None
    single = onnx.defs.OpSchema.FormalParameterOption.Single
    return _Signature(
        (schema.min_input, schema.max_input),
        schema.max_output,
        bool(schema.inputs) and schema.inputs[0].option == single,
        {
            name: _NUMBERS[str(each.type).rpartition(".")[2]]
            for name, each in schema.attributes.items()
        },
    )


def _quoted(attribute: AttributeProto) -> str:
    """An attribute's value for a message, cut where it is long."""
    try:
        value = onnx.helper.get_attribute_value(attribute)
    except ValueError:
        return "?"
    text = repr(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "..."


def _check_attributes(node: onnx.NodeProto, known: Mapping[str, int], label: str) -> None:
    for attribute in node.attribute:
        if not isinstance(attribute.name, str):
            raise NetworkError(f"{label}: {titled(node)} has an attribute whose name is no text")
        wanted = known.get(attribute.name, attribute.type)
        if attribute.type not in (wanted, AttributeProto.UNDEFINED):
            kind = _KINDS.get(wanted, "of another type than the standard says")
            raise NetworkError(
                f"{label}: {titled(node)} has {attribute.name}={_quoted(attribute)}, {kind}"
            )
        if attribute.name in _AXES and not all(
            -MAXIMUM_RANK <= value <= MAXIMUM_RANK for value in (attribute.i, *attribute.ints)
        ):
            raise NetworkError(
                f"{label}: {titled(node)} has {attribute.name}={_quoted(attribute)}; axes count "
                f"from -{MAXIMUM_RANK} to {MAXIMUM_RANK}"
            )
        if node.op_type == "GatherND" and attribute.name == "batch_dims" and attribute.i < 0:
            raise NetworkError(
                f"{label}: {titled(node)} has batch_dims={attribute.i}; it is at least 0"
            )
        if (
            attribute.name == "num_outputs"
            and attribute.name in known
            and attribute.i != len(node.output)
        ):
            raise NetworkError(
                f"{label}: {titled(node)} has num_outputs={attribute.i} and {len(node.output)} "
                "outputs; the two must be the same"
            )


def check_node(node: onnx.NodeProto, version: int, label: str) -> None:
    """Names are text, counts and attributes such as the standard's `version` wants them.

    Raises NetworkError naming the node.
    """
    texts = (node.name, node.op_type, node.domain, *node.input, *node.output)
    if not all(isinstance(text, str) for text in texts):
        raise NetworkError(f"{label}: a node of type {node.op_type!r} has names that are no text")
    if not any(node.output):
        raise NetworkError(f"{label}: node '{node.name}' ({node.op_type}) has no output")
    if len(texts) > _MOST_NAMES:
        raise NetworkError(
            f"{label}: {titled(node)} has {len(node.input):,} inputs and {len(node.output):,} "
            f"outputs; a node has at most {_MOST_NAMES:,}"
        )
    signature = _signature(node.op_type, version) if is_standard(node) else None
    _check_attributes(node, signature.attributes if signature else {}, label)
    if signature is None:
        return
    least, most = signature.inputs
    if not least <= len(node.input) <= most or len(node.output) > signature.outputs:
        raise NetworkError(
            f"{label}: {titled(node)} has {len(node.input)} inputs and {len(node.output)} outputs; "
            f"the operator has {least} to {most} and at most {signature.outputs}"
        )
    if signature.needs_first and not node.input[0]:
        raise NetworkError(f"{label}: {titled(node)} leaves out its first input")


def check_extents(extents: Iterable[int | None], what: str, label: str) -> None:
    """Known extents are not negative, and not more than any machine holds.

    `what` names the value, with its verb.  Raises NetworkError.
    """
    listed = tuple(extents)
    elements = 1
    for axis, extent in enumerate(listed):
        if extent is not None:
            if not 0 <= extent <= MAXIMUM_ELEMENTS:
                raise NetworkError(
                    f"{label}: {what} the extent {extent} on axis {axis}; an extent is 0 to "
                    f"{MAXIMUM_ELEMENTS:,}"
                )
            elements *= extent
    if len(listed) > MAXIMUM_RANK:
        raise NetworkError(
            f"{label}: {what} {len(listed):,} axes; a value has at most {MAXIMUM_RANK}"
        )
    if elements > MAXIMUM_ELEMENTS:
        raise NetworkError(
            f"{label}: {what} the shape {listed} of {elements:,} elements; a value has at most "
            f"{MAXIMUM_ELEMENTS:,}"
        )
