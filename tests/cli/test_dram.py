"""`dataflow-sim dram`, and what `run` and `timeline` tell of DRAM."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.support.commands import Done, command

HERE = Path()


def ran(*arguments: str) -> Done:
    return command(*arguments, cwd=HERE)


def failed(*arguments: str) -> str:
    return command(*arguments, cwd=HERE, code=2).stderr


PART = ("--hw", "mobile_npu_dram", "--local-memory", "32KiB")


def trace(path: Path, lines: int = 400) -> Path:
    path.write_text("".join(f"0x{number * 32:X} READ {number}\n" for number in range(lines)))
    return path


def test_a_trace_in_sequence(tmp_path: Path) -> None:
    path = trace(tmp_path / "a.trace", 20_000)
    found = json.loads(ran("dram", str(path), "--preset", "lpddr4", "--json").stdout)
    assert found["requests"] == found["reads"] == 20_000
    assert found["utilisation"] == pytest.approx(0.92, abs=0.01)
    text = ran("dram", str(path), str(path), "--preset", "hbm2", "--model", "efficiency").stdout
    assert "One channel of hbm2, efficiency" in text
    assert text.count("20,000") == 2


def test_clocks_of_a_trace_count_unless_left_out(tmp_path: Path) -> None:
    path = tmp_path / "slow.trace"
    path.write_text("".join(f"0x{number * 32:X} READ {number * 100}\n" for number in range(100)))
    slow, quick = (
        json.loads(ran("dram", str(path), "--preset", "lpddr4", "--json", *more).stdout)
        for more in ((), ("--at-once",))
    )
    assert slow["clocks"] > 9_900 > 5 * quick["clocks"]


def test_mean_input(tmp_path: Path) -> None:
    path = tmp_path / "bad.trace"
    path.write_text("0x40 READ 1\nfoo\n0x80 READ 0\n")
    told = failed("dram", str(path), str(tmp_path / "none"), "--preset", "lpddr4")
    assert f"{path}:2: 'foo' is no request" in told
    assert f"{path}:3: clock 0 is before 1" in told
    assert "none' cannot be read" in told
    assert "no part whose times are known" in failed("dram", str(path), "--preset", "ddr3")
    assert "dram: queue" in failed("dram", str(path), "--preset", "lpddr4", "--queue", "0")
    assert "give --out DIR" in failed("timeline", "ds_cnn_s", *PART, "--requests", "dramsim3")
    told = failed("timeline", "ds_cnn_s", "--requests", "dramsim3", "--out", str(tmp_path / "out"))
    assert "dram.model is peak" in told
    assert not (tmp_path / "out").exists()


def test_a_run_lists_where_tensors_lie(tmp_path: Path) -> None:
    text = ran("run", "ds_cnn_s", *PART, "--out", str(tmp_path)).stdout
    assert "What DRAM delivers" in text
    assert "channel-blocked" in text
    with (tmp_path / "dram.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = json.loads((tmp_path / "result.json").read_text())
    assert sum(int(row["moved_bytes"]) for row in rows) == found["dram"]["total_bytes"]
    assert {row["layout"] for row in rows} == {"channel-blocked", "row-major", "tiles"}
    starts = [int(row["start_byte"]) for row in rows]
    ends = [int(row["start_byte"]) + int(row["size_bytes"]) for row in rows]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


@pytest.mark.parametrize("trace_format", ["dramsim3", "ramulator2"])
def test_requests_of_a_run_are_played_again(tmp_path: Path, trace_format: str) -> None:
    out = str(tmp_path)
    ran("timeline", "ds_cnn_s", *PART, "--requests", trace_format, "--out", out)
    traces = sorted(str(path) for path in tmp_path.glob("requests_channel*.trace"))
    assert len(traces) == 2
    found = json.loads(ran("dram", *traces, "--preset", "lpddr4x", "--json").stdout)
    run = json.loads((tmp_path / "timeline.json").read_text())
    part = run["dram_delivery"]["part"]
    assert sum(each["requests"] for each in found) == part["accesses"]
    if trace_format == "dramsim3":
        latency = run["timeline"]["latency_s"]
        assert max(each["seconds"] for each in found) == pytest.approx(latency, rel=0.05)
