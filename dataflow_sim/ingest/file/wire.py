"""The outline of an ONNX file, walked in its bytes before anything is built from them.

The parser builds whatever a file announces (an empty node takes two bytes of the file and
hundreds of the memory), and gives up on deep nesting without a word where.  So the fields that
can hold nodes are walked first, without recursion and without a copy:

    ModelProto      graph = 7, functions = 25
    GraphProto      node = 1
    FunctionProto   node = 7
    NodeProto       output = 2, name = 3, attribute = 5
    AttributeProto  g = 6, graphs = 11

Source: onnx/onnx.proto and the wire format of Protocol Buffers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from mmap import mmap
from typing import NamedTuple

from dataflow_sim.errors import NetworkError

MAXIMUM_NODES = 100_000
# the parser's own limit of nested messages is met at 31 to 33 graphs
MAXIMUM_NESTING = 24
# all fields of nodes and attributes; a node of an exporter has about 25
_MAXIMUM_FIELDS = 2_000_000

Bytes = bytes | mmap

_MODEL, _GRAPH, _FUNCTION, _NODE, _ATTRIBUTE = range(5)
_ENTERED: tuple[Mapping[int, int], ...] = (
    {7: _GRAPH, 25: _FUNCTION},
    {1: _NODE},
    {7: _NODE},
    {5: _ATTRIBUTE},
    {6: _GRAPH, 11: _GRAPH},
)
_OUTPUT_FIELD, _NAME_FIELD = 2, 3
_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10


class _MalformedError(Exception):
    """The bytes are no fields; the text says where and why."""


class Field(NamedTuple):
    """A field with its content: where that starts and stops, and what it says."""

    number: int
    wire: int
    start: int
    stop: int

    def value(self, data: Bytes) -> int:
        """The number that it holds."""
        return _varint(data, self.start, self.stop)[0]

    def packed(self, data: Bytes) -> list[int]:
        """The numbers that it holds one behind the other."""
        found, at = [], self.start
        while at < self.stop:
            number, at = _varint(data, at, self.stop)
            found.append(number)
        return found


def _varint(data: Bytes, at: int, stop: int) -> tuple[int, int]:
    """A number of variable length at `at`, and where it ends."""
    value = 0
    for shift in range(0, 7 * _LONGEST_VARINT, 7):
        if at >= stop:
            raise _MalformedError(f"it is cut short at byte {at:,}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _MalformedError(f"byte {at:,} belongs to no field of a network")


def _field(data: Bytes, at: int, stop: int) -> Field:
    """The field that starts at `at`, inside a message that ends at `stop`."""
    tag, start = _varint(data, at, stop)
    number, wire = tag >> 3, tag & 7
    if wire == _DELIMITED:
        length, start = _varint(data, start, stop)
        end = start + length
    elif wire == _VARINT:
        end = _varint(data, start, stop)[1]
    elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
        end = start + (8 if wire == _EIGHT_BYTES else 4)
    else:
        raise _MalformedError(f"byte {at:,} belongs to no field of a network")
    if number == 0:
        raise _MalformedError(f"byte {at:,} belongs to no field of a network")
    if end > stop:
        raise _MalformedError(
            f"the field at byte {at:,} announces {end - start:,} bytes, {stop - start:,} are left; "
            "the file is cut short or damaged"
        )
    return Field(number, wire, start, end)


def fields_of(data: Bytes, start: int, stop: int) -> Iterator[Field]:
    """The fields of a message that an outline was checked of, in order."""
    while start < stop:
        found = _field(data, start, stop)
        yield found
        start = found.stop


def _name_of_node(data: Bytes, at: int, stop: int) -> str:
    """The name of the node in these bytes, or that of its first output."""
    names: dict[int, str] = {}
    while at < stop:
        field = _field(data, at, stop)
        if field.number in (_OUTPUT_FIELD, _NAME_FIELD) and field.wire == _DELIMITED:
            names.setdefault(
                field.number, data[field.start : field.stop].decode("utf-8", "replace")
            )
        at = field.stop
    return names.get(_NAME_FIELD) or names.get(_OUTPUT_FIELD, "")


def _walk(data: Bytes, label: str) -> None:
    open_messages = [(_MODEL, len(data))]
    outermost = (0, 0)  # where the node of the main graph or a function starts and stops
    nesting = nodes = fields = at = 0
    while open_messages:
        kind, stop = open_messages[-1]
        if at >= stop:
            open_messages.pop()
            nesting -= kind == _GRAPH
            continue
        field = _field(data, at, stop)
        entered = _ENTERED[kind].get(field.number) if field.wire == _DELIMITED else None
        fields += kind in (_NODE, _ATTRIBUTE)
        if fields > _MAXIMUM_FIELDS:
            raise NetworkError(
                f"{label}: its nodes have more than {_MAXIMUM_FIELDS:,} inputs, outputs and "
                "attributes; no network of a real exporter comes near"
            )
        if entered is None:
            at = field.stop
            continue
        if entered == _NODE:
            nodes += 1
            if len(open_messages) == 2:
                outermost = (field.start, field.stop)
        if nodes > MAXIMUM_NODES:
            raise NetworkError(
                f"{label}: the graph has more than {MAXIMUM_NODES:,} nodes; cut the network, or "
                "simplify it before it is read"
            )
        nesting += entered == _GRAPH
        if nesting > MAXIMUM_NESTING + 1:  # the main graph is not nested
            name = _name_of_node(data, *outermost)
            raise NetworkError(
                f"{label}: node '{name}' nests more than {MAXIMUM_NESTING} graphs in one another; "
                "flatten its branches and loops"
            )
        open_messages.append((entered, field.stop))
        at = field.start


def check_outline(data: Bytes, label: str, path: object) -> None:
    """Refuse bytes that are no ONNX file, or one that no parser should build.

    `label` names the network in messages, `path` the file.  Raises NetworkError naming the
    byte, or the node whose bodies are nested too deep.
    """
    try:
        _walk(data, label)
    except _MalformedError as error:
        raise NetworkError(f"'{path}' is not an ONNX file: {error}") from None
