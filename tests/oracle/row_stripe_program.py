"""Least DRAM bytes of a network run by row stripes: a dynamic program of its own.

Model.  The layers, in the network's order, are cut into contiguous runs:

    cut      0          a              b                       N
             |-- run ---|---- run -----|-- run --| ...         |
    state               resident maps  resident maps           (at every cut)

A run goes through n stripes (`row_stripe_runs`).  Every row is loaded, and computed, once.  Local
memory is the largest sum, over firings, of live rows, resident maps, kernels that stay, and one
output channel's kernel of the firing layer where any kernel does not stay.  A kernel that stays
crosses the DRAM interface once, another n times; which of them stay is a subset sum.  Between
runs a map is in DRAM or whole in local memory; it may be loaded whole by a run that reads it, and
kept.  A sum takes the place of an operand that dies.  A layer alone may tile instead: by output
channels with its input read for each; by rows with its kernel fetched for each; by rows and
output channels with 32-bit sums held while its input passes, channel by channel.

Assumed: 8 bits, batch 1, no constants but kernels; sums of sizes, no addresses; maps that can be
exchanged (same size, same readers to come) share a state; pooling behind a body needs the input
rows of its whole window.  A layer that fires in fewer than n stripes is charged n fetches, one
of a single output row is charged one.

Left out: orders other than the network's, column tiles, recomputed rows, kernels that stay in
part, sums that spill.  The driver is the first, the middle or the last layer.  `PATIENCE` and
`STATES` thin the program out: every result is a schedule of the model, not always its least.
Source: DESIGN.md, sections 3 and 4, from the definitions alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.network import NetworkGraph
from tests.oracle.row_stripe_runs import (
    Map,
    Rows,
    fired,
    heights,
    live_rows,
    nodes_of,
    tilings,
)

State = frozenset[int]

PATIENCE = 12  # layers that a run may grow by without serving any state better
STATES = 200  # states kept at a cut
FAR = 1 << 60


class Choice(NamedTuple):
    """One way from a state at a to a state at b; `dram` has every kernel once."""

    dram: int
    before: State
    local: State  # all that is resident at some time of the run
    passing: int  # bytes of those that the run neither reads nor makes
    after: State


class Step(NamedTuple):
    """The last run of the best way to a state."""

    dram: int
    start: int
    before: State
    local: State
    how: tuple[str | int, ...]


class RowStripes:
    """The program for one network in one local memory.

    A `coarse` one looks at fewer stripe heights, drivers, states and residents.  Nothing above
    `limit` DRAM bytes is followed up.
    """

    def __init__(
        self, graph: NetworkGraph, local_bytes: int, coarse: bool = False, limit: int = FAR
    ):
        self.nodes, self.maps = nodes_of(graph)
        self.size, self.count = local_bytes, len(self.nodes)
        self.coarse, self.limit = coarse, limit
        self.last = [max(m.readers, default=self.count) for m in self.maps]
        self._alone: dict[tuple[int, int, bool, int], tuple[int, int, str]] = {}
        self._alive: dict[int, list[list[int]]] = {}
        self._bounds: dict[tuple[int, State], int] = {}
        self.best: list[dict[State, Step]] = [{} for _ in range(self.count + 1)]
        self.best[0][frozenset()] = Step(0, 0, frozenset(), frozenset(), ())

    def solve(self) -> int:
        """Least DRAM bytes; FAR where nothing fits, or nothing within the limit."""
        for a in range(self.count):
            self._thin(a)
            idle = 0
            for b in range(a + 1, self.count + 1):
                useful = self._extend(a, b)
                idle = 0 if useful else idle + 1
                if idle >= (3 if self.coarse else PATIENCE) or not (useful or self._fits(a, b)):
                    break
        return min((step.dram for step in self.best[-1].values()), default=FAR)

    def _bytes(self, numbers: Iterable[int]) -> int:
        return sum(self.maps[k].bytes for k in numbers)

    # states

    def _classes(self, maps: Iterable[Map], cut: int) -> list[list[int]]:
        """Maps that can be exchanged from a cut on, together."""
        found: dict[tuple[int, ...], list[int]] = {}
        for m in maps:
            key = (m.bytes, m.channels, m.maker < 0, *(r for r in m.readers if r >= cut))
            found.setdefault(key, []).append(m.number)
        return list(found.values())

    def _standard(self, state: set[int], cut: int) -> State:
        """The state with the first maps of every class in it, as many as there are."""
        if cut not in self._alive:
            alive = [m for m in self.maps if m.maker < cut <= self.last[m.number]]
            self._alive[cut] = self._classes(alive, cut)
        return frozenset(k for c in self._alive[cut] for k in c[: len(state.intersection(c))])

    def _some(self, maps: Sequence[Map], cut: int) -> list[tuple[int, ...]]:
        """Every number of maps of every class."""
        options = [[tuple(c[:n]) for n in range(len(c) + 1)] for c in self._classes(maps, cut)]
        return [sum(parts, ()) for parts in itertools.product(*options)]

    def _to_come(self, state: State, cut: int) -> int:
        """Bytes that will move at least: kernels, outputs, maps in DRAM once."""
        if (cut, state) not in self._bounds:
            total = sum(node.weights for node in self.nodes[cut:])
            total += sum(m.bytes for m in self.maps if not m.readers and m.maker >= cut)
            for m in self.maps:
                readers = [r for r in m.readers if r >= cut]
                if readers and m.maker < cut and m.number not in state:
                    total += min(self.nodes[r].read_bytes(m) for r in readers)
            self._bounds[cut, state] = total
        return self._bounds[cut, state]

    def _enough(self, state: State, cut: int) -> int:
        """What a way to a state has to stay below to be of use."""
        known = self.best[cut].get(state)
        bound = self.limit - self._to_come(state, cut) + 1
        return bound if known is None else min(known.dram, bound)

    def _thin(self, cut: int) -> None:
        """Drop states that another serves as well by loading what it lacks."""
        kept: list[tuple[State, Step]] = []
        for state, step in sorted(
            self.best[cut].items(), key=lambda each: (each[1].dram, sorted(each[0]))
        ):
            if self.coarse or not any(
                other <= state and had.dram + self._bytes(state - other) <= step.dram
                for other, had in kept
            ):
                kept.append((state, step))
        kept.sort(key=lambda each: (each[1].dram + self._to_come(each[0], cut), sorted(each[0])))
        self.best[cut] = dict(kept[: 8 if self.coarse else STATES])

    # runs

    def _choices(self, a: int, b: int) -> list[Choice]:
        """All ways from the states at a to those at b that could be better than what is known."""
        inside = self.nodes[a:b]
        read = {m.number: m for x in inside for m in x.inputs + x.operands if m.maker < a}
        loads = {
            k: max(self.nodes[r].read_bytes(m) for r in m.readers if a <= r < b)
            for k, m in read.items()
        }
        summed = {m.number for x in inside for m in x.operands}
        made = [m for m in self.maps if a <= m.maker < b <= self.last[m.number]]
        stays = self._some([m for m in made if m.readers and m.bytes <= self.size], b)
        once = sum(x.weights for x in inside)
        found = []
        for before, step in self.best[a].items():
            cold = [m for k, m in read.items() if k not in before]
            base = step.dram + once + sum(loads[m.number] for m in cold)
            keeps = [
                m
                for m in cold
                if m.maker >= 0
                and m.bytes <= self.size
                and (b == a + 1 or self.last[m.number] >= b or m.number in summed)
            ]
            passing = self._bytes(before.difference(read))
            for keep in [()] if self.coarse else self._some(keeps, b):
                at_hand = {k for k in before.union(keep) if self.last[k] >= b}
                for stay in stays:
                    if self._bytes(at_hand) + self._bytes(stay) > self.size:
                        continue
                    dram = base + sum(self.maps[k].bytes - loads[k] for k in keep)
                    dram += sum(m.bytes for m in made if m.number not in stay)
                    after = self._standard(at_hand.union(stay), b)
                    if dram < self._enough(after, b):
                        local = before.union(keep, stay)
                        found.append(Choice(dram, before, local, passing, after))
        return found

    def _offer(self, a: int, b: int, dram: int, choice: Choice, how: tuple[str | int, ...]) -> bool:
        if dram >= self._enough(choice.after, b):
            return False
        self.best[b][choice.after] = Step(dram, a, choice.before, choice.local, how)
        return True

    def _overwritten(self, i: int) -> Map | None:
        """The operand that a layer's output takes the place of."""
        dying = [m for m in self.nodes[i].operands if self.last[m.number] == i]
        same = dying and dying[0].row_bytes == self.nodes[i].output.row_bytes
        return dying[0] if same else None

    def _resident_bytes(self, a: int, b: int, choice: Choice) -> int:
        """Bytes of whole maps in local memory during a run."""
        touched = {m.number for m in self._maps(a, b)}
        held = choice.passing + self._bytes(touched & choice.local)
        for i in range(a, b):
            over = self._overwritten(i)
            if over is not None and {over.number, self.nodes[i].output.number} <= choice.local:
                held -= over.bytes
        return held

    def _single(self, a: int, choice: Choice) -> bool:
        """Offer the best tiling of one layer alone."""
        x, local = self.nodes[a], choice.local
        cold = [m for m in x.inputs if m.number not in local]
        buffered = any(m.number not in local for m in [x.output, *x.operands])
        held = self._resident_bytes(a, a + 1, choice)
        key = (a, sum(m.channels for m in cold), buffered, self.size - held)
        if key not in self._alone:
            fitting = (t for t in tilings(x, *key[1:3]) if t[1] <= key[3])
            self._alone[key] = min(fitting, default=(FAR, 0, ""))
        moved, used, what = self._alone[key]
        dram = choice.dram - x.weights - sum(x.read_bytes(m) for m in cold) + moved
        return self._offer(a, a + 1, dram, choice, (what, used + held))

    def _maps(self, a: int, b: int) -> list[Map]:
        """The maps that a run reads or makes."""
        return list({m.number: m for x in self.nodes[a:b] for m in x.maps}.values())

    def _drivers(self, a: int, b: int) -> list[int]:
        tall = [i for i in range(a, b) if self.nodes[i].height > 1] or [a]
        middle = tall[0] if self.coarse else tall[len(tall) // 2]
        return sorted({tall[0], middle, tall[-1]})

    def _extend(self, a: int, b: int) -> bool:
        """Offer all runs of layers a to b - 1; whether one was of use."""
        choices, inside = self._choices(a, b), self.nodes[a:b]
        useful = False
        if b == a + 1:
            for choice in choices:
                useful |= self._single(a, choice)
        kernels = sum(x.weights for x in inside)
        sums = subset_sums([x.weights for x in inside if x.height > 1], self.size)
        repeated = sum(x.weights for x in inside if x.height > 1)
        best = np.array([self._enough(choice.after, b) for choice in choices], dtype=np.int64)
        base = np.array([choice.dram for choice in choices], dtype=np.int64)
        how: list[tuple[str | int, ...]] = [()] * len(choices)
        whole = np.array([self._resident_bytes(a, b, c) for c in choices], dtype=np.int64)
        maps = self._maps(a, b)
        rolls = np.array([[m.number not in c.local for c in choices] for m in maps])
        for driver in self._drivers(a, b):
            for h in heights(self.nodes[driver].height, not self.coarse):
                n = -(-self.nodes[driver].height // h)
                left = np.flatnonzero(base + (n - 1) * max(0, repeated - self.size) < best)
                if not left.size:
                    continue
                bare, tiled = self._heights(a, b, driver, h, rolls[:, left]) + whole[left]
                place = np.searchsorted(sums, self.size - tiled, side="right") - 1
                again = np.where(place < 0, FAR, (n - 1) * (repeated - sums[place]))
                again[bare + kernels <= self.size] = 0
                if not (again < FAR).any():
                    break  # higher stripes take more
                for j, more, k in zip(left, again, place, strict=True):
                    if base[j] + more < best[j]:
                        best[j] = base[j] + more
                        how[j] = ("stripes", driver, h, n, int(more), int(sums[k]))
        for choice, dram, what in zip(choices, best, how, strict=True):
            if what:
                useful |= self._offer(a, b, int(dram), choice, what)
        return useful

    def _fits(self, a: int, b: int) -> bool:
        """Whether layers a to b - 1 fit as a run at all, nothing resident, no kernel staying."""
        rolls = np.ones((len(self._maps(a, b)), 1), dtype=bool)
        least = (self._heights(a, b, driver, 1, rolls)[1, 0] for driver in self._drivers(a, b))
        return any(height <= self.size for height in least)

    def _heights(self, a: int, b: int, driver: int, h: int, rolls: npt.NDArray[np.bool_]) -> Rows:
        """Local bytes, (without and with tiles, choice), of rows alone.

        `rolls`, (map of the run, choice), says which maps are not resident.
        """
        made, maps = fired(self.nodes, a, b, driver, h), self._maps(a, b)
        live = [live_rows(self.nodes, a, b, m, made) * m.row_bytes for m in maps]
        total = np.tensordot(np.array(live, dtype=np.float64), rolls.astype(np.float64), (0, 0))
        at = {m.number: k for k, m in enumerate(maps)}
        for i in range(a, b):
            over, out = self._overwritten(i), self.nodes[i].output
            if over is not None:
                both = rolls[at[over.number]] & rolls[at[out.number]]
                total[i - a] -= (np.diff(made[i]) * out.row_bytes)[:, None] * both
        tiles = np.array([x.tile for x in self.nodes[a:b]])[:, None]
        peaks = total.max(1)
        return np.array([peaks.max(0), (peaks + tiles).max(0)]).astype(np.int64)


def subset_sums(sizes: Sequence[int], limit: int) -> Rows:
    """Every sum of some of the sizes that is not above the limit, ascending."""
    reached = 1
    for size in sizes:
        reached |= reached << size
        reached &= (1 << (limit + 1)) - 1
    packed = np.frombuffer(reached.to_bytes(limit // 8 + 1, "little"), dtype=np.uint8)
    return np.flatnonzero(np.unpackbits(packed, bitorder="little"))


def least_dram_bytes(graph: NetworkGraph, local_bytes: int) -> int:
    """Least DRAM bytes that the program finds: a coarse pass, then one that it bounds."""
    limit = RowStripes(graph, local_bytes, coarse=True).solve()
    return min(limit, RowStripes(graph, local_bytes, limit=limit).solve())
