"""`dataflow-sim run --frames` as users run it: JSON, tables, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from dataflow_sim import pipeline
from dataflow_sim.hardware import load_hardware
from dataflow_sim.report.live_set import HELD, WEIGHTS, live_set
from tests.support.commands import command
from tests.support.small import SMALL

RUN = ("run", "residual.onnx", "--hw", "bare", "--policy", "merged", "--local-memory", "2500")


@pytest.fixture(autouse=True)
def network(tmp_path: Path) -> None:
    """A small network, as a file in the directory where the command runs."""
    onnx.save(SMALL["residual"](), str(tmp_path / "residual.onnx"))


def run_json(*arguments: str, cwd: Path) -> Any:
    return json.loads(command(*RUN, *arguments, "--json", cwd=cwd).stdout)


def test_one_frame_is_the_default(tmp_path: Path) -> None:
    plain, one = run_json(cwd=tmp_path), run_json("--frames", "1", cwd=tmp_path)
    assert plain == one
    moved = plain["dram"]["total_bytes"]
    found = plain["frames"]
    assert found["frames"] == 1
    assert found["cold_bytes"] == found["warm_bytes"] == found["total_bytes"] == moved
    assert found["resident_weights"] == []
    assert found["resident_weight_bytes"] == 0
    assert found["warm_energy_pj"] == plain["energy_pj"]
    assert found["warm_latency_s"] == plain["latency_s"]


def test_many_frames(tmp_path: Path) -> None:
    """Everything outside `frames` is the cold one's; required GB/s are those that last."""
    plain = run_json(cwd=tmp_path)
    result = run_json("--frames", "100", "--fps", "1000", cwd=tmp_path)
    found = result["frames"]
    assert found["described_elsewhere"] == "cold"
    assert result["dram"]["total_bytes"] == found["cold_bytes"]
    assert found["warm_dram"]["total_bytes"] == found["warm_bytes"] < found["cold_bytes"]
    assert found["total_bytes"] == found["cold_bytes"] + 99 * found["warm_bytes"]
    assert found["total_bytes"] < 100 * plain["dram"]["total_bytes"]
    # 8 bit in DRAM and in local memory: what is held is what is saved
    assert found["cold_bytes"] - found["warm_bytes"] == found["resident_weight_bytes"]
    assert found["resident_weights"] == ["d.weight", "self.weight"]
    assert found["warm_energy_pj"]["total"] < result["energy_pj"]["total"]
    assert result["required_gb_s"] == pytest.approx(found["warm_bytes"] * 1000 / 1e9)
    assert result["local"]["peak_bytes"] <= 2500
    assert result["proof"]["counted"]


def test_tables(tmp_path: Path) -> None:
    shown = command(*RUN, "--frames", "3", "--fps", "30", cwd=tmp_path).stdout
    assert "Frames; all other tables are of the cold one" in shown
    assert "cold frame, the first" in shown
    assert "warm frame, 2 of them" in shown
    assert "all 3 frames" in shown
    assert " tensors, " in shown
    assert "bandwidth required, warm frames" in shown
    assert "Frames" not in command(*RUN, cwd=tmp_path).stdout


def test_the_picture_shows_what_stays_as_weights(tmp_path: Path) -> None:
    machine = load_hardware("bare", {"local_memory.capacity": "2500B"})
    graph = pipeline.load_network(str(tmp_path / "residual.onnx"))
    result = pipeline.run(graph, machine, pipeline.RunOptions("merged", frames=100))
    live = live_set(result)
    held = dict(zip(HELD, live.held_bytes[:, live.peak].tolist(), strict=True))
    assert held[WEIGHTS] >= result.frames.resident_weight_bytes > 0
    standing = {h.label for h in live.holdings if h.held == WEIGHTS}
    assert standing >= set(result.frames.resident_weights)
    command(*RUN, "--frames", "100", "--out", "there", cwd=tmp_path)
    assert (tmp_path / "there" / "live_set.png").exists()


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ("0", "--frames is 0; give a number from 1 to 1,000,000,000"),
        ("-2", "--frames is -2; give a number from 1 to 1,000,000,000"),
        ("1000000001", "--frames is 1000000001; give a number from 1 to"),
        ("2.5", "'2.5' is not a valid integer"),
        ("many", "'many' is not a valid integer"),
    ],
)
def test_bad_numbers(frames: str, message: str, tmp_path: Path) -> None:
    done = command(*RUN, "--frames", frames, "--out", "there", cwd=tmp_path, code=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "there").exists()
