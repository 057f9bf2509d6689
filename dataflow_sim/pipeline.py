"""The one file that names every stage: from a network and a machine to a RunResult."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from dataflow_sim.banking import banked_schedule, check_alone
from dataflow_sim.choosing import chosen_schedules, exactly_chosen, with_layout
from dataflow_sim.dram_result import dram_result
from dataflow_sim.errors import InputError
from dataflow_sim.graph.analyses import (
    layer_macs_without_padding,
    live_peak_bytes,
    widths,
)
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware
from dataflow_sim.ingest import ReadRequest, catalogue
from dataflow_sim.networks import is_built_in
from dataflow_sim.preparation import (
    RunOptions,
    demanded,
    external_files,
    load_network,
    memory_options,
    named_file,
    prepare,
)
from dataflow_sim.priced import Frame, frame_of, system_cache_result
from dataflow_sim.program.instructions import Program
from dataflow_sim.proof import MAXIMUM_COUNTED_STEPS
from dataflow_sim.results import FramesResult, LayerResult, RunResult
from dataflow_sim.results_of_costs import WEIGHTS, DramTraffic
from dataflow_sim.results_of_curves import CurvePoint, CurveResult
from dataflow_sim.results_of_exact import ExactResult
from dataflow_sim.results_of_timeline import TimelineResult
from dataflow_sim.results_of_what_ifs import WhatIfResult
from dataflow_sim.schedule.bounds import compulsory_bytes
from dataflow_sim.schedule.check import check_schedule
from dataflow_sim.schedule.demands import GroupWords
from dataflow_sim.schedule.frames import FrameSchedules, check_frames
from dataflow_sim.schedule.search import Curve, budget_curve
from dataflow_sim.timelines import timeline_result
from dataflow_sim.timing import follow, time_on
from dataflow_sim.whatif import Plan
from dataflow_sim.whatif import parse as parse_what_ifs

__all__ = [
    "GroupWords",
    "Plan",
    "ReadRequest",
    "RunOptions",
    "SearchedCurve",
    "catalogue",
    "check_frames",
    "compulsory_bytes",
    "curve",
    "external_files",
    "is_built_in",
    "load_network",
    "memory_options",
    "named_file",
    "parse_what_ifs",
    "prepare",
    "run",
    "what_if_results",
]

Progress = Callable[[str, int, int], None]
MOST_IN_FLIGHT = 2  # steps and transfers keep their order: a third frame never begins beside two
_FRAMES_TIMED = 5  # of which the last but one has neighbours on both sides, as all that follow


def no_progress(stage: str, done: int, total: int) -> None:
    """Say nothing."""


def what_if_results(graph: NetworkGraph) -> tuple[WhatIfResult, ...]:
    """The what-ifs that a network went through."""
    return tuple(WhatIfResult(each.text, each.effects) for each in graph.changes)


def _frames_result(frames: int, found: FrameSchedules, cold: Frame, warm: Frame) -> FramesResult:
    standing = [home for home in found.warm.residents if home.tensors[0] in found.warm.standing]
    return FramesResult(
        frames=frames,
        cold_bytes=cold.counts.traffic.total_bytes,
        warm=warm.counts.traffic,
        warm_energy=warm.energy,
        warm_latency_s=warm.latency_s,
        resident_weights=tuple(sorted(found.warm.standing)),
        resident_weight_bytes=sum(home.size_bytes for home in standing),
    )


def dram_bytes(hardware: Hardware, traffic: DramTraffic) -> int:
    """What of a traffic is DRAM's, where weights may have a flash of their own."""
    return traffic.total_bytes - (traffic.of(*WEIGHTS) if hardware.flash is not None else 0)


def _timeline(
    graph: NetworkGraph, hardware: Hardware, options: RunOptions, cold: Frame, warm: Frame
) -> TimelineResult | None:
    """What the timeline tells, None where a program was not lowered.

    Of two frames in flight several are timed, one behind the other.
    """
    programs = [frame.counts.program for frame in (cold, warm)]
    if cold.timed is None or programs[0] is None or programs[1] is None:
        return None
    several = None
    if options.in_flight > 1:
        queue = [programs[0], *([programs[1]] * (_FRAMES_TIMED - 1))]
        several = time_on(follow(graph, hardware, queue, cold.counts.held), hardware)
    return timeline_result(
        cold.timed,
        hardware,
        cold.closed_form_latency_s,
        [dram_bytes(hardware, layer.traffic) for layer in cold.layers],
        in_flight=options.in_flight,
        lasting=warm.timed,
        frames=several,
        rate=options.frames_per_second,
    )


def _bound_bytes(graph: NetworkGraph, policy: str, layers: tuple[LayerResult, ...]) -> int:
    """The bound that the gap is against: layer by layer, or of the whole network."""
    if policy == "layerwise":
        return sum(layer.lower_bound_bytes for layer in layers)
    return compulsory_bytes(graph)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The schedules of a run's frames, what an exact search proved of them, and the program where
    it has addresses of its own."""

    frames: FrameSchedules
    exact: ExactResult | None = None
    program: Program | None = None


def choose(
    graph: NetworkGraph,
    hardware: Hardware,
    options: RunOptions,
    progress: Progress,
    known: Curve | None = None,
) -> Chosen:
    """What a prepared network's frames run; under DRAM bytes the policy's curve may be known.

    Raises InputError, and DoesNotFitError or NoBanksError.
    """
    memory = memory_options(hardware, graph.byte_bits)
    choice = (options.policy, options.frames, options.objective)
    demand = demanded(graph, memory, options)
    scheduling = partial(progress, "scheduling")
    bank_bytes = hardware.local_memory.bank_bytes
    if bank_bytes is not None:
        check_alone(options.frames, options.objective, options.exact_seconds is not None)
        schedule, program = banked_schedule(
            graph, memory, options.policy, bank_bytes, progress, demand
        )
        return Chosen(FrameSchedules(schedule, schedule), program=program)
    if options.exact_seconds is None:
        return Chosen(chosen_schedules(graph, hardware, memory, *choice, scheduling, demand, known))
    if demand is not None:
        raise InputError("--exact proves free schedules; leave --force-group out")
    return Chosen(*exactly_chosen(graph, memory, *choice, options.exact_seconds, scheduling))


@dataclass(frozen=True, slots=True)
class FullRun:
    """A run with what it was made of: the network as the machine runs it, its first frame and one
    of those that follow."""

    graph: NetworkGraph
    cold: Frame
    warm: Frame
    result: RunResult


def run(
    graph: NetworkGraph,
    hardware: Hardware,
    options: RunOptions | None = None,
    progress: Progress = no_progress,
) -> RunResult:
    """Schedule, prove, time and price a network on a machine.

    Raises InputError, DoesNotFitError, and ScheduleError or ProgramError when a proof
    fails, which is a defect.
    """
    return run_in_full(graph, hardware, options or RunOptions(), progress).result


def run_in_full(
    graph: NetworkGraph,
    hardware: Hardware,
    options: RunOptions,
    progress: Progress = no_progress,
    known: SearchedCurve | None = None,
) -> FullRun:
    """As `run`, with what the result was made of; under DRAM bytes the curve of the policy on this
    machine, whatever its memory, may be known."""
    check_in_flight(options.in_flight)
    graph = prepare(graph, hardware, options)
    chosen = choose(graph, hardware, options, progress, None if known is None else known.curve)
    found = chosen.frames
    hardware = with_layout(graph, hardware, found.cold, options.objective)
    cold = frame_of(graph, hardware, found.cold, progress, chosen.program)
    warm = cold if found.warm is found.cold else frame_of(graph, hardware, found.warm, progress)
    return FullRun(graph, cold, warm, _result(graph, hardware, options, chosen, cold, warm))


def check_in_flight(in_flight: int) -> None:
    """Raise InputError for a number of frames that are never under way."""
    if not 1 <= in_flight <= MOST_IN_FLIGHT:
        raise InputError(
            f"--in-flight is {in_flight}; give 1 or {MOST_IN_FLIGHT}: steps and transfers keep "
            "their order, so that no third frame is ever under way"
        )


def _warnings(graph: NetworkGraph, hardware: Hardware, cold: Frame) -> tuple[str, ...]:
    warnings, steps = graph.warnings, cold.schedule.steps
    if not cold.counts.counted:
        warnings += (
            f"closed form only: the program would take {steps:,} steps, more than "
            f"{MAXIMUM_COUNTED_STEPS:,} are not counted one by one, nor timed",
        )
        if hardware.dram.granule_bytes > 1 or hardware.dma.setup_s:
            warnings += ("its transfers are not counted: no burst padding, no set-up of transfers",)
    if cold.too_long:
        warnings += (f"latency of the closed form only: {cold.too_long}",)
    return warnings


def _result(
    graph: NetworkGraph,
    hardware: Hardware,
    options: RunOptions,
    chosen: Chosen,
    cold: Frame,
    warm: Frame,
) -> RunResult:
    memory = memory_options(hardware, graph.byte_bits)
    found, counts, layers = chosen.frames, cold.counts, cold.layers
    fps = options.frames_per_second
    return RunResult(
        network=graph.name,
        part=graph.part,
        hardware=hardware.name,
        overrides=hardware.overrides,
        machine=hardware.to_json(),
        policy=options.policy,
        objective=options.objective,
        macs=sum(layer.macs for layer in layers),
        macs_executed=sum(layer.macs_executed for layer in layers),
        macs_without_padding=sum(layer_macs_without_padding(layer) for layer in graph.layers),
        parameters=graph.parameters,
        traffic=counts.traffic,
        compulsory_bytes=compulsory_bytes(graph),
        lower_bound_bytes=_bound_bytes(graph, options.policy, layers),
        capacity_bytes=memory.capacity_bytes,
        peak_bytes=counts.peak_bytes,
        buffers_peak_bytes=counts.live_bytes,
        live_peak_bytes=live_peak_bytes(graph),
        accumulator_capacity_bytes=memory.accumulator_capacity_bytes or 0,
        accumulator_peak_bytes=counts.accumulator_peak_bytes,
        energy=cold.energy,
        latency_s=cold.latency_s,
        price_range=cold.price_range,
        system_cache=system_cache_result(hardware, cold.counts),
        what_ifs=what_if_results(graph),
        required_gb_s=None if fps is None else warm.counts.traffic.total_bytes * fps / 1e9,
        frames=_frames_result(options.frames, found, cold, warm),
        steps=found.cold.steps,
        counted=counts.counted,
        layers=layers,
        groups=cold.groups,
        buffers=counts.buffers,
        thinned=found.cold.thinned,
        warnings=_warnings(graph, hardware, cold),
        exact=chosen.exact,
        timeline=_timeline(graph, hardware, options, cold, warm),
        dram_delivery=dram_result(cold.timed, hardware, counts.program, cold.energy),
    )


def curve(
    graph: NetworkGraph,
    hardware: Hardware,
    options: RunOptions | None = None,
    progress: Progress = no_progress,
) -> CurveResult:
    """The budget curve of a network on a machine, whatever its local memory.

    Raises InputError, and ScheduleError when a point breaks a rule, which is a defect.
    """
    return searched_curve(graph, hardware, options or RunOptions(), progress).result


@dataclass(frozen=True, slots=True)
class SearchedCurve:
    """A budget curve with its schedules, and what is told of it."""

    curve: Curve
    result: CurveResult


def searched_curve(
    graph: NetworkGraph, hardware: Hardware, options: RunOptions, progress: Progress = no_progress
) -> SearchedCurve:
    """As `curve`, with the schedules."""
    if hardware.local_memory.banks > 1:
        raise InputError(
            "local_memory.banks: a curve is of a memory of one bank; use `run` for single sizes, "
            "or --set local_memory.banks=1"
        )
    graph = prepare(graph, hardware, options)
    memory = memory_options(hardware, graph.byte_bits)
    demand = demanded(graph, memory, options)
    searching = partial(progress, "searching")
    found = budget_curve(graph, memory, options.policy, searching, demand=demand)
    sound: set[int] = set()
    # points of one plan differ in the tilings of single layers; a run checks its own point
    first = {point.plan: point for point in reversed(found.points)}
    for point in reversed(first.values()):
        memory_there = replace(point.schedule.memory, capacity_bytes=point.local_bytes)
        check_schedule(graph, replace(point.schedule, memory=memory_there), sound)
    weight_bits, activation_bits = widths(graph)
    result = CurveResult(
        network=graph.name,
        part=graph.part,
        hardware=hardware.name,
        overrides=hardware.overrides,
        what_ifs=what_if_results(graph),
        policy=options.policy,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        compulsory_bytes=compulsory_bytes(graph),
        capacity_bytes=memory.capacity_bytes,
        points=tuple(
            CurvePoint(point.local_bytes, DramTraffic(point.traffic)) for point in found.points
        ),
        thinned=found.thinned,
        warnings=graph.warnings,
    )
    return SearchedCurve(found, result)
