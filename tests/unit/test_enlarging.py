"""Transposed convolutions and resizing: what becomes a window, and what is streamed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dataflow_sim.graph.analyses import layer_macs, layer_macs_without_padding
from dataflow_sim.graph.layer import LayerKind, Window
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.schedule.alone import any_problem, frontier
from dataflow_sim.schedule.bounds import layer_bound_bytes, window_reuse
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from dataflow_sim.simulate.replay import replay
from tests.support.runs import least_budget, outputs_of, proved, scheduled

Array = npt.NDArray[np.float32]
Given = Mapping[str, Array]


def model(
    op: str, shape: tuple[int, ...], given: Given, opset: int = 18, **attributes: Any
) -> onnx.ModelProto:
    """One operator on a map; further inputs are constants, "" where one is left out."""
    node = helper.make_node(op, ["x", *given], ["y"], "node", **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in given.items() if name],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def read(found: onnx.ModelProto) -> NetworkGraph:
    return assign_precision(graph_from_model(found, "one"), Precision(32, 32, 32))


def numbers(*shape: int) -> Array:
    return np.random.default_rng(7).integers(-4, 5, shape).astype(np.float32)


def scales(*values: float) -> Array:
    return np.array(values, np.float32)


def scattered(x: Array, kernel: Array, out: tuple[int, int], **how: tuple[int, int]) -> Array:
    """A transposed convolution by definition: every product is added to where it belongs."""
    groups = how["groups"][0]
    per_group = kernel.shape[1]
    result = np.zeros((x.shape[0], groups * per_group, *out), np.float32)
    for k in range(x.shape[1]):
        first = k // (x.shape[1] // groups) * per_group
        for place in np.ndindex(*x.shape[2:]):
            for tap in np.ndindex(*kernel.shape[2:]):
                y, z = (
                    place[a] * how["strides"][a] + tap[a] * how["dilations"][a] - how["pads"][a]
                    for a in (0, 1)
                )
                if 0 <= y < out[0] and 0 <= z < out[1]:
                    products = x[:, k, *place][:, None] * kernel[k, :, *tap]
                    result[:, first : first + per_group, y, z] += products
    return result


TRANSPOSED = [
    # strides, dilations, pads, groups, output padding, further attributes
    ((2, 2), (1, 1), (0, 0), 1, (0, 0), {}),
    ((2, 3), (1, 1), (1, 1), 2, (1, 0), {}),
    ((1, 2), (2, 1), (1, 0), 3, (0, 1), {}),
    ((3, 2), (2, 2), (2, 1), 6, (2, 0), {}),
    ((4, 4), (1, 1), (0, 0), 2, (0, 0), {}),
    ((2, 2), (1, 1), None, 1, (0, 0), {"auto_pad": "SAME_UPPER"}),
    ((2, 2), (1, 1), None, 2, (0, 0), {"auto_pad": "SAME_LOWER"}),
    ((2, 2), (1, 1), (0, 0), 1, (0, 0), {"auto_pad": "VALID"}),
    ((2, 2), (1, 1), None, 1, (0, 0), {"output_shape": [8, 7]}),
]


@pytest.mark.parametrize(("strides", "dilations", "pads", "groups", "more", "other"), TRANSPOSED)
def test_transposed_convolutions_scatter(
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: tuple[int, int] | None,
    groups: int,
    more: tuple[int, int],
    other: dict[str, object],
) -> None:
    kernel = numbers(6, 2, 3, 3)
    attributes: dict[str, Any] = {
        "strides": strides,
        "dilations": dilations,
        "group": groups,
        **other,
    }
    attributes["output_padding"] = more
    if pads is not None and "auto_pad" not in other:
        attributes["pads"] = [*pads, *pads]
    graph = read(model("ConvTranspose", (2, 6, 4, 4), {"w": kernel}, **attributes))
    (layer,) = graph.layers
    assert layer.kind is LayerKind.CONVOLUTION
    out = (layer.output_shape[2], layer.output_shape[3])
    if pads is None:
        spare = [3 * strides[a] + 3 - out[a] for a in (0, 1)]
        upper = other.get("auto_pad") == "SAME_UPPER"
        pads = tuple(s // 2 if upper else s - s // 2 for s in spare)  # type: ignore[assignment]
    assert pads is not None
    x = numbers(2, 6, 4, 4)
    how = {"strides": strides, "dilations": dilations, "pads": pads, "groups": (groups, groups)}
    expected = scattered(x, kernel, out, **how)
    nominal = 2 * 6 * 16 * 2 * 9
    assert layer_macs(layer) == nominal
    inside = np.abs(scattered(np.ones_like(x), np.ones_like(kernel), out, **how)).sum()
    assert layer_macs_without_padding(layer) == int(inside)
    for factor in (1, 2, 100):
        schedule, _ = scheduled(graph, factor * least_budget(graph, True), double_buffer=True)
        program = proved(graph, schedule)
        assert schedule.layers[0].macs_executed == nominal
        found = outputs_of(graph, replay(program, graph, {"x": x}).tensors, expected)["output"]
        np.testing.assert_array_equal(found, expected)


def test_an_activation_before_folds_in() -> None:
    found = model("ConvTranspose", (1, 2, 4, 5), {"w": numbers(2, 3, 3, 3)}, pads=[1, 1, 1, 1])
    found.graph.node[0].input[0] = "relu"
    found.graph.node.insert(0, helper.make_node("Relu", ["x"], ["relu"], "relu"))
    kernel = numpy_helper.from_array(numbers(3, 2, 1, 1), "k")
    found.graph.initializer.append(kernel)
    found.graph.node.append(helper.make_node("Conv", ["relu", "k"], ["z"], "point"))
    found.graph.node.append(helper.make_node("Add", ["y", "z"], ["sum"], "sum"))
    found.graph.output[0].name = "sum"
    graph = read(found)
    assert [layer.pre.ops for layer in graph.layers] == [("Relu",), ("Relu",)]
    x = numbers(1, 2, 4, 5)
    relu = np.maximum(x, 0)
    ones = (1, 1)
    how = {"strides": ones, "dilations": ones, "pads": ones, "groups": ones}
    expected = scattered(relu, numbers(2, 3, 3, 3), (4, 5), **how)
    expected += np.einsum("nkyx,mk->nmyx", relu, numbers(3, 2, 1, 1)[..., 0, 0])
    _, program = scheduled(graph, least_budget(graph, False))
    result = outputs_of(graph, replay(program, graph, {"x": x}).tensors, expected)["output"]
    np.testing.assert_array_equal(result, expected)


def test_one_spatial_axis() -> None:
    graph = read(model("ConvTranspose", (1, 3, 5), {"w": numbers(3, 4, 4)}, strides=[2]))
    (layer,) = graph.layers
    window = Window((4, 1), pad=(3, 0), up=(2, 1), transposed=True)
    assert layer.window == window
    assert layer.output_shape == (1, 4, 12, 1)


@pytest.mark.parametrize(
    "found",
    [
        model("ConvTranspose", (1, 2, 3, 3, 3), {"w": numbers(2, 2, 2, 2, 2)}),
        model("ConvTranspose", (1, 2, 3, 3), {"w": numbers(2, 2, 2, 2)}, output_shape=[9, 9]),
        model("Resize", (1, 2, 4, 4), {"": numbers(0), "s": scales(1, 1, 1.5, 2)}),
        model("Resize", (1, 2, 4, 4), {"": numbers(0), "s": scales(1, 1, 0.5, 0.5)}),
        model("Resize", (1, 2, 4, 4), {"": numbers(0), "s": scales(1, 2, 2, 2)}),
        *(
            model("Resize", (1, 2, 4, 4), {"": numbers(0), "s": scales(1, 1, 2, 2)}, **how)
            for how in (
                {"mode": "cubic"},
                {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
                {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "floor"},
                {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"},
                {"mode": "linear", "antialias": 1},
            )
        ),
        # 2.3 times one row and column are two, but not where they would be by 2
        model("Resize", (1, 2, 1, 1), {"": numbers(0), "s": scales(1, 1, 2.3, 2.3)}),
    ],
)
def test_what_is_streamed(found: onnx.ModelProto) -> None:
    (layer,) = read(found).layers
    assert layer.kind is LayerKind.STREAMED


def test_a_kernel_that_a_convolution_reads_too_is_streamed() -> None:
    found = model("ConvTranspose", (1, 2, 4, 4), {"w": numbers(2, 2, 3, 3)})
    found.graph.node.append(helper.make_node("Conv", ["x", "w"], ["z"], "other"))
    found.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    kinds = {layer.op: layer.kind for layer in read(found).layers}
    assert kinds == {"ConvTranspose": LayerKind.STREAMED, "Conv": LayerKind.CONVOLUTION}


@pytest.mark.parametrize(
    "found",
    [
        model("Upsample", (1, 2, 3, 4), {"s": scales(1, 1, 3, 2)}, 9),
        model("Resize", (1, 2, 3, 4), {"s": scales(1, 1, 3, 2)}, 10),
        model("Resize", (1, 2, 3, 4), {"": numbers(0), "s": scales(3, 2)}, axes=[2, 3]),
    ],
    ids=["upsample", "resize of opset 10", "axes"],
)
def test_nearest_by_whole_factors(found: onnx.ModelProto) -> None:
    graph = read(found)
    (layer,) = graph.layers
    assert (layer.kind, layer.window.up) == (LayerKind.CHANNELWISE, (3, 2))
    x = numbers(1, 2, 3, 4)
    expected = x.repeat(3, axis=2).repeat(2, axis=3)
    _, program = scheduled(graph, least_budget(graph, False))
    result = outputs_of(graph, replay(program, graph, {"x": x}).tensors, expected)["output"]
    np.testing.assert_array_equal(result, expected)


def test_no_window_enlarges_with_a_stride() -> None:
    with pytest.raises(ValueError, match="enlarges"):
        Window(stride=(2, 1), up=(1, 2))


@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_no_tiling_beats_the_bound(kernel: int) -> None:
    found = model(
        "ConvTranspose", (1, 6, 6, 6), {"w": numbers(6, 7, kernel, kernel)}, strides=[2, 2]
    )
    graph = read(found)
    (layer,) = graph.layers
    assert window_reuse(layer) == (-(-kernel // 2)) ** 2
    curve = frontier(any_problem(graph, layer, MemoryOptions(0, SINGLE, 32)))
    for local, bits in zip(curve.local_bytes.tolist(), curve.dram_bits.tolist(), strict=True):
        assert bits // 8 >= layer_bound_bytes(graph, layer, local)


def test_reuse_where_dilation_and_stride_have_a_factor_in_common() -> None:
    """Dilation 2 at stride 2: an even row meets all three taps, an odd one none."""
    found = model(
        "Conv", (1, 1, 9, 9), {"w": numbers(1, 1, 3, 3)}, dilations=[2, 1], strides=[2, 2]
    )
    assert window_reuse(read(found).layers[0]) == 3 * 2
