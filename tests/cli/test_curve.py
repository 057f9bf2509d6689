"""`dataflow-sim curve` as users run it: JSON, tables, pictures, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import pytest

from dataflow_sim import pipeline
from tests.support.commands import command
from tests.support.small import SMALL

POINT = {
    *("local_bytes", "dram_bytes", "weight_bytes", "map_bytes", "input_bytes", "output_bytes"),
    "partial_sum_bytes",
}
PARTS = POINT - {"local_bytes", "dram_bytes"}


@pytest.fixture(autouse=True)
def networks(tmp_path: Path) -> Iterator[None]:
    """Small networks, as files in the directory where the command runs."""
    for name in ("depthwise", "residual"):
        onnx.save(SMALL[name](), str(tmp_path / f"{name}.onnx"))
    before = names(tmp_path)
    yield
    assert not [name for name in names(tmp_path) - before if name.endswith(".tmp")]


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def curve_json(*arguments: str, cwd: Path) -> Any:
    return json.loads(command("curve", *arguments, "--json", cwd=cwd).stdout)


def test_one_curve_is_one_object_and_merged_by_default(tmp_path: Path) -> None:
    found = curve_json("residual.onnx", "--hw", "bare", cwd=tmp_path)
    assert (found["network"], found["policy"], found["hardware"]) == ("residual", "merged", "bare")
    assert found["weight_bits"] == found["activation_bits"] == [8]
    assert found["points"][-1]["dram_bytes"] == found["compulsory_bytes"]
    for point in found["points"]:
        assert set(point) == POINT
        assert point["dram_bytes"] == sum(point[part] for part in PARTS)
    for one, other in pairwise(found["points"]):
        assert one["local_bytes"] < other["local_bytes"]
        assert one["dram_bytes"] > other["dram_bytes"]
    assert names(tmp_path) == {"depthwise.onnx", "residual.onnx"}


@pytest.mark.parametrize("policy", ["layerwise", "resident", "merged"])
def test_a_run_at_a_breakpoint_moves_its_bytes_and_one_byte_less_the_previous_ones(
    policy: str, tmp_path: Path
) -> None:
    common = ("depthwise.onnx", "--hw", "bare", "--policy", policy)
    points = curve_json(*common, cwd=tmp_path)["points"]
    for one, other in list(pairwise(points))[:: max(1, len(points) // 2)]:
        for local, expected in ((other["local_bytes"], other), (other["local_bytes"] - 1, one)):
            text = command(
                "run", *common, "--local-memory", f"{local}B", "--json", cwd=tmp_path
            ).stdout
            dram = json.loads(text)["dram"]
            moved = {
                "dram_bytes": dram["total_bytes"],
                "map_bytes": dram["map_read_bytes"] + dram["map_write_bytes"],
                **{f"{part}_bytes": dram[f"{part}_bytes"] for part in ("weight", "input")},
                **{f"{part}_bytes": dram[f"{part}_bytes"] for part in ("output", "partial_sum")},
            }
            assert moved == {key: expected[key] for key in moved}
    least = points[0]["local_bytes"] - 1
    command("run", *common, "--local-memory", f"{least}B", cwd=tmp_path, code=3)


def test_several_curves_are_a_list_network_by_network(tmp_path: Path) -> None:
    policies = ("--policy", "resident", "--policy", "layerwise")
    common = ("--hw", "bare", "--weight-bits", "4")
    found = curve_json("residual.onnx", "depthwise.onnx", *common, *policies, cwd=tmp_path)
    assert [(each["network"], each["policy"]) for each in found] == [
        ("residual", "resident"),
        ("residual", "layerwise"),
        ("depthwise", "resident"),
        ("depthwise", "layerwise"),
    ]
    assert {tuple(each["weight_bits"]) for each in found} == {(4,)}
    assert found[2] == curve_json("depthwise.onnx", *common, *policies[:2], cwd=tmp_path)


def test_overrides_dimensions_and_default_hardware(shared: Path, tmp_path: Path) -> None:
    both = ("--policy", "layerwise", "--set", "local_memory.double_buffer=false")
    single, double = (
        curve_json("depthwise.onnx", *options, cwd=tmp_path) for options in (both, both[:2])
    )
    assert single["hardware"] == double["hardware"] == "vision_processor"
    assert single["overrides"] == {"local_memory.double_buffer": "false"}
    assert single["points"][0]["local_bytes"] < double["points"][0]["local_bytes"]
    model = str(shared / "models" / "tv_mobilenet_v2_dynBHW_script17.onnx")
    dims = ("--dim", "batch=1", "--dim", "height=32", "--dim", "width=32")
    assert curve_json(model, *both, *dims, cwd=tmp_path)["points"]
    assert "'batch'" in command("curve", model, *both, cwd=tmp_path, code=2).stderr


TABLE = """\
depthwise on bare, 8-bit weights, 8-bit maps, compulsory floor 1.09 KB
policy local memory weights maps input output partial sums total x compulsory
layerwise 22 B 300 B 9.50 KB 1.63 KB 216 B 5.18 KB 16.84 KB 15.418
layerwise 228 B 300 B 4.61 KB 576 B 216 B 0 B 5.70 KB 5.220
resident 22 B 300 B 9.50 KB 1.63 KB 216 B 5.18 KB 16.84 KB 15.418
resident 2,308 B 300 B 0 B 576 B 216 B 0 B 1.09 KB 1.000
"""


def test_a_table_for_people(tmp_path: Path) -> None:
    arguments = ("depthwise.onnx", "--hw", "bare", "--policy", "layerwise", "--policy", "resident")
    text = command("curve", *arguments, cwd=tmp_path).stdout
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "\n".join(line for line in lines if line.strip("\u2500 ")) + "\n" == TABLE


def test_knee_points_stand_at_powers_of_two(tmp_path: Path) -> None:
    arguments = ("mobilenet_v1", "--hw", "bare", "--policy", "layerwise")
    text = command("curve", *arguments, cwd=tmp_path).stdout
    rows = [line for line in text.splitlines() if "layerwise" in line]
    sizes = [" ".join(row.split()[1:3]) for row in rows]
    assert sizes == ["246 B", "16 KiB", "32 KiB", "64 KiB", "100,878 B"]
    last = "layerwise 100,878 B 4.209 MB 9.987 MB 150.53 KB 1.00 KB 0 B 14.348 MB 3.290"
    assert " ".join(rows[-1].split()) == last


@pytest.mark.slow
def test_pictures_are_the_same_bytes_under_every_hash_seed(tmp_path: Path) -> None:
    pictures = []
    for seed in ("0", "4242"):
        name = f"{seed}.PNG"
        arguments = ("residual.onnx", "depthwise.onnx", "--hw", "bare", "--plot", name)
        text = command("curve", *arguments, cwd=tmp_path, seed=seed).stdout
        assert text.endswith(f"written to {name}\n")
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0].startswith(b"\x89PNG")
    assert pictures[0] == pictures[1]


def test_a_picture_takes_the_place_of_another_and_goes_with_json(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    target = tmp_path / "deep" / "curve.svg"
    target.write_text("an older picture")
    found = curve_json("residual.onnx", "--hw", "bare", "--plot", str(target), cwd=tmp_path)
    assert [each["policy"] for each in found] == ["layerwise", "merged"]
    assert b"<svg" in target.read_bytes()[:600]
    assert names(tmp_path / "deep") == {"curve.svg"}


BAD = [
    ((), "Missing argument"),
    (("absent.onnx",), "'absent.onnx' does not exist"),
    (("residual.onnx", "mobilenet_v7"), "did you mean 'mobilenet_v"),
    (("residual.onnx", "residual.onnx"), "NETWORK residual.onnx is given twice"),
    (("residual.onnx", "--policy", "best"), "'best' is not"),
    (("residual.onnx", "--policy", "merged", "--policy", "merged"), "merged is given twice"),
    (("residual.onnx", "--hw", "bear"), "did you mean 'bare'"),
    (("residual.onnx", "--set", "dram.speed=1"), "unknown key"),
    (("residual.onnx", "--weight-bits", "0"), "--weight-bits is 0"),
    (("residual.onnx", "--dim", "batch=two"), "whole number"),
    (("mobilenet_v1", "--dim", "batch=2"), "no input has a dimension named 'batch'"),
    (("residual.onnx", "--plot", "curve.pdf"), "curve.pdf: the name of a picture ends in .png"),
    (("residual.onnx", "--plot", "curve"), "ends in .png or .svg"),
    (("residual.onnx", "--plot", ""), "ends in .png or .svg"),
    (("residual.onnx", "--plot", "folder.png"), "'folder.png' is a directory"),
    (("residual.onnx", "--plot", "absent/curve.png"), "'absent' is no directory"),
    (("residual.onnx", "--plot", "old.png/curve.png"), "'old.png' is no directory"),
    (("residual.onnx", "--plot", "x" * 300 + ".png"), "cannot be written"),
    (("absent.onnx", "--plot", "old.png"), "does not exist"),
    (("residual.onnx", "--weight-bits", "65", "--plot", "old.png"), "--weight-bits is 65"),
]


@pytest.mark.parametrize(("arguments", "expected"), BAD, ids=[" ".join(b[0])[:60] for b in BAD])
def test_bad_input_ends_with_two_one_message_and_nothing_written(
    arguments: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "old.png").write_text("an older picture")
    before = names(tmp_path)
    done = command("curve", *arguments, cwd=tmp_path, code=2)
    assert expected in done.stderr
    assert done.stdout == ""
    assert names(tmp_path) == before
    assert (tmp_path / "old.png").read_text() == "an older picture"


def test_a_plot_that_cannot_be_written_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr(pipeline, "load_network", never)
    monkeypatch.setattr(pipeline, "curve", never)
    for plot in ("curve.pdf", ".", "absent/curve.png", "x" * 300 + ".svg"):
        command("curve", "residual.onnx", "--plot", plot, cwd=tmp_path, code=2)


def test_an_error_while_computing_leaves_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "curve", fails)
    before = names(tmp_path)
    arguments = ("curve", "residual.onnx", "--plot", "curve.png")
    assert "interrupted" in command(*arguments, cwd=tmp_path, code=130).stderr
    assert names(tmp_path) == before
