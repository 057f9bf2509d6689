"""Which schedule a run takes: the best under its objective, priced as the result will be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from dataflow_sim.energy.compute import layer_compute
from dataflow_sim.energy.model import add_up, price_group
from dataflow_sim.errors import InputError
from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware
from dataflow_sim.proof import counts_of_estimate
from dataflow_sim.results_of_exact import ExactResult
from dataflow_sim.schedule.demands import Demand
from dataflow_sim.schedule.exact import check_work, schedule_exactly
from dataflow_sim.schedule.frames import FrameSchedules, schedule_frames
from dataflow_sim.schedule.objectives import OBJECTIVES, Rates
from dataflow_sim.schedule.search import budget_curve, schedule_network, schedule_on
from dataflow_sim.schedule.types import MemoryOptions, Schedule

Progress = Callable[[int, int], None]


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
    counts = iter(counts_of_estimate(graph, hardware, schedule).layers)
    found = []
    for group in schedule.groups:
        mine = [next(counts) for _ in group.members]
        found += price_group(hardware, graph, [graph.layers[i] for i in group.members], mine)
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
) -> FrameSchedules:
    """The schedules of a run's frames, with what is demanded of a merged group.

    Raises InputError for an unknown objective, and for several frames under another than
    DRAM bytes; else as `schedule_frames`.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"unknown objective '{objective}'; there are {', '.join(OBJECTIVES)}")
    if demand is not None:
        if objective != "dram" or frames > 1:
            raise InputError("--force-group goes with one frame and --objective dram")
        curve = budget_curve(graph, memory, policy, progress, demand=demand)
        alone = schedule_on(curve, graph, memory)
        return FrameSchedules(alone, alone)
    if objective == "dram":
        return schedule_frames(graph, memory, policy, frames, progress)
    if frames > 1:
        raise InputError(f"--frames {frames} goes with --objective dram, not with '{objective}'")
    worth: dict[str, Callable[[float, float], float]] = {
        "energy": lambda energy, latency: energy,
        "latency": lambda energy, latency: latency,
        "energy-delay": lambda energy, latency: energy * latency,
        "edp": lambda energy, latency: energy * latency,
    }
    found: list[tuple[float, int, int, Schedule]] = []
    for each in OBJECTIVES[objective](rates(graph, hardware)):
        schedule = schedule_network(graph, memory, policy, progress, objective=each)
        cost = worth[objective](*price(graph, hardware, schedule))
        moved = sum(schedule.traffic_bytes().values())
        found.append((cost, moved, len(found), schedule))
    best = min(found, key=lambda one: one[:3])[3]
    return FrameSchedules(best, best)


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
