"""The banks of a DRAM channel against the rules of the standards, command by command from the log.

The checker knows the channel's numbers and the log alone: every command is held against all those
before it.  Where the order is plain, in one bank, the times are worked out by hand, and equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from dataflow_sim.delivered import channel_of
from dataflow_sim.hardware import DRAM_PARTS, load_hardware
from dataflow_sim.simulate.dram_channel import Channel
from tests.oracle.dram_rules import (
    NEVER,
    NO_REFRESH,
    BankState,
    Rules,
    Stream,
    banks_of,
    check_refreshed_in_time,
    logged,
    served_legally,
)


def mixed(random: Random, length: int) -> list[bool]:
    """Reads and writes: of one kind, any, or in turns of several."""
    how = random.choice(("reads", "writes", "any", "turns"))
    if how in ("reads", "writes"):
        return [how == "writes"] * length
    if how == "any":
        return [random.random() < 0.4 for _ in range(length)]
    turn = random.randint(2, 20)
    return [index // turn % 2 == 1 for index in range(length)]


def anywhere(channel: Channel, random: Random, length: int) -> Stream:
    """Any bank, one of a few rows."""
    rows = random.choice((1, 2, 4, channel.rows))
    banks = [random.randrange(banks_of(channel)) for _ in range(length)]
    return Stream(banks, [random.randrange(rows) for _ in banks], mixed(random, length))


def sequential(channel: Channel, random: Random, length: int) -> Stream:
    """One behind the other: round the groups, through a row, on to the next banks."""
    columns, groups = random.choice((2, 5, channel.row_accesses)), channel.groups
    others = banks_of(channel) // groups
    banks, rows = [], []
    at = random.randrange(columns * groups * others)
    for access in range(at, at + length):
        rest, group = divmod(access, groups)
        row, bank = divmod(rest // columns, others)
        banks.append(bank * groups + group)
        rows.append(row % channel.rows)
    return Stream(banks, rows, mixed(random, length))


def ping_pong(channel: Channel, random: Random, length: int) -> Stream:
    """Between two places, perhaps of the same bank, one of them read, the other written."""
    places = [
        (random.randrange(banks_of(channel)), random.randrange(channel.rows)) for _ in range(2)
    ]
    if random.random() < 0.5:
        places[1] = (places[0][0], places[1][1])
    turn = random.randint(1, 9)
    which = [index // turn % 2 for index in range(length)]
    banks, rows = [places[one][0] for one in which], [places[one][1] for one in which]
    return Stream(banks, rows, [one == 1 for one in which])


def one_bank(channel: Channel, random: Random, length: int) -> Stream:
    """One bank, rows that return."""
    bank, rows = random.randrange(banks_of(channel)), random.choice((2, 3, channel.rows))
    writes = mixed(random, length)
    return Stream([bank] * length, [random.randrange(rows) for _ in writes], writes)


def arriving(channel: Channel, random: Random, length: int) -> Stream:
    """Any stream, a few at a time, so that the channel runs dry now and then."""
    make = random.choice((anywhere, sequential, ping_pong, one_bank))
    stream = make(channel, random, length)
    clock, arrivals = random.choice((0, 30)), []
    for _ in range(length):
        if random.random() < 0.1:
            clock += random.choice((1, 5, channel.rcd, 100))
        arrivals.append(clock)
        clock += random.choice((0, 0, 1, channel.burst))
    return replace(stream, arrivals=arrivals)


Make = Callable[[Channel, Random, int], Stream]
STREAMS: tuple[Make, ...] = (anywhere, sequential, ping_pong, one_bank, arriving)


def part(name: str) -> Channel:
    """One channel of a part that comes with the simulator."""
    hardware = load_hardware("bare", {"dram.preset": name, "dram.model": "banks"})
    assert hardware.dram.part is not None
    return channel_of(hardware.dram, hardware.dram.part)


def random_channel(random: Random) -> Channel:
    """Any numbers that do not contradict each other, small enough that they meet often."""
    burst, ccd_other = random.randint(1, 4), random.randint(1, 5)
    cwl = random.randint(1, 8)
    rrd_other = random.randint(1, 6)
    wtr_other = random.randint(1, 6)
    rcd, ras, rp = random.randint(1, 12), random.randint(1, 24), random.randint(1, 12)
    rfc, switch = random.randint(1, 60), random.randint(0, 3)
    return Channel(
        ranks=random.choice((1, 1, 2, 3)),
        groups=random.choice((1, 2, 4)),
        banks=random.choice((1, 2, 4)),
        rows=random.choice((3, 16)),
        row_accesses=random.choice((4, 8)),
        burst=burst,
        ccd_same=ccd_other + random.randint(0, 3),
        ccd_other=ccd_other,
        cl=cwl + random.randint(0, 6),
        cwl=cwl,
        turn=switch + random.randint(0, 2),
        switch=switch,
        wtr_same=wtr_other + random.randint(0, 4),
        wtr_other=wtr_other,
        rcd=rcd,
        ras=ras,
        rp=rp,
        rrd_same=rrd_other + random.randint(0, 4),
        rrd_other=rrd_other,
        faw=rrd_other + 4 + random.randint(0, 36),
        rtp=random.randint(1, 10),
        wr=random.randint(1, 16),
        refi=random.choice((NO_REFRESH, rfc + random.randint(100, 400))),
        rfc=rfc,
        queue=random.choice((1, 2, 3, 8, 64)),
    )


@pytest.mark.parametrize("name", DRAM_PARTS)
def test_parts(name: str) -> None:
    """As they are, and with refreshes so near to each other that a short stream meets many."""
    channel, random = part(name), Random(name)
    for make in STREAMS:
        served_legally(channel, make(channel, random, 100))
    crowded = replace(channel, refi=2 * channel.rfc + 300, queue=random.choice((4, 16, 64)))
    for make in STREAMS:
        served_legally(crowded, make(crowded, random, 100))


@pytest.mark.parametrize("name", ["lpddr4-2400", "ddr4-3200"])
def test_parts_for_long(name: str) -> None:
    """As long as several refreshes of the part itself."""
    channel = part(name)
    served = served_legally(channel, sequential(channel, Random(name), 3000))
    assert served.refreshes >= 1


@pytest.mark.parametrize("seed", range(30))
def test_any_channel(seed: int) -> None:
    random = Random(seed)
    channel = random_channel(random)
    for make in STREAMS:
        served_legally(channel, make(channel, random, random.choice((1, 20, 100))))


def test_refreshes_in_time() -> None:
    """Whatever waits: what has not been activated need not be waited for."""
    for seed in (237, 397, 627, 671, 769, 1027, 3079):
        random = Random(seed)
        channel = random_channel(random)
        for make in (anywhere, sequential, ping_pong, one_bank):
            stream = make(channel, random, 100)
            if channel.refi < NO_REFRESH:
                check_refreshed_in_time(channel, logged(channel, stream)[1])


@pytest.mark.parametrize("name", DRAM_PARTS)
def test_refreshes_while_nothing_comes(name: str) -> None:
    """A rank that nothing asks for is refreshed when it is due, not when it is asked again."""
    channel = replace(part(name), refi=5000)
    stream = Stream([0, 0], [1, 1], [False, False], [0, 4 * channel.refi + channel.refi // 4])
    served, log = logged(channel, stream)
    check_refreshed_in_time(channel, log)
    begun = 4 * channel.refi + channel.refi // 4
    assert served.end[1] <= begun + channel.rcd + channel.cl + channel.burst


def test_refreshes_do_not_starve() -> None:
    """Many banks that wait for their turn to be activated are served between refreshes."""
    channel = Channel(
        ranks=2,
        groups=4,
        banks=4,
        rows=16,
        row_accesses=8,
        burst=3,
        ccd_same=4,
        ccd_other=4,
        cl=8,
        cwl=6,
        turn=2,
        switch=1,
        wtr_same=6,
        wtr_other=5,
        rcd=6,
        ras=14,
        rp=8,
        rrd_same=6,
        rrd_other=5,
        faw=45,
        rtp=2,
        wr=13,
        refi=125,
        rfc=6,
        queue=64,
    )
    banks = [7, 9, 14, 5, 1, 0, 8, 1, 9, 13, 15, 0, 5, 3, 14, 10, 12, 6, 7]
    rows = [5, 3, 4, 1, 4, 7, 0, 1, 11, 6, 14, 0, 2, 8, 0, 1, 4, 3, 1]
    served_legally(channel, Stream(banks, rows, [False] * len(banks)))


def test_between_ranks() -> None:
    """Also from a read to a write the bus goes from rank to rank in no less than `switch`."""
    for seed in range(20):
        random = Random(f"ranks {seed}")
        channel = replace(random_channel(random), ranks=2, turn=0, switch=3)
        served_legally(channel, anywhere(channel, random, 40))


def test_a_row_stays_open_for_who_comes_next() -> None:
    """The window is never empty of what takes the place of an access that has just gone."""
    channel = replace(part("ddr4-3200"), refi=NO_REFRESH, queue=2)
    _, log = logged(channel, Stream([0, 0, 0], [0, 1, 0], [False] * 3))
    assert [command.row for command in log if command.kind == "rd"] == [0, 0, 1]


def by_hand(channel: Channel, stream: Stream) -> list[int]:
    """The ends of accesses to one bank in their order, each as soon as all before it allow."""
    state, opened, ends = BankState(), [NEVER] * 4, []
    last_kind, last_clock = "", NEVER
    for index, row in enumerate(stream.rows):
        kind = "wr" if stream.writes[index] else "rd"
        asked = stream.arrivals[index] if stream.arrivals else 0
        # with one place in the window the next is known when the last has gone
        asked = max(asked, last_clock)
        if row != state.row:
            clock = max(asked, opened[-1] + channel.rrd_same, opened[-4] + channel.faw)
            if state.row is not None:
                clock = max(clock, max(asked, state.closes_from(channel)) + channel.rp)
            opened.append(clock)
            state = BankState(row, clock)
        clock = max(asked, state.opened + channel.rcd)
        if last_kind == kind:
            clock = max(clock, last_clock + max(channel.burst, channel.ccd_same))
        elif kind == "wr":
            clock = max(clock, last_clock + channel.cl + channel.burst + channel.turn - channel.cwl)
        elif last_kind:
            clock = max(clock, last_clock + channel.cwl + channel.burst + channel.wtr_same)
        last_kind, last_clock = kind, clock
        if kind == "rd":
            state.last_read = clock
            ends.append(clock + channel.cl + channel.burst)
        else:
            state.last_write = clock
            ends.append(clock + channel.cwl + channel.burst)
    return ends


@pytest.mark.parametrize("seed", range(30))
def test_one_bank_by_hand(seed: int) -> None:
    """Rows that return, with one place in the window; or that do not, with any."""
    random = Random(f"by hand {seed}")
    channel = part(random.choice(tuple(DRAM_PARTS))) if seed % 2 else random_channel(random)
    channel = replace(channel, refi=NO_REFRESH)
    for length in (1, 2, 60):
        stream = one_bank(channel, random, length)
        narrow = replace(channel, queue=1)
        assert list(served_legally(narrow, stream).end) == by_hand(narrow, stream)
        clock, arrivals = 0, []
        for _ in range(length):
            clock += random.choice((0, 0, 0, 1, 10, 200))
            arrivals.append(clock)
        late = replace(stream, arrivals=arrivals)
        assert list(served_legally(narrow, late).end) == by_hand(narrow, late)


@pytest.mark.parametrize("seed", range(20))
def test_rows_that_do_not_return(seed: int) -> None:
    """However wide the window, each row is used up before the next one is opened."""
    random = Random(f"rows {seed}")
    channel = part(random.choice(tuple(DRAM_PARTS))) if seed % 2 else random_channel(random)
    channel = replace(channel, refi=NO_REFRESH, rows=1 << 16, queue=random.choice((2, 8, 64)))
    stream = one_bank(channel, random, 60)
    rows, row = [], 0
    for _ in range(len(stream)):
        row += random.random() < 0.3
        rows.append(row)
    stream = replace(stream, rows=rows)
    assert list(served_legally(channel, stream).end) == by_hand(channel, stream)


def test_broken_rules_are_found() -> None:
    """Every time of a channel, were it one clock longer, would be missed by some command."""
    names = (
        *("ccd_same", "ccd_other", "cl", "cwl", "turn", "switch", "wtr_same", "wtr_other", "rcd"),
        *("ras", "rp", "rrd_same", "rrd_other", "faw", "rtp", "wr", "rfc"),
    )
    found = set()
    for seed in range(40):
        random = Random(f"broken {seed}")
        channel = replace(random_channel(random), ranks=2, groups=2, banks=2)
        stream = random.choice(STREAMS)(channel, random, 80)
        _, log = logged(channel, stream)
        for name in names:
            if name in found:
                continue
            rules = Rules(replace(channel, **{name: getattr(channel, name) + 1}))
            try:
                for command in log:
                    rules.take(command)
            except AssertionError:
                found.add(name)
    assert found == set(names)
