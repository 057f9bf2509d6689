"""The machine of a replay: what moves between its memories, and what steps read and write there.

Every number that a step reads is checked for being the element that the program says it is, at
the address that the program gave it; every number that is written is noted there.  What a step
computes lies elsewhere (`steps`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import TensorKind, View
from dataflow_sim.graph.region import Box, Span, whole
from dataflow_sim.program.instructions import Load, Program, Slice, Store
from dataflow_sim.simulate.arithmetic import Arithmetic
from dataflow_sim.simulate.codec import Array, Codec
from dataflow_sim.simulate.dram import Dram
from dataflow_sim.simulate.identities import Identities, Ids
from dataflow_sim.simulate.on_chip import NOTHING, OnChip


@dataclass(slots=True)
class Machine:
    """DRAM, memory on chip, and the numbers in them."""

    program: Program
    arithmetic: Arithmetic
    dram: Dram
    chip: OnChip = field(init=False)
    ids: Identities = field(init=False)
    # partial sums in DRAM: which elements they are
    spilled: dict[str, Ids] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Memory on chip of the program's sizes, with nothing in it."""
        capacities = (self.program.capacity_bytes, self.program.accumulator_capacity_bytes)
        self.chip = OnChip(*capacities)
        self.ids = Identities(self.program)
        for name, tensor in self.program.tensors.items():
            if tensor.kind is TensorKind.PARTIAL_SUM:
                self.spilled[name] = np.full(tensor.shape, NOTHING, np.int64)

    def load(self, load: Load) -> None:
        """Copy a box from DRAM to a buffer."""
        part = Slice(load.buffer, load.origin, load.box)
        bits = self.chip.there[load.buffer].bits
        patterns = self.dram.load(load.tensor, load.box, bits)
        spilled = self.spilled.get(load.tensor)
        ids = self.ids.of(load.tensor, load.box) if spilled is None else spilled[load.box.slices]
        self.chip.put(part, patterns, ids)

    def store(self, store: Store) -> None:
        """Copy a box to DRAM from a buffer, which must hold its elements."""
        part = Slice(store.buffer, store.origin, store.box)
        spilled = self.spilled.get(store.tensor)
        if spilled is None:
            self.expect(part, self.ids.of(store.tensor, store.box))
        else:
            spilled[store.box.slices] = self.chip.shadow(part)
        patterns, bits = self.chip.patterns(part), self.chip.there[store.buffer].bits
        self.dram.store(store.tensor, store.box, patterns, bits)

    def expect(self, part: Slice, ids: Ids) -> None:
        """Raise ProgramError unless the slice holds exactly these elements."""
        wrong = self.chip.shadow(part) != ids
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ProgramError(
                f"buffer {part.buffer} does not hold element {place} of {part.box}; "
                f"{int(wrong.sum())} of {wrong.size} are missing or stale"
            )

    def read(self, part: Slice, ids: Ids, codec: Codec) -> Array:
        """The numbers in a slice, which must be these elements."""
        self.expect(part, ids)
        bits = self.chip.there[part.buffer].bits
        return codec.decode(self.chip.patterns(part), part.box, bits)

    def read_view(self, part: Slice, view: View) -> Array:
        """A part of a view, whose segments may have codecs of their own."""
        pieces, position = [], 0
        for segment in view.segments:
            low = max(part.box.channel.start - position, 0)
            high = min(part.box.channel.stop - position, segment.channels)
            if low < high:
                pieces.append((high - low, segment, self.arithmetic.codec(segment.tensor)))
            position += segment.channels
        ids = self.ids.of_view(view, part.box)
        _, segment, codec = pieces[0]
        if all(each is codec and s.rounded == segment.rounded for _, s, each in pieces):
            return self.arithmetic.seen(segment, self.read(part, ids, codec))
        found, first = [], 0
        for channels, segment, codec in pieces:
            batch, channel, row, column = part.origin
            low = part.box.channel.start + first
            box = part.box._replace(channel=Span(low, low + channels))
            some = part._replace(origin=(batch, channel + first, row, column), box=box)
            value = self.read(some, ids[:, first : first + channels], codec)
            found.append(self.arithmetic.seen(segment, value))
            first += channels
        return np.concatenate(found, axis=1)

    def all_of(self, name: str) -> Array:
        """All of a tensor, as it is in a buffer of local memory, or else in DRAM."""
        box = whole(self.program.tensors[name].shape)
        ids, codec = self.ids.of(name, box), self.arithmetic.codec(name)
        for buffer, shadow in self.chip.shadows.items():
            if shadow.shape == ids.shape and (shadow == ids).all():
                return self.read(Slice(buffer, (0, 0, 0, 0), box), ids, codec)
        return self.dram.values(name)

    def gather(self, parts: tuple[Slice, ...], view: View) -> tuple[Array, Box]:
        """Read a box of a view from its parts.  Raises ProgramError unless they tile it."""
        if len(parts) == 1:
            return self.read_view(parts[0], view), parts[0].box
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
            tile[place] = self.read_view(part, view)
            covered[place] = True
        if not covered.all():
            raise ProgramError(f"{len(parts)} parts do not cover {box}")
        return tile, box

    def write(self, part: Slice, value: Array, ids: Ids, codec: Codec) -> None:
        """Numbers to a slice, as these elements."""
        bits = self.chip.there[part.buffer].bits
        if value.shape != part.box.shape:
            value = np.broadcast_to(value, part.box.shape)
        self.chip.put(part, codec.encode(value, part.box, bits), ids)
