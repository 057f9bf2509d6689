"""The checker: every rule that a schedule must obey, run in production on every result.

It takes the schedule as given and derives nothing from the search: extents, orders,
splits and partial sums are checked against the layer itself, and the maps' whereabouts
are followed from group to group.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, prod

from dataflow_sim.errors import ScheduleError
from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.layer import POINT, Layer, LayerKind, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.sweep import Sweep, SweepKind
from dataflow_sim.schedule.check_places import place_faults
from dataflow_sim.schedule.rows import streams_by_channel
from dataflow_sim.schedule.sweep_rows import runs_by_rows
from dataflow_sim.schedule.sweep_steps import steps_of, tile_extents
from dataflow_sim.schedule.types import (
    ORDERS,
    Group,
    LayerSchedule,
    LayerTiling,
    PartialSums,
    PlaneTiling,
    RowTiling,
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
    plane = layer.window.plane
    if plane is not None and tiling.column_tile < limits["column_tile"]:
        line = plane.body_size[1]
        if layer.pool is not None or tiling.column_tile % line:
            yield f"column_tile is {tiling.column_tile}, which cuts a line of {line}"
    whole = (
        tiling.output_channel_tile == limits["output_channel_tile"]
        and tiling.input_channel_tile == limits["input_channel_tile"]
    )
    if tiling.group_tile > 1 and not whole:
        yield "several groups in one tile, but not all of their channels"
    if layer.kind is not LayerKind.CONVOLUTION and not whole:
        yield f"a {layer.kind} layer cannot split the channels of a group"
    pinned = {
        "pinned_output_channels": limits["output_channel_tile"],
        "pinned_input_channels": limits["input_channel_tile"],
    }
    for name, limit in pinned.items():
        value = getattr(tiling, name)
        if not 0 <= value <= limit:
            yield f"{name} is {value}, legal is 0 to {limit}"
        tile = getattr(tiling, name.removeprefix("pinned_").removesuffix("s") + "_tile")
        if 0 < value < limit and ceil(limit / max(1, tile)) - value // max(1, tile) < 2:
            yield f"{name} is {value}: one tile is left to stream, legal are none, two or more"
        if value and (layer.weight is None or groups > 1):
            yield f"{name} is {value}, legal only of an ungrouped convolution"
    if tiling.pinned_output_channels and tiling.pinned_input_channels:
        yield "both kernel and input are pinned"
    trips = 1
    for name, limit in limits.items():
        trips *= ceil(limit / max(1, getattr(tiling, name)))
    wide = any(view.shape[2:] == layer.body_shape[2:] for view in layer.operands)
    if tiling.partial_sums is not PartialSums.NONE and wide:
        pixels = ("batch_tile", "row_tile", "column_tile")
        planes = prod(ceil(limits[name] / max(1, getattr(tiling, name))) for name in pixels)
        trips += layer.body_shape[1] * planes
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


def _sweep_faults(sweep: Sweep, tiling: LayerTiling) -> Iterator[str]:
    """Tiles within the loops; several batches only with all groups; sums where columns split."""
    sizes = []
    for name, limit in tile_extents(sweep):
        value = getattr(tiling, name)
        sizes.append(value)
        if not 1 <= value <= limit:
            yield f"{name} is {value}, legal is 1 to {limit}"
            return
    if sweep.kind is SweepKind.RECURRENT and sizes[2] not in (1, sweep.rows):
        yield f"{sizes[2]} rows of the input are held, legal is one or all {sweep.rows}"
    if tiling.order not in sweep.orders:
        yield f"order '{tiling.order}' is none of {', '.join(sweep.orders)}"
    if tiling.batch_tile > 1 and tiling.group_tile < sweep.groups:
        yield "several batches in one tile, but not all of their groups"
    waits = bool(sweep.sums) and tiling.column_tile < sweep.columns
    if tiling.partial_sums is not (PartialSums.KEPT if waits else PartialSums.NONE):
        yield f"running sums are '{tiling.partial_sums}', results wait for columns: {waits}"
    steps = steps_of(sweep, (sizes[0], sizes[1], sizes[2], sizes[3]))
    if tiling.steps != steps:
        yield f"{tiling.steps} steps stated, the tiles make {steps}"


def _kernel_faults(layer: Layer, tiling: RowTiling | PlaneTiling) -> Iterator[str]:
    """In a merged group a kernel streams by tiles of channels, or stays whole."""
    channels = layer.output_shape[1]
    if tiling.streamed and not streams_by_channel(layer):
        yield "its kernel cannot be streamed"
    if not 1 <= tiling.output_channel_tile <= channels:
        yield f"output_channel_tile is {tiling.output_channel_tile}, legal is 1 to {channels}"
    elif not tiling.streamed and tiling.output_channel_tile != channels:
        yield "its kernel stays, but a step makes only some of the channels"
    pinned = _pinned(tiling)
    if pinned and not (tiling.streamed and 0 < pinned <= channels - tiling.output_channel_tile):
        yield f"pinned_channels is {pinned} of {channels}, those of a streamed tile come besides"


def _pinned(tiling: RowTiling | PlaneTiling) -> int:
    return tiling.pinned_channels if isinstance(tiling, RowTiling) else 0


def _channel_tiles(layer: Layer, tiling: RowTiling | PlaneTiling) -> int:
    pinned = _pinned(tiling)
    return ceil((layer.output_shape[1] - pinned) / max(1, tiling.output_channel_tile)) + bool(
        pinned
    )


def _row_faults(layer: Layer, tiling: RowTiling) -> Iterator[str]:
    if layer.kind is LayerKind.STREAMED:
        yield from _swept_rows_faults(layer, tiling)
        return
    yield from _kernel_faults(layer, tiling)
    rows = layer.body_shape[2] if tiling.running else layer.output_shape[2]
    if tiling.running:
        window = POINT if layer.pool is None else layer.pool.window
        if layer.output_shape[2] != 1 or (window.kernel[0], window.pad[0]) != (rows, 0):
            yield "it carries a reduction, but does not pool all rows of its body into one"
    steps = rows * _channel_tiles(layer, tiling)
    if tiling.steps != steps:
        yield f"{tiling.steps} steps stated, its rows make {steps}"
    if not 1 <= tiling.firings <= rows:
        yield f"{tiling.firings} firings, legal is 1 to {rows}"


def _plane_faults(layer: Layer, tiling: PlaneTiling) -> Iterator[str]:
    """A firing is one step for each tile of channels."""
    if layer.kind is LayerKind.STREAMED or layer.window.plane is not None:
        yield "neither a streamed layer nor one of volumes can run by tiles of the plane"
    yield from _kernel_faults(layer, tiling)
    if tiling.firings < 1:
        yield f"{tiling.firings} firings, legal is 1 or more"
    steps = tiling.firings * _channel_tiles(layer, tiling)
    if tiling.steps != steps:
        yield f"{tiling.steps} steps stated, its firings make {steps}"


def _swept_rows_faults(layer: Layer, tiling: RowTiling) -> Iterator[str]:
    """A sweep makes all rows of a firing in one step, with all channels."""
    if layer.sweep is None or not runs_by_rows(layer.sweep):
        yield "a streamed layer without a sweep, or with a state, cannot run by rows"
        return
    if tiling.streamed or tiling.running or tiling.output_channel_tile != layer.output_shape[1]:
        yield "a sweep by rows has no kernel to stream, and makes all channels in a step"
    if not 1 <= tiling.firings <= layer.output_shape[2]:
        yield f"{tiling.firings} firings, legal is 1 to {layer.output_shape[2]}"
    if tiling.steps != tiling.firings:
        yield f"{tiling.steps} steps stated, its firings make {tiling.firings}"


def _traffic_faults(
    graph: NetworkGraph, layer: Layer, chosen: LayerSchedule, group: Group
) -> Iterator[str]:
    """Conservation: each weight at least once unless it stands, each stored output just once."""
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
        if name in group.resident:
            if name not in group.kept and moved:
                yield f"weights '{name}' stand in local memory, but {moved} bits are fetched"
        elif moved < tensor.elements * tensor.bits:
            yield f"weights '{name}' are fetched {moved} bits of {tensor.elements * tensor.bits}"
    for name in layer.outputs:
        tensor = graph.tensors[name]
        reason = Reason.OUTPUT_WRITE if tensor.kind is TensorKind.OUTPUT else Reason.MAP_SPILL
        moved = sum(v for k, v in bits.items() if k.tensor == name and k.reason is reason)
        due = tensor.elements * tensor.bits if name in group.stored else 0
        if moved != due:
            yield f"output '{name}' is written {moved} bits of {due}"
    if chosen.macs_executed < layer_macs(layer) and layer.pool is None:
        yield f"{chosen.macs_executed} MACs executed of {layer_macs(layer)}"


def _layer_faults(graph: NetworkGraph, schedule: Schedule, sound: set[int]) -> Iterator[str]:
    for group in schedule.groups:
        for index, chosen in zip(group.members, group.layers, strict=True):
            layer = graph.layers[index]
            if id(chosen) in sound:
                continue
            found: list[str] = []
            if isinstance(chosen.tiling, RowTiling):
                found.extend(_row_faults(layer, chosen.tiling))
            elif isinstance(chosen.tiling, PlaneTiling):
                found.extend(_plane_faults(layer, chosen.tiling))
            elif layer.sweep is not None:
                found.extend(_sweep_faults(layer.sweep, chosen.tiling))
            elif layer.kind is not LayerKind.STREAMED:
                found.extend(_extent_faults(layer, chosen.tiling))
                found.extend(_order_faults(layer, chosen.tiling))
            elif chosen.tiling.steps < 1:
                found.append("a streamed layer takes at least one step")
            found.extend(_traffic_faults(graph, layer, chosen, group))
            if not found:
                sound.add(id(chosen))
            yield from (f"layer '{layer.name}': {fault}" for fault in found)


def _whereabouts_faults(graph: NetworkGraph, schedule: Schedule) -> Iterator[str]:
    """Every map that is read is somewhere, and stays where it is said to stay."""
    in_dram = {n for n, t in graph.tensors.items() if t.kind is TensorKind.WEIGHT}
    in_dram.update(graph.inputs)
    local: frozenset[str] = schedule.standing
    brought = schedule.standing if schedule.warm else frozenset()
    for number, group in enumerate(schedule.groups):
        layers = [graph.layers[index] for index in group.members]
        outputs = {name for layer in layers for name in layer.outputs}
        made: set[str] = set()
        here = f"group {number}"
        if not schedule.standing <= group.resident:
            yield f"{here}: {sorted(schedule.standing - group.resident)} do not stand any more"
        brought |= schedule.standing & set(group.kept)
        used = {name for layer in layers for name in layer.weights}
        for name in sorted(schedule.standing & used - brought):
            yield f"{here}: '{name}' is used, but nobody brought it"
        for name in sorted(group.resident - local - outputs - set(group.kept)):
            yield f"{here}: '{name}' is resident, but nobody brought it"
        for name in group.kept:
            if name not in in_dram or name not in group.resident:
                yield f"{here}: '{name}' cannot be kept"
        for layer in layers:
            for segment in (s for view in layer.views for s in view.segments):
                name = segment.tensor
                if graph.tensors[name].kind is TensorKind.WEIGHT:
                    continue
                here_already = name in made or (name in group.resident and name not in outputs)
                if name not in in_dram and not here_already:
                    yield f"layer '{layer.name}' reads '{name}', which is nowhere"
            made.update(layer.outputs)
        for name in sorted(made & set(graph.outputs) - group.stored):
            yield f"{here}: the network's output '{name}' is not stored"
        in_dram |= group.stored
        local = group.resident


def _accumulator_faults(schedule: Schedule) -> Iterator[str]:
    """Partial sums with a memory of their own fit it."""
    there = schedule.memory.accumulator_capacity_bytes or 0
    for chosen in schedule.layers:
        if not 0 <= chosen.accumulator_bytes <= there:
            yield (
                f"layer '{chosen.layer}': its partial sums need {chosen.accumulator_bytes:,} bytes "
                f"of accumulator memory, there are {there:,}"
            )


def schedule_faults(
    graph: NetworkGraph, schedule: Schedule, sound: set[int] | None = None
) -> tuple[str, ...]:
    """Every rule that the schedule breaks, each as one sentence; empty when it is legal.

    `sound` collects the identities of layer schedules found without fault, which schedules
    of one curve share; the caller keeps them alive.
    """
    order, given = schedule.order, [chosen.layer for chosen in schedule.layers]
    everything = sorted(order) == list(range(len(graph.layers)))
    if not everything or given != [graph.layers[index].name for index in order]:
        layers = len(graph.layers)
        return (f"the schedule holds {len(given)} layers that are not the graph's {layers}",)
    return (
        *_layer_faults(graph, schedule, set() if sound is None else sound),
        *_whereabouts_faults(graph, schedule),
        *place_faults(schedule),
        *_accumulator_faults(schedule),
    )


def check_schedule(graph: NetworkGraph, schedule: Schedule, sound: set[int] | None = None) -> None:
    """Raise ScheduleError naming every rule that the schedule breaks."""
    faults = schedule_faults(graph, schedule, sound)
    if faults:
        raise ScheduleError(f"illegal schedule of {schedule.network}: " + "; ".join(faults))
