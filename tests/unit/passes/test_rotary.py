"""Rotary embeddings are found in every way that they are written, and only those."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow_sim.ingest.passes.rotary import OP, ROTARY
from tests.support.resolved_models import evaluate, inputs_of
from tests.unit.passes.chains import Chain, close, leaves, operators, rewrites

SHAPE = (2, 3, 5, 8)
END = 2**63 - 1


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def angles(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 5
    return np.cos(values), np.sin(values)


def cut(net: Chain, x: str, start: int, stop: int, *, axis: int = 3) -> str:
    return net.add("Slice", x, ints(start), ints(stop), ints(axis))


def halves(net: Chain, x: str, how: str) -> tuple[str, str]:
    if how == "split":
        low = net.add("Split", x, ints(4, 4), outputs=2, axis=-1)
        return low, f"{low}.1"
    if how == "negative":
        return cut(net, x, -8, -4, axis=-1), cut(net, x, -4, END, axis=-1)
    if how == "steps":
        bounds = (ints(0), ints(4), ints(4), ints(99))
        step = (ints(-1), ints(1))
        return net.add("Slice", x, *bounds[:2], *step), net.add("Slice", x, *bounds[2:], *step)
    return cut(net, x, 0, 4), cut(net, x, 4, END)


def turned(net: Chain, x: str, how: str = "slices") -> str:
    low, high = halves(net, x, how)
    return net.add("Concat", net.add("Neg", high), low, axis=-1 if how != "steps" else 3)


def pair(net: Chain, op: str, first: object, second: object, swapped: bool) -> str:
    return net.add(op, *((second, first) if swapped else (first, second)))


def rotary(
    net: Chain, x: str, cos: object, sin: object, how: str = "slices", orders: int = 0
) -> str:
    kept = pair(net, "Mul", x, cos, bool(orders & 1))
    other = pair(net, "Mul", turned(net, x, how), sin, bool(orders & 2))
    return pair(net, "Add", kept, other, bool(orders & 4))


@pytest.mark.parametrize("how", ["slices", "split", "negative", "steps"])
@pytest.mark.parametrize("orders", range(8))
def test_found_however_it_is_written(how: str, orders: int) -> None:
    net = Chain(x=SHAPE)
    cos, sin = (net.constant(table) for table in angles(5, 8))
    end = rotary(net, "x", cos, sin, how, orders)
    new = rewrites(ROTARY, net.network(end), {OP: 1})
    assert new.nodes[0].inputs == ("x", cos, sin)
    assert (new.nodes[0].name, new.nodes[0].outputs) == (f"node of {end}", (end,))


@pytest.mark.parametrize("shape", [(5, 8), (1, 1, 5, 8), (2, 1, 5, 8), (8,), (2, 3, 5, 8), (1,)])
def test_what_it_computes(shape: tuple[int, ...]) -> None:
    net = Chain(x=SHAPE)
    cos, sin = angles(*shape)
    network = ROTARY.rewrite(net.network(rotary(net, "x", cos, sin)))[0]
    x = inputs_of(network, 4)["x"]
    rotated = np.concatenate((-x[..., 4:], x[..., :4]), axis=-1)
    (found,) = evaluate(network, 4).values()
    close(found, x * cos + rotated * sin, 1e-6)


def test_learned_tables_and_maps() -> None:
    net = Chain(x=SHAPE)
    end = rotary(net, "x", net.learned(5, 8), net.learned(1, 1, 5, 8))
    rewrites(ROTARY, net.network(end), {OP: 1})
    net = Chain(x=SHAPE, positions=(2, 1, 5, 8))
    end = rotary(net, "x", net.add("Cos", "positions"), net.add("Sin", "positions"))
    rewrites(ROTARY, net.network(end), {"Cos": 1, "Sin": 1, OP: 1})


def test_other_ranks_and_a_part_of_the_depth() -> None:
    net = Chain(x=(5, 8))
    low, high = cut(net, "x", 0, 4, axis=1), cut(net, "x", 4, 8, axis=1)
    rotated = net.add("Concat", net.add("Neg", high), low, axis=1)
    cos, sin = angles(5, 8)
    end = net.add("Add", net.add("Mul", "x", cos), net.add("Mul", rotated, sin))
    rewrites(ROTARY, net.network(end), {OP: 1})
    net = Chain(x=(2, 3, 5, 12))
    part = rotary(net, cut(net, "x", 0, 8), cos, sin)
    end = net.add("Concat", part, cut(net, "x", 8, 12), axis=-1)
    rewrites(ROTARY, net.network(end), {"Slice": 2, OP: 1, "Concat": 1})


def test_query_and_key_share_tables() -> None:
    net = Chain(q=SHAPE, k=(2, 1, 5, 8))
    cos, sin = (net.constant(table) for table in angles(5, 8))
    ends = rotary(net, "q", cos, sin), rotary(net, "k", cos, sin)
    new = rewrites(ROTARY, net.network(*ends), {OP: 2})
    assert [node.inputs for node in new.nodes] == [("q", cos, sin), ("k", cos, sin)]


def test_what_others_read_stays() -> None:
    for reader in range(6):
        net = Chain(x=SHAPE)
        end = rotary(net, "x", *angles(5, 8))
        between = net.nodes[reader].output[0]
        leaves(ROTARY, net.network(end, net.add("Tanh", between)))
        leaves(ROTARY, net.network(end, between))


def test_near_misses_stay() -> None:
    cos, sin = angles(5, 8)

    def built(x: str, half: str, low: tuple[int, int], high: tuple[int, int], swap: bool) -> Chain:
        net = Chain(x=SHAPE, y=SHAPE)
        upper, lower = net.add("Neg", cut(net, half, *high)), cut(net, half, *low)
        parts = (lower, upper) if swap else (upper, lower)
        rotated = net.add("Concat", *parts, axis=-1)
        net.add("Add", net.add("Mul", x, cos), net.add("Mul", rotated, sin))
        return net

    right = built("x", "x", (0, 4), (4, 8), False)
    assert operators(ROTARY.rewrite(right.network(right.nodes[-1].output[0]))[0]) == {OP: 1}
    for net in (
        built("y", "x", (0, 4), (4, 8), False),
        built("x", "x", (4, 8), (0, 4), False),
        built("x", "x", (0, 4), (4, 8), True),
        built("x", "x", (0, 3), (3, 8), False),
    ):
        leaves(ROTARY, net.network(net.nodes[-1].output[0]))


def test_interleaved_pairs_stay() -> None:
    net = Chain(x=SHAPE)
    even, odd = (
        net.add("Slice", "x", ints(start), ints(END), ints(3), ints(2)) for start in (0, 1)
    )
    rotated = net.add("Concat", net.add("Neg", odd), even, axis=-1)
    cos, sin = angles(5, 8)
    leaves(
        ROTARY, net.network(net.add("Add", net.add("Mul", "x", cos), net.add("Mul", rotated, sin)))
    )


def test_halves_of_another_axis_stay() -> None:
    net = Chain(x=(2, 3, 8, 8))
    low, high = cut(net, "x", 0, 4, axis=2), cut(net, "x", 4, 8, axis=2)
    rotated = net.add("Concat", net.add("Neg", high), low, axis=2)
    cos, sin = angles(8, 8)
    leaves(
        ROTARY, net.network(net.add("Add", net.add("Mul", "x", cos), net.add("Mul", rotated, sin)))
    )


def test_unequal_parts_stay() -> None:
    net = Chain(x=(2, 7))
    low, high = cut(net, "x", 0, 3, axis=1), cut(net, "x", 3, 7, axis=1)
    rotated = net.add("Concat", net.add("Neg", high), low, axis=1)
    cos, sin = angles(2, 7)
    end = net.add("Add", net.add("Mul", "x", cos), net.add("Mul", rotated, sin))
    leaves(ROTARY, net.network(end))
    net = Chain(x=SHAPE)
    low = net.add("Split", "x", ints(3, 5), outputs=2, axis=-1)
    rotated = net.add("Concat", net.add("Neg", f"{low}.1"), low, axis=-1)
    cos, sin = angles(5, 8)
    end = net.add("Add", net.add("Mul", "x", cos), net.add("Mul", rotated, sin))
    leaves(ROTARY, net.network(end))


def test_tables_that_enlarge_the_map_stay() -> None:
    net = Chain(x=(1, 3, 5, 8))
    leaves(ROTARY, net.network(rotary(net, "x", *angles(2, 1, 5, 8))))


def test_a_difference_stays() -> None:
    net = Chain(x=SHAPE)
    cos, sin = angles(5, 8)
    kept, other = net.add("Mul", "x", cos), net.add("Mul", turned(net, "x"), sin)
    leaves(ROTARY, net.network(net.add("Sub", kept, other)))


def test_the_standard_operator_stays() -> None:
    net = Chain(23, x=SHAPE)
    cos, sin = angles(2, 5, 4)
    leaves(ROTARY, net.network(net.add("RotaryEmbedding", "x", cos, sin)))
    net = Chain(23, x=SHAPE)
    cos, sin = angles(9, 4)
    places = np.tile(ints(0, 3, 1, 8, 2), (2, 1))
    leaves(ROTARY, net.network(net.add("RotaryEmbedding", "x", cos, sin, places)))
