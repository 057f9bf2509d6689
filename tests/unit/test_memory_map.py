"""The picture of addresses over time: its data against their definition, its boxes and names."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from dataflow_sim.placing import place_buffers
from dataflow_sim.report.live_set import HELD, RESIDENT, TILES, WEIGHTS, live_set
from dataflow_sim.report.memory_map import (
    MemoryMap,
    covered,
    divided,
    map_of_placement,
    map_of_run,
)
from dataflow_sim.report.memory_map_plot import (
    memory_figure,
    placement_figure,
    placement_picture,
)
from dataflow_sim.results import BufferStay
from dataflow_sim.results_of_placement import Lifetime, PlacementResult
from tests.unit.test_live_set import result

COLUMNS, ROWS = 12, 9


def share(begin: float, end: float, pixel: int) -> float:
    """How much of a pixel's side lies between two places, by definition."""
    return max(0.0, min(end, pixel + 1) - max(begin, pixel))


@pytest.mark.parametrize("seed", range(20))
def test_how_much_of_each_pixel_boxes_cover(seed: int) -> None:
    random = Random(seed)
    edges = [sorted(random.uniform(0, COLUMNS) for _ in range(8)) for _ in range(2)]
    # boxes side by side: whole pixels, parts of one, ends at the edge
    across = [*zip(edges[0][::2], edges[0][1::2], strict=True), (3.0, 7.0), (11.5, COLUMNS)]
    up = [(0.0, 1.25), (1.25, 1.5), (2.0, 4.0), (4.75, 5.5), (5.5, 6.0), (6.0, ROWS)]
    found = covered(
        (np.array([a for a, _ in across]), np.array([b for _, b in across])),
        (np.array([a for a, _ in up]), np.array([b for _, b in up])),
        COLUMNS,
        ROWS,
    )
    expected = [
        [
            sum(share(*x, column) * share(*y, row) for x, y in zip(across, up, strict=True))
            for column in range(COLUMNS)
        ]
        for row in range(ROWS)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def placed(seed: int, count: int) -> PlacementResult:
    random = Random(seed)
    lives = []
    for number in range(count):
        lower = random.randrange(5 * count)
        length = int(3 * random.paretovariate(0.6))
        lives.append(
            Lifetime(
                f"buffer {number}", lower, lower + min(length, count), random.choice((3, 64, 900))
            )
        )
    return place_buffers("random.csv", lives, None, work=0)


@pytest.mark.parametrize(("count", "most"), [(40, 1000), (3000, 1000), (300, 10)])
def test_boxes_and_shares_make_up_the_whole_area(count: int, most: int) -> None:
    found = map_of_placement(placed(1, count))
    top = found.height_bytes * 1.12
    division = divided(found, 400, 200, top, 3.0, most)
    large = list(division.large)
    assert len(set(large)) == len(large) <= most
    area = (found.right - found.left) * (found.top - found.bottom)
    pixel = (found.end - found.begin) / 400 * top / 200
    drawn = area[large]
    assert np.all(np.diff(drawn) <= 0)
    assert drawn.sum() + division.shares.sum() * pixel == pytest.approx(area.sum())
    assert 0 <= division.shares.min() <= division.shares.max() <= 1
    sides = (found.right - found.left) * 400 / (found.end - found.begin)
    high = (found.top - found.bottom) * 200 / top
    fit = (sides >= 3) & (high >= 3)
    assert len(large) == min(most, fit.sum())
    assert fit[large].all()


def test_the_moment_is_the_fullest_at_the_highest_address() -> None:
    lives = (
        *(Lifetime("low", 0, 20, 4), Lifetime("early", 0, 4, 4), Lifetime("high", 2, 12, 4)),
        *(Lifetime("late", 6, 8, 3), Lifetime("alone", 14, 16, 4)),
    )
    found = map_of_placement(PlacementResult("f", None, 1, lives, (0, 4, 8, 4, 4), 12, 12, 12))
    assert found.moment == 2
    assert {each.label for each in found.holdings(["b"])} == {"low", "early", "high"}
    later = (lives[0], replace(lives[1], upper=2), *lives[2:])
    found = map_of_placement(PlacementResult("f", None, 1, later, (0, 4, 8, 4, 4), 11, 11, 12))
    assert found.moment == 6
    assert [(each.label, each.size_bytes) for each in found.holdings(["b"])] == [
        *(("high", 4), ("low", 4), ("late", 3)),
    ]


def test_the_map_of_a_run_has_its_stays_along_its_layers() -> None:
    run = result("depthwise", "merged", 300)
    live = live_set(run)
    found = map_of_run(run, live)
    assert found.height_bytes == run.peak_bytes
    assert (found.begin, found.end) == (0, len(run.layers))
    assert found.left.min() == 0
    assert found.right.max() == len(run.layers)
    assert np.all(found.left < found.right)
    first = np.array([stay.first_instruction for stay in run.buffers])
    last = np.array([stay.last_instruction for stay in run.buffers])
    # time runs one way: of two moments the later one is not further left
    order = np.argsort(np.concatenate([first, last]), kind="stable")
    assert np.all(np.diff(np.concatenate([found.left, found.right])[order]) >= 0)
    for index, stay in enumerate(run.buffers):
        assert (found.names[index], found.bottom[index]) == (stay.label, stay.address)
        assert found.top[index] == stay.address + stay.size_bytes
    assert sum(found.alive) == sum(
        stay.first_instruction <= found.moment < stay.last_instruction for stay in run.buffers
    )
    assert max(found.top[found.alive]) == run.peak_bytes


def test_colours_say_what_is_held() -> None:
    base = result("residual", "merged", 900)
    group = replace(base.groups[0], resident=("plain",))
    labels = {"a: kernel": WEIGHTS, "a: input": TILES, "plain": RESIDENT}
    stays = tuple(BufferStay(label, 0, 9, 10 * i, 10) for i, label in enumerate(labels))
    run = replace(base, groups=(group, *base.groups[1:]), buffers=stays)
    found = map_of_run(run, live_set(run))
    assert [HELD[kind] for kind in found.kinds] == list(labels.values())
    holdings = found.holdings(HELD)
    assert {each.label: each.held for each in holdings} == labels


def parts(figure: Figure) -> tuple[int, list[str], list[AxesImage]]:
    """Boxes of their own, all texts, and blended pictures."""
    (axes,) = figure.axes
    (boxes,) = [each for each in axes.collections if isinstance(each, PolyCollection)]
    texts = [each for each in (*figure.texts, *axes.texts) if each.get_text()]
    return len(boxes.get_paths()), [text.get_text() for text in texts], list(axes.images)


def test_few_buffers_are_boxes_with_names() -> None:
    lives = (
        *(Lifetime("first", 0, 4, 40), Lifetime("second", 2, 6, 40)),
        Lifetime("a name that is longer than its box" * 3, 5, 7, 40),
    )
    count, texts, images = parts(placement_figure(place_buffers("f.csv", lives, 200)))
    assert count == 3
    assert not images
    assert {"first", "second", "capacity 200 B"} <= set(texts)
    assert "f.csv: 3 buffers placed" in texts
    assert any(text.startswith("a name") and "..." in text for text in texts)
    assert any("80 B (0.00% fragmentation), proved the least" in text for text in texts)


def test_many_buffers_are_blended() -> None:
    many = placed(2, 4000)
    count, texts, (image,) = parts(placement_figure(many))
    assert 0 < count < 4000
    pixels = np.asarray(image.get_array())
    assert pixels.dtype == np.uint8
    # as dark as so much of a pixel is covered
    assert len(np.unique(pixels[..., 3])) > 100
    assert len(texts) < 400


def test_no_text_lies_across_another() -> None:
    run = result("depthwise", "merged", 300)
    for figure in (memory_figure(run), placement_figure(placed(3, 60))):
        (axes,) = figure.axes
        found = [each for each in (*figure.texts, *axes.texts) if each.get_text()]
        extents = [text.get_window_extent() for text in found]
        for index, one in enumerate(extents):
            for other in extents[:index]:
                assert not one.overlaps(other)


def test_names_lie_within_their_boxes() -> None:
    figure = placement_figure(placed(3, 60))
    (axes,) = figure.axes
    (boxes,) = [each for each in axes.collections if isinstance(each, PolyCollection)]
    to_pixels = axes.transData
    places = [to_pixels.transform(np.asarray(path.vertices)) for path in boxes.get_paths()]
    names = [text for text in axes.texts if text.get_color() == "white"]
    assert names
    for text in names:
        extent = text.get_window_extent()
        corners = np.array([[extent.x0, extent.y0], [extent.x1, extent.y1]])
        assert any(
            (place.min(axis=0) <= corners).all() and (corners <= place.max(axis=0)).all()
            for place in places
        ), text.get_text()


def test_the_picture_of_a_run_tells_both_heights() -> None:
    run = result("depthwise", "merged", 300)
    _, texts, _ = parts(memory_figure(run))
    assert "depthwise: addresses in local memory over time" in texts
    assert "at the allocated peak: 240 B" in texts
    assert any("live peak 236 B, allocated peak 240 B (1.67% fragmentation)" in t for t in texts)
    assert "in no buffer" in texts


def test_names_of_no_width_and_strange_names() -> None:
    names = ("\u0301", "$x_1$", "a\nb", "\u6f22\u5b57")
    lives = tuple(Lifetime(name, place, place + 1, 9) for place, name in enumerate(names))
    # wide, high, and neither
    for more in ((0, 1000), (50, 1), (5000, 4000)):
        rest = Lifetime("rest", 10, 20 + more[0], 1 + more[1])
        picture = placement_picture(place_buffers("f$.csv", (*lives, rest), None), "png")
        assert picture.startswith(b"\x89PNG")


def test_buffers_of_no_bytes_are_drawn_as_nothing() -> None:
    empty = place_buffers("f", (Lifetime("a", 0, 1, 0), Lifetime("b", 0, 2, 0)), None)
    count, _, images = parts(placement_figure(empty))
    assert (count, images) == (0, [])
    assert isinstance(map_of_placement(empty), MemoryMap)


def test_pictures_have_the_same_bytes_twice() -> None:
    # with names, boxes and what is blended
    some = placed(4, 500)
    assert parts(placement_figure(some))[2]
    assert placement_picture(some, "svg") == placement_picture(some, "svg")
