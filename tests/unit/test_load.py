"""Files that are none, or nest too deep: one message each, soon."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import pytest
from onnx import TensorProto, helper, numpy_helper

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.file.checks import check_functions
from dataflow_sim.ingest.file.load import load_model
from dataflow_sim.ingest.file.nodes import captured
from dataflow_sim.ingest.file.wire import MAXIMUM_NESTING, MAXIMUM_NODES
from dataflow_sim.ingest.shapes.reader import resolve
from tests.support.hostile_files import (
    FIELD_NODE,
    RELU,
    SECONDS,
    branches,
    field,
    file_of_graph,
    model,
    nested,
    node,
    read,
    refused,
)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"just a text\n" * 9,
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x01\x00",
        b"\x1f\x8b\x08\x00" + bytes(60),
        bytes(4096),
        b"\xff" * 4096,
        b'{"format": "json"}',
        b"\x08\x08",
        b"PK\x03\x04" + bytes(range(200)),
    ],
    ids=["empty", "text", "png", "gzip", "zeros", "ones", "json", "no graph", "zip"],
)
def test_what_is_no_onnx_file_is_called_so(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    refused(path, r"network\.onnx' is not an ONNX file: ")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), node("Relu", "c")]
    weights = numpy_helper.from_array(np.ones((2, 4, 3, 3), np.float32), "w")
    whole = model(nodes, [weights]).SerializeToString()
    imports = len(onnx.ModelProto(opset_import=RELU.opset_import[1:]).SerializeToString())
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if length == len(whole) - imports:  # only the last, unused operator set is cut off
            read(path)
        else:
            refused(path, "is not an ONNX file")
    path.write_bytes(whole)
    read(path)


def test_a_file_larger_than_any_message_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.onnx"
    with path.open("wb") as file:
        file.truncate(2**40)
    refused(path, "1,099,511,627,776 bytes")


@pytest.mark.parametrize("depth", [MAXIMUM_NESTING + 1, 40, 60, 10_000])
def test_deep_nesting_names_the_outermost_node(depth: int, tmp_path: Path) -> None:
    path = tmp_path / "deep.onnx"
    path.write_bytes(nested(depth))
    refused(path, f"node 'deep' nests more than {MAXIMUM_NESTING} graphs")


def test_nesting_within_the_limit_is_read_and_beyond_it_refused() -> None:
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, ())
    for depth in (1, 7, MAXIMUM_NESTING):
        found = model([branches(depth)])
        found.graph.input.append(condition)
        network = resolve(found, "nested", {})
        assert network.shapes["y"] == (1, 4, 8, 8)
        assert network.nodes[0].inputs == (("c", "x") if depth == 1 else ("c", "c", "x"))
    assert captured(branches(2000)) == ["c", "x"]
    for depth in (MAXIMUM_NESTING + 1, 60, 2000):
        too_deep = model([node("Relu", "x")])
        too_deep.graph.node[0].CopyFrom(branches(1))
        at = too_deep.graph.node[0]
        for _ in range(depth):
            inner = at.attribute[0].g.node[0]
            inner.CopyFrom(branches(1))
            at = inner
        with pytest.raises(NetworkError, match="node 'deep' nests more than"):
            resolve(too_deep, "nested", {})


@pytest.mark.slow
def test_more_nodes_than_any_network_has(tmp_path: Path) -> None:
    path = tmp_path / "many.onnx"
    one = field(FIELD_NODE, field(1, b"x") + field(2, b"y") + field(4, b"Identity"))
    path.write_bytes(file_of_graph(one * 10**6))
    refused(path, "more than 100,000 nodes")
    path.write_bytes(file_of_graph(field(FIELD_NODE, field(5, b"") * 3 * 10**6)))
    refused(path, "more than 2,000,000 inputs, outputs and attributes")


@pytest.mark.parametrize(
    "count", [MAXIMUM_NODES // 10, pytest.param(MAXIMUM_NODES, marks=pytest.mark.slow)]
)
def test_many_nodes_are_read_in_time(count: int, tmp_path: Path) -> None:
    path = tmp_path / "many.onnx"
    names = ["x", *(f"v{i}" for i in range(count - 1)), "y"]
    nodes = [helper.make_node("Identity", [source], [result]) for source, result in pairwise(names)]
    path.write_bytes(model(nodes).SerializeToString())
    start = time.process_time()
    assert len(resolve(load_model(path), "many", {}).nodes) == count
    assert time.process_time() - start < SECONDS
    more = [helper.make_node("Relu", ["x"], ["z"])] * (MAXIMUM_NODES + 1 - count)
    with pytest.raises(NetworkError, match="more than 100,000 nodes"):
        resolve(model([*nodes, *more]), "many", {})


def test_a_node_of_a_million_inputs(tmp_path: Path) -> None:
    path = tmp_path / "wide.onnx"
    path.write_bytes(model([node("Sum", *["x"] * 10**6)]).SerializeToString())
    refused(path, r"node 'it' \(Sum\) has 1,000,000 inputs")


def function(name: str, calls: Sequence[str]) -> onnx.FunctionProto:
    names = [f"t{i}" for i in range(len(calls))]
    nodes = [
        helper.make_node(call, ["a"], [result], domain="" if call == "Relu" else "own")
        for call, result in zip(calls, names, strict=True)
    ]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["a"], names[-1:], nodes, imports)


def calling(name: str, functions: Sequence[onnx.FunctionProto]) -> onnx.ModelProto:
    call = helper.make_node(name, ["x"], ["y"], domain="own")
    return model([call], functions=functions)


def test_the_inlined_size_is_what_inlining_gives() -> None:
    functions = [function("f0", ["Relu"] * 3)]
    functions += [function(f"f{i}", [f"f{i - 1}", "Relu", f"f{i - 1}"]) for i in range(1, 6)]
    found = calling("f5", functions)
    inlined = onnx.inliner.inline_local_functions(found)
    assert check_functions(found, "f") == len(inlined.graph.node) == 3 * 2**5 + 2**5 - 1
    assert check_functions(RELU, "f") == 0


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ([function("f0", ["Relu"] * 2)], ""),
        (
            [function("f0", ["Relu"])]
            + [function(f"f{i}", [f"f{i - 1}"] * 2) for i in range(1, 60)],
            "the largest is 'f17'.* more than 100,000 nodes",
        ),
        (
            [function("f0", ["Relu"])] + [function(f"f{i}", [f"f{i - 1}"]) for i in range(1, 9000)],
            "'f64' calls others more than 64 deep",
        ),
        (
            [function(f"f{i}", [f"f{i + 1}"]) for i in range(9000)] + [function("f9000", ["Relu"])],
            "'f8936' calls others more than 64 deep",
        ),
        ([function("f0", ["f0"])], "'f0' calls itself, through 'f0'"),
        ([function("f0", ["f1"]), function("f1", ["f0"])], "'f0' calls itself, through 'f1'"),
        ([function("f0", ["Relu"]), function("f0", ["Relu"])], "'f0' is defined twice"),
    ],
    ids=["fine", "doubling", "chain", "chain backwards", "recursion", "circle", "twice"],
)
def test_functions_that_explode_or_recurse_are_refused(
    functions: list[onnx.FunctionProto], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "functions.onnx"
    path.write_bytes(calling(functions[-1].name, functions).SerializeToString())
    if message:
        refused(path, message)
    else:
        assert resolve(load_model(path), "f", {}).shapes["y"] == (1, 4, 8, 8)
