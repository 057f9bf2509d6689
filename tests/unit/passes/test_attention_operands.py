"""Whatever views queries, keys and values go through: attention reads what lies before them."""

from __future__ import annotations

import pytest

from dataflow_sim.ingest.passes.attention import ATTENTION
from tests.unit.passes.attentions import (
    OWN,
    SHAPES,
    B,
    D,
    E,
    Form,
    G,
    H,
    S,
    T,
    attended,
    attentions,
    check_contract,
    drawn,
    flattened,
    fused,
    ints,
    reshaped,
    scaled,
    transposed,
)
from tests.unit.passes.chains import Chain, operators, same_values

KEYS = {"k": (B, H, S, D), "tokens": (B, S, H, D), "rows": (B, S, H * D), "columns": (B, H, D, S)}


def by_rows(net: Chain, k: str) -> str:
    heads = net.add("Transpose", reshaped(net, k, B, S, H, D), perm=[0, 2, 1, 3])
    return flattened(net, heads)


# how keys are transposed -> their input, the operators left, the shape before a new Transpose
TRANSPOSITIONS: dict[str, tuple[str, Form, dict[str, int]]] = {
    "last axes": ("k", transposed, {}),
    "of rank 3": ("k", flattened, {}),
    "scaled in between": (
        "k",
        lambda n, k: reshaped(n, scaled(n, flattened(n, k)), B, H, D, S),
        {},
    ),
    "twice": ("k", lambda n, k: transposed(n, transposed(n, transposed(n, k))), {}),
    "identity": ("k", lambda n, k: n.add("Identity", transposed(n, n.add("Identity", k))), {}),
    "rows": ("rows", by_rows, {"Reshape": 1, "Transpose": 1}),
    "at once": ("tokens", lambda n, k: n.add("Transpose", k, perm=[0, 2, 3, 1]), {"Transpose": 1}),
    "at once, rows": (
        "rows",
        lambda n, k: n.add("Transpose", reshaped(n, k, B, S, H, D), perm=[0, 2, 3, 1]),
        {"Reshape": 1, "Transpose": 1},
    ),
    "never": ("columns", lambda n, k: k, {"Transpose": 1}),
    "by reshaping only": (
        "k",
        lambda n, k: reshaped(n, k, B, H, D, S),
        {"Reshape": 1, "Transpose": 1},
    ),
}


@pytest.mark.parametrize("name", TRANSPOSITIONS)
def test_keys_are_transposed(name: str) -> None:
    source, form, left = TRANSPOSITIONS[name]
    net = Chain(20, q=SHAPES["q"], v=SHAPES["v"], **{source: KEYS[source]})
    network = net.network(attended(net, k=source, turned=form))
    new, node = fused(network)
    assert operators(new) == {**left, OWN: 1}
    assert new.shapes[node.inputs[1]] == (B, H, S, D)


def test_a_new_transposition_has_a_name_of_its_own() -> None:
    net = Chain(q=SHAPES["q"], tokens=(B, S, H, D), v=SHAPES["v"])
    turned = net.add("Transpose", "tokens", perm=[0, 2, 3, 1])
    net.nodes[-1].name = "turn"
    end = attended(net, k=turned, turned=lambda n, k: k)
    taken = net.add("Tanh", end)
    net.nodes[-1].name, net.nodes[-1].output[0] = "turn/key", "tokens/key"
    new, node = fused(net.network("tokens/key"))
    assert taken not in new.shapes
    assert (new.nodes[0].name, new.nodes[0].op) == ("turn/key.2", "Transpose")
    assert new.nodes[0].inputs == ("tokens",)
    assert new.nodes[0].outputs == ("tokens/key.2",) == (node.inputs[1],)
    assert new.nodes[0].attributes == {"perm": (0, 2, 1, 3)}


@pytest.mark.parametrize("output", [True, False])
def test_transposed_keys_that_others_read_stay(output: bool) -> None:
    net = Chain(20, **SHAPES)
    turned = transposed(net, "k")
    end = attended(net, k=turned, turned=lambda n, k: k)
    new, node = fused(net.network(end, turned if output else net.add("Tanh", turned)))
    assert node.inputs == ("q", "k", "v")
    assert operators(new)["Transpose"] == 1


def test_two_attentions_share_keys() -> None:
    net = Chain(q=SHAPES["q"], tokens=(B, S, H, D), v=SHAPES["v"])
    turned = net.add("Transpose", "tokens", perm=[0, 2, 3, 1])
    first = attended(net, k=turned, turned=lambda n, k: k)
    second = attended(net, net.add("Tanh", "q"), turned, turned=lambda n, k: k)
    network = net.network(first, second)
    new, changed = ATTENTION.rewrite(network)
    check_contract(new)
    same_values(network, new, 1e-5)
    assert len(changed) == 2
    assert operators(new) == {"Transpose": 1, "Tanh": 1, OWN: 2}
    assert len({node.inputs[1] for node in attentions(new)}) == 1


def test_queries_and_values_in_views() -> None:
    """Heads put apart behind a projection of all three, as ViTs are written."""
    net = Chain(x=(B, S, 3 * H * D))
    packed = net.add("Transpose", reshaped(net, "x", B, S, 3, H, D), perm=[2, 0, 3, 1, 4])
    parts = [
        net.add("Squeeze", net.add("Slice", packed, ints(i), ints(i + 1), ints(0)), ints(0))
        for i in range(3)
    ]
    end = attended(net, *parts, turned=lambda n, k: scaled(n, flattened(n, k)))
    _, node = fused(net.network(end))
    assert node.inputs == tuple(parts)


# ------------------------------------------------------------------------------- shared heads


def repeated(net: Chain, name: str, how: str = "expand") -> str:
    """(B, G, S, ...) as (B, H, S, ...), each head H / G times in a row."""
    depth = D if name.startswith("k") else E
    wide = net.add("Unsqueeze", name, ints(2))
    if how == "tile":
        wide = net.add("Tile", wide, ints(1, 1, H // G, 1, 1))
    elif how == "expand by ones":
        wide = net.add("Expand", wide, ints(1, 1, H // G, 1, 1))
    else:
        wide = net.add("Expand", wide, ints(B, G, H // G, S, depth))
    if how == "flat":
        return reshaped(net, wide, B * H, S, depth)
    return reshaped(net, wide, B, H, S, depth)


SHARED = {"q": (B, H, T, D), "k": (B, G, S, D), "v": (B, G, S, E)}


@pytest.mark.parametrize("how", ["expand", "tile", "expand by ones"])
@pytest.mark.parametrize("turned", [transposed, flattened])
def test_heads_are_repeated(how: str, turned: Form) -> None:
    net = Chain(20, **SHARED)
    end = attended(net, "q", repeated(net, "k", how), repeated(net, "v", how), turned=turned)
    new, node = fused(net.network(end))
    assert (node.inputs, len(new.nodes)) == (("q", "k", "v"), 1)


def test_heads_are_repeated_and_flattened_at_once() -> None:
    """Transformers' decoders: the repeated keys go to rank 3 to be transposed."""
    net = Chain(20, **SHARED)
    flat = net.add("Transpose", repeated(net, "k", "flat"), perm=[0, 2, 1])
    key = scaled(net, reshaped(net, flat, B, H, D, S))
    end = attended(net, scaled(net, "q"), key, repeated(net, "v"), turned=lambda n, k: k)
    new, node = fused(net.network(end))
    assert (node.inputs, len(new.nodes)) == (("q", "k", "v"), 1)
    assert node.attributes["scale"] == pytest.approx(0.0625)


def test_one_head_for_all_by_broadcasting() -> None:
    net = Chain(q=(B, H, T, D), k=(B, 1, S, D), v=(B, 1, S, E))
    _, node = fused(net.network(attended(net)))
    assert node.inputs == ("q", "k", "v")
    net = Chain(q=(B, H, T, D), k=(B, 1, S, D), v=(B, G, S, E))
    value = repeated(net, "v")
    key = net.add("Expand", "k", ints(B, H, S, D))
    _, node = fused(net.network(attended(net, k=key, v=value)))
    assert node.inputs == ("q", key, value)


def test_only_values_are_repeated() -> None:
    net = Chain(q=(B, H, T, D), k=(B, H, S, D), v=(B, G, S, E))
    value = repeated(net, "v")
    new, node = fused(net.network(attended(net, v=value)))
    assert node.inputs == ("q", "k", value)
    assert operators(new)["Expand"] == 1


def test_heads_repeated_in_turn_stay_repeated() -> None:
    """Heads 0 1 0 1 are not the heads 0 0 1 1 that attention would read."""

    def in_turn(net: Chain, name: str, depth: int) -> str:
        wide = net.add("Expand", net.add("Unsqueeze", name, ints(1)), ints(B, H // G, G, S, depth))
        return reshaped(net, wide, B, H, S, depth)

    net = Chain(20, **SHARED)
    key, value = in_turn(net, "k", D), in_turn(net, "v", E)
    _, node = fused(net.network(attended(net, "q", key, value)))
    assert node.inputs == ("q", key, value)


def test_heads_tiled_in_turn_stay_repeated() -> None:
    net = Chain(20, **SHARED)
    key, value = (net.add("Tile", name, ints(1, H // G, 1, 1)) for name in "kv")
    _, node = fused(net.network(attended(net, "q", key, value)))
    assert node.inputs == ("q", key, value)


def test_heads_that_a_reshape_mixes_are_read_as_they_are() -> None:
    net = Chain(q=SHAPES["q"], k=SHAPES["k"], v=(B, H, E, S))
    turned = net.add("Transpose", "v", perm=[0, 2, 1, 3])
    mixed = net.add("Transpose", reshaped(net, turned, B, S, H, E), perm=[0, 2, 1, 3])
    _, node = fused(net.network(attended(net, v=mixed)))
    assert node.inputs == ("q", "k", mixed)


def test_a_batch_repeated_stays_repeated() -> None:
    net = Chain(q=(B, H, T, D), k=(1, H, S, D), v=(B, H, S, E))
    key = net.add("Expand", "k", ints(B, H, S, D))
    _, node = fused(net.network(attended(net, k=key)))
    assert node.inputs == ("q", key, "v")


# ------------------------------------------------------------------------------- rank 3


def joined(net: Chain, name: str, rows: int, columns: int) -> str:
    return reshaped(net, name, B * H, rows, columns)


def of_rank_3(net: Chain, turned: Form, scores: Form = scaled) -> str:
    query, key, value = joined(net, "q", T, D), joined(net, "k", S, D), joined(net, "v", S, E)
    return attended(net, query, key, value, turned=turned, scores=scores)


def test_heads_in_the_batch() -> None:
    net = Chain(20, **SHAPES)
    flat = of_rank_3(net, lambda n, k: n.add("Transpose", k, perm=[0, 2, 1]))
    end = reshaped(net, flat, B, H, T, E)
    new, node = fused(net.network(net.add("Transpose", end, perm=[0, 2, 1, 3])))
    assert operators(new) == {OWN: 1, "Transpose": 1}
    assert (node.inputs, node.outputs) == (("q", "k", "v"), (end,))
    assert node.name == f"node of {end}"


def test_heads_in_the_batch_with_masks() -> None:
    net = Chain(20, **SHAPES, far=(B, 1, 1, S))

    def masked(net: Chain, scores: str) -> str:
        scores = net.add("Add", scaled(net, scores), drawn(T, S))
        scores = net.add("Add", reshaped(net, scores, B, H, T, S), "far")
        return reshaped(net, scores, B * H, T, S)

    flat = of_rank_3(net, lambda n, k: n.add("Transpose", k, perm=[0, 2, 1]), masked)
    new, node = fused(net.network(reshaped(net, flat, B, H, T, E)))
    assert (len(new.nodes), node.inputs[4]) == (1, "far")
    assert new.shapes[node.inputs[3]] == (T, S)


def test_shared_heads_in_the_batch() -> None:
    net = Chain(20, **SHARED)
    key, value = repeated(net, "k", "flat"), repeated(net, "v", "flat")
    turned = net.add("Transpose", key, perm=[0, 2, 1])
    flat = attended(net, joined(net, "q", T, D), turned, value, turned=lambda n, k: k)
    new, node = fused(net.network(reshaped(net, flat, B, H, T, E)))
    assert (node.inputs, len(new.nodes)) == (("q", "k", "v"), 1)


def test_one_head_put_apart_behind_the_products() -> None:
    net = Chain(q=(B, 1, T, D), k=(B, 1, S, D), v=(B, 1, S, E))
    query, key, value = (net.add("Squeeze", name, ints(1)) for name in "qkv")
    turned = net.add("Transpose", key, perm=[0, 2, 1])
    flat = attended(net, query, turned, value, turned=lambda n, k: k)
    new, node = fused(net.network(net.add("Unsqueeze", flat, ints(1))))
    assert (node.inputs, len(new.nodes)) == (("q", "k", "v"), 1)


def test_products_of_different_ranks() -> None:
    """Scores of rank 4, weights that go to rank 3 before they meet the values."""
    net = Chain(20, **SHAPES)
    flat = attended(net, v=joined(net, "v", S, E), weights=lambda n, p: reshaped(n, p, B * H, T, S))
    new, node = fused(net.network(reshaped(net, flat, B, H, T, E)))
    assert (node.inputs, len(new.nodes)) == (("q", "k", "v"), 1)
