"""`dataflow-sim inspect` as users run it: tables, JSON, files, the annotated copy, errors."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.support.commands import command
from tests.support.small import SMALL

FILES = {"result.json", "layers.csv", "lifetimes.csv", "live_set.png", "live_set.svg"}


@pytest.fixture(autouse=True)
def networks(tmp_path: Path) -> Iterator[None]:
    """Small networks, as files in the directory where the command runs."""
    for name in ("concatenated", "residual"):
        onnx.save(SMALL[name](), str(tmp_path / f"{name}.onnx"))
    (tmp_path / "text.onnx").write_text("this is not a network")
    (tmp_path / "directory.onnx").mkdir()
    yield
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


def state(directory: Path) -> dict[str, bytes]:
    """All files below a directory with their contents."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def inspect_json(*arguments: str, cwd: Path) -> dict[str, Any]:
    found = json.loads(command("inspect", *arguments, "--json", cwd=cwd).stdout)
    assert isinstance(found, dict)
    return found


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def figures(node: onnx.NodeProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in node.metadata_props}


def test_json_has_the_stated_keys_and_adds_up(tmp_path: Path) -> None:
    before = state(tmp_path)
    found = inspect_json("densenet121", cwd=tmp_path)
    keys = {"name", "op", "macs", "weight_elements", "input_elements", "output_elements"}
    assert {"macs", "parameters", "layers", "live_peak_elements", "passes"} <= set(found)
    for layer in found["layers"]:
        assert keys <= set(layer)
        constants = layer["weight_elements"] + layer["vector_elements"]
        moved = constants + layer["input_elements"] + layer["output_elements"]
        expected = 2 * layer["macs"] / constants if constants else None
        assert layer["operations_per_weight_byte"] == expected
        assert layer["operations_per_byte_moved"] == 2 * layer["macs"] / moved
    assert found["macs"] == sum(layer["macs"] for layer in found["layers"])
    live = [layer["live_elements"] for layer in found["layers"]]
    assert found["live_peak_elements"] == max(live)
    assert state(tmp_path) == before


def test_tables_for_people(tmp_path: Path) -> None:
    text = command("inspect", "concatenated.onnx", cwd=tmp_path).stdout
    for expected in (
        "ops/weight = 2 x MACs / (weights + constants)",
        "Elements of each layer",
        "Largest live set, in layer",
        "Lifetimes of maps",
    ):
        assert expected in text
    assert "Passes of the reader" not in text
    lines = [line.split() for line in text.splitlines()]
    # 3 x 3, stride 2, 16 channels to 6, 9 x 9 to 5 x 5 pixels: every weight meets 25
    assert ["after", "Conv", "-", "16x9x9", "6x5x5", "21,600", "50.0", "18.7"] in lines
    assert ["p", "MaxPool", "-", "5x9x9", "5x9x9", "0", "-", "0.0"] in lines
    with_passes = command("inspect", "concatenated.onnx", "--passes", cwd=tmp_path).stdout
    assert with_passes.startswith(text.rstrip())
    assert "Passes of the reader" in with_passes[len(text.rstrip()) :]


def test_passes_of_the_json_are_those_of_the_table(tmp_path: Path) -> None:
    found = inspect_json("residual.onnx", cwd=tmp_path)["passes"]
    shown = command("inspect", "residual.onnx", "--passes", cwd=tmp_path).stdout
    lines = shown[shown.index("Passes of the reader") :].splitlines()
    names = [line.split("  ")[0].strip() for line in lines]
    for each in found:
        assert set(each) == {"name", "after", "changed"}
        assert each["name"] in names


def test_out_writes_what_is_shown(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    shown = command("inspect", "residual.onnx", "--out", str(out), cwd=tmp_path).stdout
    assert shown.endswith(f"written to {out}\n")
    assert {path.name for path in out.iterdir()} == FILES
    found = json.loads((out / "result.json").read_text())
    assert found == inspect_json("residual.onnx", cwd=tmp_path)
    layers = rows_of(out / "layers.csv")
    for count in ("macs", "weight_elements", "vector_elements", "input_elements"):
        assert sum(int(row[count]) for row in layers) == found[count]
    lives = rows_of(out / "lifetimes.csv")
    assert [row["map"] for row in lives] == [life["tensor"] for life in found["lifetimes"]]
    sizes = {row["map"]: int(row["elements"]) for row in lives}
    assert sum(sizes[name] for name in found["live_peak_maps"]) == found["live_peak_elements"]
    assert (out / "live_set.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (out / "live_set.svg").read_bytes()[:600]


@pytest.mark.slow
def test_the_same_bytes_under_every_hash_seed(tmp_path: Path) -> None:
    outputs = []
    for seed in ("0", "1", "4242"):
        own = tmp_path / seed
        own.mkdir()
        onnx.save(SMALL["tiny_mobilenet_v2"](), str(own / "net.onnx"))
        arguments = ("net.onnx", "--out", "out", "--annotate", "copy.onnx", "--passes")
        text = command("inspect", *arguments, cwd=own, seed=seed).stdout
        outputs.append((text, state(own)))
    assert set(outputs[0][1]) == {"net.onnx", "copy.onnx", *(f"out/{name}" for name in FILES)}
    assert outputs[0] == outputs[1] == outputs[2]


def test_the_annotated_copy_tells_what_the_json_tells(tmp_path: Path) -> None:
    original = (tmp_path / "residual.onnx").read_bytes()
    done = command("inspect", "residual.onnx", "--annotate", "copy.onnx", cwd=tmp_path)
    assert done.stdout.endswith("written to copy.onnx\n")
    assert "beside the original" not in done.stderr
    assert (tmp_path / "residual.onnx").read_bytes() == original
    found = inspect_json("residual.onnx", cwd=tmp_path)
    again = inspect_json("copy.onnx", cwd=tmp_path)
    assert again.pop("network") == "copy"
    assert found.pop("network") == "residual"
    assert again == found
    model = onnx.load(tmp_path / "copy.onnx", load_external_data=False)
    nodes = {node.name: figures(node) for node in model.graph.node}
    for layer in found["layers"]:
        shown = nodes[layer["name"]]
        counts = ("macs", "weight_elements", "input_elements", "output_elements", "live_elements")
        for count in counts:
            assert shown[f"dataflow_sim.{count}"] == str(layer[count])
        ratio = layer["operations_per_weight_byte"]
        assert shown["dataflow_sim.operations_per_weight_byte"] == f"{ratio:.2f}"
        assert shown["dataflow_sim.folded"] == (layer["folded"] or "-")
    for holder in (model, *model.graph.node):
        del holder.metadata_props[:]
    assert model.SerializeToString() == original


def test_a_copy_in_another_directory_is_warned_of_and_may_be_written_over(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    arguments = ("residual.onnx", "--annotate", "other/copy.onnx", "--json")
    for _ in range(2):
        done = command("inspect", *arguments, cwd=tmp_path)
        assert "warning: the weights are found only beside the original" in done.stderr
        assert json.loads(done.stdout)["network"] == "residual"
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["copy.onnx"]


def test_symbolic_dimensions_are_told_in_the_copy(shared: Path, tmp_path: Path) -> None:
    model = str(shared / "models" / "tv_mobilenet_v2_dynBHW_script17.onnx")
    dims = ("--dim", "batch=2", "--dim", "height=64", "--dim", "width=32")
    command("inspect", model, *dims, "--annotate", "copy.onnx", cwd=tmp_path)
    copy = onnx.load(tmp_path / "copy.onnx", load_external_data=False)
    totals = {entry.key: entry.value for entry in copy.metadata_props}
    assert totals["dataflow_sim.input_shapes"].endswith(" 2x3x64x32")
    assert copy.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


BAD = [
    (("mobilenet_v1", "--annotate", "copy.onnx"), "'mobilenet_v1' is a built-in network"),
    (("mobilenet_v1@0.5", "--annotate", "copy.onnx"), "is a built-in network"),
    (("residual.onnx", "--annotate", "residual.onnx"), "is the network file itself"),
    (("residual.onnx", "--annotate", "./residual.onnx"), "is the network file itself"),
    (("residual.onnx", "--annotate", "hard.onnx"), "is the network file itself"),
    (("residual.onnx", "--annotate", "soft.onnx"), "is the network file itself"),
    (("residual.onnx", "--annotate", "absent/copy.onnx"), "'absent' is no directory; make it"),
    (("residual.onnx", "--annotate", "text.onnx/copy.onnx"), "'text.onnx' is no directory"),
    (("residual.onnx", "--annotate", "directory.onnx"), "'directory.onnx' is a directory"),
    (("residual.onnx", "--annotate", "copy.txt"), "ends in .onnx"),
    (("residual.onnx", "--annotate", ""), "ends in .onnx"),
    (("residual.onnx", "--annotate", "x" * 300 + ".onnx"), "cannot be written"),
    (("residual.onnx", "--annotate"), "requires an argument"),
    (("residual.onnx", "--annotate", "--json"), "ends in .onnx"),
    (("text.onnx", "--annotate", "copy.onnx"), "'text.onnx' is not an ONNX file"),
    (("absent.onnx", "--annotate", "copy.onnx", "--out", "out"), "'absent.onnx' does not exist"),
    (("residual.onnx", "--annotate", "copy.onnx", "--dim", "n=2"), "dimension named 'n'"),
    (("residual.onnx", "--annotate", "copy.onnx", "--out", ""), "--out is empty"),
    (("residual.onnx", "--annotate", "copy.onnx", "--out", "text.onnx"), "text.onnx"),
    (("residual.onnx", "--annotate", "absent/copy.onnx", "--out", "out"), "is no directory"),
    (("residual.onnx", "--out", "taken"), "is a directory"),
    (("mobilenet_v7", "--out", "out"), "did you mean 'mobilenet_v"),
    (("residual.onnx", "--pass"), "No such option"),
    ((), "Missing argument"),
]


@pytest.mark.parametrize(("arguments", "expected"), BAD, ids=[" ".join(b[0])[:60] for b in BAD])
def test_bad_input_ends_with_two_one_message_and_nothing_written(
    arguments: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    os.link(tmp_path / "residual.onnx", tmp_path / "hard.onnx")
    (tmp_path / "soft.onnx").symlink_to("residual.onnx")
    (tmp_path / "taken" / "live_set.svg").mkdir(parents=True)
    before = state(tmp_path), sorted(path.name for path in tmp_path.rglob("*"))
    done = command("inspect", *arguments, cwd=tmp_path, code=2)
    assert expected in done.stderr
    assert done.stderr.count("rror:") == 1
    assert done.stdout == ""
    assert (state(tmp_path), sorted(path.name for path in tmp_path.rglob("*"))) == before
