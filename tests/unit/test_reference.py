"""The network's own answer: who computes it, and operators that ONNX's evaluator does not know."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx
import pytest

from dataflow_sim.errors import InputError
from dataflow_sim.networks.weights import filled
from dataflow_sim.simulate.reference import evaluate_model, evaluate_reference, whole_inputs
from tests.support.contrib import feeds, floats, integers, single
from tests.support.quantised_networks import mixed, quantised_case

runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

Array = np.ndarray[Any, Any]
HALF, TENTH = np.array(0.5, np.float32), np.array(0.1, np.float32)


def byte(value: int, kind: Any = np.uint8) -> Array:
    return np.array(value, kind)


def map_of(kind: Any, *shape: int, seed: int = 0) -> list[Array]:
    """Integers, their scale and their zero point."""
    return [integers(kind, *shape, seed=seed), np.array(0.037, np.float32), byte(3, kind)]


def end(kind: Any, scale: float) -> list[Array]:
    return [np.array(scale, np.float32), byte(5, kind)]


def contrib(op: str, kind: Any) -> tuple[list[Array | None], dict[str, Any]]:
    """Inputs and attributes of an operator."""
    shape = (2, 4, 5)
    if op in ("QLinearAdd", "QLinearMul"):
        return [*map_of(kind, *shape), *map_of(kind, *shape, seed=1), *end(kind, 0.071)], {}
    if op == "QLinearSigmoid":
        return [*map_of(kind, *shape), *end(kind, 0.0039)], {}
    if op == "QLinearLeakyRelu":
        return [*map_of(kind, *shape), *end(kind, 0.031)], {"alpha": 0.3}
    if op == "QLinearGlobalAveragePool":
        return [*map_of(kind, 2, 8, 4, 5), *end(kind, 0.029)], {"channels_last": 0}
    if op == "QLinearConcat":
        parts = [*map_of(kind, 2, 3), *map_of(kind, 2, 5, seed=1)]
        return [*end(kind, 0.041), *parts], {"axis": 1}
    scales, zeros = np.linspace(0.01, 0.02, 5, dtype=np.float32), np.zeros(5, np.int8)
    weights = [integers(np.int8, 5, 8), scales, zeros]
    bias = np.arange(-300, 300, 120, dtype=np.int32)
    return [*map_of(kind, 3, 8), *weights, bias, *end(kind, 0.3)], {"transB": 1, "alpha": 1.0}


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize(
    "op",
    [
        *("QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu"),
        *("QLinearGlobalAveragePool", "QLinearConcat", "QGemm"),
    ],
)
def test_as_onnxruntime_does(op: str, kind: Any) -> None:
    """To the integer, but where a number lies half-way between two."""
    given, attributes = contrib(op, kind)
    weights = range(3, 7) if op == "QGemm" else ()
    model = single(op, given, attributes, 17, constants=list(weights))
    model.ir_version = 8
    inputs = feeds(given, list(weights))
    who, expected = evaluate_model(model, inputs)
    assert who == "onnxruntime"
    found = evaluate_reference(model, inputs)["y"]
    assert found.dtype == expected["y"].dtype == kind
    steps = np.abs(found.astype(int) - expected["y"].astype(int))
    assert steps.max() <= 1
    assert (steps > 0).mean() <= 0.05
    assert len(np.unique(found)) > 3


def test_a_product_that_stays_a_number() -> None:
    given, attributes = contrib("QGemm", np.uint8)
    given = [*given[:6], None]
    model = single("QGemm", given, attributes, 17, constants=[3, 4, 5])
    model.ir_version = 8
    inputs = feeds(given, [3, 4, 5])
    _, expected = evaluate_model(model, inputs)
    found = evaluate_reference(model, inputs)["y"]
    np.testing.assert_allclose(found, expected["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("opset", [13, 17, 19])
@pytest.mark.parametrize("several", [False, True])
def test_quantising_in_any_opset(opset: int, several: bool) -> None:
    scale = np.array([0.1, 0.2, 0.3], np.float32) if several else TENTH
    zero = np.array([1, 2, 3], np.int8) if several else byte(-4, np.int8)
    more = {"axis": 1} if several else {}
    for op, x in (
        ("QuantizeLinear", 9 * floats(2, 3, 4)),
        ("DequantizeLinear", integers(np.int8, 2, 3, 4)),
    ):
        model = single(op, [x, scale, zero], more, opset, constants=[1, 2], domain="")
        model.ir_version = 8
        _, expected = evaluate_model(model, {"i0": x})
        found = evaluate_reference(model, {"i0": x})["y"]
        assert found.dtype == expected["y"].dtype
        np.testing.assert_array_equal(found, expected["y"])


def test_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    found = quantised_case("mixed", "signed, one scale a kernel, saturating")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    who, answer = evaluate_model(found.model, found.inputs)
    assert who == "ONNX's reference evaluator"
    (values,) = answer.values()
    scale, _ = found.meaning.parameters(())
    assert np.abs(values - found.expected).max() <= 1.01 * scale


def test_what_nobody_knows() -> None:
    model = single("NoSuchOperator", [floats(2, 3)], {}, 17)
    with pytest.raises(InputError, match=r"know an operator; install onnxruntime: .*NoSuch"):
        evaluate_model(model, {"i0": floats(2, 3)})


def test_inputs_that_are_whole_numbers() -> None:
    model = single("QLinearSigmoid", [*map_of(np.int8, 2), *end(np.int8, 0.1)], {}, 17)
    found = whole_inputs(model)
    assert found == {"i0": np.int8, "i2": np.int8, "i4": np.int8}


# ---------------------------------------------------------------- weights elsewhere


def emptied(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its constants of more than one number elsewhere."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.dims and "shape" not in tensor.name:
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="elsewhere.bin")
    return copy


@pytest.mark.parametrize("style", ["pairs", "integers", "maps of 16 bits, kernels of 4"])
def test_quantised_weights_are_drawn(style: str) -> None:
    """Kernels over their range, scales and zero points that are some; maps do not all saturate."""
    found = quantised_case("mixed", style)
    empty = emptied(found.model)
    model, count = filled(empty, seed=4)
    assert count == sum(1 for t in empty.graph.initializer if t.external_data)
    again, _ = filled(empty, seed=4)
    assert again.SerializeToString() == model.SerializeToString()
    before = {t.name: t for t in found.model.graph.initializer}
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).astype(np.float64)
        assert tensor.data_type == before[tensor.name].data_type
        assert values.shape == tuple(before[tensor.name].dims)
        if tensor.name.endswith(" scale"):
            assert (values > 0).all()
        elif tensor.name.endswith(" zero") and tensor.dims:
            assert (values == 0).all()
        elif tensor.name.endswith(" q") and tensor.data_type != onnx.TensorProto.INT32:
            reach = 7 if "4" in style else 127
            assert np.abs(values).max() <= reach
            assert values.size < 20 or np.abs(values).max() > reach / 2
    _, answer = evaluate_model(model, found.inputs)
    (values,) = answer.values()
    assert len(np.unique(values)) > values.size / 5


def test_a_network_of_floats_is_filled_as_before() -> None:
    model, count = filled(mixed(), seed=4)
    assert count == len(model.graph.initializer) - sum(
        1 for t in mixed().graph.initializer if not t.external_data
    )
    kernel = next(t for t in model.graph.initializer if t.name == "c.weight")
    values = onnx.numpy_helper.to_array(kernel)
    assert values.std() == pytest.approx(np.sqrt(2 / values[0].size), rel=0.1)
