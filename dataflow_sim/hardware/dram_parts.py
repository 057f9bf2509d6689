"""DRAM parts: how a technology is built, how long its commands take, what currents they draw.

A part is one interface of `dram`: `channels` of their own side by side, each with `devices` beside
each other on its data bus and `ranks` of these that take turns.  A bank has one row open at a time.

    interface ── channel ── rank ── bank group ── bank ── row of `row_bytes`, over all devices

Times are those of the standard or of a simulator's published file, in picoseconds, so that a part
at another rate keeps its core and changes its clock; `ccd` and the like, which follow the clock,
are in clocks.  Currents are those of the datasheet's tests (IDD0 one bank opened and closed again,
IDD2N and IDD3N standing by with no and with some row open, IDD4R and IDD4W bursts without gaps,
IDD5 refresh), in mA for every supply of one device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Supply:
    """A supply of one device: its voltage, and the currents that it gives, in mA."""

    volt: float
    idd0_ma: float
    idd2n_ma: float
    idd3n_ma: float
    idd4r_ma: float
    idd4w_ma: float
    idd5_ma: float


@dataclass(frozen=True, slots=True)
class DramPart:
    """One interface of a technology.

    `width_bits` are those of a channel's bus, which moves `beats` in a clock and `burst_beats` in
    an access.  `same` are constraints within a bank group, `other` between groups.
    """

    channels: int
    width_bits: int
    devices: float
    ranks: int
    groups: int
    banks: int
    rows: int
    row_bytes: int
    beats: int
    burst_beats: int
    rcd_ps: int
    rp_ps: int
    ras_ps: int
    rrd_same_ps: int
    rrd_other_ps: int
    faw_ps: int
    wr_ps: int
    rtp_ps: int
    wtr_same_ps: int
    wtr_other_ps: int
    cl_ps: int
    cwl_ps: int
    rfc_ps: int
    refi_ps: int
    ccd_same: int
    ccd_other: int
    turn: int
    supplies: tuple[Supply, ...]
    timing_source: str
    current_source: str

    @property
    def access_bytes(self) -> int:
        """What one column command moves."""
        return self.width_bits * self.burst_beats // 8

    @property
    def burst_clocks(self) -> int:
        """How long that takes on the bus."""
        return self.burst_beats // self.beats


_LPDDR4 = DramPart(
    channels=2,
    width_bits=16,
    devices=1,
    ranks=1,
    groups=1,
    banks=8,
    rows=65536,
    row_bytes=2048,
    beats=2,
    burst_beats=16,
    rcd_ps=18_000,
    rp_ps=18_000,
    ras_ps=42_000,
    rrd_same_ps=10_000,
    rrd_other_ps=10_000,
    faw_ps=40_000,
    wr_ps=18_000,
    rtp_ps=7_500,
    wtr_same_ps=10_000,
    wtr_other_ps=10_000,
    cl_ps=17_500,
    cwl_ps=8_750,
    rfc_ps=280_000,
    refi_ps=3_904_000,
    ccd_same=8,
    ccd_other=8,
    turn=2,
    supplies=(
        Supply(1.8, 3.5, 2.0, 2.25, 2.25, 2.25, 10.0),
        Supply(1.1, 45.0, 27.0, 30.0, 275.0, 210.0, 90.0),
        Supply(1.1, 0.75, 0.75, 0.75, 150.0, 55.0, 0.75),
    ),
    timing_source="published: JEDEC JESD209-4, 8 Gbit, as in DRAMSys' LPDDR4-3200 x16",
    current_source="published: Micron's LPDDR4-3200 x16, as in DRAMSys' file of it",
)

_LPDDR5 = replace(
    _LPDDR4,
    channels=4,
    groups=4,
    banks=4,
    rows=32768,
    beats=8,
    rrd_same_ps=5_000,
    rrd_other_ps=5_000,
    faw_ps=20_000,
    wr_ps=34_000,
    wtr_same_ps=12_000,
    wtr_other_ps=6_250,
    cl_ps=21_250,
    cwl_ps=13_750,
    rfc_ps=210_000,
    refi_ps=3_906_000,
    ccd_same=4,
    ccd_other=2,
    turn=1,
    supplies=(
        Supply(1.8, 3.5, 2.0, 2.25, 2.25, 2.25, 10.0),
        Supply(1.05, 45.0, 27.0, 30.0, 550.0, 420.0, 90.0),
        Supply(0.5, 0.75, 0.75, 0.75, 300.0, 110.0, 0.75),
    ),
    timing_source="published: JEDEC JESD209-5 with bank groups, 8 Gbit, as in gem5's LPDDR5-6400 "
    "x16; write latency as in Ramulator 2",
    current_source="assumed: currents of LPDDR4-3200, those of bursts in proportion to the rate, "
    "at LPDDR5's voltages",
)

DRAM_PARTS: Mapping[str, DramPart] = {
    "lpddr4-2400": replace(
        _LPDDR4,
        channels=1,
        width_bits=64,
        devices=4,
        ranks=2,
        groups=2,
        banks=4,
        rows=65536,
        row_bytes=8192,
        rcd_ps=12_500,
        rp_ps=12_500,
        ras_ps=26_667,
        rrd_same_ps=6_667,
        rrd_other_ps=6_667,
        faw_ps=26_667,
        wr_ps=25_000,
        rtp_ps=10_000,
        wtr_same_ps=13_333,
        wtr_other_ps=6_667,
        cl_ps=14_167,
        cwl_ps=11_667,
        rfc_ps=326_667,
        refi_ps=7_216_667,
        turn=1,
        supplies=(Supply(1.2, 80.0, 34.0, 47.0, 243.0, 228.0, 280.0),),
        timing_source="published: DRAMsim3's LPDDR4_8Gb_x16_2400, four devices wide, two ranks; "
        "its tCCD of 4 and 6 clocks is below a burst's 8, which count",
        current_source="published: DRAMsim3's LPDDR4_8Gb_x16_2400",
    ),
    "lpddr4-3200": _LPDDR4,
    "lpddr4x-4266": replace(
        _LPDDR4,
        channels=4,
        cl_ps=16_875,
        cwl_ps=8_438,
        supplies=(*_LPDDR4.supplies[:2], replace(_LPDDR4.supplies[2], volt=0.6)),
        timing_source="published: JEDEC JESD209-4-1, 8 Gbit, as in DRAMSys' LPDDR4-4266 x16",
        current_source="derived: currents of LPDDR4-3200, outputs at LPDDR4X's 0.6 V",
    ),
    "lpddr5-6400": _LPDDR5,
    "lpddr5x-8533": replace(
        _LPDDR5,
        timing_source="derived: LPDDR5-6400's core at a higher clock",
        current_source="assumed: those of LPDDR5-6400",
    ),
    "ddr4-3200": DramPart(
        channels=1,
        width_bits=64,
        devices=8,
        ranks=1,
        groups=4,
        banks=4,
        rows=65536,
        row_bytes=8192,
        beats=2,
        burst_beats=8,
        rcd_ps=13_750,
        rp_ps=13_750,
        ras_ps=32_500,
        rrd_same_ps=5_000,
        rrd_other_ps=2_500,
        faw_ps=21_250,
        wr_ps=15_000,
        rtp_ps=7_500,
        wtr_same_ps=7_500,
        wtr_other_ps=2_500,
        cl_ps=13_750,
        cwl_ps=10_000,
        rfc_ps=350_000,
        refi_ps=7_800_000,
        ccd_same=8,
        ccd_other=4,
        turn=1,
        supplies=(Supply(1.2, 57.0, 37.0, 52.0, 168.0, 150.0, 250.0),),
        timing_source="published: JEDEC JESD79-4, 8 Gbit, as in DRAMsim3's DDR4_8Gb_x8_3200",
        current_source="published: DRAMsim3's DDR4_8Gb_x8_3200, eight devices; VPP left out",
    ),
    "hbm2": DramPart(
        channels=16,
        width_bits=64,
        devices=0.5,
        ranks=1,
        groups=4,
        banks=4,
        rows=32768,
        row_bytes=1024,
        beats=2,
        burst_beats=4,
        rcd_ps=14_000,
        rp_ps=14_000,
        ras_ps=34_000,
        rrd_same_ps=6_000,
        rrd_other_ps=4_000,
        faw_ps=16_000,
        wr_ps=16_000,
        rtp_ps=5_000,
        wtr_same_ps=8_000,
        wtr_other_ps=6_000,
        cl_ps=14_000,
        cwl_ps=4_000,
        rfc_ps=260_000,
        refi_ps=3_900_000,
        ccd_same=4,
        ccd_other=2,
        turn=1,
        supplies=(Supply(1.2, 65.0, 40.0, 55.0, 390.0, 500.0, 250.0),),
        timing_source="published: DRAMsim3's HBM2_8Gb_x128, as 16 pseudo channels of 64 bit (JEDEC "
        "JESD235); four rows in 16 ns, as gem5's HBM and O'Connor et al., MICRO 2017",
        current_source="published: DRAMsim3's HBM2_8Gb_x128, half of it a pseudo channel",
    ),
    "gddr6": DramPart(
        channels=2,
        width_bits=16,
        devices=1,
        ranks=1,
        groups=4,
        banks=4,
        rows=16384,
        row_bytes=2048,
        beats=8,
        burst_beats=16,
        rcd_ps=15_840,
        rp_ps=15_840,
        ras_ps=35_640,
        rrd_same_ps=5_940,
        rrd_other_ps=5_940,
        faw_ps=21_120,
        wr_ps=10_560,
        rtp_ps=1_980,
        wtr_same_ps=4_620,
        wtr_other_ps=4_620,
        cl_ps=15_840,
        cwl_ps=10_560,
        rfc_ps=83_160,
        refi_ps=7_828_920,
        ccd_same=3,
        ccd_other=2,
        turn=1,
        supplies=(Supply(1.35, 71.0, 60.0, 61.0, 248.0, 231.0, 286.0),),
        timing_source="published: DRAMsim3's GDDR6_8Gb_x16; tCCD of JEDEC JESD250",
        current_source="published: DRAMsim3's GDDR6_8Gb_x16",
    ),
}
