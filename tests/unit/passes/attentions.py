"""Attention as exporters write it, piece by piece, and what must hold when it is fused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np

from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.attention import ATTENTION
from tests.support.resolved_models import constants_of, evaluate
from tests.unit.passes.chains import Chain, same_values

OWN = "dataflow_sim::Attention"
# batch, heads, groups of heads that share keys, queries, keys, depth of keys and of values
B, H, G, T, S, D, E = 2, 4, 2, 3, 5, 8, 6
SHAPES = {"q": (B, H, T, D), "k": (B, H, S, D), "v": (B, H, S, E)}
Form = Callable[[Chain, str], str]


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def as_it_is(net: Chain, name: str) -> str:
    return name


def transposed(net: Chain, name: str) -> str:
    return net.add("Transpose", name, perm=[0, 1, 3, 2])


def scaled(net: Chain, name: str) -> str:
    return net.add("Mul", name, 0.25)


def reshaped(net: Chain, name: str, *shape: int) -> str:
    return net.add("Reshape", name, ints(*shape))


def flattened(net: Chain, k: str) -> str:
    """Transposed through rank 3, as PyTorch's exporter does for its own operator."""
    turned = net.add("Transpose", reshaped(net, k, -1, S, D), perm=[0, 2, 1])
    return reshaped(net, turned, B, H, D, S)


def attended(
    net: Chain,
    q: str = "q",
    k: str = "k",
    v: str = "v",
    *,
    turned: Form = transposed,
    scores: Form = as_it_is,
    weights: Form = as_it_is,
) -> str:
    """The result of attention; `turned` transposes keys."""
    product = scores(net, net.add("MatMul", q, turned(net, k)))
    return net.add("MatMul", weights(net, net.add("Softmax", product, axis=-1)), v)


def macs(network: ResolvedNetwork) -> int:
    """Multiplications of products and of attention, by what they compute."""
    total = 0
    for node in network.nodes:
        shapes = [network.shapes.get(name, ()) for name in node.inputs]
        if node.op == "MatMul":
            total += prod(network.shapes[node.outputs[0]]) * shapes[0][-1]
        elif node.op == OWN:
            total += prod(shapes[0][:3]) * shapes[1][2] * (shapes[0][3] + shapes[2][3])
    return total


def attentions(network: ResolvedNetwork) -> list[Node]:
    return [node for node in network.nodes if node.op == OWN]


def check_contract(network: ResolvedNetwork) -> None:
    """What the pass promises of every attention, and of the network that it leaves."""
    known = {*network.inputs, *network.constants, ""}
    names = [node.name for node in network.nodes]
    assert len(set(names)) == len(names)
    for node in network.nodes:
        assert known.issuperset(node.inputs)
        assert known.isdisjoint(node.outputs)
        known.update(node.outputs)
        assert all(name in network.shapes for name in (*node.outputs, *node.inputs) if name)
    assert known.issuperset(network.outputs)
    for name, constant in network.constants.items():
        assert (constant.name, network.shapes[name]) == (name, constant.shape)
        assert name in network.sources
        assert constant.value is None or constant.value.shape == constant.shape
    for node in attentions(network):
        (b, h, t, d), (b1, g, s, d1), (b2, g1, s1, e) = (network.shapes[n] for n in node.inputs[:3])
        assert (b1, b2, d1, g1, s1, h % g) == (b, b, d, g, s, 0)
        assert network.shapes[node.outputs[0]] == (b, h, t, e)
        for name in node.inputs[3:]:
            shape = network.shapes[name]
            assert len(shape) <= 4
            assert np.broadcast_shapes(shape, (b, h, t, s)) == (b, h, t, s)


def check_shapes(network: ResolvedNetwork) -> None:
    """Every map has the shape that is written down for it."""
    written = tuple(dict.fromkeys(name for node in network.nodes for name in node.outputs))
    for name, value in evaluate(replace(network, outputs=written)).items():
        assert (name, value.shape) == (name, network.shapes[name])


def fused(network: ResolvedNetwork, tolerance: float = 1e-5) -> tuple[ResolvedNetwork, Node]:
    """The network with its one attention fused: it computes the same."""
    new, changed = ATTENTION.rewrite(network)
    (found,) = attentions(new)
    assert changed == (found.name,)
    assert found.name in {node.name for node in network.nodes}
    check_contract(new)
    check_shapes(new)
    same_values(network, new, tolerance)
    assert macs(new) == macs(network)
    assert ATTENTION.rewrite(new) == (new, ())
    assert network.shapes.items() <= new.shapes.items()
    assert network.constants.items() <= new.constants.items()
    return new, found


def unfused(network: ResolvedNetwork) -> None:
    """The pass finds nothing, and gives the network back as it is."""
    assert ATTENTION.rewrite(network) == (network, ())
    evaluate(network)


def with_values(network: ResolvedNetwork) -> ResolvedNetwork:
    """The network with numbers for all constants that its file has none for."""
    values = constants_of(network)
    constants = {k: replace(c, value=values[k]) for k, c in network.constants.items()}
    return replace(network, constants=constants)
