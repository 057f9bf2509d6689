"""The gallery: its pages and tables are what its studies find."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dataflow_sim.scenario.shipped import shipped_scenarios
from tests.conftest import ROOT
from tests.support.commands import command

GALLERY = ROOT / "reports" / "gallery"
# searches of a quarter to half a minute
LONG = ("batch_or_latency", "compression_or_memory", "memory_for_30_fps", "resolution", "spills")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in LONG else name
        for name in shipped_scenarios("gallery")
    ],
)
def test_what_stands_in_the_gallery_is_what_is_found(name: str, tmp_path: Path) -> None:
    arguments = ("gallery", name, "--check", str(GALLERY), "--processes", "1")
    assert command(*arguments, cwd=tmp_path).stdout == ""


def test_every_study_stands_in_the_gallery_and_tells_what_to_look_at() -> None:
    found = shipped_scenarios("gallery")
    assert len(found) == 10
    for name, path in found.items():
        head = path.read_text().split("title:")[0]
        assert "Look at" in head, name
        assert (GALLERY / name / "README.md").is_file()


def test_a_change_is_found(tmp_path: Path) -> None:
    shutil.copytree(GALLERY / "kv_cache", tmp_path / "kv_cache")
    table = tmp_path / "kv_cache" / "points.csv"
    table.write_text(table.read_text().replace("1", "2", 1))
    (tmp_path / "kv_cache" / "kv_cache.svg").unlink()
    arguments = ("gallery", "kv_cache", "--check", ".", "--processes", "1")
    done = command(*arguments, cwd=tmp_path, code=1)
    assert "kv_cache/points.csv differs from what is found now" in done.stdout
    assert "kv_cache/kv_cache.svg differs" in done.stdout
    assert "README.md" not in done.stdout


MERGED = ("--policy", "merged", "--local-memory", "512KiB")
LLAMA = ("--hw", "phone_npu_lpddr5x", "--weight-bits", "4")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        # merged, its program is too long to be timed
        ("resnet50", ("resnet50", "--policy", "resident", *MERGED[2:])),
        ("mobilenet_v2", ("mobilenet_v2", *MERGED)),
        ("densenet121", ("densenet121", *MERGED)),
        ("llama2_7b_decode", ("llama2_7b_decode@cache=2048", *LLAMA)),
    ],
)
def test_pages_of_reviews_are_what_is_found(
    name: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    command("run", *arguments, "--out", name, cwd=tmp_path)
    command("report", name, "-o", "page.html", cwd=tmp_path)
    page = (tmp_path / "page.html").read_bytes()
    assert len(page) < 3_000_000
    assert page == (GALLERY / "reviews" / f"{name}.html").read_bytes()
