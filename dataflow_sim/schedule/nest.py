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
the input channels.  Where a map is added to the sums of a split reduction, they are finished by
steps of their own, one output channel of the tile after the other (`Finish`).

Maps that are resident neither move nor take a buffer; of a map in part resident the tile is the
largest that comes from DRAM.

Pinned channels are loaded before all loops.  Of a tile what is not pinned is loaded, and nothing
of one that is pinned whole, so that a line may happen less often than the loops around it say.
Sizes of buffers are those of `closed_form.buffer_bytes`; nothing is estimated anew.

Source: the loop nest of `schedule.types`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

from dataflow_sim.results_of_explanation import Buffer, Finish, InPlace, Loop, Move, Pinned, Shape
from dataflow_sim.schedule.amounts import tile_arrays
from dataflow_sim.schedule.closed_form import buffer_bytes, rows_roll
from dataflow_sim.schedule.footprints import axis_tiles
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.types import SINGLE, LayerTiling, MemoryOptions, PartialSums

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
# whose channels may stay in left-over memory, and along which axis
_PINNED_ALONG = {"kernel": "output channels", "input": "input channels"}
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


def pinned_channels(problem: LayerProblem, tiling: LayerTiling) -> Pinned | None:
    """What stays in left-over memory for the whole layer, if anything."""
    if tiling.pinned_output_channels:
        channels, of_channels = tiling.pinned_output_channels, problem.output_channels
        taps = (problem.rows.kernel, problem.columns.kernel)
        shape, bits = (channels, problem.input_channels, *taps), problem.kernel_local_bits
        return _pinned(problem, "kernel", channels, of_channels, shape, bits)
    if tiling.pinned_input_channels:
        channels, of_channels = tiling.pinned_input_channels, problem.input_channels
        rows, columns = (
            axis.input_span(axis.body_span(0, axis.output_size)).length
            for axis in (problem.rows, problem.columns)
        )
        shape = (problem.batch, channels, rows, columns)
        return _pinned(problem, "input", channels, of_channels, shape, problem.input_bits)
    return None


def _pinned(
    problem: LayerProblem, role: str, channels: int, of_channels: int, shape: Shape, bits: int
) -> Pinned:
    axis, elements = _PINNED_ALONG[role], prod(shape)
    size_bytes = -(-elements * bits // problem.memory.byte_bits)
    return Pinned(role, axis, channels, of_channels, shape, elements, size_bytes)


def _open_tiles(extent: int, tile: int, pinned: int) -> list[int]:
    """The channels that are not pinned, of every tile that has any."""
    starts = range(0, extent, tile)
    left = (min(start + tile, extent) - max(start, pinned) for start in starts)
    return [channels for channels in left if channels > 0]


def _open(problem: LayerProblem, tiling: LayerTiling) -> dict[str, list[int]]:
    """By role the channels that are not pinned, tile by tile."""
    outputs = (problem.output_channels, tiling.output_channel_tile)
    inputs = (problem.input_channels, tiling.input_channel_tile)
    return {
        "kernel": _open_tiles(*outputs, tiling.pinned_output_channels),
        "input": _open_tiles(*inputs, tiling.pinned_input_channels),
    }


@dataclass(frozen=True, slots=True)
class _Tile:
    """The largest tile of a role: its shape and bits per element."""

    shape: Shape
    bits: int
    byte_bits: int

    @property
    def size_bytes(self) -> int:
        return -(-prod(self.shape) * self.bits // self.byte_bits)


def _tiles(problem: LayerProblem, tiling: LayerTiling) -> dict[str, _Tile]:
    """The largest tile of each role that moves in the loops, without what is pinned."""
    rows = axis_tiles(problem.rows, (tiling.row_tile,))
    columns = axis_tiles(problem.columns, (tiling.column_tile,))
    batch, outputs = tiling.batch_tile, tiling.group_tile * tiling.output_channel_tile
    source = (int(rows.input_largest[0]), int(columns.input_largest[0]))
    body = (int(rows.body_largest[0]), int(columns.body_largest[0]))
    left = {
        role: tiling.group_tile * max(n, default=0) for role, n in _open(problem, tiling).items()
    }
    left["input"] = min(left["input"], problem.input_dram_channels)
    byte = problem.memory.byte_bits
    found: dict[str, _Tile] = {}
    if left["input"]:
        found["input"] = _Tile((batch, left["input"], *source), problem.input_bits, byte)
    if problem.has_kernel and left["kernel"]:
        taps = (problem.rows.kernel, problem.columns.kernel)
        shape = (left["kernel"], tiling.input_channel_tile, *taps)
        found["kernel"] = _Tile(shape, problem.kernel_bits, byte)
    if problem.input_vectors:
        inputs = tiling.group_tile * tiling.input_channel_tile
        shape = (problem.input_vectors, inputs, 1, 1)
        found["input vectors"] = _Tile(shape, problem.vector_bits, byte)
    if problem.output_vectors:
        shape = (problem.output_vectors, outputs, 1, 1)
        found["output vectors"] = _Tile(shape, problem.vector_bits, byte)
    finished = 1 if _finishes(problem, tiling) else outputs
    for index, operand in enumerate(problem.operands):
        area = (1, 1) if operand.per_channel else body
        channels = min(finished, operand.dram_channels)
        if channels:
            found[f"operand {index}"] = _Tile((batch, channels, *area), operand.bits, byte)
    if problem.output_stored:
        shape = (batch, finished, tiling.row_tile, tiling.column_tile)
        found["output"] = _Tile(shape, problem.output_bits, byte)
    if tiling.partial_sums is not PartialSums.NONE:
        shape = _sums_shape(problem, tiling, (batch, outputs, *body))
        found["partial sums"] = _Tile(shape, problem.memory.accumulator_bits, byte)
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


def single_buffers(memory: MemoryOptions) -> MemoryOptions:
    """The same memory with one buffer for every tensor."""
    return replace(memory, doubled=SINGLE)


def nest_buffers(problem: LayerProblem, tiling: LayerTiling) -> tuple[Buffer, ...]:
    """All buffers of a tiling that hold anything.

    Their bytes add up to its local bytes, but for partial sums with a memory of their own.
    """
    tiles = tile_arrays(problem, tiling)
    once = replace(problem, memory=single_buffers(problem.memory))
    single = buffer_bytes(once, tiling.order, tiling.partial_sums, tiles)
    shapes = {role: tile.shape for role, tile in _tiles(problem, tiling).items()}
    pinned = pinned_channels(problem, tiling)
    if pinned is not None:
        shapes[f"pinned {pinned.role}"] = pinned.shape
    found = []
    for holds, sizes in buffer_bytes(problem, tiling.order, tiling.partial_sums, tiles).items():
        size, one = int(sizes.item()), int(single[holds].item())
        if not size:
            continue
        slots = size // one if size % one == 0 else None
        ring = holds == "input" and rows_stay(problem, tiling)
        apart = holds == "partial sums" and problem.sums_apart
        found.append(Buffer(holds, shapes.get(holds), slots, ring, size, accumulators=apart))
    return tuple(found)


def in_place(problem: LayerProblem, tiling: LayerTiling) -> tuple[InPlace, ...]:
    """Roles without a buffer of their own: they share that of another, tile by tile."""
    if problem.output_resident:
        return ()
    if tiling.partial_sums is not PartialSums.NONE:
        return (InPlace("output", "partial sums"),)
    if problem.input_in_place:
        return (InPlace("output", "input"),)
    operands = range(len(problem.operands))
    return tuple(InPlace(f"operand {i}", "output") for i in operands if problem.operand_in_place(i))


def _finishes(problem: LayerProblem, tiling: LayerTiling) -> bool:
    """Whether sums are finished by steps of their own."""
    return tiling.partial_sums is not PartialSums.NONE and problem.finishes_by_channel


def _depth(loops: tuple[Loop, ...], selected: frozenset[str]) -> int:
    """How many loops stand outside of what these select, down to the innermost of them."""
    return max((place + 1 for place, loop in enumerate(loops) if loop.axis in selected), default=0)


def nest_finish(problem: LayerProblem, tiling: LayerTiling) -> Finish | None:
    """The steps that finish sums one output channel at a time, if there are any."""
    if not _finishes(problem, tiling):
        return None
    planes = int(tile_arrays(problem, tiling).plane.trips[0])
    steps = problem.groups * problem.output_channels * planes
    depth = _depth(nest_loops(problem, tiling), _OUTPUT_TILE)
    return Finish(depth, tiling.group_tile * tiling.output_channel_tile, steps)


def _times(loops: tuple[Loop, ...], when: str) -> int:
    """How often a line inside these loops happens."""
    times = 1
    for loop in loops:
        trips = loop.trips
        if loop.axis == "input channels":
            trips = {"last": 1, "after first": trips - 1, "before last": trips - 1}.get(when, trips)
        times *= trips
    return times


def nest_moves(problem: LayerProblem, tiling: LayerTiling) -> tuple[Move, ...]:
    """Loads, stores and what is held, each with the loops that it stands inside."""
    found = []
    pinned = pinned_channels(problem, tiling)
    if pinned is not None:
        holds = f"pinned {pinned.role}"
        bits = problem.kernel_bits if pinned.role == "kernel" else problem.input_dram_bits
        size = -(-pinned.elements * bits // problem.memory.byte_bits)
        found.append(Move("load", holds, 0, size, "always", 1, new_rows=False))
    finish = nest_finish(problem, tiling)
    for what, role, depth, when in _lines(problem, tiling):
        loops = _streamed(problem, tiling, role)[:depth]
        times = _times(loops, when)
        if when == "finish" and finish is not None:
            times = finish.steps
        size = _tiles(problem, tiling)[role].size_bytes
        new_rows = role == "input" and rows_stay(problem, tiling)
        found.append(Move(what, role, depth, size, when, times, new_rows))
    return tuple(found)


def _streamed(problem: LayerProblem, tiling: LayerTiling, role: str) -> tuple[Loop, ...]:
    """The loops without the trips in which all that they select of a role is pinned."""
    trips = (
        {_PINNED_ALONG[role]: len(_open(problem, tiling)[role])} if role in _PINNED_ALONG else {}
    )
    return tuple(
        replace(loop, trips=trips.get(loop.axis, loop.trips))
        for loop in nest_loops(problem, tiling)
    )


def _lines(problem: LayerProblem, tiling: LayerTiling) -> Iterator[tuple[str, str, int, str]]:
    """What happens in the loops: load, store or hold; of which role; how deep; when."""
    loops = nest_loops(problem, tiling)
    split = "input channels" in (loop.axis for loop in loops)
    late = "last" if split else "always"
    result = "finish" if _finishes(problem, tiling) else late
    for role in _tiles(problem, tiling):
        selected = _SELECTED_BY.get(role, _OUTPUT_TILE)
        if role.startswith("operand") and problem.operands[int(role.split()[1])].per_channel:
            selected = _PER_CHANNEL_OPERAND
        depth = _depth(loops, selected)
        if role == "output":
            yield "store", role, depth, result
        elif role != "partial sums":
            when = late if role == "output vectors" else "always"
            yield "load", role, depth, result if role.startswith("operand") else when
        elif tiling.partial_sums is PartialSums.KEPT:
            outside = [loop.axis for loop in loops].index("input channels")
            yield "hold", role, outside, "always"
        else:
            yield "load", role, len(loops), "after first"
            yield "store", role, len(loops), "before last"
