"""The replay: a program executed with numpy on real tensors, in exactly S bytes.

The memory on chip is one of bytes (`on_chip`), and a buffer a window on them at the address that
the program gave it.  Loads and stores copy between it and a DRAM of named tensors, and steps
compute from it alone.  Beside every buffer stands a shadow that remembers which element of which
tensor each place holds: reading or storing anything else than the instruction says is an error,
even where stale bytes happen to be equal.  A step that lacks a row or column it needs says which.

Numbers are float32, so the program must have been made for 32-bit weights, maps and
accumulators.  Per-channel constants travel as their channel number: what a step finds in
local memory tells it which channels' constants to apply.

Shares with the lowering nothing but the instructions' types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer, LayerKind, TensorKind, View
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.region import Box, Shape4, Span, whole
from dataflow_sim.program.instructions import (
    Alloc,
    Compute,
    Free,
    Instruction,
    Join,
    Load,
    Memory,
    Program,
    Slice,
    Split,
    Standing,
    Store,
)
from dataflow_sim.simulate.image import dram_image
from dataflow_sim.simulate.kernels import (
    Rows,
    convolve,
    picked,
    pixelwise,
    pool,
    pool_on_the_way_in,
    pool_rows,
    pool_some_rows,
    pooled_from,
    resample,
)
from dataflow_sim.simulate.on_chip import NOTHING, Ids, OnChip
from dataflow_sim.simulate.pointwise import pointwise
from dataflow_sim.simulate.stream_runner import Access, StreamRunner, sums_of, waiting_elements

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Replayed:
    """What a replay leaves: the DRAM's tensors by name, and the DRAM bytes that moved.

    `local` is the local memory as the program leaves it, `shadows` which elements lie in the
    buffers that stay there.  `whole` names the layers whose results were taken whole from their
    operator's definition, since what a step of theirs makes does not follow from what it reads.
    """

    tensors: Mapping[str, npt.NDArray[np.float32]]
    dram_bytes: int
    local: bytes
    shadows: Mapping[Standing, Ids]
    whole: tuple[str, ...] = ()


@dataclass(slots=True)
class _Machine:
    program: Program
    constants: Mapping[str, npt.NDArray[np.generic]]
    dram: dict[str, npt.NDArray[np.float32]]
    chip: OnChip = field(init=False)
    streams: StreamRunner = field(init=False)
    spilled: dict[str, Ids] = field(default_factory=dict)
    first_id: dict[str, int] = field(default_factory=dict)
    moved_bytes: int = 0

    def __post_init__(self) -> None:
        capacities = (self.program.capacity_bytes, self.program.accumulator_capacity_bytes)
        self.chip = OnChip(*capacities)
        start = 0
        for name, tensor in self.program.tensors.items():
            self.first_id[name] = start
            start += tensor.elements
            if tensor.kind is TensorKind.PARTIAL_SUM:
                self.spilled[name] = np.full(tensor.shape, NOTHING, np.int64)
        for index, layer in enumerate(self.program.layers):
            self.first_id[sums_of(index)] = start
            n, c, h, w = layer.body_shape
            start += max(n * c * h * max(w, layer.output_shape[3]), waiting_elements(layer))
        access = Access(self._gather, self._read, self._write, self._ids, self._whole)
        self.streams = StreamRunner(self.program, self.constants, access)

    def resume(self, before: Replayed) -> None:
        """Begin with the local memory that another program left."""
        if len(before.local) != self.program.capacity_bytes:
            raise ProgramError(f"{len(before.local)} bytes of local memory were left")
        self.chip.memory[Memory.LOCAL][:] = before.local
        for standing in self.program.stands:
            if standing not in before.shadows:
                raise ProgramError(f"'{standing.tensor}' is to stand where nothing was left")
            self.chip.stand(standing.alloc, before.shadows[standing])

    def run(self) -> Replayed:
        for number, instruction in enumerate(self.program.instructions):
            try:
                self._execute(instruction)
            except (ProgramError, IndexError, ValueError) as error:
                kind = type(instruction).__name__
                raise ProgramError(f"instruction {number} ({kind}): {error}") from error
        shadows = {s: self.chip.shadows[s.alloc.buffer] for s in self.program.leaves}
        local = bytes(self.chip.memory[Memory.LOCAL])
        return Replayed(self.dram, self.moved_bytes, local, shadows, self.streams.finish())

    def _execute(self, instruction: Instruction) -> None:
        if isinstance(instruction, Load):
            source = self.dram[instruction.tensor][instruction.box.slices]
            part = Slice(instruction.buffer, instruction.origin, instruction.box)
            self.chip.values(part)[...] = source
            spilled = self.spilled.get(instruction.tensor)
            ids = self._ids(instruction.tensor, instruction.box)
            if spilled is not None:
                ids = spilled[instruction.box.slices]
            self.chip.shadow(part)[...] = ids
            self.moved_bytes += source.nbytes
        elif isinstance(instruction, Store):
            target = self.dram[instruction.tensor][instruction.box.slices]
            part = Slice(instruction.buffer, instruction.origin, instruction.box)
            spilled = self.spilled.get(instruction.tensor)
            if spilled is not None:
                spilled[instruction.box.slices] = self.chip.shadow(part)
            else:
                self._expect(part, self._ids(instruction.tensor, instruction.box))
            target[...] = self.chip.values(part)
            self.moved_bytes += target.nbytes
        elif isinstance(instruction, Compute):
            self._compute(instruction)
        elif isinstance(instruction, Alloc):
            self.chip.alloc(instruction)
        elif isinstance(instruction, Free):
            self.chip.free(instruction.buffer)
        elif isinstance(instruction, Split):
            self.chip.split(instruction)
        elif isinstance(instruction, Join):
            self.chip.join(instruction)
        else:
            self.streams.run(instruction)

    def _ids(self, tensor: str, box: Box, shape: Shape4 | None = None) -> Ids:
        """The identities of a tensor's elements: a number for each element of the program."""
        _, c, h, w = shape or self.program.tensors[tensor].shape
        strides = (c * h * w, h * w, w, 1)
        places = np.ix_(*(np.arange(*span) for span in box))
        ids = sum(place * stride for place, stride in zip(places, strides, strict=True))
        return np.asarray(self.first_id[tensor] + ids, np.int64)

    def _view_ids(self, view: View, box: Box) -> Ids:
        """The identities of the elements of a view, segment by segment."""
        parts, position = [], 0
        for segment in view.segments:
            low = max(box.channel.start - position, 0)
            high = min(box.channel.stop - position, segment.channels)
            if low < high:
                first = segment.channel_start
                channels = Span(first + low, first + high)
                parts.append(self._ids(segment.tensor, box._replace(channel=channels)))
            position += segment.channels
        return np.concatenate(parts, axis=1)

    def _whole(self, tensor: str) -> Array:
        """All of a tensor as it is in a buffer of local memory, or else in DRAM."""
        ids = self._ids(tensor, whole(self.program.tensors[tensor].shape))
        for buffer, shadow in self.chip.shadows.items():
            if shadow.shape == ids.shape and (shadow == ids).all():
                return self.chip.windows[buffer].astype(np.float64)
        return self.dram[tensor].astype(np.float64)

    def _expect(self, part: Slice, ids: Ids) -> None:
        """Raise ProgramError unless the slice holds exactly these elements."""
        wrong = self.chip.shadow(part) != ids
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ProgramError(
                f"buffer {part.buffer} does not hold element {place} of {part.box}; "
                f"{int(wrong.sum())} of {wrong.size} are missing or stale"
            )

    def _read(self, part: Slice, ids: Ids) -> Array:
        self._expect(part, ids)
        return self.chip.values(part).astype(np.float64, order="C")

    def _gather(self, parts: tuple[Slice, ...], view: View) -> tuple[Array, Box]:
        """Read a box of a view from its parts.  Raises ProgramError unless they tile it."""
        if len(parts) == 1:
            return self._read(parts[0], self._view_ids(view, parts[0].box)), parts[0].box
        spans = zip(*(part.box for part in parts), strict=True)
        box = Box(
            *(Span(min(s.start for s in a), max(s.stop for s in a), a[0].step) for a in spans)
        )
        if sum(part.box.elements for part in parts) != box.elements:
            raise ProgramError(f"{len(parts)} parts do not make up {box}")
        tile = np.zeros(box.shape)
        covered = np.zeros(box.shape, bool)
        for part in parts:
            first = [
                (inner.start - outer.start) // outer.step
                for inner, outer in zip(part.box, box, strict=True)
            ]
            place = tuple(slice(f, f + e) for f, e in zip(first, part.box.shape, strict=True))
            tile[place] = self._read(part, self._view_ids(view, part.box))
            covered[place] = True
        if not covered.all():
            raise ProgramError(f"{len(parts)} parts do not cover {box}")
        return tile, box

    def _write(self, part: Slice, value: Array, ids: Ids) -> None:
        self.chip.values(part)[...] = value
        self.chip.shadow(part)[...] = ids

    def _channels(
        self, vectors: Slice | None, tensor: str | None, start: int, stop: int
    ) -> npt.NDArray[np.int64]:
        """The channels whose constants a step applies: those found in local memory."""
        if vectors is None or tensor is None:
            return np.arange(start, stop)
        found = self._read(vectors, self._ids(tensor, vectors.box))
        return found[0, :, 0, 0].astype(np.int64)

    def _compute(self, step: Compute) -> None:
        layer = self.program.layers[step.layer]
        result = step.made
        wanted = ((result.row.start, result.row.stop), (result.column.start, result.column.stop))
        body = wanted
        if layer.pool is not None:
            body = (
                pool_rows(layer.pool, 0, layer.body_shape[2], wanted[0]),
                pool_rows(layer.pool, 1, layer.body_shape[3], wanted[1]),
            )
        if step.body_rows is not None:
            rows = (step.body_rows.start, step.body_rows.stop)
            self._run_on(layer, step, self._reduce(layer, step, (rows, body[1])), body[1][0])
            return
        value = self._reduce(layer, step, body)
        if step.sums is not None:
            ids = self._ids(sums_of(step.layer), step.sums.box, layer.body_shape)
            if not step.first:
                value = value + self._read(step.sums, ids)
            if not step.last:
                self._write(step.sums, value, ids)
                return
        value = self._finish(layer, step, value)
        if layer.pool is not None:
            size = (layer.body_shape[2], layer.body_shape[3])
            value = pool(layer.pool, value, (body[0][0], body[1][0]), size, wanted)
        value = np.broadcast_to(value, result.shape)  # of no input a single zero
        ids = self._ids(layer.output, result)
        for part in (step.result, *step.more):
            spans = zip(part.box, result, strict=True)
            place = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in spans)
            self._write(part, value[place], ids[place])

    def _run_on(self, layer: Layer, step: Compute, value: Array, column: int) -> None:
        """Pool finished rows of the body, which begin at `column`, into running results.

        These go by the last row that they hold, so that none is left out or taken twice.
        """
        rows, sums, pooling = step.body_rows, step.sums, layer.pool
        if rows is None or sums is None or pooling is None:
            raise ProgramError(f"layer '{layer.name}' carries nothing that it pools")
        n, c, height, _ = layer.body_shape
        if step.first != (rows.start == 0) or step.last != (rows.stop == height):
            raise ProgramError(f"{rows} of {height} rows begin or end a running reduction")
        shape = (n, c, height, layer.output_shape[3])
        size, wanted = layer.body_shape[2:], (sums.box.column.start, sums.box.column.stop)
        value = self._finish(layer, step, value)
        value = pool_some_rows(pooling, value, (rows.start, column), size, wanted)
        if not step.first:
            before = sums.box._replace(row=Span(rows.start - 1, rows.start))
            carried = self._read(sums, self._ids(sums_of(step.layer), before, shape))
            value = np.maximum(value, carried) if pooling.op == "max" else value + carried
        if step.last:
            value = pooled_from(pooling, value, size, wanted)
            self._write(step.result, value, self._ids(layer.output, step.result.box))
            return
        after = sums.box._replace(row=Span(rows.stop - 1, rows.stop))
        self._write(sums, value, self._ids(sums_of(step.layer), after, shape))

    def _reduce(self, layer: Layer, step: Compute, body: tuple[Rows, Rows]) -> Array:
        """What a step adds to its sums: nothing, if it has no input and only finishes them."""
        if not step.input:
            return np.zeros(())
        tile, source = self._gather(step.input, layer.input)
        channels = self._channels(
            step.input_vectors, layer.input_vectors, source.channel.start, source.channel.stop
        )
        held = (source.row, source.column)
        if layer.input_pool is not None:
            tile, held = pool_on_the_way_in(layer, tile, held, body)
        tile = pointwise(layer.pre, tile, self.constants, channels)
        return self._body(layer, step, tile, held, body)

    def _body(
        self,
        layer: Layer,
        step: Compute,
        tile: Array,
        held: tuple[Span, Span],
        body: tuple[Rows, Rows],
    ) -> Array:
        if layer.kind is LayerKind.PIXELWISE:
            return pixelwise(layer, tile)
        if not step.kernel and "mode" in dict(layer.attributes):
            return resample(layer, tile, held, body)
        if not step.kernel:
            rows = picked(layer, 0, held[0], body[0])
            return tile[:, :, rows][..., picked(layer, 1, held[1], body[1])]
        assert layer.weight is not None
        parts = [self._read(part, self._ids(layer.weight, part.box)) for part in step.kernel]
        kernel = np.concatenate(parts)
        groups = max(1, step.made.channel.length // layer.output_channels_per_group)
        return convolve(layer, tile, held, kernel, body, groups)

    def _finish(self, layer: Layer, step: Compute, value: Array) -> Array:
        """Bias, then everything that is folded behind the body."""
        box = step.made.channel
        channels = self._channels(step.output_vectors, layer.output_vectors, box.start, box.stop)
        attributes = dict(layer.attributes)
        alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
        if layer.kind is LayerKind.CONVOLUTION:
            assert isinstance(alpha, int | float)
            assert isinstance(beta, int | float)
            value = value * alpha
            if layer.bias_constant is not None:
                bias = np.asarray(self.constants[layer.bias_constant], np.float64).ravel()
                value = value + beta * (bias if bias.size == 1 else bias[channels][:, None, None])
        operands = [
            self._gather(parts, view)[0]
            for parts, view in zip(step.operands, layer.operands, strict=True)
        ]
        return pointwise(layer.post, value, self.constants, channels, operands)


def replay(
    program: Program,
    graph: NetworkGraph,
    inputs: Mapping[str, npt.NDArray[np.float32]],
    before: Replayed | None = None,
) -> Replayed:
    """Execute a program of the graph on the given inputs.

    Where something stands in local memory at its beginning, `before` is what the program
    before it left, of the same graph.  Raises ProgramError naming the instruction that reads or
    writes what it must not.
    """
    values = {name: c.value for name, c in graph.constants.items() if c.value is not None}
    dram = dram_image(graph, inputs)
    for tensor in program.tensors.values():
        if tensor.kind is TensorKind.PARTIAL_SUM:
            dram[tensor.name] = np.full(tensor.shape, np.nan, np.float32)
    machine = _Machine(program, values, dram)
    if before is not None:
        machine.resume(before)
    return machine.run()
