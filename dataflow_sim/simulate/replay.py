"""The replay: a program executed with numpy on real tensors, in exactly S bytes.

    DRAM: named tensors  ──Load──►  bytes on chip  ──Compute──►  bytes on chip  ──Store──►  DRAM
    which elements are   ◄─Store──  who owns each, which element lies where     ◄──Load───

The memory on chip is one of bytes (`on_chip`), and a buffer a window on them at the address that
the program gave it.  Loads and stores copy bit patterns between it and a DRAM of named tensors
(`dram`), and steps compute from it alone, with real numbers, with the integers of a quantised
file, or with others of the program's own widths (`arithmetic`).  Beside every buffer stands a
shadow that remembers which element of which tensor each place holds: to read or store anything else
than the instruction says is an error, even where stale bytes happen to be equal.  So is to reserve
bytes that are taken, to leave a buffer or the memory, to load what was never stored, to read what
was never written, and to end with an output missing.  A step that lacks a row or column it needs
says which.

Per-channel constants travel as their channel number: what a step finds in local memory tells it
which channels' constants to apply.

Shares with the lowering nothing but the instructions' types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.program.instructions import (
    Alloc,
    Compute,
    Free,
    Instruction,
    Join,
    Load,
    Memory,
    Program,
    Split,
    Standing,
    Store,
)
from dataflow_sim.simulate.arithmetic import Arithmetic, Reals
from dataflow_sim.simulate.codec import Array
from dataflow_sim.simulate.dram import Dram
from dataflow_sim.simulate.file_integers import FileIntegers
from dataflow_sim.simulate.identities import Ids
from dataflow_sim.simulate.image import applied_numbers, dram_image
from dataflow_sim.simulate.integers import Integers
from dataflow_sim.simulate.machine import Machine
from dataflow_sim.simulate.steps import Steps
from dataflow_sim.simulate.stream_runner import StreamRunner

# may a replay go on, having done so many of so many instructions?
GoOn = Callable[[int, int], bool]
_ASK_EVERY = 256


def _always(done: int, total: int) -> bool:
    return True


@dataclass(frozen=True)
class Replayed:
    """What a replay leaves: the DRAM, and the memory on chip for the frame behind.

    `executed` instructions of the program were done: all of them, unless it was stopped.  `local`
    is the local memory as the program leaves it, `shadows` which elements lie in the buffers
    that stay there.  `whole` names the layers whose results were taken whole from their operator's
    definition, since what a step of theirs makes does not follow from what it reads.
    """

    dram: Dram
    executed: int
    local: bytes
    shadows: Mapping[Standing, Ids]
    whole: tuple[str, ...] = ()

    @property
    def tensors(self) -> Mapping[str, Array]:
        """The numbers in DRAM by tensor, NaN where nothing was stored."""
        return _Numbers(self.dram)

    @property
    def dram_bytes(self) -> int:
        """DRAM bytes that moved, rounded up once for each tensor and direction."""
        return sum(-(-bits // 8) for bits in self.dram.moved_bits.values())


class _Numbers(Mapping[str, Array]):
    """The DRAM's numbers, decoded when they are asked for."""

    def __init__(self, dram: Dram) -> None:
        self.dram = dram

    def __getitem__(self, name: str) -> Array:
        return self.dram.values(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.dram.contents)

    def __len__(self) -> int:
        return len(self.dram.contents)


class _Run:
    """One execution of a program."""

    def __init__(
        self, program: Program, arithmetic: Arithmetic, image: Mapping[str, Array]
    ) -> None:
        self.program = program
        self.dram = Dram(
            program.tensors, {name: arithmetic.codec(name) for name in program.tensors}
        )
        for name in program.tensors:
            if name in image:
                self.dram.bring(name, image[name])
            else:
                self.dram.expect(name)
        self.machine = Machine(program, arithmetic, self.dram)
        self.chip = self.machine.chip
        self.steps = Steps(self.machine)
        self.streams = StreamRunner(self.machine)

    def resume(self, before: Replayed) -> None:
        """Begin with the local memory that another program left."""
        if len(before.local) != self.program.capacity_bytes:
            raise ProgramError(f"{len(before.local)} bytes of local memory were left")
        self.chip.memory[Memory.LOCAL][:] = before.local
        for standing in self.program.stands:
            if standing not in before.shadows:
                raise ProgramError(f"'{standing.tensor}' is to stand where nothing was left")
            self.chip.stand(standing.alloc, before.shadows[standing])

    def go(self, go_on: GoOn) -> Replayed:
        total = len(self.program.instructions)
        for number, instruction in enumerate(self.program.instructions):
            if number % _ASK_EVERY == 0 and not go_on(number, total):
                return Replayed(self.dram, number, b"", {})
            try:
                self._execute(instruction)
            except (ProgramError, IndexError, ValueError) as error:
                kind = type(instruction).__name__
                raise ProgramError(f"instruction {number} ({kind}): {error}") from error
        whole = self.streams.finish()
        self._check_end()
        shadows = {s: self.chip.shadows[s.alloc.buffer] for s in self.program.leaves}
        local = bytes(self.chip.memory[Memory.LOCAL])
        return Replayed(self.dram, total, local, shadows, whole)

    def _check_end(self) -> None:
        """Raise ProgramError unless all outputs are there, and no buffer but what is to stay."""
        for name, tensor in self.program.tensors.items():
            missing = self.dram.missing(name) if tensor.kind is TensorKind.OUTPUT else 0
            if missing:
                raise ProgramError(
                    f"at the end {missing} of {tensor.elements} elements of '{name}' are missing"
                )
        staying = {standing.alloc for standing in self.program.leaves}
        if set(self.chip.there.values()) != staying:
            odd = min(self.chip.there.keys() ^ {alloc.buffer for alloc in staying}, default=-1)
            raise ProgramError(f"at the end buffer {odd} is there or not against the program")

    def _execute(self, instruction: Instruction) -> None:
        if isinstance(instruction, Load):
            self.machine.load(instruction)
        elif isinstance(instruction, Store):
            self.machine.store(instruction)
        elif isinstance(instruction, Compute):
            self.steps.compute(instruction)
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


def _execute(run: _Run, before: Replayed | None, go_on: GoOn) -> Replayed:
    if before is not None:
        run.resume(before)
    return run.go(go_on)


def replay(
    program: Program,
    graph: NetworkGraph,
    inputs: Mapping[str, npt.NDArray[Any]],
    before: Replayed | None = None,
    go_on: GoOn = _always,
) -> Replayed:
    """Execute a program of the graph on the given inputs, in single precision.

    The program must have been made for 32-bit weights, maps and accumulators.  Where something
    stands in local memory at its beginning, `before` is what the program before it left, of
    the same graph.  `go_on` is asked now and then whether to go on.  Raises ProgramError naming
    the instruction that reads or writes what it must not.
    """
    reals = Reals(applied_numbers(graph))
    return _execute(_Run(program, reals, dram_image(graph, inputs)), before, go_on)


def replay_quantised(
    program: Program,
    integers: FileIntegers,
    inputs: Mapping[str, npt.NDArray[Any]],
    before: Replayed | None = None,
    go_on: GoOn = _always,
) -> Replayed:
    """Execute a program of a quantised network, with its own widths, on the file's integers.

    Inputs are numbers, or integers where the file has them so.  All else is as for `replay`.
    """
    return _execute(_Run(program, integers, integers.image(inputs)), before, go_on)


def replay_integers(
    program: Program,
    integers: Integers,
    before: Replayed | None = None,
    go_on: GoOn = _always,
) -> Replayed:
    """Execute a program as it is reported, with its own widths, on integers drawn from a seed.

    All else is as for `replay`.
    """
    return _execute(_Run(program, integers, integers.image()), before, go_on)
