"""Addresses by the exact search: against all orders of the buffers, and against CP-SAT."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_sim.placing import check_placement
from dataflow_sim.results_of_placement import Lifetime
from dataflow_sim.schedule import placement, placement_search
from dataflow_sim.schedule.allocation import Life
from dataflow_sim.schedule.placement import place
from dataflow_sim.schedule.placement_problem import Problem
from dataflow_sim.schedule.placement_search import search

NODES = 100_000
LIVES = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=5
).map(lambda rows: tuple(Life(size, first, first + more) for size, first, more in rows))


def least_height(lives: Sequence[Life], alignment: int = 1) -> int:
    """Some order, each at the first multiple where it overlaps nothing, gives the least height."""
    best = sum(life.size_bytes + alignment for life in lives)
    for order in permutations(range(len(lives))):
        there: list[tuple[int, Life]] = []
        height = 0
        for index in order:
            life = lives[index]
            near = [o for o in there if o[1].first <= life.last and life.first <= o[1].last]
            starts = (0, *(-(-(at + o.size_bytes) // alignment) * alignment for at, o in near))
            at = min(
                start
                for start in starts
                if all(start + life.size_bytes <= a or a + o.size_bytes <= start for a, o in near)
            )
            if life.size_bytes:
                there.append((at, life))
                height = max(height, at + life.size_bytes)
        best = min(best, height)
    return best


def assert_lies_apart(lives: Sequence[Life], addresses: Sequence[int], alignment: int) -> None:
    named = [Lifetime(f"b{i}", life.first, life.last + 1, life[0]) for i, life in enumerate(lives)]
    check_placement(named, addresses, alignment)


def dense_lives(
    seed: int, moments: int, height: int, lengths: int, sizes: tuple[int, int]
) -> tuple[Life, ...]:
    """Buffers that leave little of a height at any moment."""
    draw = Random(seed)
    left = [height] * moments
    lives = []
    for _ in range(60):
        first = draw.randrange(moments)
        last = min(moments - 1, first + draw.randrange(lengths))
        size = draw.randint(*sizes)
        if min(left[first : last + 1]) >= size:
            lives.append(Life(size, first, last))
            for moment in range(first, last + 1):
                left[moment] -= size
    return tuple(lives)


# of some thousands these are among the few whose least height is above the largest live set
WITH_A_GAP = [
    dense_lives(65, 8, 10, 7, (2, 5)),
    dense_lives(81, 12, 10, 4, (2, 5)),
    dense_lives(22, 8, 6, 4, (1, 3)),
    dense_lives(22, 10, 6, 4, (1, 3)),
    dense_lives(20, 10, 6, 4, (1, 3)),
]


def fits(lives: Sequence[Life], capacity: int) -> bool:
    """Whether any whole addresses do, tried one after another."""
    order = sorted(lives, key=lambda life: life.first)
    there: list[tuple[int, Life]] = []

    def rest(index: int) -> bool:
        if index == len(order):
            return True
        life = order[index]
        near = [o for o in there if o[1].last >= life.first]
        for at in range(capacity - life.size_bytes + 1):
            if all(at + life.size_bytes <= a or a + o.size_bytes <= at for a, o in near):
                there.append((at, life))
                if rest(index + 1):
                    return True
                there.pop()
        return False

    return rest(0)


@given(LIVES, st.sampled_from((1, 1, 3, 4)))
def test_the_least_height_is_that_of_the_best_order(lives: tuple[Life, ...], align: int) -> None:
    least = least_height(lives, align)
    problem = Problem(lives, align)
    answer = search(problem, least, NODES)
    assert answer.found is not None
    assert answer.found.height_bytes == least
    assert_lies_apart(lives, answer.found.addresses, align)
    if least:
        below = search(problem, least - 1, NODES)
        assert below.found is None
        assert below.impossible
    placed = place(lives, alignment_bytes=align)
    assert (placed.height_bytes, placed.least_bytes, placed.proved) == (least, least, True)
    assert_lies_apart(lives, placed.addresses, align)


@pytest.mark.parametrize("lives", WITH_A_GAP, ids=len)
def test_where_the_largest_live_set_is_not_reached(lives: tuple[Life, ...]) -> None:
    live = Problem(lives).live_bytes
    assert not fits(lives, live)
    assert fits(lives, live + 1)
    placed = place(lives)
    assert (placed.height_bytes, placed.least_bytes, placed.proved) == (live + 1, live + 1, True)
    assert_lies_apart(lives, placed.addresses, 1)
    beyond = place(lives, live)
    assert beyond.height_bytes > live
    assert (beyond.least_bytes, beyond.proved) == (live + 1, True)
    at = place(lives, live + 1)
    assert (at.height_bytes, at.least_bytes, at.proved) == (live + 1, live, True)
    # the same question in units of 8 bytes, which all but fill them
    loose = [life._replace(size_bytes=8 * life.size_bytes - 1) for life in lives]
    aligned = place(loose, alignment_bytes=8)
    assert (aligned.height_bytes, aligned.proved) == (8 * live + 7, True)


@pytest.mark.parametrize("lives", WITH_A_GAP, ids=len)
def test_short_runs_come_to_the_same_answers(
    lives: tuple[Life, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # runs are given up after a node or two at first: answers come from what was learnt
    monkeypatch.setattr(placement_search, "_SHORTEST_RUN", 1)
    monkeypatch.setattr(placement_search, "_SHORT_RUN", 0.0)
    problem = Problem(lives)
    assert search(problem, problem.live_bytes, NODES).impossible
    found = search(problem, problem.live_bytes + 1, NODES).found
    assert found is not None
    assert_lies_apart(lives, found.addresses, 1)


@pytest.mark.parametrize("seed", range(8))
def test_short_runs_give_up_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(dense_lives(seed, 16, 20, 6, (1, 7)))
    assert search(problem, problem.live_bytes, NODES).found is not None
    monkeypatch.setattr(placement_search, "_SHORTEST_RUN", 1)
    for share in (0.0, 0.3, 1.0):
        monkeypatch.setattr(placement_search, "_SHORT_RUN", share)
        answer = search(problem, problem.live_bytes, 3_000)
        assert not answer.impossible
        assert answer.found is not None or answer.nodes == 0


def test_no_work_no_claim() -> None:
    problem = Problem(WITH_A_GAP[0])
    needed = NODES - search(problem, problem.least_bytes, NODES).nodes
    assert needed > 1
    assert search(problem, problem.least_bytes, needed).impossible
    for nodes in range(needed):
        answer = search(problem, problem.least_bytes, nodes)
        assert (answer.found, answer.impossible) == (None, False)
        assert 0 <= answer.nodes <= nodes
    assert search(problem, problem.live_bytes - 1, 0).impossible  # by the bound alone
    placed = place(WITH_A_GAP[0], work=0)
    assert (placed.least_bytes, placed.proved) == (problem.live_bytes, False)


def test_work_that_ends_raises_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "_WORK_ON_ORDERS", 0)
    lives = dense_lives(7, 16, 20, 6, (1, 7))
    problem = Problem(lives)
    live = problem.live_bytes
    answer = search(problem, live, NODES)
    assert answer.found is not None
    assert place(lives, work=0).height_bytes > live
    nodes = NODES - answer.nodes
    assert nodes > 10
    heights = set()
    for share in range(2 * nodes + 1):
        placed = place(lives, work=share * placement_search.work_of_node(problem))
        assert_lies_apart(lives, placed.addresses, 1)
        assert placed.least_bytes == live
        assert placed.proved == (placed.height_bytes == live)
        heights.add(placed.height_bytes)
    assert live in heights
    assert len(heights) > 1


def test_what_the_search_is_not_for() -> None:
    lives = (Life(3, 0, 0), Life(3, 0, 0))
    apart = Problem(lives, 1, ((0, 1),), 4)
    assert not placement_search.can_search(apart, 100)
    assert not search(apart, 6, NODES).impossible
    huge = (Life(1 << 45, 0, 0), Life(1 << 45, 0, 1), Life(5, 1, 1))
    assert not placement_search.can_search(Problem(huge), 1 << 46)
    assert place(huge).height_bytes == 1 << 46


@given(LIVES, st.sampled_from((1, 3, 4)), st.integers(0, 40))
def test_the_next_height_passes_over_none(lives: tuple[Life, ...], align: int, at: int) -> None:
    least = least_height(lives, align)
    if least >= at and any(life.size_bytes for life in lives):
        assert at <= placement._next_height(Problem(lives, align), at) <= least


@pytest.mark.parametrize("seed", range(12))
def test_as_cp_sat_says(seed: int) -> None:
    pytest.importorskip("ortools", reason="needs the extra 'exact'")
    lives = (*WITH_A_GAP, *(dense_lives(n, 10 + n, 12, 6, (1, 4)) for n in range(7)))[seed]
    problem = Problem(lives)
    for capacity in (problem.least_bytes, problem.least_bytes + 1):
        answer = search(problem, capacity, NODES)
        assert answer.impossible == (not cp_sat_finds(lives, capacity))
        assert (answer.found is None) == answer.impossible
        if answer.found:
            assert answer.found.height_bytes <= capacity
            assert_lies_apart(lives, answer.found.addresses, 1)


def cp_sat_finds(lives: Sequence[Life], capacity: int) -> bool:
    """Whether CP-SAT, which knows nothing of sections, finds a placement."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    times, places = [], []
    for index, (size, first, last) in enumerate(lives):
        at = model.new_int_var(0, capacity - size, f"at{index}")
        times.append(model.new_fixed_size_interval_var(first, last + 1 - first, f"t{index}"))
        places.append(model.new_fixed_size_interval_var(at, size, f"p{index}"))
    model.add_no_overlap_2d(times, places)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = 20.0
    status = solver.solve(model)
    assert status in (cp_model.OPTIMAL, cp_model.FEASIBLE, cp_model.INFEASIBLE)
    return status != cp_model.INFEASIBLE
