"""A run over time in full: roofline, series, buffers, events, and what more of a resource buys.

Bandwidth, MACs and clock are changed on the same program, which is timed again; memory, and under
an objective that time or energy enter all of them, by choosing schedules anew.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from dataflow_sim.errors import DoesNotFitError, InputError, TooLongError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import RESOURCES, Hardware, scaled
from dataflow_sim.pipeline import (
    FullRun,
    Progress,
    RunOptions,
    SearchedCurve,
    dram_bytes,
    no_progress,
    run_in_full,
)
from dataflow_sim.priced import prices_on
from dataflow_sim.proof import MAXIMUM_COUNTED_STEPS
from dataflow_sim.request_streams import check_channels, streams
from dataflow_sim.results_of_time_study import (
    Roofline,
    RooflinePoint,
    Sensitivity,
    Series,
    StepEvent,
    TimedStay,
    TimeStudy,
    TransferEvent,
)
from dataflow_sim.simulate.stays import Stay, stays
from dataflow_sim.simulate.waits import STEP_CAUSES
from dataflow_sim.timelines import bytes_per_second, windows
from dataflow_sim.timing import BUSES, Timed, seconds

FACTORS = (Fraction(1, 2), Fraction(2))
_FS_PER_NS = 10**6


def study(
    graph: NetworkGraph,
    hardware: Hardware,
    options: RunOptions | None = None,
    progress: Progress = no_progress,
    *,
    sensitivity: bool = False,
    requests: bool = False,
) -> TimeStudy:
    """Run a network on a machine, and look at its first frame over time; with `requests` also at
    what DRAM is asked for.

    Raises InputError where the program takes too many steps to be timed, and for requests of a DRAM
    without channels; else as `run`.
    """
    options = options or RunOptions()
    if requests:
        check_channels(hardware)
    full = run_in_full(graph, hardware, options, progress)
    return study_of(
        graph, hardware, options, full, progress, sensitivity=sensitivity, requests=requests
    )


def study_of(
    graph: NetworkGraph,
    hardware: Hardware,
    options: RunOptions,
    full: FullRun,
    progress: Progress,
    *,
    sensitivity: bool = False,
    requests: bool = False,
    known: SearchedCurve | None = None,
) -> TimeStudy:
    """A run that is there, looked at over time; its policy's curve may be known."""
    timed, program = full.cold.timed, full.cold.counts.program
    if full.cold.too_long:
        raise TooLongError(f"no timeline: {full.cold.too_long}")
    if timed is None or program is None:
        raise InputError(
            f"the program takes {full.result.steps:,} steps, more than {MAXIMUM_COUNTED_STEPS:,} "
            "are not timed; give more --local-memory, a smaller --input-size, or part of the "
            "network by --layers"
        )
    found = stays(program, timed.followed.found, timed.timeline)
    steps, transfers = _events(timed)
    return TimeStudy(
        run=full.result,
        roofline=_roofline(full, hardware),
        sensitivity=_sensitivities(graph, hardware, options, full, progress, known)
        if sensitivity
        else (),
        series=_series(timed, found),
        stays=tuple(
            TimedStay(s.label, s.address, s.size_bytes, seconds(s.begin), seconds(s.end))
            for s in found
        ),
        steps=steps,
        transfers=transfers,
        requests=streams(timed, hardware) if requests else (),
    )


def _roofline(full: FullRun, hardware: Hardware) -> Roofline:
    """Layers under the roof of the machine at its fastest widths; operations are two a MAC."""
    compute, rate = hardware.compute, hardware.dram.bandwidth_bytes_per_second
    peak = 2.0 * compute.fastest_macs_per_cycle * compute.clock_hertz

    def point(name: str, macs: int, moved_bytes: int, latency_s: float) -> RooflinePoint:
        each = 2 * macs / moved_bytes if moved_bytes else None
        reached = 2 * macs / latency_s if latency_s else 0.0
        roof = peak if each is None else min(peak, each * rate)
        return RooflinePoint(name, each, reached, roof)

    result, layers = full.result, []
    for layer in result.layers:
        if layer.macs_executed:
            moved_bytes = dram_bytes(hardware, layer.traffic)
            least_s = moved_bytes / rate  # some of it may move beside the layer before
            latency_s = max(layer.latency_s, least_s)
            layers.append(point(layer.name, layer.macs_executed, moved_bytes, latency_s))
    whole = (result.macs_executed, dram_bytes(hardware, result.traffic), result.latency_s)
    return Roofline(peak, rate, point(result.network, *whole), tuple(layers))


def _sensitivities(
    graph: NetworkGraph,
    hardware: Hardware,
    options: RunOptions,
    full: FullRun,
    progress: Progress,
    known: SearchedCurve | None,
) -> tuple[Sensitivity, ...]:
    cases = [(resource, factor) for resource in RESOURCES for factor in FACTORS]
    found = []
    for number, (resource, factor) in enumerate(cases):
        progress("sensitivity", number, len(cases))
        machine = scaled(hardware, resource, factor)
        if resource == "memory" or options.objective != "dram":
            found.append(_chosen_anew(graph, machine, options, resource, factor, known))
            continue
        cold = full.cold
        followed = cold.timed.followed if cold.timed is not None else None
        energy, latency_s = prices_on(full.graph, machine, cold.schedule, cold.counts, followed)
        moved = cold.counts.traffic.total_bytes
        found.append(Sensitivity(resource, float(factor), latency_s, moved, energy.total_pj))
    progress("sensitivity", len(cases), len(cases))
    return tuple(found)


def _chosen_anew(
    graph: NetworkGraph,
    machine: Hardware,
    options: RunOptions,
    resource: str,
    factor: Fraction,
    known: SearchedCurve | None,
) -> Sensitivity:
    try:
        result = run_in_full(graph, machine, options, known=known).result
    except DoesNotFitError as error:
        return Sensitivity(resource, float(factor), None, None, None, str(error))
    moved, energy_pj = result.traffic.total_bytes, result.energy.total_pj
    return Sensitivity(resource, float(factor), result.latency_s, moved, energy_pj)


def _series(timed: Timed, found: tuple[Stay, ...]) -> Series:
    edges = windows(timed)
    stores = timed.followed.found.stores == 1
    read, written = (
        tuple(bytes_per_second(timed, 0, edges, np.where(chosen, timed.followed.bits, 0)).tolist())
        for chosen in (~stores, stores)
    )
    begins = np.array([stay.begin for stay in found], np.int64)
    ends = np.array([stay.end for stay in found], np.int64)
    sizes = np.array([stay.size_bytes for stay in found], np.int64)
    in_use = [int(sizes[(begins <= edge) & (edge < ends)].sum()) for edge in edges.tolist()]
    return Series(tuple(map(seconds, edges.tolist())), read, written, tuple(in_use))


def _events(timed: Timed) -> tuple[tuple[StepEvent, ...], tuple[TransferEvent, ...]]:
    """Steps and transfers of the first frame."""
    found, timeline, graph = timed.followed.found, timed.timeline, timed.followed.graph
    waited = timed.waits.steps
    causes, total = waited.argmax(axis=0).tolist(), waited.sum(axis=0).tolist()
    times = (timeline.start.tolist(), (timeline.end - timeline.start).tolist())
    steps = tuple(
        StepEvent(
            graph.layers[layer].name,
            index,
            start / _FS_PER_NS,
            length / _FS_PER_NS,
            wait / _FS_PER_NS,
            STEP_CAUSES[cause] if wait else "",
        )
        for layer, index, start, length, wait, cause in zip(
            found.layer.tolist(), found.instruction.tolist(), *times, total, causes, strict=True
        )
    )
    names = (*found.tensors, "commands")
    outside = timed.followed.bits[:-1]
    bus = (outside > 0).argmax(axis=0).tolist()
    lengths = (timeline.finish - timeline.moves).tolist()
    bits = outside[bus, np.arange(found.bits.size)] / graph.byte_bits
    transfers = tuple(
        TransferEvent(
            names[tensor],
            index,
            bool(stores),
            BUSES[which],
            moves / _FS_PER_NS,
            length / _FS_PER_NS,
            moved,
        )
        for tensor, index, stores, which, moves, length, moved in zip(
            found.tensor.tolist(),
            found.moved.tolist(),
            found.stores.tolist(),
            bus,
            timeline.moves.tolist(),
            lengths,
            bits.tolist(),
            strict=True,
        )
    )
    return steps, transfers
