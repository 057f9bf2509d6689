"""Timelines of any program: nothing is lost, nothing faster than it can be, more never slower."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware, scaled
from dataflow_sim.program.instructions import Program
from dataflow_sim.schedule.types import MemoryOptions
from dataflow_sim.simulate.arrays import Ints
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.precedence import Commands, Precedence, precedence
from dataflow_sim.simulate.stays import stays
from dataflow_sim.simulate.timeline import FS_PER_S, Durations, play
from dataflow_sim.timelines import bytes_per_second, layer_spans, windows
from dataflow_sim.timing import follow, rates, time_on
from tests.support.changed import machine
from tests.support.runs import buffering, case, least_of, scheduled

NAMES = (
    *("cropped", "depthwise", "mixer", "padded_chain", "pooled_towers", "pooled_volume"),
    *("reduced", "shuffled", "squeeze_excite", "volumes"),
)
POLICIES = ("layerwise", "resident", "merged")
PROGRAMS = st.tuples(
    *(st.sampled_from(NAMES), st.sampled_from(POLICIES), st.sampled_from((1.7, 3.0, 6.0))),
    st.booleans(),
)
SOME = settings(max_examples=20)


@lru_cache(maxsize=512)
def followed(
    name: str, policy: str, more: float, doubled: bool
) -> tuple[NetworkGraph, Program, Precedence]:
    graph = case(name).graph
    least = least_of(graph, MemoryOptions(0, buffering(doubled), 32))
    _, program = scheduled(graph, int(least * more), doubled, policy=policy)
    return graph, program, precedence([program], Commands(0, 64))


def some_durations(found: Precedence, random: Random) -> Durations:
    most = random.choice((1, 10, 1000))
    draw = np.random.default_rng(random.randrange(1 << 30))
    steps = draw.integers(0, most + 1, found.layer.size)
    bits = (found.bits + random.choice((0, 1)) * 7) * random.choice((1, 3))
    buses = np.stack([bits, np.where(found.stores == 1, 0, bits // 2)])
    return Durations(steps, buses, random.choice((0, 5, 500)), random.randint(1, 4))


def no_longer(durations: Durations, random: Random) -> Durations:
    """Each step, each transfer, the set-up and the channels as before or better."""

    def less(values: Ints) -> Ints:
        draw = np.random.default_rng(random.randrange(1 << 30))
        return np.asarray(values - draw.integers(0, values + 1), np.int64)

    steps, buses = durations.steps, durations.buses
    if random.randrange(2):
        steps = less(steps)
    if random.randrange(2):
        # what moves on a bus keeps to it
        buses = np.maximum(less(buses), np.minimum(buses, 1))
    setup = random.randint(0, durations.setup)
    return Durations(steps, buses, setup, durations.channels + random.randint(0, 3))


@SOME
@given(PROGRAMS, st.integers(0, 1 << 30))
def test_better_durations_never_end_anything_later(
    which: tuple[str, str, float, bool], seed: int
) -> None:
    (_, _, found), random = followed(*which), Random(seed)
    durations = some_durations(found, random)
    before, after = play(found, durations), play(found, no_longer(durations, random))
    assert (after.end <= before.end).all()
    assert (after.done <= before.done).all()
    assert (after.begin <= before.begin).all()
    assert after.latency <= before.latency


@pytest.mark.parametrize("resource", ["bandwidth", "clock", "MACs"])
@SOME
@given(PROGRAMS, st.fractions(Fraction(1), Fraction(16), max_denominator=50))
def test_more_of_a_resource_is_never_slower(
    resource: str, which: tuple[str, str, float, bool], factor: Fraction
) -> None:
    graph, program, _ = followed(*which)
    slow = machine()
    known = follow(graph, slow, [program])
    before = time_on(known, slow).timeline
    after = time_on(known, scaled(slow, resource, factor)).timeline
    assert after.latency <= before.latency
    assert (after.end <= before.end).all()


@SOME
@given(PROGRAMS, st.integers(1, 4))
def test_more_dma_or_dram_channels_are_never_slower(
    which: tuple[str, str, float, bool], channels: int
) -> None:
    graph, program, _ = followed(*which)
    keys = {"dma__setup": "50ns", "local_memory__bandwidth": "3GB/s"}
    known = follow(graph, machine(**keys), [program])

    def latency(**more: str) -> int:
        return time_on(known, machine(**keys, **more)).timeline.latency

    some, others = str(channels), str(channels + 1)
    assert latency(dma__channels=others) <= latency(dma__channels=some)
    assert latency(dram__channels=others) <= latency(dram__channels=some)


def on(hardware: Hardware, which: tuple[str, str, float, bool]) -> None:
    """Everything that a timeline conserves, on a machine."""
    graph, program, _ = followed(*which)
    timed = time_on(follow(graph, hardware, [program]), hardware)
    found, timeline = timed.followed.found, timed.timeline
    ledger = count(program)
    assert int(found.bits.sum()) == sum(ledger.traffic_bits.values())
    by_tensor = dict.fromkeys(found.tensors, 0)
    for tensor, bits in zip(found.tensor.tolist(), found.bits.tolist(), strict=True):
        by_tensor[found.tensors[tensor]] += bits
    counted = dict.fromkeys(found.tensors, 0)
    for (_, key), bits in ledger.traffic_bits.items():
        counted[key.tensor] += bits
    assert by_tensor == counted
    macs = [0] * len(graph.layers)
    for work in found.work.tolist():
        macs[found.works[work].layer] += found.works[work].macs
    assert macs == list(ledger.macs_executed)
    # engines are busy or wait, to the femtosecond
    busy = int(timed.durations.steps.sum())
    assert busy + int(timed.waits.steps.sum()) + timed.waits.end == timeline.latency
    for times, waited in zip(timed.durations.buses, timed.waits.buses, strict=True):
        assert int(times.sum()) + int(waited.sum()) == timeline.latency
    assert sum(span.latency for span in layer_spans(timed)) == timeline.latency
    # nothing is faster than its pins
    assert timeline.latency >= busy
    for bus, rate in enumerate(rates(hardware)):
        if rate is not None:
            moved = int(timed.followed.bits[bus].sum())
            assert timeline.latency >= moved * FS_PER_S / (graph.byte_bits * rate) * (1 - 1e-12)
            if bus < 3 and moved:
                assert bytes_per_second(timed, bus, windows(timed)).max() <= rate * (1 + 1e-9)


@SOME
@given(PROGRAMS)
def test_nothing_is_lost_and_nothing_faster_than_its_pins(
    which: tuple[str, str, float, bool],
) -> None:
    on(machine(dma__setup="20ns"), which)
    port = {"local_memory__bandwidth": "1GB/s", "flash": "{bandwidth: 1GB/s, energy: 1pJ/bit}"}
    on(machine(**port), which)


@SOME
@given(PROGRAMS)
def test_buffers_in_use_at_a_time_never_overlap(which: tuple[str, str, float, bool]) -> None:
    graph, program, _ = followed(*which)
    hardware = machine()
    timed = time_on(follow(graph, hardware, [program]), hardware)
    found = [s for s in stays(program, timed.followed.found, timed.timeline) if s.end > s.begin]
    for number, one in enumerate(found):
        for other in found[number + 1 :]:
            if other.begin >= one.end:
                break
            apart = (
                one.address + one.size_bytes <= other.address
                or other.address + other.size_bytes <= one.address
            )
            assert apart, (one, other)


@pytest.mark.parametrize("name", ["padded_chain", "shuffled", "depthwise"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("who", ["bandwidth", "clock"])
def test_who_dominates_sets_the_latency(name: str, policy: str, who: str) -> None:
    """Far slower than all else, with second buffers: within 2 % of its own time."""
    graph, program, _ = followed(name, policy, 1.7, True)
    slow = scaled(machine(local_memory__double_buffer="true"), who, Fraction(1, 10_000))
    timed = time_on(follow(graph, slow, [program]), slow)
    own = timed.durations.buses[0] if who == "bandwidth" else timed.durations.steps
    assert int(own.sum()) <= timed.timeline.latency <= 1.02 * int(own.sum())


def test_frames_in_flight_take_no_longer_than_one_by_one() -> None:
    """The next frame's loads may stand before this one's last stores: by as much it may be off."""
    graph, program, _ = followed("mixer", "merged", 3.0, True)
    hardware = machine()
    one = time_on(follow(graph, hardware, [program]), hardware)
    three = time_on(follow(graph, hardware, [program] * 3), hardware)
    assert three.timeline.latency <= 3 * one.timeline.latency * 1.001
    assert three.timeline.latency >= 3 * int(one.durations.steps.sum())
    assert int(three.followed.found.bits.sum()) == 3 * int(one.followed.found.bits.sum())
