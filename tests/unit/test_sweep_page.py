"""A sweep's data for its page: axes, figures, and what has no number."""

from __future__ import annotations

import json
import math

from dataflow_sim.report.page.sweep_data import sweep_of
from dataflow_sim.report.sweep_pictures import sweep_pictures
from dataflow_sim.results_of_studies import Row

ROWS: tuple[Row, ...] = tuple(
    {
        "network": network,
        "case": network.upper(),
        "local_memory_bytes": size,
        "status": "ok" if size > 16 else "does not fit",
        "dram_bytes": None if size == 16 else 1000 // size + len(network),
        "ratio": math.inf if size == 64 else 0.5,
        "error": None,
    }
    for network in ("a", "bb")
    for size in (1024, 16, 64)
)
AXES = ("network", "case", "local_memory_bytes")


def test_axes_are_apart_and_in_order() -> None:
    found = sweep_of("grid", AXES, list(ROWS[0]), ROWS)
    assert [axis.name for axis in found.axes] == ["network", "local_memory_bytes"]
    assert found.axes[0].values == ("a", "bb")
    assert found.axes[1].values == (16, 64, 1024)
    assert found.axes[1].texts == ["16 B", "64 B", "1 KiB"]
    assert found.axes[1].spreads
    assert not found.axes[0].numeric
    assert found.columns == ("case", "status", "dram_bytes", "ratio")
    assert found.figures == ("dram_bytes", "ratio")


def test_the_data_are_those_of_the_rows() -> None:
    found = sweep_of("grid", AXES, list(ROWS[0]), ROWS).to_json()
    text = json.dumps(found, allow_nan=False)
    data = json.loads(text)
    assert data["keys"] == [[0, 2], [0, 0], [0, 1], [1, 2], [1, 0], [1, 1]]
    assert data["columns"]["dram_bytes"] == [row["dram_bytes"] for row in ROWS]
    assert data["columns"]["ratio"] == [0.5, 0.5, None] * 2


def test_pictures_are_there_where_something_moves() -> None:
    names = {
        name.rpartition(".")[0] for name in sweep_pictures(sweep_of("g", AXES, [*ROWS[0]], ROWS))
    }
    assert names == {"lines", "matrix", "points"}
    one = sweep_of("g", AXES, list(ROWS[0]), ROWS[:1])
    assert sweep_pictures(one) == {}
    nothing = sweep_of("g", AXES, ["network"], ())
    assert sweep_pictures(nothing) == {}
    assert nothing.to_json()["figures"] == []
