"""Bands: tiles of the plane that the search tries of every group, against row stripes.

Model.  A band is some rows of the group's output.  It is taken column by column: what columns have
in common stays (`tile_regions`, halo CACHE_X), the rows that two bands have in common are made
again, or read from DRAM again:

    row stripes keep K - s rows of a map      bands keep K - s columns of it

             ┌────────────────┐                     ┌──┬─────────────┐
             │  W (K - s)     │                     │  │             │
             ├────────────────┤               h'    │  │             │   h' (K - s), h' of h rows
             │                │                     │  │             │   of the output
             └────────────────┘                     └──┴─────────────┘

so that where memory is short a band of h' < W rows takes less, and pays with the rows made again.
One output column at a time is the least of all; heights halve from the whole map down.  Kernels
stay, since each of the many firings would fetch them again.

Left out: wider tiles, halos kept in both directions, everything made again, bands of more
layers than `LAYERS_OF_BANDS` (decision 0025 has what these are worth).

Source: this project's; that columns may be kept instead of rows, Mei et al., "DeFiNES" (HPCA 2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.tile_costs import read_bits
from dataflow_sim.schedule.tile_regions import TiledGroup, TileFrame, macs_of
from dataflow_sim.schedule.types import Halo, PlaneTile

LAYERS_OF_BANDS = 12
Bools = npt.NDArray[np.bool_]


def bands(frame: TileFrame) -> Iterator[TiledGroup]:
    """A group by bands, the highest first."""
    rows = frame.layers[-1].output_shape[2]
    halos = dict.fromkeys((*frame.outside, *frame.inner), Halo.CACHE_X)
    height = rows
    while height > 1:
        height = -(-height // 2)
        yield TiledGroup(frame, PlaneTile(height, 1), halos)


def more_bits(group: TiledGroup, outside: Bools) -> Ints:
    """DRAM bits of rows read again, for each choice of resident maps from outside."""
    again = []
    for name in group.frame.outside:
        found = group.maps[name]
        tensor = group.graph.tensors[name]
        once = len(found.rows.touched()) * len(found.columns.touched())
        once *= tensor.shape[0] * found.channels.length * tensor.bits
        again.append(read_bits(group, found) - once)
    return np.asarray((~outside) @ np.array(again, np.int64), np.int64)


def macs_again(group: TiledGroup) -> tuple[Fraction, ...]:
    """Of each layer which part of its MACs is computed again."""
    found = []
    for layer in group.layers:
        own = layer_macs(layer)
        made = macs_of(layer, group.maps[layer.output])
        found.append(Fraction(made - own, own) if own else Fraction(0))
    return tuple(found)
