"""The proof of a schedule: its program counted one by one, and found equal to the closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from dataflow_sim.energy.model import LayerCounts
from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.program.instructions import Memory, Program
from dataflow_sim.program.lowering import lower
from dataflow_sim.results import BufferStay, DramTraffic
from dataflow_sim.schedule.types import Schedule
from dataflow_sim.simulate.ledger import Ledger, count
from dataflow_sim.simulate.occupancy import Occupancy, occupancy
from dataflow_sim.traffic import Reason, TrafficKey

# A program of more steps is not lowered in production: about a minute and a gigabyte.
MAXIMUM_COUNTED_STEPS = 1 << 19


def _traffic(by_key: Mapping[TrafficKey, int]) -> DramTraffic:
    totals = dict.fromkeys(Reason, 0)
    for key, value in by_key.items():
        totals[key.reason] += value
    return DramTraffic(totals)


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of a run: of the ledger where the program was lowered, else the closed form's.

    `live_bytes` is the largest live set of local memory, which the closed form does not tell.
    """

    traffic: DramTraffic
    layers: tuple[LayerCounts, ...]
    peak_bytes: int
    accumulator_peak_bytes: int
    counted: bool
    live_bytes: int | None = None
    buffers: tuple[BufferStay, ...] = ()


def _layer_counts(
    bits: Mapping[TrafficKey, int], macs_executed: int, local_bits: int
) -> LayerCounts:
    traffic = _traffic({key: -(-value // 8) for key, value in bits.items()})
    return LayerCounts(macs_executed, traffic, local_bits)


def _check_heights(schedule: Schedule, used: Occupancy) -> None:
    """Raise ProgramError unless the program takes what the schedule says of both memories."""
    for memory, found, said in (
        (Memory.LOCAL, used.peak_bytes, schedule.local_bytes),
        (Memory.ACCUMULATORS, used.accumulator_peak_bytes, schedule.accumulator_bytes),
    ):
        if found != said:
            raise ProgramError(
                f"memory '{memory}': the schedule takes {said:,} bytes, the program {found:,}"
            )


def _counts_of_ledger(schedule: Schedule, ledger: Ledger, used: Occupancy) -> Counts:
    """The ledger's counts, once found equal to the closed form."""
    counted, estimated = ledger.traffic_bytes(), schedule.traffic_bytes()
    for key in sorted({*counted, *estimated}, key=lambda k: (k.tensor, k.reason)):
        if counted.get(key, 0) != estimated.get(key, 0):
            raise ProgramError(
                f"'{key.tensor}' {key.reason}: the closed form says {estimated.get(key, 0):,} "
                f"bytes, the ledger counts {counted.get(key, 0):,}"
            )
    per_layer: dict[int, dict[TrafficKey, int]] = {index: {} for index in schedule.order}
    for (index, key), bits in ledger.traffic_bits.items():
        per_layer[index][key] = bits
    layers = []
    for index, chosen in zip(schedule.order, schedule.layers, strict=True):
        if ledger.macs_executed[index] != chosen.macs_executed:
            raise ProgramError(f"layer '{chosen.layer}': MACs of closed form and ledger differ")
        local_bits = ledger.local_read_bits[index] + ledger.local_write_bits[index]
        if local_bits != chosen.local_bits:
            raise ProgramError(
                f"layer '{chosen.layer}': the closed form says {chosen.local_bits:,} bits in and "
                f"out of local memory, the ledger counts {local_bits:,}"
            )
        layers.append(_layer_counts(per_layer[index], chosen.macs_executed, local_bits))
    stays = tuple(
        BufferStay(stay.label, stay.start, stay.stop, stay.address, stay.size_bytes)
        for stay in used.residencies
        if stay.memory is Memory.LOCAL
    )
    peaks = (used.peak_bytes, used.accumulator_peak_bytes)
    return Counts(_traffic(counted), tuple(layers), *peaks, True, used.live_bytes, stays)


def counts_of_estimate(schedule: Schedule) -> Counts:
    """The closed form's counts."""
    layers = tuple(
        _layer_counts(chosen.traffic_bits, chosen.macs_executed, chosen.local_bits)
        for chosen in schedule.layers
    )
    peaks = (schedule.local_bytes, schedule.accumulator_bytes)
    return Counts(_traffic(schedule.traffic_bytes()), layers, *peaks, False)


def counts_of(
    graph: NetworkGraph,
    schedule: Schedule,
    progress: Callable[[str, int, int], None],
    program: Program | None = None,
) -> Counts:
    """Lower and count a schedule; the closed form alone where it takes too many steps.

    Its program may be known, at other addresses.  Raises ProgramError where the two differ, which
    is a defect.
    """
    if schedule.steps > MAXIMUM_COUNTED_STEPS:
        return counts_of_estimate(schedule)
    if program is not None:  # whose heights are its own
        used = occupancy(program)
    else:
        program = lower(graph, schedule, partial(progress, "lowering"))
        used = occupancy(program)
        _check_heights(schedule, used)
    return _counts_of_ledger(schedule, count(program, partial(progress, "counting")), used)
