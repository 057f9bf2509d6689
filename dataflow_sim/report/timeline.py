"""A timeline as tables and CSV rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dataflow_sim.report.tables import Table
from dataflow_sim.results_of_time_study import Sensitivity, TimeStudy
from dataflow_sim.results_of_timeline import EngineTime, LayerTimes, TimelineResult
from dataflow_sim.units import format_bytes

_LAYERS = 12  # of the longest
_LEAST_SHARE = 0.0005  # of a time that is worth naming
_NONE = "-"


def milliseconds(value_s: float) -> str:
    """A time as it reads in a table."""
    return f"{value_s * 1e3:,.3f} ms"


def rate(value_bytes_per_second: float) -> str:
    """A rate as it reads in a table."""
    return f"{value_bytes_per_second / 1e9:,.3f} GB/s"


def _waits(waits: Mapping[str, float], whole_s: float) -> str:
    """What is waited for, the longest first, as parts of a time."""
    parts = sorted((-v, name) for name, v in waits.items() if v >= _LEAST_SHARE * whole_s > 0)
    return ", ".join(f"{name} {-value / whole_s:.1%}" for value, name in parts) or _NONE


def time_table(found: TimelineResult) -> Table:
    """Latency, what limits it, and frames a second."""
    rows = [
        ("latency", f"{milliseconds(found.latency_s)}, {found.cycles:,} cycles"),
        ("limited by", found.limited_by),
        ("array in use", f"{found.utilisation:.1%} of its peak"),
        ("frames a second", f"{found.frames_per_second:,.2f}{_in_flight(found)}"),
    ]
    if found.images > 1:
        rate_of_images = found.images * found.frames_per_second
        rows.append(("images a second", f"{rate_of_images:,.2f}, {found.images:,} a frame"))
    for bus in found.buses:
        rows.append(
            (
                bus.name,
                f"{rate(bus.mean_bytes_per_second)} on average, {rate(bus.peak_bytes_per_second)} "
                f"at most, {rate(bus.pins_bytes_per_second)} at its pins",
            )
        )
    rows.append(
        (
            "closed form",
            f"{milliseconds(found.closed_form_latency_s)}, {found.closed_form_error:+.1%}",
        )
    )
    if found.verdict is not None:
        verdict = found.verdict
        rows.append(
            (
                f"{verdict.frames_per_second:g} frames a second",
                f"{verdict.verdict}: compute takes {verdict.compute_share:.1%} of a frame's time, "
                f"{verdict.bus} {verdict.bandwidth_share:.1%}",
            )
        )
    return Table("Time", ("", ""), tuple(rows))


def _in_flight(found: TimelineResult) -> str:
    return f", {found.in_flight} in flight" if found.in_flight > 1 else ""


def engine_table(engines: tuple[EngineTime, ...]) -> Table:
    """What each engine does and waits for."""
    rows = [
        (
            each.name,
            milliseconds(each.busy_s),
            f"{each.busy_s / each.total_s:.1%}",
            _waits(each.waits_s, each.total_s),
        )
        for each in engines
    ]
    return Table("Engines", ("engine", "works", "share", "waits for"), tuple(rows))


def layer_table(found: TimelineResult) -> Table:
    """The layers that take longest."""
    longest = sorted(found.layers, key=lambda layer: -layer.latency_s)[:_LAYERS]
    rows = [
        (
            layer.name,
            milliseconds(layer.latency_s),
            milliseconds(layer.compute_s),
            layer.limited_by,
            f"{layer.utilisation:.1%}",
            rate(layer.achieved_bytes_per_second),
            _required(layer),
            _waits(layer.waits_s, layer.latency_s) if layer.latency_s else _NONE,
        )
        for layer in longest
    ]
    title = f"Layers that take longest, {len(rows)} of {len(found.layers)}"
    columns = ("layer", "time", "computes", "limited by", "array", "reached", "required", "waits")
    return Table(title, columns, tuple(rows))


def _required(layer: LayerTimes) -> str:
    required = layer.required_bytes_per_second
    return _NONE if required is None else rate(required)


def sensitivity_table(study: TimeStudy) -> Table:
    """What half and twice of each resource do to latency, DRAM bytes and energy."""
    base = study.run
    rows = []
    for each in by_effect(base.latency_s, study.sensitivity):
        what = f"{each.resource} x {each.factor:g}"
        if each.latency_s is None or each.dram_bytes is None or each.energy_pj is None:
            rows.append((what, "does not fit", _NONE, _NONE, _NONE))
            continue
        rows.append(
            (
                what,
                milliseconds(each.latency_s),
                f"{each.latency_s / base.latency_s - 1:+.1%}",
                format_bytes(each.dram_bytes),
                f"{each.energy_pj / base.energy.total_pj - 1:+.1%}",
            )
        )
    columns = ("machine with", "latency", "changes by", "DRAM", "energy changes by")
    return Table("What buys most", columns, tuple(rows))


def by_effect(base: float, sensitivity: Sequence[Sensitivity]) -> list[Sensitivity]:
    """Sensitivities, those of the resource with the largest swing from a latency first."""

    def swing(resource: str) -> float:
        found = [
            abs(each.latency_s - base)
            for each in sensitivity
            if each.resource == resource and each.latency_s is not None
        ]
        return max(found, default=0.0)

    names = list(dict.fromkeys(each.resource for each in sensitivity))
    order = sorted(names, key=lambda name: (-swing(name), names.index(name)))
    return sorted(sensitivity, key=lambda each: (order.index(each.resource), -each.factor))


def layer_frame(found: TimelineResult) -> pd.DataFrame:
    """One row a layer."""
    rows = [
        {
            "layer": layer.name,
            "latency_us": layer.latency_s * 1e6,
            "compute_us": layer.compute_s * 1e6,
            **{f"waits_{name}_us": value * 1e6 for name, value in layer.waits_s.items()},
            "dram_busy_us": layer.dram_busy_s * 1e6,
            "limited_by": layer.limited_by,
            "utilisation": layer.utilisation,
            "achieved_gb_s": layer.achieved_bytes_per_second / 1e9,
            "required_gb_s": None
            if layer.required_bytes_per_second is None
            else layer.required_bytes_per_second / 1e9,
        }
        for layer in found.layers
    ]
    return pd.DataFrame(rows)


def series_frame(study: TimeStudy) -> pd.DataFrame:
    """One row a window: DRAM rates in it, local memory in use at its beginning."""
    series = study.series
    return pd.DataFrame(
        {
            "from_us": [edge * 1e6 for edge in series.edges_s[:-1]],
            "to_us": [edge * 1e6 for edge in series.edges_s[1:]],
            "read_gb_s": [value / 1e9 for value in series.read_bytes_per_second],
            "written_gb_s": [value / 1e9 for value in series.written_bytes_per_second],
            "local_bytes": series.local_bytes[:-1],
        }
    )


def stay_frame(study: TimeStudy) -> pd.DataFrame:
    """One row a buffer of local memory, in the order in which they are first used."""
    return pd.DataFrame(
        [
            {
                "buffer": stay.label,
                "address": stay.address,
                "size_bytes": stay.size_bytes,
                "from_us": stay.begin_s * 1e6,
                "to_us": stay.end_s * 1e6,
            }
            for stay in study.stays
        ],
        columns=["buffer", "address", "size_bytes", "from_us", "to_us"],
    )
