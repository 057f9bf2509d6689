"""Live sets of networks, placed: how often the height is that of the largest live set.

No addresses do with less.  Whole maps are placed as `place` does with the lifetimes that `inspect`
tells; programs have the addresses that the search gave their schedules.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dataflow_sim.graph.analyses import lifetimes
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks import BUILT_IN, build_network
from dataflow_sim.program.lowering import lower
from dataflow_sim.schedule.allocation import Life
from dataflow_sim.schedule.placement import place
from dataflow_sim.schedule.search import budget_curve
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from dataflow_sim.simulate.occupancy import occupancy

MEMORY = MemoryOptions(0, SINGLE, 32)
BUDGETS = 6
LONGEST = 1 << 16  # steps of programs that are lowered here
SHARE = 0.95
# whose curves take many minutes each
LARGEST = ("faster_rcnn", "inception_resnet", "nasnet_a_large", "llama", "tinyllama", "bert_large")
FEW = ("densenet121", "googlenet", "inception_v3", "nasnet_a_mobile", "unet_padded", "yolov8n")


def graph_of(name: str) -> NetworkGraph:
    return assign_precision(graph_from_model(build_network(name), name), Precision(8, 8, 32))


def small(name: str) -> str:
    """The network with a small image, or few tokens, where it may have one."""
    for parameter in BUILT_IN[name].parameters:
        if parameter.name in ("resolution", "tokens"):
            least = 64 if parameter.name == "resolution" else 16
            return f"{name}@{parameter.name}={max(least, int(parameter.least))}"
    return name


def is_placed_at_its_live_set(graph: NetworkGraph) -> bool:
    maps = []
    for life in lifetimes(graph):
        tensor = graph.tensors[life.tensor]
        maps.append(Life(-(-tensor.elements * tensor.bits // 8), life.first, life.last))
    placed = place(maps)
    assert placed.height_bytes >= placed.live_bytes
    return placed.height_bytes == placed.live_bytes


@pytest.mark.parametrize("name", FEW)
def test_whole_maps(name: str) -> None:
    assert is_placed_at_its_live_set(graph_of(name))


@pytest.mark.slow
def test_whole_maps_of_all_built_in_networks() -> None:
    found = [is_placed_at_its_live_set(graph_of(name)) for name in BUILT_IN]
    assert sum(found) >= SHARE * len(found)


def programs(name: str, policy: str) -> Iterator[tuple[int, int]]:
    """Height and live set of the programs of a network at some budgets of its curve."""
    graph = graph_of(name)
    curve = budget_curve(graph, MEMORY, policy)
    least, most = curve.points[0].local_bytes, curve.points[-1].local_bytes
    for number in range(BUDGETS):
        capacity = round(least * (most / least) ** (number / (BUDGETS - 1)))
        schedule = curve.schedule(capacity)
        assert schedule is not None
        if schedule.steps <= LONGEST:
            used = occupancy(lower(graph, schedule))
            yield used.peak_bytes, used.live_bytes


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v1", "ds_cnn_s"])
def test_programs_on_a_curve(name: str) -> None:
    found = list(programs(small(name), "resident"))
    assert found
    assert all(height == live for height, live in found)


@pytest.mark.slow
def test_programs_of_all_built_in_networks() -> None:
    """With a small image or few tokens; those whose weights or heads are the largest left out."""
    found = [
        pair
        for name in BUILT_IN
        if not name.startswith(LARGEST)
        for pair in programs(small(name), "merged")
    ]
    assert all(height >= live for height, live in found)
    assert sum(height == live for height, live in found) >= SHARE * len(found)
