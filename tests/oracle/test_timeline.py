"""The timeline against a plain one that compares every pair of accesses; all times equal."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from dataflow_sim.program.instructions import Program
from dataflow_sim.schedule.types import MemoryOptions
from dataflow_sim.simulate.precedence import Commands, Precedence, precedence
from dataflow_sim.simulate.timeline import Durations, play
from tests.oracle.timeline_oracle import Expected, expected_timeline
from tests.support.runs import buffering, case, least_of, scheduled
from tests.support.small import SMALL
from tests.support.tokens import TOKENS

POLICIES = ("layerwise", "resident", "merged")
NAMES = sorted(name for name in {**SMALL, **TOKENS} if not name.startswith("tiny_mobilenet"))
_LARGEST = 400  # instructions; the plain one takes the square of it


def random_durations(found: Precedence, random: Random) -> Durations:
    """Durations without any relation to what is done, many of them equal, some 0."""
    most = random.choice((1, 5, 1000))
    steps = [random.randint(0, most) for _ in found.layer]
    buses = [
        [random.choice((0, random.randint(0, most))) for _ in found.bits]
        for _ in range(random.randint(1, 3))
    ]
    # commands exist by what they take
    for place in np.flatnonzero(found.moved < 0):
        buses[0][place] = random.randint(1, most)
    setup = random.choice((0, random.randint(0, most)))
    return Durations(
        np.array(steps, np.int64), np.array(buses, np.int64), setup, random.randint(1, 4)
    )


def expected(program: Program, found: Precedence, durations: Durations) -> Expected:
    transfers, commands = {}, [(0, [0] * len(durations.buses))] * found.layer.size
    for place, index in enumerate(found.moved.tolist()):
        times = durations.buses[:, place].tolist()
        if index < 0:
            commands[-1 - index] = (durations.setup, times)
        else:
            transfers[index] = (durations.setup, times)
    return expected_timeline(
        program, durations.steps.tolist(), transfers, durations.channels, commands
    )


def agree(program: Program, random: Random, commands: Commands) -> None:
    found = precedence([program], commands)
    durations = random_durations(found, random)
    timeline = play(found, durations)
    wanted = expected(program, found, durations)
    assert tuple(found.moved.tolist()) == wanted.queue
    steps = tuple(zip(timeline.start.tolist(), timeline.end.tolist(), strict=True))
    assert steps == wanted.steps
    moved = (timeline.begin.tolist(), timeline.finish.tolist(), timeline.done.tolist())
    assert tuple(zip(*moved, strict=True)) == wanted.transfers
    assert timeline.latency == wanted.latency


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", NAMES)
def test_small_networks(name: str, policy: str) -> None:
    """At the least memory that the network runs in, or somewhat more."""
    graph = case(name).graph
    random = Random(f"{name} {policy}")
    for double_buffer in (False, True):
        least = least_of(graph, MemoryOptions(0, buffering(double_buffer), 32))
        budget = int(least * random.choice((1, 1.2, 1.5, 2, 4)))
        _, program = scheduled(graph, budget, double_buffer, policy=policy)
        if len(program.instructions) <= _LARGEST:
            agree(program, random, random.choice((Commands(), Commands(8, 3), Commands(0, 5))))
