"""Objectives: costs by hand, and schedules that are the best in what was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow_sim.choosing import price, rates
from dataflow_sim.errors import InputError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware, load_hardware
from dataflow_sim.pipeline import RunOptions, memory_options, prepare, run
from dataflow_sim.schedule.objectives import DRAM_BITS, OBJECTIVES, Objective, Rates
from dataflow_sim.schedule.search import budget_curve
from tests.support.curves import two_convolutions
from tests.support.runs import case

RATES = Rates(10.0, 1e-11, 0.0, (64e-11, 6400e-11))


def machine(capacity: int, **changes: str) -> Hardware:
    keys = {"local_memory.capacity": f"{capacity}B", **changes}
    return load_hardware("bare", {key.replace("__", "."): value for key, value in keys.items()})


def test_costs_by_hand() -> None:
    bits = np.array([1, 64, 6400, 10_000])
    assert DRAM_BITS.cost((0, 1), bits).tolist() == bits.tolist()
    (latency,) = OBJECTIVES["latency"](RATES)
    # the first layer computes as long as 64 bits take, both together as long as 6464
    found = latency.cost((0,), bits)
    assert found.tolist() == [1 + 64 * 64 * 64, 64 + 64 * 64 * 64, 6400 * 4097, 10_000 * 4097]
    both = latency.cost((0, 1), bits)
    assert both.tolist() == [b + 4096 * max(b, 6464) for b in bits.tolist()]
    assert latency.transfer(10) == 10 * 4097
    # without static power energy is DRAM energy
    assert OBJECTIVES["energy"](RATES) == [DRAM_BITS]
    (energy,) = OBJECTIVES["energy"](Rates(10.0, 1e-11, 0.5, (0.0,)))
    # 0.5 W for 1e-11 s are 5 pJ beside 10 pJ
    one, two = energy.cost((0,), np.array([100, 200])).tolist()
    assert two == 2 * one
    assert one == pytest.approx(100 * 1.5 * energy.per_bit, rel=0.02)


def test_more_bits_never_cost_less() -> None:
    bits = np.arange(0, 20_000, 37)
    for name in OBJECTIVES:
        for objective in OBJECTIVES[name](RATES):
            assert (np.diff(objective.cost((0, 1), bits)) >= 0).all()


@pytest.mark.parametrize("capacity", [600, pytest.param(2000, marks=pytest.mark.slow), 6000])
@pytest.mark.parametrize("clock", ["2MHz", "20MHz", "1GHz"])
def test_each_is_the_best_of_all_in_its_own(capacity: int, clock: str) -> None:
    """On a machine that computes as long as it loads; static power beside DRAM energy."""
    graph = case("residual").graph
    hardware = machine(
        capacity * 4, compute__clock=clock, energy__static_power="0.05W", precision__weights="32"
    )
    results = {
        name: run(graph, hardware, RunOptions("merged", 32, 32, objective=name))
        for name in OBJECTIVES
        if name != "edp"  # energy-delay by another name
    }
    bytes_of = {name: each.traffic.total_bytes for name, each in results.items()}
    latency = {name: each.latency_s for name, each in results.items()}
    energy = {name: each.energy.total_pj for name, each in results.items()}
    product = {name: energy[name] * latency[name] for name in results}
    assert bytes_of["dram"] == min(bytes_of.values())
    assert latency["latency"] <= min(latency.values()) * 1.001
    assert energy["energy"] <= min(energy.values()) * 1.001
    assert product["energy-delay"] <= min(product.values()) * 1.001


def best_of_points(graph: NetworkGraph, hardware: Hardware, objective: Objective) -> float:
    """The least latency over all points of an objective's curve that fit."""
    found = budget_curve(graph, memory_options(hardware), "merged", objective=objective)
    capacity = hardware.local_memory.capacity_bytes
    fitting = [p for p in found.points if p.local_bytes <= capacity]
    return min(price(graph, hardware, point.schedule)[1] for point in fitting)


def test_the_least_latency_of_all_points_is_found() -> None:
    """Where compute bounds one layer and DRAM the next, merging hides one behind the other."""
    hardware = machine(6000, compute__clock="50MHz")
    graph = prepare(two_convolutions(), hardware, RunOptions())
    (latency,) = OBJECTIVES["latency"](rates(graph, hardware))
    quickest = best_of_points(graph, hardware, latency)
    fewest = best_of_points(graph, hardware, DRAM_BITS)
    assert quickest <= fewest
    found = run(two_convolutions(), hardware, RunOptions("merged", objective="latency"))
    assert found.timeline is not None
    assert found.timeline.closed_form_latency_s <= quickest * (1 + 1e-9)
    assert found.objective == "latency"


def test_what_is_refused() -> None:
    hardware = machine(6000)
    with pytest.raises(InputError, match="unknown objective 'beauty'; there are dram, energy"):
        run(two_convolutions(), hardware, RunOptions(objective="beauty"))
    with pytest.raises(InputError, match="--frames 3 goes with --objective dram"):
        run(two_convolutions(), hardware, RunOptions(frames=3, objective="latency"))
