"""Fused products of com.microsoft against numpy, from their documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from dataflow_sim.ingest.contrib import standardised
from dataflow_sim.ingest.shapes.reader import resolve
from tests.support.contrib import assert_close, convolved, evaluated, feeds, floats, product, single

Array = npt.NDArray[Any]
OPSETS = (13, 17, 18, 21)


def packed(values: Array, bits: int) -> Array:
    """Integers of the last axis in bytes, lowest bits first; the last byte filled with zeros."""
    per_byte = 8 // bits
    rows = np.zeros((*values.shape[:-1], -(-values.shape[-1] // per_byte)), np.uint8)
    for i in range(values.shape[-1]):
        rows[..., i // per_byte] |= (values[..., i] << (bits * (i % per_byte))).astype(np.uint8)
    return rows


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("depth", [32, 48, 40])
@pytest.mark.parametrize("zeros", ["default", "packed", "float"])
@pytest.mark.parametrize("opset", [13, 21])
def test_weights_of_few_bits(bits: int, depth: int, zeros: str, opset: int) -> None:
    size, outputs = 16, 6
    blocks = -(-depth // size)
    generator = np.random.default_rng((bits, depth))
    q = generator.integers(0, 2**bits, (outputs, blocks, size)).astype(np.uint8)
    factors = generator.uniform(0.01, 0.1, (outputs, blocks)).astype(np.float32)
    points = generator.integers(0, 2**bits, (outputs, blocks)).astype(np.uint8)
    shown = {"default": None, "packed": packed(points, bits), "float": points.astype(np.float32)}
    if zeros == "default":
        points = np.full_like(points, 2 ** (bits - 1))
    weight = (q.astype(np.float64) - points[..., None]) * factors[..., None]
    weight = weight.reshape(outputs, -1)[:, :depth]
    a, bias = floats(2, 3, depth), floats(outputs)
    inputs = [a, packed(q, bits), factors, shown[zeros], None, bias]
    constants = [i for i in (1, 2, 3) if inputs[i] is not None]
    attributes = {"K": depth, "N": outputs, "bits": bits, "block_size": size}
    (y,) = evaluated(
        "MatMulNBits",
        inputs,
        attributes,
        opset,
        constants=constants,
        strict=opset == 21 and bits > 2,
    )
    assert_close(y, product(a, weight.T) + bias, rtol=1e-4, atol=1e-4)


def narrow_model(readers: int, external: bool) -> onnx.ModelProto:
    node = helper.make_node(
        "MatMulNBits", ["x", "w", "s"], ["y"], "node", None, "com.microsoft",
        K=64, N=8, bits=4, block_size=32,
    )  # fmt: skip
    others = [helper.make_node("Identity", ["w"], [f"z{i}"]) for i in range(readers - 1)]
    weight = helper.make_tensor("w", TensorProto.UINT8, [8, 2, 16], bytes(8 * 2 * 16), raw=True)
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "w.bin"), ("offset", "64"), ("length", "256")):
            weight.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [node, *others],
        "narrow",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_empty_tensor_value_info(n.output[0]) for n in (node, *others)],
        [weight, numpy_helper.from_array(np.ones((8, 2), np.float32), "s")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


@pytest.mark.parametrize("external", [False, True])
def test_the_file_states_the_width_of_narrow_weights(external: bool) -> None:
    model, _ = standardised(narrow_model(1, external))
    weight = next(t for t in model.graph.initializer if t.name == "w")
    assert weight.data_type == TensorProto.UINT4
    assert tuple(weight.dims) == (8, 2, 32)
    assert weight.external_data == narrow_model(1, external).graph.initializer[0].external_data
    network = resolve(model, "narrow", {})
    product_ = network.nodes[-1]
    assert product_.op == "MatMul"
    assert network.shapes[product_.inputs[1]] == (64, 8)
    assert network.sources[product_.inputs[1]] == "w"


def test_narrow_weights_that_others_read_stay_bytes_for_them() -> None:
    model, _ = standardised(narrow_model(2, False))
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    assert kinds["w"] == TensorProto.UINT8
    assert [n for n, kind in kinds.items() if kind == TensorProto.UINT4] == ["node/w"]


ACTIVATED: dict[str, tuple[list[float], Callable[[Array], Array]]] = {
    "Relu": ([], lambda x: np.maximum(x, 0)),
    "LeakyRelu": ([0.2], lambda x: np.where(x < 0, 0.2 * x, x)),
    "Clip": ([-0.5, 1.5], lambda x: np.clip(x, -0.5, 1.5)),
    "HardSigmoid": ([0.3, 0.4], lambda x: np.clip(0.3 * x + 0.4, 0, 1)),
    "Sigmoid": ([], lambda x: 1 / (1 + np.exp(-x))),
    "Tanh": ([], np.tanh),
}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("activation", ACTIVATED)
@pytest.mark.parametrize("extra", ["", "b", "bz", "z"])
def test_fused_convolution(activation: str, extra: str, opset: int) -> None:
    parameters, compute = ACTIVATED[activation]
    x, w = floats(1, 4, 6, 6), floats(6, 2, 3, 3)
    b = floats(6) if "b" in extra else None
    z = floats(1, 6, 3, 3) if "z" in extra else None
    attributes: dict[str, Any] = {"pads": [1, 1, 1, 1], "strides": [2, 2], "group": 2}
    attributes |= {"activation": activation} | (
        {"activation_params": parameters} if parameters else {}
    )
    (y,) = evaluated("FusedConv", [x, w, b, z], attributes, opset, constants=[1])
    expected = convolved(x, w, 2, 1, 2)
    expected += 0 if b is None else b.reshape(1, -1, 1, 1)
    expected += 0 if z is None else z
    assert_close(y, compute(expected), rtol=1e-4, atol=1e-5)


def test_fused_convolution_without_activation() -> None:
    x, w = floats(1, 4, 6, 6), floats(6, 4, 3, 3)
    (y,) = evaluated("FusedConv", [x, w], {}, constants=[1])
    assert_close(y, convolved(x, w, 1, 0, 1), rtol=1e-4, atol=1e-5)


def elu(x: Array, alpha: float) -> Array:
    return np.where(x < 0, alpha * (np.exp(x) - 1), x)


GEMM_ACTIVATED: dict[str, tuple[dict[str, float], Callable[[Array], Array]]] = {
    "": ({}, lambda x: x),
    "Relu": ({}, lambda x: np.maximum(x, 0)),
    "LeakyRelu": ({"activation_alpha": 0.2}, lambda x: np.where(x < 0, 0.2 * x, x)),
    "Elu": ({"activation_alpha": 0.7}, lambda x: elu(x, 0.7)),
    "HardSigmoid": (
        {"activation_alpha": 0.3, "activation_beta": 0.4},
        lambda x: np.clip(0.3 * x + 0.4, 0, 1),
    ),
    "Selu": ({"activation_alpha": 1.6, "activation_gamma": 1.1}, lambda x: 1.1 * elu(x, 1.6)),
}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("activation", GEMM_ACTIVATED)
def test_fused_gemm(activation: str, opset: int) -> None:
    extra, compute = GEMM_ACTIVATED[activation]
    a, b, c = floats(6, 4), floats(5, 6), floats(5)
    attributes = {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0, **extra}
    (y,) = evaluated("FusedGemm", [a, b, c], {**attributes, "activation": activation}, opset)
    assert_close(y, compute(0.5 * product(a.T, b.T) + 2 * c), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("sides", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("batches", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_fused_matmul(sides: tuple[int, int], batches: tuple[int, int], opset: int) -> None:
    # of (batch.., rows, columns), first the last two swapped, then the rows in front of all
    shown = []
    factors = [floats(2, 3, 4, 5), floats(2, 3, 5, 6)]
    for factor, swapped, in_front in zip(factors, sides, batches, strict=True):
        part = factor.swapaxes(-1, -2) if swapped else factor
        shown.append((np.moveaxis(part, -2, 0) if in_front else part).copy())
    attributes = {"alpha": 0.25, "transA": sides[0], "transB": sides[1]}
    attributes |= {"transBatchA": batches[0], "transBatchB": batches[1]}
    (y,) = evaluated("FusedMatMul", shown, attributes, opset)
    assert_close(y, 0.25 * product(*factors), rtol=1e-4, atol=1e-5)


def test_transpose_matmul_of_unknown_rank() -> None:
    a, b = floats(3, 5, 4), floats(5, 6)
    model = single("TransposeMatMul", [a, b], {"transA": 1}, 13)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    new, names = standardised(model)
    assert names == ("node",)
    (y,) = ReferenceEvaluator(new).run(None, feeds([a, b]))
    assert_close(y, product(a.swapaxes(1, 2), b), rtol=1e-4, atol=1e-5)
