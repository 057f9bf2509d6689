"""One frame of a schedule: proved, then priced, at each end of the machine's figures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice

from dataflow_sim.energy.model import LayerPrice, add_up, price_layer
from dataflow_sim.errors import TooLongError
from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware, HardwareFile
from dataflow_sim.program.instructions import Program
from dataflow_sim.proof import Counts, closed_form_prices, counts_of
from dataflow_sim.results import GroupResult, LayerResult, PriceRange, SystemCacheResult
from dataflow_sim.results_of_costs import EnergyBreakdown
from dataflow_sim.schedule.bounds import layer_bound_bytes
from dataflow_sim.schedule.check import check_schedule
from dataflow_sim.schedule.residents import held_in
from dataflow_sim.schedule.types import Group, LayerTiling, Schedule
from dataflow_sim.timelines import layer_spans
from dataflow_sim.timing import Followed, Timed, follow, seconds, time_on

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, proved and priced: layers in the network's order, groups in the schedule's.

    `price_range` has what it costs with all figures that are ranges at their better, and at their
    worse end; None where none is.  `timed` is its timeline, None where it was not lowered, or takes
    too long, as `too_long` then says; `closed_form_latency_s` what the search reckons with.
    """

    schedule: Schedule
    counts: Counts
    layers: tuple[LayerResult, ...]
    groups: tuple[GroupResult, ...]
    price_range: PriceRange | None
    timed: Timed | None
    closed_form_latency_s: float
    too_long: str = ""

    @property
    def energy(self) -> EnergyBreakdown:
        """That of all layers."""
        return add_up([layer.energy for layer in self.layers])

    @property
    def latency_s(self) -> float:
        """That of the timeline, or of all layers, which are each other's turns."""
        if self.timed is not None:
            return seconds(self.timed.timeline.latency)
        return self.closed_form_latency_s


def _timed_prices(
    timed: Timed, machine: HardwareFile, schedule: Schedule, counts: Counts
) -> list[LayerPrice]:
    """The price of each layer over the timeline, in the order in which they run."""
    graph, spans = timed.followed.graph, layer_spans(timed)
    found = []
    for index, own in zip(schedule.order, counts.layers, strict=True):
        span = spans[index]
        used = span.at_peak / span.compute if span.compute else None
        limits = (seconds(span.latency), span.limited_by, used)
        found.append(price_layer(machine, graph, graph.layers[index], own, *limits))
    return found


def prices_on(
    graph: NetworkGraph,
    machine: HardwareFile,
    schedule: Schedule,
    counts: Counts,
    followed: Followed | None,
) -> tuple[EnergyBreakdown, float]:
    """Energy and latency on a machine of the same memories."""
    timed = None
    if followed is not None:
        with suppress(TooLongError):
            timed = time_on(followed, machine)
    if timed is not None:
        priced = _timed_prices(timed, machine, schedule, counts)
        latency_s = seconds(timed.timeline.latency)
    else:
        priced = closed_form_prices(graph, machine, schedule, counts)
        latency_s = sum(each.latency_s for each in priced)
    prices = dict(zip(schedule.order, priced, strict=True))
    ordered = [prices[index] for index in range(len(graph.layers))]
    return add_up([each.energy for each in ordered]), latency_s


def _price_range(
    graph: NetworkGraph,
    hardware: Hardware,
    schedule: Schedule,
    counts: Counts,
    followed: Followed | None,
) -> PriceRange | None:
    if hardware.better is None or hardware.worse is None:
        return None
    machines: list[HardwareFile] = [hardware.better, hardware.worse]
    idles = hardware.energy.idle_pj_per_mac > 0
    if idles:  # a quicker clock has more cycles to idle in
        machines.insert(1, hardware)
    found = [prices_on(graph, machine, schedule, counts, followed) for machine in machines]
    energies = [energy for energy, _ in found]
    if idles:
        energies.sort(key=lambda energy: energy.total_pj)
    return PriceRange(energy=(energies[0], energies[-1]), latency_s=(found[0][1], found[-1][1]))


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


def system_cache_result(hardware: Hardware, counts: Counts) -> SystemCacheResult | None:
    """What a system cache does, where there is one."""
    if hardware.system_cache is None or counts.cached is None:
        return None
    return SystemCacheResult(
        capacity_bytes=hardware.system_cache.capacity_bytes,
        peak_bytes=counts.held.peak_bytes,
        tensors=tuple(sorted(counts.held.tensors)),
        traffic=counts.cached,
    )


def frame_of(
    graph: NetworkGraph,
    hardware: Hardware,
    schedule: Schedule,
    progress: Progress,
    program: Program | None = None,
) -> Frame:
    """Check a schedule, count its program, time it, and price what it does.

    Raises ScheduleError or ProgramError where a proof fails, which is a defect.
    """
    check_schedule(graph, schedule)
    counts = counts_of(graph, hardware, schedule, progress, program)
    maps = [home for home in schedule.residents if home.tensors[0] not in schedule.standing]
    standing_bytes = sum(home.size_bytes for home in schedule.residents if home not in maps)
    held = held_in(schedule, maps)
    # the bound is of all that is held on chip, wherever it lies
    capacity = hardware.local_memory.capacity_bytes
    capacity += hardware.compute.accumulator_memory_bytes or 0
    prices = closed_form_prices(graph, hardware, schedule, counts)
    closed_form_latency_s = sum(each.latency_s for each in prices)
    followed = timed = None
    too_long = ""
    if counts.program is not None:
        try:
            followed = follow(graph, hardware, [counts.program], counts.held)
            timed = time_on(followed, hardware)
            prices = _timed_prices(timed, hardware, schedule, counts)
        except TooLongError as error:
            followed, too_long = None, str(error)
    own = zip(schedule.order, schedule.layers, counts.layers, prices, strict=True)
    found: dict[int, LayerResult] = {}
    for number, group in enumerate(schedule.groups):
        beside = held[number] + standing_bytes
        for index, chosen, counted, price in islice(own, len(group.members)):
            layer, tiling = graph.layers[index], asdict(chosen.tiling)
            found[index] = LayerResult(
                name=layer.name,
                op=layer.op,
                kind=layer.kind.value,
                output_shape=layer.output_shape,
                macs=layer_macs(layer),
                group=number,
                macs_executed=price.macs_executed,
                steps=tiling.pop("steps"),
                traffic=counted.traffic,
                lower_bound_bytes=layer_bound_bytes(graph, layer, capacity),
                local_bytes=group.local_bytes + beside,
                energy=price.energy,
                latency_s=price.latency_s,
                limited_by=price.limited_by,
                utilisation=price.utilisation,
                tiling=tiling,
            )
    groups = zip(schedule.groups, held, strict=True)
    return Frame(
        schedule=schedule,
        counts=counts,
        layers=tuple(found[index] for index in range(len(graph.layers))),
        groups=tuple(_group_result(*each, schedule.standing) for each in groups),
        price_range=_price_range(graph, hardware, schedule, counts, followed),
        timed=timed,
        closed_form_latency_s=closed_form_latency_s,
        too_long=too_long,
    )
