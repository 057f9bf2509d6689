"""A DRAM channel: its banks, its times in clocks, and how addresses are spread over channels.

An *access* is what one column command moves.  Addresses count accesses from 0; their digits, the
quickest first, are

    bank group | part of a row's columns, so that `interleave` accesses lie in one channel |
    channel | the rest of the columns | bank, rank | row       (or row before bank and rank)

so that a stream goes round the bank groups, which take commands quicker in turn than one of them
does, and round the channels, and finds the next row in another bank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dataflow_sim.simulate.arrays import Ints


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel: ranks of bank groups of banks, rows of so many accesses; times in clocks.

    From column command to column command: `ccd` of the same kind in one bank group and in others,
    `wtr` from the last data written to a read, `turn` from the last data read to data written,
    `switch` between ranks.  From a row's activation: `rcd` to its first column command, `ras` to
    its precharge, `rrd` to the next activation, at most four of which in `faw`.  To a precharge
    `rtp` from a read, `wr` from the last data written; from it `rp` to the next activation.  Every
    `refi` all banks of a rank are closed and refreshed for `rfc`.  `queue` are the accesses that
    the controller chooses from.
    """

    ranks: int
    groups: int
    banks: int
    rows: int
    row_accesses: int
    burst: int
    ccd_same: int
    ccd_other: int
    cl: int
    cwl: int
    turn: int
    switch: int
    wtr_same: int
    wtr_other: int
    rcd: int
    ras: int
    rp: int
    rrd_same: int
    rrd_other: int
    faw: int
    rtp: int
    wr: int
    refi: int
    rfc: int
    queue: int

    @property
    def read_to_write(self) -> int:
        """From a read to a write in the same channel."""
        return self.cl + self.burst + self.turn - self.cwl

    def write_to_read(self, same_group: bool) -> int:
        """From a write to a read in the same rank."""
        return self.cwl + self.burst + (self.wtr_same if same_group else self.wtr_other)

    @property
    def rc(self) -> int:
        """From an activation of a bank to the next."""
        return self.ras + self.rp

    @property
    def refreshed(self) -> float:
        """The part of the time in which a rank does not serve: refresh, and closing and opening."""
        return (self.rfc + self.rp + self.rcd) / self.refi


@dataclass(frozen=True, slots=True)
class Spread:
    """How addresses are spread: over `channels` of a kind, `interleave` accesses beside each other
    in one of them; `by_bank` through all rows of a bank before the next one."""

    channel: Channel
    channels: int
    interleave: int
    by_bank: bool = False

    @property
    def beside(self) -> int:
        """Columns of a bank below the digit of the channel."""
        return max(1, min(self.interleave // self.channel.groups, self.channel.row_accesses))

    @property
    def period(self) -> int:
        """Accesses after which a stream comes back to a bank, at its next row."""
        one = self.channel
        banks = one.groups if self.by_bank else one.groups * one.banks * one.ranks
        return one.row_accesses * self.channels * banks


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Where accesses lie: arrays of the channel, the bank of it (rank, bank, group), the row."""

    channel: Ints
    bank: Ints
    row: Ints


def placed(spread: Spread, accesses: Ints) -> Placed:
    """Where accesses lie."""
    one = spread.channel
    rest, group = np.divmod(accesses, one.groups)
    rest, channel = np.divmod(rest // spread.beside, spread.channels)
    rest //= one.row_accesses // spread.beside
    banks = one.banks * one.ranks
    if spread.by_bank:
        rest, row = np.divmod(rest, one.rows)
        bank = rest % banks
    else:
        row, bank = np.divmod(rest, banks)
    return Placed(channel, bank * one.groups + group, row)


def within_channel(spread: Spread, accesses: Ints) -> Ints:
    """Addresses as their channel counts them: without the digit of the channel."""
    rest, group = np.divmod(accesses, spread.channel.groups)
    rest, column = np.divmod(rest, spread.beside)
    return np.asarray(
        (rest // spread.channels * spread.beside + column) * spread.channel.groups + group, np.int64
    )
