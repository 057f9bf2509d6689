"""The search: which layers run together, which maps stay, for every budget at once.

Theory.  Walk the network's layers in order.  Between two layers every live map is in DRAM,
in local memory, or in both: that is the state.  From a state at layer p there are these
options, each with a front of (local bytes, DRAM bits) of its own:

    alone    layer p runs its loop nest; its output goes to DRAM, stays, or both
    merged   layers p to q run by rows (`merging`), for every q
    keep     a map in DRAM is loaded whole and stays
    drop     a map in both places leaves local memory

The local bytes of an option are its own plus those of all maps that are local while it
runs, whether it uses them or not.  The front of a state is the lower envelope, over all
ways to come to it, of the joined fronts along the way (`fronts`): peak is the maximum,
bytes are the sum.  One pass over the layers thus yields the exact budget curve of the space,
every budget at once; following the sources back yields the schedule of each point.

Space: the network's own order; merged groups are contiguous runs of it.  States of maps
that are alike (`lives`) are kept once, sorted.  Where more than `MAXIMUM_LIVE_FOR_BOTH`
maps are alive no map is in both places; of more than `MAXIMUM_STATES` states the most
promising are kept, and `thinned` says so.  Options that cost no less than the same layers
one by one, through DRAM and in the same memory, are left out: they cannot win.

Source: dynamic programming over fused-layer partitions, as in Alwani et al. (MICRO 2016)
and Cai et al., "Optimus" (ACM TECS 2022); the fronts and states are this project's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.baseline import Baseline
from dataflow_sim.schedule.fronts import Front, FrontGrid, Part, Waiting, best_of, join
from dataflow_sim.schedule.lives import BOTH, DRAM, MapLives, State
from dataflow_sim.schedule.options import Option, Options, resident_of
from dataflow_sim.schedule.types import MemoryOptions

Progress = Callable[[int, int], None]

# more states than this between two layers are thinned out
MAXIMUM_STATES = 96


@dataclass(frozen=True, slots=True)
class Decision:
    """One group of a plan: layers [start, stop), how they run, which maps stay.

    `resident` are all maps that are local while the group runs, `outputs` the states in
    which it leaves what it makes, `kept` the maps that are loaded whole before it, `running`
    whether layers of a merged group carry their reductions that may.
    """

    start: int
    stop: int
    merged: bool
    stripe_rows: int | None
    streamed_kernels: int
    outputs: tuple[tuple[str, int], ...]
    resident: frozenset[str]
    kept: tuple[str, ...]
    running: bool = False


Plan = tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a part of a front came from: position and state before, and what was done.

    `option` is None where a map was only kept or dropped; `swapped` tells for each place
    of the new state which place of the uncanonical one it was.
    """

    position: int
    state: State
    option: Option | None
    swapped: tuple[int, ...] | None = None


@dataclass(slots=True)
class _Node:
    """One state at one position while parts still arrive, and its front afterwards.

    `waiting` are merged options that are joined only where they can lower the front.
    """

    parts: list[Part] = field(default_factory=list)
    origins: list[_Origin] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    waiting_origins: list[_Origin] = field(default_factory=list)
    front: Front | None = None

    def add(self, part: Part, origin: _Origin) -> None:
        if len(part[0]):
            self.parts.append(part)
            self.origins.append(origin)

    def close(self, grid: FrontGrid) -> Front:
        """The front of all that arrived."""
        if self.front is None:
            for place in grid.useful(self.waiting, self.parts):
                waiting = self.waiting[place]
                part = join(grid.fronts[waiting.front], waiting.local_bytes, waiting.dram_bits)
                self.add(grid.below_ceiling(part), self.waiting_origins[place])
            self.front = best_of(self.parts)
            self.waiting, self.waiting_origins, self.parts = [], [], []
        return self.front


class Planner:
    """Plans of one network for every budget; `merged` is False where layers stay alone."""

    def __init__(
        self,
        graph: NetworkGraph,
        memory: MemoryOptions,
        baseline: Baseline,
        merged: bool,
        ceiling_bytes: int,
        pinned: frozenset[str] = frozenset(),
    ) -> None:
        self.graph = graph
        self.lives = MapLives(graph, pinned)
        self.merged = merged
        self.options = Options(graph, memory, self.lives, baseline, ceiling_bytes, merged)
        self.ceiling_bytes = self.options.ceiling_bytes
        # by position: states as they are come to, and after maps were dropped or kept
        self.arrived: list[dict[State, _Node]] = [{} for _ in range(len(graph.layers) + 1)]
        self.settled: list[dict[State, _Node]] = [{} for _ in range(len(graph.layers) + 1)]
        self._alike = [self.lives.alike(p) for p in range(len(graph.layers) + 1)]
        self._moves: dict[tuple[int, int], list[int | str]] = {}
        self._sorted: dict[tuple[int, State], tuple[State, tuple[int, ...] | None]] = {}
        self.thinned = False
        self.grid = FrontGrid(baseline.least_bytes, self.ceiling_bytes)

    # ------------------------------------------------------------ forwards

    def search(self, progress: Progress) -> Front:
        """The front of the whole network."""
        zero = np.zeros(1, np.int64)
        pinned = [self.graph.tensors[name] for name in sorted(self.lives.pinned)]
        bits = zero + sum(tensor.elements * tensor.bits for tensor in pinned)
        start = tuple(self._initial(name) for name in self.lives.live[0])
        self.arrived[0][start] = _Node(front=Front(zero, bits, zero, zero, zero))
        layers = len(self.graph.layers)
        for position in range(layers):
            self._settle(position)
            self._expand(position)
            progress(position + 1, layers)
        self._settle(layers)
        (last,) = self.settled[layers].values()
        return last.close(self.grid)

    def _initial(self, name: str) -> int:
        """The state of a tensor that no layer makes."""
        return BOTH if name in self.lives.pinned else DRAM

    def _settle(self, position: int) -> None:
        """Drop maps that are in both places, keep maps that are read again and again."""
        live = self.lives.live[position]
        keepable = [
            place
            for place, name in enumerate(live)
            if position < len(self.graph.layers)
            and name in self.options.reads[position]
            and len(self.lives.readers_from(name, position)) > 1
            and self.lives.may_be_both(name)
        ]
        self._keep_best(self.arrived[position], position)
        for state in sorted(self.arrived[position]):
            front = self.arrived[position][state].close(self.grid)
            if not len(front.local_bytes):  # it takes more memory than is of any use
                continue
            source = np.arange(len(front.local_bytes))
            pinned = self.lives.pinned
            able = [p for p, held in enumerate(state) if held == BOTH and live[p] not in pinned]
            able += [p for p in keepable if state[p] == DRAM]
            for count in range(len(able) + 1):
                for places in combinations(able, count):
                    changed, bits = list(state), 0
                    for place in places:
                        tensor = self.graph.tensors[live[place]]
                        bits += tensor.elements * tensor.bits if state[place] == DRAM else 0
                        changed[place] = BOTH - state[place]
                    target, swapped = self._canonical(position, tuple(changed))
                    part = (front.local_bytes, front.dram_bits + bits, source, source * 0)
                    node = self.settled[position].setdefault(target, _Node())
                    node.add(part, _Origin(position, state, None, swapped))
        self._keep_best(self.settled[position], position)

    def _keep_best(self, nodes: dict[State, _Node], position: int) -> None:
        """Of too many states keep those that come nearest to the best in some memory.

        What is still to be read from DRAM, each map once by each of its readers, counts as
        if it had moved already.
        """
        if len(nodes) <= MAXIMUM_STATES:
            return
        self.thinned = True
        ahead = []
        for name in self.lives.live[position]:
            tensor = self.graph.tensors[name]
            readers = len(self.lives.readers_from(name, position))
            ahead.append(readers * tensor.elements * tensor.bits)
        states = sorted(nodes)
        bits = np.stack([self.grid.bits(nodes[state].close(self.grid)) for state in states])
        due = [
            sum(more for more, held in zip(ahead, state, strict=True) if held == DRAM)
            for state in states
        ]
        bits = bits + np.array(due)[:, None]
        rank = np.argsort((bits - bits.min(axis=0)).min(axis=1), kind="stable")
        for place in rank[MAXIMUM_STATES:].tolist():
            del nodes[states[place]]

    def _canonical(self, position: int, state: State) -> tuple[State, tuple[int, ...] | None]:
        """States of maps that are alike sorted, and where each came from."""
        classes = self._alike[position]
        if not classes:
            return state, None
        key = (position, state)
        if key not in self._sorted:
            swapped = list(range(len(state)))
            for places in classes:
                ranked = sorted(places, key=lambda place: (-state[place], place))
                for place, instead in zip(places, ranked, strict=True):
                    swapped[place] = instead
            self._sorted[key] = (tuple(state[i] for i in swapped), tuple(swapped))
        return self._sorted[key]

    def _expand(self, position: int) -> None:
        nodes = self.settled[position]
        live = self.lives.live[position]
        residents = {
            state: frozenset(n for n, held in zip(live, state, strict=True) if held != DRAM)
            for state in sorted(nodes)
        }
        reads, sizes = self.options.reads[position], self.lives.size_bytes
        held = {state: sum(sizes[name] for name in names) for state, names in residents.items()}
        fronts = {state: self.grid.add(nodes[state].close(self.grid)) for state in residents}
        for state, resident in residents.items():
            for option in self.options.alone(position, resident & reads):
                made = held[state] - self._shared_bytes(option, resident)
                made += sum(sizes[name] for name in resident_of(option.outputs))
                front = self.grid.fronts[fronts[state]]
                part = join(front, option.local_bytes + made, option.dram_bits)
                node, origin = self._target(position, state, option)
                node.add(self.grid.below_ceiling(part), origin)
        if not self.merged:
            return
        for outside, found in self.options.merged(position, list(residents.values())):
            for state, resident in residents.items():
                for option in found.get(resident & outside, ()):
                    need = option.local_bytes + (held[state] + option.output_bytes)
                    if need[0] <= self.ceiling_bytes:
                        node, origin = self._target(position, state, option)
                        node.waiting.append(Waiting(fronts[state], need, option.dram_bits))
                        node.waiting_origins.append(origin)

    def _target(self, position: int, state: State, option: Option) -> tuple[_Node, _Origin]:
        """The node that an option leads to."""
        target, swapped = self._canonical(option.stop, self._after(position, state, option))
        node = self.arrived[option.stop].setdefault(target, _Node())
        return node, _Origin(position, state, option, swapped)

    def _shared_bytes(self, option: Option, resident: frozenset[str]) -> int:
        """Bytes saved where a resident output takes the place of a map that dies."""
        if not resident_of(option.outputs):
            return 0
        name = self.lives.overwritten(option.start, resident)
        return 0 if name is None else self.lives.size_bytes[name]

    def _after(self, position: int, state: State, option: Option) -> State:
        """The state behind an option, as it comes."""
        key = (position, option.stop)
        if key not in self._moves:
            here = {name: place for place, name in enumerate(self.lives.live[position])}
            self._moves[key] = [here.get(name, name) for name in self.lives.live[option.stop]]
        made = dict(option.outputs)
        return tuple(
            state[move] if isinstance(move, int) else made.get(move, BOTH)
            for move in self._moves[key]
        )

    # ------------------------------------------------------------ backwards

    def plan(self, point: int) -> Plan:
        """The decisions that lead to a point of the whole network's front."""
        position = len(self.graph.layers)
        (state,) = self.settled[position]
        trail: list[tuple[_Origin, int]] = []
        nodes = self.settled
        while self.arrived[0] is not nodes[position]:
            node = nodes[position][state]
            front = node.close(self.grid)
            origin = node.origins[int(front.chunk[point])]
            trail.append((origin, int(front.choice[point])))
            point = int(front.source[point])
            position, state = origin.position, origin.state
            nodes = self.arrived if nodes is self.settled else self.settled
        return tuple(self._decisions(trail[::-1]))

    def _decisions(self, trail: list[tuple[_Origin, int]]) -> Iterator[Decision]:
        """Replay the trail with the actual maps, which canonical states do not tell apart."""
        held = {name: self._initial(name) for name in self.lives.live[0]}
        # the actual map that stands for each place of the canonical state
        actual = list(self.lives.live[0])
        kept: list[str] = []
        states = [origin.state for origin, _ in trail[1:]] + [next(iter(self.settled[-1]))]
        for (origin, choice), after in zip(trail, states, strict=True):
            live = self.lives.live[origin.position]
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
            height, streamed, running = option.ways[choice] if option.merged else (None, 0, False)
            outputs = option.outputs
            yield Decision(
                option.start,
                option.stop,
                option.merged,
                height,
                streamed,
                outputs,
                resident | resident_of(outputs),
                (*kept, *self.lives.pinned_from(option.start, option.stop)),
                running,
            )
            kept = []
            stands = dict(zip(live, actual, strict=True))
            held.update(outputs)
            raw = [stands.get(name, name) for name in self.lives.live[option.stop]]
            actual = [raw[i] for i in origin.swapped or range(len(raw))]
            held = {name: held.get(name, BOTH) for name in self.lives.live[option.stop]}
