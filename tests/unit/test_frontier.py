"""Pareto points: the same whatever is left out on the way."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow_sim.schedule.frontier import pareto


def one_by_one(local: list[int], bits: list[int]) -> list[int]:
    """The first of each point that nothing undercuts, ascending in local bytes."""
    found: list[int] = []
    for index in sorted(range(len(local)), key=lambda i: (local[i], bits[i], i)):
        if not found or bits[index] < bits[found[-1]]:
            found.append(index)
    return found


@pytest.mark.parametrize("count", [1, 2, 100, 4095, 4096, 20_000])
@pytest.mark.parametrize("spread", [3, 50, 100_000])
def test_pareto_points_of_many_and_few(count: int, spread: int) -> None:
    generator = np.random.default_rng([count, spread])
    local = generator.integers(1, spread + 1, count)
    # a trade-off with noise, so that many points lie near the curve
    bits = spread * 100 // local + generator.integers(0, spread, count)
    assert pareto(local, bits).tolist() == one_by_one(local.tolist(), bits.tolist())
