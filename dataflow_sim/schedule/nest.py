"""The loop nest of a tiled layer for people: its loops, what moves where, what buffers hold.

Only loops of more than one trip count.  A tile is loaded inside the innermost of the loops that
select it, and stays while those further in run:

    for output channels        order M P, input channels whole
      load kernel              selected by M
      for rows                 P: batch, columns, rows
        load input             selected by K and P
        step
        store output           selected by M and P

Constants per output channel, operands and the store of the result wait for the last tile of
the input channels.  Sizes of buffers are those of `closed_form.buffer_bytes`; nothing is
estimated anew.

Source: the loop nest of `schedule.types`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from dataflow_sim.results_of_explanation import Buffer, InPlace, Loop, Move, Shape
from dataflow_sim.schedule.closed_form import buffer_bytes, rows_roll
from dataflow_sim.schedule.estimate import tile_arrays
from dataflow_sim.schedule.footprints import axis_tiles
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.types import SINGLE, LayerTiling, PartialSums

SPACE = ("batch", "columns", "rows")
_CHANNELS = {"M": "output channels", "K": "input channels"}
_OUTPUT_TILE = frozenset(("groups", "output channels", *SPACE))
_SELECTED_BY: Mapping[str, frozenset[str]] = {
    "input": frozenset(("groups", "input channels", *SPACE)),
    "kernel": frozenset(("groups", "output channels", "input channels")),
    "input vectors": frozenset(("groups", "input channels")),
    "output vectors": frozenset(("groups", "output channels")),
    "output": _OUTPUT_TILE,
    "partial sums": _OUTPUT_TILE,
}
_PER_CHANNEL_OPERAND = frozenset(("groups", "output channels", "batch"))
# what the innermost loop leaves in place
_STATIONARY = {"output channels": "input", "space": "kernel", "input channels": "output"}


def nest_loops(problem: LayerProblem, tiling: LayerTiling) -> tuple[Loop, ...]:
    """The loops of more than one trip, outermost first; extents in elements of the axis."""
    rows, columns = problem.rows.output_size, problem.columns.output_size
    extents = {
        "groups": (problem.groups, tiling.group_tile),
        "output channels": (problem.output_channels, tiling.output_channel_tile),
        "input channels": (problem.input_channels, tiling.input_channel_tile),
        "batch": (problem.batch, tiling.batch_tile),
        "columns": (columns, tiling.column_tile),
        "rows": (rows, tiling.row_tile),
    }
    axes = ["groups"]
    for loop in tiling.order:
        axes += SPACE if loop == "P" else (_CHANNELS[loop],)
    found = []
    for axis in axes:
        extent, tile = extents[axis]
        trips = -(-extent // tile)
        if trips > 1:
            found.append(Loop(axis, extent, tile, trips, extent - (trips - 1) * tile))
    return tuple(found)


def nest_name(loops: tuple[Loop, ...]) -> tuple[str, ...]:
    """The axes of a nest, outermost first; batch, columns and rows together are `space`."""
    names = ("space" if loop.axis in SPACE else loop.axis for loop in loops)
    return tuple(dict.fromkeys(names))


def stationary(problem: LayerProblem, nest: tuple[str, ...]) -> str:
    """What the innermost loop leaves in place: input, kernel or output; empty if nothing."""
    return _STATIONARY.get(nest[-1], "") if nest and problem.has_kernel else ""


@dataclass(frozen=True, slots=True)
class _Tile:
    """The largest tile of a role: its shape and bits per element."""

    shape: Shape
    bits: int

    @property
    def size_bytes(self) -> int:
        return -(-prod(self.shape) * self.bits // 8)


def _tiles(problem: LayerProblem, tiling: LayerTiling) -> dict[str, _Tile]:
    """The largest tile of each role that the layer has."""
    rows = axis_tiles(problem.rows, (tiling.row_tile,))
    columns = axis_tiles(problem.columns, (tiling.column_tile,))
    batch, inputs = tiling.batch_tile, tiling.group_tile * tiling.input_channel_tile
    outputs = tiling.group_tile * tiling.output_channel_tile
    source = (int(rows.input_largest[0]), int(columns.input_largest[0]))
    body = (int(rows.body_largest[0]), int(columns.body_largest[0]))
    found = {"input": _Tile((batch, inputs, *source), problem.input_bits)}
    if problem.has_kernel:
        taps = (problem.rows.kernel, problem.columns.kernel)
        shape = (outputs, tiling.input_channel_tile, *taps)
        found["kernel"] = _Tile(shape, problem.kernel_bits)
    if problem.input_vectors:
        shape = (problem.input_vectors, inputs, 1, 1)
        found["input vectors"] = _Tile(shape, problem.vector_bits)
    if problem.output_vectors:
        shape = (problem.output_vectors, outputs, 1, 1)
        found["output vectors"] = _Tile(shape, problem.vector_bits)
    for index, operand in enumerate(problem.operands):
        area = (1, 1) if operand.per_channel else body
        found[f"operand {index}"] = _Tile((batch, outputs, *area), operand.bits)
    shape = (batch, outputs, tiling.row_tile, tiling.column_tile)
    found["output"] = _Tile(shape, problem.output_bits)
    if tiling.partial_sums is not PartialSums.NONE:
        shape = _sums_shape(problem, tiling, (batch, outputs, *body))
        found["partial sums"] = _Tile(shape, problem.memory.accumulator_bits)
    return found


def _sums_shape(problem: LayerProblem, tiling: LayerTiling, tile: Shape) -> Shape:
    """Of sums that are kept, all that the loops inside that over input channels make."""
    batch, channels, rows, columns = tile
    inner = tiling.order[tiling.order.index("K") + 1 :]
    if tiling.partial_sums is PartialSums.KEPT:
        if "M" in inner:
            channels = tiling.group_tile * problem.output_channels
        if "P" in inner:
            whole = (problem.rows.body_size, problem.columns.body_size)
            batch, rows, columns = problem.batch, *whole
    return (batch, channels, rows, columns)


def rows_stay(problem: LayerProblem, tiling: LayerTiling) -> bool:
    """Whether input rows that the tile above left are not read again."""
    tiles = tile_arrays(problem, tiling)
    rolls = rows_roll(problem, tiling.order, tiles)
    return bool(rolls.all()) and bool(tiles.plane.common.all())


def nest_buffers(problem: LayerProblem, tiling: LayerTiling) -> tuple[Buffer, ...]:
    """All buffers of a tiling; their bytes add up to its local bytes."""
    tiles = tile_arrays(problem, tiling)
    once = replace(problem, memory=replace(problem.memory, doubled=SINGLE))
    single = buffer_bytes(once, tiling.order, tiling.partial_sums, tiles)
    shapes = {role: tile.shape for role, tile in _tiles(problem, tiling).items()}
    found = []
    for holds, sizes in buffer_bytes(problem, tiling.order, tiling.partial_sums, tiles).items():
        size, one = int(sizes.item()), int(single[holds].item())
        slots = size // one if one and size % one == 0 else None
        ring = holds == "input" and rows_stay(problem, tiling)
        found.append(Buffer(holds, shapes.get(holds), slots, ring, size))
    return tuple(found)


def in_place(problem: LayerProblem, tiling: LayerTiling) -> tuple[InPlace, ...]:
    """Roles without a buffer of their own: they share that of another, tile by tile."""
    if tiling.partial_sums is not PartialSums.NONE:
        return (InPlace("output", "partial sums"),)
    if problem.input_in_place:
        return (InPlace("output", "input"),)
    operands = range(len(problem.operands))
    return tuple(InPlace(f"operand {i}", "output") for i in operands if problem.operand_in_place(i))


def nest_moves(problem: LayerProblem, tiling: LayerTiling) -> tuple[Move, ...]:
    """Loads, stores and what is held, each with the loops that it stands inside."""
    loops = [loop.axis for loop in nest_loops(problem, tiling)]
    split = "input channels" in loops
    late = "last" if split else "always"
    found = []
    for role, tile in _tiles(problem, tiling).items():
        selected = _SELECTED_BY.get(role, _OUTPUT_TILE)
        if role.startswith("operand") and problem.operands[int(role.split()[1])].per_channel:
            selected = _PER_CHANNEL_OPERAND
        depth = max((place + 1 for place, axis in enumerate(loops) if axis in selected), default=0)
        size = tile.size_bytes
        if role == "output":
            found.append(Move("store", role, depth, size, late, new_rows=False))
        elif role != "partial sums":
            when = late if role == "output vectors" or role.startswith("operand") else "always"
            new_rows = role == "input" and rows_stay(problem, tiling)
            found.append(Move("load", role, depth, size, when, new_rows))
        elif tiling.partial_sums is PartialSums.KEPT:
            depth = loops.index("input channels")
            found.append(Move("hold", role, depth, size, "always", new_rows=False))
        else:
            found.append(Move("load", role, len(loops), size, "after first", new_rows=False))
            found.append(Move("store", role, len(loops), size, "before last", new_rows=False))
    return tuple(found)
