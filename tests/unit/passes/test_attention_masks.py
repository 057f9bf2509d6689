"""What is added to attention's scores becomes masks of it; what is no sum keeps it apart."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import inf, prod

import numpy as np
import pytest
from onnx import TensorProto

from dataflow_sim.ingest.passes.attention import ATTENTION
from dataflow_sim.ingest.passes.attention_masks import refitted
from tests.unit.passes.attentions import (
    OWN,
    SHAPES,
    B,
    D,
    E,
    Form,
    H,
    S,
    T,
    attended,
    attentions,
    check_contract,
    drawn,
    fused,
    reshaped,
    scaled,
    unfused,
)
from tests.unit.passes.chains import Chain, operators, same_values

LOWEST = float(np.finfo(np.float32).min)


@pytest.mark.parametrize(
    "shape", [(), (S,), (T, S), (T, 1), (1, T, S), (H, 1, 1), (B, 1, 1, S), (1, H, T, S)]
)
@pytest.mark.parametrize("swapped", [True, False])
def test_a_constant_is_added(shape: tuple[int, ...], swapped: bool) -> None:
    net = Chain(20, **SHAPES)
    mask = net.learned(*shape)

    def scores(n: Chain, s: str) -> str:
        return n.add("Add", *((mask, s) if swapped else (s, mask)))

    new, node = fused(net.network(attended(net, scores=scores)))
    assert (node.inputs, len(new.nodes)) == (("q", "k", "v", mask), 1)


def test_a_map_is_added() -> None:
    """A bias that the network computes, by a product of its own even."""
    net = Chain(20, **SHAPES, positions=(T, 4))
    bias = net.add("MatMul", net.add("Tanh", "positions"), net.learned(4, S))

    def scores(n: Chain, s: str) -> str:
        return n.add("Add", bias, s)

    new, node = fused(net.network(attended(net, scores=scores)))
    assert operators(new) == {"Tanh": 1, "MatMul": 1, OWN: 1}
    assert node.inputs == ("q", "k", "v", bias)


def test_scores_are_told_from_a_map_of_their_shape() -> None:
    """Both summands are products of maps: the one that is no attention of q and k is a mask."""
    for swapped in (True, False):
        net = Chain(20, **SHAPES, a=(B, H, T, S), b=(S, S))
        other = net.add("Tanh", net.add("MatMul", "a", "b"))

        def scores(net: Chain, s: str, other: str = other, swapped: bool = swapped) -> str:
            return net.add("Add", *((other, s) if swapped else (s, other)))

        _, node = fused(net.network(attended(net, scores=scores)))
        assert node.inputs == ("q", "k", "v", other)


def test_many_are_added_in_order() -> None:
    net = Chain(20, **SHAPES, far=(B, 1, 1, S))
    first, second = net.learned(T, S), net.constant(drawn(H, 1, 1))

    def scores(net: Chain, s: str) -> str:
        s = net.add("Add", net.add("Identity", scaled(net, s)), first)
        return net.add("Add", net.add("Mul", net.add("Add", second, s), 1.0), "far")

    new, node = fused(net.network(attended(net, scores=scores)))
    assert (node.inputs[3:], len(new.nodes)) == ((first, second, "far"), 1)
    assert node.attributes["scale"] == 0.25


# ------------------------------------------------------------------------------- choices

KEEP = np.tri(T, S, 1, bool)


@pytest.mark.parametrize("filler", [-inf, LOWEST, -1e9, -1e4, -1000.0])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("shape", [(T, S), (1, 1, T, S), (1, 1, 1, T, S)])
def test_a_choice_by_a_constant(filler: float, kept: bool, shape: tuple[int, ...]) -> None:
    net = Chain(20, **SHAPES)
    condition = net.constant(np.equal(KEEP, kept).reshape(shape))

    def scores(net: Chain, s: str) -> str:
        s = reshaped(net, s, 1, B, H, T, S) if len(shape) == 5 else s
        s = net.add("Where", condition, *((s, filler) if kept else (filler, s)))
        return reshaped(net, s, B, H, T, S) if len(shape) == 5 else s

    network = net.network(attended(net, scores=scores))
    new, _ = fused(network)
    (name,) = set(new.constants) - set(network.constants)
    mask = new.constants[name]
    assert (len(new.nodes), mask.real) == (1, False)
    assert mask.value is not None
    assert mask.value.dtype == np.float32
    np.testing.assert_array_equal(mask.value.reshape(T, S), np.where(KEEP, 0, np.float32(filler)))


def test_a_filler_as_often_as_there_are_scores() -> None:
    net = Chain(20, **SHAPES)
    many = np.full((T, S), -inf, np.float32)

    def scores(n: Chain, s: str) -> str:
        return n.add("Where", KEEP, s, many)

    new, _ = fused(net.network(attended(net, scores=scores)))
    assert len(new.nodes) == 1


def test_a_choice_whose_condition_is_not_in_the_file() -> None:
    net = Chain(20, **SHAPES)
    condition = net.learned(1, 1, T, S)
    net.constants[-1].data_type = TensorProto.BOOL

    def scores(n: Chain, s: str) -> str:
        return n.add("Where", condition, s, -inf)

    new, changed = ATTENTION.rewrite(net.network(attended(net, scores=scores)))
    check_contract(new)
    assert len(changed) == 1
    mask = new.constants[new.nodes[0].inputs[3]]
    assert (mask.shape, mask.value, mask.real) == ((1, 1, T, S), None, False)


@pytest.mark.parametrize("kept", [True, False])
def test_a_choice_by_a_map(kept: bool) -> None:
    """The condition is computed: so is the mask, in the condition's own shape."""
    net = Chain(20, **SHAPES, tokens=(B, 1, 1, S))
    positive = net.add("Greater", net.add("Add", net.add("Abs", "tokens"), 0.1), 0.3)
    condition = positive if kept else net.add("Not", positive)

    def scores(net: Chain, s: str) -> str:
        return net.add("Where", condition, *((s, -1e9) if kept else (-1e9, s)))

    new, node = fused(net.network(attended(net, scores=scores)))
    (choice,) = (n for n in new.nodes if n.op == "Where")
    assert new.shapes[choice.outputs[0]] == (B, 1, 1, S)
    assert node.inputs[3:] == choice.outputs
    assert choice.inputs[0] == condition
    assert new.bits.get(choice.outputs[0], 32) == 32


@pytest.mark.parametrize("computed", [True, False])
def test_layers_share_the_mask_of_one_condition(computed: bool) -> None:
    shapes = {"q": (B, H, S, D), "k": (B, H, S, D), "v": (B, H, S, D)}
    net = Chain(20, **shapes, tokens=(S, S))
    keep = np.tri(S, S, 0, bool)
    condition = net.constant(keep)
    if computed:
        condition = net.add("And", net.add("Greater", net.add("Abs", "tokens"), -1.0), condition)

    def scores(n: Chain, s: str) -> str:
        return n.add("Where", condition, scaled(n, s), -inf)

    first = attended(net, scores=scores)
    network = net.network(attended(net, first, "k", "v", scores=scores))
    new, changed = ATTENTION.rewrite(network)
    check_contract(new)
    same_values(network, new, 1e-5)
    assert len(changed) == 2
    assert len({node.inputs[3] for node in attentions(new)}) == 1
    assert operators(new).get("Where", 0) == int(computed)


@pytest.mark.parametrize(
    "filler", [-999.0, 0.0, 1e9, np.array([[-1e9], [-1e8], [-1e9]], np.float32)]
)
def test_other_fillers_keep_it_apart(filler: object) -> None:
    net = Chain(20, **SHAPES)
    unfused(net.network(attended(net, scores=lambda n, s: n.add("Where", KEEP, s, filler))))


def test_fillers_that_are_not_in_the_file_keep_it_apart() -> None:
    net = Chain(20, **SHAPES)
    filler = net.learned()
    unfused(net.network(attended(net, scores=lambda n, s: n.add("Where", KEEP, s, filler))))
    net = Chain(20, **SHAPES, filler=(T, S))
    unfused(net.network(attended(net, scores=lambda n, s: n.add("Where", KEEP, s, "filler"))))


# ------------------------------------------------------------------------------- windows

WINDOWS = 4


def shifted(batch: int, second: object) -> Form:
    """Scores of (batch x windows, H, T, S) with a bias per head, then a mask per window."""

    def form(net: Chain, s: str) -> str:
        s = net.add("Add", scaled(net, s), net.learned(1, H, T, S))
        s = net.add("Add", reshaped(net, s, batch, WINDOWS, H, T, S), second)
        return reshaped(net, s, batch * WINDOWS, H, T, S)

    return form


def windows(batch: int) -> Chain:
    count = batch * WINDOWS
    return Chain(q=(count, H, T, D), k=(count, H, S, D), v=(count, H, S, E))


@pytest.mark.parametrize("rank", [5, 4])
def test_shifted_windows(rank: int) -> None:
    net = windows(1)
    values = drawn(*(1, WINDOWS, 1, T, S)[5 - rank :])
    second = net.constant(values)
    network = net.network(attended(net, scores=shifted(1, second)))
    new, node = fused(network)
    assert len(new.nodes) == 1
    assert [new.shapes[n] for n in node.inputs[3:]] == [(1, H, T, S), (WINDOWS, 1, T, S)]
    mask, old = new.constants[node.inputs[4]], network.constants[second]
    assert mask.value is not None
    if rank == 5:
        np.testing.assert_array_equal(mask.value, values.reshape(WINDOWS, 1, T, S))
        assert (mask.real, new.sources[mask.name]) == (old.real, network.sources[second])
    else:
        assert mask == old


def test_shifted_windows_whose_mask_is_not_in_the_file() -> None:
    net = windows(1)
    second = net.learned(1, WINDOWS, 1, T, S)
    network = net.network(attended(net, scores=shifted(1, second)))
    new, changed = ATTENTION.rewrite(network)
    check_contract(new)
    mask = new.constants[attentions(new)[0].inputs[4]]
    assert len(changed) == 1
    assert (mask.value, mask.real, mask.shape) == (None, True, (WINDOWS, 1, T, S))
    assert new.sources[mask.name] == second


def test_shifted_windows_whose_mask_is_computed() -> None:
    net = windows(1)
    net.inputs.extend(Chain(m=(1, WINDOWS, 1, T, S)).inputs)
    new, node = fused(net.network(attended(net, scores=shifted(1, net.add("Tanh", "m")))))
    assert operators(new) == {"Tanh": 1, "Reshape": 1, OWN: 1}
    assert new.shapes[node.inputs[4]] == (WINDOWS, 1, T, S)


def test_shifted_windows_of_several_images_stay() -> None:
    """Their mask would have to be repeated for each image."""
    net = windows(2)
    unfused(net.network(attended(net, scores=shifted(2, drawn(1, WINDOWS, 1, T, S)))))
    net = windows(2)
    everywhere = shifted(2, drawn(1, 1, 1, T, S))
    fused(net.network(attended(net, scores=everywhere)))
    net = windows(2)
    each = shifted(2, drawn(2, WINDOWS, 1, T, S))
    fused(net.network(attended(net, scores=each)))


def test_masks_of_other_sizes_are_not_refitted() -> None:
    assert refitted((2,), (2,), (4,)) is None
    assert refitted((4,), (4,), (2,)) is None


SHAPES_OF_24 = ((24,), (2, 12), (4, 6), (2, 3, 4), (1, 24, 1), (6, 4), (2, 2, 6), (3, 8), (12, 2))


@pytest.mark.parametrize(("domain", "target"), list(product(SHAPES_OF_24, SHAPES_OF_24)))
def test_refitted_masks_broadcast_to_the_same_elements(
    domain: tuple[int, ...], target: tuple[int, ...]
) -> None:
    """Every mask of a domain, against what broadcasting and reshaping give."""
    for kept in product([True, False], repeat=len(domain)):
        mask = tuple(e if full else 1 for e, full in zip(domain, kept, strict=True))
        values = np.arange(prod(mask)).reshape(mask)
        wanted = np.broadcast_to(values, domain).reshape(target)
        found = refitted(mask, domain, target)
        if found is not None:
            refit = np.broadcast_to(values.reshape(found), target)
            np.testing.assert_array_equal(refit, wanted)
            continue
        fits = [
            shape
            for shape in product(*({1, extent} for extent in target))
            if prod(shape) == prod(mask)
            and np.array_equal(np.broadcast_to(values.reshape(shape), target), wanted)
        ]
        cut = refitted(domain, domain, target) is None
        assert cut or not fits


def test_widths_of_new_names() -> None:
    net = Chain(20, **{**SHAPES, "k": (B, S, H, D)})

    def turned(n: Chain, k: str) -> str:
        return n.add("Transpose", k, perm=[0, 2, 3, 1])

    network = replace(net.network(attended(net, turned=turned)), bits={"k": 16})
    new = ATTENTION.rewrite(network)[0]
    assert new.bits == {"k": 16, new.nodes[0].outputs[0]: 16}
    net = windows(1)
    second = net.constant(drawn(1, WINDOWS, 1, T, S))
    network = replace(net.network(attended(net, scores=shifted(1, second))), bits={second: 16})
    new = ATTENTION.rewrite(network)[0]
    assert new.bits == {second: 16, new.nodes[0].inputs[4]: 16}
