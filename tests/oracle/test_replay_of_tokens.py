"""Whole networks of tokens, executed at several budgets under every policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path

import onnx
import pytest

from dataflow_sim.networks import build_network
from dataflow_sim.networks.language import llama
from dataflow_sim.program.lowering import lower
from dataflow_sim.schedule.check import check_schedule
from dataflow_sim.schedule.search import POLICIES, schedule_network
from dataflow_sim.schedule.types import MemoryOptions
from dataflow_sim.simulate.reference import with_weights
from tests.support.decoder import Sizes, decoder
from tests.support.models import references
from tests.support.runs import buffering, least_budget
from tests.support.streamed import StreamCase, one_node, replayed, stream_case

FACTORS = (1.0, 1.5, 3.0, 10.0, 1000.0)
SMALL = llama.Sizes(16, 1, 4, 2, 24, 50, 16)


def both_ways() -> onnx.ModelProto:
    """A long short-term memory in both directions, of six time steps."""
    weights = {"w1": (2, 32, 6), "r2": (2, 32, 8), "b3": (2, 64)}
    return one_node(
        "LSTM",
        {"x0": (6, 1, 6)},
        weights,
        outputs=("y", "h", "c"),
        opset=14,
        hidden_size=8,
        direction="bidirectional",
    )


def exported() -> onnx.ModelProto:
    """A decoder of one layer as an exporter writes it, before anything simplifies it."""
    return decoder(1, Sizes(16, 4, 2, 24, 50, 32), seed=3)


BUILT: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "prefill": partial(llama.prefill, "prefill", 6, 1, 50, SMALL),
    "decode": partial(llama.decode, "decode", 7, 1, 50, SMALL),
    "both ways": both_ways,
}
EXPORTED_DIMS = {"batch": 1, "sequence": 2, "past": 5, "total": 7}
LARGE = (
    *("bert_tiny@tokens=16-layers=2", "gpt2@tokens=8-layers=1-vocabulary=50"),
    *("gpt2_decode@cache=8-layers=1-vocabulary=50", "mobilebert_tiny@tokens=4-layers=1"),
    *("deit_tiny@layers=1", "tinyllama_1b_decode@cache=7-layers=1-vocabulary=50"),
)
FILES = ("hf_llama_tiny_decode_kv63", "lstm_bidir_dynamo", "hf_bert_mini_dynseq")


@lru_cache(maxsize=4)
def case(name: str) -> StreamCase:
    if name == "exported":
        return stream_case(exported(), name, EXPORTED_DIMS, highest=7)
    model = BUILT[name]() if name in BUILT else build_network(name)
    return stream_case(with_weights(model, 1, unit_gain=True), name, fast=name in LARGE)


def check(found: StreamCase, factor: float, policy: str, most_steps: int) -> bool:
    """Replay a network in so many times the least memory; False where that takes too long."""
    budget = int(least_budget(found.graph, False) * factor)
    memory = MemoryOptions(budget, buffering(False), 32)
    schedule = schedule_network(found.graph, memory, policy)
    check_schedule(found.graph, schedule)
    if schedule.steps > most_steps:
        return False
    replayed(found, lower(found.graph, schedule))
    return True


@pytest.mark.parametrize(
    ("name", "factor", "policy"),
    [
        ("prefill", 4.0, "layerwise"),
        ("decode", 6.0, "resident"),
        ("both ways", 3.0, "layerwise"),
        ("both ways", 1000.0, "layerwise"),
        ("exported", 4.0, "layerwise"),
    ],
)
def test_small_networks(name: str, factor: float, policy: str) -> None:
    assert check(case(name), factor, policy, 5_000)


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", [*BUILT, "exported"])
def test_small_networks_at_every_budget(name: str, policy: str) -> None:
    for factor in FACTORS:
        assert check(case(name), factor, policy, 100_000)


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", LARGE)
def test_built_in_networks(name: str, policy: str) -> None:
    assert sum(check(case(name), factor, policy, 20_000) for factor in FACTORS) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_exported_files(name: str, shared: Path) -> None:
    row = references(shared)[name]
    model = onnx.load(str(row.path), load_external_data=False)
    found = stream_case(with_weights(model, 1, unit_gain=True), name, row.dims, fast=True)
    for policy in ("layerwise", "resident"):
        assert sum(check(found, factor, policy, 20_000) for factor in FACTORS) >= 2
