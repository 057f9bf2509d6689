"""Files that contradict themselves are refused by node and value; odd ones are counted right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.pipeline import run
from dataflow_sim.results import RunResult

SHAPE = (1, 4, 8, 8)


def model(
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, tuple[int, ...]] | None = None,
    outputs: Sequence[str] = ("y",),
    constants: Mapping[str, npt.NDArray[np.generic]] | None = None,
    declared: Mapping[str, tuple[int, ...]] | None = None,
    shape: tuple[int, ...] = SHAPE,
) -> onnx.ModelProto:
    """A model on input x; weights are ones, `declared` states shapes of values."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        name: np.ones(s, np.float32) for name, s in (weights or {}).items()
    }
    arrays.update(constants or {})
    info = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (declared or {}).items()
    ]
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        value_info=info,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("foo", 1)]
    return helper.make_model(graph, opset_imports=opsets)


def conv(output: str = "y", source: str = "x", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, "w"], [output], name=output, **attributes)


def result(found: onnx.ModelProto) -> RunResult:
    return run(graph_from_model(found, "hostile"), load_hardware("bare"))


W = {"w": (8, 4, 3, 3)}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (model([conv()], W, declared={"y": (1, 8, 99, 99)}), "differ in dimension|slides a window"),
        (model([conv(kernel_shape=[5, 5])], W), r"kernel_shape=\(5, 5\), its weights are"),
        (model([conv(pads=[1, 1, 1])], W), "pads"),
        (model([conv(auto_pad="FOO")], W), "auto_pad='FOO'"),
        (model([conv(group="2")], W), "group='2', no integer"),
        (model([conv(group=0)], W), "in 0 groups"),
        (model([conv()], {"w": (8, 5, 3, 3)}), "must be 5"),
        (model([conv()], W, shape=(1, 4, 2, 2)), r"shape \(1, 8, 0, 0\)"),
        (
            model([helper.make_node("Conv", ["x", "w", "b"], ["y"], name="y")], {**W, "b": (5,)}),
            r"bias of shape \(5,\) for 8",
        ),
        (
            model(
                [helper.make_node("Reshape", ["x", "s"], ["y"], name="y")],
                constants={"s": np.array([4, 65])},
            ),
            "other elements",
        ),
        (
            model(
                [
                    conv("a"),
                    helper.make_node("Concat", ["a", "x"], ["y"], name="join", axis=1),
                ],
                W,
            ),
            "Concat",
        ),
        (model([helper.make_node("Conv", ["x"], ["y"], name="short")], W), "'short'"),
        (model([conv()], W, shape=(1, 4, 2**40, 8)), "extent 1099511627776"),
        (model([conv()], W, outputs=()), "has no outputs"),
    ],
)
def test_contradictions_are_refused(found: onnx.ModelProto, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        graph_from_model(found, "hostile")


def test_constants_that_do_not_fold_are_fetched_and_learned() -> None:
    node = helper.make_node("Add", ["x", "c"], ["y"], name="y")
    found = result(model([node], {"c": SHAPE}))
    assert found.parameters == 256
    assert found.traffic.to_json()["weight_bytes"] == 256


def test_what_steers_an_operator_is_neither_fetched_nor_learned() -> None:
    split = helper.make_node("Split", ["x", "s"], ["a", "y"], name="s", axis=3)
    found = result(model([split], constants={"s": np.array([3, 5])}))
    assert (found.parameters, found.traffic.to_json()["weight_bytes"]) == (0, 0)
    scales = {"k": np.array([1, 1, 2, 2], np.float32)}
    resize = helper.make_node("Resize", ["x", "", "k"], ["y"], name="r")
    assert result(model([resize], constants=scales)).parameters == 0


@pytest.mark.parametrize(
    ("nodes", "outputs", "output_bytes"),
    [
        ([conv("a"), helper.make_node("Concat", ["a", "a"], ["y"], axis=1)], ["y"], 2 * 288),
        ([conv("a"), helper.make_node("Split", ["a"], ["y", "z"], axis=1)], ["y"], 144),
        ([helper.make_node("Identity", ["x"], ["y"])], ["y"], 256),
        ([helper.make_node("Relu", ["x"], ["y"])], ["y", "x"], 512),
        (
            [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Identity", ["y"], ["z"])],
            ["z", "y"],
            512,
        ),
    ],
)
def test_every_network_output_is_written_once(
    nodes: list[onnx.NodeProto], outputs: list[str], output_bytes: int
) -> None:
    found = result(model(nodes, W, outputs))
    assert found.traffic.to_json()["output_bytes"] == output_bytes
    assert found.gap >= 1


def test_operators_of_other_domains_are_not_the_standards() -> None:
    foreign = helper.make_node("Conv", ["x", "w"], ["y"], name="y", domain="foo")
    found = result(model([foreign], W, declared={"y": (1, 8, 6, 6)}))
    assert found.macs == 0
    assert "foo::Conv" in found.warnings[0]


def test_a_branch_reads_what_it_captures() -> None:
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, ["r", "w"], [f"{name}_out"], name="inner")],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)],
        )
        for name, op in (("then_branch", "Conv"), ("else_branch", "ConvTranspose"))
    }
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["r"], name="r"),
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["c"], to=int(TensorProto.BOOL)),
        helper.make_node("If", ["c"], ["y"], name="branch", **branches),
    ]
    found = graph_from_model(model(nodes, W), "branch")
    assert "then branch" in found.warnings[0]
    assert "--branch branch=else" in found.warnings[0]
    (layer,) = found.layers
    assert layer.name == "branch/then/inner"
    assert layer.pre.ops == ("Sigmoid",)
    assert [s.tensor for s in layer.input.segments] == ["x"]


def test_names_of_the_file_cannot_clash_with_those_made_here() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="c"),
        helper.make_node("Relu", ["c"], ["c.post"]),
        helper.make_node("Identity", ["c.post"], ["c.partial_sums"]),
    ]
    found = graph_from_model(model(nodes, {**W, "b": (8,)}, ["c.partial_sums"]), "clash")
    assert found.layers[0].name == "c#2"
    assert found.tensors["c#2.post"].kind is TensorKind.WEIGHT
    assert result(model(nodes, {**W, "b": (8,)}, ["c.partial_sums"])).counted


def test_one_weight_in_two_shapes() -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "m"], ["g"], name="g"),
        helper.make_node("Relu", ["f"], ["r"]),
        helper.make_node("Gemm", ["r", "m"], ["h"], name="h"),
        helper.make_node("Add", ["g", "h"], ["y"]),
    ]
    assert result(model(nodes, {"m": (256, 10)})).counted


def test_one_constant_as_kernel_and_as_map() -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["g"], name="g"),
        helper.make_node("ReduceSum", ["f"], ["t"], keepdims=1),
        helper.make_node("Mul", ["t", "m"], ["y"], name="y"),
    ]
    found = result(model(nodes, {"m": (256, 10)}, ["g", "y"]))
    assert found.counted
    assert found.parameters == 2560


def test_deep_chains_of_activations_are_read() -> None:
    nodes = [helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"]) for i in range(3000)]
    nodes[0].input[0] = "x"
    found = graph_from_model(model(nodes, outputs=["v3000"]), "deep")
    assert len(found.layers) == 1


def test_constant_outputs_are_left_out_and_said() -> None:
    found = graph_from_model(model([conv()], W, outputs=["y", "w"]), "constant")
    assert found.outputs == ("y",)
    assert "left out: w" in found.warnings[0]
