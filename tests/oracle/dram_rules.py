"""The rules of a DRAM channel, checked pair by pair in the log of its commands.

Written from the standards' times alone, without what serves accesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from dataflow_sim.simulate.dram_banks import Command, Served, serve
from dataflow_sim.simulate.dram_channel import Channel

NEVER = -(1 << 40)
NO_REFRESH = 1 << 40


@dataclass(frozen=True)
class Stream:
    """Accesses in their order, and when each arrives, None for all at once."""

    banks: list[int]
    rows: list[int]
    writes: list[bool]
    arrivals: list[int] | None = None

    def __len__(self) -> int:
        return len(self.banks)


def banks_of(channel: Channel) -> int:
    return channel.ranks * channel.groups * channel.banks


def rank_of(channel: Channel, bank: int) -> int:
    return bank // (channel.groups * channel.banks)


def data_of(channel: Channel, command: Command) -> int:
    """The first clock of a column command's data."""
    return command.clock + (channel.cl if command.kind == "rd" else channel.cwl)


@dataclass
class BankState:
    """What a bank's past allows."""

    row: int | None = None
    opened: int = NEVER
    closed: int = NEVER
    last_read: int = NEVER
    last_write: int = NEVER

    def closes_from(self, channel: Channel) -> int:
        """The first clock at which the open row may be closed."""
        return max(
            self.opened + channel.ras,
            self.last_read + channel.rtp,
            self.last_write + channel.cwl + channel.burst + channel.wr,
        )


@dataclass
class Rules:
    """Takes commands in the order of their clocks; an assertion fails at one that is not legal."""

    channel: Channel
    states: list[BankState] = field(default_factory=list)
    activations: list[Command] = field(default_factory=list)
    columns: list[Command] = field(default_factory=list)
    refreshes: list[Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.states = [BankState() for _ in range(banks_of(self.channel))]

    def take(self, command: Command) -> None:
        if command.kind == "ref":
            self.refresh(command)
            return
        assert 0 <= command.bank < len(self.states), command
        rank = rank_of(self.channel, command.bank)
        for other in self.refreshes[-8:]:
            if other.bank == rank:
                assert command.clock >= other.clock + self.channel.rfc, (other, command)
        {"act": self.activate, "pre": self.close}.get(command.kind, self.column)(command)

    def activate(self, command: Command) -> None:
        channel, state = self.channel, self.states[command.bank]
        assert state.row is None, command
        assert command.clock >= state.closed + channel.rp, command
        rank = rank_of(channel, command.bank)
        of_rank = [c for c in self.activations[-64:] if rank_of(channel, c.bank) == rank]
        for other in of_rank:
            same = other.bank % channel.groups == command.bank % channel.groups
            least = channel.rrd_same if same else channel.rrd_other
            assert command.clock >= other.clock + least, (other, command)
        if len(of_rank) >= 4:
            assert command.clock >= of_rank[-4].clock + channel.faw, (of_rank[-4], command)
        self.activations.append(command)
        state.row, state.opened = command.row, command.clock

    def close(self, command: Command) -> None:
        state = self.states[command.bank]
        assert state.row is not None, command
        assert command.clock >= state.closes_from(self.channel), command
        state.row, state.closed = None, command.clock

    def refresh(self, command: Command) -> None:
        """Rows that are open are closed in time, without a command of their own."""
        channel = self.channel
        for bank, state in enumerate(self.states):
            if rank_of(channel, bank) != command.bank:
                continue
            closed = state.closed if state.row is None else state.closes_from(channel)
            assert command.clock >= closed + channel.rp, (bank, command)
            state.row, state.closed = None, closed
        for other in self.refreshes:
            if other.bank == command.bank:
                assert command.clock >= other.clock + channel.rfc, (other, command)
        self.refreshes.append(command)

    def column(self, command: Command) -> None:
        channel, state = self.channel, self.states[command.bank]
        assert command.kind in ("rd", "wr"), command
        assert state.row == command.row, (state, command)
        assert command.clock >= state.opened + channel.rcd, command
        for other in self.columns[-64:]:
            assert command.clock >= other.clock + self.between(other, command), (other, command)
        self.columns.append(command)
        if command.kind == "rd":
            state.last_read = command.clock
        else:
            state.last_write = command.clock

    def between(self, other: Command, command: Command) -> int:
        """The least from one column command to a later one."""
        channel = self.channel
        same_rank = rank_of(channel, other.bank) == rank_of(channel, command.bank)
        same_group = same_rank and other.bank % channel.groups == command.bank % channel.groups
        # what the bus needs between the data of both, as clocks between the commands
        apart = data_of(channel, other) - other.clock - data_of(channel, command) + command.clock
        apart += channel.burst if same_rank else channel.burst + channel.switch
        if (other.kind, command.kind) == ("rd", "wr"):
            return max(apart, channel.cl + channel.burst + channel.turn - channel.cwl)
        if not same_rank:
            return apart
        if other.kind == command.kind:
            return max(apart, channel.ccd_same if same_group else channel.ccd_other)
        wait = channel.wtr_same if same_group else channel.wtr_other
        return max(apart, channel.cwl + channel.burst + wait)


def check_order(channel: Channel, stream: Stream, clocks: Sequence[int]) -> None:
    """Hits keep their order; nothing goes ahead of what is `queue` places older."""
    last: dict[tuple[int, int], int] = {}
    oldest = NEVER
    for index, clock in enumerate(clocks):
        place = (stream.banks[index], stream.rows[index])
        assert clock > last.get(place, NEVER), index
        last[place] = clock
        if index >= channel.queue:
            oldest = max(oldest, clocks[index - channel.queue])
        assert clock > oldest, index
        assert clock >= (stream.arrivals[index] if stream.arrivals else 0), index


def entered(channel: Channel, stream: Stream, clocks: Sequence[int]) -> list[int]:
    """When each access comes into the window: it has arrived, and those far ahead have gone."""
    enters, gone = [], 0
    for index in range(len(stream)):
        if index >= channel.queue:
            gone = max(gone, clocks[index - channel.queue])
        enters.append(max(gone, stream.arrivals[index] if stream.arrivals else 0))
    return enters


def check_causes(
    channel: Channel, stream: Stream, clocks: Sequence[int], log: list[Command]
) -> None:
    """A row is closed for an access to another one, at or after a clock at which none in the window
    was to it; and opened for the oldest of its bank, or again after a refresh."""
    enters = entered(channel, stream, clocks)
    of_bank: dict[int, list[int]] = {}
    for index, bank in enumerate(stream.banks):
        of_bank.setdefault(bank, []).append(index)
    rows: dict[int, int] = {}
    refreshed: set[int] = set()
    for command in log:
        if command.kind == "ref":
            refreshed |= {bank for bank in rows if rank_of(channel, bank) == command.bank}
        if command.kind not in ("act", "pre"):
            continue
        indices = of_bank.get(command.bank, [])
        waiting = [i for i in indices if enters[i] <= command.clock < clocks[i]]
        assert waiting, command
        if command.kind == "act":
            again = command.bank in refreshed and rows[command.bank] == command.row
            assert again or stream.rows[waiting[0]] == command.row, command
            rows[command.bank] = command.row
            refreshed.discard(command.bank)
            continue
        row = rows[command.bank]
        others = [i for i in waiting if stream.rows[i] != row]
        hits = [i for i in indices if stream.rows[i] == row]
        moments = {enters[i] for i in others} | {
            clocks[i] for i in hits if clocks[i] <= command.clock
        }
        assert any(
            any(enters[i] <= at for i in others)
            and not any(enters[i] < at < clocks[i] for i in hits)
            for at in moments
        ), command


def check_refreshes(channel: Channel, served: Served, log: list[Command]) -> None:
    """As many in each rank as the time has `refi`, but for the first and the last."""
    for rank in range(channel.ranks):
        number = sum(1 for c in log if c.kind == "ref" and c.bank == rank)
        assert abs(number - max(served.end, default=0) / channel.refi) <= 2


def check_refreshed_in_time(channel: Channel, log: list[Command]) -> None:
    """Every `refi` in each rank, as soon as the rows that are open by then can be closed."""
    written = channel.cwl + channel.burst + channel.wr
    closing = channel.rcd + max(channel.ras, channel.rtp, written) + channel.rp
    for rank in range(channel.ranks):
        clocks = [c.clock for c in log if c.kind == "ref" and c.bank == rank]
        due = [clock - number * channel.refi for number, clock in enumerate(clocks)]
        if due:
            assert max(due) - min(due) <= closing, clocks
            assert 0 < min(due) <= channel.refi + closing, clocks


class Bounded(list[Command]):
    """Commands of a stream of so many accesses; there is an end to them."""

    def __init__(self, accesses: int) -> None:
        super().__init__()
        self.most = 10 * accesses + 300

    def append(self, command: Command) -> None:
        assert len(self) < self.most, "the channel refreshes and no longer serves"
        super().append(command)


def logged(channel: Channel, stream: Stream) -> tuple[Served, list[Command]]:
    """What the channel did, and its commands by their clocks."""
    log = Bounded(len(stream))
    served = serve(channel, stream.banks, stream.rows, stream.writes, stream.arrivals, log)
    return served, sorted(log, key=lambda command: command.clock)


def served_legally(channel: Channel, stream: Stream) -> Served:
    """Serve a stream and hold all that is known against the log."""
    served, log = logged(channel, stream)
    rules = Rules(channel)
    for command in log:
        rules.take(command)

    # no two column commands have their data at the same time, so that ends tell them apart
    data = sorted(data_of(channel, command) for command in rules.columns)
    assert all(later >= first + channel.burst for first, later in pairwise(data))
    ends = {data_of(channel, command) + channel.burst: command for command in rules.columns}
    assert len(served.end) == len(stream) == len(rules.columns) == len(set(served.end))
    assert set(served.end) == set(ends)
    columns = [ends[end] for end in served.end]
    kinds = ["wr" if write else "rd" for write in stream.writes]
    assert [command.kind for command in columns] == kinds
    assert [command.bank for command in columns] == stream.banks
    assert [command.row for command in columns] == stream.rows

    clocks = [command.clock for command in columns]
    check_order(channel, stream, clocks)
    check_causes(channel, stream, clocks, log)
    check_refreshes(channel, served, log)
    order = [command.kind for command in rules.columns]
    assert served.activates == len(rules.activations)
    assert (served.reads, served.writes) == (order.count("rd"), order.count("wr"))
    assert served.refreshes == len(rules.refreshes)
    assert served.turns == sum(a != b for a, b in pairwise(order))
    return served
