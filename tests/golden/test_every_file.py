"""Every file: MACs equal to the table, every policy runs, and merging reaches the floor."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import read_network
from dataflow_sim.pipeline import RunOptions, run
from dataflow_sim.schedule.bounds import compulsory_bytes
from dataflow_sim.schedule.search import POLICIES, budget_curve
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from tests.support.curves import policies_are_ordered
from tests.support.models import LIGHT, NAMES, at_8_bit, read, references
from tests.support.runs import CLASSIC, built_in

LARGE = 64 << 20
QUICK = (
    *("lstm_bidir_dynamo", "torch_cond_if", "hf_bert_mini_dynseq", "hf_llama_tiny_decode_kv63"),
)
LIGHT_QUICK = ("bvlc_alexnet", "zfnet512")
# whose largest maps and heads want more than a mebibyte
LARGEST = ("hf_rtdetr_r18_640", "hf_segformer_b0_512", "hf_whisper_tiny_encoder")
SLOW_UNLESS_QUICK = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES
]


@pytest.mark.parametrize("name", NAMES)
def test_macs_equal_the_table(name: str, shared: Path) -> None:
    graph = read(shared, name)
    outside = [layer for layer in graph.layers if "/then/" not in layer.name]
    layers = outside if name == "torch_cond_if" else graph.layers  # the table leaves branches out
    assert sum(map(layer_macs, layers)) == references(shared)[name].macs


def test_the_table_has_no_other_files(shared: Path) -> None:
    assert sorted(references(shared)) == sorted(NAMES)


@pytest.mark.parametrize("name", SLOW_UNLESS_QUICK)
def test_every_policy_runs(name: str, shared: Path) -> None:
    capacity = "8MiB" if name in LARGEST else "1MiB"
    machine = load_hardware("bare", {"local_memory.capacity": capacity})
    totals = []
    for policy in POLICIES:
        result = run(read(shared, name), machine, RunOptions(policy))
        # what little memory resident maps leave may make more steps than production counts
        assert result.counted or policy != "layerwise"
        assert result.gap >= 1
        totals.append(result.traffic.total_bytes)
    assert totals == sorted(totals, reverse=True)


def reaches_the_floor(graph: NetworkGraph) -> None:
    points = budget_curve(graph, MemoryOptions(0, SINGLE, 32), "merged").points
    assert points[-1].dram_bytes == compulsory_bytes(graph)
    assert points[-1].local_bytes <= LARGE


@pytest.mark.parametrize("name", SLOW_UNLESS_QUICK)
def test_exported_networks(name: str, shared: Path) -> None:
    graph = at_8_bit(read(shared, name))
    if name == "hf_rtdetr_r18_640":
        stays_above_the_floor_by_shared_kernels(graph)
    else:
        reaches_the_floor(graph)


def stays_above_the_floor_by_shared_kernels(graph: NetworkGraph) -> None:
    """Kernels that several layers use are fetched by each of them; nothing else is missed."""
    users = Counter(layer.weight for layer in graph.layers if layer.weight)
    again = sum(graph.tensors[name].elements * (n - 1) for name, n in users.items())
    assert again > 0
    points = budget_curve(graph, MemoryOptions(0, SINGLE, 32), "merged").points
    assert points[-1].dram_bytes == compulsory_bytes(graph) + again


@pytest.mark.parametrize(
    "name",
    [name if name in LIGHT_QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LIGHT],
)
def test_light_networks(name: str, light_models: Path) -> None:
    graph = at_8_bit(read_network(light_models / f"light_{name}.onnx"))
    reaches_the_floor(graph)
    if name in LIGHT_QUICK:
        policies_are_ordered(graph)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIC)
def test_built_in_networks(name: str) -> None:
    reaches_the_floor(built_in(name, biases=True))
