"""Which schedule a run takes: the best under its objective, priced as the result will be."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from dataflow_sim.delivered import in_dram, moved_in_bursts
from dataflow_sim.energy.compute import layer_compute
from dataflow_sim.energy.model import add_up
from dataflow_sim.errors import InputError
from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import MAP_LAYOUTS, Hardware
from dataflow_sim.priced import prices_on
from dataflow_sim.program.lowering import lower
from dataflow_sim.proof import MAXIMUM_COUNTED_STEPS, closed_form_prices, counts_of_estimate
from dataflow_sim.results_of_exact import ExactResult
from dataflow_sim.schedule.demands import Demand
from dataflow_sim.schedule.exact import check_work, schedule_exactly
from dataflow_sim.schedule.frames import FrameSchedules, schedule_frames
from dataflow_sim.schedule.objectives import OBJECTIVES, Rates
from dataflow_sim.schedule.search import (
    POLICIES,
    Curve,
    budget_curve,
    schedule_network,
    schedule_on,
)
from dataflow_sim.schedule.types import MemoryOptions, Schedule
from dataflow_sim.timing import BUSES, DRAM, Followed, follow

Progress = Callable[[int, int], None]
_MOST_POINTS = 16  # of a curve that are priced
_TIMED = 3  # schedules, the best by the closed form, that are timed
# of energy in pJ and latency in seconds, by objective
_WORTH: Mapping[str, Callable[[float, float], float]] = {
    "energy": lambda energy, latency: energy,
    "latency": lambda energy, latency: latency,
    "energy-delay": lambda energy, latency: energy * latency,
    "edp": lambda energy, latency: energy * latency,
}


def rates(graph: NetworkGraph, hardware: Hardware) -> Rates:
    """What the search needs to know of a machine and a network's layers."""
    dram, parts = hardware.dram, graph.byte_bits / 8
    computes = [layer_compute(hardware, graph, layer) for layer in graph.layers]
    executed = [
        each.macs_executed(layer_macs(layer))
        for each, layer in zip(computes, graph.layers, strict=True)
    ]
    each_and_macs = list(zip(computes, executed, strict=True))
    return Rates(
        dram_pj_per_bit=(dram.read_energy_pj_per_bit + dram.write_energy_pj_per_bit) / 2 / parts,
        dram_seconds_per_bit=1 / (8 * dram.bandwidth_bytes_per_second) / parts,
        static_watt=hardware.energy.static_watt + dram.background_watt * dram.channels,
        compute_seconds=tuple(
            each.cycles(macs) / hardware.compute.clock_hertz for each, macs in each_and_macs
        ),
        compute_pj=tuple(macs * each.mac_pj for each, macs in each_and_macs),
    )


def price(graph: NetworkGraph, hardware: Hardware, schedule: Schedule) -> tuple[float, float]:
    """Energy in pJ and latency in seconds of a schedule, by the closed form."""
    counts = counts_of_estimate(graph, hardware, schedule)
    found = closed_form_prices(graph, hardware, schedule, counts)
    energy = add_up([each.energy for each in found])
    return energy.total_pj, sum(each.latency_s for each in found)


def chosen_schedules(
    graph: NetworkGraph,
    hardware: Hardware,
    memory: MemoryOptions,
    policy: str,
    frames: int,
    objective: str,
    progress: Progress,
    demand: Demand | None = None,
    known: Curve | None = None,
) -> FrameSchedules:
    """The schedules of a run's frames, with what is demanded of a merged group; the curve of DRAM
    bytes may be known.

    Raises InputError for an unknown objective, and for several frames under another than
    DRAM bytes; else as `schedule_frames`.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"unknown objective '{objective}'; there are {', '.join(OBJECTIVES)}")
    if demand is not None:
        if objective != "dram" or frames > 1:
            raise InputError("--force-group goes with one frame and --objective dram")
        curve = known or budget_curve(graph, memory, policy, progress, demand=demand)
        alone = schedule_on(curve, graph, memory)
        return FrameSchedules(alone, alone)
    if objective == "dram":
        return schedule_frames(graph, memory, policy, frames, progress, known)
    if frames > 1:
        raise InputError(f"--frames {frames} goes with --objective dram, not with '{objective}'")
    found: list[tuple[float, int, int, Schedule]] = []
    for schedule in _candidates(graph, hardware, memory, policy, objective, progress):
        cost = _WORTH[objective](*price(graph, hardware, schedule))
        moved = sum(schedule.traffic_bytes().values())
        found.append((cost, moved, len(found), schedule))
    first = sorted(found, key=lambda one: one[:3])[:_TIMED]
    if len(first) > 1:  # the closed form may be off by more than these differ
        timed = (
            min(
                _WORTH[objective](*_timed(graph, machine, each[3]))
                for machine in each_layout(hardware)
            )
            for each in first
        )
        first = [(cost, *each[1:]) for cost, each in zip(timed, first, strict=True)]
    best = min(first, key=lambda one: one[:3])[3]
    return FrameSchedules(best, best)


def _timed(graph: NetworkGraph, hardware: Hardware, schedule: Schedule) -> tuple[float, float]:
    """Energy in pJ and latency in seconds of a schedule, by its timeline where it can be timed."""
    if hardware.dram.model == "banks":  # whose closed form is as good for choosing, and quicker
        dram = hardware.dram.model_copy(update={"model": "efficiency"})
        hardware = hardware.model_copy(update={"dram": dram, "better": None, "worse": None})
    counts = counts_of_estimate(graph, hardware, schedule)
    followed, padding_pj = None, 0.0
    if schedule.steps <= MAXIMUM_COUNTED_STEPS:
        program = in_dram(lower(graph, schedule), hardware.dram)
        followed = follow(graph, hardware, [program], counts.held)
        padding_pj = _padding_pj(followed, hardware)
    energy, latency_s = prices_on(graph, hardware, schedule, counts, followed)
    return energy.total_pj + padding_pj, latency_s


def _padding_pj(followed: Followed, hardware: Hardware) -> float:
    """The energy of what whole bursts move beside what the closed form counts."""
    if followed.part is None:
        return 0.0
    dram, found = hardware.dram, followed.found
    beside = followed.bits[BUSES.index(DRAM)] - found.bits * followed.part
    each = np.where(found.stores == 1, dram.write_energy_pj_per_bit, dram.read_energy_pj_per_bit)
    return float((beside * each).sum()) * 8 / followed.graph.byte_bits


def each_layout(hardware: Hardware) -> list[Hardware]:
    """The machine with each layout that its maps may have."""
    if hardware.dram.map_layout != "best":
        return [hardware]
    layouts = MAP_LAYOUTS if hardware.dram.granule_bytes > 1 else MAP_LAYOUTS[:1]
    return [
        hardware.model_copy(update={"dram": hardware.dram.model_copy(update={"layout": name})})
        for name in layouts
    ]


def with_layout(
    graph: NetworkGraph, hardware: Hardware, schedule: Schedule, objective: str
) -> Hardware:
    """The machine with the layout of maps that costs a schedule least under an objective: of DRAM
    bytes, those that move in whole bursts."""
    machines = each_layout(hardware)
    if len(machines) == 1 or schedule.steps > MAXIMUM_COUNTED_STEPS:
        return machines[0]
    if objective != "dram":
        costs = [_WORTH[objective](*_timed(graph, each, schedule)) for each in machines]
    else:
        program = lower(graph, schedule)
        burst = hardware.dram.granule_bytes * graph.byte_bits
        costs = [moved_in_bursts(in_dram(program, each.dram), burst) for each in machines]
    return machines[costs.index(min(costs))]


def _candidates(
    graph: NetworkGraph,
    hardware: Hardware,
    memory: MemoryOptions,
    policy: str,
    objective: str,
    progress: Progress,
) -> Iterator[Schedule]:
    """Schedules of which one may be the best.

    The best of each additive cost, under the policy.  Where time counts, also those of the policies
    within it, and of smaller memories: their tiles are smaller, and what fills and drains takes
    less.  Raises DoesNotFitError where there is none.
    """
    known = rates(graph, hardware)
    costs = OBJECTIVES[objective](known)
    if objective == "energy" and not (known.static_watt or hardware.energy.idle_pj_per_mac):
        for each in costs:
            yield schedule_network(graph, memory, policy, progress, objective=each)
        return
    for within in POLICIES[: POLICIES.index(policy) + 1]:
        for cost in costs if within == policy else costs[-1:]:
            curve = budget_curve(graph, memory, within, progress, cost)
            if within == policy:
                yield schedule_on(curve, graph, memory)
            heights = [point.local_bytes for point in curve.points]
            fitting = [height for height in heights if height <= memory.capacity_bytes]
            if len(fitting) > _MOST_POINTS:  # by even steps of the logarithm
                ratios = np.geomspace(fitting[0], fitting[-1], _MOST_POINTS)
                fitting = sorted({fitting[bisect_right(fitting, each) - 1] for each in ratios})
            for height in fitting:
                schedule = curve.schedule(height)
                if schedule is not None:
                    yield replace(schedule, memory=memory)


def schedules_down(
    graph: NetworkGraph,
    memory: MemoryOptions,
    policy: str,
    progress: Progress,
    demand: Demand | None = None,
) -> Iterator[Schedule]:
    """The schedules of a curve that fit a memory, from the best on: each needs less memory, and
    moves more.  Raises DoesNotFitError where there is none."""
    curve = budget_curve(graph, memory, policy, progress, demand=demand)
    schedule: Schedule | None = schedule_on(curve, graph, memory)
    while schedule is not None:
        yield replace(schedule, memory=memory)
        schedule = curve.schedule(schedule.local_bytes - 1)


def exactly_chosen(
    graph: NetworkGraph,
    memory: MemoryOptions,
    policy: str,
    frames: int,
    objective: str,
    work: float,
    progress: Progress,
) -> tuple[FrameSchedules, ExactResult]:
    """The schedule of a run of one frame by the exact search, with what is proved of it.

    Raises InputError for several frames, or another objective than DRAM bytes; else as
    `schedule_exactly`.
    """
    check_work(policy, work)
    if (frames, objective) != (1, "dram"):
        asked = f"--frames {frames}" if frames != 1 else f"--objective {objective}"
        raise InputError(f"--exact goes with one frame and --objective dram, not with {asked}")
    schedule, proof = schedule_exactly(graph, memory, policy, work, progress)
    return FrameSchedules(schedule, schedule), proof
