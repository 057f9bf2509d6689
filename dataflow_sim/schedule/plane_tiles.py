"""What tiles of the plane need: the product of their footprints along rows and along columns.

A tile of the plane takes a tile along either axis (`footprints`), of one image, or whole planes of
several images.  Of the useful ones those are kept that no other betters in every cost.

Source: as `footprints`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dataflow_sim.schedule.dominance import undominated
from dataflow_sim.schedule.footprints import Axis, AxisTiles, Ints, axis_tiles, tile_sizes


@dataclass(frozen=True, slots=True, eq=False)
class PlaneTiles:
    """For each choice of (batch, row, column) tile, in elements per channel:

    the tile extents, trips, and the areas: input and body of the largest tile, of all
    tiles together, the input where rows roll, the output of the largest tile, the
    multiplications of all tiles; and what two buffers of the input take where rows roll, for one
    pass over the plane and for several.
    `common` tells whether neighbours down a column have rows in common.
    """

    batch: Ints
    rows: Ints
    columns: Ints
    trips: Ints
    input_largest: Ints
    input_sum: Ints
    input_rolled: Ints
    body_largest: Ints
    body_sum: Ints
    output_largest: Ints
    multiplications: Ints
    two_once: Ints
    two_again: Ints
    common: npt.NDArray[np.bool_]

    def take(self, index: Ints | slice) -> PlaneTiles:
        """Some of the choices."""
        return PlaneTiles(*(getattr(self, name)[index] for name in PlaneTiles.__slots__))


@lru_cache(maxsize=1024)
def plane_tiles(
    batch: int, row_axis: Axis, column_axis: Axis, input_doubled: bool = True
) -> PlaneTiles:
    """All useful (batch, row, column) tiles, the dominated ones left out.

    More than one image is tiled together only when the plane is whole.  A choice is
    dominated when another needs no more memory (areas of the largest tile, and of two), reads
    no more in sum, whether rows roll or not, computes no more and takes no more trips: under
    any loop order it is then no better (every cost is non-decreasing in these).
    """
    rows, columns = axis_tiles(row_axis), axis_tiles(column_axis)
    batches = tile_sizes(batch)
    r, c = (
        a.ravel()
        for a in np.meshgrid(range(len(rows.size)), range(len(columns.size)), indexing="ij")
    )
    b = np.ones_like(r)
    whole_plane = (r[-1], c[-1])
    more = batches[batches > 1]
    r = np.concatenate([r, np.full(len(more), whole_plane[0])])
    c = np.concatenate([c, np.full(len(more), whole_plane[1])])
    b = np.concatenate([b, more])
    turned = row_axis.transposed or column_axis.transposed
    return _undominated(_combine(batch, b, rows, r, columns, c), input_doubled, turned)


def _combine(
    batch: int, b: Ints, rows: AxisTiles, r: Ints, columns: AxisTiles, c: Ints
) -> PlaneTiles:
    trips = -(-batch // b) * columns.trips[c]
    # tiles without common rows take turns in two slots of the largest
    common = rows.input_touched[r] < rows.input_sum[r]
    apart = 2 * rows.input_largest[r]
    once, ends = rows.pair_largest[r], rows.pair_of_ends[r]
    several = np.maximum(once, ends)
    width = b * columns.input_largest[c]
    return PlaneTiles(
        batch=b,
        rows=rows.size[r],
        columns=columns.size[c],
        trips=trips * rows.trips[r],
        input_largest=b * rows.input_largest[r] * columns.input_largest[c],
        input_sum=batch * rows.input_sum[r] * columns.input_sum[c],
        input_rolled=batch * rows.input_touched[r] * columns.input_sum[c],
        body_largest=b * rows.body_largest[r] * columns.body_largest[c],
        body_sum=batch * rows.body_sum[r] * columns.body_sum[c],
        output_largest=b * rows.size[r] * columns.size[c],
        multiplications=batch * rows.multiplications[r] * columns.multiplications[c],
        two_once=np.where(common, np.where(trips > 1, several, once), apart) * width,
        two_again=np.where(common, several, apart) * width,
        common=common,
    )


def given_plane_tiles(
    batch: int, row_axis: Axis, column_axis: Axis, tiles: Sequence[tuple[int, int, int]]
) -> PlaneTiles:
    """The footprints of given (batch, row, column) tiles, one after the other."""
    batches, *extents = np.array(tiles, np.int64).T
    heights, r = np.unique(extents[0], return_inverse=True)
    widths, c = np.unique(extents[1], return_inverse=True)
    rows = axis_tiles(row_axis, tuple(heights.tolist()))
    columns = axis_tiles(column_axis, tuple(widths.tolist()))
    return _combine(batch, batches, rows, r, columns, c)


def _undominated(tiles: PlaneTiles, input_doubled: bool, transposed: bool) -> PlaneTiles:
    columns = [
        tiles.input_largest,
        tiles.body_largest,
        tiles.output_largest,
        tiles.input_sum,
        tiles.input_rolled,
        tiles.body_sum,
        tiles.trips,
    ]
    if transposed:  # else they go with the body
        columns.append(tiles.multiplications)
    if input_doubled:
        # two slots round up to bytes one by one, so that they never stand in for a ring
        columns += [tiles.two_once, tiles.two_again, (~tiles.common).astype(np.int64)]
    return tiles.take(undominated(np.stack(columns, axis=1)))
