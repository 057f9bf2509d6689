"""The figures of reports/comparisons/vela.md, made again."""

from __future__ import annotations

import re
from bisect import bisect_right
from pathlib import Path

import pytest

from dataflow_sim.hardware import load_hardware
from dataflow_sim.pipeline import RunOptions, curve, load_network

PAGE = Path(__file__).resolve().parents[2] / "reports" / "comparisons" / "vela.md"
KIB = (128, 256, 512, 1024, 2048)
ROW = re.compile(r"\| (\w+) \| (Vela|dataflow_sim) \|(.+)\|")


def rows() -> dict[tuple[str, str], list[str]]:
    found = (ROW.match(line) for line in PAGE.read_text().splitlines())
    return {(m[1], m[2]): m[3].replace(" ", "").split("|") for m in found if m}


def test_every_network_is_below_vela_at_every_memory() -> None:
    table = rows()
    names = {name for name, _ in table}
    assert names == {"mobilenet_v2", "densenet121", "resnet50"}
    ratios = [
        float(theirs) / float(ours)
        for name in sorted(names)
        for theirs, ours in zip(table[name, "Vela"], table[name, "dataflow_sim"], strict=True)
    ]
    assert len(ratios) == 15
    assert f"{min(ratios):.2f} to {max(ratios):.2f} times ours" in PAGE.read_text()
    assert min(ratios) > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50", "densenet121"])
def test_our_figures(name: str) -> None:
    found = curve(load_network(name), load_hardware("bare"), RunOptions(policy="merged"))
    sizes = [point.local_bytes for point in found.points]
    moved = [
        found.points[bisect_right(sizes, kib << 10) - 1].traffic.total_bytes / 1e6 for kib in KIB
    ]
    assert [f"{each:.3f}" for each in moved] == rows()[name, "dataflow_sim"]
