"""The command as users run it: whole outputs, exit codes, nothing written on failure."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from dataflow_sim.traffic import Reason
from tests.support.commands import command
from tests.support.small import SMALL

SIX = (
    "weight_bytes",
    "map_read_bytes",
    "map_write_bytes",
    "partial_sum_bytes",
    "input_bytes",
    "output_bytes",
)


def run_json(*arguments: str, cwd: Path) -> dict[str, Any]:
    found = json.loads(command("run", *arguments, "--json", cwd=cwd).stdout)
    assert isinstance(found, dict)
    return found


def test_total_is_the_sum_of_its_parts_and_of_its_reasons(shared: Path, tmp_path: Path) -> None:
    model = str(shared / "models" / "tv_mobilenet_v2.onnx")
    bare = str(shared / "bare.yaml")
    found = run_json(model, "--hw", bare, "--policy", "layerwise", cwd=tmp_path)
    dram = found["dram"]
    assert dram["total_bytes"] == sum(dram[part] for part in SIX)
    assert dram["total_bytes"] == sum(dram["by_reason"].values())
    assert dram["total_bytes"] == sum(layer["dram"]["total_bytes"] for layer in found["layers"])
    assert set(dram["by_reason"]) == {reason.value for reason in Reason}
    assert found["macs"] == 300_774_272
    assert found["bounds"]["compulsory_bytes"] == 3_621_288
    assert found["bounds"]["gap"] == dram["total_bytes"] / found["bounds"]["lower_bound_bytes"]
    assert found["local"]["peak_bytes"] <= found["local"]["capacity_bytes"] == 262_144
    assert found["proof"]["counted"]
    assert found["required_gb_s"] is None
    assert list(tmp_path.iterdir()) == []


def test_two_runs_and_two_hash_seeds_give_identical_bytes(tmp_path: Path) -> None:
    outputs = []
    for seed in ("0", "1", "4242"):
        out = tmp_path / seed
        network = ("ds_cnn_s", "--policy", "resident", "--local-memory", "8KiB")
        arguments = ("run", *network, "--out", str(out), "--json")
        text = command(*arguments, cwd=tmp_path, seed=seed).stdout
        files = {path.name: path.read_bytes() for path in sorted(out.iterdir())}
        outputs.append((text, files))
    expected = {"result.json", "review.json.gz", "layers.csv", "local_memory.csv", "buffers.csv"}
    pictures = ("traffic", "live_set", "memory")
    expected |= {f"{name}.{kind}" for name in pictures for kind in ("png", "svg")}
    assert set(outputs[0][1]) == expected
    assert outputs[0] == outputs[1] == outputs[2]


def test_out_writes_result_table_and_pictures(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    text = command("run", "resnet50", "--hw", "bare", "--out", str(out), cwd=tmp_path).stdout
    assert "written to" in text
    result = json.loads((out / "result.json").read_text())
    with (out / "layers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result["layers"]) == 55
    total = sum(int(row["dram_bytes"]) for row in rows)
    assert total == result["dram"]["total_bytes"]
    with (out / "local_memory.csv").open() as file:
        stays = list(csv.DictReader(file))
    height = max(int(stay["address"]) + int(stay["size_bytes"]) for stay in stays)
    assert height == result["local"]["peak_bytes"]
    for name in ("traffic", "live_set", "memory"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (out / f"{name}.svg").read_bytes()[:600]
    with (out / "buffers.csv").open() as file:
        buffers = list(csv.DictReader(file))
    assert list(buffers[0]) == ["id", "label", "lower", "upper", "size", "offset"]
    names = ("label", "first_instruction", "last_instruction", "size_bytes", "address")
    assert [list(buffer.values())[1:] for buffer in buffers] == [
        [stay[name] for name in names] for stay in stays
    ]
    # what a run writes is what `place` reads
    arguments = ("place", str(out / "buffers.csv"), "--capacity", str(height), "--json")
    placed = json.loads(command(*arguments, cwd=tmp_path).stdout)
    assert placed["buffers"] == len(buffers)
    assert placed["live_peak_bytes"] == result["local"]["buffers_peak_bytes"]


def test_tables_for_people(tmp_path: Path) -> None:
    text = command("run", "mobilenet_v1", "--fps", "30", cwd=tmp_path).stdout
    for expected in (
        "mobilenet_v1 on vision_processor, layerwise",
        "compulsory floor",
        "gap to the bound",
        "bandwidth required",
        "map_spill",
        "Layers that move most, 10 of 28",
    ):
        assert expected in text


def test_inspect_and_hardware(tmp_path: Path) -> None:
    found = json.loads(command("inspect", "mobilenet_v1", "--json", cwd=tmp_path).stdout)
    assert found["macs"] == 568_740_352
    assert found["parameters"] == 4_231_976
    assert found["live_peak_elements"] == 1_204_224
    assert sum(layer["weight_elements"] for layer in found["layers"]) == 4_209_088
    vectors = sum(layer["vector_elements"] for layer in found["layers"])
    assert 4_209_088 + vectors == found["parameters"]
    keys = {"name", "op", "macs", "weight_elements", "input_elements", "output_elements"}
    assert keys <= set(found["layers"][0])
    assert "BatchNormalization" in command("inspect", "mobilenet_v1", cwd=tmp_path).stdout
    listed = json.loads(command("hardware", "--json", cwd=tmp_path).stdout)
    assert {"bare", "vision_processor"} <= {row["name"] for row in listed}
    assert "(default)" in command("hardware", cwd=tmp_path).stdout
    assert "dram.energy_pj_per_bit" in command("hardware", "bare", cwd=tmp_path).stdout


def test_overrides_and_symbolic_dimensions(shared: Path, tmp_path: Path) -> None:
    found = run_json(
        "mobilenet_v1@0.25", "--hw", "bare", "--set", "dram.energy=20pJ/bit", cwd=tmp_path
    )
    assert found["overrides"] == {"dram.energy": "20pJ/bit"}
    model = str(shared / "models" / "tv_mobilenet_v2_dynBHW_script17.onnx")
    dims = ("--dim", "batch=1", "--dim", "height=224", "--dim", "width=224")
    assert run_json(model, "--hw", "bare", *dims, cwd=tmp_path)["macs"] == 300_774_272
    message = command("run", model, cwd=tmp_path, code=2).stderr
    assert "'batch'" in message
    assert "--dim" in message


BAD = [
    (("run", "absent.onnx"), "'absent.onnx' does not exist"),
    (("run", "text.onnx"), "'text.onnx' is not an ONNX file"),
    (("run", "empty.onnx"), "'empty.onnx' is not an ONNX file"),
    (("run", "."), "is a directory"),
    (("run", "mobilenet_v7"), "did you mean 'mobilenet_v"),
    (("run", "resnet50@2"), "resolution '2' is not a whole number from 32"),
    (("run", "resnet50", "--hw", "odd.yaml"), "odd.yaml:2: turbo: unknown key"),
    (("run", "resnet50", "--hw", "absent.yaml"), "does not exist"),
    (("run", "resnet50", "--hw", "bear"), "did you mean 'bare'"),
    (("run", "resnet50", "--local-memory", "0"), "--local-memory is 0 bytes"),
    (("run", "resnet50", "--local-memory", "-4KiB"), "negative"),
    (("run", "resnet50", "--local-memory", "256Kb"), "unknown unit 'Kb'"),
    (("run", "resnet50", "--set", "dram.energy"), "NAME=VALUE"),
    (("run", "resnet50", "--set", "dram.speed=1"), "unknown key"),
    (("run", "resnet50", "--weight-bits", "0"), "--weight-bits is 0"),
    (("run", "resnet50", "--activation-bits", "65"), "--activation-bits is 65"),
    (("run", "resnet50", "--fps", "0"), "--fps is 0"),
    (("run", "resnet50", "--dim", "batch=2"), "no input has a dimension named 'batch'"),
    (("run", "resnet50", "--dim", "batch=two"), "whole number"),
    (("run", "resnet50", "--policy", "best"), "'best' is not"),
    (("run", "mobilenet_v1@0.25-32", "--out", "text.onnx"), "text.onnx"),
    (("run", "resnet50", "--local-memory", "\u00b2"), "'\u00b2' is not a size"),
    (("run", "resnet50", "--local-memory", "1e400MiB"), "no size of this world"),
    (("run", "resnet50", "--local-memory", "9" * 5000), "no size of this world"),
    (("run", "resnet50", "--local-memory", ""), "'' is not a size"),
    (
        ("run", "resnet50", "--local-memory", "1KiB", "--set", "local_memory.capacity=2KiB"),
        "give one of them",
    ),
    (("run", "resnet50", "--fps", "inf"), "--fps is inf"),
    (("run", "resnet50", "--set", "dram.energy=1e400pJ/bit"), "of this world"),
    (("run", "resnet50", "--set", "compute.clock=1e-310Hz"), "of this world"),
    (("run", "resnet50", "--set", "overrides=1"), "unknown key"),
    (("run", "resnet50", "--set", "a.b.c=1"), "--set a.b.c=1: unknown key"),
    (("run", "resnet50", "--set", ".=1"), "no dotted path"),
    (("run", "resnet50", "--set", "name=2001-13-45"), "not YAML"),
    (("run", "resnet50", "--set", "local_memory=5"), "group of keys"),
    (("run", "resnet50", "--set", "energy.mac={8x8: 1pJ, 08x8: 2pJ}"), "'08x8'"),
    (("run", "x" * 300), "is no network"),
    (("run", "resnet50", "--hw", "x" * 300), "too long"),
    (("run", "resnet50", "--hw", ""), "does not exist"),
    (("run", "resnet50", "--out", ""), "--out is empty"),
    (("run", "resnet50", "--dim", "a=" + "9" * 400), "whole number"),
    (("run", "resnet50", "--hw", "date.yaml"), "date.yaml: not YAML"),
    (("run", "resnet50", "--hw", "deep.yaml"), "brackets"),
    (("run", "resnet50", "--hw", "twice.yaml"), 'twice.yaml:2:1: the key "name" stands twice'),
    (("run", "resnet50", "--hw", "loop.yaml"), "loop.yaml: not YAML"),
    (("run",), "Missing argument"),
    (("fly",), "No such command"),
]


@pytest.mark.parametrize(("arguments", "expected"), BAD, ids=[" ".join(b[0])[:60] for b in BAD])
def test_bad_input_ends_with_two_one_message_and_nothing_written(
    arguments: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    (tmp_path / "text.onnx").write_text("this is not a network")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "odd.yaml").write_text("name: odd\nturbo: true\n")
    (tmp_path / "date.yaml").write_text("name: 2001-13-45\n")
    (tmp_path / "deep.yaml").write_text("name: " + "[" * 3000)
    (tmp_path / "twice.yaml").write_text("name: a\nname: b\n")
    (tmp_path / "loop.yaml").write_text("a: &a\n  <<: *a\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    done = command(*arguments, cwd=tmp_path, code=2)
    assert expected in done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_nothing_is_written_where_one_file_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "out" / "traffic.svg").mkdir(parents=True)
    arguments = ("run", "mobilenet_v1@0.25", "--out", "out")
    assert "is a directory" in command(*arguments, cwd=tmp_path, code=2).stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["traffic.svg"]


def test_a_group_of_keys_and_one_of_its_keys_may_both_be_set(tmp_path: Path) -> None:
    group = ("--set", "precision={weights: 4}", "--set", "precision.activations=16")
    common = ("mobilenet_v1@0.25", "--hw", "bare", "--local-memory", "64MiB")
    found = run_json(*common, *group, cwd=tmp_path)
    plain = run_json(*common, "--weight-bits", "4", cwd=tmp_path)
    assert found["dram"]["weight_bytes"] == plain["dram"]["weight_bytes"]
    assert found["dram"]["input_bytes"] == 2 * plain["dram"]["input_bytes"]


def test_a_memory_that_cannot_hold_one_tile_ends_with_three(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("run", "resnet50", "--hw", "bare", "--local-memory", "50B", "--out", str(out))
    message = command(*arguments, cwd=tmp_path, code=3).stderr
    # one pooled output: an 11 x 11 patch of the input, 7 x 7 weights, 3 x 3 sums of 4 bytes
    assert "layer 'conv1'" in message
    assert "needs 206 bytes, there are 50" in message
    assert not out.exists()


def test_help_is_quick_and_names_every_command(tmp_path: Path) -> None:
    text = command("--help", cwd=tmp_path).stdout
    assert all(name in text for name in ("run", "curve", "inspect", "networks", "hardware"))
    assert "dataflow-sim, version" in command("--version", cwd=tmp_path).stdout


def test_live_peak_and_fragmentation_of_the_buffers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(SMALL["depthwise"](), str(tmp_path / "depthwise.onnx"))
    arguments = ("depthwise.onnx", "--hw", "bare", "--local-memory", "300", "--policy", "merged")
    local = run_json(*arguments, cwd=tmp_path)["local"]
    assert 0 < local["buffers_peak_bytes"] < local["peak_bytes"] <= local["capacity_bytes"]
    assert local["fragmentation"] == 1 - local["buffers_peak_bytes"] / local["peak_bytes"]
    shown = command("run", *arguments, cwd=tmp_path).stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert f"fragmentation {local['fragmentation']:.2%}" in lines
    assert f"largest live set of buffers {local['buffers_peak_bytes']} B" in lines
    # a program that is not lowered has no buffers to tell of
    monkeypatch.setattr("dataflow_sim.proof.MAXIMUM_COUNTED_STEPS", 1)
    found = run_json(*arguments, cwd=tmp_path)
    assert not found["proof"]["counted"]
    assert found["local"]["buffers_peak_bytes"] is None
    assert found["local"]["fragmentation"] is None
    assert "fragmentation" not in command("run", *arguments, cwd=tmp_path).stdout
