"""Speed of sweeps, measured: `pytest tests/benchmarks -n 0`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.support.commands import command

Benchmark = Any
_SECONDS = 600.0
STUDY = Path(__file__).with_name("ten_thousand_points.yaml")


def test_ten_thousand_points(benchmark: Benchmark, tmp_path: Path) -> None:
    """20 networks, 125 memories, 4 what-ifs, layers merged, on two cores: below ten minutes."""
    start = time.monotonic()
    arguments = ("sweep", str(STUDY), "--out", "out", "--processes", "2")
    done = benchmark.pedantic(lambda: command(*arguments, cwd=tmp_path), rounds=1, iterations=1)
    assert "10,000 points, 160 computed" in done.stdout
    assert time.monotonic() - start < _SECONDS
