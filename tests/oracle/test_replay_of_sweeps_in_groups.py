"""Sweeps as members of merged groups: programs by rows give the network's own outputs."""

from __future__ import annotations

from random import Random

import pytest

from dataflow_sim.networks.attention import projected_heads
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.program.instructions import Stream
from dataflow_sim.schedule.timetable import RowTables
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from dataflow_sim.simulate.reference import with_weights
from tests.oracle.row_pipeline_networks import drawn_model
from tests.support.groups import grouped
from tests.support.runs import proved
from tests.support.streamed import StreamCase, replayed, stream_case

PLAIN = MemoryOptions(0, SINGLE, 32)


def heads() -> StreamCase:
    """Projections to queries, keys and values, attention of two heads, a projection."""
    net = OnnxBuilder("heads", (1, 7, 6))
    query, key, value = (
        projected_heads(net, name, "input", 2, 3, bias=True) for name in ("q", "k", "v")
    )
    turned = net.transpose("k.turned", key, (0, 1, 3, 2))
    scores = net.node("MatMul", "scores", [query, turned])
    scores = net.multiply("scaled", scores, net.constant("scale", 0.5))
    found = net.node("MatMul", "found", [net.softmax("weights", scores), value])
    joined = net.reshape("joined", net.transpose("back", found, (0, 2, 1, 3)), (1, 7, 6))
    return stream_case(with_weights(net.model(net.linear("y", joined, 5)), 1, True), "heads")


def check(found: StreamCase, height: int | None, running: bool) -> int:
    """The last layers that run by rows, as one group; how many are sweeps."""
    able = RowTables(found.graph, PLAIN).mergeable
    first = len(able)
    while first and able[first - 1]:
        first -= 1
    if first == len(able):
        return 0
    program = proved(found.graph, grouped(found.graph, PLAIN, running, first, height))
    layers = found.graph.layers
    copies = {layer.name for layer in layers[:first] if layer.op == "Copy"}
    assert copies >= set(replayed(found, program).whole)
    sweeps = {index for index in range(first, len(able)) if layers[index].sweep is not None}
    assert sweeps <= {each.layer for each in program.instructions if isinstance(each, Stream)}
    return len(sweeps)


@pytest.mark.parametrize("height", [None, 1, 2, 3])
def test_attention_between_projections(height: int | None) -> None:
    assert check(heads(), height, running=False) == 1


def check_drawn(seed: int) -> int:
    random = Random(seed)
    model = with_weights(drawn_model(random, sweeps=True), 1, True)
    found = stream_case(model, "drawn", fast=True)  # whose pooling knows uneven padding
    return check(found, random.choice((None, None, 1, 2, 3)), random.random() < 0.5)


def test_drawn_networks() -> None:
    assert sum(check_drawn(seed) for seed in range(1, 7)) > 6


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 220))
def test_more_drawn_networks(seed: int) -> None:
    check_drawn(seed)
