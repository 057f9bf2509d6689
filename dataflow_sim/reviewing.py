"""A run with what a report tells beside it: its curves, the maps between its layers, time in full.

The policy's curve is searched once: the run, the machines with more or less memory and the curve of
the report are all read off it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware
from dataflow_sim.pipeline import (
    FullRun,
    Progress,
    RunOptions,
    SearchedCurve,
    no_progress,
    run_in_full,
    searched_curve,
)
from dataflow_sim.results import RunResult
from dataflow_sim.results_of_review import Edge, OverTime, Review, Track
from dataflow_sim.results_of_time_study import StepEvent, TransferEvent
from dataflow_sim.timeline_study import study_of

MOST_BARS = 12_000  # of a track, before neighbours of one name are joined
_BASE_POLICY = "layerwise"


def review(
    graph: NetworkGraph,
    hardware: Hardware,
    options: RunOptions | None = None,
    progress: Progress = no_progress,
) -> Review:
    """Run a network on a machine, and look at it from all sides.  Raises as `pipeline.run`."""
    options = options or RunOptions()
    known = _curves(graph, hardware, options, progress)
    own = known[-1] if known and options.objective == "dram" else None
    full = run_in_full(graph, hardware, options, progress, own)
    return Review(
        run=full.result,
        curves=tuple(each.result for each in known),
        edges=tuple(_edges(full.graph, full.result)),
        over_time=_over_time(graph, hardware, options, full, own, progress),
    )


def _curves(
    graph: NetworkGraph, hardware: Hardware, options: RunOptions, progress: Progress
) -> list[SearchedCurve]:
    """The curve of single layers and that of the run's policy, the latter last."""
    if hardware.local_memory.banks > 1:
        return []
    wanted = dict.fromkeys((_BASE_POLICY, options.policy))
    if options.group.group is not None:
        wanted = dict.fromkeys((options.policy,))
    return [
        searched_curve(graph, hardware, replace(options, policy=policy), progress)
        for policy in wanted
    ]


def _edges(graph: NetworkGraph, result: RunResult) -> Iterator[Edge]:
    group_of = {name: number for number, group in enumerate(result.groups) for name in group.layers}
    writer: dict[str, str] = {}
    for layer in graph.layers:
        number = group_of[layer.name]
        read = (segment.tensor for view in layer.views for segment in view.segments)
        for name in dict.fromkeys(read):
            tensor = graph.tensors[name]
            if tensor.kind is TensorKind.WEIGHT:
                continue
            producer = writer.get(name)
            if producer is not None and group_of[producer] == number:
                way = "rows"
            else:
                way = "resident" if name in result.groups[number].resident else "dram"
            size_bytes = -(-tensor.elements * tensor.bits // graph.byte_bits)
            yield Edge(name, producer, layer.name, size_bytes, way)
        writer.update((name, layer.name) for name in layer.outputs)


def _over_time(
    graph: NetworkGraph,
    hardware: Hardware,
    options: RunOptions,
    full: FullRun,
    known: SearchedCurve | None,
    progress: Progress,
) -> OverTime | None:
    if full.cold.too_long or full.cold.timed is None:
        return None
    # under another objective each machine's schedule is chosen anew: eight more runs
    quick = options.objective == "dram"
    found = study_of(graph, hardware, options, full, progress, sensitivity=quick, known=known)
    return OverTime(
        roofline=found.roofline,
        sensitivity=found.sensitivity,
        series=found.series,
        stays=found.stays,
        tracks=tuple(_tracks(found.steps, found.transfers)),
    )


def _tracks(steps: Sequence[StepEvent], transfers: Sequence[TransferEvent]) -> Iterator[Track]:
    """Steps, and what moves each way on each bus."""
    yield _track("compute", [(e.layer, e.start_ns, e.duration_ns) for e in steps])
    for bus, stores in sorted({(each.bus, each.stores) for each in transfers}):
        events = [
            (each.tensor, each.start_ns, each.duration_ns)
            for each in transfers
            if (each.bus, each.stores) == (bus, stores) and each.duration_ns > 0
        ]
        if events:
            yield _track(f"{bus} {'out' if stores else 'in'}", sorted(events, key=lambda e: e[1]))


def _track(name: str, events: Sequence[tuple[str, float, float]]) -> Track:
    """Events in order of time.

    Of more than `MOST_BARS`, neighbours of one name whose gap is below a growing part of all time
    become one; where that does not do, all that begin in the same short while, under the name of
    the first.
    """
    names = {label: number for number, label in enumerate(dict.fromkeys(e[0] for e in events))}
    of = np.array([names[label] for label, _, _ in events], np.int64)
    start = np.array([start for _, start, _ in events], np.float64)
    end = start + np.array([duration for _, _, duration in events], np.float64)
    longest = float(end.max(initial=0))
    part = 1e-6
    first = np.arange(len(of))
    while len(first) > MOST_BARS and part < 1e-2:
        first, part = _joined(of, start, end, part * longest), 4 * part
    if len(first) > MOST_BARS:
        first = np.unique((start * (MOST_BARS / longest)).astype(np.int64), return_index=True)[1]
    stop = np.append(first[1:], len(of)) - 1
    return Track(
        name=name,
        events=len(of),
        names=tuple(names),
        of=tuple(of[first].tolist()),
        start_ns=tuple(start[first].tolist()),
        duration_ns=tuple((end[stop] - start[first]).tolist()) if len(of) else (),
    )


def _joined(
    of: npt.NDArray[np.int64],
    start: npt.NDArray[np.float64],
    end: npt.NDArray[np.float64],
    gap: float,
) -> npt.NDArray[np.int64]:
    """Where a bar begins: the name changes, or a gap is longer."""
    begins = np.ones(len(of), bool)
    begins[1:] = (of[1:] != of[:-1]) | (start[1:] - end[:-1] > gap)
    return begins.nonzero()[0]
