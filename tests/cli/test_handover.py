"""What is told of resident maps that give their rows to others."""

from __future__ import annotations

import json
from pathlib import Path

import onnx

from tests.support.commands import command
from tests.support.small import SMALL

AT = ("--hw", "bare", "--policy", "merged", "--local-memory", "1044")


def test_run_and_explain_tell_who_gives_rows_to_whom(tmp_path: Path) -> None:
    onnx.save(SMALL["residual"](), str(tmp_path / "residual.onnx"))
    ran = json.loads(command("run", "residual.onnx", *AT, "--json", cwd=tmp_path).stdout)
    assert ran["proof"]["counted"]
    assert ran["local"]["peak_bytes"] <= 1044
    giving = [group for group in ran["group_list"] if group["handover"] is not None]
    assert [group["handover"]["taken"] for group in giving] == ["a.relu", "add1.relu"]
    first = giving[0]
    assert first["handover"] == {"taken": "a.relu", "made": "add1.relu", "distance_bytes": 120}
    # both lie in local memory, and take less than their 360 bytes each
    assert {"a.relu", "add1.relu"} <= set(first["resident"])
    text = command("run", "residual.onnx", *AT, cwd=tmp_path).stdout
    assert "rows handed over" in text
    told = command("explain", "residual.onnx", first["layers"][0], *AT, cwd=tmp_path).stdout
    assert "row by row gives way to add1.relu" in told
