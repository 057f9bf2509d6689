"""The checker: every rule that a schedule must obey, run in production on every result.

It takes the schedule as given and derives nothing from the search: extents, orders,
splits and partial sums are checked against the layer itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from dataflow_sim.errors import ScheduleError
from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.layer import Layer, LayerKind, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.types import (
    ORDERS,
    LayerSchedule,
    LayerTiling,
    PartialSums,
    Schedule,
)
from dataflow_sim.traffic import Reason


def _extent_faults(layer: Layer, tiling: LayerTiling) -> Iterator[str]:
    groups = layer.body_shape[1] if layer.kind is LayerKind.CHANNELWISE else layer.groups
    limits = {
        "group_tile": groups,
        "output_channel_tile": layer.body_shape[1] // groups,
        "input_channel_tile": layer.input.shape[1] // groups,
        "batch_tile": layer.output_shape[0],
        "row_tile": layer.output_shape[2],
        "column_tile": layer.output_shape[3],
    }
    for name, limit in limits.items():
        value = getattr(tiling, name)
        if not 1 <= value <= limit:
            yield f"{name} is {value}, legal is 1 to {limit}"
    whole = (
        tiling.output_channel_tile == limits["output_channel_tile"]
        and tiling.input_channel_tile == limits["input_channel_tile"]
    )
    if tiling.group_tile > 1 and not whole:
        yield "several groups in one tile, but not all of their channels"
    if layer.kind is not LayerKind.CONVOLUTION and not whole:
        yield f"a {layer.kind} layer cannot split the channels of a group"
    trips = 1
    for name, limit in limits.items():
        trips *= ceil(limit / max(1, getattr(tiling, name)))
    if tiling.steps != trips:
        yield f"{tiling.steps} steps stated, the tiles make {trips}"


def _order_faults(layer: Layer, tiling: LayerTiling) -> Iterator[str]:
    if tiling.order not in ORDERS:
        yield f"unknown loop order '{tiling.order}'"
        return
    split = tiling.input_channel_tile < layer.input_channels_per_group
    split = split and layer.kind is LayerKind.CONVOLUTION
    if split == (tiling.partial_sums is PartialSums.NONE):
        yield f"partial sums are '{tiling.partial_sums}', the reduction is split: {split}"
    if tiling.partial_sums is PartialSums.SPILLED and tiling.order.endswith("K"):
        yield "partial sums are spilled although K is the innermost loop"
    spatial = tiling.row_tile < layer.output_shape[2] or tiling.column_tile < layer.output_shape[3]
    if layer.pool is not None and tiling.partial_sums is not PartialSums.NONE:
        if tiling.partial_sums is PartialSums.SPILLED:
            yield "partial sums of a pooled layer cannot be spilled"
        if spatial and tiling.order.index("P") > tiling.order.index("K"):
            yield "a pooled layer recomputes its body: its spatial loop must enclose K"


def _traffic_faults(graph: NetworkGraph, layer: Layer, chosen: LayerSchedule) -> Iterator[str]:
    """Conservation: each weight at least once, each output exactly once."""
    bits = chosen.traffic_bits
    if any(value < 0 for value in bits.values()):
        yield "negative traffic"
    for name in layer.weights:
        tensor = graph.tensors[name]
        moved = sum(
            value
            for key, value in bits.items()
            if key.tensor == name and key.reason in (Reason.WEIGHT_FETCH, Reason.WEIGHT_REFETCH)
        )
        if moved < tensor.elements * tensor.bits:
            yield f"weights '{name}' are fetched {moved} bits of {tensor.elements * tensor.bits}"
    for name in layer.outputs:
        tensor = graph.tensors[name]
        reason = Reason.OUTPUT_WRITE if tensor.kind is TensorKind.OUTPUT else Reason.MAP_SPILL
        moved = sum(v for k, v in bits.items() if k.tensor == name and k.reason is reason)
        if moved != tensor.elements * tensor.bits:
            yield f"output '{name}' is written {moved} bits of {tensor.elements * tensor.bits}"
    if chosen.macs_executed < layer_macs(layer) and layer.pool is None:
        yield f"{chosen.macs_executed} MACs executed of {layer_macs(layer)}"


def schedule_faults(graph: NetworkGraph, schedule: Schedule) -> tuple[str, ...]:
    """Every rule that the schedule breaks, each as one sentence; empty when it is legal."""
    faults: list[str] = []
    expected = [layer.name for layer in graph.layers]
    given = [chosen.layer for chosen in schedule.layers]
    if given != expected:
        return (f"the schedule holds {len(given)} layers that are not the graph's {len(expected)}",)
    for layer, chosen in zip(graph.layers, schedule.layers, strict=True):
        found: list[str] = []
        if chosen.local_bytes > schedule.memory.capacity_bytes:
            found.append(
                f"needs {chosen.local_bytes:,} bytes of local memory, there are "
                f"{schedule.memory.capacity_bytes:,}"
            )
        if layer.kind is not LayerKind.OPAQUE:
            found.extend(_extent_faults(layer, chosen.tiling))
            found.extend(_order_faults(layer, chosen.tiling))
        elif chosen.tiling.steps < 1:
            found.append("an opaque layer takes at least one step")
        found.extend(_traffic_faults(graph, layer, chosen))
        faults.extend(f"layer '{layer.name}': {fault}" for fault in found)
    return tuple(faults)


def check_schedule(graph: NetworkGraph, schedule: Schedule) -> None:
    """Raise ScheduleError naming every rule that the schedule breaks."""
    faults = schedule_faults(graph, schedule)
    if faults:
        raise ScheduleError(f"illegal schedule of {schedule.network}: " + "; ".join(faults))
