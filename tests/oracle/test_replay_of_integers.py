"""The very program that is reported, at its own widths, on integers: exactly the whole layers'."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.schedule.search import budget_curve
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from dataflow_sim.simulate.integers import Integers
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.replay import replay_integers
from dataflow_sim.simulate.whole import evaluate_layers
from tests.support.runs import case, proved, unpacked
from tests.support.small import SMALL

# bits of weights, maps and sums
WIDTHS = ((8, 8, 32), (4, 8, 24), (3, 5, 16), (16, 12, 40))
SHORT = 2_000


def narrowed(graph: NetworkGraph, widths: tuple[int, int, int]) -> NetworkGraph:
    weights, maps, sums = widths
    return assign_precision(graph, Precision(weights, maps, sums, True, True))


def holds(graph: NetworkGraph, memory: MemoryOptions, policy: str, share: float) -> None:
    """Replay the schedule at some place of a curve, and hold all maps that were stored."""
    found = budget_curve(graph, memory, policy)
    least = min(point.schedule.steps for point in found.points)
    short = [point for point in found.points if point.schedule.steps <= max(SHORT, least)]
    point = short[int(share * (len(short) - 1))]
    schedule = found.schedule(point.local_bytes)
    assert schedule is not None
    program = proved(graph, schedule)
    integers = Integers(graph, memory.accumulator_bits, seed=3)
    replayed = replay_integers(program, integers)
    whole = evaluate_layers(graph, integers, integers.image())
    for name, expected in whole.items():
        values = replayed.tensors[name]
        there = ~np.isnan(values)
        np.testing.assert_array_equal(values[there], expected[there])
    for name in graph.outputs:
        assert len(np.unique(whole[name])) > 2
        assert not np.isnan(replayed.tensors[name]).any()
    moved: dict[str, int] = {}
    for (_, key), bits in count(program).traffic_bits.items():
        moved[key.tensor] = moved.get(key.tensor, 0) + bits
    for (name, _), bits in replayed.dram.moved_bits.items():
        moved[name] -= bits
    assert not any(moved.values())


# all networks at all widths: one each in every run, the others where there is time
EVERY = [
    pytest.param(
        name,
        widths,
        (number + place) % 3,
        marks=()
        if (number + place) % len(WIDTHS) == 0 and name != "tiny_mobilenet_v1"
        else pytest.mark.slow,
        id=f"{name}-{'-'.join(map(str, widths))}",
    )
    for number, name in enumerate(sorted(SMALL))
    for place, widths in enumerate(WIDTHS)
]


@pytest.mark.parametrize(("name", "widths", "third"), EVERY)
def test_every_width(name: str, widths: tuple[int, int, int], third: int) -> None:
    graph = narrowed(case(name).graph, widths)
    memory = MemoryOptions(0, SINGLE, widths[2])
    holds(graph, memory, ("layerwise", "resident", "merged")[third], (0.0, 0.5, 1.0)[third])


def test_kernels_that_the_dma_unpacks() -> None:
    graph = unpacked(narrowed(case("padded_chain").graph, (3, 8, 32)), 8)
    holds(graph, MemoryOptions(0, SINGLE, 32), "merged", 0.5)


def test_a_seed_gives_the_same_integers() -> None:
    graph = narrowed(case("padded_chain").graph, (8, 8, 32))
    one, same, other = (Integers(graph, 32, seed).image() for seed in (1, 1, 2))
    for name, values in one.items():
        np.testing.assert_array_equal(values, same[name])
    assert any(not np.array_equal(values, other[name]) for name, values in one.items())
