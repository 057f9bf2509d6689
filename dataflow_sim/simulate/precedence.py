"""Who waits for whom in a program: what each step and each transfer needs to be over.

Steps execute one after the other.  Transfers pass through one queue in an order that is fixed
before anything runs, as a compiler writes it into a command stream:

    slot of a load     behind the last step that it conflicts with, and behind every store
    slot of a store    behind the step that made what it stores
    queue              by slot; in a slot loads before stores; loads keep their order, as do stores

So a load goes as early as its buffer is free and the loads before it allow: what is loaded for step
k + 1 moves beside step k where the tile has a second buffer, and waits for step k where it has
none.  No transfer at the head of the queue waits while another behind it could go, but for loads
that wait for loads.

Two accesses conflict where they touch the same rows and channels of a buffer and one of them
writes; where one touches a buffer that has taken addresses which the other's buffer gave back;
where one loads from DRAM what the other has stored there (`simulate.hazards`).

    L0 ──┐ L1 ──┐  L2 waits for step 0: same buffer as L0     program   L0 C0 S0 L1 C1 S1 L2 C2 S2
    C0   └─►C0  └─►C1  ...                                    queue     L0 L1 L2 S0 L3 S1 ...

The result holds for every machine with these engines: how long anything takes is
`simulate.timeline`'s.  Several programs, frame after frame, are taken as one.

Assumed: one sequencer of steps; inputs of later frames lie in DRAM already.  Ignored: conflicts of
images or columns within a row, which are not told apart.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from dataflow_sim.errors import ProgramError
from dataflow_sim.garbage import without_collection
from dataflow_sim.program.instructions import (
    Alloc,
    Compute,
    Free,
    Join,
    Load,
    Memory,
    Program,
    Split,
    Store,
    Stream,
)
from dataflow_sim.simulate.accesses import reads_of, writes_of
from dataflow_sim.simulate.arrays import Ints
from dataflow_sim.simulate.hazards import (
    NEVER,
    Ground,
    Last,
    Place,
    Region,
    joined,
    latest,
    region_of,
)
from dataflow_sim.simulate.work import Work, Works


@dataclass(frozen=True, slots=True, eq=False)
class Precedence:
    """What each step and each transfer waits for; arrays of int64.

    Of step k: `instruction` it is (of its program), the `frame` it belongs to, its `layer`, and its
    work as an index of `works`; `needs` is the place in the queue that must be done.  Of the
    transfer at place n of the queue: `moved` is its instruction, or -1 - k for the commands of
    step k; `of_frame`; its tensor as an index of `tensors`, NEVER for commands; whether it is a
    store; its bits in DRAM and in local memory; the step and the place in the queue that must be
    over, and the `slot`: the first step that it may run beside.  NEVER stands for nothing.
    """

    tensors: tuple[str, ...]
    works: tuple[Work, ...]
    instruction: Ints
    frame: Ints
    layer: Ints
    work: Ints
    needs: Ints
    moved: Ints
    of_frame: Ints
    tensor: Ints
    stores: Ints
    bits: Ints
    local_bits: Ints
    after_step: Ints
    after_transfer: Ints
    slot: Ints


@dataclass(frozen=True, slots=True)
class Commands:
    """Bits of commands that are fetched for each step, and for the first one of each layer."""

    per_step_bits: int = 0
    per_layer_bits: int = 0


NO_COMMANDS = Commands()


class _Buffer:
    """A buffer, what its accesses wait for because of what lay there before, and its own."""

    __slots__ = ("alloc", "before", "load", "place", "step", "store")

    def __init__(self, alloc: Alloc, before: Last, place: Place | None = None) -> None:
        self.alloc = alloc
        self.before = before
        self.place = Place(alloc.shape[2], alloc.shape[1]) if place is None else place
        self.load = self.store = self.step = NEVER

    def touched(self, last: Last) -> None:
        """Its last accesses were these."""
        self.load, self.store, self.step = last

    @property
    def last(self) -> Last:
        """Its last accesses."""
        return Last(self.load, self.store, self.step)


def _in_dram(transfer: Load | Store) -> Region:
    _, (first, last, _), (top, bottom, _), _ = transfer.box
    return (top, bottom, first, last)


class _Follower:
    """Follows programs, one after the other, and notes what each step and transfer waits for."""

    def __init__(self, local: bool) -> None:
        self.works = Works(local)
        self.ground = {memory: Ground() for memory in Memory}
        self.buffers: dict[int, _Buffer] = {}
        self.in_dram: dict[str, Place] = {}  # of tensors that are stored
        self.tensors: dict[str, int] = {}
        self.frame = 0
        self.loads = self.stores = self.number = 0
        # of each step: instruction, frame, layer, work, load and store that it needs
        self.steps = array("q")
        # of each transfer: instruction, frame, tensor, store or not, bits, local bits, slot, and
        # the step, load and store that it waits for
        self.transfers = array("q")
        self.load_slot = self.store_slot = 0
        self.slots_of_loads: list[int] = []
        self.slots_of_stores: list[int] = []

    def follow(self, program: Program) -> None:
        """One frame."""
        self.buffers, self.in_dram = {}, {}
        for standing in program.stands:
            self._open(standing.alloc)
        for index, ins in enumerate(program.instructions):
            if isinstance(ins, Compute | Stream):
                self._step(program, index, ins)
            elif isinstance(ins, Load):
                self._load(program, index, ins)
            elif isinstance(ins, Store):
                self._store(program, index, ins)
            elif isinstance(ins, Alloc):
                self._open(ins)
            elif isinstance(ins, Free):
                self._close(ins.buffer)
            elif isinstance(ins, Split):
                self._split(ins)
            else:
                self._join(ins)
        for buffer in list(self.buffers):
            self._close(buffer)
        self.frame += 1

    def _open(self, alloc: Alloc) -> None:
        end = alloc.address + alloc.size_bytes
        before = self.ground[alloc.memory].below(alloc.address, end)
        self.buffers[alloc.buffer] = _Buffer(alloc, before)

    def _close(self, number: int) -> None:
        ended = self._buffer(number)
        del self.buffers[number]
        address, size = ended.alloc.address, ended.alloc.size_bytes
        self.ground[ended.alloc.memory].give_back(address, address + size, ended.last)

    def _buffer(self, number: int) -> _Buffer:
        found = self.buffers.get(number)
        if found is None:
            raise ProgramError(f"buffer {number} is used but not allocated")
        return found

    def _split(self, split: Split) -> None:
        whole = self._buffer(split.buffer)
        del self.buffers[split.buffer]
        for row, part in enumerate(split.parts):
            place = whole.place.row(row)
            self.buffers[part.buffer] = _Buffer(part, whole.before, place)
            self.buffers[part.buffer].touched(place.last())

    def _join(self, join: Join) -> None:
        parts = [self._buffer(number) for number in join.parts]
        for number in join.parts:
            del self.buffers[number]
        before, own = (
            reduce(latest, found, Last())
            for found in ([part.before for part in parts], [part.last for part in parts])
        )
        place = joined([part.place for part in parts], join.whole.shape[1])
        self.buffers[join.whole.buffer] = _Buffer(join.whole, before, place)
        self.buffers[join.whole.buffer].touched(own)

    def _step(self, program: Program, index: int, step: Compute | Stream) -> None:
        number, buffers = self.number, self.buffers
        load = store = NEVER
        try:
            for part in reads_of(step):
                region = region_of(part.box, part.origin, part.stride[0])
                if region is not None:
                    found = buffers[part.buffer]
                    before, loaded = found.before, found.place.read(region, number)
                    load = max(load, loaded, before.load)
                    store = max(store, before.store)
                    found.step = number
            for part in writes_of(step):
                region = region_of(part.box, part.origin, part.stride[0])
                if region is not None:
                    found = buffers[part.buffer]
                    before, (loaded, stored) = found.before, found.place.write(region, number)
                    load = max(load, loaded, before.load)
                    store = max(store, stored, before.store)
                    found.step = number
        except KeyError as missing:
            raise ProgramError(f"buffer {missing.args[0]} is used but not allocated") from None
        work = self.works.of(program, step, self._width)
        self.steps.extend((index, self.frame, step.layer, work, load, store))
        self.number += 1

    def _width(self, number: int) -> tuple[Memory, int]:
        """The memory of a buffer, and the width of its elements."""
        alloc = self._buffer(number).alloc
        return alloc.memory, alloc.bits

    def _load(self, program: Program, index: int, load: Load) -> None:
        found = self._buffer(load.buffer)
        after_load, after_store, after_step = Last()
        region = region_of(load.box, load.origin)
        if region is not None:
            before = found.before
            loaded, stored, step = found.place.load(region, self.loads)
            after_load, after_step = max(before.load, loaded), max(before.step, step)
            there = self.in_dram.get(load.tensor)
            if there is not None:
                stored = max(stored, there.last_store(_in_dram(load)))
            after_store = max(before.store, stored)
            found.load = self.loads
        behind = self.slots_of_stores[after_store] + 1 if after_store != NEVER else 0
        self.load_slot = max(self.load_slot, after_step + 1, behind)
        self.slots_of_loads.append(self.load_slot)
        self.loads += 1
        local = found.alloc.memory is Memory.LOCAL
        self._note(program, index, load, local, (after_step, after_load, after_store))

    def _store(self, program: Program, index: int, store: Store) -> None:
        found = self._buffer(store.buffer)
        after_load, after_store, after_step = Last()
        region = region_of(store.box, store.origin)
        if region is not None:
            before = found.before
            loaded, step = found.place.store(region, self.stores)
            after_load, after_step = max(before.load, loaded), max(before.step, step)
            after_store = before.store
            there = self.in_dram.get(store.tensor)
            if there is None:
                shape = program.tensors[store.tensor].shape
                there = self.in_dram[store.tensor] = Place(shape[2], shape[1])
            there.store(_in_dram(store), self.stores)
            found.store = self.stores
        behind = self.slots_of_loads[after_load] if after_load != NEVER else 0
        self.store_slot = max(self.store_slot, after_step + 1, behind)
        self.slots_of_stores.append(self.store_slot)
        self.stores += 1
        local = found.alloc.memory is Memory.LOCAL
        self._note(program, index, store, local, (after_step, after_load, after_store))

    def _note(
        self,
        program: Program,
        index: int,
        transfer: Load | Store,
        local: bool,
        after: tuple[int, int, int],
    ) -> None:
        tensor = program.tensors[transfer.tensor]
        name = self.tensors.setdefault(transfer.tensor, len(self.tensors))
        elements, is_store = transfer.box.elements, isinstance(transfer, Store)
        local_bits = elements * tensor.local_bits if local else 0
        slot = self.store_slot if is_store else self.load_slot
        head = (index, self.frame, name, is_store, elements * tensor.bits, local_bits, slot)
        self.transfers.extend((*head, *after))

    def result(self, commands: Commands) -> Precedence:
        """What was found, transfers in the order of the queue."""
        steps = np.array(self.steps, np.int64).reshape(-1, 6).T
        known = np.array(self.transfers, np.int64).reshape(-1, 10).T
        instruction, frame, layer, work, load, store = steps
        fetched = _command_transfers(frame, layer, commands)
        moved = np.concatenate([fetched, known], axis=1)
        place = np.empty(moved.shape[1], np.int64)
        order = np.argsort(2 * moved[6] + moved[3], kind="stable")
        place[order] = np.arange(order.size)
        own = place[fetched.shape[1] :]  # of the program's, in its order
        by_kind = [np.append(own[known[3] == kind], NEVER) for kind in (0, 1)]
        needs = np.maximum(by_kind[0][load], by_kind[1][store])
        for_step = -1 - fetched[0]
        needs[for_step] = np.maximum(needs[for_step], place[: fetched.shape[1]])
        moved = moved[:, order]
        return Precedence(
            tensors=tuple(self.tensors),
            works=tuple(self.works.found),
            instruction=instruction,
            frame=frame,
            layer=layer,
            work=work,
            needs=needs,
            moved=moved[0],
            of_frame=moved[1],
            tensor=moved[2],
            stores=moved[3],
            bits=moved[4],
            local_bits=moved[5],
            after_step=moved[7],
            after_transfer=np.maximum(by_kind[0][moved[8]], by_kind[1][moved[9]]),
            slot=moved[6],
        )


def _command_transfers(frame: Ints, layer: Ints, commands: Commands) -> Ints:
    """Fetches of commands as transfers: needed by their step, beside the one before it."""
    bits = np.full(frame.size, commands.per_step_bits, np.int64)
    if frame.size:
        pairs = np.stack([frame, layer])
        _, first = np.unique(pairs, axis=1, return_index=True)
        bits[first] += commands.per_layer_bits
    step = np.flatnonzero(bits)
    nothing = np.full(step.size, NEVER, np.int64)
    zero = np.zeros(step.size, np.int64)
    return np.stack(
        [
            *(-1 - step, frame[step], nothing, zero, bits[step], zero, np.maximum(step - 1, 0)),
            *(nothing, nothing, nothing),
        ]
    )


def precedence(
    programs: Sequence[Program], commands: Commands = NO_COMMANDS, *, local: bool = False
) -> Precedence:
    """Follow programs, frame after frame; `local` counts bits in and out of local memory, too.

    Raises ProgramError where an instruction uses a buffer that is not there.
    """
    with without_collection():
        found = _Follower(local)
        for program in programs:
            found.follow(program)
        return found.result(commands)
