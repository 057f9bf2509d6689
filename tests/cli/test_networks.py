"""`dataflow-sim networks` as users run it: the list, one network, a file of it, errors."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from dataflow_sim.networks import BUILT_IN
from tests.support.commands import command


@pytest.mark.slow
def test_the_list_has_every_network_with_its_counts(tmp_path: Path) -> None:
    rows = json.loads(command("networks", "--json", cwd=tmp_path).stdout)
    assert [row["name"] for row in rows] == list(BUILT_IN)
    by_name = {row["name"]: row for row in rows}
    mobile = by_name["mobilenet_v1"]
    assert (mobile["parameters"], mobile["macs"]) == (4_231_976, 568_740_352)
    assert mobile["live_peak_elements"] == 1_204_224
    assert mobile["operations_per_weight_byte"] == 2 * 568_740_352 / 4_231_976
    assert mobile["inputs"] == [{"name": "input", "shape": [1, 3, 224, 224]}]
    assert [each["name"] for each in mobile["settings"]] == ["width", "resolution"]


def test_the_list_as_a_table_and_by_task(tmp_path: Path) -> None:
    text = command("networks", "--task", "speech recognition", cwd=tmp_path).stdout
    assert "frames-features-letters" in text
    assert "3,491.098 M" in text
    assert "classification" not in text
    failed = command("networks", "--task", "cooking", cwd=tmp_path, code=2)
    assert "--task cooking: one of classification" in failed.stderr


def test_one_network_with_what_was_published_of_it(tmp_path: Path) -> None:
    text = command("networks", "show", "mobilenet_v1@0.5-160", cwd=tmp_path).stdout
    for expected in (
        "76,524,800",
        "arXiv:1704.04861, table 1",
        "input 1x3x160x160",
        "a number from 0.1 to 4.0",
        "Published figures",
        "569,000,000",
        "-0.05 %",
    ):
        assert expected in text
    found = json.loads(command("networks", "show", "vgg16", "--json", cwd=tmp_path).stdout)
    assert found["parameters"] == 138_357_544
    assert {row["what"] for row in found["published"]} == {"parameters", "MACs"}


@pytest.mark.parametrize("seed", [None, "5"])
def test_an_exported_network_counts_like_the_built_in_one(tmp_path: Path, seed: str | None) -> None:
    extra = () if seed is None else ("--random-weights", seed)
    name = "mobilenet_v2@0.35-96"
    done = command("networks", "export", name, "net.onnx", *extra, cwd=tmp_path)
    assert done.stdout == "written to net.onnx\n"
    onnx.load(tmp_path / "net.onnx", load_external_data=seed is not None)
    runs = [
        json.loads(command("run", source, "--json", cwd=tmp_path).stdout)
        for source in (name, "net.onnx")
    ]
    assert runs[0].pop("network") != runs[1].pop("network")
    assert runs[0] == runs[1]


def test_exports_are_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        arguments = ("export", "mobilenet_v1@0.1-32", f"{seed}.onnx", "--random-weights", "4")
        command("networks", *arguments, cwd=tmp_path, seed=seed)
    assert (tmp_path / "1.onnx").read_bytes() == (tmp_path / "2.onnx").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "vgg17"), "did you mean 'vgg1"),
        (("show", "vgg16@0.5"), "resolution '0.5' is not a whole number"),
        (("show",), "Missing argument 'NAME'"),
        (("export", "vgg16", "net.txt"), "ends in .onnx"),
        (("export", "vgg16", "missing/net.onnx"), "is no directory; make it"),
        (("export", "vgg16", "net.onnx", "--random-weights", "-1"), "not in the range"),
        (("export", "vgg16", "net.onnx", "--random-weights", "x"), "not a valid integer"),
        (("export", "net.onnx", "other.onnx"), "unknown network 'net.onnx'"),
        (("--json", "show", "vgg16"), "have no meaning"),
        (("delete", "vgg16"), "No such command"),
    ],
)
def test_bad_input(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    failed = command("networks", *arguments, cwd=tmp_path, code=2)
    assert message in failed.stderr
    assert failed.stdout == ""
    assert not list(tmp_path.iterdir())
