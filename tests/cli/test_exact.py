"""`dataflow-sim run --exact` as users run it: JSON, tables, errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
import pytest

from tests.support.commands import command
from tests.support.small import SMALL

RUN = ("run", "residual.onnx", "--hw", "bare", "--local-memory", "900")


@pytest.fixture(autouse=True)
def network(tmp_path: Path) -> None:
    """A small network, as a file in the directory where the command runs."""
    onnx.save(SMALL["residual"](), str(tmp_path / "residual.onnx"))


def test_the_fast_search_is_proved_optimal(tmp_path: Path) -> None:
    pytest.importorskip("ortools")
    plain = json.loads(command(*RUN, "--policy", "merged", "--json", cwd=tmp_path).stdout)
    first = command(*RUN, "--exact", "--json", cwd=tmp_path).stdout
    result = json.loads(first)
    assert result["policy"] == "merged"
    found = result["exact"]
    moved = result["dram"]["total_bytes"]
    assert found["status"] == "optimal"
    assert found["bound_bytes"] == found["dram_bytes"] == found["found_bytes"] == moved
    assert found["fast_bytes"] == plain["dram"]["total_bytes"] >= moved
    assert found["gap"] == 1
    assert found["variables"] > 0
    assert found["left_out"] == []
    assert plain["exact"] is None
    assert first == command(*RUN, "--exact", "--json", cwd=tmp_path).stdout
    text = command(*RUN, "--exact", "--exact-seconds", "5", cwd=tmp_path).stdout
    assert "proved the best of the space" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--exact", "--policy", "layerwise"), "resident or merged"),
        (("--exact", "--exact-seconds", "0"), "--exact-seconds is 0"),
        (("--exact", "--exact-seconds", "nan"), "--exact-seconds is nan"),
        (("--exact-seconds", "5"), "goes with --exact"),
        (("--exact", "--frames", "2"), "not with --frames 2"),
        (("--exact", "--objective", "energy"), "not with --objective energy"),
    ],
)
def test_what_does_not_go_together(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    assert message in command(*RUN, *arguments, cwd=tmp_path, code=2).stderr


def test_without_the_solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "ortools"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ortools", None)
    message = command(*RUN, "--exact", cwd=tmp_path, code=2).stderr
    assert message.count("\n") == 1
    assert "pip install 'dataflow-sim[exact]'" in message
