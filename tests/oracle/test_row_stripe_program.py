"""The merged curve against the dynamic program over row stripes, and that program's own parts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle.row_stripe_program import RowStripes, least_dram_bytes, subset_sums
from tests.oracle.row_stripe_runs import fired, live_rows, nodes_of
from tests.support.curves import curve, moved_bytes, two_convolutions
from tests.support.runs import built_in

BUDGETS_KIB = (128, 256, 512, 1024, 2048)
NETWORKS = ("mobilenet_v1", "mobilenet_v2", "resnet50", "densenet121")


# what the search does not reach yet, and by how much it misses the program
MISSED = {
    ("densenet121", 128): "layers with resident maps do not split reductions: 1.5 % more",
}


def cases() -> list[object]:
    """Every network at every memory."""
    return [
        pytest.param(
            network,
            kib,
            marks=[pytest.mark.xfail(strict=True, reason=MISSED[network, kib])]
            if (network, kib) in MISSED
            else [],
        )
        for network in NETWORKS
        for kib in BUDGETS_KIB
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "local_kib"), cases())
def test_the_search_is_within_a_hundredth_of_the_program(network: str, local_kib: int) -> None:
    graph = built_in(network)
    found = moved_bytes(curve(graph, "merged"), local_kib << 10)
    assert found <= least_dram_bytes(graph, local_kib << 10) * 1.01


def test_two_convolutions_reach_their_compulsory_bytes_at_the_memory_worked_out_by_hand() -> None:
    """DESIGN.md, section 6: 7,968 bytes, output rows that leave for DRAM included."""
    graph = two_convolutions()
    assert least_dram_bytes(graph, 7_968) == 41_728
    assert least_dram_bytes(graph, 7_967) > 41_728


def test_more_memory_never_costs_bytes() -> None:
    graph = two_convolutions()
    moved = [least_dram_bytes(graph, size) for size in range(3_000, 9_000, 500)]
    assert moved == sorted(moved, reverse=True)


@pytest.mark.parametrize(("a", "b"), [(0, 6), (12, 17), (14, 21)])
@pytest.mark.parametrize("h", [1, 3])
def test_live_rows_are_those_of_a_walk_row_by_row(a: int, b: int, h: int) -> None:
    nodes, maps = nodes_of(built_in("resnet50"))
    for driver in (a, (a + b) // 2, b - 1):
        made = fired(nodes, a, b, driver, h)
        firings = [(t, i) for t in range(1, len(made[a])) for i in range(a, b)]
        for m in maps:
            readers = [r for r in m.readers if a <= r < b]
            if not readers and not a <= m.maker < b:
                continue
            first: dict[int, int] = {}
            last: dict[int, int] = {}
            for now, (t, i) in enumerate(firings):
                if i == m.maker:
                    for row in range(made[i][t - 1], made[i][t]):
                        first[row] = last[row] = now
                if i in readers:
                    kernel, stride, pad = nodes[i].rows if m in nodes[i].inputs else (1, 1, 0)
                    for out in range(made[i][t - 1], made[i][t]):
                        begin = out * stride - pad
                        for row in range(max(0, begin), min(m.height, begin + kernel)):
                            assert row in first or m.maker < a
                            first.setdefault(row, now)
                            last[row] = now
            walked = np.zeros(len(firings), dtype=np.int64)
            for row, begin in first.items():
                walked[begin : last[row] + 1] += 1
            counted = live_rows(nodes, a, b, m, made).T.ravel()
            assert (counted >= walked).all()
            if all(nodes[r].rows[1] <= nodes[r].rows[0] for r in readers):
                assert (counted == walked).all()


def test_subset_sums_are_those_of_all_subsets() -> None:
    assert subset_sums([3, 5, 5, 9], 17).tolist() == [0, 3, 5, 8, 9, 10, 12, 13, 14, 17]


def test_no_memory_at_all_has_no_schedule() -> None:
    assert RowStripes(two_convolutions(), 100).solve() > 1 << 50
