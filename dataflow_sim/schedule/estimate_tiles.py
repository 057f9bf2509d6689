"""The closed form of a merged group that runs by tiles of the plane, by tensor and reason.

What tiles make of a map from DRAM is read, and counted at the first of its readers, though another
one of the group may need some of it before; a kernel that streams is fetched in every firing of
its layer.  A firing is a step, or one for each
tile of channels: it reads what it needs of its views once, and writes what it makes.
"""

from __future__ import annotations

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.estimate import LayerTraffic, Reading, TrafficHistory, dma_bits
from dataflow_sim.schedule.estimate_rows import merged_schedules, weight_bits_read
from dataflow_sim.schedule.layout import GroupRun
from dataflow_sim.schedule.rows import RowNeeds, depthwise
from dataflow_sim.schedule.tile_regions import TiledGroup, TiledMap, macs_of, needed
from dataflow_sim.schedule.timetable import RowTables, Timetable
from dataflow_sim.schedule.types import LayerSchedule, PlaneTiling


def group_schedules(
    tables: RowTables,
    run: GroupRun,
    walk: Timetable | TiledGroup,
    kept: tuple[str, ...],
    history: TrafficHistory,
) -> tuple[LayerSchedule, ...]:
    """The schedules of a merged group's layers, in order, by rows or by tiles."""
    if isinstance(walk, TiledGroup):
        return tiled_schedules(run, walk, kept, history)
    return merged_schedules(tables, run, walk, kept, history)


def tiled_schedules(
    run: GroupRun, group: TiledGroup, kept: tuple[str, ...], history: TrafficHistory
) -> tuple[LayerSchedule, ...]:
    """The schedules of a group's layers, in order."""
    graph = group.graph
    tiles = dict(run.tiles)
    traffic = [
        LayerTraffic(graph, layer, history, run.resident, run.stored) for layer in group.layers
    ]
    for name in kept:
        users = [p for p, layer in enumerate(group.layers) if name in layer.weights]
        found = group.maps.get(name)
        traffic[found.readers[0] if found is not None else users[0]].keep(name)
    for found in group.maps.values():
        if found.producer is None and found.name not in run.resident:
            traffic[found.readers[0]].note(found.name, _reading(graph, found))
    schedules = []
    for place, (index, layer) in enumerate(zip(run.members, group.layers, strict=True)):
        firings = len(group.firings[place])
        streamed = tiles.get(index)
        traffic[place].weights(firings if streamed else 1)
        bits = traffic[place].settle()
        channels = layer.output_shape[1]
        steps = -(-channels // streamed) if streamed else 1
        tiling = PlaneTiling(bool(streamed), streamed or channels, firings, firings * steps)
        made = group.maps[layer.output]
        local = dma_bits(graph, bits).and_more(
            *_step_bits(graph, layer, made, group.needs[place], steps)
        )
        local = local.and_more(firings * weight_bits_read(graph, layer, steps), 0)
        schedules.append(LayerSchedule(layer.name, tiling, bits, macs_of(layer, made), *local))
    return tuple(schedules)


def _reading(graph: NetworkGraph, found: TiledMap) -> Reading:
    """All reads of a map from DRAM."""
    rows, columns = found.rows.touched(), found.columns.touched()
    batch = graph.tensors[found.name].shape[0]
    return Reading(
        (found.channels.start, found.channels.stop),
        rows,
        columns,
        batch * found.rows.made * found.columns.made,
        batch * len(rows) * len(columns),
    )


def _step_bits(
    graph: NetworkGraph,
    layer: Layer,
    made: TiledMap,
    needs: tuple[tuple[RowNeeds, ...], tuple[RowNeeds, ...]],
    steps: int,
) -> tuple[int, int]:
    """Bits of maps that all steps of a layer read from and write to local memory."""
    times = 1 if depthwise(layer) else steps
    bits = 0
    for number, (view, rows, columns) in enumerate(zip(layer.views, *needs, strict=True)):
        low, high = needed(rows, made.rows)
        left, right = needed(columns, made.columns)
        held = view.shape[0] * int((high - low).sum()) * int((right - left).sum())
        each = sum(s.channels * graph.tensors[s.tensor].local_bits for s in view.segments)
        bits += (times if number == 0 else 1) * held * each
    output = graph.tensors[layer.output]
    n, c, _, _ = output.shape
    return bits, n * c * made.rows.made * made.columns.made * output.local_bits
