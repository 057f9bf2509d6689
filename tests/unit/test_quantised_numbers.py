"""Numbers as integers and back: ONNX's own operators, exact arithmetic, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Segment, Tensor, TensorKind, View, Window
from dataflow_sim.graph.network import Constant
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.graph.quantisation import Quantisation
from dataflow_sim.graph.region import Box, Span, whole
from dataflow_sim.simulate.quantised import (
    decode,
    encode,
    encode_sums,
    numbers,
    rounded,
    sums_meaning,
)
from tests.support.runs import single_convolution

TYPES: dict[int, tuple[int, bool]] = {
    TensorProto.INT8: (8, True),
    TensorProto.UINT8: (8, False),
    TensorProto.INT16: (16, True),
    TensorProto.UINT16: (16, False),
    TensorProto.INT4: (4, True),
    TensorProto.UINT4: (4, False),
}


def meaning(
    scale: Any = 0.5, zero: Any = 0, bits: int = 8, signed: bool = True, **more: Any
) -> Quantisation:
    scale, zero = np.asarray(scale, np.float64), np.asarray(zero, np.int64)
    return Quantisation(scale, zero, bits, signed, **more)


def by_onnx(op: str, x: np.ndarray, each: Quantisation, kind: int, **attributes: int) -> np.ndarray:
    """What ONNX's operator makes of an array, as the file would state scale and zero point."""
    assert each.scale is not None
    assert each.zero_point is not None
    result = kind if op == "QuantizeLinear" else TensorProto.FLOAT
    own = TensorProto.FLOAT if op == "QuantizeLinear" else kind
    zero = np.broadcast_to(each.zero_point, each.scale.shape)
    constants = [
        helper.make_tensor("s", TensorProto.FLOAT, each.scale.shape, each.scale.ravel().tolist()),
        helper.make_tensor("z", kind, zero.shape, zero.ravel().tolist()),
    ]
    node = helper.make_node(op, ["x", "s", "z"], ["y"])
    node.attribute.extend(helper.make_attribute(*each) for each in attributes.items())
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "one", [value("x", own, x.shape)], [value("y", result, x.shape)], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    given = x.astype(helper.tensor_dtype_to_np_dtype(own))
    (found,) = ReferenceEvaluator(model).run(None, {"x": given})
    return np.asarray(found).astype(np.float64)


@pytest.mark.parametrize("kind", TYPES)
def test_as_onnx_quantises(kind: int) -> None:
    """Half-way cases, both ends and beyond them; the scale is a power of two."""
    bits, signed = TYPES[kind]
    each = meaning(0.25, 3, bits, signed)
    wide = 0.25 * 2**bits
    values = np.concatenate([np.arange(-40, 40) / 8, [-wide, wide]])
    found = encode(values, each)
    np.testing.assert_array_equal(found, by_onnx("QuantizeLinear", values, each, kind))
    assert (found.min(), found.max()) == (each.least, each.greatest)
    ends = encode(np.array([-np.inf, np.inf]), each)
    np.testing.assert_array_equal(ends, [each.least, each.greatest])
    expected = by_onnx("DequantizeLinear", found, each, kind)
    np.testing.assert_array_equal(decode(found, each), expected)
    np.testing.assert_array_equal(rounded(values, each), expected)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_a_scale_for_each_index_of_an_axis(axis: int) -> None:
    shape = (3, 4, 5)
    values = np.random.default_rng(0).integers(-99, 99, shape) / 8
    count = shape[axis]
    each = meaning(2.0 ** -np.arange(count), np.arange(count) - 2, axis=axis)
    found = encode(values, each)
    expected = by_onnx("QuantizeLinear", values, each, TensorProto.INT8, axis=axis)
    np.testing.assert_array_equal(found, expected)
    expected = by_onnx("DequantizeLinear", found, each, TensorProto.INT8, axis=axis)
    np.testing.assert_array_equal(decode(found, each), expected)


@pytest.mark.parametrize(("axis", "block"), [(0, 4), (1, 2), (1, 5)])
def test_a_scale_for_each_block_of_an_axis(axis: int, block: int) -> None:
    shape = (8, 10)
    blocks = [extent // block if a == axis else extent for a, extent in enumerate(shape)]
    scales = 2.0 ** -np.random.default_rng(1).integers(0, 5, blocks)
    each = meaning(scales, np.zeros(blocks), axis=axis, block=block)
    integers = np.random.default_rng(2).integers(-128, 128, shape)
    more = {"axis": axis, "block_size": block}
    expected = by_onnx("DequantizeLinear", integers, each, TensorProto.INT8, **more)
    np.testing.assert_array_equal(decode(integers, each), expected)
    np.testing.assert_array_equal(encode(expected, each), integers)


def test_boxes_of_a_tensor_take_their_own_scales() -> None:
    shape = (6, 3, 2, 2)
    integers = np.random.default_rng(3).integers(-8, 8, shape)
    for axis in (0, 1):
        count = shape[axis]
        each = meaning(np.arange(1.0, count + 1), np.arange(count) - 1, bits=4, axis=axis)
        values = decode(integers, each)
        for box in (
            whole(shape),
            Box(Span(1, 4), Span(1, 3), Span(0, 2), Span(1, 2)),
            Box(Span(0, 6, 2), Span(2, 3), Span(0, 1), Span(0, 2)),
        ):
            part = values[box.slices]
            np.testing.assert_array_equal(decode(integers[box.slices], each, box), part)
            np.testing.assert_array_equal(encode(part, each, box), integers[box.slices])
            np.testing.assert_array_equal(rounded(part, each, box), part)


def test_a_chain_of_roundings_goes_through_each() -> None:
    coarse, fine = meaning(1.0), meaning(0.25, -3)
    chain = fine.behind(coarse)
    assert (chain.earlier, chain.alone, fine.behind(None)) == ((coarse,), fine, fine)
    assert coarse.behind(coarse) == coarse
    values = np.arange(-20, 20) / 8
    once = rounded(rounded(values, coarse), fine)
    np.testing.assert_array_equal(rounded(values, chain), once)
    np.testing.assert_array_equal(decode(encode(values, chain), chain), once)
    assert (once != rounded(values, fine)).any()
    third = meaning(0.5).behind(chain)
    assert third.earlier == (coarse, fine)


# ---------------------------------------------------------------- whole layers


def quantised_layer(
    map_scale: float, kernel_scales: np.ndarray, zero: int = 3
) -> tuple[dict[str, Tensor], Any]:
    """A convolution of 4 channels to 3 with integers for map, kernel and result."""
    graph = single_convolution((1, 4, 5, 5), 3, Window(kernel=(3, 3)))
    tensors = dict(graph.tensors)
    tensors["x"] = replace(tensors["x"], quantisation=meaning(map_scale, zero, signed=False))
    axis = 0 if kernel_scales.ndim else None
    kernel = meaning(kernel_scales, np.zeros(kernel_scales.shape), axis=axis)
    tensors["w"] = replace(tensors["w"], quantisation=kernel)
    return tensors, graph.layers[0]


@pytest.mark.parametrize("several", [False, True])
def test_sums_of_products_are_exact_integers(several: bool) -> None:
    """Of scales that no float holds, and of parts of the channels."""
    generator = np.random.default_rng(5)
    scales = np.array([0.0031, 0.0123, 0.0071] if several else 0.0031, np.float32)
    tensors, layer = quantised_layer(float(np.float32(0.0137)), scales)
    found = sums_meaning(layer, tensors)
    assert found is not None
    assert (found.bits, found.signed, found.axis) == (32, True, 1 if several else None)
    x, w = generator.integers(0, 256, (1, 4, 5, 5)), generator.integers(-128, 128, (3, 4, 3, 3))
    of_map, of_kernel = tensors["x"].quantisation, tensors["w"].quantisation
    assert of_map is not None
    assert of_kernel is not None
    windows = np.lib.stride_tricks.sliding_window_view(x - 3, (3, 3), (2, 3))
    integers = np.einsum("ncyxij,ocij->noyx", windows, w)
    real = np.lib.stride_tricks.sliding_window_view(decode(x, of_map), (3, 3), (2, 3))
    sums = np.einsum("ncyxij,ocij->noyx", real, decode(w, of_kernel))
    for first in range(3):
        box = Box(Span(0, 1), Span(first, 3), Span(0, 3), Span(0, 3))
        part = encode_sums(sums[:, first:], found, box, 32)
        np.testing.assert_array_equal(part, integers[:, first:])
        np.testing.assert_allclose(decode(part, found, box), sums[:, first:], rtol=1e-12)


def test_a_result_is_requantised_as_exact_arithmetic_says() -> None:
    """Scales are powers of two: half-way cases are frequent, and none is lost in rounding."""
    generator = np.random.default_rng(6)
    sums, bias = generator.integers(-3000, 3000, 500), generator.integers(-99, 99, 500)
    scale_of_sums, result = Fraction(1, 2**9), meaning(2.0**-5, 7)
    products = meaning(float(scale_of_sums), 0, 32)
    values = decode(sums, products) + decode(bias, products)
    expected = [
        min(max(round(int(s + b) * scale_of_sums / Fraction(1, 32)) + 7, -128), 127)
        for s, b in zip(sums, bias, strict=True)
    ]
    np.testing.assert_array_equal(encode(values, result), expected)
    halves = [(int(total) * 32 * scale_of_sums).denominator for total in sums + bias]
    assert halves.count(2) > 5


def test_sums_without_one_scale() -> None:
    tensors, layer = quantised_layer(0.01, np.array(0.01))
    other = replace(tensors["x"], name="other", quantisation=meaning(0.02, signed=False))
    joined = (Segment("x", 0, 2), Segment("other", 0, 2))
    known = {**tensors, "other": other}
    assert sums_meaning(layer, tensors) is not None
    assert sums_meaning(replace(layer, input=View(joined, layer.input.shape)), known) is None
    alike = tuple(replace(s, rounded=tensors["x"].quantisation) for s in joined)
    assert sums_meaning(replace(layer, input=View(alike, layer.input.shape)), known) is not None
    for name in ("x", "w"):
        plain = {**tensors, name: replace(tensors[name], quantisation=None)}
        assert sums_meaning(layer, plain) is None
    unknown = replace(tensors["w"], quantisation=Quantisation(None, None, 8, True))
    assert sums_meaning(layer, {**tensors, "w": unknown}) is None
    assert sums_meaning(replace(layer, weight=None), tensors) is None


def test_sums_that_are_none() -> None:
    each, box = meaning(0.01, 0, 32), whole((1, 1, 1, 2))
    with pytest.raises(ProgramError, match="are no integers"):
        encode_sums(np.array([[[[0.02, 0.0251]]]]), each, box, 32)
    with pytest.raises(ProgramError, match="are no integers"):
        encode_sums(np.array([[[[0.02, np.nan]]]]), each, box, 32)
    most = (2**31 - 1) * 0.01
    assert encode_sums(np.array([[[[most, -most]]]]), each, box, 32).max() == 2**31 - 1
    with pytest.raises(ProgramError, match="more than 32 bits hold"):
        encode_sums(np.array([[[[0.0, most + 0.01]]]]), each, box, 32)


# ---------------------------------------------------------------- values


def test_what_is_no_number_is_refused_or_stays() -> None:
    values = np.array([0.3, np.nan])
    with pytest.raises(ProgramError, match="1 of 2 elements are no numbers"):
        encode(values, meaning())
    found = rounded(values, meaning())
    assert found[0] == 0.5
    assert np.isnan(found[1])
    assert rounded(values, None) is values


def test_constants_are_numbers_or_their_integers() -> None:
    integers = np.array([[4, -3], [2, 7]], np.int8)
    each = meaning([0.5, 0.25], [1, 0], axis=0)
    held = Constant("w", (2, 2), integers, True, each)
    np.testing.assert_array_equal(numbers(held), [[1.5, -2.0], [0.5, 1.75]])
    real = np.array([[1.5, -2.0]], np.float32)
    assert numbers(replace(held, value=real)) is real
    assert numbers(replace(held, quantisation=None)) is integers
    with pytest.raises(ProgramError, match="'w' have no values"):
        numbers(replace(held, value=None))
    with pytest.raises(ProgramError, match=r"'w': .*does not carry the scale"):
        numbers(replace(held, quantisation=Quantisation(None, each.zero_point, 8, True, axis=0)))
    with pytest.raises(ProgramError, match="does not carry the zero point"):
        decode(integers, Quantisation(each.scale, None, 8, True, axis=0))
    with pytest.raises(ProgramError, match="2 scales for 3 indices"):
        decode(np.zeros((3, 2), np.int64), each)


def test_meanings_are_values() -> None:
    scale = np.array([0.5, 0.25])
    one, same = meaning(scale, axis=0), meaning([0.5, 0.25], axis=0)
    scale[0] = 9.0
    assert one == same
    assert hash(one) == hash(same)
    assert one.scale is not None
    with pytest.raises(ValueError, match="read-only"):
        one.scale[0] = 1.0
    others = [
        meaning([0.5, 0.125], axis=0),
        meaning([0.5, 0.25], [0, 1], axis=0),
        meaning([0.5, 0.25], axis=1),
        meaning([0.5, 0.25], axis=0, signed=False),
        meaning([0.5, 0.25], axis=0, bits=16),
        one.behind(meaning()),
        Quantisation(None, one.zero_point, 8, True, axis=0),
        "something else",
    ]
    assert all(one != other for other in others)
    assert not Quantisation(None, None, 8, True).known
    assert one.known


@pytest.mark.parametrize(("more", "words"), [
    ({"scale": 0.0}, "not a positive number"),
    ({"scale": np.nan}, "not a positive number"),
    ({"scale": -1.0}, "not a positive number"),
    ({"zero": 128}, "not between -128 and 127"),
    ({"zero": -1, "signed": False}, "not between 0 and 255"),
    ({"bits": 33}, "33 bits"),
    ({"bits": 0}, "0 bits"),
    ({"scale": [1.0, 2.0]}, "no axis"),
    ({"scale": [1.0, 2.0], "zero": [0, 0, 0], "axis": 0}, "zero points of shape"),
    ({"scale": [[1.0, 2.0]], "axis": 0}, "2 axes"),
])  # fmt: skip
def test_meanings_that_are_none(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        meaning(**more)


def test_tensors_too_narrow_for_their_integers() -> None:
    with pytest.raises(ValueError, match="'x' has 4 bits for integers of 8"):
        Tensor("x", TensorKind.MAP, (1, 1, 1, 1), 4, quantisation=meaning())
    graph = single_convolution((1, 4, 5, 5), 3, Window(kernel=(3, 3)))
    each = replace(graph.tensors["x"], quantisation=meaning(), quantised=True)
    graph = graph.with_tensors([each])
    kept = assign_precision(graph, Precision(8, 4, 32)).tensors["x"]
    assert (kept.bits, kept.quantisation) == (8, meaning())
    wider = assign_precision(graph, Precision(8, 16, 32, force_activations=True)).tensors["x"]
    assert (wider.bits, wider.quantisation) == (16, meaning())
    forced = assign_precision(graph, Precision(8, 4, 32, force_activations=True)).tensors["x"]
    assert (forced.bits, forced.quantisation) == (4, None)
