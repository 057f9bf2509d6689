"""Reviews in files: what was written is what is read; what is damaged is told."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from dataflow_sim.errors import InputError
from dataflow_sim.hardware import load_hardware
from dataflow_sim.pipeline import RunOptions, load_network, run
from dataflow_sim.results_of_review import Review
from dataflow_sim.reviewing import MOST_BARS, _track, review
from dataflow_sim.reviews import REVIEW, read_review, review_file
from tests.support.small import SMALL


@pytest.fixture(scope="module")
def small() -> Review:
    hardware = load_hardware("bare", {"local_memory.capacity": "24KiB"})
    return review(load_network("mobilenet_v1@0.25-32"), hardware, RunOptions(policy="merged"))


def test_what_is_read_is_what_was_written(small: Review, tmp_path: Path) -> None:
    (tmp_path / REVIEW).write_bytes(review_file(small))
    found = read_review(str(tmp_path))
    assert found == small
    assert found.run.json_text() == small.run.json_text()
    assert review_file(found) == review_file(small)
    assert read_review(str(tmp_path / REVIEW)) == small


@pytest.mark.parametrize("policy", ["layerwise", "resident", "merged"])
@pytest.mark.parametrize("objective", ["dram", "latency"])
def test_its_run_is_that_of_run(policy: str, objective: str) -> None:
    """The curve that is searched once changes nothing of the run."""
    graph = load_network("ds_cnn_s")
    hardware = load_hardware("bare", {"local_memory.capacity": "12KiB"})
    options = RunOptions(policy=policy, objective=objective)
    found = review(graph, hardware, options)
    assert found.run == run(graph, hardware, options)
    assert [curve.policy for curve in found.curves] == list(dict.fromkeys(["layerwise", policy]))
    assert found.over_time is not None
    assert bool(found.over_time.sensitivity) == (objective == "dram")


def test_memories_of_its_sensitivities_are_those_of_runs(small: Review) -> None:
    assert small.over_time is not None
    memory = {
        each.factor: each for each in small.over_time.sensitivity if each.resource == "memory"
    }
    for factor, size in ((0.5, "12KiB"), (2.0, "48KiB")):
        hardware = load_hardware("bare", {"local_memory.capacity": size})
        graph = load_network("mobilenet_v1@0.25-32")
        result = run(graph, hardware, RunOptions(policy="merged"))
        assert memory[factor].dram_bytes == result.traffic.total_bytes
        assert memory[factor].latency_s == result.latency_s


def test_edges_are_the_maps_between_layers(small: Review) -> None:
    group_of = {name: n for n, group in enumerate(small.run.groups) for name in group.layers}
    ways = {edge.way for edge in small.edges}
    assert ways == {"rows", "resident", "dram"}
    for edge in small.edges:
        together = edge.producer is not None and (
            group_of[edge.producer] == group_of[edge.consumer]
        )
        assert (edge.way == "rows") == together
        if edge.way == "resident":
            assert edge.tensor in small.run.groups[group_of[edge.consumer]].resident
    # what is neither made nor read through DRAM is never spilled
    spilled = any(layer.traffic.to_json()["map_write_bytes"] for layer in small.run.layers)
    inner = [edge for edge in small.edges if edge.way == "dram" and edge.producer is not None]
    assert spilled == bool(inner)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_small_networks_are_reviewed(name: str, tmp_path: Path) -> None:
    import onnx

    onnx.save(SMALL[name](), tmp_path / "net.onnx")
    graph = load_network(str(tmp_path / "net.onnx"))
    found = review(graph, load_hardware("bare"), RunOptions(policy="resident"))
    assert {edge.consumer for edge in found.edges} <= {layer.name for layer in found.run.layers}
    written = review_file(found)
    (tmp_path / REVIEW).write_bytes(written)
    assert read_review(str(tmp_path)) == found


def test_a_machine_of_banks_has_no_curve() -> None:
    hardware = load_hardware("bare", {"local_memory.banks": "4"})
    assert review(load_network("mobilenet_v1@0.25-32"), hardware).curves == ()


def test_many_events_become_fewer_bars() -> None:
    count = 4 * MOST_BARS
    same = _track("compute", [("a" if n < count // 2 else "b", 2.0 * n, 1.0) for n in range(count)])
    assert same.events == count
    assert len(same.of) <= MOST_BARS
    assert set(same.of) == {0, 1}
    assert same.start_ns[0] == 0
    assert same.start_ns[-1] + same.duration_ns[-1] == 2.0 * count - 1
    turns = _track("compute", [("ab"[n % 2], 2.0 * n, 1.0) for n in range(count)])
    assert len(turns.of) <= MOST_BARS
    ends = [s + d for s, d in zip(turns.start_ns, turns.duration_ns, strict=True)]
    assert all(end <= start for end, start in zip(ends, turns.start_ns[1:], strict=False))


def _rewritten(small: Review, path: Path, change: dict[str, object]) -> None:
    data = json.loads(gzip.decompress(review_file(small)))
    path.write_bytes(gzip.compress(json.dumps({**data, **change}).encode()))


def test_damaged_files_are_told(small: Review, tmp_path: Path) -> None:
    path = tmp_path / REVIEW
    with pytest.raises(InputError, match="does not exist; give the directory that `run --out`"):
        read_review(str(tmp_path))
    path.write_bytes(b"no gzip")
    with pytest.raises(InputError, match="cannot be read as a review: Not a gzipped file"):
        read_review(str(tmp_path))
    path.write_bytes(review_file(small)[:-100])
    with pytest.raises(InputError, match="cannot be read as a review"):
        read_review(str(tmp_path))
    path.write_bytes(gzip.compress(b"[1, 2"))
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_review(str(tmp_path))
    _rewritten(small, path, {"schema": "dataflow_sim.review/99"})
    with pytest.raises(InputError, match=r"review/99', and 'dataflow_sim.review/1' is understood"):
        read_review(str(tmp_path))
    _rewritten(small, path, {"edges": [{"tensor": 3}]})
    with pytest.raises(InputError, match=r"damaged at edges\.0\.tensor .* write it anew"):
        read_review(str(tmp_path))


def test_the_same_review_is_the_same_bytes(small: Review) -> None:
    assert review_file(small) == review_file(replace(small))
