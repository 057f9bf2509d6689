"""Plans: what was decided on the way to a point of the whole network's front.

Every part of a front remembers where it came from (`fronts`).  Following the sources back from
the end yields the decisions; of states of maps that are alike only one was searched, so
that they are replayed forwards with the actual maps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from dataflow_sim.schedule.fronts import Front, Fronts, Step
from dataflow_sim.schedule.group_kernels import Streams
from dataflow_sim.schedule.handover import handed_over
from dataflow_sim.schedule.lives import BOTH, DRAM, MapLives, State
from dataflow_sim.schedule.merging import FINEST, Way
from dataflow_sim.schedule.options import Option, resident_of
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.types import Halo, Handover, PlaneTile


@dataclass(frozen=True, slots=True)
class Decision:
    """One group of a plan: its layers, how they run, which maps stay.

    `resident` are all maps, and weights that stand, local while the group runs, `outputs` the
    states in which it leaves what it makes, `kept` what is loaded whole before it; the first
    map of `replaces` gives its place to the second, an output.  Of a merged group `streamed`
    are the layers whose kernels are fetched again in every firing, each with the channels that are
    pinned; `running` says whether
    layers carry their reductions that may; with a `tile` it runs by tiles of the plane, with
    `halos` of maps from outside and of inner maps, in order; `hands` tells of a resident map that
    gives its rows to one that is made.
    """

    members: tuple[int, ...]
    merged: bool
    stripe_rows: int | None
    streamed: Streams
    outputs: tuple[tuple[str, int], ...]
    resident: frozenset[str]
    kept: tuple[str, ...]
    replaces: tuple[str, str] | None = None
    running: bool = False
    tile: PlaneTile | None = None
    halos: tuple[tuple[str, Halo], ...] = ()
    hands: Handover | None = None


Plan = tuple[Decision, ...]


class Origin(NamedTuple):
    """Where a step of a front came from: cut and state before, and what was done.

    `option` is None where a map was only kept or dropped; `swapped` tells for each place
    of the new state which place of the uncanonical one it was.
    """

    cut: int
    state: State
    option: Option | None
    swapped: tuple[int, ...] | None = None


@dataclass(slots=True)
class Node:
    """One state at one cut: the steps that lead there, and their front once it is asked for.

    Of steps that cost the same a layer alone is taken before a merged group.
    """

    steps: list[Step] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    front: Front | None = None

    def add(self, step: Step, origin: Origin) -> None:
        """A step to this node, with where it came from."""
        self.steps.append(step)
        self.origins.append(origin)

    def close(self, fronts: Fronts) -> Front:
        """The front of all that arrived."""
        if self.front is None:
            merged = [each.option is not None and each.option.merged for each in self.origins]
            order = sorted(range(len(merged)), key=merged.__getitem__)
            self.origins = [self.origins[place] for place in order]
            self.front = fronts.join([self.steps[place] for place in order])
            self.steps = []
        return self.front


# what was done, the way chosen, and what was done behind it
_Trail = tuple[Origin, int, Any]


class _Tracks(NamedTuple):
    """Points of one node's front on their way back, and what lies behind them."""

    settled: bool
    cut: int
    state: State
    points: Ints
    places: Ints
    trail: _Trail | None


def _steps(trail: _Trail | None) -> list[tuple[Origin, int]]:
    """A trail from the first step to the last."""
    found = []
    while trail is not None:
        origin, choice, trail = trail
        found.append((origin, choice))
    return found


def replaced(lives: MapLives, option: Option, resident: frozenset[str]) -> tuple[str, str] | None:
    """The map whose place the output of a layer alone takes, if it stays, and that output."""
    if option.merged or not resident_of(option.outputs):
        return None
    taken = lives.overwritten(option.members[0], option.stop, resident)
    return None if taken is None else (taken, lives.graph.layers[option.members[0]].output)


def decided(
    lives: MapLives, option: Option, choice: int, resident: frozenset[str], kept: Sequence[str]
) -> Decision:
    """What a point of an option's front decides, where some maps are resident before it and some
    are loaded whole for it."""
    way = option.ways[int(option.places[choice])] if option.merged else FINEST
    hands = None
    if way.hands is not None:
        taken, made, _ = way.hands
        hands = handed_over((option.maps[taken], option.outputs[made][0]), way, kept)
    return Decision(
        option.members,
        option.merged,
        way.stripe_rows,
        tuple((option.members[place], pinned) for place, pinned in way.streamed),
        option.outputs,
        resident | resident_of(option.outputs),
        (*kept, *lives.pinned_by(option.members)),
        option.takes if way.in_place else replaced(lives, option, resident),
        way.running,
        way.tile,
        tuple(zip(option.maps, way.halos, strict=True)) if way.tile else (),
        hands,
    )


def in_way(
    decision: Decision,
    way: Way,
    takes: tuple[str, str] | None,
    halos: tuple[tuple[str, Halo], ...],
) -> Decision:
    """A merged group that runs in some way, whose streamed kernels go by layer."""
    return replace(
        decision,
        stripe_rows=way.stripe_rows,
        streamed=way.streamed,
        running=way.running,
        replaces=takes if way.in_place else None,
        hands=takes and handed_over(takes, way, decision.kept),
        tile=way.tile,
        halos=halos,
    )


def initial_state(lives: MapLives, name: str) -> int:
    """The state of a tensor that no layer makes."""
    return BOTH if name in lives.pinned else DRAM


@dataclass(frozen=True, slots=True, eq=False)
class Plans:
    """The plans of one search.

    By cut: states as they were `arrived` at, and `settled` after maps were dropped or kept.
    """

    lives: MapLives
    arrived: list[dict[State, Node]]
    settled: list[dict[State, Node]]

    def of(self, points: Ints) -> list[tuple[Plan, Ints]]:
        """The decisions that lead to points of the whole network's front.

        Points that differ in nothing but the tilings of layers alone share a plan; each plan
        comes with the places of its points in `points`.
        """
        end = len(self.lives.cuts.done) - 1
        (state,) = self.settled[end]
        found: list[tuple[Plan, Ints]] = []
        work: list[_Tracks] = [_Tracks(True, end, state, points, np.arange(len(points)), None)]
        while work:
            tracks = work.pop()
            nodes = self.settled if tracks.settled else self.arrived
            if nodes[tracks.cut] is self.arrived[0]:
                found.append((tuple(self._decisions(_steps(tracks.trail))), tracks.places))
                continue
            node = nodes[tracks.cut][tracks.state]
            front = node.front
            assert front is not None
            steps, choices = front.step[tracks.points], front.choice[tracks.points]
            source = front.source[tracks.points]
            for step in np.unique(steps).tolist():
                origin = node.origins[step]
                mine = steps == step
                merged = origin.option is not None and origin.option.merged
                for choice in np.unique(choices[mine]).tolist() if merged else [-1]:
                    these = mine & (choices == choice) if merged else mine
                    trail = (origin, max(choice, 0), tracks.trail)
                    work.append(
                        _Tracks(
                            not tracks.settled,
                            origin.cut,
                            origin.state,
                            source[these],
                            tracks.places[these],
                            trail,
                        )
                    )
        return sorted(found, key=lambda each: int(each[1].min()))

    def _decisions(self, trail: list[tuple[Origin, int]]) -> Iterator[Decision]:
        """Replay the trail with the actual maps, which canonical states do not tell apart."""
        held = {name: initial_state(self.lives, name) for name in self.lives.live[0]}
        # the actual map that stands for each place of the canonical state
        actual = list(self.lives.live[0])
        kept: list[str] = []
        states = [origin.state for origin, _ in trail[1:]] + [next(iter(self.settled[-1]))]
        for (origin, choice), after in zip(trail, states, strict=True):
            live = self.lives.live[origin.cut]
            option = origin.option
            if option is None:
                raw = actual
                actual = [raw[i] for i in origin.swapped or range(len(raw))]
                for place, name in enumerate(actual):
                    if held[name] != after[place]:
                        if after[place] == BOTH:
                            kept.append(name)
                        held[name] = after[place]
                continue
            resident = frozenset(n for n in live if held[n] != DRAM)
            stands = dict(zip(live, actual, strict=True))
            decision = decided(self.lives, option, choice, resident, kept)
            if decision.hands is not None:  # its like may be the one that is resident
                taken = stands[decision.hands.taken]
                decision = replace(decision, hands=decision.hands._replace(taken=taken))
            yield decision
            kept = []
            held.update(option.outputs)
            raw = [stands.get(name, name) for name in self.lives.live[option.stop]]
            actual = [raw[i] for i in origin.swapped or range(len(raw))]
            held = {name: held.get(name, BOTH) for name in self.lives.live[option.stop]}
