"""What a sweep costs: local bytes, DRAM bits and steps, as numpy expressions.

Model.  `graph.sweep` says which of its loops index a tensor.  Tiles of some indices of each
loop follow in this nest, whose innermost body is one compute step:

    for batches
      for groups               several batches in one tile only with all groups
        for rows           ┐   order PN, or NP the other way round
          for columns      ┘
            step

A tensor's tile is loaded when it is another than the one held, and stays as long as it is
not.  So a tensor is read whole once for every tile of the loops that do not index it and
stand outside the innermost loop that does and makes more than one trip.  The columns of
several parts are tiled part by part, unless all of them are one tile.

    attention  order PN: queries once; keys and values for every row tile, unless all columns
               are one tile.  NP: keys and values once; queries for every column tile
    twice      with more than one column tile a loop of two passes stands between P and N:
               statistics first, then the results; a row's columns are read twice
    recurrent  a step is one row, a time step, of one group, a direction: weights again in
               every one, unless they are whole.  The input of two directions is read in each of
               them, a row at a time, p = 1, or once and held, p = all rows

Local memory is the sum of the buffers: a tile of each tensor that is not resident, two where
it changes and the hardware buffers its kind doubly, and the running sums: with more than one column
tile, of all rows that wait for their last column (a row tile, or with NP all rows of the
batches and groups), in `accumulator_bits` each; of a recurrent layer of one time step, and its
state.  Constants of biases, scales and shifts are loaded once, whole.  Running sums and states
lie in local memory even where partial sums have a memory of their own.

Assumed: what is computed of a row and a column (a score) lives in the array; a reduction over
the depth of a head, or over the columns of a product's left factor, is finished within a
step; results leave through a buffer of their own.  Ignored: a tile that two passes in
opposite directions could share.

Source: the loop nest of `closed_form` with the loops of attention; the running maximum and
sum of Milakov and Gimelshein, "Online normalizer calculation for softmax",
arXiv:1805.02867, and of Dao et al., "FlashAttention", arXiv:2205.14135.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.region import Shape4
from dataflow_sim.graph.sweep import Access, Sweep, SweepKind
from dataflow_sim.schedule.problem import shares, weight_roles
from dataflow_sim.schedule.sweep_steps import Ints, Sizes, step_rows, sums_of_group
from dataflow_sim.schedule.types import MemoryOptions

RUNNING_SUMS = "running sums"
_PASSES = "2"  # the loop of two passes over the columns


@dataclass(frozen=True, slots=True)
class SweptTensor:
    """A view, an output or the constants of a sweep as numbers.

    `role` is what it is to the layer, and names its buffer.  `bits` is the width of that buffer,
    which holds `buffered_channels` of its channels: those from DRAM, of an output all or none.
    `moved_bits` and `local_bits` are the bits of one element of all its channels that cross the
    interface, and in local memory; `doubled` tells whether its buffer has two slots where its
    tile changes.
    """

    role: str
    shape: Shape4
    access: Access
    bits: int
    buffered_channels: int
    moved_bits: int
    local_bits: int
    doubled: bool

    @property
    def area(self) -> int:
        """Elements of one channel."""
        return self.shape[0] * self.shape[2] * self.shape[3]


@dataclass(frozen=True, slots=True)
class SweepProblem:
    """A sweep as numbers: its loops, and what it moves."""

    sweep: Sweep
    inputs: tuple[SweptTensor, ...]
    outputs: tuple[SweptTensor, ...]
    constants: tuple[SweptTensor, ...]
    memory: MemoryOptions


@dataclass(frozen=True, slots=True, eq=False)
class SweepTiles:
    """Tile sizes of the loops in indices, arrays that broadcast against each other."""

    batch: Ints
    groups: Ints
    rows: Ints
    columns: Ints


@dataclass(frozen=True, slots=True, eq=False)
class SweepCosts:
    """Costs of tilings, arrays of one shape; `passes` how often each input is read whole."""

    local_bytes: Ints
    dram_bits: Ints
    steps: Ints
    passes: tuple[Ints, ...]


def sweep_problem(
    graph: NetworkGraph,
    layer: Layer,
    sweep: Sweep,
    memory: MemoryOptions,
    resident: frozenset[str] = frozenset(),
    stored: frozenset[str] | None = None,
) -> SweepProblem:
    """The numbers of a sweep; of its outputs those in `stored` go to DRAM, or all."""
    doubled = memory.doubled
    inputs = []
    for place, (view, access) in enumerate(zip(layer.views, sweep.views, strict=True)):
        role = f"operand {place - 1}" if place else "input"
        width, channels, fetched, read = shares(graph, view, resident)
        numbers = (width, channels, fetched, read, doubled.inputs)
        inputs.append(SweptTensor(role, view.shape, access, *numbers))
    outputs = []
    for place, (name, access) in enumerate(zip(layer.outputs, sweep.outputs, strict=True)):
        tensor = graph.tensors[name]
        role = f"output {place}" if place else "output"
        moved = tensor.shape[1] * tensor.bits if stored is None or name in stored else 0
        held = 0 if name in resident else tensor.shape[1]
        local = tensor.shape[1] * tensor.local_bits
        numbers = (tensor.local_bits, held, moved, local, doubled.outputs)
        outputs.append(SweptTensor(role, tensor.shape, access, *numbers))
    constants = []
    for role, name in weight_roles(layer):
        tensor = graph.tensors[name]
        bits = tensor.shape[1] * tensor.bits
        held, moved = (0, 0) if name in resident else (tensor.shape[1], bits)
        numbers = (tensor.bits, held, moved, bits, doubled.weights)
        constants.append(SweptTensor(role, tensor.shape, (), *numbers))
    return SweepProblem(sweep, tuple(inputs), tuple(outputs), tuple(constants), memory)


class _Nest:
    """Trips of the loops of some tilings, and what follows from their order."""

    def __init__(self, sweep: Sweep, order: str, tiles: SweepTiles) -> None:
        self.sweep = sweep
        self.whole = np.asarray(tiles.columns >= sweep.columns)
        one = np.ones((), np.int64)
        self.parts = [np.where(self.whole, 1, -(-e // tiles.columns)) for e in sweep.parts]
        columns = np.where(self.whole, 1, sum(self.parts))
        self.held_rows = -(-sweep.rows // tiles.rows)  # tiles of rows that inputs are loaded in
        self.trips: Mapping[str, Ints] = {
            "B": -(-sweep.batch // tiles.batch),
            "G": -(-sweep.groups // tiles.groups),
            "P": -(-sweep.rows // np.asarray(step_rows(sweep, tiles.rows))),
            "N": columns,
            _PASSES: np.where((columns > 1) & (sweep.kind is SweepKind.TWICE), 2, one),
        }
        self.split = columns > 1
        self.rows_outside = order == "PN"
        self.loops = f"BGP{_PASSES}N" if self.rows_outside else "BGNP"

    def of(self, access: Access, loaded: bool) -> dict[str, Ints]:
        """Tiles of a tensor along the loops that index it, of N those of the tensor's part; of one
        that is `loaded` along rows those that it is held in."""
        found = {
            cut.loop: self.trips[cut.loop] if cut.part is None else self.parts[cut.part]
            for cut in access
        }
        return {**found, "P": self.held_rows} if loaded and "P" in found else found

    def passes(self, access: Access) -> Ints:
        """How often a tensor is read whole."""
        own = self.of(access, loaded=True)
        total = np.ones((), np.int64)
        inner = np.zeros((), bool)
        for loop in reversed(self.loops):
            if loop in own:
                inner = inner | (own[loop] > 1)
            else:
                total = total * np.where(inner, self.trips[loop], 1)
        return total

    def product(self, loops: str) -> Ints:
        """Trips of some loops together."""
        total = np.ones((), np.int64)
        for loop in loops:
            total = total * self.trips[loop]
        return total

    def others(self, access: Access) -> Ints:
        """Trips of all loops that do not index a tensor."""
        own = {cut.loop for cut in access}
        return self.product("".join(loop for loop in self.loops if loop not in own))


def evaluate(problem: SweepProblem, order: str, tiles: SweepTiles) -> SweepCosts:
    """Costs of all tilings of one order."""
    nest = _Nest(problem.sweep, order, tiles)
    passes = tuple(nest.passes(tensor.access) for tensor in problem.inputs)
    bits = sum(
        (
            count * tensor.area * tensor.moved_bits
            for count, tensor in zip(passes, problem.inputs, strict=True)
        ),
        np.zeros((), np.int64),
    )
    fixed = (*problem.outputs, *problem.constants)
    bits = bits + sum(tensor.area * tensor.moved_bits for tensor in fixed)
    local = np.asarray(sum(_buffers(problem, nest, tiles).values()), np.int64)
    steps = nest.product(nest.loops)
    shape = np.broadcast_shapes(local.shape, bits.shape, steps.shape)
    local, bits, steps, *passes_of = (
        np.broadcast_to(each, shape) for each in (local, bits, steps, *passes)
    )
    return SweepCosts(local, bits, steps, tuple(passes_of))


def buffer_bytes(problem: SweepProblem, order: str, tiles: SweepTiles) -> dict[str, Ints]:
    """Bytes of every buffer of these tilings by what it holds, each rounded up by itself.

    The running sums, with a state, are among them; their bytes are 0 where nothing waits.
    """
    return _buffers(problem, _Nest(problem.sweep, order, tiles), tiles)


def buffer_tiles(problem: SweepProblem, order: str, sizes: Sizes) -> dict[str, Shape4]:
    """The largest tile in every buffer of one tiling by what it holds.

    Of the running sums (batches, groups, rows, values).
    """
    tiles = tiles_of(sizes)
    nest = _Nest(problem.sweep, order, tiles)
    found = {RUNNING_SUMS: _sums_extents(problem, nest, tiles)}
    for tensor in _buffered(problem):
        found[tensor.role] = _extents(problem, tensor, nest, tiles)
    shapes = {role: tuple(int(extent.item()) for extent in each) for role, each in found.items()}
    return {role: (n, c, h, w) for role, (n, c, h, w) in shapes.items()}


def _buffered(problem: SweepProblem) -> list[SweptTensor]:
    """The tensors that have a buffer."""
    tensors = (*problem.inputs, *problem.outputs, *problem.constants)
    return [tensor for tensor in tensors if tensor.buffered_channels]


def _buffers(problem: SweepProblem, nest: _Nest, tiles: SweepTiles) -> dict[str, Ints]:
    """The largest tile of each tensor, twice where tiles change and are buffered doubly."""
    found: dict[str, Ints] = {}
    for tensor in _buffered(problem):
        one = _bytes(_extents(problem, tensor, nest, tiles), tensor.bits, problem.memory)
        moves = np.ones((), np.int64)
        for trips in nest.of(tensor.access, tensor in problem.inputs).values():
            moves = moves * trips
        found[tensor.role] = one * np.where((moves > 1) & tensor.doubled, 2, 1)
    sums = _sums_extents(problem, nest, tiles)
    found[RUNNING_SUMS] = _bytes(sums, problem.memory.accumulator_bits, problem.memory)
    return found


def _bytes(extents: list[Ints], bits: int, memory: MemoryOptions) -> Ints:
    elements = extents[0] * extents[1] * extents[2] * extents[3]
    return np.asarray(memory.bytes_taken(elements * bits), np.int64)


def _extents(
    problem: SweepProblem, tensor: SweptTensor, nest: _Nest, tiles: SweepTiles
) -> list[Ints]:
    """Extents of the largest tile of a tensor, along its four axes."""
    sweep = problem.sweep
    rows = tiles.rows if tensor in problem.inputs else np.asarray(step_rows(sweep, tiles.rows))
    size = {"B": tiles.batch, "G": tiles.groups, "P": rows, "N": tiles.columns}
    extents: list[Ints] = [np.full((), extent, np.int64) for extent in tensor.shape]
    for loop, axis, part in tensor.access:
        whole = sweep.extent(loop, part)
        largest = np.minimum(size[loop], whole)
        if loop == "N":
            cut = np.minimum(largest, max(sweep.parts))
            largest = np.where(nest.whole, whole, cut)
        extents[axis] = largest * (tensor.shape[axis] // whole)
    extents[1] = np.minimum(extents[1], tensor.buffered_channels)
    return extents


def _sums_extents(problem: SweepProblem, nest: _Nest, tiles: SweepTiles) -> list[Ints]:
    """Running sums of all rows that wait, with the state: batches, groups, rows, values."""
    sweep = problem.sweep
    if sweep.kind is SweepKind.RECURRENT:
        rows, each = np.ones((), np.int64), sweep.state + sweep.sums * nest.split
    else:
        rows = tiles.rows if nest.rows_outside else np.full((), sweep.rows, np.int64)
        each = sweep.sums * nest.split
    return [tiles.batch, tiles.groups, rows, np.asarray(each, np.int64)]


def tiles_of(sizes: Sizes) -> SweepTiles:
    """One tiling as arrays of one element; sizes of batch, groups, rows, columns."""
    return SweepTiles(*(np.full(1, size, np.int64) for size in sizes))


def tiling_costs(problem: SweepProblem, order: str, sizes: Sizes) -> SweepCosts:
    """Costs of one tiling, arrays of one element; sizes of batch, groups, rows, columns."""
    return evaluate(problem, order, tiles_of(sizes))


def step_bits(problem: SweepProblem, order: str, sizes: Sizes) -> tuple[int, int]:
    """Bits that all steps read from and write to local memory.

    A step reads its tile of every input once, writes the results that it finishes, and
    then reads the constants, in a recurrent layer always; running sums are read unless just
    begun and written unless they change no longer.
    """
    sweep = problem.sweep
    nest = _Nest(sweep, order, SweepTiles(*(np.full((), s, np.int64) for s in sizes)))
    bits = sum(t.area * t.local_bits * int(nest.others(t.access)) for t in problem.inputs)
    made = sum(tensor.area * tensor.local_bits for tensor in problem.outputs)
    in_time = sweep.kind is SweepKind.RECURRENT
    finishing = {cut.loop for cut in problem.outputs[0].access}
    times = int(nest.product(nest.loops if in_time else "".join(sorted(finishing))))
    bits += sum(t.area * t.local_bits * times for t in problem.constants)
    split = bool(nest.split)
    rows = 1 if in_time else sweep.rows
    held = sweep.batch * sweep.groups * sums_of_group(sweep, rows, split)
    columns = int(nest.trips["N"])
    if sweep.kind is SweepKind.TWICE:
        read, written = 2 * columns - 1, columns  # read n − 1 times and then n times
    elif in_time:
        read = written = int(nest.trips["P"]) * columns - 1
    else:
        read = written = columns - 1
    each = held * problem.memory.accumulator_bits
    return bits + each * read, made + each * written
