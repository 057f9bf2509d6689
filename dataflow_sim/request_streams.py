"""Streams of DRAM requests: those of a run, as other simulators read them, and what a part makes
of any.

    DRAMsim3     0x1F40 READ 120       address of the channel, READ or WRITE, clock of arrival
    Ramulator 2  LD 0x1F40             LD or ST, address

One file is one channel.  Blank lines and comments behind `#` are skipped.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dataflow_sim.delivered import clock_hertz, spread_of
from dataflow_sim.energy.dram_commands import command_energy
from dataflow_sim.errors import InputError
from dataflow_sim.hardware import DramConfig, HardwareFile
from dataflow_sim.results_of_dram import RequestStream, StreamResult
from dataflow_sim.simulate.arrays import counted
from dataflow_sim.simulate.dram_channel import placed, within_channel
from dataflow_sim.simulate.dram_play import banks, closed_form
from dataflow_sim.simulate.requests import Requests
from dataflow_sim.simulate.timeline import FS_PER_S
from dataflow_sim.timing import Timed

_WRITES = {"READ": False, "WRITE": True, "R": False, "W": True, "LD": False, "ST": True}
_TOLD = 5  # mistakes of a trace that are shown
_LARGEST = 1 << 62


def check_channels(hardware: HardwareFile) -> None:
    """Raise InputError where the machine's DRAM has no part."""
    if hardware.dram.part is None:
        raise InputError(
            "--requests: dram.model is peak, and no part has channels; give --set dram.preset=NAME "
            "--set dram.model=efficiency"
        )


def streams(timed: Timed, hardware: HardwareFile) -> tuple[RequestStream, ...]:
    """What a timed run asks of each channel, at the clocks at which its transfers begin to move.

    Raises InputError where the machine's DRAM has no part.
    """
    check_channels(hardware)
    dram, asked = hardware.dram, timed.followed.asked
    assert dram.part is not None
    assert asked is not None
    spread, access = spread_of(dram, dram.part), dram.part.access_bytes
    wide = dram.granule_bytes // access
    count = asked.count * wide
    which, number = counted(count)
    number += (asked.first * wide)[which]
    place = asked.of[which]
    channel, local = placed(spread, number).channel, within_channel(spread, number) * access
    fs_per_clock = FS_PER_S / float(clock_hertz(dram))
    clocks = (timed.timeline.moves / fs_per_clock).astype(np.int64)[place]
    clocks = np.maximum.accumulate(clocks)
    writes = timed.followed.found.stores.astype(bool)[place]
    return tuple(
        RequestStream(
            f"channel{each}",
            local[channel == each].tolist(),
            writes[channel == each].tolist(),
            clocks[channel == each].tolist(),
        )
        for each in range(spread.channels)
    )


def read_stream(path: Path) -> RequestStream:
    """A trace of either kind.

    Raises InputError for what is no trace, with the first lines that are not.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"trace '{path}' cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"trace '{path}' cannot be read: it is no text") from None
    addresses: list[int] = []
    writes: list[bool] = []
    clocks: list[int] = []
    wrong: list[str] = []
    last = 0
    for number, line in enumerate(lines, 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        try:
            address, write, clock = _request(words)
            if clock is not None and clock < last:
                raise ValueError(f"clock {clock} is before {last} of the request above")
        except ValueError as error:
            wrong.append(f"{path}:{number}: {error}")
            continue
        addresses.append(address)
        writes.append(write)
        if clock is not None:
            clocks.append(clock)
            last = clock
    if wrong:
        more = [f"and {len(wrong) - _TOLD} more lines"] if len(wrong) > _TOLD else []
        raise InputError("\n".join([*wrong[:_TOLD], *more]))
    if not addresses:
        raise InputError(
            f"trace '{path}' has no requests; lines are like '0x40 READ 12', 'LD 0x40'"
        )
    if clocks and len(clocks) != len(addresses):
        raise InputError(f"trace '{path}': some requests have a clock, others have none")
    return RequestStream(path.name, addresses, writes, clocks or None)


def _request(words: list[str]) -> tuple[int, bool, int | None]:
    """Address, whether it writes, and the clock if there is one.  Raises ValueError."""
    shown = " ".join(words)[:60]
    kind, address = (words[0], words[1:2]) if words[0].upper() in _WRITES else ("", words[:1])
    rest = words[2:]
    if not kind and len(words) > 1:
        kind = words[1]
    if kind.upper() not in _WRITES or not address or len(rest) > 1:
        raise ValueError(f"'{shown}' is no request; write '0x40 READ 12' or 'LD 0x40'")
    try:
        found, clock = int(address[0], 0), int(rest[0]) if rest else None
    except ValueError:
        raise ValueError(f"'{shown}': addresses are like 0x40, clocks like 12") from None
    if not 0 <= found < _LARGEST or (clock or 0) not in range(_LARGEST):
        raise ValueError(f"'{shown}': addresses and clocks are from 0 to 2^62")
    return found, _WRITES[kind.upper()], clock


def play_stream(dram: DramConfig, stream: RequestStream) -> StreamResult:
    """What one channel of a part makes of a stream; its closed form takes requests as they can go,
    whenever they come."""
    part = dram.part
    assert part is not None
    hertz, count = float(clock_hertz(dram)), len(stream.addresses)
    spread = replace(spread_of(dram, part), channels=1)
    addresses = np.array(stream.addresses, np.int64) // part.access_bytes
    asked = Requests(np.arange(count + 1), addresses, np.ones(count, np.int64))
    writes = np.array(stream.writes, bool)
    if dram.model == "banks":
        delivery = banks(spread, asked, writes, 1, stream.clocks)
    else:
        delivery = closed_form(spread, asked, writes, 1)
    clocks = int(np.ceil(delivery.clocks.sum()))
    seconds, moved = clocks / hertz, count * part.access_bytes
    energy = command_energy(part, hertz, delivery, delivery.refreshes, seconds)
    rate = moved / seconds
    return StreamResult(
        name=stream.name,
        part=dram.part_name,
        model=dram.model,
        requests=count,
        reads=delivery.reads,
        writes=delivery.writes,
        clocks=clocks,
        seconds=seconds,
        bytes_per_second=rate,
        utilisation=rate * part.channels / dram.channel_bytes_per_second,
        activates=delivery.activates,
        row_hits=max(0.0, 1 - delivery.activates / count),
        turns=delivery.turns,
        refreshes=float(delivery.refreshes),
        energy=energy,
        pj_per_bit=energy.total_pj / (8 * moved),
    )
