"""What a DRAM makes of the requests of a queue: how long each transfer takes, and which commands.

The queue is played as if every transfer were there as soon as those before it leave room in the
controllers' windows, each channel by itself.  A transfer takes what it adds to the end of all up to
it, so that the times of all are those of a DRAM that is never idle:

    channel 0   ██ a ██│███ b ███│█ c █              time of a   ──────
    channel 1   █ a █│█ b █│███ c ███                        b         ─────
                                                             c              ─  (c ends later than b)

`banks` plays every access (`simulate.dram_banks`).  `closed_form` takes windows of the queue's
length instead (`simulate.dram_windows`) and stretches all by refresh; ranges longer than a round
through all banks are cut short by whole rounds, which open a row of every bank behind the data of
the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dataflow_sim.errors import TooLongError
from dataflow_sim.simulate.arrays import Bools, Floats, Ints, counted
from dataflow_sim.simulate.dram_banks import Served, serve
from dataflow_sim.simulate.dram_channel import Channel, Spread, placed
from dataflow_sim.simulate.dram_windows import windows
from dataflow_sim.simulate.requests import Requests

# accesses that are played one by one: about half a minute
MOST_ACCESSES = 1 << 22
_AT_ONCE = 1 << 22  # accesses of a piece in closed form


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """Clocks that each transfer of a queue takes, and the commands of all: rows opened, accesses
    read and written, changes between the two, refreshes."""

    clocks: Floats
    activates: int
    reads: int
    writes: int
    turns: int
    refreshes: float

    @property
    def accesses(self) -> int:
        """Column commands."""
        return self.reads + self.writes


@dataclass(frozen=True, slots=True, eq=False)
class _Accesses:
    """Single accesses in the order of a queue: their place in it, channel, bank and row."""

    place: Ints
    channel: Ints
    bank: Ints
    row: Ints


def _accesses(spread: Spread, place: Ints, first: Ints, count: Ints) -> _Accesses:
    which, number = counted(count)
    there = placed(spread, first[which] + number)
    return _Accesses(place[which], there.channel, there.bank, there.row)


def _clocks(ends: Floats) -> Floats:
    """What each transfer adds to the end of all up to it."""
    return np.diff(np.maximum.accumulate(ends), prepend=0.0)


def _together(clocks: Floats, parts: Sequence[Served | Delivery]) -> Delivery:
    """What a queue took, and the commands of all its parts."""
    return Delivery(
        clocks=clocks,
        activates=sum(each.activates for each in parts),
        reads=sum(each.reads for each in parts),
        writes=sum(each.writes for each in parts),
        turns=sum(each.turns for each in parts),
        refreshes=sum(each.refreshes for each in parts),
    )


def banks(
    spread: Spread,
    asked: Requests,
    stores: Bools,
    wide: int,
    arrivals: Sequence[int] | None = None,
) -> Delivery:
    """Play requests access by access; `stores` tells of each transfer whether it writes, `wide` how
    many accesses a burst is.  `arrivals` are the clocks at which transfers come, in their order;
    left out, all are there.

    Raises TooLongError for more than MOST_ACCESSES.
    """
    total = int(asked.count.sum()) * wide
    if total > MOST_ACCESSES:
        raise TooLongError(
            f"{total:,} accesses of DRAM are too many to play one by one, of which there may be "
            f"{MOST_ACCESSES:,}; take the model efficiency"
        )
    found = _accesses(spread, asked.of, asked.first * wide, asked.count * wide)
    ends = np.zeros(stores.size)
    played = []
    for number in range(spread.channels):
        mine = found.channel == number
        place = found.place[mine]
        lists = (found.bank[mine].tolist(), found.row[mine].tolist(), stores[place].tolist())
        comes = None if arrivals is None else np.array(arrivals, np.int64)[place].tolist()
        served = serve(spread.channel, *lists, comes)
        np.maximum.at(ends, place, np.array(served.end, np.float64))
        played.append(served)
    return _together(_clocks(ends), played)


def closed_form(spread: Spread, asked: Requests, stores: Bools, wide: int) -> Delivery:
    """The same by the closed form; long queues piece by piece, to keep within memory."""
    count = asked.count * wide
    rounds = np.maximum(count // spread.period - 1, 0) * (not spread.by_bank)
    left = np.concatenate([[0], np.cumsum(count - rounds * spread.period)])[asked.offset]
    edges = np.searchsorted(left, np.arange(0, int(left[-1]) + 1, _AT_ONCE))
    edges = np.unique(np.append(edges, stores.size))
    pieces = []
    for first, last in pairwise(edges.tolist()):
        ranges = slice(int(asked.offset[first]), int(asked.offset[last]))
        offset = asked.offset[first : last + 1] - asked.offset[first]
        piece = Requests(offset, asked.first[ranges], asked.count[ranges])
        pieces.append(_piece(spread, piece, stores[first:last], wide, rounds[ranges]))
    clocks = np.concatenate([np.zeros(0), *(each.clocks for each in pieces)])
    return _together(clocks, pieces)


def _piece(spread: Spread, asked: Requests, stores: Bools, wide: int, rounds: Ints) -> Delivery:
    """Part of a queue in closed form, from a DRAM at rest; of each range so many rounds through all
    banks are left out, and added at the rate of the bus."""
    one, of = spread.channel, asked.of
    skipped = rounds * spread.period
    rest = _accesses(spread, of, asked.first * wide + skipped, asked.count * wide - skipped)
    whole = np.zeros(stores.size, np.int64)
    np.add.at(whole, of, rounds)
    extra = np.cumsum(whole * (spread.period // spread.channels * one.burst))
    ends = np.zeros(stores.size)
    activates = int(whole.sum()) * one.groups * one.banks * one.ranks * spread.channels
    turns = 0
    for number in range(spread.channels):
        mine = rest.channel == number
        place = rest.place[mine]
        found = windows(one, rest.bank[mine], rest.row[mine], stores[place])
        activates += found.activates
        turns += found.turns
        last = np.searchsorted(place, np.arange(stores.size), side="right")
        opening = one.rcd + np.where(stores[place[:1]], one.cwl, one.cl)  # of the first row
        begun = np.where(last > 0, opening.sum(), 0)
        ends = np.maximum(ends, found.end[last] + extra + begun)
    bursts = asked.bursts * wide
    clocks = _clocks(ends) * _stretch(one)
    return Delivery(
        clocks=clocks,
        activates=activates,
        reads=int(bursts[~stores].sum()),
        writes=int(bursts[stores].sum()),
        turns=turns,
        refreshes=float(clocks.sum()) / one.refi * one.ranks * spread.channels,
    )


def _stretch(one: Channel) -> float:
    """What refresh makes of a clock: of one rank's all is lost, of several the others go on while
    rows are closed and opened."""
    return 1 / (1 - one.refreshed) if one.ranks == 1 else 1 / (1 - one.rfc / one.refi)
