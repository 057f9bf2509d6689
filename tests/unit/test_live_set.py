"""Local memory over time: the plain data against a replay of the stays, and its picture."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from matplotlib.text import Text

from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.pipeline import RunOptions, run
from dataflow_sim.report.files import run_files
from dataflow_sim.report.live_set import HELD, RESIDENT, SUMS, TILES, WEIGHTS, live_set
from dataflow_sim.report.live_set_plot import live_set_figure, live_set_pictures
from dataflow_sim.results import BufferStay, RunResult
from tests.support.small import SMALL

CASES = [
    ("residual", "merged", 900),
    ("concatenated", "merged", 2000),
    ("squeeze_excite", "resident", 1200),
    ("pooled_classifier", "layerwise", 500),
    ("tiny_mobilenet_v2", "merged", 20000),
    # its addresses leave a gap at the peak
    ("depthwise", "merged", 300),
]


@lru_cache
def result(name: str, policy: str, capacity: int) -> RunResult:
    machine = load_hardware("bare", {"local_memory.capacity": f"{capacity}B"})
    return run(graph_from_model(SMALL[name](), name), machine, RunOptions(policy))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_bytes_in_use_after_every_change(case: tuple[str, str, int]) -> None:
    found = result(*case)
    live = live_set(found)
    for index, at in enumerate(live.instructions.tolist()):
        in_use = [
            stay.size_bytes
            for stay in found.buffers
            if stay.first_instruction <= at < stay.last_instruction
        ]
        assert live.held_bytes[:, index].sum() == sum(in_use)
    assert live.held_bytes.min() == 0
    assert live.held_bytes[:, -1].sum() == 0
    assert live.peak_bytes == live.held_bytes.sum(axis=0).max()
    assert live.peak_bytes == found.buffers_peak_bytes
    assert live.peak_bytes <= found.peak_bytes <= found.capacity_bytes
    assert found.fragmentation == 1 - live.peak_bytes / found.peak_bytes


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_the_peak_is_made_of_its_holdings(case: tuple[str, str, int]) -> None:
    live = live_set(result(*case))
    by_kind = dict.fromkeys(HELD, 0)
    for holding in live.holdings:
        by_kind[holding.held] += holding.size_bytes
    assert list(by_kind.values()) == live.held_bytes[:, live.peak].tolist()
    sizes = [holding.size_bytes for holding in live.holdings]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_groups_follow_one_another(case: tuple[str, str, int]) -> None:
    found = result(*case)
    live = live_set(found)
    names = [name for group in found.groups for name in group.layers]
    starts = [stretch.start_instruction for stretch in live.stretches]
    assert starts == sorted(set(starts))
    for stretch in live.stretches:
        layers = names[stretch.first_layer : stretch.stop_layer]
        assert (stretch.first_name, stretch.last_name) == (layers[0], layers[-1])
        assert layers in [list(group.layers) for group in found.groups]
    if case[1] == "layerwise":
        firsts = [
            min(b.first_instruction for b in found.buffers if b.label.startswith(f"{name}: "))
            for name in names
        ]
        assert starts == firsts


def test_labels_say_what_is_held() -> None:
    base = result("residual", "merged", 900)
    group = replace(base.groups[0], resident=("odd: row", "plain"))
    labels = {
        "a: kernel": WEIGHTS,
        "a: constants": WEIGHTS,
        "a: input vectors": WEIGHTS,
        "a: output vectors": WEIGHTS,
        "a: partial sums": SUMS,
        "a: input": TILES,
        "a: output": TILES,
        "a: operand 0": TILES,
        "some: tensor: row": TILES,
        "odd: row": RESIDENT,
        "plain": RESIDENT,
    }
    stays = tuple(BufferStay(label, 0, 9, 10 * i, 10) for i, label in enumerate(labels))
    live = live_set(replace(base, groups=(group, *base.groups[1:]), buffers=stays))
    assert {holding.label: holding.held for holding in live.holdings} == labels


def texts(found: RunResult) -> list[str]:
    figure = live_set_figure(found)
    inside = [c for axes in figure.axes for c in axes.get_children() if isinstance(c, Text)]
    return [text.get_text() for text in (*figure.texts, *inside)]


def test_the_picture_has_budget_peak_and_names() -> None:
    found = result("tiny_mobilenet_v2", "merged", 6000)
    live = live_set(found)
    shown = texts(found)
    assert "budget 6,000 B" in shown
    assert "tiny_mobilenet_v2: local memory over time" in shown
    largest = live.holdings[0]
    assert any(text.startswith(largest.label[:12]) for text in shown)
    for kind, bytes_ in zip(HELD, live.held_bytes, strict=True):
        assert (kind in shown) == bool(bytes_.any())
    (axes,) = live_set_figure(found).axes
    low, high = axes.get_ylim()
    assert low == 0
    assert high > 6000 / 1024
    tops = [np.asarray(area.get_paths()[0].vertices)[:, 1].max() for area in axes.collections]
    assert max(tops) == pytest.approx(live.peak_bytes / 1024)


def test_no_name_overlaps_another() -> None:
    for case in CASES:
        figure = live_set_figure(result(*case))
        inside = [c for a in figure.axes for c in a.get_children() if isinstance(c, Text)]
        found = [text for text in (*figure.texts, *inside) if text.get_text()]
        extents = [text.get_window_extent() for text in found]
        for index, one in enumerate(extents):
            for other in extents[:index]:
                assert not one.overlaps(other)


def test_a_budget_far_above_the_peak_does_not_flatten_the_picture() -> None:
    found = replace(result("residual", "merged", 900), capacity_bytes=1 << 26)
    assert "budget 64 MiB, above the picture" in texts(found)
    (axes,) = live_set_figure(found).axes
    assert axes.get_ylim()[1] < 900 * 1.2


def test_files_are_left_out_where_the_program_was_not_lowered() -> None:
    found = result("residual", "merged", 900)
    names = {"buffers.csv", "live_set.png", "live_set.svg", "memory.png", "memory.svg"}
    assert names <= set(run_files(found))
    assert not names & set(run_files(replace(found, buffers=())))


def test_pictures_have_the_same_bytes_twice() -> None:
    found = result("residual", "merged", 900)
    assert live_set_pictures(found) == live_set_pictures(found)
