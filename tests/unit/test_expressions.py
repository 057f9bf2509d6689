"""The language of scenarios: what it computes is what numpy does, and nothing else is legal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_sim.scenario.expressions import Evaluator, ExpressionError, Names, problems
from dataflow_sim.scenario.table import Table, derived, relative

ROWS = tuple(
    {
        "network": network,
        "local_memory_bytes": size,
        "dram_bytes": moved,
        "status": "ok" if moved else "does not fit",
        "error": None if moved else "too small",
    }
    for network, size, moved in (
        ("a", 1024, 40),
        ("a", 2048, 30),
        ("a", 4096, 20),
        ("b", 1024, None),
        ("b", 2048, 25),
        ("b", 4096, 5),
    )
)
AXES = ("network", "local_memory_bytes")
TABLE = Table(AXES, tuple(ROWS[0]), ROWS)
NAMES = Names(
    {"": frozenset(TABLE.columns), "layer": frozenset(), "curve": frozenset()},
    {"": frozenset({*TABLE.columns, "local_memory"}), "layer": frozenset(), "curve": frozenset()},
    frozenset(),
)


def value(text: str) -> object:
    assert problems(text, NAMES) == []
    found = Evaluator({"": TABLE}).value(text)
    return found.tolist() if isinstance(found, np.ndarray) else found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dram_bytes(network='a')", [40, 30, 20]),
        ("dram_bytes(network='b', local_memory='2KiB')", 25),
        ("dram_bytes(network=['b', 'a'], local_memory='4KiB')", [5, 20]),
        ("dram_bytes(network='a')[1:]", [30, 20]),
        ("2 * dram_bytes(network='a') / 10", [8, 6, 4]),
        ("10 < dram_bytes(network='a') < 35", [False, True, True]),
        ("falls(dram_bytes(network='a')) and not rises(dram_bytes(network='a'))", True),
        ("least(local_memory_bytes(network='a'), dram_bytes(network='a') <= 30)", 2048),
        ("step([10, 20], [1, 2], [10, 19, 20, 99])", [1, 1, 2, 2]),
        ("count(dram_bytes(network='a') > 25) + len(dram_bytes(network='a'))", 5),
        ("larger([1, 5], [3, 2])", [3, 5]),
        ("-3 // 2 + 2 ** 3 % 5", 1),
        ("4 * KiB == 4096 and MB == 1000000", True),
        ("status(network='b')", ["does not fit", "ok", "ok"]),
        ("energy('32bit', 'int32 add')", 0.1),
    ],
)
def test_values(text: str, expected: object) -> None:
    assert value(text) == expected


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=6))
def test_functions_are_those_of_numpy(values: list[int]) -> None:
    for name, function in (("sum", np.sum), ("max", np.max), ("min", np.min), ("mean", np.mean)):
        assert value(f"{name}({values})") == pytest.approx(function(values))
    assert value(f"cumsum({values})") == np.cumsum(values).tolist()
    assert value(f"rises({values})") == (values == sorted(values))
    assert value(f"falls({values})") == (values == sorted(values, reverse=True))


ILLEGAL = (
    "__import__('os')",
    "().__class__",
    "dram_bytes.real",
    "[x for x in [1]]",
    "lambda: 1",
    "dram_bytes if 1 else 2",
    "{'a': 1}",
    "f'{1}'",
    "open('file')",
    "dram_bytes(*[1])",
    "dram_bytes(1)",
    "sum(network='a')",
    "1 is 1",
    "1 in [1]",
    "x := 1",
    "1; 2",
    "",
    "(" * 300,
    "1+" * 1500 + "1",
)


@pytest.mark.parametrize("text", ILLEGAL)
def test_nothing_else_is_legal(text: str) -> None:
    assert problems(text, NAMES)
    with pytest.raises(ExpressionError):
        Evaluator({"": TABLE}).value(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("dram_bytes(network='b')", "network=b, local_memory_bytes=1024 has no dram_bytes: too"),
        ("dram_bytes(network='c')", "no row has network='c'; there are a, b"),
        ("1 / 0", "division"),
        ("9 ** 9 ** 9", "a power above 64"),
        ("(((9 ** 64) ** 64) ** 64) ** 64 % 7", "overflow|a number above"),
        ("1e300 * 1e300", "overflow|a number above"),
        ("'a' * 10 ** 12", "arithmetic is of numbers"),
        ("-1e301 + 1", "a number above"),
        ("dram_bytes(network='a') and 1", "take single values"),
        ("least([1], [0 > 1])", "nothing meets the condition"),
        ("step([10], [1], [5])", "before the first"),
        ("energy('no', 'x')", "no table of energies 'no'"),
        ("dram_bytes(network='a')[7]", "out of bounds"),
        ("[1, 2] + [1, 2, 3]", "shape"),
    ],
)
def test_what_has_no_value_says_why(text: str, why: str) -> None:
    with pytest.raises(ExpressionError, match=why):
        value(text)


def test_derived_columns_are_of_a_rows_own() -> None:
    found = derived(TABLE, {"twice": lambda row: Evaluator({"": row}).value("2 * dram_bytes")})
    assert found.values("twice") == [80, 60, 40, None, 50, 10]
    assert found.columns[-1] == "twice"


def test_relative_to_a_base_row() -> None:
    part = TABLE.where({"network": ["a"]})
    found = relative(part, {"local_memory": "2KiB"}, ["dram_bytes"])
    assert found.values("dram_bytes") == pytest.approx([40 / 30, 1, 20 / 30])
    found = relative(TABLE, {"network": "a"}, ["dram_bytes"])
    assert found.values("dram_bytes") == [1, 1, 1, None, 25 / 30, 5 / 20]
