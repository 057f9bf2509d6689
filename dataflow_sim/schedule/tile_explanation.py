"""Why a merged group that runs by tiles of the plane takes the bytes that it takes.

As in `group_explanation` everything is read off the layout.  At a moment

    live set   =   cells of maps that live   +   kernels and constants that stay
                                             +   the kernel tile of the layer that fires

and the peak is the first moment at which it is largest.  Of a map whose halo is kept along a line
of tiles the columns of a window live while its reader fires, and those that the next tile needs
too between two firings.
"""

from __future__ import annotations

import numpy as np

from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.results_of_groups import CellBuffer, TilePeak, Tiles
from dataflow_sim.schedule.group_explanation import held_weights, live_set
from dataflow_sim.schedule.layout import GroupLayout, GroupRun
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.tile_regions import Side, TiledGroup, TiledMap, macs_of
from dataflow_sim.schedule.timetable import LAYERS
from dataflow_sim.schedule.types import Group


def group_tiles(group: Group, run: GroupRun, layout: GroupLayout) -> Tiles:
    """How a merged group by tiles of the plane fills its local memory."""
    live = live_set(layout)
    moment = int(live.argmax())
    tiled = layout.tiled
    tile, place = divmod(layout.firings[moment], LAYERS)
    line, column = divmod(tile, tiled.width)
    layer = tiled.layers[place]
    made = tiled.maps[layer.output]
    firings = tiled.firings[place]
    peak = TilePeak(
        layer=layer.name,
        firing=int(np.searchsorted(firings, layout.firings[moment])) + 1,
        firings=len(firings),
        line=line + 1,
        column=column + 1,
        rows=_span(made.rows, line),
        columns=_span(made.columns, column),
        live_bytes=int(live[moment]),
    )
    return Tiles(
        rows=tiled.tile.rows,
        columns=tiled.tile.columns,
        lines=tiled.lines,
        width=tiled.width,
        packing=group.packing.value,
        cells=_cells(tiled, run, layout, moment),
        weights=held_weights(tiled.graph, run, layout, moment),
        macs=sum(layer_macs(each) for each in tiled.layers),
        macs_executed=sum(macs_of(each, tiled.maps[each.output]) for each in tiled.layers),
        peak=peak,
    )


def _span(side: Side, tile: int) -> tuple[int, int]:
    """First and last row or column that a tile makes."""
    return int(side.made_low[tile]), int(side.made_high[tile]) - 1


def _cells(
    tiled: TiledGroup, run: GroupRun, layout: GroupLayout, moment: int
) -> tuple[CellBuffer, ...]:
    """Each map that is kept by cells, in the order in which it is met."""
    lives: dict[str, list[tuple[int, int, int]]] = {}
    for held, life in zip(layout.held, layout.lives, strict=True):
        if held.layer < 0:
            lives.setdefault(held.tensor, []).append(life)
    found = []
    for name, mine in lives.items():
        cells = tiled.maps[name]
        size, first, last = np.array(mine, np.int64).T
        alive = _alive(size, first, last + 1, len(layout.firings))
        stay = _alive(size, first, last, len(layout.firings))
        fired = np.concatenate(
            [np.zeros(0, np.int64), *(tiled.firings[place] for place in cells.readers)]
        )
        moments = np.searchsorted(layout.firings, np.unique(fired))
        found.append(
            CellBuffer(
                tensor=name,
                made_by="" if cells.producer is None else tiled.layers[cells.producer].name,
                read_by=tuple(tiled.layers[place].name for place in cells.readers),
                stored=name in run.stored,
                doubled=_doubled(run, cells),
                halo=cells.halo.value,
                elements=len(cells.rows.touched()) * len(cells.columns.touched()),
                made_elements=cells.rows.made * cells.columns.made,
                most_bytes=int(alive.max()),
                between_bytes=int(stay[moments].max()) if len(moments) else 0,
                peak_bytes=int(alive[moment]),
            )
        )
    return tuple(found)


def _doubled(run: GroupRun, cells: TiledMap) -> bool:
    """Whether cells of a map have a second buffer on their way from DRAM, or there."""
    if cells.producer is None:
        return run.doubled.inputs
    return run.doubled.outputs and cells.name in run.stored


def _alive(size: Ints, first: Ints, behind: Ints, moments: int) -> Ints:
    """Bytes that live at each moment, from `first` up to the moment before `behind`."""
    weights = size.astype(float)  # integers, exact
    change = np.bincount(first, weights, moments + 1) - np.bincount(behind, weights, moments + 1)
    return np.asarray(np.cumsum(change)[:-1], np.int64)
