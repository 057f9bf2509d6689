"""Help is there at once: under 0.3 s, whatever the package imports when it works."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

MOST_S = 0.3
MAIN = "from dataflow_sim.cli.main import main; main()"


@pytest.mark.parametrize("words", [("--help",), ("run", "--help"), ("report", "--help")])
def test_help(words: tuple[str, ...], benchmark: Any) -> None:
    def told() -> None:
        subprocess.run([sys.executable, "-c", MAIN, *words], capture_output=True, check=True)

    benchmark.pedantic(told, rounds=5, warmup_rounds=1)
    assert benchmark.stats.stats.median < MOST_S
