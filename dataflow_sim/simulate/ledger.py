"""The ledger: DRAM bytes by tensor and reason, counted from the program's instructions.

It knows nothing of tilings or estimates.  It reads the instructions in order, keeps for
each tensor which elements have been read and written before, and from that alone says
why a byte moves:

    a load of    a network input, a weight   first time ever: read / fetch, else refetch
                 a feature map               first time by the consuming layer: fill, else
                                             refill
                 partial sums                partial_sum_fill
    a store of   a network output, a map, partial sums: output_write, map_spill, partial_sum_spill

Bits in and out of local memory are those of the transfers and of the steps, in the width that a
tensor has there.  Buffers in the accumulator memory hold partial sums and the results that they
become; what passes through these is not local.

The consuming layer of a load is that of the first later step which reads its buffer; the
producing layer of a store is that of the last step which wrote it.  Both go over, row by row,
where a buffer becomes those of its rows or these become one; no bit moves there.  Elements are
tracked on a grid of all region borders that occur (coordinate compression), exactly.

Conservation, asserted on every run: what is loaded is consumed, and lies inside its tensor, as
what is stored does; a part of a reduction has its sums; a map is written before it is loaded;
every layer makes each element of its outputs once, or where it may make some again leaves none
out, and what it makes is stored whole or not at all; every element of a network output is stored
exactly once; a running reduction takes every row of its layer's body once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.garbage import without_collection
from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.graph.region import Box, Span
from dataflow_sim.program.instructions import (
    Alloc,
    Compute,
    Free,
    Join,
    Load,
    Memory,
    Program,
    Slice,
    Split,
    Store,
    Stream,
)
from dataflow_sim.simulate.buffers import Buffers, row_by_row
from dataflow_sim.simulate.grid import Grid
from dataflow_sim.simulate.ledger_counts import FIRST_AGAIN, STORE, Ledger, Waiting
from dataflow_sim.simulate.macs import macs_of
from dataflow_sim.simulate.requests import moved_bits
from dataflow_sim.traffic import Reason, TrafficKey

Progress = Callable[[int, int], None]
_PROGRESS_EVERY = 1 << 16


def _no_progress(done: int, total: int) -> None:
    """Say nothing."""


@dataclass(slots=True)
class _Counter:
    program: Program
    progress: Progress
    burst_bytes: int
    moved: Mapping[tuple[str, Box], int]
    grids: dict[str, Grid] = field(default_factory=dict)
    reads: list[int] = field(init=False)
    writes: list[int] = field(init=False)
    macs: list[int] = field(init=False)
    steps: list[int] = field(init=False)
    transfers: list[int] = field(init=False)
    made: list[int] = field(init=False)
    pooled: list[int] = field(init=False)
    spans: list[tuple[set[Span], set[Span]]] = field(init=False)
    seen: dict[tuple[str, int], npt.NDArray[np.bool_]] = field(default_factory=dict)
    written: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    traffic: dict[tuple[int, TrafficKey], int] = field(default_factory=lambda: defaultdict(int))
    padding: dict[tuple[int, TrafficKey], int] = field(default_factory=lambda: defaultdict(int))
    pending: dict[int, list[Waiting]] = field(default_factory=lambda: defaultdict(list))
    buffers: Buffers = field(default_factory=Buffers)
    # the last write to a buffer: its number among all writes, and the layer
    writer: dict[int, tuple[int, int]] = field(default_factory=dict)
    written_times: int = 0

    def __post_init__(self) -> None:
        layers = len(self.program.layers)
        self.reads, self.writes, self.macs = ([0] * layers for _ in range(3))
        self.steps, self.made, self.pooled = ([0] * layers for _ in range(3))
        self.transfers = [0] * layers
        self.buffers.byte_bits = self.program.byte_bits
        self.spans = [(set(), set()) for _ in range(layers)]
        instructions = self.program.instructions
        falls_apart = {each.buffer for each in instructions if isinstance(each, Split)}
        boxes: dict[str, list[Box]] = defaultdict(list)
        for instruction in instructions:
            if isinstance(instruction, Load | Store):
                boxes[instruction.tensor].append(instruction.box)
            if isinstance(instruction, Load) and instruction.buffer in falls_apart:
                boxes[instruction.tensor].extend(load.box for _, load in row_by_row(instruction))
        for name, found in boxes.items():
            distinct = list(dict.fromkeys(found))
            self._check_inside(name, distinct)
            self.grids[name] = Grid(distinct)
        for standing in self.program.stands:
            self.buffers.open(standing.alloc)

    def _check_inside(self, name: str, boxes: list[Box]) -> None:
        shape = self.program.tensors[name].shape
        for box in boxes:
            if any(s.start < 0 or s.stop > size for s, size in zip(box, shape, strict=True)):
                raise ProgramError(f"{box} leaves '{name}' of shape {shape}")

    def run(self) -> Ledger:
        """Read all instructions in order."""
        total = len(self.program.instructions)
        for number, instruction in enumerate(self.program.instructions):
            if number % _PROGRESS_EVERY == 0:
                self.progress(number, total)
            if isinstance(instruction, Load):
                self._load(instruction)
            elif isinstance(instruction, Compute):
                self._compute(instruction)
            elif isinstance(instruction, Store):
                self._store(instruction)
            elif isinstance(instruction, Stream):
                self._stream(instruction)
            elif isinstance(instruction, Alloc):
                self.buffers.open(instruction)
            elif isinstance(instruction, Free):
                self._free(instruction)
            elif isinstance(instruction, Split):
                self._split(instruction)
            else:
                self._join(instruction)
        self._check_outputs()
        self._count_stated_macs()
        return Ledger(
            dict(self.traffic),
            tuple(self.reads),
            tuple(self.writes),
            tuple(self.macs),
            tuple(self.steps),
            tuple(self.transfers),
            dict(self.padding),
            self.program.byte_bits,
        )

    def _compute(self, step: Compute) -> None:
        """Operands are read once; unfinished sums are written, and read unless just begun."""
        layer = step.layer
        for part in step.reads:
            self._read(part, layer)
        sums = step.sums
        if sums is None and not (step.first and step.last):
            name = self.program.layers[layer].name
            raise ProgramError(f"a step of '{name}' has a part of a reduction, but no sums")
        if sums is not None:
            self._consume(sums.buffer, layer)
            if self._is_local(sums.buffer):
                bits = sums.box.elements * self.buffers[sums.buffer].bits
                self.reads[layer] += 0 if step.first else bits
                self.writes[layer] += 0 if step.last else bits
        parts = (step.result, *step.more)
        for part in parts if sums is None or step.last else (sums,):
            self._note_writer(part.buffer, layer)
        output = self.program.tensors[self.program.layers[layer].output]
        if sum(part.box.elements for part in parts) != step.made.elements:
            raise ProgramError(f"the parts of a result of '{output.name}' make up no box")
        for part in parts if step.last else ():
            if self._is_local(part.buffer):
                self.writes[layer] += part.box.elements * output.local_bits
            elif sums is None or sums.buffer != part.buffer:
                raise ProgramError(f"a result of '{output.name}' lies where no partial sums were")
            self.made[layer] += part.box.elements
            for spans, span in zip(self.spans[layer], part.box[2:], strict=True):
                spans.add(span)
        if step.body_rows is not None:
            self.pooled[layer] += step.result.box.elements * step.body_rows.length
        self.macs[layer] += macs_of(self.program.layers[layer], step)
        self.steps[layer] += 1

    def _stream(self, step: Stream) -> None:
        """As above; results are made where the step writes them, whatever its running sums."""
        for part in step.reads:
            self._read(part, step.layer)
        if step.sums is not None:
            self._check_local(step.sums.buffer)
            bits = step.sums.box.elements * self.buffers[step.sums.buffer].bits
            self.reads[step.layer] += 0 if step.first else bits
            self.writes[step.layer] += 0 if step.last else bits
        for part in step.writes:
            self._check_local(part.buffer)
            self._note_writer(part.buffer, step.layer)
            self.writes[step.layer] += part.box.elements * self.buffers[part.buffer].bits
            self.made[step.layer] += part.box.elements
        self.steps[step.layer] += 1

    def _covered(self, number: int) -> bool:
        """Whether the steps of a layer leave no row or column of its output out."""
        shape = self.program.layers[number].output_shape
        for spans, size in zip(self.spans[number], shape[2:], strict=True):
            top = 0
            for span in sorted(spans):
                top = max(top, span.stop) if span.start <= top else top
            if top < size:
                return False
        return True

    def _is_local(self, buffer: int) -> bool:
        return self.buffers[buffer].memory is Memory.LOCAL

    def _check_local(self, buffer: int) -> None:
        if not self._is_local(buffer):
            label = self.buffers[buffer].label
            raise ProgramError(f"'{label}' lies in the accumulators, which hold partial sums only")

    def _read(self, part: Slice, layer: int) -> None:
        """A step reads part of a buffer in local memory once."""
        self._check_local(part.buffer)
        self._consume(part.buffer, layer)
        self.reads[layer] += part.box.elements * self.buffers[part.buffer].bits

    def _write_local(self, load: Load, layer: int) -> None:
        """The DMA writes what it has loaded for a layer, unpacked where that is wider."""
        tensor, buffer = self.program.tensors[load.tensor], self.buffers[load.buffer]
        if buffer.bits < tensor.local_bits:
            raise ProgramError(
                f"'{tensor.name}' has {tensor.local_bits} bits on chip, its buffer {buffer.bits}"
            )
        if tensor.kind is not TensorKind.PARTIAL_SUM:
            self._check_local(load.buffer)
        if buffer.memory is Memory.LOCAL:
            self.writes[layer] += load.box.elements * tensor.local_bits

    def _load(self, load: Load) -> None:
        """A load waits in its buffer for the step that reads it."""
        there = self.buffers[load.buffer]
        self.pending[there.buffer].append(Waiting(load, self._padding(load)))

    def _padding(self, transfer: Load | Store) -> int:
        """Bits that a transfer moves beside its own, in whole bursts."""
        bits = transfer.box.elements * self.program.tensors[transfer.tensor].bits
        if self.moved:
            return self.moved[transfer.tensor, transfer.box] - bits
        return -bits % (self.burst_bytes * self.program.byte_bits) if self.burst_bytes > 1 else 0

    def _transfer(self, layer: int, tensor: str, padding: int) -> None:
        """One transfer of a layer."""
        self.transfers[layer] += 1
        if padding:
            self.padding[layer, TrafficKey(tensor, Reason.BURST_PADDING)] += padding

    def _note_writer(self, buffer: int, layer: int) -> None:
        self.written_times += 1
        self.writer[buffer] = (self.written_times, layer)

    def _free(self, instruction: Free) -> None:
        left = self.pending.pop(instruction.buffer, [])
        if left:
            raise ProgramError(f"'{left[0].load.tensor}' is loaded and freed without being read")
        self.buffers.close(instruction.buffer)
        self.writer.pop(instruction.buffer, None)

    def _split(self, split: Split) -> None:
        """Each row takes over what was loaded to it, and who wrote the whole last."""
        whole = self.buffers.split(split)
        for load, padding in self.pending.pop(whole.buffer, ()):
            for place, (row, of_row) in enumerate(row_by_row(load)):
                if row >= len(split.parts):
                    raise ProgramError(f"'{load.tensor}' is loaded below the rows of {whole.label}")
                part = split.parts[row].buffer
                moved = padding if place == 0 else None
                self.pending[part].append(Waiting(of_row._replace(buffer=part), moved))
        last = self.writer.pop(whole.buffer, None)
        if last is not None:
            self.writer.update((part.buffer, last) for part in split.parts)

    def _join(self, join: Join) -> None:
        """The whole takes over what was loaded to its rows, and who wrote to them last."""
        whole, loads, writers = join.whole.buffer, [], []
        for row, part in enumerate(self.buffers.join(join)):
            for load, padding in self.pending.pop(part.buffer, ()):
                batch, channel, _, column = load.origin
                origin = (batch, channel, row, column)
                loads.append(Waiting(load._replace(buffer=whole, origin=origin), padding))
            if part.buffer in self.writer:
                writers.append(self.writer.pop(part.buffer))
        if loads:
            self.pending[whole] = loads
        if writers:
            self.writer[whole] = max(writers)

    def _add(self, layer: int, tensor: str, reason: Reason, elements: int) -> None:
        if elements:
            bits = elements * self.program.tensors[tensor].bits
            self.traffic[layer, TrafficKey(tensor, reason)] += bits

    def _consume(self, buffer: int, layer: int) -> None:
        """Count the loads that filled a buffer, now that a layer reads it."""
        for load, padding in self.pending.pop(buffer, ()):
            if padding is not None:
                self._transfer(layer, load.tensor, padding)
            tensor = self.program.tensors[load.tensor]
            grid = self.grids[load.tensor]
            cells = grid.cells(load.box)
            self._write_local(load, layer)
            if tensor.kind is TensorKind.PARTIAL_SUM:
                self._check_written(load, cells)
                self._add(layer, tensor.name, Reason.PARTIAL_SUM_FILL, load.box.elements)
                continue
            mapped = tensor.kind in (TensorKind.MAP, TensorKind.OUTPUT)
            if mapped:
                self._check_written(load, cells)
            key = (tensor.name, layer if mapped else -1)
            seen = self.seen.setdefault(key, grid.empty())
            new = int(grid.volume[cells][~seen[cells]].sum())
            seen[cells] = True
            first, again = FIRST_AGAIN[tensor.kind]
            self._add(layer, tensor.name, first, new)
            self._add(layer, tensor.name, again, load.box.elements - new)

    def _check_written(self, load: Load, cells: tuple[slice | npt.NDArray[np.int64], ...]) -> None:
        written = self.written.get(load.tensor)
        if written is None or not written[cells].all():
            raise ProgramError(f"'{load.tensor}' is loaded before it is written: {load.box}")

    def _store(self, store: Store) -> None:
        tensor = self.program.tensors[store.tensor]
        if tensor.kind not in STORE:
            raise ProgramError(f"'{store.tensor}' ({tensor.kind}) is written by the program")
        grid = self.grids[store.tensor]
        cells = grid.cells(store.box)
        written = self.written.setdefault(store.tensor, grid.empty())
        if tensor.kind is not TensorKind.PARTIAL_SUM and written[cells].any():
            raise ProgramError(f"'{store.tensor}' is written twice: {store.box}")
        written[cells] = True
        if store.buffer not in self.writer:
            label = self.buffers[store.buffer].label
            raise ProgramError(f"'{store.tensor}' is stored from '{label}', which no step wrote")
        _, layer = self.writer[store.buffer]
        self._add(layer, store.tensor, STORE[tensor.kind], store.box.elements)
        self._transfer(layer, store.tensor, self._padding(store))
        if self._is_local(store.buffer):
            self.reads[layer] += store.box.elements * tensor.local_bits

    def _count_stated_macs(self) -> None:
        """A streamed layer executes its MACs in proportion to what it makes: once, all of them."""
        for number, layer in enumerate(self.program.layers):
            if layer.stated_macs:
                whole = sum(self.program.tensors[name].elements for name in layer.outputs)
                self.macs[number] += layer.stated_macs * self.made[number] // whole

    def _check_outputs(self) -> None:
        counts = zip(self.program.layers, self.made, self.pooled, strict=True)
        for number, (layer, made, pooled) in enumerate(counts):
            tensors = [self.program.tensors[name] for name in layer.outputs]
            whole = sum(tensor.elements for tensor in tensors)
            # halos may be made again where the program says so, but nothing is left out
            more = made > whole and number in self.program.again and self._covered(number)
            if made != whole and not more:
                raise ProgramError(f"layer '{layer.name}' makes {made} elements of {whole}")
            if pooled not in (0, made * layer.body_shape[2]):
                raise ProgramError(f"layer '{layer.name}' pools {pooled} elements, row by row")
            for tensor in tensors:
                written = self.written.get(tensor.name)
                grid = self.grids.get(tensor.name)
                total = 0 if written is None or grid is None else int(grid.volume[written].sum())
                may_stay = tensor.kind is TensorKind.MAP and total == 0
                if total != tensor.elements and not may_stay:
                    raise ProgramError(
                        f"'{tensor.name}' is written {total} of {tensor.elements} elements"
                    )


def count(program: Program, progress: Progress = _no_progress, burst_bytes: int = 1) -> Ledger:
    """Count a program; `progress` hears of instructions done and in all.

    DRAM moves whole bursts of `burst_bytes`: those that a transfer's elements lie in, by the homes
    of the program's tensors; where it has none, each transfer is taken to lie in one piece from the
    beginning of a burst on, which is the least that it can move.  Raises ProgramError when bytes
    are lost, written twice or unread.
    """
    with without_collection():
        moved = moved_bits(program, burst_bytes * program.byte_bits) if program.homes else {}
        return _Counter(program, progress, burst_bytes, moved).run()
