"""Lower one layer: walk its loop nest, load what changes, compute, store what is finished.

The nest is the one drawn in `schedule.types`; P goes down the columns of tiles, one after
the other.  A role (input, kernel, ...) is loaded when one of the loop indices that select its
tile has changed since the step before; of the input only the rows that the tile above it did
not leave.  A buffer has two slots when the hardware doubles it (`schedule.closed_form`) and
there is more than one tile for it.  Pinned channels are loaded before the first step; of a tile
the others are.
"""

from __future__ import annotations

from itertools import product

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.region import Box, Shape4, Span
from dataflow_sim.program.emitter import ORIGIN, Emitter, Slots, resident_slice
from dataflow_sim.program.instructions import Compute, Load, Memory, Slice, Store
from dataflow_sim.program.pinned import Pinned, beside, pin
from dataflow_sim.program.planes import plane_tiles, tiles
from dataflow_sim.program.ring import Ring, common_rows, lattice, off_lattice, rows_of_two
from dataflow_sim.program.roles import Role, Step, channel_of
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.types import LayerTiling, PartialSums


def sums_tensor_name(layer: Layer) -> str:
    """Name of the DRAM tensor that a layer's spilled partial sums go to."""
    return f"{layer.name}.partial_sums"


class LoopNest:
    """Lowers one layer that is not streamed into an emitter."""

    def __init__(
        self,
        index: int,
        layer: Layer,
        problem: LayerProblem,
        tiling: LayerTiling,
        emitter: Emitter,
    ) -> None:
        self.index = index
        self.layer = layer
        self.problem = problem
        self.tiling = tiling
        self.emit = emitter
        self.groups = tiles(problem.groups, tiling.group_tile)
        self.outputs = tiles(problem.output_channels, tiling.output_channel_tile)
        self.inputs = tiles(problem.input_channels, tiling.input_channel_tile)
        self.planes = plane_tiles(problem, tiling)
        self.sums_outer = self._loops_outside_sums()
        self.pinned = Pinned(None, None)
        self._allocate()

    def _loops_outside_sums(self) -> str:
        """Which of the loops M and P select the region of partial sums that is live."""
        order, mode = self.tiling.order, self.tiling.partial_sums
        if mode is PartialSums.KEPT:
            return "".join(loop for loop in "MP" if order.index(loop) < order.index("K"))
        return "MP"

    # ------------------------------------------------------------ buffers

    def _allocate(self) -> None:
        problem, tiling, planes = self.problem, self.tiling, self.planes
        channels_out = tiling.group_tile * tiling.output_channel_tile
        channels_in = tiling.group_tile * tiling.input_channel_tile
        batch = max(p.batch.length for p in planes)
        plane = (max(p.rows.length for p in planes), max(p.columns.length for p in planes))
        body = (
            max(p.body_rows.length for p in planes),
            max(p.body_columns.length for p in planes),
        )
        source = (
            max(p.input_rows.length for p in planes),
            max(p.input_columns.length for p in planes),
        )
        group, out, inn, space = (
            len(part) for part in (self.groups, self.outputs, self.inputs, self.planes)
        )
        self.role: dict[str, Role] = {}
        self.ring: Ring | None = None
        weights = problem.memory.doubled.weights
        pinned_in, pinned_out = tiling.pinned_input_channels, tiling.pinned_output_channels
        open_in = [span.stop - max(span.start, pinned_in) for span in self.inputs]
        open_out = [span.stop - max(span.start, pinned_out) for span in self.outputs]
        open_in, open_out = ([n for n in part if n > 0] for part in (open_in, open_out))
        left_in = tiling.group_tile * max(open_in, default=0)
        fetched = min(left_in, problem.input_dram_channels)
        if problem.input_in_place and problem.output_resident:
            fetched = 0
        self._add_input((batch, fetched, *source), len(open_in), group * len(open_in) * space)
        if problem.fetches_kernel:
            taps = self.layer.window.kernel
            left_out = tiling.group_tile * max(open_out, default=0)
            shape = (left_out, tiling.input_channel_tile, *taps)
            count = group * len(open_out) * inn
            self._add("kernel", shape, problem.kernel_local_bits, weights, count)
        if problem.fetched_input_vectors:
            shape = (problem.input_vectors, channels_in, 1, 1)
            self._add("input vectors", shape, problem.vector_bits, weights, group * inn)
        if problem.fetched_output_vectors:
            shape = (problem.output_vectors, channels_out, 1, 1)
            self._add("output vectors", shape, problem.vector_bits, weights, group * out)
        if tiling.partial_sums is not PartialSums.NONE:
            self._add_sums((batch, channels_out, *body), group, out, inn, space)
            self.role["output"] = self.role["partial sums"]
        elif problem.output_resident or problem.input_in_place:
            self.role["output"] = self.role["input"]
        else:
            shape = (batch, channels_out, *plane)
            double = problem.output_doubled
            self._add("output", shape, problem.output_bits, double, group * out * space)
        for index, operand in enumerate(problem.operands):
            name = f"operand {index}"
            if tiling.partial_sums is PartialSums.NONE and problem.operand_in_place(index):
                self.role[name] = self.role["output"]
                continue
            area = (1, 1) if operand.per_channel else body
            moved = len({p.batch for p in planes}) if operand.per_channel else out * space
            fetched, double = channels_out, problem.memory.doubled.inputs
            if tiling.partial_sums is not PartialSums.NONE and not operand.per_channel:
                moved, fetched = problem.output_channels * space, 1
            fetched = min(fetched, operand.dram_channels)
            self._add(name, (batch, fetched, *area), operand.bits, double, group * moved)

    def _add(self, name: str, shape: Shape4, bits: int, double: bool, tile_count: int) -> None:
        if shape[1] == 0:  # nothing comes from DRAM
            self.role[name] = Role(Slots((-1,)))
            return
        apart = name == "partial sums" and self.problem.sums_apart
        memory = Memory.ACCUMULATORS if apart else Memory.LOCAL
        slots = 2 if double and tile_count > 1 else 1
        label = f"{self.layer.name}: {name}"
        self.role[name] = Role(self.emit.alloc(label, shape, bits, slots, memory))

    def _add_input(self, tile: Shape4, channel_tiles: int, tile_count: int) -> None:
        """Slots for the tiles, or a ring where rows roll."""
        order = self.tiling.order
        column = self.planes[0].column
        windows = [lattice(p.input_rows) for p in self.planes if p.column == column]
        rolls = channel_tiles <= 1 or order.index("K") < order.index("P")
        if not rolls or not common_rows(windows) or 0 in tile:
            double = self.problem.input_doubled
            self._add("input", tile, self.problem.input_bits, double, tile_count)
            return
        batch, channels, rows, columns = tile
        if self.problem.input_doubled:
            passes = len(self.outputs) if order.index("M") < order.index("P") else 1
            rows = rows_of_two(windows, again=tile_count * passes > len(windows))
        label, bits = f"{self.layer.name}: input", self.problem.input_bits
        slots = self.emit.alloc(label, (batch, channels, rows, columns), bits, 1)
        self.role["input"] = Role(slots)
        self.ring = Ring(slots.advance(), rows)

    def _add_sums(self, tile: Shape4, group: int, out: int, inn: int, space: int) -> None:
        problem = self.problem
        batch, channels, rows, columns = tile
        count = group
        if "M" in self.sums_outer:
            count *= out
        else:
            channels = self.tiling.group_tile * problem.output_channels
        if "P" in self.sums_outer:
            count *= space
        else:
            batch, rows, columns = (
                problem.batch,
                problem.rows.body_size,
                problem.columns.body_size,
            )
        if self.tiling.partial_sums is PartialSums.SPILLED:
            count *= inn
        shape = (batch, channels, rows, columns)
        bits = problem.memory.accumulator_bits
        self._add("partial sums", shape, bits, problem.sums_doubled, count)

    # ------------------------------------------------------------ regions

    def _channels(self, step: Step, part: Span, per_group: int) -> Span:
        """Channels of the whole map, given those of a group."""
        group = self.groups[step.group]
        return Span(group.start * per_group + part.start, (group.stop - 1) * per_group + part.stop)

    def _out_channels(self, step: Step) -> Span:
        return self._channels(step, self.outputs[step.output], self.problem.output_channels)

    def _in_channels(self, step: Step) -> Span:
        return self._channels(step, self.inputs[step.input], self.problem.input_channels)

    # ------------------------------------------------------------ steps

    def lower(self) -> None:
        """Walk the nest."""
        self.pinned = pin(self.emit, self.layer, self.problem, self.tiling)
        counts = {"M": len(self.outputs), "K": len(self.inputs), "P": len(self.planes)}
        order = self.tiling.order
        m, k, p = (order.index(loop) for loop in "MKP")
        loops = [range(counts[loop]) for loop in order]
        for group in range(len(self.groups)):
            for at in product(*loops):
                self._step(Step(group, at[m], at[k], at[p]))

    def _step(self, step: Step) -> None:
        first, last = step.input == 0, step.input == len(self.inputs) - 1
        source = self._input(step)
        kernel = self._kernel(step)
        input_vectors = self._vectors("input vectors", step)
        sums = self._sums(step, first)
        output_vectors = self._vectors("output vectors", step) if last else None
        result = self._result(step, sums)
        append = self.emit.instructions.append
        if last and sums is not None and self.problem.finishes_by_channel:
            tiles = (result, source, kernel, input_vectors)
            append(Compute(self.index, *tiles, None, (), sums, first, last=False))
            for channel in range(*result.box.channel):
                self._finish(step, channel, result, sums, output_vectors)
            return
        operands = self._operands(step, result) if last else ()
        tiles = (result, source, kernel, input_vectors)
        append(Compute(self.index, *tiles, output_vectors, operands, sums, first, last))
        if last:
            self._store(result)
        elif sums is not None and self.tiling.partial_sums is PartialSums.SPILLED:
            append(Store(sums_tensor_name(self.layer), sums.box, sums.buffer, sums.origin))

    def _finish(
        self, step: Step, channel: int, result: Slice, sums: Slice, vectors: Slice | None
    ) -> None:
        """Make results of one channel's sums, to which nothing is added any more."""
        part, own = channel_of(result, channel), channel_of(sums, channel)
        constants = None if vectors is None else channel_of(vectors, channel)
        operands = self._operands(step, part)
        head = (self.index, part, (), (), None)
        finished = Compute(*head, constants, operands, own, first=False, last=True)
        self.emit.instructions.append(finished)
        self._store(part)

    def _store(self, result: Slice) -> None:
        if self.problem.output_stored:
            store = Store(self.layer.output, result.box, result.buffer, result.origin)
            self.emit.instructions.append(store)

    def _input(self, step: Step) -> tuple[Slice, ...]:
        plane = self.planes[step.plane]
        box = Box(plane.batch, self._in_channels(step), plane.input_rows, plane.input_columns)
        return beside(self.pinned.input, box, 1, lambda rest: self._open_input(step, rest))

    def _open_input(self, step: Step, box: Box) -> tuple[Slice, ...]:
        """The part of an input tile that is not pinned."""
        role = self.role["input"]
        key = (step.group, step.input, step.plane)
        if key != role.key:
            plane = self.planes[step.plane]
            if self.ring is not None and role.key and step.plane < role.key[-1]:
                self.ring.leave()
            role.key = key
            if self.ring is not None:
                role.parts = self._roll(self.ring, plane.column, box)
                return role.parts
            buffer, origin = role.slots.advance(), ORIGIN
            if self.problem.input_in_place and self.problem.output_resident:
                buffer, origin, _, _ = resident_slice(self.emit.resident[self.layer.output], box)
            role.parts = self.emit.load_view(self.layer.input, box, buffer, origin)
        return role.parts

    def _roll(self, ring: Ring, column: tuple[int, ...], box: Box) -> tuple[Slice, ...]:
        """Load the rows of a window that are not there yet."""
        view = self.layer.input
        parts: list[Slice] = []
        window = lattice(box.row)
        for rows, place in ring.runs(ring.turn_to(column, window)):
            fresh = box._replace(row=off_lattice(rows, box.row))
            self.emit.load_view(view, fresh, ring.buffer, (0, 0, place, 0))
        if box.elements == 0:
            return self.emit.held_view(view, box, ring.buffer)
        for rows, place in ring.runs(window):
            held = box._replace(row=off_lattice(rows, box.row))
            parts.extend(self.emit.held_view(view, held, ring.buffer, (0, 0, place, 0)))
        return tuple(parts)

    def _kernel(self, step: Step) -> tuple[Slice, ...]:
        if self.layer.weight is None:
            return ()
        rows, columns = self.layer.window.kernel
        channels = self._out_channels(step)
        box = Box(channels, self.inputs[step.input], Span(0, rows), Span(0, columns))
        if self.layer.weight in self.emit.resident:
            return (resident_slice(self.emit.resident[self.layer.weight], box),)
        return beside(self.pinned.kernel, box, 0, lambda rest: self._open_kernel(step, rest))

    def _open_kernel(self, step: Step, box: Box) -> tuple[Slice, ...]:
        """The part of a kernel tile that is not pinned."""
        role = self.role["kernel"]
        key = (step.group, step.output, step.input)
        if key != role.key:
            assert self.layer.weight is not None
            self._fetch(role, key, self.layer.weight, box)
        return (role.part,)

    def _vectors(self, name: str, step: Step) -> Slice | None:
        on_input = name == "input vectors"
        tensor = self.layer.input_vectors if on_input else self.layer.output_vectors
        if tensor is None:
            return None
        count = self.problem.input_vectors if on_input else self.problem.output_vectors
        channels = self._in_channels(step) if on_input else self._out_channels(step)
        box = Box(Span(0, count), channels, Span(0, 1), Span(0, 1))
        if tensor in self.emit.resident:
            return resident_slice(self.emit.resident[tensor], box)
        role = self.role[name]
        key = (step.group, step.input if on_input else step.output)
        if key != role.key:
            self._fetch(role, key, tensor, box)
        return role.part

    def _fetch(self, role: Role, key: tuple[int, ...], tensor: str, box: Box) -> None:
        role.key = key
        role.part = Slice(role.slots.advance(), ORIGIN, box)
        self.emit.instructions.append(Load(tensor, box, role.part.buffer, ORIGIN))

    def _sums(self, step: Step, first: bool) -> Slice | None:
        mode = self.tiling.partial_sums
        if mode is PartialSums.NONE:
            return None
        role = self.role["partial sums"]
        plane = self.planes[step.plane]
        box = Box(plane.batch, self._out_channels(step), plane.body_rows, plane.body_columns)
        spilled = mode is PartialSums.SPILLED
        key = (
            step.group,
            step.output if "M" in self.sums_outer else -1,
            step.plane if "P" in self.sums_outer else -1,
            step.input if spilled else -1,
        )
        buffer = role.part.buffer
        if key != role.key:
            role.key = key
            buffer = role.slots.advance()
        base = self.groups[step.group].start * self.problem.output_channels
        channel = 0 if "M" in self.sums_outer else box.channel.start - base
        inside = "P" not in self.sums_outer
        at = (box.batch.start, box.row.start, box.column.start) if inside else (0, 0, 0)
        role.part = Slice(buffer, (at[0], channel, at[1], at[2]), box)
        if spilled and not first:
            name = sums_tensor_name(self.layer)
            self.emit.instructions.append(Load(name, box, buffer, role.part.origin))
        return role.part

    def _result(self, step: Step, sums: Slice | None) -> Slice:
        plane = self.planes[step.plane]
        box = Box(plane.batch, self._out_channels(step), plane.rows, plane.columns)
        if self.problem.output_resident:
            return resident_slice(self.emit.resident[self.layer.output], box)
        if sums is not None:
            return Slice(sums.buffer, sums.origin, box)
        if self.problem.input_in_place:
            return Slice(self.role["input"].parts[0].buffer, ORIGIN, box)
        return Slice(self.role["output"].slots.advance(), ORIGIN, box)

    def _operands(self, step: Step, result: Slice) -> tuple[tuple[Slice, ...], ...]:
        """Load the operands of a finished tile, one in place where the result will be."""
        found = []
        plane = self.planes[step.plane]
        for index, view in enumerate(self.layer.operands):
            operand = self.problem.operands[index]
            role = self.role[f"operand {index}"]
            channels = result.box.channel
            if operand.per_channel:
                box = Box(plane.batch, channels, Span(0, 1), Span(0, 1))
                key: tuple[int, ...] = (step.group, plane.batch.start)
            else:
                box = Box(plane.batch, channels, plane.body_rows, plane.body_columns)
                key = (channels.start, channels.stop, step.plane)
            if role is self.role["output"]:
                parts = self.emit.load_view(view, box, result.buffer, result.origin)
            else:
                if key != role.key:
                    role.key = key
                    role.parts = self.emit.load_view(view, box, role.slots.advance())
                parts = role.parts
            found.append(parts)
        return tuple(found)
