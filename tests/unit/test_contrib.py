"""Operators outside the standard set: each definition against numpy, from its documentation."""

from __future__ import annotations

from math import erf, pi, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from dataflow_sim.ingest.contrib import DEFINITIONS, standardised
from tests.support.contrib import assert_close, evaluated, feeds, floats, integers, single

Array = npt.NDArray[Any]
OPSETS = (13, 17, 18, 21)


# ---------------------------------------------------------------- activations, pooling


def gelu(x: Array) -> Array:
    return np.array([0.5 * v * (1 + erf(v / sqrt(2))) for v in x.ravel()]).reshape(x.shape)


def tanh_gelu(x: Array) -> Array:
    result: Array = 0.5 * x * (1 + np.tanh(0.797885 * x + 0.035677 * x**3))
    return result


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("domain", ["com.microsoft", ""])
def test_activations(opset: int, domain: str) -> None:
    x, bias = 2 * floats(3, 4, 8), floats(8)
    if opset < 20 or domain:
        (y,) = evaluated("Gelu", [x], opset=opset, domain=domain)
        assert_close(y, gelu(x))
    (y,) = evaluated("BiasGelu", [x, bias], opset=opset, domain=domain)
    assert_close(y, gelu(x + bias))
    (y,) = evaluated("FastGelu", [x], opset=opset, domain=domain)
    assert_close(y, tanh_gelu(x), atol=1e-5)
    (y,) = evaluated("FastGelu", [x, bias], opset=opset, domain=domain)
    assert_close(y, tanh_gelu(x + bias), atol=1e-5)
    for alpha in (1.702, 1.0):
        (y,) = evaluated("QuickGelu", [x], {"alpha": alpha}, opset, domain=domain)
        assert_close(y, x / (1 + np.exp(-alpha * x)))
    assert abs(0.797885 - sqrt(2 / pi)) < 1e-6


def test_new_constants_have_the_type_of_the_map() -> None:
    x = floats(2, 8).astype(np.float16)
    (y,) = evaluated("FastGelu", [x], opset=13)
    assert y.dtype == np.float16
    assert_close(y, tanh_gelu(x.astype(np.float32)), atol=4e-3)


def test_types_are_known_behind_other_definitions() -> None:
    nodes = [
        helper.make_node("Gelu", ["x"], ["a"], "first", domain="com.microsoft"),
        helper.make_node("Unheard", ["a"], ["b"], "unknown", domain="com.example"),
        helper.make_node("QuickGelu", ["b"], ["c"], "last", domain="com.microsoft"),
    ]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT16, [2, 8])
    graph = helper.make_graph(nodes, "g", [value], [helper.make_empty_tensor_value_info("c")])
    model, names = standardised(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    )
    assert names == ("first", "last")
    assert {t.data_type for t in model.graph.initializer} == {TensorProto.FLOAT16}
    assert [n.op_type for n in model.graph.node if n.domain] == ["Unheard"]


def test_channels_last_max_pool() -> None:
    x = integers(np.uint8, 2, 3, 7, 7)
    attributes = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    (y,) = evaluated("NhwcMaxPool", [x.transpose(0, 2, 3, 1).copy()], attributes, 13)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2, ::2]
    np.testing.assert_array_equal(y, windows.max((4, 5)).transpose(0, 2, 3, 1))


# ---------------------------------------------------------------- normalisations


def layer_norm(x: Array, gamma: Array, beta: Array | None, epsilon: float) -> Array:
    wide = x.astype(np.float64)
    spread = np.sqrt(wide.var(-1, keepdims=True) + epsilon)
    result: Array = (wide - wide.mean(-1, keepdims=True)) / spread * gamma
    return result if beta is None else result + beta


def rms_norm(x: Array, gamma: Array, epsilon: float) -> Array:
    wide = x.astype(np.float64)
    result: Array = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + epsilon) * gamma
    return result


@pytest.mark.parametrize("opset", OPSETS)
def test_simplified_layer_normalisation(opset: int) -> None:
    x, gamma = floats(2, 3, 8), floats(8)
    for domain in ("", "com.microsoft"):
        y, inverse = evaluated(
            "SimplifiedLayerNormalization", [x, gamma], {"epsilon": 1e-3}, opset, ("y", "i"),
            (1,), domain,
        )  # fmt: skip
        assert_close(y, rms_norm(x, gamma, 1e-3))
        expected = 1 / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-3)
        assert_close(inverse, expected)
    wide = floats(3, 8)
    (y,) = evaluated("SimplifiedLayerNormalization", [x, wide], {"axis": 1}, opset)
    flat = rms_norm(x.reshape(2, 24), wide.ravel(), 1e-5).reshape(x.shape)
    assert_close(y, flat)


@pytest.mark.parametrize("opset", [13, 16])
@pytest.mark.parametrize("axis", [-1, 1])
def test_layer_normalisation_before_its_time(opset: int, axis: int) -> None:
    x, gamma, beta = floats(2, 3, 8), floats(24), floats(24, seed=1)
    shape = (8,) if axis == -1 else (3, 8)
    gamma, beta = (v[: np.prod(shape)].reshape(shape) for v in (gamma, beta))
    y, mean, inverse = evaluated(
        "LayerNormalization", [x, gamma, beta], {"axis": axis, "epsilon": 0.01}, opset,
        ("y", "m", "i"), domain="",
    )  # fmt: skip
    flat = x.reshape(-1, np.prod(shape)).astype(np.float64)
    expected = layer_norm(flat, gamma.ravel(), beta.ravel(), 0.01).reshape(x.shape)
    assert_close(y, expected)
    assert_close(mean.ravel(), flat.mean(-1))
    assert_close(inverse.ravel(), 1 / np.sqrt(flat.var(-1) + 0.01))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("skip_shape", [(2, 3, 8), (1, 3, 8), (3, 8)])
@pytest.mark.parametrize("extra", ["", "beta", "bias", "beta bias"])
def test_skip_layer_normalisation(opset: int, skip_shape: tuple[int, ...], extra: str) -> None:
    x, skip, gamma = floats(2, 3, 8), floats(*skip_shape, seed=1), floats(8)
    beta = floats(8, seed=2) if "beta" in extra else None
    bias = floats(8, seed=3) if "bias" in extra else None
    y, total = evaluated(
        "SkipLayerNormalization", [x, skip, gamma, beta, bias], {"epsilon": 1e-3}, opset,
        ("y", "", "", "sum"), (2,),
    )  # fmt: skip
    expected = x + skip + (0 if bias is None else bias)
    assert_close(total, expected)
    assert_close(y, layer_norm(expected, gamma, beta, 1e-3))
    if beta is None:
        y, total = evaluated(
            "SkipSimplifiedLayerNormalization", [x, skip, gamma, bias], {"epsilon": 1e-3}, opset,
            ("y", "", "", "sum"), (2,),
        )  # fmt: skip
        assert_close(total, expected)
        assert_close(y, rms_norm(expected, gamma, 1e-3))


def test_skip_layer_normalisation_alone_and_its_statistics() -> None:
    x, skip, gamma = floats(2, 3, 8), floats(2, 3, 8, seed=1), floats(8)
    for opset in (13, 17):
        y, mean, inverse = evaluated(
            "SkipLayerNormalization", [x, skip, gamma], {}, opset, ("y", "m", "i")
        )
        total = (x + skip).astype(np.float64)
        assert_close(y, layer_norm(total, gamma, None, 1e-12), rtol=1e-4, atol=1e-5)
        assert_close(mean, total.mean(-1, keepdims=True))
        assert_close(inverse, 1 / total.std(-1, keepdims=True), rtol=1e-4)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("positions", [None, 1, 2])
def test_embedding(opset: int, segments: bool, mask: bool, positions: int | None) -> None:
    generator = np.random.default_rng(5)
    ids = generator.integers(0, 20, (2, 5)).astype(np.int32)
    kinds = generator.integers(0, 2, (2, 5)).astype(np.int32) if segments else None
    words, places, tables = floats(20, 8), floats(12, 8), floats(2, 8) if segments else None
    gamma, beta = floats(8), floats(8, seed=1)
    valid = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32) if mask else None
    rows = generator.integers(0, 12, (positions, 5)).astype(np.int32) if positions else None
    inputs = [ids, kinds, words, places, tables, gamma, beta, valid, rows]
    y, index, total = evaluated(
        "EmbedLayerNormalization", inputs, {"epsilon": 1e-6}, opset, ("y", "index", "sum"),
        [i for i in range(2, 7) if inputs[i] is not None],
    )  # fmt: skip
    expected = words[ids] + (places[:5] if rows is None else places[rows])
    if tables is not None and kinds is not None:
        expected = expected + tables[kinds]
    assert_close(total, expected)
    assert_close(y, layer_norm(expected, gamma, beta, 1e-6))
    np.testing.assert_array_equal(index, [3, 5] if mask else [0, 0])
    assert index.dtype == np.int32


# ---------------------------------------------------------------- the rewriting itself


def test_bodies_are_rewritten() -> None:
    def body(op: str) -> onnx.GraphProto:
        nodes = [helper.make_node(op, ["x"], [f"{op}.y"], f"{op} inside", domain="com.microsoft")]
        return helper.make_graph(nodes, op, [], [helper.make_empty_tensor_value_info(f"{op}.y")])

    branch = helper.make_node(
        "If", ["c"], ["y"], "branch", then_branch=body("Gelu"), else_branch=body("QuickGelu")
    )
    graph = helper.make_graph(
        [branch],
        "g",
        [
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
    )
    model, names = standardised(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    )
    assert names == ("QuickGelu inside", "Gelu inside")
    x = floats(4)
    for condition, expected in ((True, gelu(x)), (False, x / (1 + np.exp(-1.702 * x)))):
        (y,) = ReferenceEvaluator(model).run(None, {"c": np.array(condition), "x": x})
        assert_close(y, expected)


def test_what_has_no_definition_stays() -> None:
    x = floats(2, 3)
    for op, opset, attributes in (
        ("Inverse", 17, {}),
        ("Gelu", 12, {}),
        ("FusedConv", 17, {"activation": "Unheard"}),
    ):
        model = single(op, [x, x] if op == "FusedConv" else [x], attributes, opset)
        new, names = standardised(model)
        assert names == ()
        assert new.SerializeToString() == model.SerializeToString()


def test_what_the_model_defines_itself_stays() -> None:
    x = floats(2, 8)
    model = single("Gelu", [x], {}, 17)
    own = helper.make_function(
        "com.microsoft",
        "Gelu",
        ["x"],
        ["y"],
        [helper.make_node("Relu", ["x"], ["y"])],
        [helper.make_opsetid("", 17)],
    )
    model.functions.append(own)
    new, names = standardised(model)
    assert names == ()
    (y,) = ReferenceEvaluator(new).run(None, feeds([x]))
    assert_close(y, np.maximum(x, 0))


@pytest.mark.parametrize("row", sorted(DEFINITIONS), ids=str)
def test_malformed_nodes_raise_nothing(row: tuple[str, str]) -> None:
    """Without inputs, with texts, with too few axes: refused by name when shapes are inferred."""
    domain, op = row
    attributes = {"num_heads": 3, "K": 2**40, "N": -1, "kernel_shape": [1], "channels_last": 1}
    for inputs in ([], [np.array("text")] * 9, [np.zeros((), np.int64)] * 9):
        model = single(op, inputs, attributes, 13, domain=domain)
        model.graph.node[0].attribute.extend([helper.make_attribute("axes", 2.5)])
        _, names = standardised(model)
        assert names in ((), ("node",))


def test_standard_operators_of_the_same_name_stay() -> None:
    x = floats(2, 8)
    model = single("Gelu", [x], {}, 20, domain="")
    assert standardised(model)[1] == ()
    model = single("LayerNormalization", [x, floats(8)], {}, 17, domain="")
    assert standardised(model)[1] == ()


def test_new_names_are_free() -> None:
    x = floats(2, 8)
    model = single("QuickGelu", [x], {}, 17)
    model.graph.node.insert(
        0, helper.make_node("Identity", ["i0"], ["node/Mul_output"], "node/Mul")
    )
    model.graph.output.append(helper.make_empty_tensor_value_info("node/Mul_output"))
    new, _ = standardised(model)
    y, same = ReferenceEvaluator(new).run(None, feeds([x]))
    assert_close(y, x / (1 + np.exp(-1.702 * x)))
    np.testing.assert_array_equal(same, x)


def test_every_row_is_tested() -> None:
    """Every operator of the table is named in these tests."""
    files = sorted(Path(__file__).parent.glob("test_contrib*.py"))
    text = "".join(path.read_text() for path in files)
    assert [op for _, op in DEFINITIONS if f'"{op}"' not in text] == []
