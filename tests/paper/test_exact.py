"""The table of reports/comparisons/exact.md, made again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import pytest

from dataflow_sim.hardware import load_hardware
from dataflow_sim.pipeline import RunOptions, load_network, memory_options, prepare
from dataflow_sim.schedule.check import check_schedule
from dataflow_sim.schedule.exact import schedule_exactly
from dataflow_sim.schedule.search import budget_curve

PAGE = Path(__file__).resolve().parents[2] / "reports" / "comparisons" / "exact.md"
NETWORKS = ("mobilenet_v2", "resnet50", "googlenet", "squeezenet1_1", "shufflenet_v2")
KIB = (32, 64, 128, 256, 512)
WORK = 60.0
ROW = re.compile(r"\| (\w+) \| (\d+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| \S+ \| (\w+) \|")


class Line(NamedTuple):
    """One line of the table: bytes of the fast search and of the schedule taken, and the bound."""

    network: str
    kib: int
    fast_bytes: int
    dram_bytes: int
    bound_bytes: int
    status: str


def lines(name: str) -> Iterator[tuple[Line, float]]:
    """The lines of one network, with the seconds that the exact search took."""
    hardware = load_hardware("bare")
    graph = prepare(load_network(name), hardware, RunOptions(policy="merged"))
    memory = memory_options(hardware)
    curve = budget_curve(graph, memory, "merged")
    for kib in KIB:
        start = perf_counter()
        here = replace(memory, capacity_bytes=kib << 10)
        schedule, proof = schedule_exactly(graph, here, "merged", WORK, known=curve)
        seconds = perf_counter() - start
        check_schedule(graph, schedule)
        moved = proof.fast_bytes, proof.dram_bytes, proof.bound_bytes
        yield Line(name, kib, *moved, proof.status), seconds


def stated() -> list[Line]:
    found = (ROW.match(line) for line in PAGE.read_text().splitlines())
    table = []
    for m in filter(None, found):
        fast, moved, bound = (int(m[place].replace(",", "")) for place in (3, 4, 5))
        table.append(Line(m[1], int(m[2]), fast, moved, bound, m[6]))
    return table


def test_every_network_is_there_at_every_memory() -> None:
    table = stated()
    assert [(line.network, line.kib) for line in table] == [(n, k) for n in NETWORKS for k in KIB]
    assert all(line.bound_bytes <= line.dram_bytes <= line.fast_bytes for line in table)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_our_figures(name: str) -> None:
    pytest.importorskip("ortools")
    assert [line for line, _ in lines(name)] == [line for line in stated() if line.network == name]
