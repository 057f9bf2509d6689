"""From a machine's DRAM to what plays it: its part at its clock, and how addresses are spread."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from dataflow_sim.hardware import DramConfig, DramPart
from dataflow_sim.program.instructions import Load, Program, Store
from dataflow_sim.program.laying import Layouts, laid_out
from dataflow_sim.simulate.arrays import Ints
from dataflow_sim.simulate.dram_channel import Channel, Spread
from dataflow_sim.simulate.dram_play import Delivery, banks, closed_form
from dataflow_sim.simulate.precedence import Precedence
from dataflow_sim.simulate.requests import Requests, moved_bits, requests

_PS_PER_S = 10**12
# a time is taken for whole clocks that it misses by so little, as the standards round
_ROUNDING = Fraction(1, 40)


def in_dram(program: Program, dram: DramConfig) -> Program:
    """The program with its tensors laid out, where it shows: DRAM moves more than single bytes."""
    if dram.granule_bytes == 1 or program.homes:
        return program
    return laid_out(
        program,
        Layouts(
            maps=dram.map_layout,
            weights=dram.weights_layout,
            interface=dram.interface_layout,
            channel_block=dram.channel_block,
            alignment_bytes=max(dram.alignment_bytes, dram.granule_bytes),
            pitch_bytes=dram.pitch_bytes,
            index_bytes=dram.index_bytes,
        ),
    )


def moved_in_bursts(program: Program, burst: int) -> int:
    """What the transfers of a program move, in bursts of so many units of width."""
    moved = moved_bits(program, burst)
    transfers = (each for each in program.instructions if isinstance(each, Load | Store))
    return sum(moved[each.tensor, each.box] for each in transfers)


def deliver(dram: DramConfig, asked: Requests, stores: npt.NDArray[np.bool_]) -> Delivery:
    """What the machine's part makes of the requests of a queue.

    Raises TooLongError where they are too many.
    """
    assert dram.part is not None
    spread, wide = spread_of(dram, dram.part), dram.granule_bytes // dram.part.access_bytes
    model = banks if dram.model == "banks" else closed_form
    return model(spread, asked, stores, wide)


def asked_of(found: Precedence, programs: Sequence[Program], moved: Ints, burst: int) -> Requests:
    """What the transfers of a queue ask for, in bursts of so many units of width, where DRAM moves
    any of them."""
    asked: list[tuple[Program, Load | Store] | int] = []
    rows = zip(found.of_frame.tolist(), found.moved.tolist(), moved.tolist(), strict=True)
    for frame, index, bits in rows:
        if not bits:
            asked.append(0)
        elif index < 0:
            asked.append(bits)
        else:
            program = programs[frame]
            transfer = program.instructions[index]
            assert isinstance(transfer, Load | Store)
            asked.append((program, transfer))
    return requests(asked, burst)


def clock_hertz(dram: DramConfig) -> Fraction:
    """The clock of the part's commands, at the machine's bandwidth."""
    part = dram.part
    assert part is not None
    return (
        Fraction(dram.channel_bytes_per_second) * 8 / (part.channels * part.width_bits * part.beats)
    )


def channel_of(dram: DramConfig, part: DramPart) -> Channel:
    """One channel of the part, at the machine's clock."""
    hertz = clock_hertz(dram)

    def clocks(ps: int) -> int:
        exact = ps * hertz / _PS_PER_S - _ROUNDING
        return max(1, -(-exact.numerator // exact.denominator))

    return Channel(
        ranks=part.ranks,
        groups=part.groups,
        banks=part.banks,
        rows=part.rows,
        row_accesses=part.row_bytes // part.access_bytes,
        burst=part.burst_clocks,
        ccd_same=part.ccd_same,
        ccd_other=part.ccd_other,
        cl=clocks(part.cl_ps),
        cwl=clocks(part.cwl_ps),
        turn=part.turn,
        switch=1,
        wtr_same=clocks(part.wtr_same_ps),
        wtr_other=clocks(part.wtr_other_ps),
        rcd=clocks(part.rcd_ps),
        ras=clocks(part.ras_ps),
        rp=clocks(part.rp_ps),
        rrd_same=clocks(part.rrd_same_ps),
        rrd_other=clocks(part.rrd_other_ps),
        faw=clocks(part.faw_ps),
        rtp=clocks(part.rtp_ps),
        wr=clocks(part.wr_ps),
        refi=clocks(part.refi_ps),
        rfc=clocks(part.rfc_ps),
        queue=dram.queue,
    )


def spread_of(dram: DramConfig, part: DramPart) -> Spread:
    """How the machine spreads addresses over all channels."""
    return Spread(
        channel_of(dram, part),
        part.channels * dram.channels,
        dram.interleave_bytes // part.access_bytes,
        dram.mapping == "bank-row-column",
    )
