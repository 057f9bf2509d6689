"""The guard against rows without any weight vanishes, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow_sim.ingest.passes.nan_guard import NAN_GUARD
from tests.unit.passes.chains import Chain, leaves, operators, rewrites


def guarded(net: Chain, x: str, filler: object = 0.0) -> str:
    return net.add("Where", net.add("IsNaN", x), filler, x)


@pytest.mark.parametrize("filler", [0.0, np.full(1, 7.0, np.float32), np.zeros((3, 8), np.float32)])
def test_readers_read_what_was_guarded(filler: object) -> None:
    net = Chain()
    softmax = net.add("Softmax", "x", axis=-1)
    end = guarded(net, softmax, filler)
    network = net.network(net.add("Tanh", end), net.add("Mul", end, end))
    new = rewrites(NAN_GUARD, network, {"Softmax": 1, "Tanh": 1, "Mul": 1})
    assert [node.inputs for node in new.nodes[1:]] == [(softmax,), (softmax, softmax)]
    assert NAN_GUARD.rewrite(network)[1] == (f"node of {end}",)


def test_a_filler_that_the_file_does_not_hold() -> None:
    net = Chain()
    end = guarded(net, net.add("Softmax", "x", axis=-1), net.learned(8))
    rewrites(NAN_GUARD, net.network(net.add("Tanh", end)), {"Softmax": 1, "Tanh": 1})


def test_guards_in_a_row_vanish() -> None:
    net = Chain()
    end = guarded(net, guarded(net, guarded(net, net.add("Softmax", "x", axis=-1))))
    new = rewrites(NAN_GUARD, net.network(net.add("Tanh", end)), {"Softmax": 1, "Tanh": 1})
    assert new.nodes[1].inputs == new.nodes[0].outputs


def test_identities_between() -> None:
    net = Chain()
    softmax = net.add("Softmax", "x", axis=-1)
    test = net.add("IsNaN", net.add("Identity", softmax))
    end = net.add("Where", test, 0.0, net.add("Identity", softmax))
    network = net.network(net.add("Tanh", end))
    rewrites(NAN_GUARD, network, {"Softmax": 1, "Identity": 2, "Tanh": 1})


def test_a_test_that_others_read_stays() -> None:
    net = Chain()
    softmax = net.add("Softmax", "x", axis=-1)
    test = net.add("IsNaN", softmax)
    end = net.add("Tanh", net.add("Where", test, 0.0, softmax))
    expected = {"Softmax": 1, "Tanh": 1, "IsNaN": 1}
    rewrites(NAN_GUARD, net.network(end, net.add("Cast", test, to=1)), {**expected, "Cast": 1})
    assert operators(NAN_GUARD.rewrite(net.network(end, test))[0]) == expected


def test_a_guard_of_an_output_stays() -> None:
    net = Chain()
    leaves(NAN_GUARD, net.network(guarded(net, net.add("Softmax", "x", axis=-1))))


def test_near_misses_stay() -> None:
    def other_map(net: Chain, y: str) -> str:
        return net.add("Where", net.add("IsNaN", "x"), 0.0, y)

    def exchanged(net: Chain, y: str) -> str:
        return net.add("Where", net.add("IsNaN", y), y, 0.0)

    def filled_by_a_map(net: Chain, y: str) -> str:
        return net.add("Where", net.add("IsNaN", y), net.add("Neg", y), y)

    def enlarged(net: Chain, y: str) -> str:
        return guarded(net, y, np.zeros((2, 1, 1, 1), np.float32))

    def other_test(net: Chain, y: str) -> str:
        return net.add("Where", net.add("IsInf", y), 0.0, y)

    for form in (other_map, exchanged, filled_by_a_map, enlarged, other_test):
        net = Chain()
        network = net.network(net.add("Tanh", form(net, net.add("Softmax", "x", axis=-1))))
        assert NAN_GUARD.rewrite(network) == (network, ())
