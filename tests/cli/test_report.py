"""`report` and `compare --html` as users run them: one file, from results alone, or a clear no."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.support.chains import HOSTILE, chain
from tests.support.commands import command

NETWORK = ("mobilenet_v1@0.25-32", "--hw", "bare", "--local-memory", "12KiB")
STUDY = """
title: small
networks: [ds_cnn_s]
hardware: bare
axes: {weight_bits: [4, 8], local_memory: [16B, 4KiB, 8KiB, 64KiB]}
record: [dram_bytes, energy_mj]
"""
MOST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("results")
    (here / "study.yaml").write_text(STUDY)
    onnx.save(chain(HOSTILE), here / "</title><script>hit()</script>.onnx".replace("/", "|"))
    command("run", *NETWORK, "--policy", "merged", "--out", "merged", cwd=here)
    command("run", *NETWORK, "--out", "alone", cwd=here)
    command("sweep", "study.yaml", "--out", "grid", "--processes", "1", cwd=here)
    return here


def data_of(page: str) -> dict[str, Any]:
    """The data inside a page."""
    found = re.search(r'<script type="text/plain" id="data">([^<]*)</script>', page)
    assert found is not None
    data = json.loads(gzip.decompress(base64.b64decode(found[1])))
    assert isinstance(data, dict)
    return data


def page_of(results: Path, *arguments: str) -> dict[str, Any]:
    done = command("report", *arguments, "-o", "page.html", cwd=results)
    assert done.stdout == "written to page.html\n"
    text = (results / "page.html").read_text()
    assert len(text.encode()) < MOST_BYTES
    assert "http" not in re.sub(r'<script type="text/plain"[^<]*</script>', "", text).replace(
        "http-equiv", ""
    ).replace("http://www.w3.org/2000/svg", "")
    return data_of(text)


def test_one_run(results: Path) -> None:
    (run,) = page_of(results, "merged")["runs"]
    result = json.loads((results / "merged" / "result.json").read_text())
    assert run["name"] == "merged"
    assert len(run["verdict"]) == 3
    moved = run["layers"]["moved"]
    assert {r: sum(column) for r, column in moved.items()} == {
        reason: value for reason, value in result["dram"]["by_reason"].items() if value
    }
    merged = next(curve for curve in run["curves"] if curve["policy"] == "merged")
    assert merged["chosen"]["dram"] == result["dram"]["total_bytes"]
    assert merged["chosen"]["breakpoint"] <= 12 << 10
    assert merged["local"] == sorted(merged["local"])
    assert sum(value for _, value in run["energy"]) * 1e6 == pytest.approx(
        result["energy_pj"]["total"]
    )
    live = run["time"]["live"]
    totals = [sum(held) for held in zip(*live["held"], strict=True)]
    assert max(totals) == sum(each[3] for each in live["peak"])
    assert max(totals) <= result["local"]["buffers_peak_bytes"]
    for _, _, begin, end, address, size in run["time"]["boxes"]["boxes"]:
        assert 0 <= begin <= end <= run["time"]["latency_ms"] * (1 + 1e-6)
        assert address + size <= result["local"]["peak_bytes"]
    rows = run["network"]["rows"]
    assert sum(row[4] for row in rows) == result["dram"]["total_bytes"]
    assert {key for key, *_ in run["machine"]} >= {"dram.bandwidth", "local_memory.capacity"}
    assert run["decisions"]
    assert run["not_modelled"]


def test_several_runs(results: Path) -> None:
    data = page_of(results, "merged", "alone", "merged")
    assert [run["name"] for run in data["runs"]] == ["merged (1)", "alone", "merged (2)"]
    first, second = data["comparisons"]
    assert (first["before"], first["after"]) == ("merged (1)", "alone")
    compared = json.loads(command("compare", "merged", "alone", "--json", cwd=results).stdout)
    assert first["layers"] == compared["layers"]
    assert second["figures"] == second["layers"] == []


def test_a_sweep(results: Path) -> None:
    data = page_of(results, "grid")
    axes = {axis["name"]: axis for axis in data["axes"]}
    assert axes["local_memory_bytes"]["texts"] == ["16 B", "4 KiB", "8 KiB", "64 KiB"]
    assert axes["local_memory_bytes"]["spreads"]
    assert axes["weight_bits"]["values"] == [4, 8]
    assert data["figures"][:2] == ["dram_bytes", "energy_mj"]
    assert len(data["keys"]) == 8
    assert data["columns"]["dram_bytes"].count(None) == 2  # what does not fit


def test_the_same_bytes_whenever(results: Path) -> None:
    pages = []
    for seed in ("0", "77"):
        command("report", "merged", "alone", "-o", "page.html", cwd=results, seed=seed)
        pages.append((results / "page.html").read_bytes())
    assert pages[0] == pages[1]


def test_names_are_text_wherever_they_stand(results: Path) -> None:
    (network,) = results.glob("*.onnx")
    folder = "<img src=x onerror=hit()>"
    arguments = ("--hw", "bare", "--local-memory", "4KiB", "--out", folder)
    command("run", network.name, *arguments, cwd=results)
    done = command("report", folder, "merged", "-o", "page.html", cwd=results)
    assert done.stdout == "written to page.html\n"
    text = (results / "page.html").read_text()
    own = [name for name in (*HOSTILE, folder, network.name) if "<" in name and name in text]
    assert own == []
    assert text.count("<script") == 3
    names = data_of(text)["runs"][0]["layers"]["columns"]["layer"]
    assert names[0] == HOSTILE[0]
    command("compare", folder, "merged", "--html", "page.html", cwd=results)
    text = (results / "page.html").read_text()
    assert [name for name in (*HOSTILE, folder) if "<" in name and name in text] == []


def test_every_picture_also_for_print(results: Path) -> None:
    done = command("report", "merged", "--plots", "drawn", cwd=results)
    assert done.stdout == "written to drawn\n"
    names = {path.stem for path in (results / "drawn").iterdir()}
    assert names == {
        *("bandwidth", "curve", "energy", "live_set", "memory", "network", "roofline"),
        *("sensitivity", "timeline", "traffic"),
    }
    for name in names:
        assert (results / "drawn" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (results / "drawn" / f"{name}.svg").read_text()
    command("report", "merged", "alone", "--plots", "both", cwd=results)
    assert {path.name for path in (results / "both").iterdir()} == {"merged", "alone"}
    command("report", "grid", "--plots", "swept", cwd=results)
    assert {path.stem for path in (results / "swept").iterdir()} == {"lines", "matrix", "points"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("merged",), "nothing to write; give -o FILE.html, --plots DIR, or both"),
        (("merged", "-o", "page.pdf"), "-o page.pdf: the name of a page ends in .html"),
        (("merged", "-o", "no/such/page.html"), "'no/such' is no directory; make it, or give"),
        (("nothing", "-o", "x.html"), "does not exist; give the directory that `run --out` wrote"),
        (("grid", "merged", "-o", "x.html"), "'grid' is a sweep; report it alone, or give runs"),
        (("merged", "--plots", " "), "--plots is empty; give a directory"),
        (("merged", "--plots", "study.yaml"), "cannot be written"),
        (("study.yaml", "-o", "x.html"), "cannot be read as a review: Not a gzipped file"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(
    arguments: tuple[str, ...], said: str, results: Path
) -> None:
    before = sorted(results.rglob("*"))
    done = command("report", *arguments, cwd=results, code=2)
    assert said in done.stderr
    assert done.stdout == ""
    assert sorted(results.rglob("*")) == before


def test_compare_writes_one_form(results: Path) -> None:
    done = command("compare", "merged", "alone", "--html", "c.html", "--json", cwd=results, code=2)
    assert "--markdown, --json and --html: give one of them" in done.stderr
    done = command("compare", "grid", "grid", "--html", "c.html", cwd=results)
    assert done.stdout == "written to c.html\n"
    assert data_of((results / "c.html").read_text())["comparison"]["figures"] == []
