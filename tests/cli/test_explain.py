"""`dataflow-sim explain` as users run it: text, JSON, determinism, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import command

AT = ("--hw", "bare", "--local-memory", "64KiB")


def explain_json(*arguments: str, cwd: Path) -> dict[str, Any]:
    found = json.loads(command("explain", *arguments, "--json", cwd=cwd).stdout)
    assert isinstance(found, dict)
    return found


def test_text_for_people(tmp_path: Path) -> None:
    text = command("explain", "vgg16", "conv4_2", *AT, cwd=tmp_path).stdout
    assert len(text.splitlines()) <= 62
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "conv4_2, layer 9 of 16 of vgg16"
    for start in (
        "operation   Conv 3x3, stride 1x1, pad 1x1",
        "runs        alone on bare with 64 KiB, every map through DRAM",
        "Loop nest, ",
        "step",
        "Local memory",
        "DRAM traffic",
        "Other nests, each in its best tiling that fits, in bytes",
        "Bound and memory",
        "each tensor once   from 406,065 B up, moves 3.162 MB",
    ):
        assert any(line.startswith(start) for line in lines), start
    # the loops are indented as they are nested
    nest = text[text.index("Loop nest") : text.index("Local memory")].splitlines()
    depths = [len(line) - len(line.lstrip()) for line in nest if line.strip().startswith("for ")]
    assert depths == sorted(set(depths))
    assert list(tmp_path.iterdir()) == []


def test_json_agrees_with_a_layerwise_run(tmp_path: Path) -> None:
    options = ("resnet18", "--hw", "vision_processor", "--local-memory", "48KiB")
    ran = json.loads(command("run", *options, "--json", cwd=tmp_path).stdout)
    layers = {layer["name"]: layer for layer in ran["layers"]}
    for name in ("conv1", "stage1.block2.conv2", "stage4.block1.conv2"):
        found = explain_json("resnet18", name, *options[1:], cwd=tmp_path)
        layer = layers[name]
        assert found["schema"] == "dataflow_sim.explain/1"
        assert found["layer"]["name"] == name
        assert found["dram"]["total_bytes"] == layer["dram"]["total_bytes"]
        assert found["bounds"]["lower_bound_bytes"] == layer["lower_bound_bytes"]
        assert found["bounds"]["gap"] == layer["gap"]
        assert found["tiling"] == {**layer["tiling"], "steps": layer["steps"]}
        assert found["local"]["used_bytes"] == layer["local_bytes"]
        tensors = found["dram"]["tensors"]
        assert sum(each["dram_bytes"] for each in tensors) == found["dram"]["total_bytes"]
        for each in tensors:
            assert round(each["times"] * each["once_bytes"]) == each["dram_bytes"]
        buffers = found["local"]["buffers"]
        assert sum(each["size_bytes"] for each in buffers) == found["local"]["used_bytes"]
        assert all(each["more_share"] >= 0 for each in found["alternatives"])


def test_pinned_channels_in_text_and_json(tmp_path: Path) -> None:
    """32 of 512 input channels of conv4_2 stay; its 171 tiles of 3 leave 161 to load."""
    arguments = ("vgg16", "conv4_2", "--hw", "bare")
    text = command("explain", *arguments, cwd=tmp_path).stdout
    lines = [" ".join(line.split()) for line in text.splitlines()]
    nest = lines[next(n for n, line in enumerate(lines) if line.startswith("Loop nest")) :]
    assert nest[4] == "load pinned input: 32 of 512 input channels 25,088 1"
    assert "load input, what is not pinned 2,352 1,127" in nest
    assert "pinned input 1x32x28x28 1 25,088" in nest
    assert any("32 of 512 input channels stay in left-over memory and are" in n for n in nest)
    found = explain_json(*arguments, cwd=tmp_path)
    pinned = found["local"]["pinned"]
    assert (pinned["role"], pinned["channels"], pinned["of_channels"]) == ("input", 32, 512)
    assert pinned["elements"] == pinned["size_bytes"] == 32 * 28 * 28
    (source,) = (each for each in found["dram"]["tensors"] if each["roles"] == ["input"])
    assert source["pinned"] == pinned
    assert source["dram_bytes"] == (32 + 480 * 7) * 28 * 28


def test_sums_finished_by_channel_in_text_and_json(tmp_path: Path) -> None:
    arguments = ("resnet50", "stage3.block1.conv3", "--hw", "bare", "--local-memory", "16KiB")
    narrow = ("--set", "compute.accumulator_bits=16", "--activation-bits", "16")
    text = command("explain", *arguments, *narrow, cwd=tmp_path).stdout
    lines = [line[1:].rstrip() for line in text.splitlines()]
    place = next(n for n, line in enumerate(lines) if "for each output channel of the tile" in line)
    inside = [line.strip().split("  ")[0] for line in lines[place : place + 4]]
    assert inside == [
        "for each output channel of the tile",
        "load operand 0",
        "finish",
        "store output",
    ]
    depths = [len(line) - len(line.lstrip()) for line in lines[place - 1 : place + 4]]
    assert depths == [6, 4, 6, 6, 6]  # behind the loop over input channels
    found = explain_json(*arguments, *narrow, cwd=tmp_path)
    assert found["finish"] == {"depth": 2, "channels": 114, "steps": 1024 * 3}
    finishing = [move for move in found["moves"] if move["when"] == "finish"]
    assert [(m["what"], m["holds"], m["times"]) for m in finishing] == [
        ("load", "operand 0", 3072),
        ("store", "output", 3072),
    ]


def test_a_layer_by_its_number_is_the_same(tmp_path: Path) -> None:
    by_name = command("explain", "mobilenet_v1", "conv3.dw", *AT, cwd=tmp_path).stdout
    assert command("explain", "mobilenet_v1", "4", *AT, cwd=tmp_path).stdout == by_name
    assert "layer 4 of 28" in by_name


def test_options_of_the_network_and_of_the_widths(tmp_path: Path) -> None:
    options = ("--batch", "2", "--weight-bits", "4", "--activation-bits", "16")
    found = explain_json("resnet18", "2", *AT, *options, cwd=tmp_path)
    layer = found["layer"]
    assert layer["input_shape"][0] == 2
    assert (layer["kernel_bits"], layer["input_bits"]) == (4, 16)
    assert found["overrides"] == {"local_memory.capacity": "65536B"}


@pytest.mark.slow
def test_hash_seeds_give_identical_bytes(tmp_path: Path) -> None:
    for further in ((), ("--json",)):
        arguments = ("explain", "resnet18", "5", *AT, *further)
        texts = {command(*arguments, cwd=tmp_path, seed=seed).stdout for seed in ("0", "77")}
        assert len(texts) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("vgg16", "conv4_9"), ("no layer 'conv4_9'", "nearest: conv4_3, conv4_2", "inspect")),
        (("vgg16", "17"), ("no layer number 17", "1 to 16")),
        (("vgg16", "0"), ("no layer number 0", "1 to 16")),
        (("vgg16", ""), ("no layer ''", "inspect")),
        (("vgg61", "conv4_2"), ("vgg61",)),
        (("vgg16",), ("LAYER",)),
        (("vgg16", "1", "--hw", "nowhere"), ("nowhere",)),
        (("vgg16", "1", "--local-memory", "0"), ("--local-memory is 0 bytes",)),
        (("vgg16", "1", "--local-memory", "12q"), ("--local-memory:", "12q")),
        (("vgg16", "1", "--weight-bits", "0"), ("--weight-bits is 0",)),
        (
            ("vgg16", "1", "--local-memory", "1KiB", "--set", "local_memory.capacity=2KiB"),
            ("give one of them",),
        ),
    ],
)
def test_bad_input(arguments: tuple[str, ...], expected: tuple[str, ...], tmp_path: Path) -> None:
    done = command("explain", *arguments, cwd=tmp_path, code=2)
    assert done.stdout == ""
    for text in expected:
        assert text in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_layer_that_does_not_fit(tmp_path: Path) -> None:
    arguments = ("explain", "vgg16", "conv4_2", "--hw", "bare", "--local-memory")
    done = command(*arguments, "21B", cwd=tmp_path, code=3)
    assert done.stdout == ""
    for text in ("'conv4_2'", "needs 22 bytes", "there are 21"):
        assert text in done.stderr
    command(*arguments, "22B", cwd=tmp_path)


def test_a_sweep_in_text_and_json(tmp_path: Path) -> None:
    """With 12 KiB the keys and values of bert_tiny are read for each of 5 tiles of queries."""
    arguments = ("bert_tiny", "layer1.attention.heads", "--hw", "bare", "--local-memory", "12KiB")
    text = command("explain", *arguments, cwd=tmp_path).stdout
    lines = [" ".join(line.split()) for line in text.splitlines()]
    nest = lines[next(n for n, line in enumerate(lines) if line.startswith("Loop nest")) :]
    assert nest[0] == "Loop nest, 80 steps; innermost columns: rows stay"
    assert nest[4:12] == [
        "for groups: 2 2 of 1",
        "for rows: 128 5 of 26, the last 24",
        "load input 1,664 10",
        "keep running sums 6,864 10",
        "for columns: 128 8 of 16",
        "load operand 0 1,024 80",
        "load operand 1 1,024 80",
        "step 80",
    ]
    assert "running sums 1x1x26x66 1 6,864" in nest
    found = explain_json(*arguments, cwd=tmp_path)
    assert found["layer"]["sweep"]["kind"] == "attention"
    assert [each["times"] for each in found["dram"]["tensors"]] == [1, 5, 5, 1]
    used = found["local"]["used_bytes"]
    assert sum(each["size_bytes"] for each in found["local"]["buffers"]) == used
    assert found["accumulators"] == {"capacity_bytes": None, "used_bytes": 0}


@pytest.mark.parametrize(
    ("network", "memory"),
    [
        ("mobilenet_v1@0.25-64", "8KiB"),
        pytest.param("mobilenet_v1@0.25-128", "16KiB", marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", "256KiB", marks=pytest.mark.slow),
    ],
)
def test_a_group_in_text_and_json(network: str, memory: str, tmp_path: Path) -> None:
    """What is told of a group is what `run` has chosen."""
    options = (network, "--hw", "bare", "--local-memory", memory, "--policy", "merged")
    ran = json.loads(command("run", *options, "--json", cwd=tmp_path).stdout)
    place = next(n for n, group in enumerate(ran["group_list"]) if group["merged"])
    group = ran["group_list"][place]
    layer = group["layers"][-1]
    arguments = (options[0], layer, *options[1:])
    found = explain_json(*arguments, cwd=tmp_path)
    assert found["schema"] == "dataflow_sim.explain_group/1"
    assert found["dram"]["network_bytes"] == ran["dram"]["total_bytes"]
    here, local = found["group"], found["local"]
    assert (here["number"], here["count"]) == (place, ran["groups"])
    assert [member["name"] for member in here["members"]] == group["layers"]
    assert here["rows"]["stripe_rows"] == group["stripe_rows"]
    assert local["own_bytes"] == group["local_bytes"]
    assert local["resident_bytes"] == group["resident_bytes"]
    assert sorted(n for each in local["residents"] for n in each["tensors"]) == group["resident"]
    buffers = sum(each["peak_bytes"] for each in here["rows"]["line_buffers"])
    weights = sum(each["peak_bytes"] for each in here["rows"]["weights"])
    assert buffers + weights == here["rows"]["peak"]["live_bytes"]
    text = command("explain", *arguments, cwd=tmp_path).stdout
    titles = [line.strip() for line in text.splitlines()]
    for start in (
        f"{group['layers'][0]} .. {layer}: group {place} of {ran['groups']} of {network}",
        "runs        row by row, ",
        "Layers as they fire in a stripe",
        "Own local memory; most lives at firing ",
        "live set ",
        "Why it begins and ends where it does",
        "behind   ",
        "Other ways for its layers",
        "the group as it is",
    ):
        assert any(line.startswith(start) for line in titles), start


def test_a_layer_alone_beside_resident_maps(tmp_path: Path) -> None:
    """What stays is neither loaded nor stored, and the memory is what it leaves."""
    network, name = "mobilenet_v1@0.25-128", "conv8.pw"
    at = ("--hw", "bare", "--local-memory", "32KiB", "--policy", "resident")
    ran = json.loads(command("run", network, *at, "--json", cwd=tmp_path).stdout)
    (layer,) = (each for each in ran["layers"] if each["name"] == name)
    found = explain_json(network, name, *at, cwd=tmp_path)
    nest, local = found["group"]["nest"], found["local"]
    assert nest["dram"]["total_bytes"] == found["dram"]["group_bytes"]
    assert found["dram"]["group_bytes"] == layer["dram"]["total_bytes"]
    assert nest["tiling"] == {**layer["tiling"], "steps": layer["steps"]}
    assert nest["local"]["capacity_bytes"] == 2**15 - local["resident_bytes"]
    assert local["own_bytes"] + local["resident_bytes"] == layer["local_bytes"]
    stays = {name for each in local["residents"] for name in each["tensors"]}
    moved = {name for each in nest["dram"]["tensors"] for name in each["tensors"]}
    assert stays
    assert not stays & moved
    assert found["neighbours"] == found["variants"] == []
    text = command("explain", network, name, *at, cwd=tmp_path).stdout
    assert "of resident maps" in text
    assert "not in this policy" in text


@pytest.mark.slow
def test_groups_are_the_same_for_all_hash_seeds(tmp_path: Path) -> None:
    at = ("--hw", "bare", "--local-memory", "4KiB", "--policy", "merged")
    arguments = ("explain", "mobilenet_v1@0.25-32", "3", *at, "--json")
    texts = {command(*arguments, cwd=tmp_path, seed=seed).stdout for seed in ("0", "77")}
    assert len(texts) == 1


def test_a_group_that_does_not_fit_and_an_unknown_policy(tmp_path: Path) -> None:
    arguments = ("explain", "mobilenet_v1@0.25-64", "1", "--hw", "bare", "--policy")
    done = command(*arguments, "merged", "--local-memory", "8B", cwd=tmp_path, code=3)
    assert done.stdout == ""
    command(*arguments, "fused", cwd=tmp_path, code=2)
