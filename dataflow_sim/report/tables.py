"""Results as plain rows: what tables, CSV files and plots are rendered from."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from dataflow_sim.results import LayerResult, RunResult
from dataflow_sim.results_of_costs import WEIGHTS, EnergyBreakdown
from dataflow_sim.results_of_exact import ExactResult
from dataflow_sim.traffic import Reason
from dataflow_sim.units import format_bytes, format_capacity


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table of texts; the first column is left-aligned, the others right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


# assumed figures that are named
_FIGURES = 3


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def traffic_table(result: RunResult) -> Table:
    """DRAM traffic by reason, zeros left out, with its share of the total."""
    total = result.traffic.total_bytes
    rows = [
        (reason.value, format_bytes(value), _share(value, total))
        for reason, value in result.traffic.by_reason.items()
        if value
    ]
    rows.append(("total", format_bytes(total), _share(total, total)))
    return Table("DRAM traffic", ("reason", "bytes", "share"), tuple(rows))


def frames_table(result: RunResult) -> Table:
    """Frames one after the other: the cold one, each warm one, all of them, and what stays."""
    frames = result.frames
    count = len(frames.resident_weights)
    held = format_bytes(frames.resident_weight_bytes)
    rows = (
        ("cold frame, the first", format_bytes(frames.cold_bytes)),
        (f"warm frame, {frames.frames - 1:,} of them", format_bytes(frames.warm.total_bytes)),
        (f"all {frames.frames:,} frames", format_bytes(frames.total_bytes)),
        ("weights that stay", f"{count:,} tensors, {held}" if count else "none"),
        ("warm frame, energy", f"{frames.warm_energy.total_pj / 1e6:,.3f} uJ"),
        ("warm frame, latency", f"{frames.warm_latency_s * 1e3:,.3f} ms"),
    )
    return Table("Frames; all other tables are of the cold one", ("", ""), rows)


def energy_table(result: RunResult) -> Table:
    """Energy by component with its share of the total."""
    parts, total = energy_components(result.energy), result.energy.total_pj
    rows = [
        (name, f"{value / 1e6:,.3f} uJ", _share(value, total))
        for name, value in parts.items()
        if value or name == "total"
    ]
    if result.price_range is None:
        return Table("Energy", ("component", "energy", "share"), tuple(rows))
    low, high = (energy_components(each) for each in result.price_range.energy)
    ends = {name: f"{low[name] / 1e6:,.3f} to {high[name] / 1e6:,.3f} uJ" for name in parts}
    columns = ("component", "energy", "share", "by the ranges of the figures")
    return Table("Energy", columns, tuple((*row, ends[row[0]]) for row in rows))


def energy_components(energy: EnergyBreakdown) -> dict[str, float]:
    """Energies by what is shown of them, in pJ."""
    return {
        "MAC": energy.mac_pj,
        "DRAM": energy.dram_access_pj,
        "DRAM, background": energy.dram_background_pj,
        "flash": energy.flash_pj,
        "system cache": energy.system_cache_pj,
        "local memory": energy.local_pj,
        "static": energy.static_pj,
        "idle lanes": energy.idle_pj,
        "total": energy.total_pj,
    }


def summary_table(result: RunResult) -> Table:
    """The run in a dozen lines: work, traffic against its bounds, memory, time."""
    rows = [
        ("MACs", f"{result.macs:,}"),
        ("parameters", f"{result.parameters:,}"),
        ("DRAM traffic", format_bytes(result.traffic.total_bytes)),
        ("compulsory floor", format_bytes(result.compulsory_bytes)),
        ("lower bound of the policy", format_bytes(result.lower_bound_bytes)),
        ("gap to the bound", f"{result.gap:.3f} x"),
        ("local memory", format_capacity(result.capacity_bytes)),
        ("local memory used", format_capacity(result.peak_bytes)),
        *_fragmentation_rows(result),
        *_accumulator_rows(result),
        ("largest live set of whole maps", format_bytes(result.live_peak_bytes)),
        ("latency", _latency(result)),
        ("groups", _groups(result)),
        *([] if result.objective == "dram" else [("best in", result.objective)]),
        *(("left out of the search", each) for each in result.thinned),
        *([] if result.exact is None else _exact_rows(result.exact)),
        *_cache_rows(result),
        ("bytes counted one by one", f"yes, {result.steps:,} steps" if result.counted else "no"),
        *((f"what if {each.text}", "; ".join(each.effects)) for each in result.what_ifs),
        *_confidence_rows(result),
    ]
    if result.macs_executed != result.macs:
        rows.insert(1, ("MACs executed", f"{result.macs_executed:,}"))
    if result.required_gb_s is not None:
        what = "bandwidth required" + (", warm frames" if result.frames.frames > 1 else "")
        rows.append((what, f"{result.required_gb_s:,.3f} GB/s"))
    title = f"{result.network} on {result.hardware}, {result.policy}"
    return Table(title, ("", ""), tuple(rows))


def _latency(result: RunResult) -> str:
    """Latency, and its ends where figures are ranges."""
    told = f"{result.latency_s * 1e3:,.3f} ms"
    if result.price_range is None or len(set(result.price_range.latency_s)) == 1:
        return told
    low, high = result.price_range.latency_s
    return f"{told}, {low * 1e3:,.3f} to {high * 1e3:,.3f} by the ranges of the figures"


def _cache_rows(result: RunResult) -> list[tuple[str, str]]:
    """What is not DRAM's: weights from a flash, and what a system cache takes off it."""
    cache, rows = result.system_cache, []
    if result.machine.get("flash") is not None:
        rows.append(("of it weights from flash", format_bytes(result.traffic.of(*WEIGHTS))))
    if cache is None:
        return rows
    used = f"{format_capacity(cache.peak_bytes)} of {format_capacity(cache.capacity_bytes)}"
    moved = format_bytes(cache.traffic.total_bytes)
    return [*rows, ("system cache used", f"{used}, {moved} in the place of DRAM")]


def _confidence_rows(result: RunResult) -> list[tuple[str, str]]:
    """Which figures of the machine nobody published."""
    figures = result.machine.get("figures", ())
    assumed = [figure["key"] for figure in figures if figure["confidence"] == "assumed"]
    if not assumed:
        return []
    shown = ", ".join(assumed[:_FIGURES]) + (", ..." if len(assumed) > _FIGURES else "")
    return [("assumed figures", f"{len(assumed)} of {len(figures)}: {shown}")]


def _fragmentation_rows(result: RunResult) -> list[tuple[str, str]]:
    """What of the local memory used is live at a time, where the program was counted."""
    if result.buffers_peak_bytes is None or result.fragmentation is None:
        return []
    live = format_capacity(result.buffers_peak_bytes)
    return [("largest live set of buffers", live), ("fragmentation", f"{result.fragmentation:.2%}")]


def _accumulator_rows(result: RunResult) -> list[tuple[str, str]]:
    if not result.accumulator_capacity_bytes:
        return []
    used = format_capacity(result.accumulator_peak_bytes)
    there = format_capacity(result.accumulator_capacity_bytes)
    return [("accumulator memory used", f"{used} of {there}")]


def _exact_rows(exact: ExactResult) -> list[tuple[str, str]]:
    rows = [("exact search", exact.text)]
    return [*rows, *(("left out of the exact search", each) for each in exact.left_out)]


def _groups(result: RunResult) -> str:
    merged = [group for group in result.groups if len(group.layers) > 1]
    inside = sum(len(group.layers) for group in merged)
    if not merged:
        return f"{len(result.groups):,}, every layer alone"
    return f"{len(result.groups):,}, {inside:,} of {len(result.layers):,} layers merged"


def group_table(result: RunResult) -> Table:
    """The groups in order: who runs together, how, and what stays in local memory meanwhile."""
    rows = []
    for number, group in enumerate(result.groups):
        first, last = group.layers[0], group.layers[-1]
        how = "alone"
        if group.merged:
            stripe = "row by row" if group.stripe_rows is None else f"{group.stripe_rows} rows"
            if group.tile is not None:
                high, wide = group.tile
                kept = "/".join(dict.fromkeys(group.halos.values()))
                stripe = f"tiles {wide} wide x {high} high, halo {kept}"
            streamed = len(group.streamed_kernels)
            kernels = "1 kernel" if streamed == 1 else f"{streamed:,} kernels"
            how = stripe + (f", {kernels} streamed" if streamed else "")
            how += ", rows handed over" if group.handover is not None else ""
        rows.append(
            (
                str(number),
                first if first == last else f"{first} .. {last}",
                str(len(group.layers)),
                how,
                format_bytes(group.local_bytes),
                format_bytes(group.resident_bytes) if group.resident else "-",
                ", ".join(group.resident[:_NAMES]) + (" .." if len(group.resident) > _NAMES else "")
                or "-",
            )
        )
    columns = ("group", "layers", "count", "runs", "own memory", "maps kept", "which")
    return Table("Groups", columns, tuple(rows))


_NAMES = 4  # of maps that are kept


def costliest_layers(result: RunResult, count: int = 10) -> Table:
    """The layers that move most DRAM bytes, largest first, ties in network order."""
    order = sorted(
        range(len(result.layers)),
        key=lambda index: (-result.layers[index].traffic.total_bytes, index),
    )
    total = result.traffic.total_bytes
    alone = result.policy == "layerwise"
    rows = tuple(_layer_row(result.layers[index], total, alone) for index in order[:count])
    against = "gap" if alone else "group"
    columns = ("layer", "op", "output", "MACs", "DRAM", "share", against, "local", "limit")
    return Table(f"Layers that move most, {len(rows)} of {len(order)}", columns, rows)


def _layer_row(layer: LayerResult, total_bytes: int, alone: bool) -> tuple[str, ...]:
    _, channels, rows, columns = layer.output_shape
    moved = layer.traffic.total_bytes
    return (
        layer.name,
        layer.op,
        f"{channels}x{rows}x{columns}",
        f"{layer.macs / 1e6:,.1f} M",
        format_bytes(moved),
        _share(moved, total_bytes),
        f"{layer.gap:.2f} x" if alone else str(layer.group),
        format_bytes(layer.local_bytes),
        layer.limited_by,
    )


def buffer_frame(result: RunResult) -> pd.DataFrame:
    """One row a buffer in local memory: instructions [first, last), address, size, what for."""
    columns = ["first_instruction", "last_instruction", "address", "size_bytes", "label"]
    records = [[getattr(stay, column) for column in columns] for stay in result.buffers]
    return pd.DataFrame(records, columns=columns)


def lifetime_frame(result: RunResult) -> pd.DataFrame:
    """One row a buffer in local memory, as `place` reads it: instructions [lower, upper), bytes.

    A buffer that ends with the instruction with which it begins takes no memory.
    """
    records = [
        (
            *(number, stay.label, stay.first_instruction, stay.last_instruction),
            *(stay.size_bytes, stay.address),
        )
        for number, stay in enumerate(result.buffers)
        if stay.first_instruction < stay.last_instruction
    ]
    return pd.DataFrame(records, columns=["id", "label", "lower", "upper", "size", "offset"])


def layer_frame(result: RunResult) -> pd.DataFrame:
    """One row a layer: shape, work, bytes by reason, bound, memory, energy, time, tiling."""
    records = []
    for layer in result.layers:
        batch, channels, rows, columns = layer.output_shape
        record: dict[str, object] = {
            "layer": layer.name,
            "op": layer.op,
            "kind": layer.kind,
            "batch": batch,
            "channels": channels,
            "rows": rows,
            "columns": columns,
            "macs": layer.macs,
            "macs_executed": layer.macs_executed,
            "utilisation": layer.utilisation,
            "dram_bytes": layer.traffic.total_bytes,
        }
        record.update((f"{r.value}_bytes", layer.traffic.by_reason[r]) for r in Reason)
        record["lower_bound_bytes"] = layer.lower_bound_bytes
        record["gap"] = layer.gap
        record["local_bytes"] = layer.local_bytes
        record["energy_pj"] = layer.energy.total_pj
        record["latency_s"] = layer.latency_s
        record["limited_by"] = layer.limited_by
        record["steps"] = layer.steps
        record.update(layer.tiling)
        records.append(record)
    return pd.DataFrame.from_records(records)
