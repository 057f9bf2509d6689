"""Whole networks, executed: at five budgets, under all policies, by tiles with every halo."""

from __future__ import annotations

import pytest

from dataflow_sim.schedule.search import POLICIES, schedule_network, schedule_on
from dataflow_sim.schedule.types import Halo, Schedule
from tests.support.replayed_networks import (
    BUDGETS,
    NETWORKS,
    budgets,
    curve_of,
    demand_with,
    holds_on_integers,
    holds_on_real_numbers,
    memory_of,
    network,
)

# of these no four, three or two layers in a row run by tiles of a plane
WITHOUT_TILES = ("bert", "llama")
# a local memory in bytes in which the programs of a network are short
SHORT = {
    "mobilenet_v1": 21_504,
    "mobilenet_v2": 16_400,
    "resnet18": 33_344,
    "squeezenet": 20_784,
    "densenet121": 1 << 17,
    "shufflenet_v2": 1 << 14,
    "googlenet": 1 << 17,
    "unet": 1 << 15,
    "efficientnet_b0": 1 << 14,
    "bert": 5_043,
    "llama": 180,
}


# those whose other policies take seconds, not minutes
QUICK = ("mobilenet_v1", "resnet18", "squeezenet", "bert", "llama")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "resnet18" else n for n in NETWORKS]
)
def test_one_budget(name: str) -> None:
    graph, memory = network(name).graph, memory_of(SHORT[name])
    for policy in POLICIES if name in QUICK else ("layerwise",):
        assert holds_on_integers(graph, schedule_network(graph, memory, policy))


@pytest.mark.slow
@pytest.mark.parametrize("place", range(BUDGETS))
@pytest.mark.parametrize("name", NETWORKS)
def test_five_budgets_and_all_policies(name: str, place: int) -> None:
    graph, memory = network(name).graph, memory_of(budgets(name)[place])
    seen: list[Schedule] = []
    for policy in POLICIES:
        schedule = schedule_on(curve_of(name, policy), graph, memory)
        if not any(each.groups == schedule.groups for each in seen):
            assert holds_on_integers(graph, schedule)
        seen.append(schedule)


@pytest.mark.slow
@pytest.mark.parametrize("halo", Halo)
@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_with_every_halo(name: str, halo: Halo) -> None:
    demand = demand_with(name, halo)
    assert (demand is None) == (name in WITHOUT_TILES)
    if demand is None:
        return
    graph, curve = network(name).graph, curve_of(name, "merged", demand)
    for budget in budgets(name, demand):
        schedule = schedule_on(curve, graph, memory_of(budget))
        (group,) = (each for each in schedule.groups if each.members == demand.members)
        assert {kept for _, kept in group.halos} == {halo}
        assert holds_on_integers(graph, schedule)


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", NETWORKS)
def test_real_numbers(name: str, policy: str) -> None:
    found = network(name)
    memory = memory_of(4 * budgets(name)[-2])
    holds_on_real_numbers(found, schedule_network(found.wide, memory, policy))
