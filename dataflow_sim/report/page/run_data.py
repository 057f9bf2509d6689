"""What a page draws of one run, as plain data: lists of numbers and texts, in the units shown.

Everything that is drawn is bounded, whatever the network: areas are told at most `MOST_MOMENTS`
times, at the fullest moment of each stretch, and the largest `MOST_BOXES` buffers are boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dataflow_sim.report.curves import precision_text
from dataflow_sim.report.drawing import COLOURS, clipped
from dataflow_sim.report.live_set import HELD, holdings_of, kind_by_label
from dataflow_sim.report.live_set_plot import HELD_COLOURS
from dataflow_sim.report.page.decisions import applying, not_modelled
from dataflow_sim.report.page.lanes import lane_graph
from dataflow_sim.report.page.verdict import byte_levers, own_curve, time_levers, verdict
from dataflow_sim.report.tables import energy_components
from dataflow_sim.report.timeline import by_effect
from dataflow_sim.results import LayerResult, RunResult
from dataflow_sim.results_of_curves import CurveResult
from dataflow_sim.results_of_review import OverTime, Review, Track
from dataflow_sim.results_of_time_study import TimedStay
from dataflow_sim.traffic import Reason
from dataflow_sim.units import format_bytes, format_capacity

Json = dict[str, object]

MOST_MOMENTS = 1500
MOST_BOXES = 3000
LONGEST_NAME = 80


def run_data(review: Review, name: str) -> Json:
    """One run under the name that the reader gave it."""
    run, timed = review.run, review.over_time
    return {
        "name": name,
        "title": f"{run.network} on {run.hardware}",
        "asked": _asked(run),
        "verdict": list(verdict(review)),
        "levers": {
            "bytes": [str(each) for each in byte_levers(review)],
            "time": []
            if timed is None
            else [str(each) for each in time_levers(run.latency_s, timed.sensitivity)],
        },
        "figures": _figures(run),
        "reasons": _reasons(run),
        "layers": _layers(run),
        "curves": _curves(review),
        "energy": _energy(run),
        "network": _network(review),
        "time": None if timed is None else _time(run, timed),
        "machine": _machine(run),
        "warnings": [*run.warnings, *run.thinned],
        "what_ifs": [[each.text, *each.effects] for each in run.what_ifs],
        "decisions": [[each.number, each.title] for each in applying(run)],
        "not_modelled": list(not_modelled()),
    }


def _asked(run: RunResult) -> list[list[str]]:
    """How the run was asked for."""
    rows = [
        ["network", run.network + (f", layers {run.part}" if run.part else "")],
        ["machine", run.hardware],
        *([key, value] for key, value in run.overrides),
        ["local memory", format_capacity(run.capacity_bytes)],
        ["policy", run.policy],
        ["objective", run.objective],
    ]
    if run.frames.frames > 1:
        rows.append(
            ["frames", f"{run.frames.frames:,}; all that is told is of the first, cold one"]
        )
    rows += [["what if", each.text] for each in run.what_ifs]
    return rows


def _figures(run: RunResult) -> list[Json]:
    """The numbers at the head of the page, each with its text."""
    timeline = run.timeline

    def figure(what: str, value: float, text: str, better: int = -1) -> Json:
        return {"what": what, "value": value, "text": text, "better": better}

    total, floor = run.traffic.total_bytes, run.compulsory_bytes
    rows = [
        figure("DRAM traffic", total, format_bytes(total)),
        figure("compulsory floor", floor, format_bytes(floor)),
        figure("over the floor", total / floor, f"{total / floor:.3f} x"),
        figure("gap to the policy's bound", run.gap, f"{run.gap:.3f} x"),
        figure("energy", run.energy.total_pj, f"{run.energy.total_pj / 1e9:,.3f} mJ"),
        figure("latency", run.latency_s, f"{run.latency_s * 1e3:,.3f} ms"),
        figure("local memory", run.capacity_bytes, format_capacity(run.capacity_bytes), 0),
        figure("local memory used", run.peak_bytes, format_capacity(run.peak_bytes), 0),
        figure("MACs", run.macs, f"{run.macs:,}", 0),
        figure("MACs executed", run.macs_executed, f"{run.macs_executed:,}"),
        figure("parameters", run.parameters, f"{run.parameters:,}", 0),
        figure("groups", len(run.groups), f"{len(run.groups):,}", 0),
    ]
    if timeline is not None:
        rate, used = timeline.frames_per_second, timeline.utilisation
        rows.insert(6, figure("frames a second", rate, f"{rate:,.2f}", 1))
        rows.insert(7, figure("array in use", used, f"{used:.1%}", 1))
    if run.required_gb_s is not None:
        needed = run.required_gb_s
        rows.insert(6, figure("bandwidth required", needed, f"{needed:,.3f} GB/s"))
    return rows


def _reasons(run: RunResult) -> list[Json]:
    """Bytes by reason, with the colour that each has everywhere."""
    return [
        {"reason": reason.value, "bytes": run.traffic.by_reason[reason], "colour": colour}
        for reason, colour in COLOURS.items()
    ]


def _layers(run: RunResult) -> Json:
    """Columns of the table of layers, and what their pictures need."""
    layers = run.layers
    rates = {} if run.timeline is None else {each.name: each for each in run.timeline.layers}
    used = [reason for reason in Reason if any(layer.traffic.by_reason[reason] for layer in layers)]
    columns: Json = {
        "layer": [clipped(layer.name, LONGEST_NAME) for layer in layers],
        "op": [layer.op for layer in layers],
        "output": ["x".join(map(str, layer.output_shape)) for layer in layers],
        "group": [layer.group for layer in layers],
        "MACs": [layer.macs_executed for layer in layers],
        "DRAM [B]": [layer.traffic.total_bytes for layer in layers],
        "over bound": [round(layer.gap, 4) for layer in layers],
        "local memory [B]": [layer.local_bytes for layer in layers],
        "energy [uJ]": [round(layer.energy.total_pj / 1e6, 4) for layer in layers],
        "latency [us]": [round(layer.latency_s * 1e6, 4) for layer in layers],
        "limited by": [layer.limited_by for layer in layers],
        "array in use [%]": [round(100 * layer.utilisation, 2) for layer in layers],
    }
    if rates:
        columns["reached [GB/s]"] = [
            round(rates[layer.name].achieved_bytes_per_second / 1e9, 4) for layer in layers
        ]
    columns["tiling"] = [_tiling(layer) for layer in layers]
    moved = {r.value: [layer.traffic.by_reason[r] for layer in layers] for r in used}
    return {"columns": columns, "moved": moved}


def _tiling(layer: LayerResult) -> str:
    """How a layer is tiled, what is nothing left out."""
    told = (f"{key.replace('_', ' ')} {value}" for key, value in layer.tiling.items() if value)
    return ", ".join(told)


def _curves(review: Review) -> list[Json]:
    run, own = review.run, own_curve(review)
    return [
        {
            "policy": curve.policy,
            "precision": precision_text(curve),
            "floor": curve.compulsory_bytes,
            "local": [point.local_bytes for point in curve.points],
            "dram": [point.traffic.total_bytes for point in curve.points],
            "chosen": _chosen(run, curve) if curve is own else None,
        }
        for curve in review.curves
    ]


def _chosen(run: RunResult, curve: CurveResult) -> Json:
    """Where the run stands on its curve: its memory, and the breakpoint that it uses."""
    used = max(p.local_bytes for p in curve.points if p.local_bytes <= run.capacity_bytes)
    return {
        "capacity": run.capacity_bytes,
        "breakpoint": used,
        "dram": run.traffic.total_bytes,
        "next": min((p.local_bytes for p in curve.points if p.local_bytes > used), default=None),
    }


def _energy(run: RunResult) -> list[list[object]]:
    parts = energy_components(run.energy)
    return [[name, pj / 1e6] for name, pj in parts.items() if pj and name != "total"]


def _network(review: Review) -> Json:
    found = lane_graph(review.run, review.edges)
    return {
        "lanes": found.lanes,
        "rows": [
            [clipped(row.name, LONGEST_NAME), row.op, row.lane, row.group, row.dram_bytes]
            for row in found.rows
        ],
        "edges": [
            [
                each.source,
                each.target,
                clipped(each.tensor, LONGEST_NAME),
                each.size_bytes,
                each.way,
            ]
            for each in found.edges
        ],
        "merged": [group.merged for group in review.run.groups],
    }


def _time(run: RunResult, timed: OverTime) -> Json:
    timeline, roof = run.timeline, timed.roofline
    assert timeline is not None
    bound = {layer.name: layer.limited_by for layer in timeline.layers}
    series = timed.series
    return {
        "latency_ms": timeline.latency_s * 1e3,
        "tracks": [_track(each) for each in timed.tracks],
        "engines": [
            [each.name, each.busy_s * 1e3, {k: v * 1e3 for k, v in each.waits_s.items()}]
            for each in timeline.engines
        ],
        "rates": {
            "edges_ms": [round(each * 1e3, 7) for each in series.edges_s],
            "read": [round(each / 1e9, 5) for each in series.read_bytes_per_second],
            "written": [round(each / 1e9, 5) for each in series.written_bytes_per_second],
            "buses": {
                bus.name: [bus.mean_bytes_per_second / 1e9, bus.pins_bytes_per_second / 1e9]
                for bus in timeline.buses
            },
        },
        **_memory(run, timed.stays),
        "roofline": {
            "peak": roof.peak_operations_per_second / 1e9,
            "bandwidth": roof.bandwidth_bytes_per_second / 1e9,
            "knee": roof.knee_operations_per_byte,
            "points": [
                [
                    clipped(point.name, LONGEST_NAME),
                    point.operations_per_byte,
                    point.reached_operations_per_second / 1e9,
                    bound.get(point.name, "network"),
                ]
                for point in (*roof.layers, roof.network)
            ],
        },
        "sensitivity": [
            [each.resource, each.factor, each.latency_s, each.dram_bytes, each.energy_pj, each.note]
            for each in by_effect(run.latency_s, timed.sensitivity)
        ],
    }


def _track(track: Track) -> Json:
    return {
        "name": track.name,
        "events": track.events,
        "names": [clipped(name, LONGEST_NAME) for name in track.names],
        "of": list(track.of),
        "start_us": [round(each / 1e3, 4) for each in track.start_ns],
        "us": [round(each / 1e3, 4) for each in track.duration_ns],
    }


def _memory(run: RunResult, stays: Sequence[TimedStay]) -> Mapping[str, object]:
    """Local memory in use by what it holds, who holds it at the peak, and who lies where."""
    if not stays:
        return {"live": None, "boxes": None}
    kind_of = kind_by_label(run)
    labels = [stay.label for stay in stays]
    kinds = np.array([kind_of[label] for label in labels], np.int64)
    begin, end = (np.array([getattr(s, name) for s in stays]) for name in ("begin_s", "end_s"))
    size = np.array([stay.size_bytes for stay in stays], np.int64)
    moments, place = np.unique(np.concatenate([begin, end]), return_inverse=True)
    changes = np.zeros((len(HELD), len(moments)), np.int64)
    np.add.at(changes, (kinds, place[: len(begin)]), size)
    np.subtract.at(changes, (kinds, place[len(begin) :]), size)
    held = changes.cumsum(axis=1)
    peak = int(held.sum(axis=0).argmax())
    alive = (begin <= moments[peak]) & (moments[peak] < end)
    named = holdings_of(labels, {k: HELD[v] for k, v in kind_of.items()}, size, alive)
    shown = _fullest(held.sum(axis=0))
    return {
        "live": {
            "kinds": list(HELD),
            "colours": list(HELD_COLOURS),
            "ms": np.round(moments[shown] * 1e3, 7).tolist(),
            "held": held[:, shown].tolist(),
            "capacity": run.capacity_bytes,
            "peak_ms": moments[peak] * 1e3,
            "peak": [
                [each.held, clipped(each.label, LONGEST_NAME), each.count, each.size_bytes]
                for each in named
            ],
        },
        "boxes": _boxes(stays, kinds, begin, end, size),
    }


def _fullest(total: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Indices of the first moment, the last one, and the fullest of each stretch between."""
    count = len(total)
    if count <= MOST_MOMENTS:
        return np.arange(count)
    borders = np.linspace(0, count, MOST_MOMENTS + 1).astype(np.int64)
    fullest = [a + int(total[a:b].argmax()) for a, b in pairwise(borders.tolist())]
    return np.unique(np.array([0, *fullest, count - 1]))


def _boxes(
    stays: Sequence[TimedStay],
    kinds: npt.NDArray[np.int64],
    begin: npt.NDArray[np.float64],
    end: npt.NDArray[np.float64],
    size: npt.NDArray[np.int64],
) -> Json:
    """The buffers of largest area, by kind; how many are left out."""
    order = np.argsort(-(end - begin) * size, kind="stable")[:MOST_BOXES]

    def boxes() -> Iterator[list[object]]:
        for index in sorted(order.tolist()):
            stay = stays[index]
            times = (round(stay.begin_s * 1e3, 7), round(stay.end_s * 1e3, 7))
            name = clipped(stay.label, LONGEST_NAME)
            yield [int(kinds[index]), name, *times, stay.address, stay.size_bytes]

    return {"left_out": max(0, len(stays) - MOST_BOXES), "boxes": list(boxes())}


def _machine(run: RunResult) -> list[list[str]]:
    """Every figure that a file states, its confidence and source."""
    figures = run.machine.get("figures", ())
    return [[each["key"], each["value"], each["confidence"], each["source"]] for each in figures]
