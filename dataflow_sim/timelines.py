"""What a timeline tells: latency, waits, rates and bounds, of the network and of every layer.

A layer has the time from the end of a step to the end of the next step of its own; what is left
behind the last step belongs to that step's layer.  It is bound by the engine that works most in its
time, where that works for at least `BOUND_SHARE` of it; else by latency: engines wait for each
other.  A layer without time of its own, such as one whose unit the file does not state, is bound by
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.hardware import HardwareFile
from dataflow_sim.results_of_timeline import (
    BusTime,
    EngineTime,
    LayerTimes,
    TimelineResult,
    Verdict,
)
from dataflow_sim.simulate.arrays import Ints
from dataflow_sim.simulate.timeline import FS_PER_S
from dataflow_sim.simulate.waits import (
    BUS_CAUSES,
    STEP_CAUSES,
    bits_before,
    by_layer,
    served_within,
)
from dataflow_sim.timing import BUSES, DRAM, LOCAL, Timed, named, rates, seconds

BOUND_SHARE = 0.75
WINDOWS = 200  # that rates over time are told in
_PERCENTILE = 95


@dataclass(frozen=True, slots=True)
class Span:
    """What a layer has of the timeline, in femtoseconds, and what bounds it."""

    latency: int
    compute: int
    at_peak: int
    dram: int
    limited_by: str


def _limit(latency: float, compute: float, by_port: bool, buses: Sequence[float]) -> str:
    """Who works most of a time, where that is most of it."""
    works = dict(zip(BUSES, buses, strict=True))
    works["compute"] = 0 if by_port else compute
    works[LOCAL] += compute if by_port else 0
    name = max(works, key=lambda each: works[each])
    if not latency:
        return "nothing"
    return name if works[name] >= BOUND_SHARE * latency else "latency"


def _step_spans(timed: Timed) -> tuple[Ints, Ints]:
    """From when to when the time of each step lasts: from the end of the one before to its own,
    the last one to the end of everything."""
    until = timed.timeline.end.copy()
    until[-1:] = timed.timeline.latency
    return timed.timeline.before, until


def layer_spans(timed: Timed) -> list[Span]:
    """What each layer of the network has of the timeline."""
    found, timeline = timed.followed.found, timed.timeline
    before, until = _step_spans(timed)
    steps = timed.durations.steps
    buses = [
        served_within(times, served, before, until)
        for times, served in zip(timed.durations.buses, timeline.served, strict=True)
    ]
    port = np.where(timed.bound_by_port, steps, 0)
    table = by_layer(
        found,
        np.stack([until - before, steps, timed.at_peak_fs, port, *buses]),
        len(timed.followed.graph.layers),
    )
    spans = []
    for latency, compute, at_peak, by_port, *served in table.T.tolist():
        limit = _limit(latency, compute, 2 * by_port > compute, served)
        spans.append(Span(latency, compute, at_peak, served[0], limit))
    return spans


def _layer_times(
    timed: Timed, spans: Sequence[Span], moved_bytes: Sequence[int]
) -> tuple[LayerTimes, ...]:
    graph, found = timed.followed.graph, timed.followed.found
    layers = len(graph.layers)
    waited = by_layer(found, timed.waits.steps, layers).T
    served = _served_bytes(timed)
    result = []
    for index, layer in enumerate(graph.layers):
        span = spans[index]
        causes = dict(named(waited[index], STEP_CAUSES))
        left = span.latency - span.compute - int(waited[index].sum())
        latency_s, compute_s = seconds(span.latency), seconds(span.compute)
        result.append(
            LayerTimes(
                name=layer.name,
                latency_s=latency_s,
                compute_s=compute_s,
                waits_s={**causes, "end": seconds(left)},
                dram_busy_s=seconds(span.dram),
                limited_by=span.limited_by,
                utilisation=span.at_peak / span.compute if span.compute else 0.0,
                achieved_bytes_per_second=served[index] / latency_s if latency_s else 0.0,
                required_bytes_per_second=moved_bytes[index] / compute_s if compute_s else None,
            )
        )
    return tuple(result)


def _served_bytes(timed: Timed) -> list[float]:
    """Bytes that DRAM moves in the time of each layer, for whichever layer."""
    bits, times = timed.followed.bits[0], timed.durations.buses[0]
    before, until = (
        bits_before(bits, times, timed.timeline.served[0], instants)
        for instants in _step_spans(timed)
    )
    sums = np.zeros(len(timed.followed.graph.layers))
    np.add.at(sums, timed.followed.found.layer, until - before)
    return [float(each) / timed.followed.graph.byte_bits for each in sums]


def _engines(timed: Timed) -> tuple[EngineTime, ...]:
    steps = {
        **named(timed.waits.steps.sum(axis=1), STEP_CAUSES),
        "end": seconds(timed.waits.end),
    }
    engines = [EngineTime("compute", seconds(timed.durations.steps.sum()), steps)]
    for name, times, waited in zip(BUSES, timed.durations.buses, timed.waits.buses, strict=True):
        if times.any() and name != LOCAL:
            engines.append(EngineTime(name, seconds(times.sum()), named(waited, BUS_CAUSES)))
    return tuple(engines)


def windows(timed: Timed, count: int = WINDOWS) -> Ints:
    """The borders of so many windows of equal length, in femtoseconds."""
    latency = timed.timeline.latency
    return np.array([latency * place // count for place in range(count + 1)], np.int64)


def bytes_per_second(
    timed: Timed, bus: int, edges: Ints, chosen: Ints | None = None
) -> npt.NDArray[np.float64]:
    """What a bus moves within each window; of `chosen` bits, by (bus, place), only these."""
    bits = (timed.followed.bits if chosen is None else chosen)[bus]
    times = timed.durations.buses[bus]
    moved = np.diff(bits_before(bits, times, timed.timeline.served[bus], edges))
    lengths = np.maximum(np.diff(edges), 1) / FS_PER_S
    return np.asarray(moved / timed.followed.graph.byte_bits / lengths, np.float64)


def _buses(timed: Timed, hardware: HardwareFile) -> tuple[BusTime, ...]:
    edges = windows(timed)
    latency_s = seconds(timed.timeline.latency)
    result = []
    for bus, (name, rate) in enumerate(zip(BUSES, rates(hardware), strict=True)):
        if name == LOCAL or rate is None or not timed.followed.bits[bus].any():
            continue
        pins = hardware.dram.peak_bytes_per_second if name == DRAM else rate
        moved = timed.followed.bits[bus].sum() / timed.followed.graph.byte_bits
        each = bytes_per_second(timed, bus, edges)
        result.append(
            BusTime(
                name=name,
                moved_bytes=float(moved),
                busy_s=seconds(timed.durations.buses[bus].sum()),
                mean_bytes_per_second=float(moved) / latency_s,
                peak_bytes_per_second=float(each.max()),
                percentile_95_bytes_per_second=float(np.percentile(each, _PERCENTILE)),
                pins_bytes_per_second=pins,
            )
        )
    return tuple(result)


def _frame_ends(timed: Timed) -> list[int]:
    """When each frame has ended: all of its steps and transfers."""
    found, timeline = timed.followed.found, timed.timeline
    frames = int(found.frame.max(initial=0)) + 1
    ends = np.zeros(frames, np.int64)
    np.maximum.at(ends, found.frame, timeline.end)
    np.maximum.at(ends, found.of_frame, timeline.finish)
    return [int(end) for end in ends]


def _verdict(timed: Timed, period_s: float, rate: float) -> Verdict:
    """What stands against a frame rate; `timed` is of one frame."""
    steps, by_port = timed.durations.steps, timed.bound_by_port
    compute = seconds(steps[~by_port].sum()) * rate
    shares = [seconds(times.sum()) * rate for times in timed.durations.buses]
    shares[BUSES.index(LOCAL)] += seconds(steps[by_port].sum()) * rate
    bandwidth = max(shares)
    if period_s * rate <= 1:
        verdict = "fits"
    elif compute > 1 and bandwidth > 1:
        verdict = "compute-bound and bandwidth-bound"
    elif max(compute, bandwidth) > 1:
        verdict = "compute-bound" if compute > 1 else "bandwidth-bound"
    else:
        verdict = "latency-bound"
    bus = BUSES[shares.index(bandwidth)]
    return Verdict(rate, verdict, 1 / period_s, compute, bandwidth, bus)


def _images_of(timed: Timed) -> int:
    """Images of one frame: the batch of inputs that have rows and columns, else 1."""
    tensors = timed.followed.graph.tensors.values()
    inputs = [t.shape for t in tensors if t.kind is TensorKind.INPUT]
    return max((n for n, _, rows, columns in inputs if min(rows, columns) > 1), default=1)


def timeline_result(
    timed: Timed,
    hardware: HardwareFile,
    closed_form_latency_s: float,
    moved_bytes: Sequence[int],
    *,
    in_flight: int = 1,
    lasting: Timed | None = None,
    frames: Timed | None = None,
    rate: float | None = None,
) -> TimelineResult:
    """What the timeline of a frame tells.

    `moved_bytes` are each layer's on DRAM.  `lasting` is a frame of those that last, where it is
    not the first; `frames` several of them, one behind the other, where they may be under way at a
    time.
    """
    lasting = lasting or timed
    period = lasting.timeline.latency
    if frames is not None:
        *_, (before, last), _ = pairwise(_frame_ends(frames))
        period = min(period, last - before)  # the next frame may as well wait
    timeline, spans = timed.timeline, layer_spans(timed)
    latency_s = seconds(timeline.latency)
    totals = [int(times.sum()) for times in timed.durations.buses]
    steps = timed.durations.steps
    by_port = 2 * int(steps[timed.bound_by_port].sum()) > int(steps.sum())
    return TimelineResult(
        latency_s=latency_s,
        cycles=round(latency_s * hardware.compute.clock_hertz),
        in_flight=in_flight,
        period_s=seconds(period),
        images=_images_of(timed),
        utilisation=float(timed.at_peak_fs.sum() / timeline.latency),
        engines=_engines(timed),
        buses=_buses(timed, hardware),
        window_s=latency_s / WINDOWS,
        limited_by=_limit(timeline.latency, int(steps.sum()), by_port, totals),
        layers=_layer_times(timed, spans, moved_bytes),
        closed_form_latency_s=closed_form_latency_s,
        verdict=None if rate is None else _verdict(lasting, seconds(period), rate),
    )
