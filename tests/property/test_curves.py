"""Curves of random networks: ordered, exact at every breakpoint, optimal where it can be told."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from random import Random

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
from dataflow_sim.schedule.cuts import find_cuts
from dataflow_sim.schedule.lives import BOTH, DRAM, MapLives
from dataflow_sim.schedule.options import Option, Options, resident_of
from dataflow_sim.schedule.pieces import Run
from dataflow_sim.schedule.planner import Planner
from dataflow_sim.schedule.search import POLICIES, schedule_network
from dataflow_sim.schedule.types import MemoryOptions
from tests.oracle.row_pipeline_networks import network as drawn_network
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
    """Every order, every convex group, every state of every map: the reference for the search.

    It takes the same costs of a group as the search, and nothing else from it: no cuts, no
    fronts, no classes of maps that are alike, no runs left out because their pieces are better.
    """

    graph: NetworkGraph
    lives: MapLives
    options: Options

    def __post_init__(self) -> None:
        """Find what each layer reads, and who reads each map."""
        self.reads = [
            {segment.tensor for view in layer.views for segment in view.segments}
            for layer in self.graph.layers
        ]
        self.readers: dict[str, set[int]] = {}
        for index, names in enumerate(self.reads):
            for name in names:
                self.readers.setdefault(name, set()).add(index)

    def least_bits(self, capacity: int) -> int | None:
        """The fewest DRAM bits in a memory; None if nothing fits."""
        start = tuple((name, DRAM) for name in self.graph.inputs if name in self.readers)
        best: dict[tuple[frozenset[int], tuple[tuple[str, int], ...]], int | None] = {}

        def walk(done: frozenset[int], held: tuple[tuple[str, int], ...]) -> int | None:
            if len(done) == len(self.graph.layers):
                return 0
            key = (done, held)
            if key not in best:
                best[key] = min(
                    (
                        bits + rest
                        for bits, there, after in self.moves(done, dict(held), capacity)
                        if (rest := walk(there, after)) is not None
                    ),
                    default=None,
                )
            return best[key]

        return walk(frozenset(), start)

    def ready(self, done: frozenset[int]) -> list[int]:
        """Layers that may come next."""
        made = {name for index in done for name in self.graph.layers[index].outputs}
        made |= set(self.graph.inputs)
        return [
            index for index, names in enumerate(self.reads) if index not in done and names <= made
        ]

    def moves(
        self, done: frozenset[int], held: dict[str, int], capacity: int
    ) -> list[tuple[int, frozenset[int], tuple[tuple[str, int], ...]]]:
        """DRAM bits, layers done and state of every option that fits."""
        tensors, sizes = self.graph.tensors, self.options.size_bytes
        found = []
        for changed, fill in self.changes(done, held):
            resident = frozenset(name for name, state in changed.items() if state != DRAM)
            for option in self.all_options(done, resident):
                there = done | set(option.members)
                stays = resident_of(option.outputs)
                names = resident | stays
                if not option.merged and stays:
                    names -= {self.lives.overwritten(option.members[0], option.stop, resident)}
                room = capacity - sum(sizes[name] for name in names)
                fitting = [
                    bits
                    for local, bits in zip(option.local_bytes, option.costs, strict=True)
                    if local <= room
                ]
                if not fitting:
                    continue
                after = {**changed, **dict(option.outputs)}
                alive = [name for name in after if self.readers.get(name, set()) - there]
                state = tuple((name, after[name]) for name in sorted(alive))
                fills = sum(tensors[name].elements * tensors[name].bits for name in fill)
                found.append((int(min(fitting)) + fills, there, state))
        return found

    def changes(
        self, done: frozenset[int], held: dict[str, int]
    ) -> list[tuple[dict[str, int], list[str]]]:
        """Every way to drop maps that are in both places and to load others whole."""
        names = list(held)
        soon = set().union(*(self.reads[index] for index in self.ready(done)))
        choices = []
        for name in names:
            keep = (
                held[name] == DRAM
                and self.lives.may_be_both(name)
                and len(self.readers[name] - done) > 1
                and name in soon
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

    def all_options(self, done: frozenset[int], resident: frozenset[str]) -> list[Option]:
        """Every layer that may come next alone, and every merged group."""
        found: list[Option] = []
        places = {cut: place for place, cut in enumerate(self.lives.cuts.done)}
        here = sum(1 << index for index in done)
        for index in self.ready(done):
            stop = places[here | 1 << index]
            found.extend(self.options.alone(index, stop, resident & self.options.reads[index]))
        for outside, options in self.options.merged(places[here], [resident]):
            found.extend(options.get(resident & outside, ()))
        return found


def unpruned(graph: NetworkGraph, memory: MemoryOptions, baseline: Baseline) -> Options:
    """Options that leave no group out: its pieces are said to be impossible."""
    cuts = find_cuts(graph)
    lives = MapLives(graph, cuts=cuts)
    options = Options(graph, memory, lives, baseline, EVERYTHING, may_merge=True)
    options.ceiling_bytes = EVERYTHING
    nothing = np.full_like(baseline.alone[0], IMPOSSIBLE)
    for start in range(len(cuts.done)):
        runs: list[Run] = []
        known: set[int] = set()
        wave = [(-1, start)]
        while wave:
            longer = []
            for parent, here in wave:
                for layer, stop in cuts.steps[here]:
                    if stop not in known and options.tables.mergeable[layer]:
                        known.add(stop)
                        longer.append((len(runs), stop))
                        runs.append(Run(parent, layer, stop, nothing))
            wave = longer
        options.runs[start] = runs
    return options


@settings(max_examples=40)
@given(networks(), st.booleans(), st.sampled_from([1, 1, 2, 16, 64]))
def test_the_search_is_as_good_as_trying_everything(
    graph: NetworkGraph, double_buffer: bool, unit: int
) -> None:
    memory = MemoryOptions(0, buffering(double_buffer), 32, alignment_bytes=unit)
    check_against_everything(graph, memory)


def check_against_everything(graph: NetworkGraph, memory: MemoryOptions) -> None:
    """Some points of the search's front, and what is a byte short of them."""
    baseline = Baseline(graph, memory)
    planner = Planner(graph, memory, baseline, True, EVERYTHING)
    assert planner.cuts.complete
    front = planner.search(lambda done, total: None)
    options = unpruned(graph, memory, baseline)
    reference = Exhaustive(graph, options.lives, options)
    points = list(zip(front.local_bytes.tolist(), front.costs.tolist(), strict=True))
    for local, bits in points[:: max(1, len(points) // 6)]:
        assert reference.least_bits(local) == bits
    for index in range(1, len(points), max(1, len(points) // 6)):
        assert reference.least_bits(points[index][0] - 1) == points[index - 1][1]


@pytest.mark.parametrize("seed", [3, 4, 7, 11, 13, 15, 17])
def test_sweeps_are_searched_as_well_as_by_trying_everything(seed: int) -> None:
    graph = drawn_network(Random(seed), sweeps=True)
    assert any(layer.sweep is not None for layer in graph.layers)
    check_against_everything(graph, MemoryOptions(0, buffering(seed % 2 == 0), 32))


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
    points = list(zip(front.local_bytes.tolist(), front.costs.tolist(), strict=True))
    plans = planner.plans.of(np.arange(len(points)))
    assert any(decision.running for plan, _ in plans for decision in plan)
    options = unpruned(graph, memory, baseline)
    reference = Exhaustive(graph, options.lives, options)
    for local, bits in points[:: max(1, len(points) // 8)]:
        assert reference.least_bits(local) == bits
    monkeypatch.setattr("dataflow_sim.schedule.timetable.running_reduction", lambda *_: None)
    plain = Planner(graph, memory, baseline, True, EVERYTHING)
    before = plain.search(lambda done, total: None)
    for local, bits in zip(before.local_bytes.tolist(), before.costs.tolist(), strict=True):
        place = int(np.searchsorted(front.local_bytes, local, "right")) - 1
        assert place >= 0
        assert front.costs[place] <= bits
