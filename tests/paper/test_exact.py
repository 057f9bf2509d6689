"""The table of reports/comparisons/exact.md, made again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import pytest

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import load_hardware
from dataflow_sim.pipeline import RunOptions, load_network, memory_options, prepare
from dataflow_sim.schedule.baseline import Baseline
from dataflow_sim.schedule.bounds import compulsory_bytes
from dataflow_sim.schedule.check import check_schedule
from dataflow_sim.schedule.cuts import find_cuts
from dataflow_sim.schedule.exact import schedule_exactly, solve
from dataflow_sim.schedule.exact_space import ExactSpace
from dataflow_sim.schedule.fronts import costs_at
from dataflow_sim.schedule.lives import MapLives
from dataflow_sim.schedule.options import Options
from dataflow_sim.schedule.planner import Planner
from dataflow_sim.schedule.search import Curve, budget_curve
from dataflow_sim.schedule.trials import Kinds
from dataflow_sim.schedule.types import MemoryOptions

PAGE = Path(__file__).resolve().parents[2] / "reports" / "comparisons" / "exact.md"
NETWORKS = ("mobilenet_v2", "resnet50", "googlenet", "squeezenet1_1", "shufflenet_v2")
KIB = (32, 64, 128, 256, 512)
WORK = 60.0
NUMBER = r" ([\d,]+) \|"
ROW = re.compile(rf"\| (\w+) \| (\d+) \|{NUMBER * 5} \S+ \| (\w+) \|")


class Line(NamedTuple):
    """One line of the table: DRAM bytes of the fast search, by the sum of what is held at once and
    with addresses; of the schedule taken; the bound; and that of schedules in which no rows are
    handed over, where that is not below the fast one."""

    network: str
    kib: int
    sum_bytes: int
    fast_bytes: int
    dram_bytes: int
    bound_bytes: int
    whole_bytes: int
    status: str


def lines(name: str) -> Iterator[tuple[Line, float]]:
    """The lines of one network, with the seconds that the exact search took."""
    hardware = load_hardware("bare")
    graph = prepare(load_network(name), hardware, RunOptions(policy="merged"))
    memory = memory_options(hardware)
    curve = budget_curve(graph, memory, "merged")
    anywhere = replace(memory, capacity_bytes=0)
    planner = Planner(graph, anywhere, Baseline(graph, anywhere), True, 1 << 60)
    front = planner.search(lambda done, total: None)
    sums = costs_at(front, np.array([kib << 10 for kib in KIB])) // 8
    for kib, least in zip(KIB, sums.tolist(), strict=True):
        start = perf_counter()
        here = replace(memory, capacity_bytes=kib << 10)
        schedule, proof = schedule_exactly(graph, here, "merged", WORK, known=curve)
        seconds = perf_counter() - start
        check_schedule(graph, schedule)
        whole = whole_bound_bytes(graph, here, curve)
        moved = proof.fast_bytes, proof.dram_bytes, proof.bound_bytes, whole
        yield Line(name, kib, least, *moved, proof.status), seconds


def whole_bound_bytes(graph: NetworkGraph, memory: MemoryOptions, curve: Curve) -> int:
    """No schedule in which maps stay whole moves fewer bytes, or none moves fewer than the fast."""
    anywhere = replace(memory, capacity_bytes=0)
    lives, baseline = MapLives(graph, cuts=find_cuts(graph)), Baseline(graph, anywhere)
    options = Options(graph, anywhere, lives, baseline, 1 << 60, True, kinds=Kinds.BANDS)
    options.trials = replace(options.trials, ceiling_bytes=memory.capacity_bytes)
    point, fast = curve.point(memory.capacity_bytes), curve.schedule(memory.capacity_bytes)
    assert point is not None
    assert fast is not None
    bits = sum(sum(layer.traffic_bits.values()) for layer in fast.layers)
    floor = compulsory_bytes(graph) * 8
    if bits <= floor:
        return -(-bits // 8)
    space = ExactSpace(options)
    found = solve(space, memory.capacity_bytes, (point.plan, bits), floor, WORK)
    return -(-found.bound_bits // 8)


def stated() -> list[Line]:
    found = (ROW.match(line) for line in PAGE.read_text().splitlines())
    table = []
    for m in filter(None, found):
        least, fast, moved, bound, whole = (int(m[n].replace(",", "")) for n in range(3, 8))
        table.append(Line(m[1], int(m[2]), least, fast, moved, bound, whole, m[8]))
    return table


def test_every_network_is_there_at_every_memory() -> None:
    table = stated()
    assert [(line.network, line.kib) for line in table] == [(n, k) for n in NETWORKS for k in KIB]
    for line in table:
        assert line.bound_bytes <= line.dram_bytes <= line.fast_bytes
        assert line.bound_bytes <= line.sum_bytes <= 1.001 * line.bound_bytes
        assert line.bound_bytes <= line.whole_bytes <= line.fast_bytes <= 1.01 * line.whole_bytes
        assert (line.status == "optimal") == (line.dram_bytes == line.bound_bytes)
    proved = [line for line in table if line.status == "optimal"]
    assert f"{len(proved)} of {len(table)} points are proved" in PAGE.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_our_figures(name: str) -> None:
    pytest.importorskip("ortools")
    assert [line for line, _ in lines(name)] == [line for line in stated() if line.network == name]
