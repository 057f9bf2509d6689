"""Chains of primitive nodes become smooth activations, and only those that are some."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, pi, sqrt

import numpy as np
import pytest

from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.passes.activations import ACTIVATIONS
from tests.unit.passes.chains import Chain, leaves, rewrites

Form = Callable[[Chain], str]
TANH = sqrt(2 / pi)


def gate(net: Chain, factor: object, swapped: bool = False) -> str:
    return net.add("Sigmoid", net.add("Mul", *((factor, "x") if swapped else ("x", factor))))


def erf(net: Chain, how: str = "div") -> str:
    if how == "div":
        return net.add("Erf", net.add("Div", "x", sqrt(2)))
    return net.add("Erf", net.add("Mul", *(("x", sqrt(0.5)) if how == "mul" else (sqrt(0.5), "x"))))


def one_more(net: Chain, value: str, swapped: bool = False) -> str:
    return net.add("Add", *((1.0, value) if swapped else (value, 1.0)))


def cubic(net: Chain, how: str, factor: float = 0.044715) -> str:
    if how == "power":
        cube = net.add("Pow", "x", 3.0)
    elif how == "product":
        cube = net.add("Mul", net.add("Mul", "x", "x"), "x")
    elif how == "square":
        cube = net.add("Mul", "x", net.add("Pow", "x", 2.0))
    else:  # x * sqrt(2 / pi) * (1 + 0.044715 * x * x)
        inner = net.add("Mul", net.add("Mul", "x", factor), "x")
        outer = net.add("Add", 1.0, inner)
        return net.add("Tanh", net.add("Mul", net.add("Mul", "x", TANH), outer))
    total = net.add("Add", "x", net.add("Mul", factor, cube))
    return net.add("Tanh", net.add("Mul", total, TANH))


def clipped(net: Chain, swapped: bool = False) -> str:
    shifted = net.add("Add", *((3.0, "x") if swapped else ("x", 3.0)))
    return net.add("Clip", shifted, 0.0, 6.0)


SWISH: dict[str, Form] = {
    "x sigmoid(x)": lambda n: n.add("Mul", "x", n.add("Sigmoid", "x")),
    "sigmoid(x) x": lambda n: n.add("Mul", n.add("Sigmoid", "x"), "x"),
    "identity": lambda n: n.add("Mul", "x", n.add("Sigmoid", n.add("Identity", "x"))),
}
QUICK: dict[str, Form] = {
    "x a": lambda n: n.add("Mul", "x", gate(n, 1.702)),
    "a x": lambda n: n.add("Mul", gate(n, 1.702, swapped=True), "x"),
    "x / b": lambda n: n.add("Mul", "x", n.add("Sigmoid", n.add("Div", "x", 1 / 1.702))),
}
HARD_SWISH: dict[str, Form] = {
    "x clip / 6": lambda n: n.add("Div", n.add("Mul", "x", clipped(n)), 6.0),
    "clip x / 6": lambda n: n.add("Div", n.add("Mul", clipped(n, swapped=True), "x"), 6.0),
    "x (clip / 6)": lambda n: n.add("Mul", "x", n.add("Div", clipped(n), 6.0)),
    "(x / 6) clip": lambda n: n.add("Mul", n.add("Div", "x", 6.0), clipped(n)),
    "x clip 1/6": lambda n: n.add("Mul", n.add("Mul", "x", clipped(n)), 1 / 6),
    "1/6 clip x": lambda n: n.add("Mul", n.add("Mul", 1 / 6, clipped(n)), "x"),
    "x hard_sigmoid": lambda n: n.add("Mul", "x", n.add("HardSigmoid", "x", alpha=1 / 6, beta=0.5)),
    "hard_sigmoid x": lambda n: n.add("Mul", n.add("HardSigmoid", "x", alpha=1 / 6), "x"),
    "x clip(x / 6 + 1/2)": lambda n: n.add(
        "Mul", "x", n.add("Clip", n.add("Add", n.add("Div", "x", 6.0), 0.5), 0.0, 1.0)
    ),
}
MISH: dict[str, Form] = {
    "x tanh": lambda n: n.add("Mul", "x", n.add("Tanh", n.add("Softplus", "x"))),
    "tanh x": lambda n: n.add("Mul", n.add("Tanh", n.add("Softplus", "x")), "x"),
}
GELU: dict[str, Form] = {
    "(x (1 + erf)) / 2": lambda n: n.add("Mul", n.add("Mul", "x", one_more(n, erf(n))), 0.5),
    "1/2 ((erf + 1) x)": lambda n: n.add(
        "Mul", 0.5, n.add("Mul", one_more(n, erf(n, "mul"), swapped=True), "x")
    ),
    "(x / 2) (1 + erf)": lambda n: n.add("Mul", n.add("Mul", "x", 0.5), one_more(n, erf(n))),
    "(1 + erf) (x / 2)": lambda n: n.add(
        "Mul", one_more(n, erf(n, "swapped")), n.add("Div", "x", 2.0)
    ),
    "x ((1 + erf) / 2)": lambda n: n.add("Mul", "x", n.add("Mul", one_more(n, erf(n)), 0.5)),
    "x (1/2 + erf / 2)": lambda n: n.add("Mul", "x", n.add("Add", n.add("Mul", erf(n), 0.5), 0.5)),
}
GELU_TANH: dict[str, Form] = {
    **{
        f"(x / 2) (1 + tanh), {how}": lambda n, how=how: n.add(  # type: ignore[misc]
            "Mul", n.add("Mul", 0.5, "x"), one_more(n, cubic(n, how))
        )
        for how in ("power", "product", "square", "factored")
    },
    "x ((1 + tanh) / 2)": lambda n: n.add(
        "Mul", "x", n.add("Mul", 0.5, one_more(n, cubic(n, "power"), swapped=True))
    ),
}


def forms(*families: tuple[str, dict[str, Form]]) -> list[object]:
    return [
        pytest.param(op, form, id=f"{op}: {name}")
        for op, family in families
        for name, form in family.items()
    ]


ALL = forms(
    ("Swish", SWISH),
    ("Swish", QUICK),
    ("HardSwish", HARD_SWISH),
    ("Mish", MISH),
    ("Gelu", GELU),
    ("Gelu", GELU_TANH),
)


def only(net: Chain, end: str, op: str) -> Node:
    node = rewrites(ACTIVATIONS, net.network(end), {op: 1}).nodes[0]
    assert node.inputs == ("x",)
    return node


@pytest.mark.parametrize(("op", "form"), ALL)
def test_forms(op: str, form: Form) -> None:
    net = Chain(x=(4, 50))
    only(net, form(net), op)


@pytest.mark.parametrize(("op", "form"), ALL)
def test_behind_and_before_other_nodes(op: str, form: Form) -> None:
    net = Chain(z=(4, 50))
    net.nodes.append(net_node("Mul", "z", net.constant(3.0), "x"))
    network = net.network(net.add("Mul", form(net), 0.25))
    rewrites(ACTIVATIONS, network, {"Mul": 2, op: 1})


def net_node(op: str, first: str, second: str, end: str) -> object:
    helper = Chain(a=(1,))
    helper.add(op, first, second)
    helper.nodes[0].output[0] = end
    return helper.nodes[0]


@pytest.mark.parametrize(("op", "form"), ALL)
def test_two_in_a_row(op: str, form: Form) -> None:
    net = Chain(x=(4, 50))
    end = form(net)
    nodes = len(net.nodes)
    form(net)
    for node in net.nodes[nodes:]:
        node.input[:] = [end if name == "x" else name for name in node.input]
    network = net.network(net.nodes[-1].output[0])
    rewrites(ACTIVATIONS, network, {op: 2})


@pytest.mark.parametrize(("op", "form"), ALL)
def test_what_others_read_is_not_hidden(op: str, form: Form) -> None:
    net = Chain(x=(4, 50))
    end = form(net)
    for node in net.nodes[:-1]:
        leaves(ACTIVATIONS, net.network(end, node.output[0]))
        other = net.add("Relu", node.output[0])
        leaves(ACTIVATIONS, net.network(end, other))
        del net.nodes[-1]


def test_attributes() -> None:
    for family, alpha in ((SWISH, 1.0), (QUICK, 1.702)):
        for form in family.values():
            net = Chain()
            node = only(net, form(net), "Swish")
            assert node.attributes == {"alpha": pytest.approx(alpha)}
    for forms_of, approximate in ((GELU, "none"), (GELU_TANH, "tanh")):
        for form in forms_of.values():
            net = Chain()
            assert only(net, form(net), "Gelu").attributes == {"approximate": approximate}


def test_numbers_of_half_precision() -> None:
    """A square root rounded to 16 bits is still that square root."""
    net = Chain()
    half = net.add("Erf", net.add("Div", "x", float(np.float16(sqrt(2)))))
    end = net.add("Mul", net.add("Mul", "x", 0.5), one_more(net, half))
    rewrites(ACTIVATIONS, net.network(end), {"Gelu": 1}, 1e-3)


def test_limits_in_attributes() -> None:
    """Operator sets before 11 give a Clip its limits as attributes."""
    net = Chain(10)
    clip = net.add("Clip", net.add("Add", "x", 3.0), min=0.0, max=6.0)
    network = net.network(net.add("Div", net.add("Mul", "x", clip), 6.0))
    new, changed = ACTIVATIONS.rewrite(network)
    assert [node.op for node in new.nodes] == ["HardSwish"]
    assert changed == (network.nodes[-1].name,)


NEAR_MISSES: dict[str, Form] = {
    "sigmoid of another": lambda n: n.add("Mul", "x", n.add("Sigmoid", "z")),
    "another times sigmoid": lambda n: n.add("Mul", "z", n.add("Sigmoid", "x")),
    "sigmoid plus x": lambda n: n.add("Add", "x", n.add("Sigmoid", "x")),
    "x over sigmoid": lambda n: n.add("Div", "x", n.add("Sigmoid", "x")),
    "sigmoid of the negative": lambda n: n.add("Mul", "x", gate(n, -1.0)),
    "sigmoid of the square": lambda n: n.add("Mul", "x", n.add("Sigmoid", n.add("Pow", "x", 2.0))),
    "sigmoid of the shifted": lambda n: n.add("Mul", "x", n.add("Sigmoid", n.add("Add", "x", 1.0))),
    "sigmoid of vector times x": lambda n: n.add("Mul", "x", gate(n, np.ones(50, np.float32))),
    "unknown factor": lambda n: n.add("Mul", "x", gate(n, n.learned())),
    "clip to 5": lambda n: n.add(
        "Div", n.add("Mul", "x", n.add("Clip", n.add("Add", "x", 3.0), 0.0, 5.0)), 6.0
    ),
    "clip from 1": lambda n: n.add(
        "Div", n.add("Mul", "x", n.add("Clip", n.add("Add", "x", 3.0), 1.0, 6.0)), 6.0
    ),
    "clip of x + 2": lambda n: n.add(
        "Div", n.add("Mul", "x", n.add("Clip", n.add("Add", "x", 2.0), 0.0, 6.0)), 6.0
    ),
    "clip over 5": lambda n: n.add("Div", n.add("Mul", "x", clipped(n)), 5.0),
    "clip without limits": lambda n: n.add(
        "Div", n.add("Mul", "x", n.add("Clip", n.add("Add", "x", 3.0))), 6.0
    ),
    "hard sigmoid as it comes": lambda n: n.add("Mul", "x", n.add("HardSigmoid", "x")),
    "hard sigmoid of another beta": lambda n: n.add(
        "Mul", "x", n.add("HardSigmoid", "x", alpha=1 / 6, beta=0.4)
    ),
    "tanh of softplus of another": lambda n: n.add(
        "Mul", "x", n.add("Tanh", n.add("Softplus", "z"))
    ),
    "softplus": lambda n: n.add("Mul", "x", n.add("Softplus", "x")),
    "erf of x over 1.5": lambda n: n.add(
        "Mul",
        n.add("Mul", "x", 0.5),
        one_more(n, n.add("Erf", n.add("Div", "x", 1.5))),
    ),
    "no half": lambda n: n.add("Mul", "x", one_more(n, erf(n))),
    "2 + erf": lambda n: n.add("Mul", n.add("Mul", "x", 0.5), n.add("Add", 2.0, erf(n))),
    "1 - erf": lambda n: n.add("Mul", n.add("Mul", "x", 0.5), n.add("Sub", 1.0, erf(n))),
    "erf of another": lambda n: n.add("Mul", n.add("Mul", "z", 0.5), one_more(n, erf(n))),
    "cubic of 0.05": lambda n: n.add(
        "Mul", n.add("Mul", "x", 0.5), one_more(n, cubic(n, "power", 0.05))
    ),
    "infinite": lambda n: n.add("Mul", "x", gate(n, inf)),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_near_misses(name: str) -> None:
    net = Chain(x=(4, 50), z=(4, 50))
    network = net.network(NEAR_MISSES[name](net))
    assert ACTIVATIONS.rewrite(network) == (network, ())
