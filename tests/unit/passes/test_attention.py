"""Attention is found in every way that exporters write it, and computes what it did."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dataflow_sim.ingest.passes.attention import ATTENTION
from tests.unit.passes.attentions import (
    OWN,
    SHAPES,
    B,
    D,
    Form,
    G,
    H,
    S,
    T,
    attended,
    check_contract,
    drawn,
    fused,
    ints,
    reshaped,
    scaled,
    transposed,
)
from tests.unit.passes.chains import Chain, operators, same_values

DOUBLE, FLOAT = 11, 1


def test_the_bare_form() -> None:
    net = Chain(20, **SHAPES)
    end = attended(net)
    new, node = fused(net.network(end))
    assert new.nodes == (node,)
    assert (node.name, node.outputs) == (f"node of {end}", (end,))
    assert node.inputs == ("q", "k", "v")
    assert node.attributes == {"scale": 1.0, "is_causal": 0}


# ------------------------------------------------------------------------------- scales


def by(op: str, number: object, swapped: bool = False) -> Form:
    def form(net: Chain, name: str) -> str:
        return net.add(op, *((number, name) if swapped else (name, number)))

    return form


SCALINGS: dict[str, tuple[Form, float]] = {
    "product": (by("Mul", 0.25), 0.25),
    "product exchanged": (by("Mul", 0.25, swapped=True), 0.25),
    "quotient": (by("Div", 8.0), 0.125),
    "one element": (by("Mul", np.full((1, 1), 0.25, np.float32)), 0.25),
    "twice": (lambda net, name: by("Div", 4.0)(net, by("Mul", 0.5)(net, name)), 0.125),
}


@pytest.mark.parametrize("name", SCALINGS)
def test_scores_are_scaled(name: str) -> None:
    form, scale = SCALINGS[name]
    net = Chain(20, **SHAPES)
    new, node = fused(net.network(attended(net, scores=form)))
    assert len(new.nodes) == 1
    assert node.attributes["scale"] == pytest.approx(scale)


@pytest.mark.parametrize("name", SCALINGS)
def test_queries_are_scaled(name: str) -> None:
    form, scale = SCALINGS[name]
    net = Chain(20, **SHAPES)
    new, node = fused(net.network(attended(net, form(net, "q"))))
    assert len(new.nodes) == 1
    assert node.attributes["scale"] == pytest.approx(scale)


@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize("before", [True, False])
def test_keys_are_scaled(name: str, before: bool) -> None:
    form, scale = SCALINGS[name]
    steps = (form, transposed) if before else (transposed, form)
    net = Chain(20, **SHAPES)
    end = attended(net, turned=lambda n, k: steps[1](n, steps[0](n, k)))
    new, node = fused(net.network(end))
    assert len(new.nodes) == 1
    assert node.attributes["scale"] == pytest.approx(scale)


def test_all_are_scaled() -> None:
    net = Chain(20, **SHAPES)
    root = float(D**-0.25)
    by_root = by("Mul", root)
    end = attended(
        net,
        by_root(net, "q"),
        turned=lambda n, k: by_root(n, transposed(n, k)),
        scores=by("Div", 2.0),
    )
    new, node = fused(net.network(end))
    assert node.attributes["scale"] == pytest.approx(D**-0.5 / 2)
    assert len(new.nodes) == 1


def test_scales_before_heads_are_apart() -> None:
    """Whisper and Keras scale the projection: its views read past the factor."""
    net = Chain(x=(B, T, H * D), k=SHAPES["k"], v=SHAPES["v"])
    factors = net.add("Div", net.add("Mul", net.add("Tanh", "x"), 0.5), 2.0)
    heads = net.add("Transpose", reshaped(net, factors, B, T, H, D), perm=[0, 2, 1, 3])
    end = attended(net, scaled(net, heads))
    new, node = fused(net.network(end))
    assert operators(new) == {"Tanh": 1, "Reshape": 1, "Transpose": 1, OWN: 1}
    assert new.nodes[1].inputs[0] == new.nodes[0].outputs[0]
    assert node.attributes["scale"] == pytest.approx(0.0625)


@pytest.mark.parametrize("output", [True, False])
def test_a_scaled_map_that_others_read_stays(output: bool) -> None:
    net = Chain(x=(B, T, H * D), k=SHAPES["k"], v=SHAPES["v"])
    factor = scaled(net, "x")
    heads = net.add("Transpose", reshaped(net, factor, B, T, H, D), perm=[0, 2, 1, 3])
    end = attended(net, heads)
    new, node = fused(net.network(end, factor if output else net.add("Tanh", factor)))
    assert operators(new)["Mul"] == 1
    assert (node.inputs[0], node.attributes["scale"]) == (heads, 1.0)
    net = Chain(20, **SHAPES)
    factor = scaled(net, "q")
    new, node = fused(net.network(attended(net, factor), net.add("Tanh", factor)))
    assert (node.inputs[0], node.attributes["scale"]) == (factor, 1.0)


def test_a_map_attends_to_itself() -> None:
    """Scaled for query and key at once, it is read twice: the factor stays where it is."""
    net = Chain(x=(B, H, T, D))
    factor = scaled(net, "x")
    new, node = fused(net.network(attended(net, factor, factor, "x")))
    assert (node.inputs, node.attributes["scale"]) == ((factor, factor, "x"), 1.0)
    assert operators(new) == {"Mul": 1, OWN: 1}


STAYING_FACTORS: dict[str, Form] = {
    "unknown": lambda net, name: net.add("Mul", name, net.learned(1)),
    "unknown, divided by": lambda net, name: net.add("Div", name, net.learned()),
    "negative": by("Mul", -0.5),
    "several": by("Mul", drawn(H, 1, 1)),
    "a map": lambda net, name: net.add("Mul", name, net.add("Abs", name)),
    "shifted": by("Add", 0.5),
}


@pytest.mark.parametrize("name", STAYING_FACTORS)
def test_other_factors_of_operands_stay(name: str) -> None:
    net = Chain(20, **SHAPES)
    query, key = STAYING_FACTORS[name](net, "q"), STAYING_FACTORS[name](net, "k")
    _, node = fused(net.network(attended(net, query, key)))
    assert node.inputs == (query, key, "v")
    assert node.attributes["scale"] == 1.0


def test_factors_of_values_stay() -> None:
    net = Chain(20, **SHAPES)
    value = scaled(net, "v")
    _, node = fused(net.network(attended(net, v=value)))
    assert (node.inputs[2], node.attributes["scale"]) == (value, 1.0)


# ------------------------------------------------------------------------------- around it


def test_keys_and_values_behind_a_cache() -> None:
    """Each joined map is also an output of the network: attention reads it, and it stays."""
    net = Chain(
        q=(1, H, 1, D), k0=(1, G, S - 1, D), v0=(1, G, S - 1, D), k=(1, G, 1, D), v=(1, G, 1, D)
    )
    key, value = (net.add("Concat", f"{n}0", n, axis=-2) for n in "kv")

    def wide(net: Chain, name: str) -> str:
        found = net.add("Expand", net.add("Unsqueeze", name, ints(2)), ints(1, G, H // G, S, D))
        return reshaped(net, found, 1, H, S, D)

    end = attended(net, "q", wide(net, key), wide(net, value))
    new, node = fused(net.network(end, key, value))
    assert operators(new) == {"Concat": 2, OWN: 1}
    assert node.inputs == ("q", key, value)


WEIGHTS: dict[str, Form] = {
    "dropout": lambda n, p: n.add("Dropout", p),
    "dropout with its mask": lambda n, p: n.add("Dropout", p, 0.5, np.bool_(False), outputs=2),
    "identity": lambda n, p: n.add("Identity", p),
    "casts": lambda n, p: n.add("Cast", n.add("Cast", p, to=DOUBLE), to=FLOAT),
    "reshapes": lambda n, p: reshaped(n, n.add("Flatten", p, axis=2), B, H, T, S),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_what_lies_behind_the_softmax(name: str) -> None:
    net = Chain(20, **SHAPES)
    new, _ = fused(net.network(attended(net, weights=WEIGHTS[name])))
    assert len(new.nodes) == 1


def test_scores_in_other_precision() -> None:
    def scores(net: Chain, name: str) -> str:
        wide = net.add("Cast", net.add("Identity", name), to=DOUBLE)
        return net.add("Cast", net.add("Mul", wide, np.float64(0.5)), to=FLOAT)

    net = Chain(20, **SHAPES)
    new, node = fused(net.network(attended(net, scores=scores)))
    assert (len(new.nodes), node.attributes["scale"]) == (1, 0.5)


def test_the_softmax_of_older_operator_sets() -> None:
    """Up to set 12 the axis is 1 by default, and all behind it is one axis."""
    for opset, axis, found in (
        (12, {"axis": 3}, 1),
        (12, {}, 0),
        (13, {}, 1),
        (13, {"axis": 2}, 0),
    ):
        net = Chain(opset, **SHAPES)
        weights = net.add("Softmax", net.add("MatMul", "q", transposed(net, "k")), **axis)
        changed = ATTENTION.rewrite(net.network(net.add("MatMul", weights, "v")))[1]
        assert len(changed) == found


def test_attentions_in_a_row() -> None:
    net = Chain(q=(1, H, T, D), k=(1, H, S, D), v=(1, H, S, D))
    first = attended(net, scores=scaled)
    second = attended(net, first, scores=scaled)
    network = net.network(attended(net, second, first, second, scores=scaled))
    new, changed = ATTENTION.rewrite(network)
    check_contract(new)
    same_values(network, new, 1e-5)
    assert operators(new) == {OWN: 3}
    assert [node.name for node in new.nodes] == list(changed)


@pytest.mark.parametrize("cut", ["q", "k", "v"])
def test_operands_that_the_file_holds(cut: str) -> None:
    """A learned query (or memory) is read like any other."""
    net = Chain(20, **{name: shape for name, shape in SHAPES.items() if name != cut})
    names = {name: name for name in SHAPES} | {cut: net.learned(*SHAPES[cut])}
    turned: Callable[[Chain, str], str] = transposed
    if cut == "k":
        names["k"], turned = net.constant(drawn(B, H, D, S)), lambda n, k: k
        network = net.network(attended(net, *names.values(), turned=turned))
        assert ATTENTION.rewrite(network) == (network, ())
        return
    _, node = fused(net.network(attended(net, *names.values(), turned=turned)))
    assert node.inputs == tuple(names.values())
