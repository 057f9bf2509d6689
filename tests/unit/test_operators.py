"""Every row of the registry in a network of its own: MACs by hand, bytes from the shapes."""

from __future__ import annotations

import pytest

from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.ingest.catalogue import BEFORE, OWN_DOMAIN, catalogue
from dataflow_sim.ingest.contrib import DEFINITIONS
from dataflow_sim.ingest.operators import OPERATORS
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.pipeline import run
from tests.support.operator_cases import CASES, OperatorCase

BARE = load_hardware("bare", {"local_memory.capacity": "64MiB", "count_biases": "true"})


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case.op}" for i, case in enumerate(CASES)])
def test_what_an_operator_computes_and_moves(case: OperatorCase) -> None:
    graph = graph_from_model(case.model(), case.op)
    assert not graph.warnings
    assert sum(map(layer_macs, graph.layers)) == case.macs
    result = run(graph, BARE)
    assert result.counted
    assert result.macs_executed == case.macs
    outputs = (graph.tensors[name] for name in graph.outputs)
    output_bytes = sum(t.elements * (t.bits if t.quantised else 8) // 8 for t in outputs)
    assert result.traffic.total_bytes == case.expected_bytes(output_bytes)


def test_every_row_is_tested_and_listed() -> None:
    tested = {case.op for case in CASES}
    own = {name for name in OPERATORS if name.startswith(OWN_DOMAIN)}
    assert set(OPERATORS) - own == tested
    listed = [row.operator for row in catalogue()]
    assert listed == sorted(set(listed))
    defined = {f"{domain}::{op}" for domain, op in DEFINITIONS if domain}
    assert set(listed) == tested | set(BEFORE) | defined


def test_a_bias_of_one_channel_is_learned_and_fetched() -> None:
    net = OnnxBuilder("one", (1, 3, 4, 4, 4))
    weights = [net.weight("up.weight", (3, 1, 3, 3, 3)), net.weight("up.bias", (1,))]
    model = net.model(net.node("ConvTranspose", "up", ["input", *weights]))
    graph = graph_from_model(model, "one")
    assert graph.parameters == 3 * 27 + 1
    assert sum(graph.tensors[name].elements for name in graph.layers[0].weights) == 1
