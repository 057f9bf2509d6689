"""Files that must be refused, and how that is checked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
import pytest
from onnx import TensorProto, helper

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.file.load import load_model
from dataflow_sim.ingest.shapes.reader import resolve

FIELD_GRAPH, FIELD_NODE, FIELD_ATTRIBUTE, FIELD_BODY = 7, 1, 5, 6
SECONDS = 10


HUGE = 2**40


Nodes = Sequence[onnx.NodeProto]


def read(path: Path) -> None:
    resolve(load_model(path), path.stem, {})


def refused(path: Path, match: str) -> None:
    start = time.process_time()
    with pytest.raises(NetworkError, match=match):
        read(path)
    assert time.process_time() - start < SECONDS


def model(
    nodes: Nodes,
    tensors: Sequence[TensorProto] = (),
    shape: Sequence[int] = (1, 4, 8, 8),
    outputs: Sequence[str] = ("y",),
    version: int = 17,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        list(tensors),
    )
    imports = [helper.make_opsetid("", version), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=8)


def node(op: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), ["y"], name="it", **attributes)


def ints(name: str, *values: int, scalar: bool = False) -> TensorProto:
    dims = [] if scalar else [len(values)]
    return helper.make_tensor(name, TensorProto.INT64, dims, list(values))


RELU = model([node("Relu", "x")])


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes((value & 127 | 128,))
        value >>= 7
    return found + bytes((value,))


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def file_of_graph(graph: bytes) -> bytes:
    """A file with this graph, version 17 of the operators and a version of the format."""
    return b"\x08\x08" + field(FIELD_GRAPH, graph) + field(8, b"\x0a\x00\x10\x11")


def nested(depth: int) -> bytes:
    """A file whose node 'deep' nests this many graphs, one in the other, innermost empty."""
    layers = [(FIELD_BODY, b"\x0a\x0bthen_branch"), (FIELD_ATTRIBUTE, b"\x1a\x04deep\x22\x02If")]
    heads: list[bytes] = []
    length = 0
    for _ in range(depth):
        for number, content in (layers[0], layers[1], (FIELD_NODE, b"")):
            head = content + varint(number << 3 | 2) + varint(length)
            heads.append(head)
            length += len(head)
    return file_of_graph(b"".join(reversed(heads)))


def branches(depth: int) -> onnx.NodeProto:
    """An If in an If, ..., with a Relu of the network's `x` innermost."""
    inner = helper.make_node("Relu", ["x"], ["y"])
    outermost = onnx.NodeProto()
    at = outermost
    for _ in range(depth):
        at.CopyFrom(helper.make_node("If", ["c"], ["y"], name="deep"))
        for name in ("then_branch", "else_branch"):
            attribute = at.attribute.add(name=name, type=onnx.AttributeProto.GRAPH)
            attribute.g.name = name
            attribute.g.output.add(name="y")
            attribute.g.node.append(inner)
        at = at.attribute[0].g.node[0]
    return outermost
