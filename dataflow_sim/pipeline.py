"""The one file that names every stage: from a network and a machine to a RunResult."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice

from dataflow_sim.banking import banked_schedule, check_alone
from dataflow_sim.choosing import chosen_schedules, exactly_chosen
from dataflow_sim.energy.model import (
    LayerCounts,
    add_up,
    group_latencies,
    layer_energy,
    layer_time,
)
from dataflow_sim.errors import InputError
from dataflow_sim.graph.analyses import (
    layer_macs,
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
    load_network,
    memory_options,
    named_file,
    prepare,
)
from dataflow_sim.program.instructions import Program
from dataflow_sim.proof import MAXIMUM_COUNTED_STEPS, Counts, counts_of
from dataflow_sim.results import (
    CurvePoint,
    CurveResult,
    DramTraffic,
    EnergyBreakdown,
    FramesResult,
    GroupResult,
    LayerResult,
    RunResult,
)
from dataflow_sim.results_of_exact import ExactResult
from dataflow_sim.schedule.bounds import compulsory_bytes, layer_bound_bytes
from dataflow_sim.schedule.check import check_schedule
from dataflow_sim.schedule.demands import GroupWords
from dataflow_sim.schedule.frames import FrameSchedules, check_frames
from dataflow_sim.schedule.residents import held_in
from dataflow_sim.schedule.search import budget_curve
from dataflow_sim.schedule.types import Group, LayerTiling, Schedule

__all__ = [
    "GroupWords",
    "ReadRequest",
    "RunOptions",
    "catalogue",
    "check_frames",
    "curve",
    "is_built_in",
    "load_network",
    "memory_options",
    "named_file",
    "prepare",
    "run",
]

Progress = Callable[[str, int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """Say nothing."""


def _group_layers(
    graph: NetworkGraph,
    hardware: Hardware,
    number: int,
    group: Group,
    counts: tuple[LayerCounts, ...],
    held_bytes: int,
) -> list[LayerResult]:
    """The layers of one group."""
    times = [layer_time(hardware, each) for each in counts]
    # the bound is of all that is held on chip, wherever it lies
    capacity = hardware.local_memory.capacity_bytes
    capacity += hardware.compute.accumulator_memory_bytes or 0
    found = []
    for layer, chosen, own, time, latency_s in zip(
        (graph.layers[index] for index in group.members),
        group.layers,
        counts,
        times,
        group_latencies(times),
        strict=True,
    ):
        tiling = asdict(chosen.tiling)
        steps = tiling.pop("steps")
        found.append(
            LayerResult(
                name=layer.name,
                op=layer.op,
                kind=layer.kind.value,
                output_shape=layer.output_shape,
                macs=layer_macs(layer),
                group=number,
                macs_executed=own.macs_executed,
                steps=steps,
                traffic=own.traffic,
                lower_bound_bytes=layer_bound_bytes(graph, layer, capacity),
                local_bytes=group.local_bytes + held_bytes,
                energy=layer_energy(hardware, graph, layer, own, latency_s),
                latency_s=latency_s,
                limited_by=time.limited_by,
                tiling=tiling,
            )
        )
    return found


def _group_result(group: Group, held_bytes: int, standing: frozenset[str]) -> GroupResult:
    return GroupResult(
        layers=tuple(layer.layer for layer in group.layers),
        merged=group.merged,
        stripe_rows=group.stripe_rows,
        streamed_kernels=tuple(
            layer.layer
            for layer in group.layers
            if not isinstance(layer.tiling, LayerTiling) and layer.tiling.streamed
        ),
        resident=tuple(sorted(group.resident - standing)),
        local_bytes=group.local_bytes,
        resident_bytes=held_bytes,
        tile=group.tile,
        halos={name: halo.value for name, halo in group.halos},
        handover=group.hands and (group.hands.taken, group.hands.made, group.hands.distance_bytes),
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """One frame, proved and priced: layers in the network's order, groups in the schedule's."""

    counts: Counts
    layers: tuple[LayerResult, ...]
    groups: tuple[GroupResult, ...]

    @property
    def energy(self) -> EnergyBreakdown:
        return add_up([layer.energy for layer in self.layers])

    @property
    def latency_s(self) -> float:
        return sum(layer.latency_s for layer in self.layers)


def _frame(
    graph: NetworkGraph,
    hardware: Hardware,
    schedule: Schedule,
    progress: Progress,
    program: Program | None = None,
) -> _Frame:
    check_schedule(graph, schedule)
    counts = counts_of(graph, schedule, progress, program)
    maps = [home for home in schedule.residents if home.tensors[0] not in schedule.standing]
    standing_bytes = sum(home.size_bytes for home in schedule.residents if home not in maps)
    held = held_in(schedule, maps)
    own = iter(counts.layers)
    found: dict[int, LayerResult] = {}
    for number, group in enumerate(schedule.groups):
        mine = tuple(islice(own, len(group.members)))
        beside = held[number] + standing_bytes
        made = _group_layers(graph, hardware, number, group, mine, beside)
        found.update(zip(group.members, made, strict=True))
    layers = tuple(found[index] for index in range(len(graph.layers)))
    groups = zip(schedule.groups, held, strict=True)
    return _Frame(counts, layers, tuple(_group_result(*each, schedule.standing) for each in groups))


def _frames_result(frames: int, found: FrameSchedules, cold: _Frame, warm: _Frame) -> FramesResult:
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
    graph: NetworkGraph, hardware: Hardware, options: RunOptions, progress: Progress
) -> Chosen:
    """What a prepared network's frames run.

    Raises InputError, and DoesNotFitError or NoBanksError.
    """
    memory = memory_options(hardware)
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
        return Chosen(chosen_schedules(graph, hardware, memory, *choice, scheduling, demand))
    if demand is not None:
        raise InputError("--exact proves free schedules; leave --force-group out")
    return Chosen(*exactly_chosen(graph, memory, *choice, options.exact_seconds, scheduling))


def run(
    graph: NetworkGraph,
    hardware: Hardware,
    options: RunOptions | None = None,
    progress: Progress = no_progress,
) -> RunResult:
    """Schedule, prove and price a network on a machine.

    Raises InputError, DoesNotFitError, and ScheduleError or ProgramError when a proof
    fails, which is a defect.
    """
    options = options or RunOptions()
    graph = prepare(graph, hardware, options)
    memory = memory_options(hardware)
    chosen = choose(graph, hardware, options, progress)
    found = chosen.frames
    cold = _frame(graph, hardware, found.cold, progress, chosen.program)
    warm = cold if found.warm is found.cold else _frame(graph, hardware, found.warm, progress)
    counts, layers = cold.counts, cold.layers
    fps = options.frames_per_second
    warnings = graph.warnings
    steps = found.cold.steps
    if not counts.counted:
        warnings += (
            f"closed form only: the program would take {steps:,} steps, more than "
            f"{MAXIMUM_COUNTED_STEPS:,} are not counted one by one",
        )
    return RunResult(
        network=graph.name,
        part=graph.part,
        hardware=hardware.name,
        overrides=hardware.overrides,
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
        required_gb_s=None if fps is None else warm.counts.traffic.total_bytes * fps / 1e9,
        frames=_frames_result(options.frames, found, cold, warm),
        steps=steps,
        counted=counts.counted,
        layers=layers,
        groups=cold.groups,
        buffers=counts.buffers,
        thinned=found.cold.thinned,
        warnings=warnings,
        exact=chosen.exact,
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
    options = options or RunOptions()
    if hardware.local_memory.banks > 1:
        raise InputError(
            "local_memory.banks: a curve is of a memory of one bank; use `run` for single sizes, "
            "or --set local_memory.banks=1"
        )
    graph = prepare(graph, hardware, options)
    memory = memory_options(hardware)
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
    return CurveResult(
        network=graph.name,
        part=graph.part,
        hardware=hardware.name,
        overrides=hardware.overrides,
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
