"""Where a result takes the place of a resident map, nothing else is loaded there first.

An elementwise layer of two maps overwrites one of them.  With one of them resident and the other in
DRAM, the result may take over the resident one's place; the other, which could be loaded to where
the result will be were that free, needs a tile of its own.
"""

from __future__ import annotations

import numpy as np
import pytest

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.simulate.replay import replay
from tests.support.curves import curve
from tests.support.runs import case_of, outputs_of, proved

LARGE = (1, 8, 6, 5)


@pytest.mark.parametrize("first", ["made", "given"])
@pytest.mark.parametrize("policy", ["resident", "merged"])
def test_a_map_in_dram_beside_a_resident_one(first: str, policy: str) -> None:
    net = OnnxBuilder("beside", LARGE)
    made = net.convolution("made", "input", 8, 1)
    given = net.input("given", LARGE)
    total = net.add("total", *((made, given) if first == "made" else (given, made)))
    # of two readers, so that the sum does not fold into it
    model = net.model(net.add("end", net.convolution("last", total, 8, 1), made))
    found = case_of(model, f"beside_{first}")
    points = curve(found.graph, policy)
    resident = 0
    for place in np.unique(np.linspace(0, len(points.points) - 1, 12).astype(int)):
        schedule = points.schedule(points.points[place].local_bytes)
        assert schedule is not None
        resident += any(len(group.resident) > 1 for group in schedule.groups)
        result = replay(proved(found.graph, schedule), found.graph, found.inputs)
        output = outputs_of(found.graph, result.tensors, found.expected)["output"]
        np.testing.assert_array_equal(output, found.expected)
    assert resident or policy == "merged"
