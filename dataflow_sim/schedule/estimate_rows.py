"""The closed form of a merged group, split by layer, tensor and reason.

Each needed row of a map from DRAM is loaded once, and counted where it is read first; a
kernel that streams is fetched in every firing of its layer.  A step reads the rows and
weights that it needs once and writes its row once; a sweep makes all rows of a firing in one step.
A layer that carries a running reduction
takes a row of its body in a step; the running result is written by all steps but the last of
each channel and read by all but the first, which counts unless it has a memory of its own.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dataflow_sim.graph.layer import Layer, View
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.estimate import LayerTraffic, Reading, TrafficHistory, dma_bits
from dataflow_sim.schedule.footprints import layer_axes
from dataflow_sim.schedule.layout import GroupRun
from dataflow_sim.schedule.map_rows import MapRows
from dataflow_sim.schedule.rows import Ints, LayerRows, column_span, depthwise, stripe_spans
from dataflow_sim.schedule.timetable import LAYERS, RowTables, Timetable
from dataflow_sim.schedule.types import LayerSchedule, RowTiling


def merged_schedules(
    tables: RowTables,
    run: GroupRun,
    table: Timetable,
    kept: tuple[str, ...],
    history: TrafficHistory,
) -> tuple[LayerSchedule, ...]:
    """The schedules of a merged group's layers, in order."""
    graph = tables.graph
    tiles, pinned = dict(run.tiles), dict(run.pinned)
    traffic = [
        LayerTraffic(graph, layer, history, run.resident, run.stored) for layer in table.layers
    ]
    for name in kept:
        traffic[_first_user(table, name)].keep(name)
    for found in table.outside():
        if found.name not in run.resident:
            _load_rows(graph, found, traffic)
    schedules = []
    for place, (index, layer) in enumerate(zip(run.members, table.layers, strict=True)):
        rows, carried = table.rows[place], table.carried.get(place)
        firings = len(table.firings[place])
        streamed, stay = tiles.get(index), pinned.get(index, 0)
        traffic[place].weights(firings if streamed else 1, stay)
        bits = traffic[place].settle()
        if layer.sweep is not None:
            steps_of_sweep = _sweep_bits(graph, layer, rows, table.row_firing[place])
            local = dma_bits(graph, bits).and_more(*steps_of_sweep)
            if carried is not None:
                statistics = rows.sums * carried.bits  # written once, read by all other firings
                local = local.and_more((firings - 1) * statistics, statistics)
            tiling = RowTiling(False, layer.output_shape[1], firings, firings)
            schedules.append(LayerSchedule(layer.name, tiling, bits, layer.stated_macs, *local))
            continue
        channels = layer.output_shape[1]
        steps_a_row = -(-(channels - stay) // streamed) + bool(stay) if streamed else 1
        steps = rows.rows * steps_a_row
        running = carried is not None
        tiling = RowTiling(bool(streamed), streamed or channels, firings, steps, running, stay)
        local = dma_bits(graph, bits).and_more(*_step_bits(graph, layer, rows, steps_a_row))
        apart = 0
        if carried is not None and carried.address is not None:
            apart = carried.address + carried.life.row_bytes
        elif carried is not None:
            sums = (rows.rows - 1) * graph.tensors[layer.output].elements * carried.bits
            local = local.and_more(sums, sums)
        schedules.append(LayerSchedule(layer.name, tiling, bits, _macs(layer), *local, apart))
    return tuple(schedules)


def _first_user(table: Timetable, name: str) -> int:
    """The place of the layer that reads a map, or uses weights, first."""
    found = table.maps.get(name)
    if found is not None:
        return int(found.birth[found.needed].min() % LAYERS)
    users = [place for place, layer in enumerate(table.layers) if name in layer.weights]
    return min(users, key=lambda place: int(table.firings[place][0]))


def _load_rows(graph: NetworkGraph, found: MapRows, traffic: list[LayerTraffic]) -> None:
    """Each row of a map from DRAM, counted at the layer that reads it first."""
    rows = found.needed
    readers = found.birth[rows] % LAYERS
    columns = tuple(range(*found.columns))
    batch = graph.tensors[found.name].shape[0]
    channels = (found.channels.start, found.channels.stop)
    for place in np.unique(readers).tolist():
        mine = tuple(rows[readers == place].tolist())
        elements = batch * len(mine) * len(columns)
        traffic[place].note(found.name, Reading(channels, mine, columns, elements, elements))


def _macs(layer: Layer) -> int:
    """MACs of all rows, one by one: rows of overlapping pooling windows are recomputed."""
    if layer.weight is None:
        return 0
    rows, columns = layer_axes(layer)
    n, c = layer.output_shape[:2]
    width = columns.multiplications(columns.body_span(0, columns.output_size))
    height = sum(
        rows.multiplications(rows.body_span(row, row + 1)) for row in range(rows.output_size)
    )
    return n * c * height * width * layer.input_channels_per_group


def _view_bits(graph: NetworkGraph, view: View) -> int:
    """Bits of one element of all channels of a view, in the widths of their own maps."""
    return sum(s.channels * graph.tensors[s.tensor].local_bits for s in view.segments)


def _step_bits(
    graph: NetworkGraph, layer: Layer, rows: LayerRows, steps_a_row: int
) -> tuple[int, int]:
    """Bits that all steps of a layer read from and write to local memory.

    Each of the steps of a row reads all channels of the input, of a depthwise layer its own.
    """
    times_read = 1 if depthwise(layer) else steps_a_row
    batch = layer.output_shape[0]
    inputs, *operands = rows.views
    held = inputs.reads * column_span(layer, layer.input).length
    bits = times_read * batch * held * _view_bits(graph, layer.input)
    for view, needs in zip(layer.operands, operands, strict=True):
        held = needs.reads * column_span(layer, view).length
        bits += batch * held * _view_bits(graph, view)
    output = graph.tensors[layer.output]
    weights = rows.rows * weight_bits_read(graph, layer, steps_a_row)
    return bits + weights, output.elements * output.local_bits


def weight_bits_read(graph: NetworkGraph, layer: Layer, steps: int) -> int:
    """Bits of weights that the steps read which together make all channels of something once.

    Each reads its own tile of the kernel, and of a layer that is not depthwise all constants of
    the input.
    """
    times = 1 if depthwise(layer) else steps
    weights = [(layer.weight, 1), (layer.output_vectors, 1), (layer.input_vectors, times)]
    found = [(graph.tensors[name], count) for name, count in weights if name is not None]
    return sum(count * tensor.elements * tensor.local_bits for tensor, count in found)


def _sweep_bits(
    graph: NetworkGraph, layer: Layer, rows: LayerRows, firing: Ints
) -> tuple[int, int]:
    """Bits that all steps of a sweep read from and write to local memory, carried ones apart.

    A step reads its rows of every view once, and the constants, and writes the rows that it makes.
    """
    starts = np.unique(firing, return_index=True)[1].tolist()
    bits = 0
    for first, stop in pairwise((*starts, rows.rows)):
        for view, span in zip(layer.views, stripe_spans(rows, first, stop), strict=True):
            n, _, _, w = view.shape
            bits += n * span.length * w * _view_bits(graph, view)
    constants = (graph.tensors[name] for name in layer.weights)
    bits += len(starts) * sum(tensor.elements * tensor.local_bits for tensor in constants)
    output = graph.tensors[layer.output]
    return bits, output.elements * output.local_bits
