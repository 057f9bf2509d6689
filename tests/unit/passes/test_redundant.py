"""Nodes that change nothing vanish; those that change anything stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf

import numpy as np
import pytest

from dataflow_sim.ingest.passes.redundant import REDUNDANT
from tests.unit.passes.chains import Chain, leaves, operators, rewrites, same_values

Form = Callable[[Chain], str]
DOUBLE, FLOAT, HALF, INT64 = 11, 1, 10, 7
LARGEST = float(np.finfo(np.float32).max)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


VANISHING: dict[str, Form] = {
    "x * 1": lambda n: n.add("Mul", "y", 1.0),
    "1 * x": lambda n: n.add("Mul", np.ones((1, 1), np.float32), "y"),
    "x + 0": lambda n: n.add("Add", "y", 0.0),
    "0 + x": lambda n: n.add("Add", 0.0, "y"),
    "x - 0": lambda n: n.add("Sub", "y", 0.0),
    "x / 1": lambda n: n.add("Div", "y", 1.0),
    "x ^ 1": lambda n: n.add("Pow", "y", np.int64(1)),
    "clip without limits": lambda n: n.add("Clip", "y"),
    "clip with empty limits": lambda n: n.add("Clip", "y", "", ""),
    "clip to infinity": lambda n: n.add("Clip", "y", -inf, inf),
    "clip to the largest float": lambda n: n.add("Clip", "y", -LARGEST, LARGEST),
    "concat of one": lambda n: n.add("Concat", "y", axis=1),
    "transpose in place": lambda n: n.add("Transpose", "y", perm=[0, 1, 2]),
    "reshape": lambda n: n.add("Reshape", "y", ints(2, 3, 8)),
    "reshape to the rest": lambda n: n.add("Reshape", "y", ints(0, -1, 8)),
    "expand": lambda n: n.add("Expand", "y", ints(2, 1, 8)),
    "cast": lambda n: n.add("Cast", "y", to=FLOAT),
    "identity": lambda n: n.add("Identity", "y"),
    "dropout": lambda n: n.add("Dropout", "y"),
    "dropout with ratio": lambda n: n.add("Dropout", "y", 0.5),
    "dropout not training": lambda n: n.add("Dropout", "y", 0.5, np.bool_(False), outputs=2),
    "pad by nothing": lambda n: n.add("Pad", "y", ints(0, 0, 0, 0, 0, 0), 7.0),
}
STAYING: dict[str, Form] = {
    "x * 2": lambda n: n.add("Mul", "y", 2.0),
    "x * 0": lambda n: n.add("Mul", "y", 0.0),
    "x + 1": lambda n: n.add("Add", "y", 1.0),
    "0 - x": lambda n: n.add("Sub", 0.0, "y"),
    "1 / x": lambda n: n.add("Div", 1.0, n.add("Add", n.add("Abs", "y"), 2.0)),
    "1 ^ x": lambda n: n.add("Pow", 1.0, "y"),
    "x ^ 2": lambda n: n.add("Pow", "y", 2.0),
    "x * unknown": lambda n: n.add("Mul", "y", n.learned()),
    "x * ones": lambda n: n.add("Mul", "y", np.ones(8, np.float32)),
    "x * 1 of higher rank": lambda n: n.add("Mul", "y", np.ones((1, 1, 1, 1), np.float32)),
    "clip from 0": lambda n: n.add("Clip", "y", 0.0),
    "clip to 6": lambda n: n.add("Clip", "y", "", 6.0),
    "clip to unknown": lambda n: n.add("Clip", "y", n.learned()),
    "concat with itself": lambda n: n.add("Concat", "y", "y", axis=1),
    "transpose": lambda n: n.add("Transpose", "y", perm=[0, 2, 1]),
    "transpose reversed": lambda n: n.add("Transpose", "y"),
    "reshape to another": lambda n: n.add("Reshape", "y", ints(2, 24)),
    "expand to more": lambda n: n.add("Expand", "y", ints(4, 2, 3, 8)),
    "cast to integers": lambda n: n.add("Cast", "y", to=INT64),
    "pad": lambda n: n.add("Pad", "y", ints(0, 0, 1, 0, 0, 0)),
    "pad that shifts": lambda n: n.add("Pad", "y", ints(0, 0, 1, 0, 0, -1)),
}


def chain(form: Form) -> tuple[Chain, str]:
    """x -> Sigmoid -> y -> the form."""
    net = Chain()
    net.nodes.append(named(net, "Sigmoid", "x", "y"))
    return net, form(net)


def named(net: Chain, op: str, source: str, end: str) -> object:
    net.add(op, source)
    node = net.nodes.pop()
    node.output[0] = end
    return node


@pytest.mark.parametrize("name", VANISHING)
def test_vanishes(name: str) -> None:
    net, end = chain(VANISHING[name])
    vanishing = net.nodes[-1].name
    network = net.network(net.add("Tanh", end), net.add("Mul", end, end))
    new = rewrites(REDUNDANT, network, {"Sigmoid": 1, "Tanh": 1, "Mul": 1})
    assert REDUNDANT.rewrite(network)[1] == (vanishing,)
    assert [node.inputs for node in new.nodes[1:]] == [("y",), ("y", "y")]


@pytest.mark.parametrize("name", VANISHING)
def test_writers_of_outputs_stay(name: str) -> None:
    net, end = chain(VANISHING[name])
    leaves(REDUNDANT, net.network(end))


@pytest.mark.parametrize("name", STAYING)
def test_stays(name: str) -> None:
    net, end = chain(STAYING[name])
    network = net.network(net.add("Abs", end))
    assert REDUNDANT.rewrite(network) == (network, ())


def test_all_in_a_row() -> None:
    net, end = chain(lambda n: "y")
    for form in VANISHING.values():
        node = len(net.nodes)
        following = form(net)
        net.nodes[node].input[:] = [end if name == "y" else name for name in net.nodes[node].input]
        end = following
    network = net.network(net.add("Tanh", end), net.add("Exp", "y"))
    new = rewrites(REDUNDANT, network, {"Sigmoid": 1, "Tanh": 1, "Exp": 1})
    assert {node.inputs for node in new.nodes[1:]} == {("y",)}


def test_a_mask_that_is_read_keeps_its_dropout() -> None:
    net, end = chain(lambda n: n.add("Dropout", "y", outputs=2))
    mask = net.add("Cast", f"{end}.1", to=FLOAT)
    leaves(REDUNDANT, net.network(net.add("Tanh", end), net.add("Neg", mask)))
    leaves(REDUNDANT, net.network(net.add("Tanh", end), f"{end}.1"))


def test_dropout_that_trains_stays() -> None:
    net, end = chain(lambda n: n.add("Dropout", "y", 0.5, np.bool_(True)))
    network = net.network(net.add("Tanh", end))
    assert REDUNDANT.rewrite(network) == (network, ())


def test_casts_of_integers_stay() -> None:
    """Whether an input of the network is floating-point is not certain: its cast stays."""
    net, end = chain(lambda n: n.add("Cast", n.add("Cast", "y", to=INT64), to=FLOAT))
    leaves(REDUNDANT, net.network(net.add("Tanh", end)))
    net, end = chain(lambda n: n.add("Cast", n.add("Cast", n.add("Abs", "x"), to=DOUBLE), to=FLOAT))
    rewrites(REDUNDANT, net.network(net.add("Tanh", end)), {"Abs": 1, "Cast": 1, "Tanh": 1})


def test_casts_of_embedded_rows_vanish() -> None:
    net = Chain(ids=(5,))
    net.inputs[0].type.tensor_type.elem_type = INT64
    rows = net.add("Gather", net.learned(9, 4), "ids")
    network = net.network(net.add("Tanh", net.add("Cast", rows, to=FLOAT)))
    rewrites(REDUNDANT, network, {"Gather": 1, "Tanh": 1})
    network = replace(network, bits={network.nodes[0].inputs[0]: 8, rows: 8})
    assert operators(REDUNDANT.rewrite(network)[0])["Cast"] == 1


def test_a_narrowing_cast_narrows_what_it_alone_reads() -> None:
    net, end = chain(lambda n: n.add("Cast", "y", to=HALF))
    wide = net.add("Cast", net.add("Tanh", end), to=FLOAT)
    network = replace(net.network(net.add("Exp", wide)), bits={end: 16, net.nodes[2].output[0]: 16})
    new, changed = REDUNDANT.rewrite(network)
    assert len(changed) == 2
    assert operators(new) == {"Sigmoid": 1, "Tanh": 1, "Exp": 1}
    assert new.bits == {**network.bits, "y": 16}
    same_values(network, new, 2e-3)


def test_a_narrowing_cast_of_what_others_read_stays() -> None:
    net, end = chain(lambda n: n.add("Cast", "y", to=HALF))
    network = net.network(net.add("Tanh", end), net.add("Exp", "y"))
    stated = replace(network, bits={end: 16})
    assert REDUNDANT.rewrite(stated) == (stated, ())
    net, end = chain(lambda n: n.add("Cast", n.add("Identity", "y"), to=HALF))
    network = replace(net.network(net.add("Tanh", end), net.add("Exp", "y")), bits={end: 16})
    new, changed = REDUNDANT.rewrite(network)
    assert changed == (network.nodes[1].name,)
    assert new.bits == network.bits
    same_values(network, new, 1e-6)


def test_limits_in_attributes() -> None:
    net = Chain(10)
    end = net.add("Clip", net.add("Sigmoid", "x"), min=-LARGEST, max=LARGEST)
    rewrites(REDUNDANT, net.network(net.add("Tanh", end)), {"Sigmoid": 1, "Tanh": 1})
