"""Lower a sweep: walk its loops, load the tiles that change, step, store what is finished.

The nest is the one drawn in `schedule.sweep`.  A tile is a box of its view, and is loaded when
that box is another than the one held; a tensor whose part of the columns is not met by a step
is not read by it.  An output is written by the steps in which all loops that do not index it
stand at their last tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dataflow_sim.graph.layer import Layer, View
from dataflow_sim.graph.region import Box, Span, whole
from dataflow_sim.graph.sweep import Access, SweepKind
from dataflow_sim.program.emitter import ORIGIN, Emitter, Slots, resident_slice, segments_of
from dataflow_sim.program.instructions import Load, Slice, Store, Stream
from dataflow_sim.program.planes import tiles
from dataflow_sim.schedule.sweep import RUNNING_SUMS, SweepProblem, SweptTensor
from dataflow_sim.schedule.sweep_steps import column_spans, sums_of_group, tiling_sizes
from dataflow_sim.schedule.types import LayerTiling


class _Step(NamedTuple):
    """The tiles of one iteration, which of the passes it is in, and where it stands."""

    spans: dict[str, Span]
    at_last: dict[str, bool]
    second: bool
    first: bool
    last: bool


@dataclass(slots=True)
class _Held:
    """A buffer and the box that it holds."""

    slots: Slots
    box: Box | None = None
    buffer: int = -1


class SweepNest:
    """Lowers one sweep into an emitter; `stored` are its outputs that go to DRAM."""

    def __init__(
        self,
        index: int,
        layer: Layer,
        problem: SweepProblem,
        tiling: LayerTiling,
        emitter: Emitter,
        stored: frozenset[str],
    ) -> None:
        self.index = index
        self.layer = layer
        self.problem = problem
        self.sweep = problem.sweep
        self.order = tiling.order
        self.emit = emitter
        self.stored = stored
        self.sizes = tiling_sizes(self.sweep, tiling)
        batch, groups, rows, columns = self.sizes
        self.columns = [Span(*span) for span in column_spans(self.sweep, columns)]
        in_time = self.sweep.kind is SweepKind.RECURRENT
        self.rows = tiles(self.sweep.rows, 1 if in_time else rows)
        self.outer = [
            (b, g) for b in tiles(self.sweep.batch, batch) for g in tiles(self.sweep.groups, groups)
        ]
        self.split = len(self.columns) > 1
        # tiles of rows that inputs are loaded in, of which a step may take one row
        self.held_rows = tiles(self.sweep.rows, rows)
        self.inputs = [self._held(tensor, loaded=True) for tensor in problem.inputs]
        self.outputs = [self._held(tensor) for tensor in problem.outputs]
        self.constants = [self._held(tensor) for tensor in problem.constants]
        self.sums = self._sums()

    # ------------------------------------------------------------ buffers

    def _tiles(self, loop: str, part: int | None, loaded: bool) -> list[Span]:
        """The tiles of a loop, of N those of a part, in the part's own indices."""
        if loop == "N":
            found = [self._within(span, part) for span in self.columns]
            return [span for span in found if span.length > 0]
        if loop == "P":
            return self.held_rows if loaded else self.rows
        return tiles(self.sweep.extent(loop), self.sizes["BG".index(loop)])

    def _within(self, span: Span, part: int | None) -> Span:
        if part is None:
            return span
        start = sum(self.sweep.parts[:part])
        low = max(span.start, start)
        return Span(low - start, min(span.stop, start + self.sweep.parts[part]) - start)

    def _held(self, tensor: SweptTensor, *, loaded: bool = False) -> _Held:
        if not tensor.buffered_channels:
            return _Held(Slots((-1,)))
        shape = list(tensor.shape)
        moves = 1
        for loop, axis, part in tensor.access:
            cut = self._tiles(loop, part, loaded)
            unit = tensor.shape[axis] // self.sweep.extent(loop, part)
            shape[axis] = max(span.length for span in cut) * unit
            moves *= len(cut)
        n, c, h, w = shape
        count = 2 if tensor.doubled and moves > 1 else 1
        extents = (n, min(c, tensor.buffered_channels), h, w)
        name = f"{self.layer.name}: {tensor.role}"
        return _Held(self.emit.alloc(name, extents, tensor.bits, count))

    def _sums(self) -> Slots | None:
        """Running sums of (batch, group) tiles: of a row tile, of all rows, or of a state."""
        in_time = self.sweep.kind is SweepKind.RECURRENT
        self.sum_rows = self.sizes[2] if self.order == "PN" else self.sweep.rows
        each = sums_of_group(self.sweep, 1 if in_time else self.sum_rows, self.split)
        if not each:
            return None
        if in_time:
            self.sum_rows, self.sums_each = 1, each
        else:
            self.sums_each = self.sweep.sums
        shape = (self.sizes[0], self.sizes[1], self.sum_rows, self.sums_each)
        bits = self.problem.memory.accumulator_bits
        return self.emit.alloc(f"{self.layer.name}: {RUNNING_SUMS}", shape, bits, 1)

    # ------------------------------------------------------------ the walk

    def lower(self) -> None:
        """Emit every step with its transfers."""
        for step in self._steps():
            self._lower(step)

    def _steps(self) -> Iterator[_Step]:
        twice = self.split and self.sweep.kind is SweepKind.TWICE
        for batch, group in self.outer:
            rows = self.rows[::-1] if group.start in self.sweep.backwards else self.rows
            if self.sweep.backwards and len(self.held_rows) > 1:  # turning back reads all again
                self._drop_rows()
            for row, second, column in self._inner(rows, twice):
                at_last = {"P": row == rows[-1], "N": column == self.columns[-1]}
                spans = {"B": batch, "G": group, "P": row, "N": column}
                begun = column == self.columns[0]
                done = at_last["N"]
                if self.sweep.kind is SweepKind.RECURRENT:
                    begun = begun and row == rows[0]
                    done = done and at_last["P"]
                if twice:
                    begun, done = begun and not second, second
                yield _Step(spans, at_last, second or not twice, begun, done)

    def _drop_rows(self) -> None:
        """Hold no tile of what rows index."""
        for tensor, held in zip(self.problem.inputs, self.inputs, strict=True):
            if any(cut.loop == "P" for cut in tensor.access):
                held.box = None

    def _inner(self, rows: list[Span], twice: bool) -> Iterator[tuple[Span, bool, Span]]:
        if self.order == "NP":
            yield from ((row, False, column) for column in self.columns for row in rows)
            return
        for row in rows:
            for second in (False, True) if twice else (False,):
                yield from ((row, second, column) for column in self.columns)

    def _lower(self, step: _Step) -> None:
        inputs = tuple(
            self._read(view, tensor, held, step)
            for view, tensor, held in zip(
                self.layer.views, self.problem.inputs, self.inputs, strict=True
            )
        )
        made = self._writes(step)
        in_time = self.sweep.kind is SweepKind.RECURRENT  # gates need their biases in every step
        constants = tuple(self._constants()) if in_time or made[0] is not None else ()
        outputs = tuple(() if part is None else (part,) for part in made)
        sums = self._running_sums(step)
        self.emit.instructions.append(
            Stream(self.index, inputs, constants, outputs, sums, step.first, step.last)
        )
        for name, part in zip(self.layer.outputs, made, strict=True):
            if part is not None and name in self.stored:
                self.emit.instructions.append(Store(name, part.box, part.buffer, part.origin))

    def _read(self, view: View, tensor: SweptTensor, held: _Held, step: _Step) -> tuple[Slice, ...]:
        """The tile of a view in a step, loaded if another one is held; nothing of it if the step
        does not meet its columns."""
        box = self._box(tensor.access, tensor, step)
        if box is None:
            return ()
        around = self._box(tensor.access, tensor, self._around(step))
        assert around is not None
        if around != held.box:
            held.box, held.buffer = around, held.slots.advance()
            self.emit.load_view(view, around, held.buffer)
        before = around._replace(channel=Span(around.channel.start, box.channel.start))
        n, _, h, w = (inner.start - outer.start for inner, outer in zip(box, around, strict=True))
        c = sum(
            part.channel.length
            for tensor, _, part in segments_of(view, before)
            if tensor not in self.emit.resident
        )
        return self.emit.held_view(view, box, held.buffer, (n, c, h, w))

    def _around(self, step: _Step) -> _Step:
        """A step of all the rows that are loaded together with its own."""
        row = step.spans["P"].start
        held = self.held_rows[row // self.held_rows[0].length]
        return step._replace(spans={**step.spans, "P": held})

    def _box(self, access: Access, tensor: SweptTensor, step: _Step) -> Box | None:
        """The tile of a tensor in a step; None where the step does not meet its columns."""
        spans = list(whole(tensor.shape))
        for loop, axis, part in access:
            span = self._within(step.spans[loop], part if loop == "N" else None)
            if span.length <= 0:
                return None
            unit = tensor.shape[axis] // self.sweep.extent(loop, part)
            spans[axis] = Span(span.start * unit, span.stop * unit)
        return Box(*spans)

    def _writes(self, step: _Step) -> list[Slice | None]:
        """What a step makes of each output; None where that waits for a later one."""
        found: list[Slice | None] = []
        for name, tensor, held in zip(
            self.layer.outputs, self.problem.outputs, self.outputs, strict=True
        ):
            indexed = {cut.loop for cut in tensor.access}
            waits = any(not done for loop, done in step.at_last.items() if loop not in indexed)
            box = self._box(tensor.access, tensor, step)
            if waits or box is None or not step.second:
                found.append(None)
                continue
            there = self.emit.resident.get(name)
            if there is not None:
                found.append(resident_slice(there, box))
            else:
                found.append(Slice(held.slots.advance(), ORIGIN, box))
        return found

    def _constants(self) -> Iterator[Slice]:
        """Biases, scales and shifts, loaded whole when they are needed first."""
        for name, tensor, held in zip(
            self.layer.weights, self.problem.constants, self.constants, strict=True
        ):
            box = whole(tensor.shape)
            if name in self.emit.resident:
                yield resident_slice(self.emit.resident[name], box)
                continue
            if held.box is None:
                held.box, held.buffer = box, held.slots.advance()
                self.emit.instructions.append(Load(name, box, held.buffer, ORIGIN))
            yield Slice(held.buffer, ORIGIN, box)

    def _running_sums(self, step: _Step) -> Slice | None:
        if self.sums is None:
            return None
        batch, group, row = (step.spans[loop] for loop in "BGP")
        low = row.start if self.order == "NP" else 0
        if self.sweep.kind is SweepKind.RECURRENT:
            row = Span(0, 1)
        box = Box(batch, group, row, Span(0, self.sums_each))
        return Slice(self.sums.buffers[0], (0, 0, low, 0), box)
