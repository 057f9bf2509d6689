"""DRAM, access by access: banks, rows, turns and refresh of one channel under its controller.

    window    the oldest access that is not served, and those behind it, `queue` in all
    row       a bank opens the row of its oldest access in the window as soon as no access in the
              window needs the row that is open, and the times between commands allow it
    next      of the accesses whose row is open or on its way, the one whose column command can go
              first; of several, the oldest                         (first-ready, first come first)
    refresh   when it is due all rows of the rank are closed and it is out for tRFC; what was on its
              way is opened again

    bank 0   PRE ─tRP─ ACT ─tRCD─ RD RD RD ─────tRTP── PRE
    bank 1                 ACT ─tRCD───────── RD RD RD
    data                            ████████████████████████

So a row is opened beside the data of those before it, and hits overtake misses, but nothing gets
ahead of the oldest access by more than the window.  Accesses to the same address keep their order:
within a bank hits go in order.

Assumed: rows stay open; accesses are queued as soon as the window has a place, or later where they
say when they arrive; one command bus that is never in the way.  Ignored: power-down, refresh that
is put off, or bank by bank.

Source of the policy: Rixner et al., Memory access scheduling, ISCA 2000.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dataflow_sim.simulate.dram_channel import Channel

_FAR = 1 << 62


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it went: its clock, `act`, `pre`, `rd`, `wr` or `ref`, its bank (of a refresh
    the rank), and its row."""

    clock: int
    kind: str
    bank: int
    row: int


@dataclass(frozen=True, slots=True)
class Served:
    """What a channel did: the clock at which the data of each access have moved, and commands;
    `turns` are changes between reading and writing."""

    end: tuple[int, ...]
    activates: int
    reads: int
    writes: int
    refreshes: int
    turns: int


class _Bank:
    """A bank: the row that is open or on its way, when it may be read and closed, who waits; and
    what it was `before` a row was sent for: row, activation, when that might be closed and when it
    was, and from when on another might be opened."""

    __slots__ = (
        "act",
        "before",
        "closable",
        "group",
        "openable",
        "rank",
        "ready",
        "row",
        "target",
        "waiting",
    )

    def __init__(self, rank: int, group: int) -> None:
        self.rank, self.group = rank, group
        self.row = -1
        self.act = self.ready = self.closable = self.openable = 0
        self.before = (-1, 0, 0, 0, 0)
        self.waiting: list[int] = []
        self.target = -1


class _Controller:
    """Serves the accesses of one channel."""

    def __init__(
        self,
        channel: Channel,
        accesses: tuple[Sequence[int], Sequence[int], Sequence[bool]],
        arrivals: Sequence[int] | None,
        log: list[Command] | None,
    ) -> None:
        self.channel = channel
        self.bank_of, self.row_of, self.writes = accesses
        self.arrivals, self.log = arrivals, log
        groups, per_rank = channel.groups, channel.groups * channel.banks
        self.banks = [
            _Bank(number // per_rank, number // per_rank * groups + number % groups)
            for number in range(per_rank * channel.ranks)
        ]
        pairs = range(groups * channel.ranks)
        self.next_read, self.next_write = [0 for _ in pairs], [0 for _ in pairs]
        # behind a read and behind a write in a group of a rank: to a read and a write in each
        self.after = [
            [[self._gaps(one, other)[kind] for other in pairs] for one in pairs] for kind in (0, 1)
        ]
        # of each rank: recent activations in order, with their groups
        self.acts: list[list[tuple[int, int]]] = [[] for _ in range(channel.ranks)]
        self.due = [channel.refi * (rank + 1) // channel.ranks for rank in range(channel.ranks)]
        self.activates = self.refreshes = self.turns = 0
        self.busy: list[int] = []  # banks that accesses wait for
        self.front = 0  # the last column command

    def _gaps(self, one: int, other: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """From a read to a read and a write, from a write to a read and a write, group to group."""
        channel, groups = self.channel, self.channel.groups
        if one // groups != other // groups:
            apart = channel.burst + channel.switch
            turned = channel.cwl - channel.cl + apart
            more = max(0, channel.switch - channel.turn)
            behind_read = (apart, channel.read_to_write + more)
            return behind_read, (max(turned, channel.burst), apart)
        same = one == other
        ccd = max(channel.burst, channel.ccd_same if same else channel.ccd_other)
        return (ccd, channel.read_to_write), (channel.write_to_read(same), ccd)

    def run(self) -> Served:
        """Serve all accesses."""
        bank_of, writes, banks, arrivals = self.bank_of, self.writes, self.banks, self.arrivals
        channel, busy, after = self.channel, self.busy, self.after
        next_read, next_write = self.next_read, self.next_write
        # of a read and of a write: to the end of its data, and to when its row may be closed
        written = channel.cwl + channel.burst
        done = ((channel.cl + channel.burst, channel.rtp), (written, written + channel.wr))
        count = len(bank_of)
        end, served = [0] * count, bytearray(count + 1)
        head = entered = now = 0
        window = self.channel.queue
        last_write = None
        left = count
        while entered < min(count, window):
            self._enter(entered, now)
            entered += 1
        while left:
            best, chosen = _FAR, -1
            for number in busy:
                bank = banks[number]
                access = bank.target
                floor = next_write[bank.group] if writes[access] else next_read[bank.group]
                clock = bank.ready if bank.ready > floor else floor
                if arrivals is not None and arrivals[access] > clock:
                    clock = arrivals[access]
                if clock < best or (clock == best and access < chosen):
                    best, chosen = clock, access
            if min(self.due) <= best:
                self._refresh(self.due.index(min(self.due)))
                continue
            now = self.front = best
            bank = banks[bank_of[chosen]]
            write = writes[chosen]
            latency, behind = done[write]
            end[chosen] = now + latency
            bank.closable = max(bank.closable, now + behind)
            for other, (to_read, to_write) in enumerate(after[write][bank.group]):
                if now + to_read > next_read[other]:
                    next_read[other] = now + to_read
                if now + to_write > next_write[other]:
                    next_write[other] = now + to_write
            if self.log is not None:
                kind = "wr" if write else "rd"
                self.log.append(Command(now, kind, bank_of[chosen], self.row_of[chosen]))
            self.turns += last_write is not None and last_write != write
            last_write = write
            left -= 1
            served[chosen] = 1
            while served[head]:
                head += 1
            limit = min(count, head + window)
            while entered < limit:
                self._enter(entered, now)
                entered += 1
            self._leave(bank, bank_of[chosen], chosen, now)
        stores = sum(map(bool, writes))
        counts = (self.activates, count - stores, stores, self.refreshes, self.turns)
        return Served(tuple(end), *counts)

    def _enter(self, access: int, now: int) -> None:
        """An access comes into the window."""
        number = self.bank_of[access]
        bank = self.banks[number]
        if self.arrivals is not None:
            now = max(now, self.arrivals[access])
        bank.waiting.append(access)
        if len(bank.waiting) == 1:
            self.busy.append(number)
            bank.target = access
            if bank.row != self.row_of[access]:
                self._open(bank, number, self.row_of[access], now)

    def _leave(self, bank: _Bank, number: int, access: int, now: int) -> None:
        """An access is served: the bank's next hit, or its next row."""
        waiting, row_of = bank.waiting, self.row_of
        waiting.remove(access)
        if not waiting:
            self.busy.remove(number)
            return
        for other in waiting:
            if row_of[other] == bank.row:
                bank.target = other
                return
        bank.target = waiting[0]
        arrived = now if self.arrivals is None else max(now, self.arrivals[bank.target])
        self._open(bank, number, row_of[bank.target], arrived)

    def _open(self, bank: _Bank, number: int, row: int, now: int) -> None:
        """Open a row, closing the one that is open."""
        channel = self.channel
        closed, clock = -1, max(now, bank.openable)
        if bank.row >= 0:
            closed = max(now, bank.closable)
            clock = max(clock, closed + channel.rp)
            if self.log is not None:
                self.log.append(Command(closed, "pre", number, bank.row))
        acts = self.acts[bank.rank]
        while acts and acts[0][0] + channel.faw <= self.front:  # over, for whatever comes
            del acts[0]
        clock = self._slot(bank, clock)
        insort(acts, (clock, bank.group))
        if self.log is not None:
            self.log.append(Command(clock, "act", number, row))
        bank.before = (bank.row, bank.act, bank.closable, closed, bank.openable)
        self.activates += 1
        bank.row, bank.act = row, clock
        bank.ready, bank.closable = clock + channel.rcd, clock + channel.ras

    def _slot(self, bank: _Bank, clock: int) -> int:
        """The first clock from one on at which the rank may activate a row of a bank."""
        channel, acts = self.channel, self.acts[bank.rank]
        moved = True
        while moved:
            moved = False
            for other, group in acts:
                apart = channel.rrd_same if group == bank.group else channel.rrd_other
                if other - apart < clock < other + apart:
                    clock, moved = other + apart, True
            near = [other for other, _ in acts if abs(other - clock) < channel.faw]
            whole = sorted([*near, clock])
            for first, fifth in zip(whole, whole[4:], strict=False):
                if fifth - first < channel.faw and first <= clock <= fifth:
                    clock, moved = first + channel.faw, True
                    break
        return clock

    def _refresh(self, rank: int) -> None:
        """Close all rows of a rank, refresh it, and open again what accesses wait for."""
        channel, due = self.channel, self.due[rank]
        begin = due
        for number, bank in enumerate(self.banks):
            if bank.rank != rank:
                continue
            if bank.row >= 0 and bank.act >= due:  # on its way: not opened before
                self._withdraw(bank, number, due)
            if bank.row >= 0:
                begin = max(begin, bank.closable + channel.rp, due + channel.rp)
            begin = max(begin, bank.openable)
        self.refreshes += 1
        self.due[rank] += channel.refi
        if self.log is not None:
            self.log.append(Command(begin, "ref", rank, -1))
        waiting = []
        for number, bank in enumerate(self.banks):
            if bank.rank == rank:
                bank.row, bank.openable = -1, begin + channel.rfc
                if bank.waiting:
                    waiting.append((bank.target, number))
        for target, number in sorted(waiting):
            arrived = 0 if self.arrivals is None else self.arrivals[target]
            self._open(self.banks[number], number, self.row_of[target], arrived)

    def _withdraw(self, bank: _Bank, number: int, due: int) -> None:
        """Take back the activation of a row that has not happened, and the precharge before it if
        that has not, either."""
        self.acts[bank.rank].remove((bank.act, bank.group))
        self.activates -= 1
        row, act, closable, closed, openable = bank.before
        if self.log is not None:
            self.log.remove(Command(bank.act, "act", number, bank.row))
            if closed >= due:
                self.log.remove(Command(closed, "pre", number, row))
        if closed >= due:
            bank.row, bank.act, bank.closable, bank.openable = row, act, closable, openable
        else:
            bank.row = -1
            bank.openable = openable if closed < 0 else closed + self.channel.rp


def serve(
    channel: Channel,
    banks: Sequence[int],
    rows: Sequence[int],
    writes: Sequence[bool],
    arrivals: Sequence[int] | None = None,
    log: list[Command] | None = None,
) -> Served:
    """Serve accesses of one channel, in the order in which they come: of each its bank, its row,
    and whether it writes; `arrivals` in clocks, in order, all at once where left out.

    Into `log` go the commands.  Raises ValueError where arrivals are not in order.
    """
    if arrivals is not None and any(b < a for a, b in pairwise(arrivals)):
        raise ValueError("accesses arrive in their order")
    return _Controller(channel, (banks, rows, writes), arrivals, log).run()
