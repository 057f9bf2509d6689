"""Questions over points: the front by brute force, the knee and needs by definition."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_sim.errors import InputError
from dataflow_sim.results_of_studies import Row
from dataflow_sim.scenario.model import question_of
from dataflow_sim.scenario.table import Table
from dataflow_sim.study.questions import answered

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20)


def table(points: Sequence[tuple[int, ...]], names: str = "xy") -> Table:
    rows = tuple(
        {"number": i, **dict(zip(names, point, strict=True)), "status": "ok", "error": None}
        for i, point in enumerate(points)
    )
    return Table(("number",), tuple(rows[0]), rows)


@given(POINTS)
def test_the_front_is_what_brute_force_finds(points: list[tuple[int, int]]) -> None:
    found = answered(table(points), question_of({"pareto": {"least": ["x"], "most": ["y"]}}))
    kept = {(row["x"], row["y"]) for row in found.rows}
    best = {p for p in points if not any(q[0] <= p[0] and q[1] >= p[1] and q != p for q in points)}
    assert kept == best
    assert len(found.rows) == len(best)
    assert [row["x"] for row in found.rows] == sorted(x for x, _ in best)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12))
def test_the_knee_is_the_first_from_which_all_stay_within(moved: list[int]) -> None:
    points = [(2**i, value, 10) for i, value in enumerate(moved)]
    asked = {"within": "20%", "of": "y", "floor": "z", "against": "x"}
    found = answered(table(points, "xyz"), question_of({"knee": asked}))
    expected = [x for i, (x, _, _) in enumerate(points) if all(v <= 12 for v in moved[i:])]
    assert [row["x"] for row in found.rows] == expected[:1]


@given(POINTS, st.integers(0, 6))
def test_needs_is_the_least_from_which_the_target_is_always_met(
    points: list[tuple[int, int]], target: int
) -> None:
    asked = question_of({"needs": {"least": "x", "target": f"y <= {target}"}})
    found = answered(table(points), asked)
    levels = sorted({x for x, _ in points})
    met = {x: any(q == x and y <= target for q, y in points) for x in levels}
    expected = [x for i, x in enumerate(levels) if all(met[each] for each in levels[i:])]
    assert [row["x"] for row in found.rows] == expected[:1]


def test_points_that_failed_play_no_part() -> None:
    rows: tuple[Row, ...] = (
        {"number": 0, "x": None, "y": None, "status": "does not fit", "error": "small"},
        {"number": 1, "x": 4, "y": 1, "status": "ok", "error": None},
    )
    points = Table(("number",), tuple(rows[0]), rows)
    found = answered(points, question_of({"needs": {"least": "x", "target": "y < 2"}}))
    assert [row["number"] for row in found.rows] == [1]


def test_sensitivity_of_a_power_law_is_its_exponent() -> None:
    rows = tuple(
        {"width": w, "rate": r, "time": w**2 / r, "status": "ok"} for w in (1, 2, 4) for r in (1, 2)
    )
    points = Table(("width", "rate"), ("width", "rate", "status", "time"), rows)
    found = answered(points, question_of({"sensitivity": {"of": "time"}}))
    by_axis = {row["axis"]: row for row in found.rows}
    assert by_axis["width"]["elasticity"] == pytest.approx(2)
    assert by_axis["rate"]["elasticity"] == pytest.approx(-1)
    assert by_axis["width"]["most_ratio"] == 16
    assert by_axis["rate"]["least_ratio"] == 0.5
    assert [row["axis"] for row in found.rows] == ["width", "rate"]  # the strongest first


def test_an_axis_that_never_turns_alone_has_no_figures() -> None:
    rows = tuple({"a": n, "b": n, "time": n, "status": "ok"} for n in (1, 2))
    points = Table(("a", "b"), ("a", "b", "status", "time"), rows)
    found = answered(points, question_of({"sensitivity": {"of": "time"}}))
    assert [(row["axis"], row["values"], row["elasticity"]) for row in found.rows] == [
        ("a", 2, None),
        ("b", 2, None),
    ]


def test_an_answer_for_each_value() -> None:
    points = [(1, 5, 0), (2, 1, 0), (1, 1, 1), (2, 1, 1)]
    asked = question_of({"needs": {"least": "x", "target": "y <= 1"}, "by": "z"})
    found = answered(table(points, "xyz"), asked)
    assert [(row["z"], row["x"]) for row in found.rows] == [(0, 2), (1, 1)]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"pareto": {"least": ["x"]}},
        {"knee": {"within": "much"}},
        {"knee": {}, "sensitivity": {"of": "x"}},
    ],
)
def test_questions_that_are_none(asked: dict[str, object]) -> None:
    with pytest.raises(InputError):
        question_of(asked)
