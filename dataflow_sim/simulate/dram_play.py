"""What a DRAM makes of the requests of a queue: how long each transfer takes, and which commands.

The queue is played as if every transfer were there as soon as those before it leave room in the
controllers' windows, each channel by itself.  A transfer takes what it adds to the end of all up to
it, so that the times of all are those of a DRAM that is never idle:

    channel 0   ██ a ██│███ b ███│█ c █              time of a   ──────
    channel 1   █ a █│█ b █│███ c ███                        b         ─────
                                                             c              ─  (c ends later than b)

`banks` plays every access (`simulate.dram_banks`).  `closed_form` cuts the accesses of a channel
into windows of the queue's length, each of which takes as long as what it needs most of:

    bus     accesses x burst, within a bank group x tCCD_L, and turns between reading and writing
    bank    rows that one bank opens x its row cycle: at least tRC, and what a row's accesses take
            with opening it before and closing it behind them.  The first of a window is hidden
            behind the window before, unless that has the bank busy, too
    rank    rows that it opens x max(tRRD, tFAW / 4)

and stretches all by refresh.  Ranges longer than a round through all banks are cut short by whole
rounds, which open a row of every bank behind the data of the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import TooLongError
from dataflow_sim.simulate.dram_banks import serve
from dataflow_sim.simulate.dram_channel import Channel, Spread, placed
from dataflow_sim.simulate.requests import Requests

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
# accesses that are played one by one: about a minute
MOST_ACCESSES = 1 << 24


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """Clocks that each transfer of a queue takes, and the commands of all.

    `active` are the clocks, of all ranks, in which some row is open.
    """

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
    which = np.repeat(np.arange(first.size), count)
    address = np.repeat(first - (np.cumsum(count) - count), count) + np.arange(which.size)
    there = placed(spread, address)
    return _Accesses(place[which], there.channel, there.bank, there.row)


def _clocks(ends: npt.NDArray[np.float64]) -> Floats:
    """What each transfer adds to the end of all up to it."""
    return np.diff(np.maximum.accumulate(ends), prepend=0.0)


def banks(spread: Spread, asked: Requests, stores: npt.NDArray[np.bool_], wide: int) -> Delivery:
    """Play requests access by access; `stores` tells of each transfer whether it writes, `wide` how
    many accesses a burst is.

    Raises TooLongError for more than MOST_ACCESSES.
    """
    total = int(asked.count.sum()) * wide
    if total > MOST_ACCESSES:
        raise TooLongError(
            f"{total:,} accesses of DRAM are too many to play one by one, of which there may be "
            f"{MOST_ACCESSES:,}; give --set dram.model=efficiency"
        )
    found = _accesses(spread, asked.of, asked.first * wide, asked.count * wide)
    ends = np.zeros(stores.size)
    played = []
    for number in range(spread.channels):
        mine = found.channel == number
        place = found.place[mine]
        writes = stores[place].tolist()
        served = serve(spread.channel, found.bank[mine].tolist(), found.row[mine].tolist(), writes)
        np.maximum.at(ends, place, np.array(served.end, np.float64))
        played.append(served)
    return Delivery(
        clocks=_clocks(ends),
        activates=sum(each.activates for each in played),
        reads=sum(each.reads for each in played),
        writes=sum(each.writes for each in played),
        turns=sum(each.turns for each in played),
        refreshes=sum(each.refreshes for each in played),
    )


def closed_form(
    spread: Spread, asked: Requests, stores: npt.NDArray[np.bool_], wide: int
) -> Delivery:
    """The same by the closed form."""
    first, count, of = asked.first * wide, asked.count * wide, asked.of
    rounds = np.maximum(count // spread.period - 1, 0)
    rest = _accesses(spread, of, first + rounds * spread.period, count - rounds * spread.period)
    whole = np.zeros(stores.size, np.int64)
    np.add.at(whole, of, rounds)
    one = spread.channel
    ends = np.zeros(stores.size)
    activates = turns = 0
    opened = one.groups if spread.by_bank else one.groups * one.banks * one.ranks
    extra = whole * (spread.period // spread.channels * one.burst)
    for number in range(spread.channels):
        mine = rest.channel == number
        place = rest.place[mine]
        windows = _windows(one, rest.bank[mine], rest.row[mine], stores[place])
        activates += windows.activates
        turns += windows.turns
        last = np.searchsorted(place, np.arange(stores.size), side="right")
        opening = one.rcd + np.where(stores[place[:1]], one.cwl, one.cl)  # of the first row
        begun = np.where(last > 0, opening.sum(), 0)
        ends = np.maximum(ends, windows.end[last] + np.cumsum(extra) + begun)
    activates += int(whole.sum()) * opened * spread.channels
    stretch = 1 / (1 - one.refreshed) if one.ranks == 1 else 1 / (1 - one.rfc / one.refi)
    bursts = asked.bursts * wide
    clocks = _clocks(ends) * stretch
    return Delivery(
        clocks=clocks,
        activates=activates,
        reads=int(bursts[~stores].sum()),
        writes=int(bursts[stores].sum()),
        turns=turns,
        refreshes=float(clocks.sum()) / one.refi * one.ranks * spread.channels,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Windows:
    """When the first n accesses of a channel are over, by n, without refresh; its commands."""

    end: Floats
    activates: int
    turns: int


def _windows(one: Channel, bank: Ints, row: Ints, write: npt.NDArray[np.bool_]) -> _Windows:
    size = bank.size
    if not size:
        return _Windows(np.zeros(1), 0, 0)
    window = np.arange(size) // one.queue
    windows = int(window[-1]) + 1
    lengths = np.bincount(window, minlength=windows)
    opened = _opened(window, bank, row)
    turned = np.diff(write.astype(np.int64), prepend=int(write[0])) != 0
    # bus
    turns = np.bincount(window, turned, windows)
    both = np.bincount(window, write, windows)
    mixed = (both > 0) & (both < lengths)
    turns = np.where(mixed, np.minimum(turns, 2), turns)
    gap = (one.read_to_write + one.write_to_read(True) - 2 * one.burst) / 2
    groups = bank % one.groups
    in_group = np.bincount(window * one.groups + groups, minlength=windows * one.groups)
    same = in_group.reshape(windows, -1).max(axis=1) * max(one.burst, one.ccd_same)
    bus = np.maximum(lengths * one.burst, same) + turns * gap
    acts = np.bincount(window, opened, windows).astype(np.float64)
    ends = _ends(one, bus, acts, _Visits.of(one, window, bank, opened, write))
    ends[1:] += max(
        0.0, _opening(one, bank[: one.queue], row[: one.queue], opened[: one.queue]) - ends[1]
    )
    needed = np.diff(ends)
    within = np.arange(size + 1)
    number = np.minimum(within // one.queue, windows - 1)
    part = (within - number * one.queue) / lengths[number]
    return _Windows(ends[number] + part * needed[number], int(opened.sum()), int(turns.sum()))


@dataclass(frozen=True, slots=True)
class _Visits:
    """Of each bank in each window, window by window, in the order in which they open rows first:
    its number, rows opened, how many are opened before its first, the part of the window at which
    that is, clocks of one row's cycle and of its accesses, the part of the window at which its last
    access is, and what follows until it is closed."""

    begin: list[int]
    bank: list[int]
    opened: list[int]
    order: list[int]
    first: list[float]
    cycle: list[float]
    data: list[float]
    last: list[float]
    behind: list[int]

    @classmethod
    def of(
        cls,
        one: Channel,
        window: Ints,
        bank: Ints,
        opened: npt.NDArray[np.bool_],
        write: npt.NDArray[np.bool_],
    ) -> _Visits:
        banks = one.ranks * one.banks * one.groups
        names, places = np.unique(window * banks + bank, return_inverse=True)
        visits = np.bincount(places, opened)
        accesses = np.bincount(places)
        behind = np.where(np.bincount(places, write) > 0, one.cwl + one.burst + one.wr, one.rtp)
        data = accesses / np.maximum(visits, 1) * max(one.burst, one.ccd_same)
        cycle = np.maximum(one.rc, one.rcd + data - one.burst + behind + one.rp)
        last = np.zeros(names.size)
        np.maximum.at(last, places, np.arange(bank.size) % one.queue + 1)
        so_far: Ints = np.cumsum(opened) - opened
        before: Ints = so_far - so_far[np.searchsorted(window, window)]
        first = np.full(names.size, one.queue)
        np.minimum.at(first, places[opened], (np.arange(bank.size) % one.queue)[opened])
        order = np.full(names.size, one.queue)
        np.minimum.at(order, places[opened], before[opened])
        begin = np.searchsorted(names // banks, np.arange(int(window[-1]) + 2))
        sort = np.lexsort((order, names // banks))
        return cls(
            begin.tolist(),
            (names % banks)[sort].tolist(),
            visits.astype(np.int64)[sort].tolist(),
            order[sort].tolist(),
            (first / one.queue)[sort].tolist(),
            cycle[sort].tolist(),
            data[sort].tolist(),
            (last / one.queue)[sort].tolist(),
            (behind + one.rp)[sort].tolist(),
        )


def _ends(one: Channel, bus: Floats, acts: Floats, visits: _Visits) -> Floats:
    """When each window is over, from when the first column command may go.

    A row is opened as soon as the window before has begun, and its bank is free.
    """
    free = [-float(one.rcd)] * (one.ranks * one.banks * one.groups)
    apart = max(one.rrd_other, one.faw / 4) / one.ranks
    between = one.rrd_other / one.ranks
    begin, entered = 0.0, -float(one.rcd)
    rank = -float(one.rcd)
    found = [0.0]
    for number, (own, opens) in enumerate(zip(bus.tolist(), acts.tolist(), strict=True)):
        end = begin + own
        rank = max(rank, entered)
        if opens and number:
            end = max(end, rank + (opens - 1) * apart + one.rcd + one.burst)
        chain = rank  # when the rank may open the next row, from that of `order` so many on
        for place in range(visits.begin[number], visits.begin[number + 1]):
            bank, rows = visits.bank[place], visits.opened[place]
            if rows:
                before = visits.order[place] * between
                entry = entered + visits.first[place] * (begin - entered)
                chain = max(chain, entry - before)
                act = max(free[bank], chain + before)
                closed = act + rows * visits.cycle[place]
                data = closed - visits.cycle[place] + one.rcd + visits.data[place]
                end = max(end, data)
            else:
                closed = free[bank]
            last = begin + visits.last[place] * own
            free[bank] = max(closed, last + visits.behind[place])
        rank += opens * apart
        entered, begin = begin, end
        found.append(end)
    return np.array(found)


def _opening(one: Channel, bank: Ints, row: Ints, opened: npt.NDArray[np.bool_]) -> float:
    """How long the first window takes that opens its rows beside nothing: for each of them the
    activations up to it, and its accesses with those of the rows behind it."""
    rows = np.stack([bank, row])
    _, which, count = np.unique(rows, axis=1, return_inverse=True, return_counts=True)
    own = count[which.ravel()[opened]]
    number = np.arange(own.size)
    act = np.maximum(number * one.rrd_other, number // 4 * one.faw + number % 4 * one.rrd_other)
    behind = np.cumsum(own[::-1])[::-1] * one.burst
    last = (int(own[-1]) - 1) * max(one.ccd_same, one.burst) + one.burst
    behind[-1] = max(int(behind[-1]), last)
    return float((act + behind).max(initial=0))


def _opened(window: Ints, bank: Ints, row: Ints) -> npt.NDArray[np.bool_]:
    """Of each access whether it opens a row: the first to it in a window, which serves those to a
    row together, unless the bank had it open before."""
    order = np.argsort(bank, kind="stable")
    windows, banks, rows = window[order], bank[order], row[order]
    begins = np.ones(bank.size, bool)
    begins[1:] = (banks[1:] != banks[:-1]) | (windows[1:] != windows[:-1])
    begin = np.flatnonzero(begins)
    carried = np.where(banks[begin] == banks[begin - 1], rows[begin - 1], -1)
    carried[0] = -1
    group = np.cumsum(begins) - 1
    by_row = np.lexsort((rows, group))
    groups, sorted_rows = group[by_row], rows[by_row]
    new = np.ones(bank.size, bool)
    new[1:] = (groups[1:] != groups[:-1]) | (sorted_rows[1:] != sorted_rows[:-1])
    found = np.empty(bank.size, bool)
    found[order[by_row]] = new & (sorted_rows != carried[groups])
    return found
