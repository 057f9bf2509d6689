"""DRAM streams with known answers, and what run lengths say of tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dataflow_sim.graph.region import Box, Span
from dataflow_sim.hardware import DRAM_PARTS
from dataflow_sim.program.homes import Home
from dataflow_sim.program.laying import lines
from dataflow_sim.simulate.address_runs import runs_of
from dataflow_sim.simulate.dram_channel import placed, within_channel
from dataflow_sim.simulate.dram_play import Delivery, banks, closed_form
from dataflow_sim.simulate.requests import Requests
from tests.support.dram import channel, served, spread

PRESETS = sorted(DRAM_PARTS)
MANY = 20_000


@pytest.mark.parametrize("preset", PRESETS)
def test_reads_in_sequence_reach_the_peak_less_refresh(preset: str) -> None:
    found = served(preset, range(MANY))
    one = channel(preset)
    reached = MANY * one.burst / max(found.end)
    if one.ranks == 1:
        assert reached == pytest.approx(1 - one.refreshed, rel=0.01)
    else:  # while one rank is refreshed the stream may be in the other
        assert 1 - one.refreshed < reached < 1 - one.refreshed / 2
    assert found.turns == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_one_word_a_row_of_one_bank_costs_its_row_cycle(preset: str) -> None:
    one, count = channel(preset), 2_000
    period = replace(spread(preset), channels=1).period
    found = served(preset, [number * period for number in range(count)])
    assert max(found.end) / count == pytest.approx(one.rc / (1 - one.refreshed), rel=0.01)
    assert found.activates >= count


@pytest.mark.parametrize("preset", PRESETS)
def test_reads_and_writes_in_turn_cost_both_turns(preset: str) -> None:
    one, count = channel(preset), 2_000
    found = served(preset, [0] * count, [bool(number % 2) for number in range(count)])
    turns = one.read_to_write + one.write_to_read(same_group=True)
    assert 2 * max(found.end) / count == pytest.approx(turns / (1 - one.refreshed), rel=0.01)
    assert found.turns == count - 1


@pytest.mark.parametrize("preset", PRESETS)
def test_random_reads_are_between_the_two(preset: str) -> None:
    one, count = channel(preset), 3_000
    numbers = np.random.default_rng(1).integers(0, 1 << 22, count)
    each = max(served(preset, numbers.tolist()).end) / count
    assert one.burst * 1.05 < each < one.rc * 0.5


@pytest.mark.parametrize("preset", PRESETS)
def test_a_longer_queue_never_hurts_a_stream_in_sequence(preset: str) -> None:
    rng = np.random.default_rng(2)
    runs = [base + step for base in rng.integers(0, 1 << 18, 200) * 8 for step in range(8)]
    ends = []
    for queue in (1, 8, 64):
        one = replace(spread(preset), channels=1)
        one = replace(one, channel=replace(one.channel, queue=queue))
        asked = Requests(np.array([0, len(runs)]), np.array(runs), np.ones(len(runs), np.int64))
        ends.append(float(banks(one, asked, np.zeros(1, bool), 1).clocks.sum()))
    assert ends[0] > ends[1] > 0.99 * ends[2]


def test_addresses_within_a_channel_are_its_own() -> None:
    for preset in PRESETS:
        for mapping in ("row-bank-column", "bank-row-column"):
            whole = spread(preset, mapping=mapping)
            numbers = np.random.default_rng(3).integers(0, 1 << 26, 500)
            numbers = np.unique(np.concatenate([numbers, np.arange(2_000)]))
            there = placed(whole, numbers)
            local = within_channel(whole, numbers)
            alone = placed(replace(whole, channels=1), local)
            assert (alone.bank == there.bank).all()
            assert (alone.row == there.row).all()
            pairs = np.stack([there.channel, local])
            assert np.unique(pairs, axis=1).shape[1] == numbers.size
            assert there.channel.max() < whole.channels


def test_rows_of_one_bank_behind_each_other_cost_more_than_banks_in_turn() -> None:
    """Row misses that nothing hides against those that other banks hide."""
    rows = 40 * DRAM_PARTS["lpddr4-3200"].row_bytes // 32
    asked = Requests(np.array([0, 1]), np.array([0]), np.array([rows]))
    reads = np.zeros(1, bool)
    for model in (banks, closed_form):
        apart, behind = (
            float(model(spread("lpddr4-3200", mapping=mapping), asked, reads, 1).clocks.sum())
            for mapping in ("row-bank-column", "bank-row-column")
        )
        one = channel("lpddr4-3200")
        misses = 20 * (one.rtp + one.rp + one.rcd - one.burst)
        assert behind - apart == pytest.approx(misses, rel=0.35)


SHAPE = (1, 128, 128, 32)


def read(boxes: list[Box]) -> tuple[list[Delivery], int, float]:
    """Boxes of a row-major map of single bytes, read one after the other, refresh apart: by both
    models; bursts, and the mean length of a run in bytes."""
    layout, size = lines(SHAPE, 8, "row-major", 16, 1)
    runs = runs_of(Home(0, size, 8, layout, "row-major"), boxes)
    bursts = runs.bursts(32 * 8)
    sizes = np.bincount(bursts.of, minlength=len(boxes))
    asked = Requests(
        np.concatenate([[0], np.cumsum(sizes)]), bursts.start, bursts.stop - bursts.start
    )
    part, reads = spread("lpddr4-3200", refresh=False), np.zeros(len(boxes), bool)
    both = [model(part, asked, reads, 1) for model in (banks, closed_form)]
    return both, int(asked.count.sum()), float((runs.stop - runs.start).mean()) / 8


def tiles(channels: int, rows: int, columns: int) -> list[Box]:
    """The tiles of the map, whole rows of tiles first."""
    return [
        Box(Span(0, 1), Span(c, c + channels), Span(r, r + rows), Span(w, w + columns))
        for c in range(0, SHAPE[1], channels)
        for r in range(0, SHAPE[2], rows)
        for w in range(0, SHAPE[3], columns)
    ]


def test_tiles_of_one_size_cost_what_their_runs_say() -> None:
    """Tiles of 4096 bytes of one map: a plane, a row of all channels, 4 x 8 pixels of them.

    A plane is a row of a bank, and comes at the rate of the bus.  Of a row of pixels each channel
    is one access in a DRAM row of its own, at the rate at which rows may be opened.  Of 8 pixels
    each is a burst of 32, four of them in a row: four times the bursts at the rate of the bus.
    """
    one, both = channel("lpddr4-3200"), 2
    plane, row, square = (read(tiles(*tile)) for tile in ((1, 128, 32), (128, 1, 32), (128, 4, 8)))
    assert [found[2] for found in (plane, row, square)] == [4096, 32, 8]
    bursts = 128 * 128 * 32 // 32
    assert [found[1] for found in (plane, row, square)] == [bursts, bursts, 4 * bursts]
    assert one.rrd_other == 2 * one.burst
    expected = [
        bursts * one.burst / both,
        bursts * one.rrd_other / both,
        4 * bursts * one.burst / both,
    ]
    for model in (0, 1):
        times = [float(found[0][model].clocks.sum()) for found in (plane, row, square)]
        assert times == pytest.approx(expected, rel=0.05)
        opened = [found[0][model].activates for found in (plane, row, square)]
        assert opened[0] == pytest.approx(128 * both, rel=0.05)
        assert opened[1] == pytest.approx(bursts, rel=0.05)
        assert opened[2] == pytest.approx(bursts, rel=0.05)
