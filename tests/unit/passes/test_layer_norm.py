"""Chains of primitive nodes become normalisations, and only those that are some."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from dataflow_sim.ingest.passes.layer_norm import LAYER_NORM
from tests.unit.passes.chains import Chain, leaves, operators, rewrites

DOUBLE, FLOAT, HALF = 11, 1, 10
EPSILON = 1e-3


def mean(net: Chain, x: str, axes: tuple[int, ...] = (-1,), keepdims: int = 1) -> str:
    if net.opset < 18:
        return net.add("ReduceMean", x, axes=axes, keepdims=keepdims)
    return net.add("ReduceMean", x, np.array(axes, np.int64), keepdims=keepdims)


def deviation(net: Chain, x: str, axes: tuple[int, ...] = (-1,)) -> str:
    return net.add("Sub", x, mean(net, x, axes))


def square(net: Chain, x: str, how: str) -> str:
    if how == "product":
        return net.add("Mul", x, x)
    return net.add("Pow", x, np.int64(2) if how == "integer power" else 2.0)


def divided(net: Chain, x: str, variance: str, how: str) -> str:
    total = net.add("Add", *((EPSILON, variance) if "swapped" in how else (variance, EPSILON)))
    if how == "power":
        return net.add("Mul", x, net.add("Pow", total, -0.5))
    root = net.add("Pow", total, 0.5) if how == "half power" else net.add("Sqrt", total)
    if how == "one over":
        return net.add("Mul", x, net.add("Div", 1.0, root))
    if "reciprocal" in how:
        inverse = net.add("Reciprocal", root)
        return net.add("Mul", *((inverse, x) if "swapped" in how else (x, inverse)))
    return net.add("Div", x, root)


def affine(net: Chain, y: str, what: str, shape: tuple[int, ...] = (8,)) -> str:
    if "scale" in what:
        scale = net.learned(*shape)
        y = net.add("Mul", *((scale, y) if "swapped" in what else (y, scale)))
    if "bias" in what:
        bias = net.learned(*shape)
        y = net.add("Add", *((bias, y) if "swapped" in what else (y, bias)))
    return y


SQUARES = ("power", "integer power", "product")
DIVISIONS = (
    *("div", "div swapped", "reciprocal", "reciprocal swapped", "one over", "power"),
    "half power",
)
AFFINE = ("", "scale", "bias", "scale and bias", "scale and bias swapped")


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize(("how", "division"), list(product(SQUARES, DIVISIONS)))
def test_layer_normalization(how: str, division: str, twice: bool) -> None:
    net = Chain()
    centred = deviation(net, "x")
    again = deviation(net, "x") if twice else centred
    net.add(
        "Relu",
        affine(
            net,
            divided(net, centred, mean(net, square(net, again, how)), division),
            "scale and bias",
        ),
    )
    new = rewrites(
        LAYER_NORM, net.network(net.nodes[-1].output[0]), {"LayerNormalization": 1, "Relu": 1}
    )
    node = new.nodes[0]
    assert node.inputs[0] == "x"
    assert node.attributes == {
        "axis": -1,
        "epsilon": pytest.approx(EPSILON),
        "stash_type": 1,
    }


@pytest.mark.parametrize("what", AFFINE)
@pytest.mark.parametrize("opset", [15, 20])
def test_scale_and_bias(what: str, opset: int) -> None:
    net = Chain(opset)
    centred = deviation(net, "x")
    y = divided(net, centred, mean(net, square(net, centred, "power")), "div")
    network = net.network(affine(net, y, what))
    node = rewrites(LAYER_NORM, network, {"LayerNormalization": 1}).nodes[0]
    assert [bool(name) for name in node.inputs[1:]] == (
        ["scale" in what, True] if "bias" in what else ["scale" in what]
    )
    assert (node.name, node.outputs) == (network.nodes[-1].name, network.outputs)


@pytest.mark.parametrize("shape", [(8,), (1, 8), (1, 1, 8)])
def test_constants_may_have_leading_ones(shape: tuple[int, ...]) -> None:
    net = Chain()
    centred = deviation(net, "x")
    y = divided(net, centred, mean(net, square(net, centred, "power")), "div")
    rewrites(
        LAYER_NORM, net.network(affine(net, y, "scale and bias", shape)), {"LayerNormalization": 1}
    )


@pytest.mark.parametrize(
    ("axes", "shape"), [((-2, -1), (3, 8)), ((2, 1), (3, 8)), ((0, 1, 2), (2, 3, 8))]
)
def test_several_axes(axes: tuple[int, ...], shape: tuple[int, ...]) -> None:
    net = Chain()
    centred = deviation(net, "x", axes)
    y = divided(net, centred, mean(net, square(net, centred, "product"), axes), "div")
    network = net.network(affine(net, y, "scale and bias", shape))
    new = rewrites(LAYER_NORM, network, {"LayerNormalization": 1})
    assert new.nodes[0].attributes["axis"] == -len(axes)


def test_casts_in_between() -> None:
    net = Chain()
    wide = net.add("Cast", "x", to=DOUBLE)
    centred = net.add("Sub", wide, mean(net, net.add("Identity", wide)))
    power = net.add("Pow", net.add("Cast", centred, to=DOUBLE), np.float64(2))
    total = net.add("Add", mean(net, power), np.float64(EPSILON))
    y = net.add("Cast", net.add("Div", centred, net.add("Sqrt", total)), to=FLOAT)
    network = net.network(affine(net, y, "scale and bias"))
    new = rewrites(LAYER_NORM, network, {"Cast": 1, "LayerNormalization": 1})
    assert new.nodes[-1].inputs[0] == wide


def test_a_mean_in_higher_precision() -> None:
    net = Chain()
    average = net.add("Cast", mean(net, net.add("Cast", "x", to=DOUBLE)), to=FLOAT)
    centred = net.add("Sub", "x", average)
    y = divided(net, centred, mean(net, square(net, centred, "power")), "div")
    rewrites(LAYER_NORM, net.network(y), {"LayerNormalization": 1})


def tensorflow(net: Chain, scaled: bool, shift: str, swapped: bool) -> str:
    def pair(first: str, second: str) -> tuple[str, str]:
        return (second, first) if swapped else (first, second)

    average = mean(net, "x")
    difference = net.add("Sub", "x", net.add("Identity", average))
    total = net.add("Add", mean(net, net.add("Mul", difference, difference)), EPSILON)
    gain = net.add("Reciprocal", net.add("Sqrt", total))
    if scaled:
        gain = net.add("Mul", *pair(gain, net.learned(8)))
    y = net.add("Mul", *pair("x", gain))
    if shift == "negated mean":
        return net.add("Add", *pair(y, net.add("Mul", *pair(net.add("Neg", average), gain))))
    moved = net.add("Mul", *pair(average, gain))
    if shift == "bias":
        return net.add("Add", *pair(y, net.add("Sub", net.learned(8), moved)))
    if shift == "negated":
        return net.add("Add", *pair(y, net.add("Neg", moved)))
    return net.add("Sub", y, moved)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("shift", ["bias", "negated", "negated mean", "difference"])
@pytest.mark.parametrize("scaled", [False, True])
def test_tensorflows_form(scaled: bool, shift: str, swapped: bool) -> None:
    net = Chain()
    network = net.network(tensorflow(net, scaled, shift, swapped))
    node = rewrites(LAYER_NORM, network, {"LayerNormalization": 1}).nodes[0]
    assert [bool(name) for name in node.inputs] == [True, scaled, *[True] * (shift == "bias")]


@pytest.mark.parametrize("what", ["", "scale", "scale swapped"])
@pytest.mark.parametrize(("how", "division"), list(product(SQUARES, DIVISIONS)))
def test_rms_normalization(how: str, division: str, what: str) -> None:
    net = Chain()
    y = affine(net, divided(net, "x", mean(net, square(net, "x", how)), division), what)
    node = rewrites(LAYER_NORM, net.network(y), {"RMSNormalization": 1}).nodes[0]
    assert node.inputs[0] == "x"
    assert bool(node.inputs[1]) == bool(what)


def test_rms_normalization_has_no_bias() -> None:
    net = Chain()
    y = divided(net, "x", mean(net, square(net, "x", "power")), "div")
    network = net.network(affine(net, y, "scale and bias"))
    rewrites(LAYER_NORM, network, {"RMSNormalization": 1, "Add": 1})


def test_several_in_a_row() -> None:
    net = Chain()
    y = "x"
    for _ in range(3):
        centred = deviation(net, y)
        y = divided(net, centred, mean(net, square(net, centred, "power")), "div")
        y = net.add("Add", "x", affine(net, y, "scale and bias"))
        y = divided(net, y, mean(net, square(net, y, "power")), "reciprocal")
    expected = {"LayerNormalization": 3, "Add": 3, "RMSNormalization": 3}
    rewrites(LAYER_NORM, net.network(y), expected, 1e-4)


@pytest.mark.parametrize("shape", [(3, 1), (), (1,), (2, 3, 8), (3, 8), (2, 1, 8)])
def test_other_constants_stay_outside(shape: tuple[int, ...]) -> None:
    net = Chain()
    centred = deviation(net, "x")
    y = divided(net, centred, mean(net, square(net, centred, "power")), "div")
    network = net.network(affine(net, y, "scale and bias", shape))
    rewrites(LAYER_NORM, network, {"LayerNormalization": 1, "Mul": 1, "Add": 1})


def test_a_vector_along_one_of_two_axes_stays_outside() -> None:
    net = Chain()
    centred = deviation(net, "x", (1, 2))
    y = divided(net, centred, mean(net, square(net, centred, "power"), (1, 2)), "div")
    rewrites(LAYER_NORM, net.network(affine(net, y, "scale")), {"LayerNormalization": 1, "Mul": 1})


def test_a_scale_that_others_see_unscaled_stays_outside() -> None:
    net = Chain()
    centred = deviation(net, "x")
    y = divided(net, centred, mean(net, square(net, centred, "power")), "div")
    network = net.network(affine(net, y, "scale"), y)
    rewrites(LAYER_NORM, network, {"LayerNormalization": 1, "Mul": 1})


def test_an_addition_before_the_scale_stays_a_bias() -> None:
    net = Chain()
    centred = deviation(net, "x")
    y = divided(net, centred, mean(net, square(net, centred, "power")), "div")
    network = net.network(affine(net, affine(net, y, "bias"), "scale"))
    new = rewrites(LAYER_NORM, network, {"LayerNormalization": 1, "Mul": 1})
    assert new.nodes[0].inputs[1] == ""


@pytest.mark.parametrize(
    "axes", [((1,), (1,)), ((1,), (2,)), ((2,), (1,)), ((0, 2), (0, 2)), ((1, 2), (2,))]
)
def test_other_axes_are_no_normalization(axes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """But for a mean over the last axis of something that is centred otherwise."""
    net = Chain()
    centred = deviation(net, "x", axes[0])
    y = divided(net, centred, mean(net, square(net, centred, "power"), axes[1]), "div")
    network = net.network(y)
    if axes[1] == (2,):
        expected = {"ReduceMean": 1, "Sub": 1, "RMSNormalization": 1}
        rewrites(LAYER_NORM, network, expected)
    else:
        leaves(LAYER_NORM, network)


@pytest.mark.parametrize("place", range(6))
def test_what_others_read_is_not_hidden(place: int) -> None:
    net = Chain()
    centred = deviation(net, "x")
    y = divided(net, centred, mean(net, square(net, centred, "power")), "div")
    seen = net.nodes[place].output[0]
    network = net.network(y, seen)
    if seen in (centred, net.nodes[0].output[0]):  # what is left normalises the difference
        expected = {"ReduceMean": 1, "Sub": 1, "RMSNormalization": 1}
        rewrites(LAYER_NORM, network, expected)
    else:
        leaves(LAYER_NORM, network)
    other = net.add("Relu", seen)
    assert operators(LAYER_NORM.rewrite(net.network(y, other))[0]).get("LayerNormalization") is None


@pytest.mark.parametrize("place", range(3))
def test_what_others_read_of_a_root_mean_square_is_not_hidden(place: int) -> None:
    net = Chain()
    y = divided(net, "x", mean(net, square(net, "x", "power")), "div")
    leaves(LAYER_NORM, net.network(y, net.nodes[place].output[0]))


def test_near_misses() -> None:
    for exponent, power, epsilon in ((3.0, 0.5, EPSILON), (2.0, 0.25, EPSILON), (2.0, 0.5, -1e-9)):
        net = Chain()
        total = net.add("Add", mean(net, net.add("Pow", "x", exponent)), epsilon)
        leaves(LAYER_NORM, net.network(net.add("Div", "x", net.add("Pow", total, power))))


def test_dividing_something_else_is_none() -> None:
    net = Chain(x=(2, 3, 8), z=(2, 3, 8))
    leaves(LAYER_NORM, net.network(divided(net, "z", mean(net, square(net, "x", "power")), "div")))


def test_dividing_two_over_the_root_is_none() -> None:
    net = Chain()
    root = net.add("Sqrt", net.add("Add", mean(net, square(net, "x", "power")), EPSILON))
    leaves(LAYER_NORM, net.network(net.add("Mul", "x", net.add("Div", 2.0, root))))
    leaves(LAYER_NORM, net.network(net.add("Div", root, "x")))


def test_an_unknown_epsilon_is_refused() -> None:
    net = Chain()
    total = net.add("Add", mean(net, square(net, "x", "power")), net.learned())
    leaves(LAYER_NORM, net.network(net.add("Div", "x", net.add("Sqrt", net.add("Abs", total)))))
    total = net.add("Add", mean(net, square(net, "x", "power")), net.learned(1))
    assert LAYER_NORM.rewrite(net.network(net.add("Div", "x", net.add("Sqrt", total))))[1] == ()


def test_a_mean_of_other_squares_is_none() -> None:
    net = Chain()
    y = divided(net, deviation(net, "x"), mean(net, square(net, "x", "power")), "div")
    leaves(LAYER_NORM, net.network(y))


def test_tensorflows_form_with_another_mean_is_none() -> None:
    net = Chain(x=(2, 3, 8), z=(2, 3, 8))
    difference = deviation(net, "x")
    total = net.add("Add", mean(net, net.add("Mul", difference, difference)), EPSILON)
    gain = net.add("Mul", net.add("Reciprocal", net.add("Sqrt", total)), net.learned(8))
    shift = net.add("Sub", net.learned(8), net.add("Mul", mean(net, "z"), gain))
    leaves(LAYER_NORM, net.network(net.add("Add", net.add("Mul", "x", gain), shift)))


def test_a_widening_broadcast_is_refused() -> None:
    """The result of a normalisation has the shape of its input."""
    net = Chain(x=(3, 8))
    root = net.add(
        "Sqrt",
        net.add(
            "Add", mean(net, square(net, "x", "power")), np.full((1, 1, 1), EPSILON, np.float32)
        ),
    )
    leaves(LAYER_NORM, net.network(net.add("Div", "x", root)))


def test_half_precision() -> None:
    net = Chain()
    wide = net.add("Cast", net.add("Cast", "x", to=HALF), to=FLOAT)
    y = divided(net, wide, mean(net, square(net, wide, "power")), "reciprocal")
    y = net.add("Mul", np.linspace(0.5, 2, 8).astype(np.float16), net.add("Cast", y, to=HALF))
    new = rewrites(LAYER_NORM, net.network(y), {"Cast": 2, "RMSNormalization": 1}, 2e-3)
    assert new.nodes[-1].inputs[0] == wide
