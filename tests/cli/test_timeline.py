"""`timeline`, and the times that `run` tells: what is printed, written and refused."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.commands import command, in_process

SMALL = "mobilenet_v1@0.25-32"
FILES = {
    *("layers.csv", "occupancy.csv", "timeline.json", "trace.json", "windows.csv"),
    *(f"{name}.{kind}" for name in ("timeline", "roofline") for kind in ("png", "svg")),
}


def told(where: Path, *arguments: str) -> dict[str, Any]:
    done = in_process((*arguments, "--json"), where)
    assert done.code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_run_and_timeline_tell_the_same(tmp_path: Path) -> None:
    run = told(tmp_path, "run", SMALL, "--fps", "30", "--policy", "merged")
    found = told(tmp_path, "timeline", SMALL, "--fps", "30", "--policy", "merged")
    assert found["timeline"] == run["timeline"]
    times = run["timeline"]
    assert times["latency_s"] == run["latency_s"]
    assert times["verdict"]["verdict"] == "fits"
    assert sum(layer["latency_s"] for layer in run["layers"]) == pytest.approx(run["latency_s"])
    for engine in times["engines"]:
        whole = engine["busy_s"] + sum(engine["waits_s"].values())
        assert whole == pytest.approx(times["latency_s"], rel=1e-12)
    (dram,) = times["buses"]
    assert dram["moved_bytes"] == run["dram"]["total_bytes"]
    assert dram["mean_gb_s"] <= dram["percentile_95_gb_s"] <= dram["peak_gb_s"] * (1 + 1e-9)
    assert dram["peak_gb_s"] <= dram["pins_gb_s"] * (1 + 1e-9)
    assert run["required_gb_s"] == pytest.approx(dram["moved_bytes"] * 30 / 1e9)


def test_files_and_what_they_hold(tmp_path: Path) -> None:
    done = in_process(("timeline", SMALL, "--policy", "merged", "--out", "times"), tmp_path)
    assert done.code == 0, done.stderr
    out = tmp_path / "times"
    assert {path.name for path in out.iterdir()} == FILES
    found = json.loads((out / "timeline.json").read_text())
    latency_us = found["timeline"]["latency_s"] * 1e6
    layers = pd.read_csv(out / "layers.csv")
    assert layers["latency_us"].sum() == pytest.approx(latency_us)
    windows = pd.read_csv(out / "windows.csv")
    seconds = (windows["to_us"] - windows["from_us"]) / 1e6
    moved = ((windows["read_gb_s"] + windows["written_gb_s"]) * 1e9 * seconds).sum()
    assert moved == pytest.approx(found["dram"]["total_bytes"])
    capacity = found["local"]["capacity_bytes"]
    assert 0 < windows["local_bytes"].max() <= capacity
    stays = pd.read_csv(out / "occupancy.csv")
    assert (stays["address"] + stays["size_bytes"]).max() <= found["local"]["peak_bytes"]
    assert any("kernel" in name for name in stays["buffer"])


def test_the_trace_is_one_that_viewers_open(tmp_path: Path) -> None:
    """Every slice has its times; slices of a track follow one another; buffers begin and end."""
    done = in_process(("timeline", SMALL, "--out", "times"), tmp_path)
    assert done.code == 0, done.stderr
    trace = json.loads((tmp_path / "times" / "trace.json").read_text())
    tracks: dict[int, list[tuple[float, float]]] = defaultdict(list)
    names, open_stays = {}, set()
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            tracks[event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
        elif event["ph"] == "M" and event["name"] == "thread_name":
            names[event["tid"]] = event["args"]["name"]
        elif event["ph"] == "b":
            open_stays.add(event["id"])
        elif event["ph"] == "e":
            open_stays.remove(event["id"])
        elif event["ph"] == "C":
            assert event["name"] in ("DRAM GB/s", "local memory bytes")
    assert not open_stays
    assert set(names.values()) == {"compute", "DMA in, dram", "DMA out, dram"}
    for slices in tracks.values():
        ordered = sorted(slices)
        for (_, end), (start, _) in pairwise(ordered):
            assert start >= end - 1e-6
    moved = sum(
        e["args"]["bytes"]
        for e in trace["traceEvents"]
        if "bytes" in e.get("args", {}) and e["ph"] == "X"
    )
    found = json.loads((tmp_path / "times" / "timeline.json").read_text())
    assert moved == found["dram"]["total_bytes"]


def test_sensitivity_tells_what_buys_most(tmp_path: Path) -> None:
    found = told(tmp_path, "timeline", SMALL, "--sensitivity", "--local-memory", "40KiB")
    base = found["timeline"]["latency_s"]
    each = {(e["resource"], e["factor"]): e for e in found["sensitivity"]}
    assert len(each) == 8
    for resource in ("bandwidth", "MACs", "clock"):
        assert each[resource, 2.0]["latency_s"] <= base <= each[resource, 0.5]["latency_s"]
    assert each["memory", 2.0]["dram_bytes"] <= found["dram"]["total_bytes"]
    assert each["memory", 0.5]["dram_bytes"] >= found["dram"]["total_bytes"]
    asked = ("timeline", SMALL, "--layers", "1:1", "--sensitivity", "--local-memory", "100B")
    tight = told(tmp_path, *asked)
    (half,) = [e for e in tight["sensitivity"] if (e["resource"], e["factor"]) == ("memory", 0.5)]
    assert half["latency_s"] is None
    assert "needs" in half["note"]
    assert "does not fit" in in_process(asked, tmp_path).stdout


def test_frames_in_flight_and_batches(tmp_path: Path) -> None:
    alone = told(tmp_path, "run", SMALL)["timeline"]
    two = told(tmp_path, "run", SMALL, "--in-flight", "2")["timeline"]
    assert alone["period_s"] == alone["latency_s"] == two["latency_s"]
    assert two["period_s"] < alone["period_s"]
    assert two["frames_per_second"] == pytest.approx(1 / two["period_s"])
    batch = told(tmp_path, "run", SMALL, "--batch", "4")["timeline"]
    assert batch["images_per_frame"] == 4
    assert batch["images_per_second"] > alone["images_per_second"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--in-flight", "0"), "--in-flight is 0; give 1 or 2"),
        (("--in-flight", "3"), "no third frame is ever under way"),
        (("--fps", "0"), "a frame rate is above 0"),
        (("--out", " "), "--out is empty"),
        (("--set", "dram.efficiency=120%"), "dram.efficiency"),
        (("--set", "compute.vector={special_per_cycle: 2}"), "operations_per_cycle"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = in_process(("timeline", SMALL, *arguments), tmp_path)
    assert done.code == 2
    assert message in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_program_too_long_to_be_timed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflow_sim.proof.MAXIMUM_COUNTED_STEPS", 3)
    done = in_process(("timeline", SMALL), tmp_path)
    assert done.code == 2
    assert "give more --local-memory" in done.stderr
    found = told(tmp_path, "run", SMALL, "--fps", "30")
    assert found["timeline"] is None
    assert found["latency_s"] > 0
    assert "nor timed" in found["warnings"][0]


@pytest.mark.slow
def test_the_same_bytes_on_every_hash_seed(tmp_path: Path) -> None:
    asked = ("timeline", SMALL, "--sensitivity", "--out")
    seen = []
    for seed in ("1", "2"):
        command(*asked, seed, cwd=tmp_path, seed=seed)
        seen.append({path.name: path.read_bytes() for path in (tmp_path / seed).iterdir()})
    assert seen[0] == seen[1]
