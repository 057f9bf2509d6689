"""The timeline as a Chrome trace: a JSON file that Perfetto and chrome://tracing open.

Tracks: steps by layer, what comes in and what goes out on each bus, the buffers of local memory by
name; counters of the rates on DRAM and of local memory in use.  Times are microseconds.  (Chrome's
Trace Event Format: complete events `X`, asynchronous ones `b` and `e`, counters `C`, names `M`.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from dataflow_sim.results_of_time_study import TimeStudy

_PROCESS = 1
_COMPUTE = 1  # the track of steps; those of buses follow


def trace_text(study: TimeStudy) -> str:
    """The trace, an event a line."""
    events = ",\n".join(json.dumps(event, ensure_ascii=False) for event in _events(study))
    head = {"network": study.run.network, "hardware": study.run.hardware}
    return (
        '{"displayTimeUnit": "ns", "otherData": '
        + json.dumps(head, ensure_ascii=False)
        + ', "traceEvents": [\n'
        + events
        + "\n]}\n"
    )


def _events(study: TimeStudy) -> Iterator[dict[str, object]]:
    yield _name("process_name", f"{study.run.network} on {study.run.hardware}", 0)
    yield _name("thread_name", "compute", _COMPUTE)
    tracks: dict[tuple[str, bool], int] = {}
    for each in study.transfers:
        tracks.setdefault((each.bus, each.stores), 0)
    for number, (bus, stores) in enumerate(sorted(tracks), _COMPUTE + 1):
        tracks[bus, stores] = number
        direction = "out" if stores else "in"
        yield _name("thread_name", f"DMA {direction}, {bus}", number)
    for step in study.steps:
        waited = {"waited_us": step.waited_ns / 1e3, "for": step.waited_for}
        args = {"instruction": step.instruction, **(waited if step.waited_ns else {})}
        yield _slice(step.layer, _COMPUTE, step.start_ns, step.duration_ns, args)
    for move in study.transfers:
        args = {"instruction": move.instruction, "bytes": move.moved_bytes}
        track = tracks[move.bus, move.stores]
        yield _slice(move.tensor, track, move.start_ns, move.duration_ns, args)
    for number, stay in enumerate(study.stays):
        where = {"address": stay.address, "bytes": stay.size_bytes}
        yield _border("b", number, stay.label, stay.begin_s, where)
        yield _border("e", number, stay.label, stay.end_s, {})
    series = study.series
    rates = zip(series.read_bytes_per_second, series.written_bytes_per_second, strict=True)
    for edge_s, (read, written) in zip(series.edges_s, rates, strict=False):
        yield _counter("DRAM GB/s", edge_s, {"read": read / 1e9, "written": written / 1e9})
    yield _counter("DRAM GB/s", series.edges_s[-1], {"read": 0.0, "written": 0.0})
    for edge_s, in_use in zip(series.edges_s, series.local_bytes, strict=True):
        yield _counter("local memory bytes", edge_s, {"in use": in_use})


def _name(what: str, name: str, track: int) -> dict[str, object]:
    return {"ph": "M", "pid": _PROCESS, "tid": track, "name": what, "args": {"name": name}}


def _slice(
    name: str, track: int, start_ns: float, duration_ns: float, args: dict[str, object]
) -> dict[str, object]:
    times = {"ts": start_ns / 1e3, "dur": duration_ns / 1e3}
    return {"ph": "X", "pid": _PROCESS, "tid": track, "name": name, **times, "args": args}


def _border(
    phase: str, number: int, name: str, at_s: float, args: Mapping[str, int]
) -> dict[str, object]:
    """Where the stay of a buffer begins or ends."""
    what = {"cat": "local memory", "id": number, "pid": _PROCESS, "tid": 0}
    return {"ph": phase, **what, "name": name, "ts": at_s * 1e6, "args": args}


def _counter(name: str, at_s: float, values: dict[str, float]) -> dict[str, object]:
    return {"ph": "C", "pid": _PROCESS, "name": name, "ts": at_s * 1e6, "args": values}
