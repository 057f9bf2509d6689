"""The timeline of a network on a machine: durations from the machine, waits by layer and cause.

Dependencies are found once for a program (`Followed`) and timed for any machine with the same
memories (`time_on`): a sensitivity or a range of figures follows nothing twice.

    step        cycles of its units at the clock, or its bits in and out of local memory, with those
                of the transfers beside it, where a bandwidth is stated: one port serves them all
    transfer    its bits on DRAM, flash or system cache at their rates, whole bursts on DRAM; where
                the file names DRAM's part and asks for it, what that makes of the bursts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from operator import mul

import numpy as np
import numpy.typing as npt

from dataflow_sim.delivered import asked_of, clock_hertz, deliver
from dataflow_sim.energy.compute import Extents
from dataflow_sim.energy.steps import StepShape, step_cycles
from dataflow_sim.errors import TooLongError
from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import HardwareFile
from dataflow_sim.program.instructions import Program
from dataflow_sim.simulate.arrays import Ints
from dataflow_sim.simulate.dram_play import Delivery
from dataflow_sim.simulate.precedence import Commands, Precedence, precedence
from dataflow_sim.simulate.requests import Requests
from dataflow_sim.simulate.system_cache import NOTHING_HELD, Held, loaded_again
from dataflow_sim.simulate.timeline import FS_PER_S, Durations, Timeline, play
from dataflow_sim.simulate.waits import STEP_CAUSES, Waits, waits

DRAM, FLASH, CACHE, LOCAL = "dram", "flash", "system cache", "local memory"
BUSES = (DRAM, FLASH, CACHE, LOCAL)
_LONGEST = 1 << 61  # femtoseconds, well within 64 bits


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """Programs of a network's frames, followed: who waits for whom, and bits on every bus.

    `bits` are those of DRAM, flash, cache and local memory, by (bus, place in the queue), DRAM's
    in whole bursts; `causes` what a step waits for that waits for the transfer.  `asked` are the
    bursts, where tensors have homes, and `part` which part of each transfer a system cache leaves
    to DRAM; `played` what a DRAM made of them.
    """

    graph: NetworkGraph
    found: Precedence
    bits: Ints
    causes: Ints
    asked: Requests | None = None
    part: npt.NDArray[np.float64] | None = None
    played: dict[tuple[object, ...], Delivery] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Timed:
    """A timeline with the durations that it follows from, and what engines wait for in it.

    `at_peak_fs` is of each step the time that its multiplications would take the whole array,
    `bound_by_port` tells of each whether local memory's port is what it takes so long for;
    `delivery` is what the part of DRAM did, where the machine has one.
    """

    followed: Followed
    durations: Durations
    timeline: Timeline
    waits: Waits
    at_peak_fs: Ints
    bound_by_port: npt.NDArray[np.bool_]
    delivery: Delivery | None = None


def follow(
    graph: NetworkGraph,
    hardware: HardwareFile,
    programs: Sequence[Program],
    held: Held = NOTHING_HELD,
) -> Followed:
    """Follow the programs of frames, one behind the other; `held` is what a system cache holds."""
    stream, byte = hardware.command_stream, graph.byte_bits
    commands = Commands(stream.per_step_bytes * byte, stream.per_layer_bytes * byte)
    local = hardware.local_memory.bandwidth_bytes_per_second is not None
    found = precedence(programs, commands, local=local)
    kinds = _kinds(programs, found)
    dram, flash, cache = _on_buses(hardware, programs, found, kinds, held)
    asked = part = None
    burst = hardware.dram.granule_bytes * byte
    if burst > byte:
        asked = asked_of(found, programs, dram, burst)
        part = dram / np.maximum(found.bits, 1)
        moved = np.ceil(asked.bursts * part).astype(np.int64) * burst
        dram = np.where(found.tensor >= 0, moved, dram)  # commands as counted
    causes = np.select(
        [found.tensor < 0, found.stores == 1, kinds == TensorKind.WEIGHT.value],
        [STEP_CAUSES.index(cause) for cause in ("commands", "buffer", "weights")],
        STEP_CAUSES.index("maps"),
    )
    bits = np.stack([dram, flash, cache, found.local_bits])
    return Followed(graph, found, bits, causes, asked, part)


def _kinds(programs: Sequence[Program], found: Precedence) -> npt.NDArray[np.str_]:
    """The kind of each transfer's tensor; of commands nothing."""
    known = {name: t.kind.value for program in programs for name, t in program.tensors.items()}
    kinds = np.array([*(known[name] for name in found.tensors), ""], np.str_)
    return kinds[found.tensor]


def _on_buses(
    hardware: HardwareFile,
    programs: Sequence[Program],
    found: Precedence,
    kinds: npt.NDArray[np.str_],
    held: Held,
) -> tuple[Ints, Ints, Ints]:
    """Bits of each transfer on DRAM, on flash, and on a system cache."""
    nothing = np.zeros_like(found.bits)
    weights = kinds == TensorKind.WEIGHT.value
    flash = np.where(weights, found.bits, 0) if hardware.flash is not None else nothing
    if not held.tensors:
        return found.bits - flash, flash, nothing
    inside = np.array([*(name in held.tensors for name in found.tensors), False])[found.tensor]
    spared = np.where(inside & (kinds == TensorKind.MAP.value), found.bits, 0)
    again = [loaded_again(program, held.tensors) for program in programs]
    frames = zip(found.of_frame.tolist(), found.moved.tolist(), strict=True)
    twice = np.array([again[frame].get(index, 0) for frame, index in frames], np.int64)
    spared = np.maximum(spared, np.where(inside & (found.stores == 0), twice, 0))
    left = found.bits - spared
    flash = np.where(weights, left, 0) if hardware.flash is not None else nothing
    return left - flash, flash, np.where(inside, found.bits, 0)


def rates(hardware: HardwareFile) -> tuple[float | None, ...]:
    """Bytes a second on each of BUSES; None where it never limits or is not there."""
    flash, cache = hardware.flash, hardware.system_cache
    return (
        hardware.dram.bandwidth_bytes_per_second,
        flash.bandwidth_bytes_per_second if flash is not None else None,
        cache.bandwidth_bytes_per_second if cache is not None else None,
        hardware.local_memory.bandwidth_bytes_per_second,
    )


def femtoseconds(bits: Ints, byte_bits: int, rate: float | None) -> Ints:
    """The time of so many bits at so many bytes a second, rounded up."""
    if rate is None:
        return np.zeros_like(bits)
    exact = Fraction(rate) * byte_bits
    values, places, counts = np.unique(bits, return_inverse=True, return_counts=True)
    times = [-(-each * FS_PER_S * exact.denominator // exact.numerator) for each in values.tolist()]
    _check_length(sum(map(mul, times, counts.tolist())))
    return np.array(times, np.int64)[places].reshape(bits.shape)


def _check_length(total: int) -> None:
    """Raise TooLongError for times that may not fit the numbers that they are counted in."""
    if total >= _LONGEST:
        raise TooLongError(
            f"it may take {total / FS_PER_S:,.0f} s, and a timeline ends at "
            f"{_LONGEST / FS_PER_S:,.0f} s; raise dram.bandwidth, compute.clock or whatever of the "
            "machine is slow"
        )


def time_on(followed: Followed, hardware: HardwareFile) -> Timed:
    """Time what was followed on a machine of the same memories.

    Raises TooLongError where it may take longer than a timeline can; ProgramError where that loses
    time, which is a defect.
    """
    found, byte = followed.found, followed.graph.byte_bits
    shapes = [
        StepShape(
            work.layer,
            work.macs,
            Extents(
                *(work.groups, work.input_channels, work.output_channels, work.rows, work.pixels)
            ),
            work.vector_operations,
            work.special_operations,
        )
        for work in found.works
    ]
    clock = Fraction(hardware.compute.clock_hertz)
    cycles = step_cycles(hardware, followed.graph, shapes)
    setup = -(-Fraction(hardware.dma.setup_s) * FS_PER_S // 1)
    often = np.bincount(found.work, minlength=len(cycles)).tolist()
    total = sum(each.total * count for each, count in zip(cycles, often, strict=True))
    _check_length(total * FS_PER_S // clock + setup * found.bits.size)
    compute = np.array([-(-each.total * FS_PER_S // clock) for each in cycles], np.int64)
    at_peak = np.array([each.at_peak * FS_PER_S // clock for each in cycles], np.int64)
    steps = compute[found.work]
    beside = _beside_steps(found)
    port = _port(followed, rates(hardware)[BUSES.index(LOCAL)], beside)
    buses = [
        femtoseconds(bits, byte, rate)
        for bits, rate in zip(followed.bits, rates(hardware), strict=True)
    ]
    delivery = None
    if hardware.dram.part is not None:
        delivery = _delivery(followed, hardware)
        buses[BUSES.index(DRAM)] = _as_delivered(followed, hardware, delivery)
    durations = Durations(
        steps=np.maximum(steps, port),
        # what passes the port beside a step takes its time, all else its own
        buses=np.stack([*buses[:-1], np.where(beside, 0, buses[-1])]),
        setup=setup,
        channels=hardware.dma.channels,
    )
    timeline = play(found, durations)
    waited = waits(found, durations, timeline, followed.causes)
    by_port = port > steps
    return Timed(followed, durations, timeline, waited, at_peak[found.work], by_port, delivery)


def _delivery(followed: Followed, hardware: HardwareFile) -> Delivery:
    """What the machine's DRAM makes of all requests; played once for machines of equal DRAM."""
    assert followed.asked is not None
    key = (hardware.dram.model, clock_hertz(hardware.dram))
    if key not in followed.played:
        stores = followed.found.stores.astype(bool)
        followed.played[key] = deliver(hardware.dram, followed.asked, stores)
    return followed.played[key]


def _as_delivered(followed: Followed, hardware: HardwareFile, delivery: Delivery) -> Ints:
    """The time of each transfer on DRAM; none that moves anything takes no time at all."""
    assert followed.part is not None
    fs = FS_PER_S / float(clock_hertz(hardware.dram)) / hardware.dram.share
    times = np.ceil(delivery.clocks * followed.part * fs)
    _check_length(int(times.sum()))
    least = (followed.bits[BUSES.index(DRAM)] > 0).astype(np.int64)
    return np.asarray(np.maximum(times.astype(np.int64), least), np.int64)


def _beside_steps(found: Precedence) -> npt.NDArray[np.bool_]:
    """Of each transfer whether it runs beside the step of its slot: which does not wait for it."""
    places = np.arange(found.bits.size)
    needed_by = np.searchsorted(np.maximum.accumulate(found.needs), places, side="left")
    return (found.slot < found.work.size) & (needed_by > found.slot)


def _port(followed: Followed, rate: float | None, beside: npt.NDArray[np.bool_]) -> Ints:
    """Time of each step's bits, and of the transfers beside it, at the port of local memory."""
    found = followed.found
    if rate is None:
        return np.zeros_like(found.work)
    own = np.array([work.local_bits for work in found.works], np.int64)[found.work]
    np.add.at(own, found.slot[beside], followed.bits[BUSES.index(LOCAL)][beside])
    return femtoseconds(own, followed.graph.byte_bits, rate)


def seconds(of_fs: int | np.int64 | float) -> float:
    """Femtoseconds as seconds."""
    return float(of_fs) / FS_PER_S


def named(values: Ints, names: Sequence[str]) -> Mapping[str, float]:
    """Femtoseconds by cause, in seconds."""
    return {name: seconds(value) for name, value in zip(names, values.tolist(), strict=True)}
