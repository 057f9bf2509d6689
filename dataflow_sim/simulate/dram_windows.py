"""DRAM in closed form: the accesses of a channel by windows of its queue's length.

A window takes as long as what it needs most of:

    bus     accesses x burst, within a bank group x tCCD_L, and turns between reading and writing,
            of which a window makes two at most, since its controller serves each kind together
    bank    from when a row may be opened (its bank is closed, the window before has come so far
            that the access is queued, the rank may open another) through the cycles of the rows
            that the bank opens to the data of the last: a cycle is tRC, or opening, accesses and
            closing
    rank    rows that it opens x max(tRRD, tFAW / 4)

    window     │      k - 1       │        k         │
    bus        ███████████████████ ██████████████████
    bank 3              opened ◄──── queued here
                        ├─tRCD─┤ data ...              hidden, if its bank was closed in time

Rows that several accesses of a window go to are opened once in it.  In the first window nothing
hides the rows that are opened.  Assumed: within a window accesses go on evenly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dataflow_sim.simulate.arrays import Bools, Floats, Ints
from dataflow_sim.simulate.dram_channel import Channel


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """When the first n accesses of a channel are over, by n, without refresh; its commands."""

    end: Floats
    activates: int
    turns: int


def windows(one: Channel, bank: Ints, row: Ints, write: Bools) -> Windows:
    """How long the accesses of a channel take, of each its bank, its row and whether it writes."""
    size = bank.size
    if not size:
        return Windows(np.zeros(1), 0, 0)
    window = np.arange(size) // one.queue
    count = int(window[-1]) + 1
    lengths = np.bincount(window, minlength=count)
    opened = _opened(window, bank, row)
    turns = _turns(window, write, lengths)
    gap = (one.read_to_write + one.write_to_read(True) - 2 * one.burst) / 2
    in_group = np.bincount(window * one.groups + bank % one.groups, minlength=count * one.groups)
    same = (in_group.reshape(count, -1).max(axis=1) - 1) * max(one.burst, one.ccd_same) + one.burst
    bus = np.maximum(lengths * one.burst, same) + turns * gap
    acts = np.bincount(window, opened, count).astype(np.float64)
    ends = _ends(one, bus, acts, _Visits.of(one, window, bank, opened, write))
    first = slice(one.queue)
    ends[1:] += max(0.0, _opening(one, bank[first], row[first], opened[first]) - ends[1])
    within = np.arange(size + 1)
    number = np.minimum(within // one.queue, count - 1)
    part = (within - number * one.queue) / lengths[number]
    end = ends[number] + part * np.diff(ends)[number]
    return Windows(end, int(opened.sum()), int(turns.sum()))


def _turns(window: Ints, write: Bools, lengths: Ints) -> Floats:
    """Changes between reading and writing in each window, one with both making two at most."""
    turned = np.diff(write.astype(np.int64), prepend=int(write[0])) != 0
    found = np.bincount(window, turned, lengths.size)
    writes = np.bincount(window, write, lengths.size)
    return np.where((writes > 0) & (writes < lengths), np.minimum(found, 2), found)


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
        opened: Bools,
        write: Bools,
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

    A row is opened when its access is queued, a window ahead, its rank may open another, and its
    bank is free.
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


def _opening(one: Channel, bank: Ints, row: Ints, opened: Bools) -> float:
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


def _opened(window: Ints, bank: Ints, row: Ints) -> Bools:
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
