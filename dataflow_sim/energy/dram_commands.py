"""What a DRAM draws for its commands, from the currents of its datasheet.

    activate    opening a row and closing it again: V (IDD0 tRC - IDD3N tRAS - IDD2N tRP)
    read        of one access: V (IDD4R - IDD3N) x its time on the bus; a write with IDD4W
    refresh     V (IDD5 - IDD3N) tRFC
    background  V IDD3N for as long as a run takes, since rows stay open; V IDD2N if none ever is

of every supply, of all devices that work together.  Not in it: the memory controller, the other
end of the bus, power-down.

Source: Micron, TN-41-01, Calculating memory system power; as DRAMsim3 and DRAMPower have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dataflow_sim.hardware import DramPart
from dataflow_sim.results_of_dram import CommandEnergy


class Commanded(Protocol):
    """Whoever counts commands."""

    @property
    def activates(self) -> int:
        """Rows opened."""

    @property
    def reads(self) -> int:
        """Accesses read."""

    @property
    def writes(self) -> int:
        """Accesses written."""


@dataclass(frozen=True, slots=True)
class CommandPrices:
    """pJ of a command in one channel, and watts of one channel with rows open and with none."""

    activate_pj: float
    read_pj: float
    write_pj: float
    refresh_pj: float
    open_watt: float
    closed_watt: float


def command_prices(part: DramPart, clock_hertz: float) -> CommandPrices:
    """The prices of a part at a clock.  mA x V x ns are pJ."""
    burst_ns = part.burst_clocks / clock_hertz * 1e9
    ras_ns, rp_ns, rfc_ns = part.ras_ps / 1e3, part.rp_ps / 1e3, part.rfc_ps / 1e3
    activate = read = write = refresh = standing = closed = 0.0
    for each in part.supplies:
        activate += each.volt * (
            each.idd0_ma * (ras_ns + rp_ns) - each.idd3n_ma * ras_ns - each.idd2n_ma * rp_ns
        )
        read += each.volt * (each.idd4r_ma - each.idd3n_ma) * burst_ns
        write += each.volt * (each.idd4w_ma - each.idd3n_ma) * burst_ns
        refresh += each.volt * (each.idd5_ma - each.idd3n_ma) * rfc_ns
        standing += each.volt * each.idd3n_ma / 1e3
        closed += each.volt * each.idd2n_ma / 1e3
    devices = part.devices
    return CommandPrices(
        activate_pj=activate * devices,
        read_pj=read * devices,
        write_pj=write * devices,
        refresh_pj=refresh * devices,
        open_watt=standing * devices * part.ranks,
        closed_watt=closed * devices * part.ranks,
    )


def command_energy(
    part: DramPart, clock_hertz: float, delivery: Commanded, refreshes: float, open_s: float
) -> CommandEnergy:
    """The energy of commands, and of channels that stand by with rows open for so many seconds in
    all, or with none where none was opened."""
    prices = command_prices(part, clock_hertz)
    watt = prices.open_watt if delivery.activates else prices.closed_watt
    return CommandEnergy(
        activate_pj=delivery.activates * prices.activate_pj,
        read_pj=delivery.reads * prices.read_pj,
        write_pj=delivery.writes * prices.write_pj,
        refresh_pj=refreshes * prices.refresh_pj,
        background_pj=watt * open_s * 1e12,
    )
