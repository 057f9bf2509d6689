"""The search: which layers run together, which maps stay, for every budget at once.

Theory.  Walk the network from cut to cut (`cuts`).  At a cut every live map is in DRAM,
in local memory, or in both: that is the state.  From a state at a cut there are these
options, each with a front of (local bytes, DRAM bits) of its own:

    alone    a layer that is ready runs its loop nest; its output goes to DRAM, stays, or both
    merged   the layers up to a later cut run by rows (`merging`), for every such cut
    keep     a map in DRAM is loaded whole and stays
    drop     a map in both places leaves local memory

The local bytes of an option are its own plus those of all maps that are local while it
runs, whether it uses them or not.  The front of a state is the lower envelope, over all
ways to come to it, of the joined fronts along the way (`fronts`): peak is the maximum,
bytes are the sum.  One pass over the cuts thus yields the exact budget curve of the space,
every budget at once; following the sources back yields the schedule of each point.

Space: every order of the layers and every convex group, where the network's cuts are few
enough to be complete (`cuts`).  States of maps that are alike (`lives`) are kept once,
sorted.  Where more than `MAXIMUM_LIVE_FOR_BOTH` maps are alive no map is in both places; of
more than `MAXIMUM_STATES` states the most promising are kept, and `thinned` says so.
Options that cost no less than the same layers one by one, through DRAM and in the same
memory, are left out: they cannot win.

Source: dynamic programming over fused-layer partitions, as in Alwani et al. (MICRO 2016)
and Cai et al., "Optimus" (ACM TECS 2022); the fronts and states are this project's.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.baseline import Baseline
from dataflow_sim.schedule.cuts import find_cuts, prefixes
from dataflow_sim.schedule.demands import Demand
from dataflow_sim.schedule.fronts import Front, Fronts, Step, costs_at
from dataflow_sim.schedule.lives import BOTH, DRAM, MapLives, State
from dataflow_sim.schedule.options import Option, Options
from dataflow_sim.schedule.plans import Node, Origin, Plans, initial_state, replaced
from dataflow_sim.schedule.trials import Kinds
from dataflow_sim.schedule.types import MemoryOptions

Progress = Callable[[int, int], None]

# more states than this between two layers are thinned out, by their costs in so many memories
MAXIMUM_STATES = 96
_BUDGETS = 254
_NOTHING = np.zeros(1, np.int64)


class Planner:
    """Plans of one network for every budget; `merged` is False where layers stay alone.

    `kinds` and `like` are those of `Options`.
    """

    def __init__(
        self,
        graph: NetworkGraph,
        memory: MemoryOptions,
        baseline: Baseline,
        merged: bool,
        ceiling_bytes: int,
        pinned: frozenset[str] = frozenset(),
        demand: Demand | None = None,
        kinds: Kinds = Kinds.HANDOVER,
        like: Options | None = None,
    ) -> None:
        self.graph = graph
        # what is pinned is so from one place of the network's own order to another
        self.cuts = prefixes(len(graph.layers)) if pinned else find_cuts(graph)
        self.lives = MapLives(graph, pinned, self.cuts)
        self.merged = merged
        self.objective = baseline.objective
        self.options = Options(
            *(graph, memory, self.lives, baseline, ceiling_bytes, merged, demand, kinds, like)
        )
        self.ceiling_bytes = self.options.ceiling_bytes
        # by cut: states as they are come to, and after maps were dropped or kept
        count = len(self.cuts.done)
        self.arrived: list[dict[State, Node]] = [{} for _ in range(count)]
        self.settled: list[dict[State, Node]] = [{} for _ in range(count)]
        self._alike = [self.lives.alike(cut) for cut in range(count)]
        self._sorted: dict[tuple[int, State], tuple[State, tuple[int, ...] | None]] = {}
        self._many_states = False
        self.fronts = Fronts(self.ceiling_bytes)
        least = max(1, baseline.least_bytes)
        budgets = np.geomspace(least, max(least + 1, min(self.ceiling_bytes, 1 << 40)), _BUDGETS)
        self._budgets = np.unique(np.concatenate([[1], budgets.astype(np.int64)]))

    # ------------------------------------------------------------ forwards

    def search(self, progress: Progress) -> Front:
        """The front of the whole network."""
        zero, none = _NOTHING, np.zeros(1, np.int32)
        pinned = [self.graph.tensors[name] for name in sorted(self.lives.pinned)]
        bits = zero + sum(tensor.elements * tensor.bits for tensor in pinned)
        bits = self.objective.transfer(bits)
        start = tuple(initial_state(self.lives, name) for name in self.lives.live[0])
        self.arrived[0][start] = Node(front=Front(zero, bits, none, none, none))
        end = len(self.cuts.done) - 1
        for cut in range(end):
            self._settle(cut)
            self._expand(cut)
            progress(cut + 1, end)
        self._settle(end)
        found = list(self.settled[end].values())
        if not found:  # what is demanded never fits
            return self.fronts.join([])
        return found[0].close(self.fronts)

    def _settle(self, cut: int) -> None:
        """Drop maps that are in both places, keep maps that are read again and again."""
        live = self.lives.live[cut]
        reads = frozenset().union(*(self.options.reads[i] for i, _ in self.cuts.steps[cut]))
        keepable = [
            place
            for place, name in enumerate(live)
            if name in reads
            and self.lives.readers_ahead(name, cut) > 1
            and self.lives.may_be_both(name)
        ]
        self._keep_best(self.arrived[cut], cut)
        for state in sorted(self.arrived[cut]):
            front = self.arrived[cut][state].close(self.fronts)
            if not len(front.local_bytes):  # it takes more memory than is of any use
                continue
            number = self.fronts.add(front)
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
                    target, swapped = self.canonical(cut, tuple(changed))
                    node = self.settled[cut].setdefault(target, Node())
                    costs = self.objective.transfer(np.array([bits]))
                    node.add(Step(number, 0, _NOTHING, costs), Origin(cut, state, None, swapped))
        self._keep_best(self.settled[cut], cut)

    def _keep_best(self, nodes: dict[State, Node], cut: int) -> None:
        """Of too many states keep those that come nearest to the best in some memory.

        What is still to be read from DRAM, each map once by each of its readers, counts as
        if it had moved already.
        """
        if len(nodes) <= MAXIMUM_STATES:
            return
        self._many_states = True
        ahead = []
        for name in self.lives.live[cut]:
            tensor = self.graph.tensors[name]
            readers = self.lives.readers_ahead(name, cut)
            ahead.append(self.objective.transfer(readers * tensor.elements * tensor.bits))
        states = sorted(nodes)
        fronts = [nodes[state].close(self.fronts) for state in states]
        bits = np.stack([costs_at(front, self._budgets) for front in fronts])
        due = [
            sum(more for more, held in zip(ahead, state, strict=True) if held == DRAM)
            for state in states
        ]
        bits = bits + np.array(due)[:, None]
        rank = np.argsort((bits - bits.min(axis=0)).min(axis=1), kind="stable")
        for place in rank[MAXIMUM_STATES:].tolist():
            del nodes[states[place]]

    def canonical(self, cut: int, state: State) -> tuple[State, tuple[int, ...] | None]:
        """States of maps that are alike sorted, and where each came from."""
        classes = self._alike[cut]
        if not classes:
            return state, None
        key = (cut, state)
        if key not in self._sorted:
            swapped = list(range(len(state)))
            for places in classes:
                ranked = sorted(places, key=lambda place: (-state[place], place))
                for place, instead in zip(places, ranked, strict=True):
                    swapped[place] = instead
            self._sorted[key] = (tuple(state[i] for i in swapped), tuple(swapped))
        return self._sorted[key]

    def _expand(self, cut: int) -> None:
        nodes = self.settled[cut]
        if not nodes:  # no way leads here
            return
        live = self.lives.live[cut]
        residents = {
            state: frozenset(n for n, held in zip(live, state, strict=True) if held != DRAM)
            for state in sorted(nodes)
        }
        sizes = self.options.size_bytes
        held = {state: sum(sizes[name] for name in names) for state, names in residents.items()}
        fronts = {state: self.fronts.add(nodes[state].close(self.fronts)) for state in residents}
        ways = _Ways(self, cut)
        for state, resident in residents.items():
            for layer, stop in self.cuts.steps[cut]:
                reads = self.options.reads[layer]
                for option in self.options.alone(layer, stop, resident & reads):
                    beside = held[state] - self._shared_bytes(option, resident)
                    ways.take(state, fronts[state], beside, option)
        if not self.merged:
            return
        for outside, found in self.options.merged(cut, list(residents.values())):
            for state, resident in residents.items():
                for option in found.get(resident & outside, ()):
                    ways.take(state, fronts[state], held[state], option)

    def _shared_bytes(self, option: Option, resident: frozenset[str]) -> int:
        """Bytes saved where a resident output takes the place of a map that dies."""
        pair = replaced(self.lives, option, resident)
        return 0 if pair is None else self.options.size_bytes[pair[0]]

    @property
    def thinned(self) -> tuple[str, ...]:
        """What was left out of the space, one sentence each."""
        found = []
        if not self.cuts.complete:
            found.append(
                f"orders: {len(self.cuts.done):,} cuts of the network searched; where there "
                "are more, those along its own order and the one of the lowest peak"
            )
        if self._many_states:
            found.append(
                f"states: of more than {MAXIMUM_STATES} between two groups the most promising kept"
            )
        return tuple(found)

    @property
    def plans(self) -> Plans:
        """The plans of the points of the front that was found."""
        return Plans(self.lives, self.arrived, self.settled)


class _Ways:
    """The ways from the states at one cut to later ones."""

    def __init__(self, planner: Planner, cut: int) -> None:
        self._planner = planner
        self._cut = cut
        self._moves: dict[object, tuple[list[int], State]] = {}

    def take(self, state: State, front: int, held_bytes: int, option: Option) -> None:
        """Go from a state, whose front has a number, by an option beside the bytes held."""
        held_bytes += option.output_bytes
        if held_bytes + option.local_bytes[0] > self._planner.ceiling_bytes:
            return
        key = (option.stop, option.outputs)
        if key not in self._moves:
            self._moves[key] = self._move(option)
        places, made = self._moves[key]
        there = state + made
        target, swapped = self._planner.canonical(option.stop, tuple([there[i] for i in places]))
        arrived = self._planner.arrived[option.stop]
        node = arrived.get(target)
        if node is None:
            node = arrived[target] = Node()
        node.add(
            Step(front, held_bytes, option.local_bytes, option.costs),
            Origin(self._cut, state, option, swapped),
        )

    def _move(self, option: Option) -> tuple[list[int], State]:
        """Of the maps that live behind an option the places in the state before it, with the
        states of its outputs and of what is pinned behind it."""
        live = self._planner.lives.live
        names = [*live[self._cut], *(name for name, _ in option.outputs)]
        here = {name: place for place, name in enumerate(names)}
        made = (*(state for _, state in option.outputs), BOTH)
        return [here.get(name, len(names)) for name in live[option.stop]], made
