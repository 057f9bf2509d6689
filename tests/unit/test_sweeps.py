"""Sweeps: hand-computed examples, and networks whose every count the ledger confirms."""

from __future__ import annotations

import pytest

from dataflow_sim.graph.layer import Layer, LayerKind, Segment, Tensor, TensorKind, View
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.graph.sweep import Cut, Sweep, SweepKind
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.language import llama
from dataflow_sim.schedule.search import budget_curve, schedule_network
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from tests.support.runs import buffering, least_budget, proved

QUERIES, KEYS, DEPTH = 4, 6, 2


def attention(heads: int = 1) -> NetworkGraph:
    """Heads as channels, queries and keys as rows, 8 bit."""
    shapes = {"q": QUERIES, "k": KEYS, "v": KEYS, "y": QUERIES}
    tensors = {
        name: Tensor(
            name,
            TensorKind.OUTPUT if name == "y" else TensorKind.INPUT,
            (1, heads * DEPTH, rows, 1),
            8,
        )
        for name, rows in shapes.items()
    }
    view = {n: View((Segment(n, 0, t.shape[1]),), t.shape) for n, t in tensors.items()}
    head = (Cut("G", 1),) if heads > 1 else ()
    query, key = (*head, Cut("P", 2)), (*head, Cut("N", 2))
    shape = tensors["y"].shape
    layer = Layer(
        name="attention",
        op="Attention",
        kind=LayerKind.STREAMED,
        input=view["q"],
        operands=(view["k"], view["v"]),
        output="y",
        body_shape=shape,
        output_shape=shape,
        stated_macs=heads * QUERIES * KEYS * 2 * DEPTH,
        sweep=Sweep(
            kind=SweepKind.ATTENTION,
            batch=1,
            groups=heads,
            rows=QUERIES,
            parts=(KEYS,),
            views=(query, key, key),
            outputs=(query,),
            sums=DEPTH + 2,
        ),
    )
    return NetworkGraph("attention", (layer,), tensors, ("q", "k", "v"), ("y",), 0)


@pytest.mark.parametrize(
    ("accumulator", "points"),
    [
        # sums of 4 x 4 bytes a row.  One query, one key: 4 tiles of 2 + 16; q 8, k and v
        # 4 x 24, y 8.  One query, all keys: 2 + 12 + 12 + 2, no sums; everything once
        (32, [(24, 112), (28, 40)]),
        # sums of 4 bytes a row.  Two queries, one key: 4 + 2 + 2 + 4 + 8; q 8, k and v 2 x 24
        (8, [(12, 112), (20, 64), (28, 40)]),
    ],
)
def test_one_head_by_hand(accumulator: int, points: list[tuple[int, int]]) -> None:
    memory = MemoryOptions(0, doubled=SINGLE, accumulator_bits=accumulator)
    curve = budget_curve(attention(), memory, "layerwise")
    assert [(p.local_bytes, p.dram_bytes) for p in curve.points] == points


def test_more_heads_cost_no_memory() -> None:
    memory = MemoryOptions(0, doubled=SINGLE, accumulator_bits=32)
    curve = budget_curve(attention(heads=3), memory, "layerwise")
    assert [(p.local_bytes, p.dram_bytes) for p in curve.points] == [(24, 3 * 112), (28, 3 * 40)]


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("heads", [1, 3])
def test_ledger_equals_estimate_everywhere(heads: int, double: bool) -> None:
    graph = attention(heads)
    least, before = least_budget(graph, double), 1 << 40
    for capacity in range(least, least + 40):
        for policy in ("layerwise", "resident"):
            schedule = schedule_network(
                graph, MemoryOptions(capacity, buffering(double), 32), policy
            )
            proved(graph, schedule)
        moved = sum(schedule.traffic_bytes().values())
        assert moved <= before
        before = moved


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("groups", [pytest.param(2, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize("kind", ["prefill", "decode"])
def test_decoders(kind: str, groups: int, double: bool) -> None:
    sizes = llama.Sizes(32, 2, 4, groups, 48, 50, 16)
    if kind == "prefill":
        model = llama.prefill("g", 16, 2, sizes.vocabulary, sizes)
    else:
        model = llama.decode("g", 15, 2, sizes.vocabulary, sizes)
    graph = assign_precision(graph_from_model(model, "g"), Precision(8, 8, 32))
    swept = [layer.sweep for layer in graph.layers if layer.op == "Attention"]
    assert {(s.groups, s.columns) for s in swept if s is not None} == {(groups, 16)}
    least = least_budget(graph, double)
    for times in (1, 2, 5):
        for policy in ("layerwise", "resident"):
            memory = MemoryOptions(least * times, buffering(double), 32)
            proved(graph, schedule_network(graph, memory, policy))
