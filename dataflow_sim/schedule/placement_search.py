"""The exact search for addresses within a capacity.

Model.  Push the buffers of any placement down until each lies at 0 or on another: it is as high as
before or lower, so that only such placements are looked for, from the bottom upwards.  Of the
buffers left (`placement_state`) take one beneath which no other fits.  Either it lies at its lowest
address, and then all that live with it lie above it; or it lies on another, and its lowest address
is no lower than the least top of those.  These are the two branches of a node:

    ┌───┐                       ┌───┐  ┌───┐                      ┌╌╌╌┐  ┌───┐
    │ A │  ┌───┐   A lies at    │ B │  │ C │     A lies on        ┆ A ┆  │ C │
    └───┘  │ C │   its lowest   └───┘  └───┘     another          └╌╌╌┘  └───┘
    ┌───┐  └───┘   ──────────►  ┌──────────┐     ────────────►    ┌───┐
    │ B │                       │    A     │                      │ B │
    ▒▒▒▒▒▒▒▒▒▒▒▒                ▒▒▒▒▒▒▒▒▒▒▒▒                      ▒▒▒▒▒▒▒▒▒▒▒▒▒

* Where no buffer left lives on both sides of a border between sections, the two sides are *parts*
  that do not know of each other.  The one of fewer buffers comes first; where a part has no
  placement, what was done in its neighbours since it came to be is not tried again.
* What is left of a part is known by its lowest addresses (a hash of 128 bits); where that was shown
  to have no placement once, it is not looked at again.
* The buffer is one of a section with little waste to spare, a low floor, few buffers that can be
  the lowest, and many contradictions so far: (waste + a) (floor + b) choices / (contradictions + c)
  is the least.  Of its lowest the one of the longest life, or of the largest area, comes first.
* A run that takes long is given up for one with other random weights, by one rule and then another;
  what each rule has learnt of contradictions stays, and all failures do.  A quarter of the work
  goes to long runs, each twice as long as the one before, so that some run comes to its end: given
  enough work, the search finds a placement or shows that there is none.

Sources: Moffitt, MiniMalloc, ASPLOS 2023, for sections, parts and what fits beneath; Boussemart et
al., ECAI 2004, for weights of what contradicts.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataflow_sim.schedule.placement_orders import Found
from dataflow_sim.schedule.placement_problem import Problem
from dataflow_sim.schedule.placement_state import GONE, Ints, State

Floats = npt.NDArray[np.float64]

_SEED = 1
# nodes of a short run for each of its buffers, and at least
_SHORT_RUN = 2.5
_SHORTEST_RUN = 64
# a buffer's random weight is so much larger at most
_NOISE = 0.3
# a section's waste to spare and floor, in parts of the capacity, and its contradictions are
# compared with so much on top: without it the smallest would decide alone
_SLACK = 1 / 1024
_FLOOR = 50 / 1024
_PATIENT, _IMPATIENT = 20, 1
# rules of short runs, in turn
_TURNS = (0, 1, 0, 2)
# short runs before a long one, in nodes of that
_SHORT_OF_LONG = 3
# states known to fail, at most
_MOST_FAILED = 1 << 20
# a node counts for so many buffers placed at least, or for one for so many cells of the arrays
_LEAST_WORK = 25
_CELLS_OF_WORK = 400


class Answer(NamedTuple):
    """A placement within the capacity if one was found, whether none exists, work in nodes left."""

    found: Found | None
    impossible: bool
    nodes: int


class _Part(NamedTuple):
    """Sections to place, the frame that made it a part (-1 for none), what comes after it."""

    begin: int
    behind: int
    parent: int
    after: _Part | None


class _Frame(NamedTuple):
    """A buffer at its lowest address: the trail before, and the states that fail if this does."""

    mark: int
    part: _Part
    number: int
    keys: list[bytes]


def can_search(problem: Problem, capacity_bytes: int) -> bool:
    """Whether `search` is for problems of this kind and size."""
    return State.can_hold(problem, capacity_bytes)


def work_of_node(problem: Problem) -> int:
    """For how many buffers placed by an order a node counts, which take about as long."""
    return max(_LEAST_WORK, State.cells(problem) // _CELLS_OF_WORK)


def search(problem: Problem, capacity_bytes: int, nodes: int) -> Answer:
    """Look for a placement within a capacity, in no more than so many nodes.

    Problems with pairs apart, or too large for the arrays, are left open.
    """
    if problem.least_bytes > capacity_bytes:
        return Answer(None, True, nodes)
    if nodes <= 0 or not State.can_hold(problem, capacity_bytes):
        return Answer(None, False, nodes)
    state = State(problem, capacity_bytes)
    if not state.settle_all():
        return Answer(None, True, nodes)
    tree = _Tree(state, capacity_bytes, nodes)
    part = tree.parts_of(_Part(0, state.sections, -1, None), -1)
    while part is not None:
        solved = _solve(tree, part)
        if not solved:
            return Answer(None, solved is False, tree.nodes)
        part = part.after
    addresses = [0] * len(problem.lives)
    for name, at in zip(state.names, state.at.tolist(), strict=False):
        addresses[name] = at
    return Answer(Found(tuple(addresses), problem.height_of(addresses)), False, tree.nodes)


class _Rule(NamedTuple):
    """What to branch on, and what its runs have learnt: contradictions by section, random state.

    Of buffers that could come next the one of the largest weight does; the less `patience`, the
    more do contradictions count.
    """

    weights: Floats
    patience: int
    fails: Ints
    draw: Random


def _rules(state: State) -> tuple[_Rule, ...]:
    """The longest life first, of sections chosen soon by their contradictions; areas; patiently."""
    wide = (state.behind - state.first).astype(np.float64)
    areas = wide * state.sizes[:-1]
    kinds = ((wide, _IMPATIENT), (areas, _PATIENT), (wide, _PATIENT))
    return tuple(_Rule(*kind, np.zeros(state.sections, np.int64), Random(_SEED)) for kind in kinds)


def _solve(tree: _Tree, part: _Part) -> bool | None:
    """Place a part in one run or another: True, False where none can, None where work is over."""
    state = tree.state
    rules, rules_of_long = _rules(state), _rules(state)
    short = max(_SHORTEST_RUN, int(_SHORT_RUN * state.count(part.begin, part.behind)))
    long, since, run, long_run = 2 * short, 0, 0, 0
    while tree.nodes > 0:
        before = tree.nodes
        if since < _SHORT_OF_LONG * long:
            solved = tree.run(part, rules[_TURNS[run % len(_TURNS)]], short)
            run += 1
            since += before - tree.nodes
        else:
            solved = tree.run(part, rules_of_long[long_run % len(rules)], long)
            long, since, long_run = 2 * long, 0, long_run + 1
        if solved is not None:
            return solved
    return None


class _Tree:
    """Runs through the nodes of one state, what they have learnt, and the work left in `nodes`."""

    def __init__(self, state: State, capacity_bytes: int, nodes: int) -> None:
        self.state = state
        self.nodes = nodes
        self._capacity_bytes = max(1, capacity_bytes)
        self._failed: set[bytes] = set()
        self._weights = np.zeros(0)
        self._patience = 0

    def run(self, part: _Part, rule: _Rule, limit: int) -> bool | None:
        """Place a part: True where done, False where it cannot be, None after so many nodes.

        Where it is not done, all is as it was before.
        """
        state, failed = self.state, self._failed
        state.fails, self._patience = rule.fails, rule.patience
        noise = [1 + _NOISE * rule.draw.random() for _ in rule.weights]
        self._weights = rule.weights * np.array(noise)
        root = state.mark()
        frames: list[_Frame] = []
        keys: list[bytes] = []  # of states since the last frame, which fail together
        now = self.parts_of(part._replace(parent=-1, after=None), -1)
        while now is not None:
            key = state.key(now.begin, now.behind)
            if key not in failed:
                if limit <= 0 or self.nodes <= 0:
                    state.undo(root)
                    return None
                limit -= 1
                self.nodes -= 1
                keys.append(key)
                number = self._choice(now)
                frames.append(_Frame(state.mark(), now, number, keys))
                if state.place(number):
                    now, keys = self.parts_of(now, len(frames) - 1), []
                    continue
                back = len(frames) - 1
            else:
                self._learn(keys)
                back = now.parent
            while back >= 0:
                frame = frames[back]
                del frames[back:]
                state.undo(frame.mark)
                now, keys = frame.part, frame.keys
                if state.refuse(frame.number):
                    break
                self._learn(keys)
                back = now.parent
            if back < 0:
                state.undo(root)
                return False
        return True

    def parts_of(self, part: _Part, parent: int) -> _Part | None:
        """What a part falls into, the fewest buffers first, and what comes after it."""
        state = self.state
        borders = state.crossing[part.begin + 1 : part.behind]
        cuts = (np.flatnonzero(borders == 0) + part.begin + 1).tolist()
        found = []
        for begin, behind in zip([part.begin, *cuts], [*cuts, part.behind], strict=True):
            count = state.count(begin, behind)
            if count:
                found.append((count, begin, behind))
        after = part.after
        for _, begin, behind in sorted(found, reverse=True):
            after = _Part(begin, behind, parent, after)
        return after

    def _learn(self, keys: list[bytes]) -> None:
        """States that fail are not looked at again, while there is room to know them."""
        if len(self._failed) < _MOST_FAILED:
            self._failed.update(keys)

    def _choice(self, part: _Part) -> int:
        """The buffer to branch on."""
        state, whole = self.state, self._capacity_bytes
        floors, latest, choices = state.known[part.begin : part.behind].T
        value = ((latest - floors) / whole + _SLACK) * (floors / whole + _FLOOR) * choices
        value /= state.fails[part.begin : part.behind] + self._patience
        section = part.begin + int(np.where(floors < GONE, value, np.inf).argmin())
        inside = state.members[section]
        low = state.low[inside]
        lowest = inside[low == low.min()]
        return state.lowest_below(int(lowest[self._weights[lowest].argmax()]))
