"""The one file that names every stage: from a network and a machine to a RunResult."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

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
from dataflow_sim.graph.part import part_of
from dataflow_sim.graph.passes import Precision, assign_precision, drop_vectors
from dataflow_sim.graph.pooling import Pooler, place_pooling
from dataflow_sim.hardware import Hardware
from dataflow_sim.ingest import ReadRequest, catalogue, graph_from_model, read_network
from dataflow_sim.networks import build_network, is_built_in
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
from dataflow_sim.schedule.demands import NOTHING, Demand, GroupWords, demand_of
from dataflow_sim.schedule.frames import FrameSchedules, check_frames
from dataflow_sim.schedule.residents import held_in
from dataflow_sim.schedule.search import budget_curve
from dataflow_sim.schedule.types import Buffering, Group, LayerTiling, MemoryOptions, Schedule

__all__ = [
    "GroupWords",
    "ReadRequest",
    "RunOptions",
    "catalogue",
    "check_frames",
    "curve",
    "is_built_in",
    "load_network",
    "run",
]

_LONGEST_NAME = 250  # file systems take 255 bytes for a name

Progress = Callable[[str, int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a user may choose beside network and hardware.

    Widths of None leave the hardware's precision, and what a quantised file states, alone.
    `frames` run one after the other; weights may stay from one to the next.  `objective` is what
    the schedule is the best in: `dram` bytes, `energy`, `latency` or `energy-delay`.  `layers` is
    the part of the network that runs, `FIRST:LAST` by name or number, None for all of it;
    `group` is what is demanded of a merged group.  With `exact_seconds` an exact search follows
    the fast one and works for about so long.
    """

    policy: str = "layerwise"
    weight_bits: int | None = None
    activation_bits: int | None = None
    frames_per_second: float | None = None
    frames: int = 1
    objective: str = "dram"
    layers: str | None = None
    group: GroupWords = NOTHING
    exact_seconds: float | None = None


def named_file(name_or_path: str) -> Path | None:
    """The path of a network's file, None of a built-in name.  Raises InputError for neither."""
    path = Path(name_or_path)
    if not 0 < len(name_or_path.strip()) <= _LONGEST_NAME:
        raise InputError(f"'{name_or_path[:60]}' is no network; give an .onnx file or a name")
    if is_built_in(name_or_path) or not (path.suffix or len(path.parts) > 1 or path.exists()):
        return None
    return path


def load_network(name_or_path: str, request: ReadRequest | None = None) -> NetworkGraph:
    """Read an ONNX file, or build a network by name.  Raises NetworkError."""
    path = named_file(name_or_path)
    if path is None:
        return graph_from_model(build_network(name_or_path), name_or_path, request)
    return read_network(path, request)


def prepare(graph: NetworkGraph, hardware: Hardware, options: RunOptions) -> NetworkGraph:
    """The network as the hardware runs it: poolings where they are done, of these layers the part
    asked for, widths assigned, biases left out where uncounted."""
    for name, bits in (("weight", options.weight_bits), ("activation", options.activation_bits)):
        if bits is not None and not 1 <= bits <= 64:
            raise InputError(f"--{name}-bits is {bits}; a width is 1 to 64 bits")
    precision = Precision(
        weight_bits=options.weight_bits or hardware.precision.weights,
        activation_bits=options.activation_bits or hardware.precision.activations,
        accumulator_bits=hardware.compute.accumulator_bits,
        force_weights=options.weight_bits is not None,
        force_activations=options.activation_bits is not None,
        local_weight_bits=hardware.precision.local_weights,
    )
    graph = place_pooling(graph, Pooler(hardware.pooling))
    if options.layers is not None:
        graph = part_of(graph, options.layers)
    graph = assign_precision(graph, precision)
    return graph if hardware.count_biases else drop_vectors(graph)


def memory_options(hardware: Hardware) -> MemoryOptions:
    """What the scheduler needs to know of the hardware."""
    return MemoryOptions(
        capacity_bytes=hardware.local_memory.capacity_bytes,
        doubled=Buffering(**hardware.local_memory.double_buffer.model_dump()),
        accumulator_bits=hardware.compute.accumulator_bits,
        accumulator_capacity_bytes=hardware.compute.accumulator_memory_bytes,
        alignment_bytes=hardware.local_memory.alignment_bytes,
    )


def _demand(graph: NetworkGraph, memory: MemoryOptions, options: RunOptions) -> Demand | None:
    """What is demanded of a merged group, if anything is.  Raises InputError."""
    if options.group.group is not None and options.policy != "merged":
        raise InputError(f"--force-group goes with --policy merged, not with '{options.policy}'")
    return demand_of(graph, memory, options.group)


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
    graph: NetworkGraph, hardware: Hardware, schedule: Schedule, progress: Progress
) -> _Frame:
    check_schedule(graph, schedule)
    counts = counts_of(graph, schedule, progress)
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


def choose(
    graph: NetworkGraph,
    hardware: Hardware,
    options: RunOptions,
    progress: Callable[[int, int], None],
) -> tuple[FrameSchedules, ExactResult | None]:
    """The schedules of a prepared network's frames, and what an exact search proved of them.

    Raises InputError and DoesNotFitError.
    """
    memory = memory_options(hardware)
    choice = (options.policy, options.frames, options.objective)
    demand = _demand(graph, memory, options)
    if options.exact_seconds is None:
        return chosen_schedules(graph, hardware, memory, *choice, progress, demand), None
    if demand is not None:
        raise InputError("--exact proves free schedules; leave --force-group out")
    return exactly_chosen(graph, memory, *choice, options.exact_seconds, progress)


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
    found, exact = choose(graph, hardware, options, partial(progress, "scheduling"))
    cold = _frame(graph, hardware, found.cold, progress)
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
        exact=exact,
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
    graph = prepare(graph, hardware, options)
    memory = memory_options(hardware)
    demand = _demand(graph, memory, options)
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
