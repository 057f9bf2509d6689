"""Explicit padding moves into windows that pad with the same numbers, and into no others."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest

from dataflow_sim.ingest.network import ResolvedNetwork
from dataflow_sim.ingest.passes.padding import PADDING
from tests.support.resolved_models import evaluate, inputs_of
from tests.unit.passes.chains import Chain, leaves, rewrites

AROUND = (0, 0, 1, 2, 0, 0, 3, 0)  # one row above, two columns left, three rows below


def padded(net: Chain, pads: tuple[int, ...] = AROUND, *rest: object, **attributes: Any) -> str:
    return net.add("Pad", "x", np.array(pads, np.int64), *rest, **attributes)


def image(*shape: int) -> Chain:
    return Chain(x=shape or (2, 4, 9, 8))


def pads_of(network: ResolvedNetwork) -> object:
    return network.nodes[-1].attributes["pads"]


@pytest.mark.parametrize("value", [(), (0.0,)])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [0, 1, 2, 0], "strides": [2, 1]},
        {"dilations": [2, 1], "auto_pad": "NOTSET"},
        {"auto_pad": "VALID", "strides": [2, 2], "group": 2},
        {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
        {"auto_pad": "SAME_LOWER", "strides": [3, 2], "kernel_shape": [3, 2]},
    ],
)
def test_convolution(attributes: dict[str, Any], value: tuple[float, ...]) -> None:
    net = image()
    weights = net.learned(6, 4 // int(str(attributes.get("group", 1))), 3, 2)
    network = net.network(
        net.add("Conv", padded(net, AROUND, *value), weights, net.learned(6), **attributes)
    )
    new = rewrites(PADDING, network, {"Conv": 1})
    assert new.nodes[0].inputs == ("x", *network.nodes[1].inputs[1:])
    assert new.nodes[0].attributes.get("auto_pad", "NOTSET") == "NOTSET"
    if attributes == {}:
        assert pads_of(new) == (1, 2, 3, 0)


@pytest.mark.parametrize(
    ("shape", "pads", "kernel", "folded"),
    [
        ((2, 4, 9), (0, 0, 2, 0, 0, 1), (3,), (2, 1)),
        ((1, 2, 4, 5, 6), (0, 0, 1, 0, 2, 0, 0, 0, 1, 0), (2, 3, 2), (1, 0, 2, 0, 1, 0)),
    ],
)
def test_one_and_three_spatial_axes(
    shape: tuple[int, ...], pads: tuple[int, ...], kernel: tuple[int, ...], folded: tuple[int, ...]
) -> None:
    net = image(*shape)
    network = net.network(net.add("Conv", padded(net, pads), net.learned(5, shape[1], *kernel)))
    new = rewrites(PADDING, network, {"Conv": 1})
    assert pads_of(new) == folded


@pytest.mark.parametrize("axes", [(2, 3), (-2, -1), (3, 2)])
def test_named_axes(axes: tuple[int, ...]) -> None:
    net = image()
    end = padded(net, (1, 2, 3, 0), 0.0, np.array(axes, np.int64))
    new = rewrites(PADDING, net.network(net.add("Conv", end, net.learned(5, 4, 3, 3))), {"Conv": 1})
    assert pads_of(new) == ((2, 1, 0, 3) if axes == (3, 2) else (1, 2, 3, 0))


def test_pads_in_attributes() -> None:
    net = Chain(10, x=(2, 4, 9, 8))
    end = net.add("Pad", "x", pads=AROUND, mode="constant", value=0.0)
    new = rewrites(PADDING, net.network(net.add("Conv", end, net.learned(5, 4, 3, 3))), {"Conv": 1})
    assert pads_of(new) == (1, 2, 3, 0)


def test_pad_after_pad() -> None:
    net = image()
    first = padded(net)
    second = net.add("Pad", first, np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64))
    network = net.network(net.add("Conv", second, net.learned(5, 4, 3, 3)))
    assert pads_of(rewrites(PADDING, network, {"Conv": 1})) == (2, 2, 3, 1)


@pytest.mark.parametrize(
    "attributes",
    [
        {"count_include_pad": 1},
        {"count_include_pad": 1, "pads": [1, 0, 0, 1], "strides": [2, 1]},
        {"count_include_pad": 1, "auto_pad": "SAME_UPPER", "strides": [5, 3]},
        {"count_include_pad": 0},
        {"auto_pad": "VALID", "strides": [1, 2]},
        {"count_include_pad": 1, "dilations": [1, 2]},
    ],
)
def test_average_pooling(attributes: dict[str, Any]) -> None:
    net = image()
    end = net.add("AveragePool", padded(net), kernel_shape=[5, 4], **attributes)
    new = rewrites(PADDING, net.network(end), {"AveragePool": 1})
    assert new.nodes[0].attributes["count_include_pad"] == 1


@pytest.mark.parametrize(
    "attributes", [{"strides": [1, 2]}, {"pads": [1, 0, 0, 1], "strides": [2, 1]}]
)
def test_maximum_pooling(attributes: dict[str, Any]) -> None:
    net = image()
    end = net.add("MaxPool", padded(net, AROUND, -inf), kernel_shape=[5, 4], **attributes)
    rewrites(PADDING, net.network(end), {"MaxPool": 1})


def test_maximum_pooling_of_every_place() -> None:
    """Against numpy: with strides of 1 the reference evaluator misreads uneven pads."""
    net = image()
    network = net.network(net.add("MaxPool", padded(net, AROUND, -inf), kernel_shape=[5, 4]))
    node = PADDING.rewrite(network)[0].nodes[0]
    pads = node.attributes["pads"]
    assert isinstance(pads, tuple)
    edges = [(0, 0), (0, 0), *zip(pads[:2], pads[2:], strict=True)]
    x = np.pad(inputs_of(network)["x"], np.array(edges, int), constant_values=-inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (5, 4), (2, 3))
    np.testing.assert_array_equal(evaluate(network)["MaxPool1"], windows.max(axis=(4, 5)))


@pytest.mark.parametrize(
    ("op", "value", "attributes"),
    [
        ("MaxPool", 0.0, {}),
        ("MaxPool", -inf, {"ceil_mode": 1, "strides": [2, 3]}),
        ("AveragePool", 1.0, {"count_include_pad": 1}),
        ("AveragePool", 0.0, {"pads": [1, 1, 1, 1]}),
        ("AveragePool", 0.0, {"count_include_pad": 1, "ceil_mode": 1, "strides": [2, 3]}),
    ],
)
def test_pooling_that_pads_otherwise(op: str, value: float, attributes: dict[str, Any]) -> None:
    net = image()
    end = net.add(op, padded(net, AROUND, value), kernel_shape=[5, 4], **attributes)
    leaves(PADDING, net.network(end))


def test_a_pooling_window_in_padding_alone_is_left() -> None:
    net = image()
    end = net.add("AveragePool", padded(net), kernel_shape=[3, 3], count_include_pad=1)
    leaves(PADDING, net.network(end))


def test_a_maximum_with_places_is_left() -> None:
    net = image()
    end = net.add("MaxPool", padded(net, AROUND, -inf), kernel_shape=[5, 4], outputs=2)
    leaves(PADDING, net.network(end, net.add("Cast", f"{end}.1", to=1)))


@pytest.mark.parametrize(
    ("pads", "rest", "attributes"),
    [
        (AROUND, (1.0,), {}),
        (AROUND, (), {"mode": "reflect"}),
        (AROUND, (0.0,), {"mode": "edge"}),
        ((0, 1, 1, 1, 0, 0, 1, 1), (), {}),
        ((0, 0, 1, 1, 1, 0, 1, 1), (), {}),
        ((0, 0, 1, -1, 0, 0, 1, 1), (), {}),
    ],
)
def test_other_padding_is_left(
    pads: tuple[int, ...], rest: tuple[object, ...], attributes: dict[str, Any]
) -> None:
    net = image(2, 4, 9, 8)
    channels = 4 + pads[1] + pads[5]
    end = net.add("Conv", padded(net, pads, *rest, **attributes), net.learned(6, channels, 3, 3))
    network = net.network(end)
    assert PADDING.rewrite(network) == (network, ())


def test_an_unknown_value_is_left() -> None:
    net = image()
    end = net.add("Conv", padded(net, AROUND, net.learned()), net.learned(6, 4, 3, 3))
    leaves(PADDING, net.network(end))


def test_what_others_read_stays() -> None:
    net = image()
    end = padded(net)
    result = net.add("Conv", end, net.learned(6, 4, 3, 3))
    leaves(PADDING, net.network(result, end))
    leaves(PADDING, net.network(result, net.add("Relu", end)))
    del net.nodes[-1]
    leaves(PADDING, net.network(result, net.add("Conv", end, net.learned(6, 4, 3, 3))))


def test_padded_weights_stay() -> None:
    net = Chain(x=(4, 4, 3, 3), z=(1, 4, 12, 12))
    leaves(PADDING, net.network(net.add("Conv", "z", padded(net))))
    net = Chain(x=(4, 4, 3, 3))
    end = padded(net)
    leaves(PADDING, net.network(net.add("Conv", end, end)))


def test_transposed_convolution_is_left() -> None:
    net = image()
    leaves(PADDING, net.network(net.add("ConvTranspose", padded(net), net.learned(4, 6, 3, 3))))
