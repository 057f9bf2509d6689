"""What a timed frame tells of its DRAM."""

from __future__ import annotations

import numpy as np

from dataflow_sim.delivered import clock_hertz
from dataflow_sim.energy.dram_commands import command_energy
from dataflow_sim.hardware import HardwareFile
from dataflow_sim.program.instructions import Program
from dataflow_sim.results_of_costs import EnergyBreakdown
from dataflow_sim.results_of_dram import DramResult, PartDelivery, TensorPlace
from dataflow_sim.timing import BUSES, DRAM, Timed, seconds


def _tensors(timed: Timed, program: Program) -> tuple[TensorPlace, ...]:
    """Every tensor that DRAM moves, by its address."""
    found, asked = timed.followed.found, timed.followed.asked
    if asked is None:
        return ()
    names, byte = found.tensors, timed.followed.graph.byte_bits
    here = (found.tensor >= 0) & (asked.bursts > 0)
    which = found.tensor[here]
    moved = timed.followed.bits[BUSES.index(DRAM)][here] // byte
    columns = [
        np.bincount(which, weights, len(names))
        for weights in (None, np.diff(asked.offset)[here], found.bits[here] / byte, moved)
    ]
    transfers, runs, own, whole = columns
    places = []
    for index, name in enumerate(names):
        home = program.homes.get(name)
        if home is None or not transfers[index]:
            continue
        places.append(
            TensorPlace(
                tensor=name,
                layout=home.layout_name,
                start_byte=home.start // byte,
                size_bytes=-(-home.size // byte),
                transfers=int(transfers[index]),
                runs=int(runs[index]),
                own_bytes=float(own[index]),
                moved_bytes=int(whole[index]),
            )
        )
    return tuple(sorted(places, key=lambda place: place.start_byte))


def _part(timed: Timed, hardware: HardwareFile, flat_pj: float) -> PartDelivery | None:
    dram, delivery = hardware.dram, timed.delivery
    if dram.part is None or delivery is None:
        return None
    part, channels = dram.part, dram.part.channels * dram.channels
    hertz = float(clock_hertz(dram))
    latency_s = seconds(timed.timeline.latency)
    refreshes = latency_s * 1e12 / part.refi_ps * part.ranks * channels
    bus = BUSES.index(DRAM)
    moved = int(timed.followed.bits[bus].sum()) // timed.followed.graph.byte_bits
    busy_s = seconds(timed.durations.buses[bus].sum()) * dram.share
    return PartDelivery(
        part=dram.part_name,
        model=dram.model,
        channels=channels,
        clock_hertz=hertz,
        access_bytes=part.access_bytes,
        accesses=delivery.accesses,
        activates=delivery.activates,
        turns=delivery.turns,
        refreshes=refreshes,
        busy_s=busy_s,
        efficiency=moved / busy_s / dram.peak_bytes_per_second if busy_s else 0.0,
        energy=command_energy(part, hertz, delivery, refreshes, channels * latency_s),
        flat_pj=flat_pj,
        moved_bytes=moved,
    )


def dram_result(
    timed: Timed | None, hardware: HardwareFile, program: Program | None, energy: EnergyBreakdown
) -> DramResult | None:
    """Where the tensors of a frame lie and what moving them came to; None where every byte counts
    by itself, or the frame was not timed."""
    if timed is None or timed.followed.asked is None or program is None:
        return None
    return DramResult(
        layout=hardware.dram.map_layout,
        tensors=_tensors(timed, program),
        delivery=_part(timed, hardware, energy.dram_access_pj),
    )
