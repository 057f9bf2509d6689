"""The engine: every task once, whatever becomes of its worker; rows that say what a run says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dataflow_sim.pipeline import RunOptions, load_network, run
from dataflow_sim.scenario.model import Settings
from dataflow_sim.sweeps import engine, tasks, work
from dataflow_sim.sweeps.engine import processes, sweep
from dataflow_sim.sweeps.store import Store
from dataflow_sim.sweeps.tasks import Task, key_of, task_of
from tests.support.changed import machine
from tests.support.scenarios import SMALL, scenario, studied

NETWORK = "mobilenet_v1@0.25-32"


def settings(**given: object) -> Settings:
    return Settings.model_validate({"network": NETWORK, "hardware": "bare", **given})


def quiet(done: int, total: int) -> None:
    """No progress."""


# ------------------------------------------------------------ keys


def test_equal_questions_have_one_key_and_different_ones_have_others() -> None:
    keys = {
        key_of(task_of(kind, settings(**given)))
        for kind in ("facts", "curve", "run")
        for given in (
            {},
            {"network": "ds_cnn_s"},
            {"weight_bits": 4},
            {"what_ifs": ["prune=0.5"]},
            {"batch": 2},
            {"set": {"pooling": "separate"}},
        )
    }
    assert len(keys) == 18
    text = task_of("run", settings(set={"dram.energy": "10pJ/bit"}))
    assert key_of(text) == key_of(task_of("run", settings()))  # what the file says already


def test_a_curve_is_one_for_all_memories_and_prices() -> None:
    one = task_of("curve", settings(local_memory=8192, set={"dram.energy": "1pJ/bit"}))
    other = task_of("curve", settings(local_memory=65536, set={"dram.bandwidth": "1GB/s"}))
    assert one == other
    assert task_of("run", settings(local_memory=8192)) != task_of("run", settings())


def test_the_contents_of_a_file_are_in_the_key(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"one")
    path = str(tmp_path / "net.onnx")
    first = key_of(task_of("facts", settings(network=path)))
    tasks._content.cache_clear()
    (tmp_path / "net.onnx").write_bytes(b"two")
    assert key_of(task_of("facts", settings(network=path))) != first


def test_other_code_has_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    first = key_of(task_of("facts", settings()))
    monkeypatch.setattr(tasks, "code_version", lambda: "other")
    assert key_of(task_of("facts", settings())) != first


# ------------------------------------------------------------ results


def test_points_on_a_curve_are_those_of_runs(tmp_path: Path) -> None:
    """What is read off a curve is byte for byte what a run at that memory finds."""
    found = studied(SMALL, tmp_path)
    assert found.computed == 4 + 2  # curves, facts: six memories and two policies share them
    for row in found.points.rows:
        if row["status"] != "ok":
            continue
        memory = f"{row['capacity_bytes']}B"
        options = RunOptions(policy=str(row["policy"]))
        result = run(
            load_network(str(row["network"])), machine(local_memory__capacity=memory), options
        )
        assert row["dram_bytes"] == result.traffic.total_bytes
        assert row["macs"] == result.macs


def test_a_point_that_fails_is_a_row_with_its_error(tmp_path: Path) -> None:
    found = studied(
        "title: t\nnetwork: ds_cnn_s\nhardware: bare\naxes: {local_memory: [16B, 64KiB],"
        " what_ifs: {none: [], split: [separable=on]}}\nrecord: [dram_bytes, latency_ms]",
        tmp_path,
    )
    told = [
        (row["local_memory_bytes"], row["what_ifs"], row["status"]) for row in found.points.rows
    ]
    assert told == [
        (16, "none", "does not fit"),
        (16, "split", "error"),
        (65536, "none", "ok"),
        (65536, "split", "error"),
    ]
    errors = [row["error"] for row in found.points.rows]
    assert "its smallest tiling needs" in str(errors[0])
    assert "the network has no such block" in str(errors[1])
    assert (found.failed, found.defects) == (3, 0)


def test_an_unforeseen_error_is_a_defect_of_its_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(asked: object) -> work.Payload:
        raise RuntimeError("on purpose")

    monkeypatch.setitem(work._KINDS, "facts", broken)
    found = work.compute(task_of("facts", settings()))
    assert found["status"] == "defect"
    assert found["error"].startswith("RuntimeError: on purpose (test_engine.py:")


# ------------------------------------------------------------ workers that die


def _dies_once(task: Task) -> tuple[work.Payload, float]:
    asked = json.loads(task.text)
    if "mark" in asked and not Path(asked["mark"]).exists():
        Path(asked["mark"]).touch()
        os._exit(9)
    if asked.get("always"):
        os._exit(9)
    return {"status": "ok", "row": {}}, 0.0


@pytest.mark.slow
def test_a_dead_worker_loses_nothing_but_what_kills_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "timed", _dies_once)
    asked = [Task("facts", json.dumps({"number": n})) for n in range(12)]
    asked.insert(5, Task("facts", json.dumps({"mark": str(tmp_path / "mark")})))
    asked.insert(8, Task("facts", json.dumps({"always": True})))
    found = {task: payload["status"] for task, payload, _ in processes(2)(asked)}
    assert set(found) == set(asked)
    assert [task for task, status in found.items() if status != "ok"] == [asked[8]]


def test_what_is_stored_is_not_computed(tmp_path: Path) -> None:
    asked = [task_of("facts", settings(network=name)) for name in ("ds_cnn_s", NETWORK)]
    done: list[Task] = []

    def counting(left: object) -> object:
        for result in engine.one_by_one(left):  # type: ignore[arg-type]
            done.append(result[0])
            yield result

    with Store(tmp_path) as store:
        sweep(asked[:1], store, counting, quiet)  # type: ignore[arg-type]
        _, swept = sweep([*asked, *asked], store, counting, quiet)  # type: ignore[arg-type]
    assert done == asked
    assert (swept.stored, swept.computed) == (1, 1)


def test_scenarios_share_what_they_have_in_common(tmp_path: Path) -> None:
    first = studied(SMALL, tmp_path)
    again = studied(SMALL.replace("64KiB", "63KiB"), tmp_path)
    assert (first.computed, again.computed) == (6, 0)
    assert len(scenario(SMALL).points) == 12
