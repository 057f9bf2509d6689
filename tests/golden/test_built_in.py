"""Every built-in network through the three policies at one mebibyte."""

from __future__ import annotations

import pytest

from dataflow_sim.hardware import load_hardware
from dataflow_sim.networks import BUILT_IN
from dataflow_sim.pipeline import RunOptions, run
from dataflow_sim.schedule.search import POLICIES
from tests.support.zoo import graph_of


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_policy_runs_at_one_mebibyte(name: str) -> None:
    machine = load_hardware("bare", {"local_memory.capacity": "1MiB"})
    totals = []
    for policy in POLICIES:
        result = run(graph_of(name), machine, RunOptions(policy))
        assert result.gap >= 1
        totals.append(result.traffic.total_bytes)
    assert totals == sorted(totals, reverse=True)
