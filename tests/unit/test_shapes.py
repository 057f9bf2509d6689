"""Groups of one shape cost the same, and only they share what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.schedule.baseline import Baseline
from dataflow_sim.schedule.lives import MapLives
from dataflow_sim.schedule.merging import Groups
from dataflow_sim.schedule.options import Options
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from tests.support.branches import branchy


def options_of(graph: NetworkGraph) -> Options:
    memory = MemoryOptions(0, SINGLE, 32)
    baseline = Baseline(graph, memory)
    return Options(graph, memory, MapLives(graph), baseline, 1 << 60, may_merge=False)


def chain(kernels: list[int], channels: list[int]) -> Options:
    net = OnnxBuilder("chain", (1, 4, 12, 12))
    value = "input"
    for number, (kernel, out) in enumerate(zip(kernels, channels, strict=True)):
        value = net.convolution(f"c{number}", value, out, kernel)
    graph = graph_from_model(net.model(value), "chain")
    return options_of(assign_precision(graph, Precision(8, 8, 32)))


def test_what_is_alike_by_hand() -> None:
    options = chain([1, 3, 1, 3, 1, 3], [4, 4, 4, 4, 4, 5])
    keys = {pair: options.shapes.of(pair).key for pair in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]}
    assert keys[1, 2] == keys[3, 4]
    # the first reads the network's input, the last makes its output, of another size
    assert len(set(keys.values())) == 4
    shape = options.shapes.of((2, 3))
    assert (shape.outside, shape.outgoing) == (("c1",), ("c3",))
    whole = options.shapes.of((0, 1, 2, 3, 4, 5))
    assert (whole.outside, whole.outgoing) == (("input",), ("c5",))


@pytest.mark.parametrize("seed", range(1, 7))
def test_groups_of_one_shape_cost_the_same(seed: int) -> None:
    graph = graph_from_model(branchy(seed, 24), "random")
    options = options_of(assign_precision(graph, Precision(8, 8, 32)))
    groups = Groups(options.group)
    known: dict[object, tuple[object, ...]] = {}
    shared = 0
    layers = len(options.graph.layers)
    for start in range(layers):
        for stop in range(start + 1, min(start + 4, layers) + 1):
            members = tuple(range(start, stop))
            if not all(options.tables.mergeable[index] for index in members):
                break
            shape = options.shapes.of(members)
            group = groups.group(members, None, False)
            assert tuple(found.name for found in group.timetable.outside()) == shape.outside
            assert tuple(found.name for found in group.outgoing) == shape.outgoing
            outside = np.zeros((1, len(shape.outside)), bool)
            going = np.zeros((1, len(shape.outgoing), 2), bool)
            going[:, :, 1] = True
            able = [index for index in members if options.kernels[index].can_stream]
            sets = [(), tuple((index, 0) for index in able)]
            table = group.table(outside, going, sets)
            costs = (table.local_bytes.tolist(), table.dram_bits.tolist())
            shared += shape.key in known
            assert known.setdefault(shape.key, costs) == costs
    assert shared > 0
