"""The picture of budget curves: exact steps, texts that hide nothing, axes that compare."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from dataflow_sim.report.curve_plot import budget_figure, budget_picture
from dataflow_sim.report.curves import curve_table, point_at, precision_text
from dataflow_sim.results_of_costs import DramTraffic
from dataflow_sim.results_of_curves import CurvePoint, CurveResult
from dataflow_sim.traffic import Reason

FLOOR = 4_000_000


def traffic(weights: int, maps: int, sums: int = 0) -> DramTraffic:
    moved = dict.fromkeys(Reason, 0)
    moved |= {
        Reason.WEIGHT_FETCH: FLOOR - 200_000,
        Reason.WEIGHT_REFETCH: weights,
        Reason.INPUT_READ: 150_000,
        Reason.OUTPUT_WRITE: 50_000,
        Reason.MAP_FILL: maps,
        Reason.PARTIAL_SUM_SPILL: sums,
    }
    return DramTraffic(moved)


def result(
    network: str, policy: str, points: list[CurvePoint], overrides: tuple[tuple[str, str], ...] = ()
) -> CurveResult:
    return CurveResult(
        network, "bare", overrides, policy, (8,), (4, 8), FLOOR, 1, tuple(points), (), ()
    )


def falling(seed: int, policy: str, network: str = "net", times: float = 1.0) -> CurveResult:
    """A curve of random steps down to the floor, or near it."""
    chance = random.Random(f"{seed} {policy}")
    sizes = sorted({int(2 ** chance.uniform(9, 21)) for _ in range(chance.choice([3, 40, 400]))})
    least = 0 if chance.random() < 0.7 else 900_000
    extra = sorted((int(times * chance.expovariate(2e-7)) for _ in sizes), reverse=True)
    points = []
    for size, moved in zip(sizes, extra, strict=True):
        share = chance.random()
        kinds = int(moved * share), int(moved * (1 - share)), chance.choice([0, moved // 9])
        points.append(CurvePoint(size, traffic(*kinds)))
    points.append(CurvePoint(sizes[-1] + 1, traffic(0, least)))
    kept: list[CurvePoint] = []
    for point in points:
        if not kept or point.traffic.total_bytes < kept[-1].traffic.total_bytes:
            kept.append(point)
    return result(network, policy, kept)


def boxes(texts: list[Text]) -> list[tuple[float, float, float, float]]:
    found = [text.get_window_extent() for text in texts if text.get_text()]
    return [(box.x0, box.y0, box.x1, box.y1) for box in found]


def texts_of(figure: Figure) -> list[Text]:
    inside: list[Text] = []
    for axes in figure.axes:
        inside += [child for child in axes.get_children() if isinstance(child, Text)]
        inside += [axes.xaxis.label, axes.yaxis.label]
        low, high = axes.get_ylim()
        ticks = zip(axes.get_yticks(), axes.get_yticklabels(), strict=False)
        inside += [label for place, label in ticks if low <= place <= high]
        inside += axes.get_xticklabels()
    (key,) = figure.legends
    return [*inside, *figure.texts, *key.get_texts()]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    figure.canvas.draw()
    texts = [text for text in texts_of(figure) if text.get_text()]
    pairs = combinations(zip(texts, boxes(texts), strict=True), 2)
    return [
        (one.get_text(), other.get_text())
        for (one, a), (other, b) in pairs
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]


POLICIES = ("layerwise", "resident", "merged")
SETS = [("merged",), ("layerwise", "merged"), POLICIES]


@pytest.mark.parametrize("policies", SETS, ids=len)
@pytest.mark.parametrize("count", [1, 2, pytest.param(5, marks=pytest.mark.slow)])
def test_no_text_overlaps_another_or_leaves_the_picture(
    count: int, policies: tuple[str, ...]
) -> None:
    for seed in range(3 if count == 1 else 1):
        networks = [
            [falling(10 * seed + n, policy, f"network_{n}", 3.0**n) for policy in policies]
            for n in range(count)
        ]
        figure = budget_figure(networks)
        assert overlapping(figure) == []
        width, height = figure.get_size_inches() * figure.dpi
        for x0, y0, x1, y1 in boxes(texts_of(figure)):
            assert x0 >= 0
            assert y0 >= 0
            assert x1 <= width
            assert y1 <= height


def steps(axes: Axes) -> list[tuple[list[float], list[float]]]:
    return [
        (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in axes.lines
        if line.get_drawstyle() == "steps-post"
    ]


def test_curves_are_exact_steps() -> None:
    layerwise, merged = falling(1, "layerwise"), falling(2, "merged")
    (axes,) = budget_figure([[merged, layerwise]]).axes
    assert axes.get_ylim()[0] == 0
    lines = steps(axes)
    for curve, (across, up) in zip((merged, layerwise), (lines[0], lines[2]), strict=True):
        assert across[:-1] == [point.local_bytes for point in curve.points]
        assert up[:-1] == [point.traffic.total_bytes / 1e6 for point in curve.points]
        assert up[-1] == up[-2]
        assert across[-1] >= axes.get_xlim()[1]
    areas = [area for area in axes.collections if isinstance(area, PolyCollection)]
    tops = [float(np.asarray(area.get_paths()[0].vertices)[:, 1].max()) for area in areas]
    assert max(tops) == pytest.approx(merged.points[0].traffic.total_bytes / 1e6)
    assert tops[0] == max(point.to_json()["weight_bytes"] for point in merged.points) / 1e6


def test_near_networks_share_their_scale_and_far_ones_do_not() -> None:
    def limits(times: float) -> list[float]:
        points = [
            [CurvePoint(1 << 12, traffic(0, moved)), CurvePoint(1 << 18, traffic(0, 0))]
            for moved in (10_000_000, int(10_000_000 * times))
        ]
        pairs = [[result(f"net{n}", "merged", each)] for n, each in enumerate(points)]
        return [axes.get_ylim()[1] for axes in budget_figure(pairs).axes]

    near, far = limits(1.5), limits(9)
    assert near[0] == near[1]
    assert far[0] < far[1]


def test_ticks_are_memory_sizes_people_say() -> None:
    points = [CurvePoint(1 << 12, traffic(0, 9_000_000)), CurvePoint(3 << 20, traffic(0, 0))]
    networks = [[result(f"net{n}", "merged", points)] for n in range(3)]
    figure = budget_figure(networks)
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert shown == ["16 KiB", "64 KiB", "256 KiB", "1 MiB", "4 MiB"]
    single = budget_figure(networks[:1])
    assert "128 KiB" in [label.get_text() for label in single.axes[0].get_xticklabels()]


def test_long_names_and_overrides_are_clipped() -> None:
    points = [CurvePoint(5, traffic(0, 0))]
    long = [("dram.energy", "20pJ/bit")] * 9
    for count in (1, 3):
        names = [f"{number}{'n' * 300}" for number in range(count)]
        figure = budget_figure([[result(name, "merged", points, tuple(long))] for name in names])
        assert overlapping(figure) == []
        width = figure.get_size_inches()[0] * figure.dpi
        assert all(box[2] <= width for box in boxes(texts_of(figure)))


def test_a_picture_has_the_same_bytes_twice() -> None:
    networks = [[falling(3, "merged")]]
    for kind in ("png", "svg"):
        assert budget_picture(networks, kind) == budget_picture(networks, kind)


def test_tables_show_first_last_and_the_powers_of_two_between() -> None:
    points = [
        CurvePoint(1000, traffic(9, 99)),
        CurvePoint(20_000, traffic(0, 90)),
        CurvePoint(70_000, traffic(0, 0)),
    ]
    found = result("net", "merged", points)
    assert precision_text(found) == "8-bit weights, 4-bit and 8-bit maps"
    assert point_at(found, 999) is None
    assert point_at(found, 19_999) == points[0]
    assert point_at(found, 20_000) == points[1]
    table = curve_table([found])
    assert [row[1] for row in table.rows] == ["1,000 B", "16 KiB", "32 KiB", "64 KiB", "70,000 B"]
    assert table.rows[1][2:4] == ("3.800 MB", "99 B")
    assert table.rows[-1][-1] == "1.000"
    (row,) = curve_table([result("net", "merged", points[-1:])]).rows
    assert row[1] == "70,000 B"
