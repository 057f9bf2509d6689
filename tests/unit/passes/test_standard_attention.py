"""ONNX's own Attention becomes ours where it means the same, and stays where it does more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.attention import ATTENTION
from tests.support.resolved_models import Array, evaluate, inputs_of
from tests.unit.passes.attentions import (
    OWN,
    B,
    D,
    E,
    G,
    H,
    S,
    T,
    attentions,
    check_contract,
    check_shapes,
    drawn,
)
from tests.unit.passes.chains import Chain, close, operators, same_values

APART = {"q": (B, H, T, D), "k": (B, G, S, D), "v": (B, G, S, E)}
FLAT = {"q": (B, T, H * D), "k": (B, S, G * D), "v": (B, S, G * E)}
HEADS = {"q_num_heads": H, "kv_num_heads": G}


def taken(network: ResolvedNetwork) -> tuple[ResolvedNetwork, Node]:
    """The network with its Attention as ours: it computes the same."""
    new, changed = ATTENTION.rewrite(network)
    (node,) = attentions(new)
    assert changed == (node.name,)
    assert "Attention" not in operators(new)
    check_contract(new)
    check_shapes(new)
    same_values(network, new, 1e-5)
    assert ATTENTION.rewrite(new) == (new, ())
    return new, node


def left(network: ResolvedNetwork) -> None:
    assert ATTENTION.rewrite(network) == (network, ())
    evaluate(network)


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    found: Array = powers / powers.sum(axis=-1, keepdims=True)
    return found


@pytest.mark.parametrize("opset", [23, 24, 25])
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("scale", [None, 0.125])
def test_heads_apart(opset: int, causal: int, scale: float | None) -> None:
    net = Chain(opset, **APART)
    stated: dict[str, Any] = {} if scale is None else {"scale": scale}
    end = net.add("Attention", "q", "k", "v", is_causal=causal, **stated)
    new, node = taken(net.network(end))
    assert new.nodes == (node,)
    assert (node.name, node.inputs) == (f"node of {end}", ("q", "k", "v"))
    assert node.attributes["scale"] == pytest.approx(scale or D**-0.5)
    assert node.attributes["is_causal"] == causal
    values = {name: array.astype(np.float64) for name, array in inputs_of(new, 5).items()}
    key, value = (np.repeat(values[name], H // G, axis=1) for name in "kv")
    scores = (scale or D**-0.5) * values["q"] @ key.swapaxes(2, 3)
    scores = np.where(np.tri(T, S) > 0, scores, -np.inf) if causal else scores
    close(evaluate(new, 5)[end], softmax(scores) @ value, 1e-5)


@pytest.mark.parametrize("masked", [True, False])
def test_heads_side_by_side(masked: bool) -> None:
    net = Chain(23, **FLAT)
    mask = [net.learned(B, 1, T, S)] if masked else []
    end = net.add("Attention", "q", "k", "v", *mask, **HEADS)
    new, node = taken(net.network(net.add("Tanh", end)))
    assert operators(new) == {"Reshape": 4, "Transpose": 4, OWN: 1, "Tanh": 1}
    assert node.name == f"node of {end}"
    assert [new.shapes[name] for name in node.inputs[:3]] == list(APART.values())
    assert node.inputs[3:] == tuple(mask)
    assert new.nodes[-2].outputs == (end,)


def test_names_of_new_nodes_are_nobody_else_s() -> None:
    net = Chain(23, **FLAT)
    end = net.add("Attention", "q", "k", "v", **HEADS)
    net.add("Tanh", end)
    net.nodes[-1].name, net.nodes[-1].output[0] = f"node of {end}/query", "q/query"
    new, _ = taken(net.network("q/query"))
    assert {"q/query", "q/query/split"} < set(new.shapes)


@pytest.mark.parametrize("shape", [(T, S), (H, T, S), (B, 1, 1, S), (B, H, T, S), (S,)])
def test_masks_are_added(shape: tuple[int, ...]) -> None:
    for computed in (True, False):
        net = Chain(23, **APART, m=shape)
        mask = net.add("Tanh", "m") if computed else net.learned(*shape)
        _, node = taken(net.network(net.add("Attention", "q", "k", "v", mask)))
        assert node.inputs == ("q", "k", "v", mask)


def test_boolean_masks_choose() -> None:
    net = Chain(23, **APART)
    keep = np.tri(T, S, 1, bool)
    new, node = taken(net.network(net.add("Attention", "q", "k", "v", keep)))
    mask = new.constants[node.inputs[3]]
    assert (mask.real, len(new.nodes)) == (False, 1)
    assert mask.value is not None
    np.testing.assert_array_equal(mask.value, np.where(keep, 0, -np.inf))
    net = Chain(23, **APART, m=(B, 1, T, S))
    computed = net.add("Greater", net.add("Abs", "m"), -1.0)
    new, node = taken(net.network(net.add("Attention", "q", "k", "v", computed)))
    assert operators(new) == {"Abs": 1, "Greater": 1, "Where": 1, OWN: 1}
    net = Chain(23, **APART)
    unknown = net.learned(T, S)
    net.constants[-1].data_type = TensorProto.BOOL
    new = ATTENTION.rewrite(net.network(net.add("Attention", "q", "k", "v", unknown)))[0]
    check_contract(new)
    mask = new.constants[new.nodes[0].inputs[3]]
    assert (mask.value, mask.real, mask.shape) == (None, False, (T, S))


def test_inputs_left_out_at_the_end() -> None:
    net = Chain(23, **APART)
    _, node = taken(net.network(net.add("Attention", "q", "k", "v", "", "", "")))
    assert node.inputs == ("q", "k", "v")


STAYING: dict[str, Callable[[Chain], str]] = {
    "capped": lambda n: n.add("Attention", "q", "k", "v", softcap=2.0),
    "windowed": lambda n: n.add("Attention", "q", "k", "v", left_window_size=1),
    "with a past": lambda n: n.add(
        "Attention", "q", "k", "v", "", drawn(B, G, 2, D), drawn(B, G, 2, E), outputs=3
    ),
    "with lengths": lambda n: n.add(
        "Attention", "q", "k", "v", "", "", "", np.full(B, S, np.int64)
    ),
    "with a mask to be padded": lambda n: n.add("Attention", "q", "k", "v", drawn(T, S - 1)),
}


@pytest.mark.parametrize("name", STAYING)
def test_what_does_more_stays(name: str) -> None:
    net = Chain(25 if name == "windowed" else 24, **APART)
    left(net.network(STAYING[name](net)))


def test_further_results_that_are_read_keep_it() -> None:
    for output in (True, False):
        net = Chain(23, **APART)
        end = net.add("Attention", "q", "k", "v", outputs=4)
        other = f"{end}.3"
        left(net.network(end, other if output else net.add("Tanh", other)))
    net = Chain(23, **APART)
    taken(net.network(net.add("Attention", "q", "k", "v", outputs=4)))


def test_scales_that_are_not_positive_stay() -> None:
    net = Chain(23, **APART)
    network = net.network(net.add("Attention", "q", "k", "v", scale=-1.0))
    assert ATTENTION.rewrite(network) == (network, ())
