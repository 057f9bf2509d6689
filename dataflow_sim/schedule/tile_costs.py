"""What a group costs by tiles of the plane: local bytes and DRAM bits, and which tiles to try.

The local bytes are the largest live set over all firings, as in `merging`: cells of maps that come
from or go to DRAM or stay inside the group, the kernel tile of the layer that fires if it streams,
and the kernels and constants that stay.  The DRAM bits are those of weights, of what is made of
each map from DRAM (again where its halo is), and of each stored map once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dataflow_sim.schedule.group_kernels import KernelSizes, Streams, weight_costs
from dataflow_sim.schedule.merging import GroupTable, most_with_tiles
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.tile_regions import TiledGroup, TiledMap
from dataflow_sim.schedule.timetable import LAYERS
from dataflow_sim.schedule.types import Buffering

Bools = npt.NDArray[np.bool_]


def tile_table(
    group: TiledGroup,
    kernels: Sequence[KernelSizes],
    doubled: Buffering,
    outside: Bools,
    going: Bools,
    sets: Sequence[Streams],
) -> GroupTable:
    """Costs of a group, axes as in `MergedGroup.table`.

    `outside` tells by choice which maps from outside are resident; `going` whether the output
    is resident and whether it is stored (choices, 1, 2).
    """
    names, output = group.frame.outside, group.frame.output
    some = group.sample()
    rows_in = [_live(some, some.maps[name], doubled.inputs, behind=False) for name in names]
    inside = np.zeros(len(some.moments), np.int64)
    for found in some.maps.values():
        if found.producer is not None and found.name != output:
            inside += _live(some, found, ahead=False, behind=False)
    rows_out = _live(some, some.maps[output], ahead=False, behind=doubled.outputs)
    came = np.stack(rows_in) if rows_in else np.zeros((0, len(some.moments)), np.int64)
    live = inside + (~outside).astype(np.int64) @ came
    both = live[:, None, :] + (~going[:, 0, 0])[:, None] * rows_out
    fired = np.array([len(each) for each in group.firings])
    kept, fetched, tiles = weight_costs(kernels, group.members, fired, sets)
    places = some.moments % LAYERS
    local = kept + most_with_tiles(both, places, len(group.members), tiles)[:, :, 0]
    in_bits = (~outside) @ np.array([read_bits(group, group.maps[n]) for n in names], np.int64)
    tensor = group.graph.tensors[output]
    out_bits = going[:, 0, 1] * (tensor.elements * tensor.bits)
    bits = (in_bits[:, None] + out_bits)[:, :, None] + fetched
    return GroupTable(local, bits, fetched)


def read_bits(group: TiledGroup, found: TiledMap) -> int:
    """DRAM bits of a map from outside that is not resident."""
    tensor = group.graph.tensors[found.name]
    area = found.rows.made * found.columns.made
    return tensor.shape[0] * found.channels.length * area * tensor.bits


def _live(group: TiledGroup, found: TiledMap, ahead: bool, behind: bool) -> Ints:
    """Bytes of the cells of a map that live at each firing."""
    cells = group.lives(found, ahead, behind)
    count = len(group.moments) + 1
    size = cells.size_bytes.ravel().astype(float)  # integers, exact
    change = np.bincount(cells.birth.ravel(), size, count)
    change -= np.bincount(cells.death.ravel() + 1, size, count)
    return np.asarray(np.cumsum(change)[:-1], np.int64)
