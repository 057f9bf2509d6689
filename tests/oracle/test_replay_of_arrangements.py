"""Maps that the file sees reshaped, transposed or cropped: the program gives its answer."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow_sim.graph.layer import LayerKind
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.replay import replay
from tests.support.runs import case, least_budget, outputs_of, scheduled
from tests.support.tokens import TOKENS


@pytest.mark.parametrize("factor", [1.2, 3.0, 1000.0])
@pytest.mark.parametrize("name", sorted(TOKENS))
def test_the_replay_gives_the_networks_output(name: str, factor: float) -> None:
    found = case(name)
    assert all(layer.kind is not LayerKind.STREAMED for layer in found.graph.layers)
    budget = int(least_budget(found.graph, False) * factor)
    schedule, program = scheduled(found.graph, budget)
    assert schedule.traffic_bytes() == count(program).traffic_bytes()
    result = replay(program, found.graph, found.inputs)
    output = outputs_of(found.graph, result.tensors, found.expected)["output"]
    scale = float(np.abs(found.expected).max())
    np.testing.assert_allclose(output, found.expected, rtol=1e-4, atol=1e-5 * scale)
