"""`study`, `compare` and `scenario`: questions over stored results, and files to begin from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataflow_sim.scenario.shipped import shipped_scenarios
from tests.support.commands import command

STUDY = """
title: memory
networks: [ds_cnn_s, mobilenet_v1@0.25-32]
hardware: bare
axes:
  policy: [layerwise, resident]
  local_memory: [16B, 4KiB, 8KiB, 16KiB, 64KiB]
record: [dram_bytes, map_bytes, compulsory_bytes, capacity_bytes]
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("study")
    (directory / "study.yaml").write_text(STUDY)
    command("sweep", "study.yaml", "--out", "out", "--processes", "1", cwd=directory)
    return directory


def answer(swept: Path, *arguments: str) -> list[dict[str, object]]:
    done = command("study", *arguments, "--json", cwd=swept)
    rows: list[dict[str, object]] = json.loads(done.stdout)["rows"]
    return rows


def test_the_four_questions(swept: Path) -> None:
    points = json.loads(
        command("sweep", "study.yaml", "--out", "out", "--resume", "--json", cwd=swept).stdout
    )
    fitting = [p for p in points["points"] if p["status"] == "ok" and p["network"] == "ds_cnn_s"]
    floor = next(
        p["local_memory_bytes"]
        for p in sorted(fitting, key=lambda p: p["local_memory_bytes"])
        if p["policy"] == "resident" and p["map_bytes"] == 0
    )
    needs = answer(
        swept,
        *("needs", "out", "--least", "local_memory_bytes", "--target", "map_bytes == 0"),
        *("--by", "network"),
    )
    assert [r["local_memory_bytes"] for r in needs if r["network"] == "ds_cnn_s"] == [floor]
    knee = answer(swept, "knee", "out", "--within", "0%", "--by", "network", "--by", "policy")
    assert {r["policy"] for r in knee} == {"resident"}
    front = answer(
        swept, "pareto", "out/points.csv", "--least", "dram_bytes", "--least", "local_memory_bytes"
    )
    moved = [r["dram_bytes"] for r in front]
    assert moved == sorted(moved)  # type: ignore[type-var]
    axes = answer(swept, "sensitivity", "out", "--of", "dram_bytes")
    assert {r["axis"] for r in axes} == {"network", "policy", "local_memory_bytes"}
    shown = command("study", "knee", "out", "--within", "0%", cwd=swept)
    assert "within 0% of compulsory_bytes" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("pareto", "out", "--least", "dram_bytes"), "name two columns or more"),
        (
            ("pareto", "out", "--least", "dram_byte", "--most", "map_bytes"),
            "did you mean 'dram_bytes'",
        ),
        (("knee", "out", "--within", "a bit"), "is no part"),
        (("needs", "out", "--least", "map_bytes", "--target", "x <"), "is no expression"),
        (("sensitivity", "nowhere", "--of", "dram_bytes"), "'nowhere' does not exist"),
        (("sensitivity", "study.yaml", "--of", "x"), "is no table of points"),
    ],
)
def test_bad_questions(swept: Path, arguments: tuple[str, ...], why: str) -> None:
    assert why in command("study", *arguments, cwd=swept, code=2).stderr


def test_two_runs_compared(tmp_path: Path) -> None:
    run = ("run", "mobilenet_v1@0.25-32", "--hw", "bare", "--local-memory", "8KiB")
    command(*run, "--out", "a", cwd=tmp_path)
    command(*run, "--policy", "merged", "--set", "dram.energy=5pJ/bit", "--out", "b", cwd=tmp_path)
    found = json.loads(command("compare", "a", "b", "--json", cwd=tmp_path).stdout)
    inputs = {each["what"]: (each["before"], each["after"]) for each in found["inputs"]}
    assert inputs["policy"] == ("layerwise", "merged")
    assert inputs["machine: dram.energy_pj_per_bit"] == (10.0, 5.0)
    a, b = (json.loads((tmp_path / each / "result.json").read_text()) for each in "ab")
    figures = {each["what"]: each for each in found["figures"]}
    total = figures["DRAM bytes"]
    assert total["difference"] == b["dram"]["total_bytes"] - a["dram"]["total_bytes"] < 0
    # layers and reasons add up to the whole difference
    assert sum(each["difference_bytes"] for each in found["layers"]) == total["difference"]
    for layer in found["layers"]:
        assert sum(layer["by_reason"].values()) == layer["difference_bytes"]
    by_reason = [e["difference"] for w, e in figures.items() if w.startswith("bytes of ")]
    assert sum(by_reason) == total["difference"]
    assert any("ran alone, runs with" in why for each in found["layers"] for why in each["why"])
    page = command("compare", "a", "b", "--markdown", cwd=tmp_path).stdout
    assert page.startswith("# a against b\n")
    assert "| policy | layerwise | merged |" in page
    assert "Nothing differs" in command("compare", "a", "a", cwd=tmp_path).stdout


def test_two_sweeps_compared(swept: Path) -> None:
    text = STUDY.replace("record:", "what_ifs: [weight_bits=4]\nrecord:")
    text = text.replace("hardware: bare", "hardware: bare\nset: {formats.weights.low_bits: array}")
    (swept / "narrow.yaml").write_text(text)
    command("sweep", "narrow.yaml", "--out", "narrow", "--processes", "1", cwd=swept)
    found = json.loads(command("compare", "out", "narrow", "--json", cwd=swept).stdout)
    assert found["inputs"] == []
    assert found["figures"]
    for each in found["figures"]:
        if each["what"].endswith(": compulsory_bytes"):
            assert each["difference"] < 0
    done = command("compare", "out", "study.yaml", cwd=swept, code=2)
    assert "are a run and a sweep; give two of a kind" in done.stderr


@pytest.mark.parametrize("name", ["nowhere", "study.yaml"])
def test_what_cannot_be_compared(swept: Path, name: str) -> None:
    assert "error: '" in command("compare", name, name, cwd=swept, code=2).stderr


def test_a_new_scenario_is_a_copy_that_checks(tmp_path: Path) -> None:
    done = command("scenario", "new", "mine.yaml", "--like", "kv_cache", cwd=tmp_path)
    assert "`dataflow-sim scenario check mine.yaml`" in done.stdout
    assert (tmp_path / "mine.yaml").read_text() == shipped_scenarios()["kv_cache"].read_text()
    shown = command("scenario", "check", "mine.yaml", cwd=tmp_path).stdout
    assert "4 points" in shown
    assert "to compute: 4 facts, 4 run" in shown
    points = json.loads(command("scenario", "check", "mine.yaml", "--json", cwd=tmp_path).stdout)
    assert len(points) == 4
    again = command("scenario", "new", "mine.yaml", cwd=tmp_path, code=2)
    assert "'mine.yaml' is there already" in again.stderr
    assert "ends in .yaml" in command("scenario", "new", "x.txt", cwd=tmp_path, code=2).stderr


def test_schema_columns_and_list(tmp_path: Path) -> None:
    schema = json.loads(command("scenario", "schema", cwd=tmp_path).stdout)
    assert "dram_bytes" in schema["properties"]["record"]["items"]["enum"]
    assert "dram_bytes" in command("scenario", "columns", cwd=tmp_path).stdout
    listed = json.loads(command("scenario", "list", "--json", cwd=tmp_path).stdout)
    assert {each["name"] for each in listed} == set(shipped_scenarios())
