"""The loops of a sweep for people: what moves where, what buffers hold, what is read again.

Only loops of more than one trip count.  A tile is loaded inside the innermost of the loops that
index its tensor, and stays while those further in run:

    for groups
      for rows                     order PN
        load input                 indexed by groups and rows
        keep running sums          of the rows of this tile
        for columns
          load operand 0           indexed by groups and columns: again for every tile of rows
          step
        store output               indexed by groups and rows: behind the last tile of columns

With order NP rows stand inside columns, the sums of all rows are kept outside both, and results
are stored with the last tile of columns.  Where all columns are read twice, the two passes are a
loop of their own between rows and columns; results are stored in the second.

A tensor that holds a part of the columns has tiles of its own only where the columns are those of
its part, and is loaded once where they are one tile.  Constants are loaded once, whole.  Sizes of
buffers are those of `sweep.buffer_bytes`; nothing is estimated anew.

Source: the loop nest of `schedule.sweep`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

from dataflow_sim.graph.sweep import Access, Sweep, SweepKind
from dataflow_sim.results_of_explanation import Buffer, Loop, Move, Repeat
from dataflow_sim.schedule.sweep import (
    RUNNING_SUMS,
    SweepProblem,
    buffer_bytes,
    buffer_tiles,
    tiles_of,
)
from dataflow_sim.schedule.sweep_steps import (
    Sizes,
    column_spans,
    step_rows,
    steps_of,
    tiling_sizes,
)
from dataflow_sim.schedule.types import LayerTiling, PartialSums

PASSES = "passes"
_AXES: Mapping[str, str] = {
    "B": "batch",
    "G": "groups",
    "P": "rows",
    "2": PASSES,
    "N": "columns",
}
# of an innermost loop: itself, the loop that runs across it, and whose tiles then stay
_ACROSS = {"columns": ("N", "P", "rows"), "rows": ("P", "N", "columns")}
# when a result is stored inside a loop that does not index it
_WAITS_FOR = (("2", "second pass"), ("N", "last columns"), ("P", "last rows"))


def sweep_tiling(sweep: Sweep, order: str, sizes: Sizes) -> LayerTiling:
    """A tiling with these sizes of batch, groups, rows and columns."""
    batch, groups, rows, columns = sizes
    waits = columns < sweep.columns and sweep.sums > 0
    sums = PartialSums.KEPT if waits else PartialSums.NONE
    return LayerTiling(order, sums, groups, 1, 1, batch, rows, columns, steps_of(sweep, sizes))


@dataclass(frozen=True, slots=True)
class _Nest:
    """The loops of more than one trip with their trips, outermost first."""

    sweep: Sweep
    spans: tuple[tuple[int, int], ...]
    trips: Mapping[str, int]
    held_rows: int

    @property
    def loops(self) -> tuple[str, ...]:
        return tuple(self.trips)

    def of(self, access: Access, *, loaded: bool) -> dict[str, int]:
        """Tiles of a tensor along these loops, of columns those of its part; of one that is
        `loaded` along rows those that it is held in."""
        found = {}
        for loop, _, part in access:
            if loop not in self.trips:
                continue
            found[loop] = self.trips[loop]
            if part is not None:
                start = sum(self.sweep.parts[:part])
                stop = start + self.sweep.parts[part]
                found[loop] = sum(start <= low < stop for low, _ in self.spans)
        if loaded and "P" in found:
            found["P"] = self.held_rows
        return found

    def around(self, own: Mapping[str, int]) -> tuple[str, ...]:
        """The loops down to the innermost of those that change a tensor's tile."""
        changing = (place + 1 for place, loop in enumerate(self.loops) if own.get(loop, 1) > 1)
        return self.loops[: max(changing, default=0)]


def _nest(problem: SweepProblem, tiling: LayerTiling) -> _Nest:
    sweep = problem.sweep
    batch, groups, rows, columns = tiling_sizes(sweep, tiling)
    spans = column_spans(sweep, columns)
    twice = sweep.kind is SweepKind.TWICE and len(spans) > 1
    trips = {
        "B": -(-sweep.batch // batch),
        "G": -(-sweep.groups // groups),
        "P": -(-sweep.rows // int(step_rows(sweep, rows))),
        "2": 2 if twice else 1,
        "N": len(spans),
    }
    order = "BGP2N" if tiling.order == "PN" else "BGNP"
    shown = {loop: trips[loop] for loop in order if trips[loop] > 1}
    return _Nest(sweep, spans, shown, -(-sweep.rows // rows))


def sweep_loops(problem: SweepProblem, tiling: LayerTiling) -> tuple[Loop, ...]:
    """The loops of more than one trip, outermost first; extents in indices of the loop."""
    nest = _nest(problem, tiling)
    sizes = dict(zip("BGPN", tiling_sizes(problem.sweep, tiling), strict=True))
    sizes["P"] = int(step_rows(problem.sweep, sizes["P"]))
    found = []
    for loop, trips in nest.trips.items():
        if loop == "2":
            found.append(Loop(PASSES, 2, 1, 2, 1))
            continue
        extent, tile = problem.sweep.extent(loop), sizes[loop]
        last = extent - (trips - 1) * tile
        if loop == "N":
            tile = max(stop - start for start, stop in nest.spans)
            start, stop = nest.spans[-1]
            last = stop - start
        found.append(Loop(_AXES[loop], extent, tile, trips, last))
    return tuple(found)


def sweep_nest_name(loops: tuple[Loop, ...]) -> tuple[str, ...]:
    """The axes of a sweep's nest, outermost first."""
    return tuple(loop.axis for loop in loops)


def sweep_stationary(problem: SweepProblem, nest: tuple[str, ...]) -> str:
    """Whose tiles the innermost loop leaves in place: rows, columns; empty if neither."""
    if not nest or nest[-1] not in _ACROSS:
        return ""
    inner, across, stays = _ACROSS[nest[-1]]
    indexed = [{cut.loop for cut in tensor.access} for tensor in problem.inputs]
    return stays if any(across in loops and inner not in loops for loops in indexed) else ""


def sweep_buffers(problem: SweepProblem, tiling: LayerTiling) -> tuple[Buffer, ...]:
    """All buffers of a tiling that hold anything; their bytes add up to its local bytes."""
    sizes = tiling_sizes(problem.sweep, tiling)
    shapes = buffer_tiles(problem, tiling.order, sizes)
    single = buffer_bytes(_single(problem), tiling.order, tiles_of(sizes))
    found = []
    for holds, each in buffer_bytes(problem, tiling.order, tiles_of(sizes)).items():
        size = int(each.item())
        if size:
            slots = size // int(single[holds].item())
            found.append(Buffer(holds, shapes[holds], slots, False, size, accumulators=False))
    return tuple(found)


def _single(problem: SweepProblem) -> SweepProblem:
    """The same sweep with one buffer for every tensor."""
    inputs, outputs, constants = (
        tuple(replace(tensor, doubled=False) for tensor in tensors)
        for tensors in (problem.inputs, problem.outputs, problem.constants)
    )
    return replace(problem, inputs=inputs, outputs=outputs, constants=constants)


def sweep_moves(problem: SweepProblem, tiling: LayerTiling) -> tuple[Move, ...]:
    """Loads, stores and the sums that are held, each with the loops that it stands inside."""
    tile_bytes = {
        buffer.holds: buffer.size_bytes for buffer in sweep_buffers(_single(problem), tiling)
    }
    nest = _nest(problem, tiling)
    return tuple(
        Move(what, holds, depth, tile_bytes[holds], when, times, new_rows=False)
        for what, holds, depth, when, times in _lines(problem, tiling, nest)
        if holds in tile_bytes
    )


def _lines(
    problem: SweepProblem, tiling: LayerTiling, nest: _Nest
) -> Iterator[tuple[str, str, int, str, int]]:
    """What happens in the loops: load, hold or store; of what; how deep; when; how often."""
    for tensor in (*problem.inputs, *problem.constants):
        own = nest.of(tensor.access, loaded=True)
        around = nest.around(own)
        times = prod(own.get(loop, nest.trips[loop]) for loop in around)
        when = "own columns" if _in_part(nest, own, around) else "always"
        yield "load", tensor.role, len(around), when, times
    waits_for = "PN" if problem.sweep.kind is SweepKind.RECURRENT else "2N"
    waiting = (place for place, loop in enumerate(nest.loops) if loop in waits_for)
    outside = nest.loops[: min(waiting, default=len(nest.loops))]
    times = prod(nest.trips[loop] for loop in outside)
    yield "hold", RUNNING_SUMS, len(outside), "always", times
    for tensor in problem.outputs:
        own = nest.of(tensor.access, loaded=False)
        around = nest.around(own)
        late = (when for loop, when in _WAITS_FOR if loop in around and loop not in own)
        when = "own columns" if _in_part(nest, own, around) else next(late, "always")
        yield "store", tensor.role, len(around), when, prod(own.values())


def _in_part(nest: _Nest, own: Mapping[str, int], around: tuple[str, ...]) -> bool:
    """Whether a tensor is met by some of the tiles of columns around it only."""
    return "N" in around and own.get("N", nest.trips["N"]) < nest.trips["N"]


def sweep_repeats(
    problem: SweepProblem, tiling: LayerTiling, roles: tuple[str, ...]
) -> tuple[Repeat, ...]:
    """The loops that make a tensor with these roles move whole once for each of their trips."""
    nest = _nest(problem, tiling)
    found: dict[Repeat, list[str]] = {}
    for tensor in problem.inputs:
        if tensor.role not in roles:
            continue
        own = nest.of(tensor.access, loaded=True)
        for place, loop in enumerate(nest.loops):
            further = nest.loops[place + 1 :]
            inside = tuple(_AXES[inner] for inner in further if own.get(inner, 1) > 1)
            if loop not in own and inside:
                repeat = Repeat(_AXES[loop], nest.trips[loop], inside)
                found.setdefault(repeat, []).append(tensor.role)
    several = len(roles) > 1
    return tuple(
        replace(repeat, roles=tuple(again) if several else ()) for repeat, again in found.items()
    )
