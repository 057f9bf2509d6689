"""DRAM parts and streams for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dataflow_sim.delivered import channel_of, spread_of
from dataflow_sim.hardware import dram_of
from dataflow_sim.results_of_dram import RequestStream
from dataflow_sim.simulate.dram_banks import Served, serve
from dataflow_sim.simulate.dram_channel import Channel, Spread, placed


def spread(preset: str, *, refresh: bool = True, **keys: object) -> Spread:
    """How a preset spreads addresses over its channels, without refresh if wanted."""
    dram = dram_of(preset, model="banks", **keys)
    assert dram.part is not None
    found = spread_of(dram, dram.part)
    if refresh:
        return found
    return replace(found, channel=replace(found.channel, refi=1 << 50))


def channel(preset: str) -> Channel:
    """One channel of a preset."""
    dram = dram_of(preset, model="banks")
    assert dram.part is not None
    return channel_of(dram, dram.part)


def served(preset: str, accesses: Sequence[int], writes: Sequence[bool] | None = None) -> Served:
    """What one channel of a preset makes of accesses, all there at once."""
    one = replace(spread(preset), channels=1)
    there = placed(one, np.array(accesses, np.int64))
    writes = [False] * len(accesses) if writes is None else writes
    return serve(one.channel, there.bank.tolist(), there.row.tolist(), writes)


def stream(addresses: Sequence[int], clocks: Sequence[int] | None = None) -> RequestStream:
    """Reads of one channel."""
    return RequestStream("stream", addresses, [False] * len(addresses), clocks)
