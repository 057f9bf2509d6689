"""Exported networks: weights that are reproducible and inside or beside the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dataflow_sim.errors import InputError
from dataflow_sim.ingest import read_network
from dataflow_sim.networks import build_network
from dataflow_sim.networks import export as exporting
from dataflow_sim.networks.weights import random_weights
from tests.support.zoo import graph_of

NAME = "mobilenet_v1@0.25-64"


def export(target: Path, seed: int | None) -> tuple[Path, ...]:
    return exporting.export(build_network(NAME), target, seed, lambda *_: None)


def values(path: Path) -> dict[str, bytes]:
    return {
        tensor.name: numpy_helper.to_array(tensor).tobytes()
        for tensor in onnx.load(path).graph.initializer
    }


def test_a_file_without_weights_reads_like_the_network(tmp_path: Path) -> None:
    (path,) = export(tmp_path / "net.onnx", None)
    graph, built = read_network(path), graph_of(NAME)
    assert (graph.layers, graph.tensors) == (built.layers, built.tensors)
    assert path.stat().st_size < 100_000


def test_weights_are_those_of_the_seed(tmp_path: Path) -> None:
    (one,), (same,), (other,) = (
        export(tmp_path / f"{index}.onnx", seed) for index, seed in enumerate((7, 7, 8))
    )
    assert one.read_bytes() == same.read_bytes() != other.read_bytes()
    onnx.checker.check_model(onnx.load(one), full_check=True)
    assert read_network(one).layers == graph_of(NAME).layers


def test_large_weights_lie_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (inside,) = export(tmp_path / "inside.onnx", 7)
    monkeypatch.setattr(exporting, "MOST_INSIDE_BYTES", 1)
    path, data = export(tmp_path / "net.onnx", 7)
    assert data == tmp_path / "net.onnx.data"
    assert values(path) == values(inside)
    assert path.stat().st_size < 100_000 < data.stat().st_size
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "inside.onnx",
        "net.onnx",
        "net.onnx.data",
    ]


def test_a_tensor_s_values_depend_on_seed_and_name_alone() -> None:
    small, large = (
        {tensor.name: drawn for tensor, drawn in random_weights(build_network(name), 3)}
        for name in (NAME, "mobilenet_v1@0.25-224")
    )
    assert all(np.array_equal(small[name], large[name]) for name in small)
    assert not np.array_equal(small["conv2.dw.bn.scale"], small["conv2.dw.bn.shift"])


def test_weights_keep_values_in_range() -> None:
    drawn = {tensor.name: array for tensor, array in random_weights(build_network("vgg11@32"), 3)}
    kernel = drawn["conv4_1.weight"]
    assert np.std(kernel) == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
    assert np.std(drawn["fc7.weight"]) == pytest.approx((1 / 4096) ** 0.5, rel=0.01)
    variances = [a for n, a in _weights("mobilenet_v2@0.1-32").items() if n.endswith(".variance")]
    assert all(array.min() >= 0.5 for array in variances)


def _weights(name: str) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {tensor.name: array for tensor, array in random_weights(build_network(name), 3)}


def test_nothing_is_left_where_a_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"ends in \.onnx"):
        exporting.check_export(tmp_path / "net.txt")
    with pytest.raises(InputError, match="is no directory; make it"):
        exporting.check_export(tmp_path / "missing" / "net.onnx")
    (tmp_path / "taken.onnx").mkdir()
    with pytest.raises(InputError, match="is a directory"):
        exporting.check_export(tmp_path / "taken.onnx")
    (tmp_path / "net.onnx.data").mkdir()
    monkeypatch.setattr(exporting, "MOST_INSIDE_BYTES", 1)
    with pytest.raises(InputError, match="where the weights go, is a directory"):
        export(tmp_path / "net.onnx", 7)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("", (), {"free": 10})())
    with pytest.raises(InputError, match="10 are free there"):
        export(tmp_path / "net.onnx", 7)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx.data", "taken.onnx"]
