"""Curves of random networks: ordered, exact at every breakpoint, optimal where it can be told."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_sim.errors import DoesNotFitError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.schedule.baseline import IMPOSSIBLE, Baseline
from dataflow_sim.schedule.bounds import compulsory_bytes
from dataflow_sim.schedule.lives import BOTH, DRAM, MapLives
from dataflow_sim.schedule.options import Option, Options, resident_of
from dataflow_sim.schedule.planner import Planner
from dataflow_sim.schedule.search import POLICIES, schedule_network
from dataflow_sim.schedule.types import MemoryOptions
from tests.property.test_schedules import networks
from tests.support.curves import curve, policies_are_ordered
from tests.support.runs import buffering, proved
from tests.support.small import SMALL

EVERYTHING = 1 << 60


def total(graph: NetworkGraph, policy: str, capacity: int, double_buffer: bool) -> int:
    memory = MemoryOptions(capacity, buffering(double_buffer), 32)
    return sum(schedule_network(graph, memory, policy).traffic_bytes().values())


@settings(max_examples=25)
@given(networks(), st.booleans(), st.data())
def test_random_networks(graph: NetworkGraph, double_buffer: bool, data: st.DataObject) -> None:
    policies_are_ordered(graph, double_buffer)
    for policy in POLICIES:
        found = curve(graph, policy, double_buffer)
        point = data.draw(st.integers(0, len(found.points) - 1))
        local, moved = found.points[point].local_bytes, found.points[point].dram_bytes
        schedule = found.schedule(local)
        assert schedule is not None
        proved(graph, schedule)
        assert total(graph, policy, local, double_buffer) == moved >= compulsory_bytes(graph)
        if point:
            before = found.points[point - 1].dram_bytes
            assert total(graph, policy, local - 1, double_buffer) == before
        else:
            with pytest.raises(DoesNotFitError):
                total(graph, policy, local - 1, double_buffer)


@dataclass
class Exhaustive:
    """Every sequence of groups, every state of every map, one by one: the reference for the search.

    It takes the same costs of a group as the search, and nothing else from it: no fronts,
    no classes of maps that are alike, no runs left out because their pieces are better.
    """

    graph: NetworkGraph
    lives: MapLives
    options: Options

    def least_bits(self, capacity: int) -> int | None:
        """The fewest DRAM bits in a memory; None if nothing fits."""
        start = dict.fromkeys(self.lives.live[0], DRAM)
        best: dict[tuple[int, tuple[tuple[str, int], ...]], int | None] = {}

        def walk(position: int, held: tuple[tuple[str, int], ...]) -> int | None:
            if position == len(self.graph.layers):
                return 0
            key = (position, held)
            if key not in best:
                best[key] = min(
                    (
                        bits + rest
                        for bits, stop, after in self.moves(position, dict(held), capacity)
                        if (rest := walk(stop, after)) is not None
                    ),
                    default=None,
                )
            return best[key]

        return walk(0, tuple(start.items()))

    def moves(
        self, position: int, held: dict[str, int], capacity: int
    ) -> list[tuple[int, int, tuple[tuple[str, int], ...]]]:
        """DRAM bits, next position and state of every option that fits."""
        tensors, sizes = self.graph.tensors, self.lives.size_bytes
        found = []
        for changed, fill in self.changes(position, held):
            resident = frozenset(name for name, state in changed.items() if state != DRAM)
            for option in self.all_options(position, resident):
                stays = resident_of(option.outputs)
                names = resident | stays
                if not option.merged and stays:
                    names -= {self.lives.overwritten(position, resident)}
                room = capacity - sum(sizes[name] for name in names)
                fitting = [
                    bits
                    for local, bits in zip(option.local_bytes, option.dram_bits, strict=True)
                    if local <= room
                ]
                if not fitting:
                    continue
                after = {**changed, **dict(option.outputs)}
                live = self.lives.live[option.stop]
                state = tuple((name, after[name]) for name in live)
                fills = sum(tensors[name].elements * tensors[name].bits for name in fill)
                found.append((int(min(fitting)) + fills, option.stop, state))
        return found

    def changes(
        self, position: int, held: dict[str, int]
    ) -> list[tuple[dict[str, int], list[str]]]:
        """Every way to drop maps that are in both places and to load others whole."""
        names = list(held)
        choices = []
        for name in names:
            keep = (
                held[name] == DRAM
                and self.lives.may_be_both(name)
                and len(self.lives.readers_from(name, position)) > 1
                and name in self.options.reads[position]
            )
            choices.append(
                (held[name], BOTH - held[name]) if keep or held[name] == BOTH else (held[name],)
            )
        found = []
        for states in product(*choices):
            changed = dict(zip(names, states, strict=True))
            fill = [n for n in names if held[n] == DRAM and changed[n] == BOTH]
            found.append((changed, fill))
        return found

    def all_options(self, position: int, resident: frozenset[str]) -> list[Option]:
        """A layer alone and every merged run, pruned by nothing."""
        found = list(self.options.alone(position, resident & self.options.reads[position]))
        for outside, options in self.options.merged(position, [resident]):
            found.extend(options.get(resident & outside, ()))
        return found


def unpruned(graph: NetworkGraph, memory: MemoryOptions, baseline: Baseline) -> Options:
    """Options that leave no run out: its pieces are said to be impossible."""
    options = Options(graph, memory, MapLives(graph), baseline, EVERYTHING, may_merge=True)
    options.ceiling_bytes = EVERYTHING
    nothing = np.full_like(baseline.alone[0], IMPOSSIBLE)
    for start in range(len(graph.layers)):
        group = options.group(start, None)
        pieces = []
        while group.extend():
            pieces.append(nothing)
        options._pieces[start] = pieces
    return options


@settings(max_examples=40)
@given(networks(), st.booleans())
def test_the_search_is_as_good_as_trying_everything(
    graph: NetworkGraph, double_buffer: bool
) -> None:
    memory = MemoryOptions(0, buffering(double_buffer), 32)
    baseline = Baseline(graph, memory)
    planner = Planner(graph, memory, baseline, True, EVERYTHING)
    front = planner.search(lambda done, total: None)
    reference = Exhaustive(graph, planner.lives, unpruned(graph, memory, baseline))
    points = list(zip(front.local_bytes.tolist(), front.dram_bits.tolist(), strict=True))
    for local, bits in points[:: max(1, len(points) // 6)]:
        assert reference.least_bits(local) == bits
    for index in range(1, len(points), max(1, len(points) // 6)):
        assert reference.least_bits(points[index][0] - 1) == points[index - 1][1]


@pytest.mark.parametrize("name", ["squeeze_excite", "pooled_volume", "pooled_towers"])
def test_running_reductions_are_searched_and_never_cost(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against everything, and against the same search in which no reduction runs."""
    graph = assign_precision(graph_from_model(SMALL[name](), name), Precision(8, 8, 32))
    memory = MemoryOptions(0, buffering(False), 16)
    baseline = Baseline(graph, memory)
    planner = Planner(graph, memory, baseline, True, EVERYTHING)
    front = planner.search(lambda done, total: None)
    points = list(zip(front.local_bytes.tolist(), front.dram_bits.tolist(), strict=True))
    plans = [planner.plan(point) for point in range(len(points))]
    assert any(decision.running for plan in plans for decision in plan)
    reference = Exhaustive(graph, planner.lives, unpruned(graph, memory, baseline))
    for local, bits in points[:: max(1, len(points) // 8)]:
        assert reference.least_bits(local) == bits
    monkeypatch.setattr("dataflow_sim.schedule.timetable.running_reduction", lambda *_: None)
    plain = Planner(graph, memory, baseline, True, EVERYTHING)
    before = plain.search(lambda done, total: None)
    for local, bits in zip(before.local_bytes.tolist(), before.dram_bits.tolist(), strict=True):
        place = int(np.searchsorted(front.local_bytes, local, "right")) - 1
        assert place >= 0
        assert front.dram_bits[place] <= bits
