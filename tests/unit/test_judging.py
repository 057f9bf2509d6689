"""Expectations: met at the bound, missed just beyond it, and never by an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_sim.results_of_studies import Checked
from dataflow_sim.scenario.model import Expectation
from dataflow_sim.scenario.table import Table
from dataflow_sim.study.judging import judged, shown


def check(value: object, **relation: object) -> Checked:
    """One expectation of a value that stands in a table."""
    values = value if isinstance(value, list) else [value]
    rows = tuple({"network": str(i), "x": v} for i, v in enumerate(values))
    expectation = Expectation.model_validate({"label": "x", "value": "x()", **relation})
    (found,) = judged({"": Table(("network",), ("network", "x"), rows)}, {}, [expectation])
    return found


@pytest.mark.parametrize(
    ("value", "relation", "holds"),
    [
        (100, {"equals": 100}, True),
        (101, {"equals": 100}, False),
        (103, {"equals": 100, "within": "3%"}, True),
        (97, {"equals": 100, "within": "3%"}, True),
        (103.001, {"equals": 100, "within": "3%"}, False),
        (4.6, {"equals": 4.5, "by": 0.1}, True),
        (4.601, {"equals": 4.5, "by": 0.1}, False),
        (105.4, {"equals": 105, "digits": 0}, True),  # cut off, and rounded
        (105.9, {"equals": 105, "digits": 0}, True),  # cut off
        (104.5, {"equals": 105, "digits": 0}, True),  # rounded
        (104.4, {"equals": 105, "digits": 0}, False),
        (106.0, {"equals": 105, "digits": 0}, False),
        (0.307, {"equals": 0.307, "digits": 3}, True),
        (0.3078, {"equals": 0.307, "digits": 3}, True),
        (5, {"above": 5}, False),
        (5, {"at_least": 5}, True),
        (5, {"below": 5}, False),
        (5, {"at_most": 5}, True),
        ([1, 2], {"equals": [1, 2]}, True),
        ([1, 2], {"equals": [1, 3]}, False),
        ([1, 2], {"below": 3}, True),
        ([1, 3], {"below": 3}, False),
        (True, {"holds": True}, True),
        ([True, False], {"holds": True}, False),
        ([True, False], {"holds": False}, True),
        ("fits", {"equals": "'fits'"}, True),
        ("fits", {"equals": "'no'"}, False),
        (6, {"equals": "2 * 3"}, True),
    ],
)
def test_relations_at_their_bounds(value: object, relation: dict[str, object], holds: bool) -> None:
    found = check(value, **relation)
    assert (found.holds, found.met) == (holds, holds)


@given(st.floats(0.001, 1e9), st.sampled_from(["1.5%", "3%", "4%", "6%"]))
def test_an_error_of_ten_percent_is_always_found(value: float, within: str) -> None:
    assert check(value, equals=value, within=within).met
    assert not check(value * 1.1, equals=value, within=within).met
    assert not check(value * 0.9, equals=value, within=within).met


def test_what_is_refuted_must_fail() -> None:
    assert check(5, equals=4, refuted="counted otherwise").met
    assert not check(4, equals=4, refuted="counted otherwise").met


def test_what_has_no_value_is_never_met() -> None:
    assert not check(None, equals=4).met
    assert not check(None, equals=4, refuted="counted otherwise").met
    assert "has no x" in check(None, equals=4).measured
    assert "2 values are measured, 3 expected" in check([1, 2], equals=[1, 2, 3]).measured


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3162112, "3,162,112"),
        (0.56874, "0.56874"),
        (12345.678, "12,346"),
        (2.0, "2"),
        (True, "holds"),
        ([1, 2], "1, 2"),
        ("fits", "fits"),
    ],
)
def test_numbers_for_people(value: object, text: str) -> None:
    assert shown(value) == text
