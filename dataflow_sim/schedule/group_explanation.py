"""Why a merged group takes the bytes that it takes: its line buffers, weights and peak firing.

Everything is read off the layout, in which each buffer has a size, a first and a last moment, the
places of the sorted firings.  At a moment

    live set   =   rows of maps that live   +   kernels and constants that stay
                                            +   the kernel tile of the layer that fires

and the peak is the first moment at which it is largest.  While a layer fires, the K rows of its
window live; K - s persist behind it, for the next firing takes s new ones:

    firing of the reader        |  K  |     |  K  |     |  K  |
    between two of them               K-s         K-s

Rows persist longer where a second reader is late (a shortcut), and more of them live where a
stripe has several.  Rows are counted, and K and s are those of the last reader's window.

Source: the timetable (`timetable`), the lives of buffers (`layout`).
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.results_of_groups import (
    HeldWeights,
    LineBuffer,
    Member,
    Moved,
    Peak,
    ResidentMap,
    Rows,
)
from dataflow_sim.schedule.layout import PINNED, GroupLayout, GroupRun
from dataflow_sim.schedule.lives import MapLives, layer_reads
from dataflow_sim.schedule.map_rows import MapRows
from dataflow_sim.schedule.rows import Ints, LayerRows
from dataflow_sim.schedule.timetable import LAYERS, RowTables
from dataflow_sim.schedule.types import Group, LayerTiling, RowTiling, Schedule
from dataflow_sim.traffic import TrafficKey


def live_set(layout: GroupLayout) -> Ints:
    """Bytes that live at each moment of a group."""
    change = np.zeros(len(layout.firings) + 1, np.int64)
    sizes, first, last = np.array(layout.lives, np.int64).reshape(-1, 3).T
    np.add.at(change, first, sizes)
    np.subtract.at(change, last + 1, sizes)
    return np.asarray(np.cumsum(change)[:-1], np.int64)


# ------------------------------------------------------------ who is in


def group_members(graph: NetworkGraph, group: Group) -> tuple[Member, ...]:
    """The layers of a group as they fire."""
    found = []
    for index, chosen in zip(group.members, group.layers, strict=True):
        layer, tiling = graph.layers[index], chosen.tiling
        size = fetches = pinned = 0
        if layer.weight is not None:
            kernel = graph.tensors[layer.weight]
            size = -(-kernel.elements * kernel.local_bits // graph.byte_bits)
            moved = sum(v for k, v in chosen.traffic_bits.items() if k.tensor == layer.weight)
            pinned = tiling.pinned_channels if isinstance(tiling, RowTiling) else 0
            channel = kernel.elements // kernel.shape[0] * kernel.bits
            again = (kernel.shape[0] - pinned) * channel
            fetches = -(-(moved - pinned * channel) // again)
        channels = layer.output_shape[1]
        held, tile, firings = "nest" if size else "none", channels, 1
        if not isinstance(tiling, LayerTiling):
            tile, firings = tiling.output_channel_tile, tiling.firings
            if size:
                held = "streams" if tiling.streamed else "stays"
        found.append(
            Member(
                name=layer.name,
                number=index + 1,
                op=layer.op,
                output_shape=layer.output_shape,
                kernel=held,
                kernel_bytes=size,
                channels=channels,
                tile_channels=tile,
                pinned_channels=pinned,
                fetches=fetches,
                firings=firings,
                steps=tiling.steps,
                macs=layer_macs(layer),
                macs_executed=chosen.macs_executed,
            )
        )
    return tuple(found)


def group_traffic(group: Group, byte_bits: int) -> tuple[Moved, ...]:
    """What a group moves by tensor and reason, tensors as they are met first."""
    bits: Counter[TrafficKey] = Counter()
    for layer in group.layers:
        bits.update(layer.traffic_bits)
    order = list(dict.fromkeys(key.tensor for key in bits))
    ranked = sorted(bits.items(), key=lambda item: (order.index(item[0].tensor), item[0].reason))
    return tuple(
        Moved(key.tensor, key.reason.value, -(-value // byte_bits))
        for key, value in ranked
        if value
    )


# ------------------------------------------------------------ what stays around it


def resident_maps(
    graph: NetworkGraph, schedule: Schedule, number: int, lives: MapLives
) -> tuple[ResidentMap, ...]:
    """The maps that are whole in local memory while a group runs, the largest first."""
    group = schedule.groups[number]
    made = {name for i in group.members for name in graph.layers[i].outputs}
    reads = frozenset().union(*(layer_reads(graph.layers[i]) for i in group.members))
    done = sum(1 << i for each in schedule.groups[: number + 1] for i in each.members)
    order, hands = schedule.order, group.hands
    found = []
    for home in schedule.residents:
        if not home.first <= number <= home.last:
            continue
        names = tuple(name for name in home.tensors if name in group.resident)
        (first, *_), last = names, names[-1]
        readers = [i for i in order if lives.readers.get(last, 0) & ~done & (1 << i)]
        roles = []
        if any(name in reads for name in names):
            roles.append("read")
        if any(name in made for name in names):
            roles.append("made")
        maker = [layer.name for layer in graph.layers if first in layer.outputs]
        found.append(
            ResidentMap(
                tensors=names,
                size_bytes=home.size_bytes,
                role=" and ".join(roles) or "waits",
                loaded=tuple(name for name in names if name in group.kept),
                gives_to=hands.made if hands is not None and hands.taken in names else "",
                made_by=maker[0] if maker else "",
                next_reader=graph.layers[readers[0]].name if readers else "",
                first=home.first,
                last=home.last,
            )
        )
    return tuple(sorted(found, key=lambda each: (-each.size_bytes, each.tensors)))


# ------------------------------------------------------------ line buffers and peak


def group_rows(tables: RowTables, group: Group, run: GroupRun, layout: GroupLayout) -> Rows:
    """How a merged group fills its local memory."""
    live = live_set(layout)
    moment = int(live.argmax())
    table = layout.timetable
    stripes = layout.firings[-1] // LAYERS - layout.firings[0] // LAYERS + 1
    place = layout.firings[moment] % LAYERS
    firings = table.firings[place]
    here = np.flatnonzero(table.row_firing[place] == layout.firings[moment])
    peak = Peak(
        layer=table.layers[place].name,
        firing=int(np.searchsorted(firings, layout.firings[moment])) + 1,
        firings=len(firings),
        stripe=layout.firings[moment] // LAYERS - layout.firings[0] // LAYERS + 1,
        first_row=int(here[0]),
        last_row=int(here[-1]),
        live_bytes=int(live[moment]),
    )
    return Rows(
        stripe_rows=group.stripe_rows,
        stripes=stripes,
        packing=group.packing.value,
        line_buffers=_line_buffers(tables, run, layout, moment),
        weights=held_weights(tables.graph, run, layout, moment),
        peak=peak,
    )


def _line_buffers(
    tables: RowTables, run: GroupRun, layout: GroupLayout, moment: int
) -> tuple[LineBuffer, ...]:
    """Each map that is kept by rows, in the order in which it is met."""
    table = layout.timetable
    lives: dict[str, list[tuple[int, int]]] = {}
    for held, life in zip(layout.held, layout.lives, strict=True):
        if held.layer < 0:
            lives.setdefault(held.tensor, []).append((life.first, life.last))
    found = []
    for name, mine in lives.items():
        if name not in table.maps:
            continue
        rows = table.maps[name]
        places = [p for p, layer in enumerate(table.layers) if name in layer_reads(layer)]
        first, last = (np.array(side) for side in zip(*mine, strict=True))
        alive = _alive(first, last + 1, len(layout.firings))
        stay = _alive(first, last, len(layout.firings))
        fired = [np.zeros(0, np.int64), *(table.firings[p] for p in places)]
        moments = np.searchsorted(layout.firings, np.unique(np.concatenate(fired)))
        window, stride = (0, None)
        if places:
            window, stride = _window(table.layers[places[-1]], table.rows[places[-1]], name)
        found.append(
            LineBuffer(
                tensor=name,
                made_by="" if rows.producer is None else table.layers[rows.producer].name,
                read_by=tuple(table.layers[p].name for p in places),
                stored=name in run.stored,
                doubled=_doubled(run, rows),
                rows=len(mine),
                row_bytes=rows.row_bytes,
                most_rows=int(alive.max()),
                between_rows=int(stay[moments].max()) if len(moments) else 0,
                peak_rows=int(alive[moment]),
                window_rows=window,
                stride=stride,
            )
        )
    return tuple(found)


def _doubled(run: GroupRun, rows: MapRows) -> bool:
    """Whether rows of a map have a second buffer on their way from DRAM, or there."""
    if rows.producer is None:
        return run.doubled.inputs
    return run.doubled.outputs and rows.name in run.stored


def _alive(first: Ints, behind: Ints, moments: int) -> Ints:
    """How many rows live at each moment, from `first` up to the moment before `behind`."""
    born = np.bincount(first, minlength=moments + 1)
    return np.asarray(np.cumsum(born - np.bincount(behind, minlength=moments + 1))[:-1], np.int64)


def _window(layer: Layer, rows: LayerRows, name: str) -> tuple[int, int | None]:
    """Rows of a map that a row of a layer needs, and how far they move: 0 where all rows wait."""
    most, stride = 0, None
    for view, needs in zip(layer.views, rows.views, strict=True):
        if name in {segment.tensor for segment in view.segments}:
            most = max(most, int((needs.high - needs.low).max()))
            whole = needs.low[-1] == needs.low[0] and needs.high[-1] == needs.high[0]
            moves = np.zeros(1, np.int64) if whole else np.unique(np.diff(needs.last))
            stride = int(moves[0]) if len(moves) == 1 else stride
    return most, stride


def held_weights(
    graph: NetworkGraph, run: GroupRun, layout: GroupLayout, moment: int
) -> tuple[HeldWeights, ...]:
    """Kernels, kernel tiles and constants, layer by layer in the order in which they fire."""
    streamed = dict(run.tiles)
    found: dict[tuple[int, str, bool], HeldWeights] = {}
    for held, life in zip(layout.held, layout.lives, strict=True):
        if held.layer < 0:
            continue
        layer = graph.layers[held.layer]
        pinned = held.number == PINNED
        key = (held.layer, held.tensor, pinned)
        here = life.size_bytes if life.first <= moment <= life.last else 0
        before = found.get(key)
        size = life.size_bytes
        if before is not None:  # a second slot of the tile, or another firing's
            size = before.size_bytes + (life.size_bytes if _first_firing(layout, held) else 0)
            here += before.peak_bytes
        what = "pinned kernel" if pinned else _what(layer, held.tensor, held.layer in streamed)
        found[key] = HeldWeights(held.tensor, layer.name, what, size, here)
    return tuple(found.values())


def _first_firing(layout: GroupLayout, held: tuple[str, int, int, int]) -> bool:
    """Whether a slot of a kernel's tile belongs to the first firing of its layer."""
    _, layer, _, moment = held
    walk = layout.buffers.walk
    place = walk.members.index(layer)
    return layout.firings[moment] == int(walk.firings[place][0])


def _what(layer: Layer, name: str, streamed: bool) -> str:
    if name == layer.output:
        return "running result" if layer.sweep is None else "statistics"
    if name != layer.weight:
        return "constants"
    return "kernel tile" if streamed else "kernel"
