"""What only looks like attention, or is read in between, stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow_sim.ingest.passes.attention import ATTENTION
from tests.unit.passes.attentions import (
    SHAPES,
    B,
    D,
    E,
    Form,
    H,
    S,
    T,
    attended,
    drawn,
    fused,
    reshaped,
    scaled,
    transposed,
    unfused,
)
from tests.unit.passes.chains import Chain

KEEP = np.tri(T, S, 1, bool)
UNSUITABLE: dict[str, Form] = {
    "capped": lambda n, s: n.add("Tanh", s),
    "scaled by an unknown number": lambda n, s: n.add("Mul", s, n.learned(1)),
    "scaled by head": lambda n, s: n.add("Mul", s, drawn(H, 1, 1)),
    "scaled by a negative number": lambda n, s: n.add("Mul", s, -0.5),
    "scaled by nothing": lambda n, s: n.add("Mul", s, 0.0),
    "divided by nothing": lambda n, s: n.add("Div", s, 0.0),
    "its reciprocal": lambda n, s: n.add("Div", 1.0, n.add("Add", n.add("Abs", s), 1.0)),
    "scaled with its mask": lambda n, s: n.add("Mul", n.add("Add", s, drawn(T, S)), 0.5),
    "divided with its mask": lambda n, s: n.add("Div", n.add("Where", KEEP, s, -1e9), 2.0),
    "doubled": lambda n, s: n.add("Add", s, s),
    "subtracted from": lambda n, s: n.add("Sub", s, drawn(T, S)),
    "chosen from themselves": lambda n, s: n.add("Where", n.add("Greater", s, 0.0), s, -1e9),
}


@pytest.mark.parametrize("name", UNSUITABLE)
def test_other_scores_keep_it_apart(name: str) -> None:
    net = Chain(20, **SHAPES)
    form = UNSUITABLE[name]
    network = net.network(attended(net, scores=form))
    assert ATTENTION.rewrite(network) == (network, ())


def test_scores_of_keys_by_queries_keep_it_apart() -> None:
    net = Chain(q=(B, H, S, D), k=(B, H, S, D), v=(B, H, S, E))
    unfused(net.network(attended(net, scores=transposed)))


def test_masks_that_enlarge_the_scores_keep_it_apart() -> None:
    net = Chain(20, **{name: (1, *shape[1:]) for name, shape in SHAPES.items()})
    unfused(net.network(attended(net, scores=lambda n, s: n.add("Add", s, drawn(2, 1, T, S)))))
    net = Chain(20, **SHAPES)
    unfused(net.network(attended(net, scores=lambda n, s: n.add("Add", s, drawn(1, B, H, T, S)))))


@pytest.mark.parametrize("output", [True, False])
def test_what_others_read_keeps_it_apart(output: bool) -> None:
    names: list[str] = []

    def noted(net: Chain, name: str) -> str:
        names.append(name)
        return name

    def scores(net: Chain, name: str) -> str:
        steps = (noted, scaled, noted, lambda n, s: n.add("Add", s, drawn(T, S)), noted)
        for step in steps:
            name = step(net, name)
        return name

    def weights(net: Chain, name: str) -> str:
        return noted(net, net.add("Identity", noted(net, name)))

    def built() -> tuple[Chain, str]:
        names.clear()
        net = Chain(20, **SHAPES)
        return net, attended(net, scores=scores, weights=weights)

    net, end = built()
    fused(net.network(end))
    for position in range(len(names)):
        net, end = built()
        other = names[position]
        unfused(net.network(end, other if output else net.add("Tanh", other)))


def test_a_result_of_rank_3_that_others_read_keeps_it_apart() -> None:
    def built() -> tuple[Chain, str, str]:
        net = Chain(20, **SHAPES)
        query, key, value = (
            reshaped(net, name, B * H, *SHAPES[name][2:]) for name in ("q", "k", "v")
        )
        turned = net.add("Transpose", key, perm=[0, 2, 1])
        flat = attended(net, query, turned, value, turned=lambda n, k: k)
        return net, flat, reshaped(net, flat, B, H, T, E)

    net, flat, end = built()
    fused(net.network(end))
    for output in (True, False):
        net, flat, end = built()
        unfused(net.network(end, flat if output else net.add("Tanh", flat)))
    net, flat, end = built()
    unfused(net.network(flat))
    net, flat, end = built()
    unfused(net.network(reshaped(net, flat, B * H * T, E)))


# ------------------------------------------------------------------------------- near misses


def test_the_softmax_of_another_axis() -> None:
    net = Chain(20, **SHAPES)
    weights = net.add("Softmax", net.add("MatMul", "q", transposed(net, "k")), axis=2)
    unfused(net.network(net.add("MatMul", weights, "v")))
    net = Chain(20, **SHAPES)
    scores = reshaped(net, net.add("MatMul", "q", transposed(net, "k")), B, H, T * S)
    weights = reshaped(net, net.add("Softmax", scores, axis=-1), B, H, T, S)
    unfused(net.network(net.add("MatMul", weights, "v")))


def test_weights_on_the_right() -> None:
    """Convolutional attention: channels x pixels, values times transposed weights."""
    net = Chain(q=(B, H, D, T), k=(B, H, D, S), v=(B, H, E, S))
    scores = net.add("MatMul", transposed(net, "q"), "k")
    weights = transposed(net, net.add("Softmax", scaled(net, scores), axis=-1))
    unfused(net.network(net.add("MatMul", "v", weights)))


def test_heads_that_do_not_stand_apart() -> None:
    for shapes in (((T, D), (D, S), (S, E)), ((B, T, D), (B, D, S), (B, S, E))):
        net = Chain(20, **dict(zip("qkv", shapes, strict=True)))
        end = attended(net, turned=lambda n, k: k)
        unfused(net.network(end))
    net = Chain(q=(B, 1, H, T, D), k=(B, 1, H, S, D), v=(B, 1, H, S, E))

    def turned(n: Chain, k: str) -> str:
        return n.add("Transpose", k, perm=[0, 1, 2, 4, 3])

    unfused(net.network(attended(net, turned=turned)))


def test_a_batch_by_broadcasting() -> None:
    net = Chain(q=(B, H, T, D), k=(1, H, S, D), v=(B, H, S, E))
    unfused(net.network(attended(net)))
    net = Chain(q=(1, H, T, D), k=(B, H, S, D), v=(B, H, S, E))
    unfused(net.network(attended(net)))


def test_a_classifier_with_a_table() -> None:
    net = Chain(x=(B, H, T, D))
    scores = net.add("MatMul", "x", net.learned(D, S))
    unfused(net.network(net.add("MatMul", net.add("Softmax", scores, axis=-1), net.learned(S, E))))


def test_dropout_that_trains() -> None:
    net = Chain(20, **SHAPES)

    def weights(n: Chain, p: str) -> str:
        return n.add("Dropout", p, 0.5, np.bool_(True))

    network = net.network(attended(net, weights=weights))
    assert ATTENTION.rewrite(network) == (network, ())
    net = Chain(20, **SHAPES)
    end = attended(net, weights=lambda n, p: n.add("Dropout", p, outputs=2))
    mask = next(node.output[1] for node in net.nodes if node.op_type == "Dropout")
    unfused(net.network(end, mask))


def test_weights_times_themselves() -> None:
    net = Chain(q=(B, H, S, D), k=(B, H, S, D))
    weights = net.add("Softmax", net.add("MatMul", "q", transposed(net, "k")), axis=-1)
    unfused(net.network(net.add("MatMul", weights, weights)))


def test_a_path_too_long_to_follow_ends() -> None:
    """Thousands of sums before a softmax neither recur too deep nor take long."""
    net = Chain(20, **dict.fromkeys("qkv", (1, 1, 1, 1)))
    one = net.constant(np.float32(1))

    def many(net: Chain, s: str) -> str:
        for _ in range(3000):
            s = net.add("Add", s, one)
        return s

    network = net.network(attended(net, scores=many))
    assert ATTENTION.rewrite(network) == (network, ())
