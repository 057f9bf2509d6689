"""Faults of the lowering, put into its source, and who catches them.

A fault is a text of one module of `dataflow_sim.program` and what stands there instead.  The
lowering is loaded anew around the faulty module, beside the sound one and for no longer than a
call; instructions are types that the readers know, and stay.  A text that is not there exactly
once is an error, so that no fault outlives the code that it was made for.

What a fault makes of a schedule goes to all readers, each for itself:

    ledger      refuses to count the program
    estimate    counts it, and finds other figures than the closed form has
    occupancy   refuses its addresses, or what lies there, or finds them higher than the schedule
    replay      refuses to execute it, or computes something else than the network
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

import dataflow_sim.program.lowering
from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.program.instructions import Program
from dataflow_sim.schedule.types import Schedule
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.occupancy import occupancy
from dataflow_sim.simulate.replay import Replayed, replay
from tests.support.runs import Arrays, outputs_of

Lower = Callable[[NetworkGraph, Schedule], Program]
LEDGER, ESTIMATE, OCCUPANCY, REPLAY = "ledger", "estimate", "occupancy", "replay"
RESULT, TRAFFIC, MEMORY = "result", "traffic", "memory"
PACKAGE = dataflow_sim.program.__name__
# modules that lower; what only says what there is, or moves it to other addresses, is left alone
LOWERING = tuple(
    sorted(
        path.stem
        for path in Path(dataflow_sim.program.__path__[0]).glob("*.py")
        if path.stem not in ("__init__", "banks", "homes", "instructions", "laying")
    )
)


@dataclass(frozen=True)
class Fault:
    """A text of a module of the lowering that is there once, and what stands there instead.

    `setting` is the name of what it is tried on, `caught` are those who find it.  It `spoils` the
    RESULT; or the program computes what it should, but moves or states TRAFFIC or takes MEMORY
    that the schedule does not have.
    """

    name: str
    module: str
    setting: str
    spoils: str
    caught: Set[str]
    sound: str
    faulty: str


@dataclass(frozen=True)
class Setting:
    """Schedules of one network, a frame each, that are lowered and read one after the other.

    `frames` are inputs and output of each.
    """

    graph: NetworkGraph
    schedules: tuple[Schedule, ...]
    frames: tuple[tuple[Arrays, np.ndarray], ...]


@cache
def _source(module: str) -> str:
    return (Path(dataflow_sim.program.__path__[0]) / f"{module}.py").read_text()


@cache
def _built_on(module: str) -> tuple[str, ...]:
    """Modules of the lowering that take something from one, or from another that does."""
    there = f"from {PACKAGE}.{module} import"
    direct = [each for each in LOWERING if there in _source(each)]
    return (*direct, *(name for each in direct for name in _built_on(each)))


@contextmanager
def _without(modules: Set[str]) -> Iterator[None]:
    """These modules are not there inside, and what is loaded there is gone outside."""
    names = {f"{PACKAGE}.{module}" for module in modules}
    package = vars(dataflow_sim.program)
    sound = {name: sys.modules.pop(name) for name in names}
    attributes = {module: package[module] for module in modules}
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(sound)
        package.update(attributes)


def lowering_with(fault: Fault) -> Lower:
    """`lower` of a lowering that has the fault."""
    source = _source(fault.module)
    assert source.count(fault.sound) == 1, f"{fault.module} has not once: {fault.sound}"
    name = f"{PACKAGE}.{fault.module}"
    with _without({fault.module, *_built_on(fault.module)}):
        faulty = sys.modules[name] = ModuleType(name)
        exec(compile(source.replace(fault.sound, fault.faulty), name, "exec"), vars(faulty))
        lower: Lower = importlib.import_module(f"{PACKAGE}.lowering").lower
    return lower


def lowered(setting: Setting, lower: Lower) -> tuple[Program, ...]:
    """The programs of a setting's schedules."""
    return tuple(lower(setting.graph, schedule) for schedule in setting.schedules)


def catchers(setting: Setting, programs: tuple[Program, ...]) -> frozenset[str]:
    """Who finds something wrong with programs for the schedules of a setting."""
    found = set()
    for schedule, program in zip(setting.schedules, programs, strict=True):
        try:
            if not _agrees(schedule, program):
                found.add(ESTIMATE)
        except ProgramError:
            found.add(LEDGER)
        try:
            used = occupancy(program)
            if used.peak_bytes != schedule.local_bytes:
                found.add(OCCUPANCY)
        except ProgramError:
            found.add(OCCUPANCY)
    try:
        with np.errstate(all="ignore"):  # of what is not there
            if not _computes(setting, programs):
                found.add(REPLAY)
    except ProgramError:
        found.add(REPLAY)
    return frozenset(found)


def _agrees(schedule: Schedule, program: Program) -> bool:
    """Whether the ledger's figures are those of the closed form."""
    ledger = count(program)
    return schedule.traffic_bytes() == ledger.traffic_bytes() and all(
        chosen.macs_executed == ledger.macs_executed[index]
        and chosen.local_bits == ledger.local_read_bits[index] + ledger.local_write_bits[index]
        and chosen.local_write_bits == ledger.local_write_bits[index]
        for index, chosen in zip(schedule.order, schedule.layers, strict=True)
    )


def _computes(setting: Setting, programs: tuple[Program, ...]) -> bool:
    """Whether programs, one behind the other, give the network's outputs of all frames."""
    before: Replayed | None = None
    for program, (inputs, expected) in zip(programs, setting.frames, strict=True):
        before = replay(program, setting.graph, inputs, before)
        output = outputs_of(setting.graph, before.tensors, expected)["output"]
        scale = float(np.abs(expected).max())
        if not np.allclose(output, expected, rtol=1e-4, atol=1e-5 * scale):
            return False
    return True
