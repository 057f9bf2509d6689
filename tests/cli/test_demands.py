"""A group that the user demands: what it does, and what is said of demands that cannot be met."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import command

NETWORK = "ds_cnn_s"
GROUP = ("--policy", "merged", "--force-group", "2:5")


def test_a_group_runs_as_demanded(tmp_path: Path) -> None:
    arguments = ("--local-memory", "16KiB", *GROUP, "--tile", "3x8", "--halo", "cache-x")
    text = command("run", NETWORK, *arguments, "--json", cwd=tmp_path).stdout
    found = json.loads(text)
    (group,) = [each for each in found["group_list"] if each["tile"] is not None]
    assert group["layers"] == [found["layers"][place]["name"] for place in range(1, 5)]
    assert group["tile"] == [8, 3]
    assert set(group["halos"].values()) == {"cache-x"}
    assert found["proof"]["counted"]
    assert found["macs_executed"] > found["macs"]


def test_kernels_come_again(tmp_path: Path) -> None:
    arguments = ("--local-memory", "16KiB", *GROUP, "--weights", "refetch", "--json")
    found = json.loads(command("run", NETWORK, *arguments, cwd=tmp_path).stdout)
    (group,) = [each for each in found["group_list"] if len(each["layers"]) == 4]
    assert len(group["streamed_kernels"]) == 4


def test_a_curve_of_what_is_demanded(tmp_path: Path) -> None:
    arguments = ("curve", NETWORK, "--force-group", "2:5", "--tile", "3x8", "--json")
    points = json.loads(command(*arguments, cwd=tmp_path).stdout)["points"]
    free = json.loads(command("curve", NETWORK, "--json", cwd=tmp_path).stdout)["points"]
    assert points[-1]["dram_bytes"] >= free[-1]["dram_bytes"]
    assert [p["local_bytes"] for p in points] == sorted(p["local_bytes"] for p in points)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tile", "8x8"), "name it with --force-group FIRST:LAST"),
        (("--halo", "cache"), "name it with --force-group FIRST:LAST"),
        (("--force-group", "2:5", "--policy", "layerwise"), "goes with --policy merged"),
        ((*GROUP, "--halo", "cache"), "give --tile WIDTHxHEIGHT"),
        ((*GROUP, "--tile", "8"), "write WIDTHxHEIGHT, such as 60x72"),
        ((*GROUP, "--tile", "0x8"), "is 5 wide and 25 high"),
        ((*GROUP, "--tile", "6x8"), "is 5 wide and 25 high"),
        ((*GROUP, "--frames", "2"), "goes with one frame"),
        (("--policy", "merged", "--force-group", "5:2"), "give the earlier one first"),
        (("--policy", "merged", "--force-group", "2:1000"), "has no layer number 1000"),
    ],
)
def test_demands_that_cannot_be_met(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = command("run", NETWORK, "--local-memory", "16KiB", *arguments, cwd=tmp_path, code=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_memory_that_is_too_small(tmp_path: Path) -> None:
    arguments = ("--local-memory", "256B", *GROUP, "--tile", "3x8")
    done = command("run", NETWORK, *arguments, cwd=tmp_path, code=3)
    assert "Traceback" not in done.stderr
