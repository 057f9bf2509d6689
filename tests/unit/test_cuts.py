"""Cuts of a network, and the order whose largest live set is lowest, against brute force."""

from __future__ import annotations

import pytest

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.schedule import cuts as cuts_module
from dataflow_sim.schedule.cuts import find_cuts, prefixes
from dataflow_sim.schedule.order import Precedence, lowest_peak_order
from dataflow_sim.schedule.search import budget_curve
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from tests.support.branches import branchy


def diamond() -> NetworkGraph:
    """A layer, branches of one and of two layers, and a layer that reads both."""
    net = OnnxBuilder("diamond", (1, 2, 8, 8))
    first = net.convolution("a", "input", 2, 1)
    deep = net.convolution("c", net.convolution("b", first, 8, 1), 2, 1)
    side = net.convolution("d", first, 3, 1)
    net.concat("joined", [deep, side])
    model = net.model(net.convolution("e", "joined", 2, 1))
    return assign_precision(graph_from_model(model, "diamond"), Precision(8, 8, 32))


def generated(seed: int, layers: int) -> NetworkGraph:
    graph = graph_from_model(branchy(seed, layers), "random")
    return assign_precision(graph, Precision(8, 8, 32))


def orders(graph: NetworkGraph) -> list[tuple[int, ...]]:
    """Every topological order, layer by layer."""
    before = Precedence(graph).before
    found: list[tuple[int, ...]] = []
    begun: list[tuple[tuple[int, ...], int]] = [((), 0)]
    while begun:
        order, done = begun.pop()
        if len(order) == len(before):
            found.append(order)
        for layer, sources in enumerate(before):
            if not done >> layer & 1 and not sources & ~done:
                begun.append(((*order, layer), done | 1 << layer))
    return found


def peak_bits(graph: NetworkGraph, order: tuple[int, ...]) -> int:
    """The largest live set of an order; maps that nobody reads live where they are made."""
    readers = {
        name: {i for i, layer in enumerate(graph.layers) if name in reads(graph, i)}
        for name in graph.tensors
    }
    made, done, worst = set(graph.inputs), set[int](), 0
    for index in order:
        layer = graph.layers[index]
        alive = {name for name in made if readers[name] - done} | set(layer.outputs)
        tensors = [graph.tensors[name] for name in alive]
        worst = max(worst, sum(tensor.elements * tensor.bits for tensor in tensors))
        made |= set(layer.outputs)
        done.add(index)
    return worst


def reads(graph: NetworkGraph, index: int) -> set[str]:
    return {segment.tensor for view in graph.layers[index].views for segment in view.segments}


def test_cuts_by_hand() -> None:
    graph = diamond()
    names = [layer.name for layer in graph.layers]
    found = find_cuts(graph)
    assert found.complete
    shown = {"".join(sorted(n for i, n in enumerate(names) if cut >> i & 1)) for cut in found.done}
    assert shown == {"", "a", "ab", "ad", "abc", "abd", "abcd", "abcde"}
    assert Precedence(graph).necks() == [0, 1, 4, 5]


@pytest.mark.parametrize("seed", range(1, 9))
def test_every_order_is_a_path_and_every_path_an_order(seed: int) -> None:
    graph = generated(seed, 7)
    found = find_cuts(graph)
    assert found.complete
    paths: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    whole = []
    while paths:
        cut, order = paths.pop()
        if cut == len(found.done) - 1:
            whole.append(order)
        paths += [(stop, (*order, layer)) for layer, stop in found.steps[cut]]
    assert sorted(whole) == sorted(orders(graph))


@pytest.mark.parametrize("seed", range(1, 9))
def test_the_order_of_the_lowest_peak(seed: int) -> None:
    graph = generated(seed, 7)
    precedence = Precedence(graph)
    order = lowest_peak_order(graph, precedence, 0, len(graph.layers))
    assert peak_bits(graph, order) == min(peak_bits(graph, each) for each in orders(graph))


def test_where_cuts_are_many_two_orders_are_kept_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = generated(3, 9)
    memory = MemoryOptions(0, SINGLE, 32)
    assert budget_curve(graph, memory, "merged").thinned == ()
    monkeypatch.setattr(cuts_module, "MAXIMUM_CUTS", 0)
    few = find_cuts(graph)
    assert not few.complete
    assert set(prefixes(len(graph.layers)).done) <= set(few.done)
    (said,) = budget_curve(graph, memory, "merged").thinned
    assert said.startswith(f"orders: {len(few.done)} cuts of the network searched")
