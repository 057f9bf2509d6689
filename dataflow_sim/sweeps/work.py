"""What a worker does: one task, from its text to its result as plain data.

A result has a `status`: `ok`, `does not fit`, `error` (the input is wrong), or `defect` (a proof
failed, or the program did); all but the first with the `error` in words.  Of a point it has a `row`
and `layers`; of a curve `points`, each the local bytes and the bytes of every reason.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from statistics import fmean
from typing import Any

from dataflow_sim.errors import EXIT_BAD_INPUT, EXIT_DOES_NOT_FIT, DataflowSimError
from dataflow_sim.graph.analyses import live_peak_bytes
from dataflow_sim.graph.layer import Layer, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware
from dataflow_sim.holding import held_fixed
from dataflow_sim.inspection import inspect
from dataflow_sim.pipeline import (
    GroupWords,
    ReadRequest,
    RunOptions,
    compulsory_bytes,
    curve,
    load_network,
    parse_what_ifs,
    prepare,
    run,
)
from dataflow_sim.results import LayerResult, RunResult
from dataflow_sim.results_of_costs import INPUTS, MAP_READS, DramTraffic
from dataflow_sim.sweeps.tasks import Task, machine_of
from dataflow_sim.traffic import Reason
from dataflow_sim.units import parse_rows_by_columns
from dataflow_sim.whatif.selecting import kernels

Payload = dict[str, Any]

OK, DOES_NOT_FIT, ERROR, DEFECT = "ok", "does not fit", "error", "defect"


def compute(task: Task) -> Payload:
    """The result of a task; whatever goes wrong is told in it."""
    try:
        return {"status": OK, **_KINDS[task.kind](task.asked)}
    except DataflowSimError as error:
        status = {EXIT_DOES_NOT_FIT: DOES_NOT_FIT, EXIT_BAD_INPUT: ERROR}
        return {"status": status.get(error.exit_code, DEFECT), "error": str(error)}
    except Exception as error:  # a lost point is a row, not a lost sweep
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
        return {"status": DEFECT, "error": f"{type(error).__name__}: {error} ({where})"}


@lru_cache(maxsize=8)
def _network(name: str, request: str, what_ifs: tuple[str, ...]) -> NetworkGraph:
    asked = json.loads(request)
    size = asked.pop("input_size", None)
    return load_network(
        name,
        ReadRequest(**asked, input_size=None if size is None else parse_rows_by_columns(size)),
        parse_what_ifs(what_ifs),
    )


def _graph(asked: Mapping[str, Any], *, changed: bool = True) -> NetworkGraph:
    """The network of a task, with its what-ifs or before them."""
    request = json.dumps(asked["request"], sort_keys=True)
    return _network(asked["network"], request, tuple(asked["what_ifs"]) if changed else ())


def _options(asked: Mapping[str, Any]) -> RunOptions:
    given = dict(asked["options"])
    group = GroupWords(
        given.pop("force_group", None),
        given.pop("tile", None),
        given.pop("halo", "best"),
        given.pop("weights", "best"),
    )
    fps = given.pop("fps", None)
    return RunOptions(**given, frames_per_second=fps, group=group)


def traffic_columns(traffic: DramTraffic) -> dict[str, int]:
    """Bytes by what moves, and by reason."""
    return {
        **traffic.by_what_moves(),
        **{
            f"{reason.value}_bytes": traffic.of(reason)
            for reason in Reason
            if reason is not Reason.OUTPUT_WRITE
        },
    }


# ------------------------------------------------------------ facts


def _facts(asked: Mapping[str, Any]) -> Payload:
    graph = prepare(_graph(asked), machine_of(asked), _options(asked))
    found = inspect(graph)
    stored = {each.tensor.name: each.tensor for each in kernels(graph, graph.layers)}
    stored_bits = sum(tensor.elements * tensor.bits for tensor in stored.values())
    elements = sum(tensor.elements for tensor in stored.values())
    made = [t for t in graph.tensors.values() if t.kind in (TensorKind.MAP, TensorKind.OUTPUT)]
    lives = [life.last - life.first + 1 for life in found.lifetimes if life.kind != "input"]
    ratios = [
        layer.operations_per_weight_byte
        for layer in found.layers
        if layer.macs and layer.operations_per_weight_byte is not None
    ]
    row = {
        "layer_count": len(found.layers),
        "macs": found.macs,
        "parameters": found.parameters,
        "weight_elements": elements,
        "constant_elements": sum(layer.constant_elements for layer in found.layers),
        "map_elements": sum(tensor.elements for tensor in made),
        "stored_weight_bytes": _whole(Fraction(stored_bits, graph.byte_bits)),
        "nonzero_weights": _whole(sum(t.elements * t.density for t in stored.values())),
        "mean_weight_bits": stored_bits * 8 / graph.byte_bits / elements if elements else None,
        "largest_weight_bytes": max(map(_weight_bytes(graph), graph.layers), default=0),
        "largest_map_bytes": max(
            (-(-t.elements * t.local_bits // graph.byte_bits) for t in made), default=0
        ),
        "largest_live_bytes": live_peak_bytes(graph),
        "compulsory_bytes": compulsory_bytes(graph),
        "mean_lifetime_layers": fmean(lives) if lives else None,
        "operations_per_weight_byte": found.operations_per_weight_byte,
        "mean_operations_per_weight_byte": fmean(ratios) if ratios else None,
        "least_operations_per_weight_byte": min(ratios, default=None),
        "most_operations_per_weight_byte": max(ratios, default=None),
    }
    layers = []
    for layer, inspected in zip(graph.layers, found.layers, strict=True):
        kernel = None if layer.weight is None else graph.tensors[layer.weight]
        layers.append(
            {
                "layer": layer.name,
                "op": layer.op,
                "kind": layer.kind.value,
                "groups": layer.groups,
                "macs": inspected.macs,
                "weight_elements": inspected.weight_elements,
                "constant_elements": inspected.constant_elements,
                "input_elements": inspected.input_elements,
                "output_elements": inspected.output_elements,
                "live_elements": inspected.live_elements,
                "stored_weight_bytes": None
                if kernel is None
                else _whole(Fraction(kernel.elements * kernel.bits, graph.byte_bits)),
                "weight_bits": None if kernel is None else kernel.bits * 8 / graph.byte_bits,
                "zero_weights": None if kernel is None else float(1 - kernel.density),
                "operations_per_weight_byte": inspected.operations_per_weight_byte,
            }
        )
    return {"row": row, "layers": layers}


def _weight_bytes(graph: NetworkGraph) -> Callable[[Layer], int]:
    """Bytes of all constants of a layer in local memory."""

    def of(layer: Layer) -> int:
        names = [layer.weight, layer.input_vectors, layer.output_vectors]
        tensors = [graph.tensors[name] for name in dict.fromkeys(names) if name]
        return sum(-(-t.elements * t.local_bits // graph.byte_bits) for t in tensors)

    return of


def _whole(value: Fraction | int) -> int:
    """Rounded up."""
    return -(-value.numerator // value.denominator)


# ------------------------------------------------------------ curves and runs


def _curve(asked: Mapping[str, Any]) -> Payload:
    found = curve(_graph(asked), machine_of(asked), _options(asked))
    return {
        "reasons": [reason.value for reason in Reason],
        "points": [
            [point.local_bytes, *(point.traffic.by_reason[reason] for reason in Reason)]
            for point in found.points
        ],
    }


def _run(asked: Mapping[str, Any]) -> Payload:
    machine = machine_of(asked)
    found = run(_graph(asked), machine, _options(asked))
    return {"row": _run_row(found), "layers": [_run_layer(found, each) for each in found.layers]}


def _run_row(found: RunResult) -> dict[str, Any]:
    energy, timeline = found.energy, found.timeline
    verdict = None if timeline is None or timeline.verdict is None else timeline.verdict.verdict
    busy: list[float | None] = [None, None]
    if timeline is not None:
        by_name = {engine.name: engine.busy_s * 1e3 for engine in timeline.engines}
        busy = [by_name.get("compute"), by_name.get("dram")]
    return {
        **traffic_columns(found.traffic),
        "used_bytes": found.peak_bytes,
        "lower_bound_bytes": found.lower_bound_bytes,
        "gap": found.gap,
        "macs_executed": found.macs_executed,
        "steps": found.steps,
        "groups": len(found.groups),
        "counted": found.counted,
        "energy_mj": energy.total_pj / 1e9,
        "mac_energy_mj": energy.mac_pj / 1e9,
        "dram_energy_mj": energy.dram_pj / 1e9,
        "local_energy_mj": energy.local_pj / 1e9,
        "static_energy_mj": energy.static_pj / 1e9,
        "latency_ms": found.latency_s * 1e3,
        "compute_ms": busy[0],
        "dram_busy_ms": busy[1],
        "utilisation": None if timeline is None else timeline.utilisation,
        "limited_by": None if timeline is None else timeline.limited_by,
        "frames_per_second": 1 / found.latency_s
        if timeline is None
        else timeline.frames_per_second,
        "mean_gb_s": found.traffic.total_bytes / found.latency_s / 1e9,
        "required_gb_s": found.required_gb_s,
        "verdict": verdict,
        "warm_dram_bytes": found.frames.warm.total_bytes,
    }


def _run_layer(found: RunResult, layer: LayerResult) -> dict[str, Any]:
    traffic, tiling = layer.traffic, layer.tiling
    first = traffic.of(Reason.INPUT_READ, Reason.MAP_FILL)
    channels = tiling.get("output_channel_tile")
    parts = None
    if isinstance(channels, int):
        parts = -(-layer.output_shape[1] // (channels * int(tiling.get("group_tile", 1))))
    return {
        "layer": layer.name,
        **{
            name: value
            for name, value in traffic_columns(traffic).items()
            if name in ("dram_bytes", "weight_bytes", "map_bytes", "input_bytes", "output_bytes")
            or name == "map_spill_bytes"
        },
        "reads_per_byte": traffic.of(*INPUTS, *MAP_READS) / first if first else None,
        "parts": parts,
        "steps": layer.steps,
        "latency_us": layer.latency_s * 1e6,
        "utilisation": layer.utilisation,
        "energy_uj": layer.energy.total_pj / 1e6,
        "local_bytes": layer.local_bytes,
        "limited_by": layer.limited_by,
    }


def _held(asked: Mapping[str, Any]) -> Payload:
    before, after = _graph(asked, changed=False), _graph(asked)
    found = held_fixed(before, after, machine_of(asked), _options(asked))
    row: dict[str, int] = {}
    for name, traffic in (("before", found.before), ("held", found.fixed)):
        told = traffic_columns(traffic)
        row |= {f"{name}_{key}": told[key] for key in ("dram_bytes", "weight_bytes", "map_bytes")}
    return {"row": row, "layers": []}


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Payload]] = {
    "facts": _facts,
    "curve": _curve,
    "run": _run,
    "held": _held,
}


# ------------------------------------------------------------ machines


def machine_columns(machine: Hardware) -> dict[str, float | int]:
    """What a machine's file says, at the widths of its precision."""
    weights, maps = machine.precision.weights, machine.precision.activations
    rate = float(machine.compute.macs_per_cycle_of(weights, maps)) * machine.compute.clock_hertz
    mac_pj = machine.mac_pj(weights, maps)
    return {
        "capacity_bytes": machine.local_memory.capacity_bytes,
        "bandwidth_gb_s": machine.dram.bandwidth_bytes_per_second / 1e9,
        "clock_mhz": machine.compute.clock_hertz / 1e6,
        "macs_per_cycle": float(machine.compute.macs_per_cycle_of(8, 8)),
        "peak_gops": 2 * rate / 1e9,
        "peak_watt": rate * mac_pj * 1e-12 + machine.energy.static_watt,
        "mac_pj": mac_pj,
        "dram_pj_per_bit": machine.dram.energy_pj_per_bit,
    }
