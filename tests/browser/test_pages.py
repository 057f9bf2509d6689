"""What a reader of a page sees and does: plots, sliders, tables, keyboard, print."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Open
from tests.support.chains import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

PAGES = ("one.html", "two.html", "sweep.html", "changes.html", "long.html", "hostile.html")
MARKS = ".main-svg .plot path, .main-svg .points path, .main-svg .heatmaplayer image, .js-line"


def script(name: str) -> str:
    """A function that a page evaluates."""
    return (Path(__file__).parent / name).read_text()


def points(pages: Path) -> list[dict[str, str]]:
    with (pages / "grid" / "points.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", PAGES)
def test_every_plot_draws_without_a_network_or_a_word_on_the_console(
    name: str, opened: Open
) -> None:
    page = opened(name)
    plots = page.locator(".plot")
    for place in range(plots.count()):
        plot = plots.nth(place)
        drawn = plot.locator(MARKS).count()
        assert drawn > 0, plot.get_attribute("id")
        box = plot.bounding_box()
        assert box is not None
        assert box["width"] > 500
        assert box["height"] > 80
    assert plots.count() >= {"changes.html": 0, "sweep.html": 3, "two.html": 10}.get(name, 8)


def test_figures_of_the_page_are_those_of_the_result(opened: Open, pages: Path) -> None:
    result = json.loads((pages / "merged" / "result.json").read_text())
    page = opened("one.html")
    reasons = {
        row[0]: int(row[1].replace(",", ""))
        for row in (cells.split("\t") for cells in texts(page, "#traffic tbody tr"))
    }
    assert reasons.pop("total") == result["dram"]["total_bytes"]
    assert reasons == {r: v for r, v in result["dram"]["by_reason"].items() if v}
    layers = [cells.split("\t") for cells in texts(page, "#layers-table tbody tr")]
    heads = [text.strip() for text in page.locator("#layers-table thead th").all_inner_texts()]
    at = heads.index("DRAM [B]")
    assert [row[0] for row in layers] == [layer["name"] for layer in result["layers"]]
    assert [int(row[at].replace(",", "")) for row in layers] == [
        layer["dram"]["total_bytes"] for layer in result["layers"]
    ]
    assert page.locator("#verdict .verdict p").count() == 3


def texts(page: Page, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def test_sliders_show_what_the_table_of_results_says(opened: Open, pages: Path) -> None:
    rows = points(pages)
    page = opened("sweep.html")
    sliders = page.locator("input[type=range]")
    names = [text.replace(" ", "_") for text in texts(page, ".slider label")]
    assert {"network", "policy", "local_memory_bytes", "weight_bits"} <= set(names)
    seen = set()
    for places in (
        (0, 0, 0, 0, 0),
        (1, 1, 4, 1, 1),
        (0, 1, 2, 1, 0),
        (1, 0, 3, 0, 1),
        (0, 1, 1, 0, 1),
    ):
        for number, place in enumerate(places):
            sliders.nth(number).fill(str(place))
        axes = data_of(page, "data.axes")
        wanted = {axis["name"]: axis["values"] for axis in axes}
        chosen = dict(
            zip(
                names, (wanted[name][p] for name, p in zip(names, places, strict=True)), strict=True
            )
        )
        (row,) = (r for r in rows if all(r[name] == text(v) for name, v in chosen.items()))
        for column in ("dram_bytes", "map_bytes", "latency_ms", "energy_mj"):
            shown = page.locator(f"[data-column={column}]")
            if row[column]:
                value = float(shown.inner_text().replace(",", ""))
                assert value == pytest.approx(float(row[column]), rel=1e-3, abs=5e-5)
            else:
                assert shown.count() == 0
        star = plotted(page, "lines-plot")[-1]
        if row["dram_bytes"]:
            assert star["name"] == "the sliders' point"
            assert list(star["y"]) == [int(row["dram_bytes"])]
        seen.add(row["dram_bytes"])
    assert len(seen) > 2


def text(value: object) -> str:
    return str(value)


def data_of(page: Page, path: str) -> Any:
    """What the page's data hold."""
    return page.evaluate(
        f"unpacked('data').then((text) => {{ const data = JSON.parse(text); return {path}; }})"
    )


def plotted(page: Page, name: str) -> list[dict[str, Any]]:
    found = page.evaluate(
        f"document.getElementById('{name}').data"
        ".map((t) => ({name: t.name, x: [...t.x], y: [...t.y]}))"
    )
    assert isinstance(found, list)
    return found


def test_the_front_is_beaten_by_no_point(opened: Open, pages: Path) -> None:
    page = opened("sweep.html")
    page.select_option("#front-x", "dram_bytes")
    page.select_option("#front-y", "local_memory_bytes")
    (front,) = (t for t in plotted(page, "front-plot") if t["name"] == "none is better in both")
    known = [
        (int(row["dram_bytes"]), int(row["local_memory_bytes"]))
        for row in points(pages)
        if row["dram_bytes"]
    ]
    best = {
        (x, y)
        for x, y in known
        if not any(u <= x and v <= y and (u, v) != (x, y) for u, v in known)
    }
    assert set(zip(front["x"], front["y"], strict=True)) == best


def test_sort_filter_and_save(opened: Open) -> None:
    page = opened("one.html")
    head = page.locator("#layers-table th", has_text="DRAM [B]")
    column = texts(page, "#layers-table thead th").index("DRAM [B]")

    def values() -> list[int]:
        rows = texts(page, "#layers-table tbody tr")
        return [int(row.split("\t")[column].replace(",", "")) for row in rows]

    first = values()
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert values() == sorted(first, reverse=True)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(first)
    page.fill("#layers-table-filter", "conv3")
    names = [row.split("\t")[0] for row in texts(page, "#layers-table tbody tr")]
    assert names
    assert all("conv3" in name for name in names)
    assert texts(page, "#layers-table .count") == [f"{len(names)} of {len(first)}"]
    with page.expect_download() as started:
        page.locator("#layers-table .csv").click()
    saved = list(csv.reader(io.StringIO(Path(started.value.path()).read_text())))
    assert [row[0] for row in saved[1:]] == names
    page.fill("#layers-table-filter", "no such layer")
    assert texts(page, "#layers-table .count") == [f"0 of {len(first)}"]


def test_the_timeline_zooms_by_buttons_and_keeps_its_borders(opened: Open) -> None:
    page = opened("one.html")
    buttons = page.locator("#time .controls")

    def seen() -> tuple[float, float]:
        low, high = page.evaluate("document.getElementById('timeline-plot').layout.xaxis.range")
        return float(low), float(high)

    whole = seen()
    buttons.get_by_role("button", name="zoom in").click()
    page.wait_for_function(
        "document.getElementById('timeline-plot').layout.xaxis.range[1] < " + str(whole[1])
    )
    low, high = seen()
    assert high - low == pytest.approx((whole[1] - whole[0]) / 2)
    for _ in range(4):
        buttons.get_by_role("button", name="later").click()
    assert seen()[1] <= whole[1] * (1 + 1e-9)
    buttons.get_by_role("button", name="the whole frame").click()
    assert seen() == pytest.approx(whole)


def test_several_runs_mark_what_differs_and_show_each_in_full(opened: Open, pages: Path) -> None:
    page = opened("two.html")
    assert page.locator("#side tr.differs th").all_inner_texts() == ["policy"]
    assert "worse" in page.locator("#side tr", has_text="DRAM traffic").inner_text()
    results = [json.loads((pages / n / "result.json").read_text()) for n in ("merged", "alone")]
    for place, result in enumerate(results):
        page.select_option("#which", str(place))
        page.wait_for_function("document.querySelector('#traffic-plot .main-svg') !== null")
        total = texts(page, "#traffic tbody tr")[-1].split("\t")[1]
        assert int(total.replace(",", "")) == result["dram"]["total_bytes"]
    moved = [row.split("\t") for row in texts(page, "#change-0 .data tbody tr")]
    assert sum(int(row[3].replace(",", "")) for row in moved) == (
        results[1]["dram"]["total_bytes"] - results[0]["dram"]["total_bytes"]
    )


def test_520_layers_stay_responsive(opened: Open) -> None:
    page = opened("long.html")
    assert page.locator("#layers-table tbody tr").count() == 300
    page.get_by_role("button", name="Show all 520 rows").click()
    assert page.locator("#layers-table tbody tr").count() == 520
    assert page.locator("#network svg circle").count() == 521
    took = page.evaluate(script("responses.js"))
    assert all(value < 1000 for value in took.values()), took


def test_names_are_inert_wherever_they_stand(opened: Open) -> None:
    page = opened("hostile.html")
    names = [row.split("\t")[0] for row in texts(page, "#layers-table tbody tr")]
    assert len(names) == len(HOSTILE)
    for plain in ("<script>window.hit = 1</script>", '"><img src=x onerror="window.hit=3">'):
        assert plain in names
    for place in ("traffic", "timeline", "boxes", "roofline"):
        marks = page.locator(f"#{place}-plot .point path, #{place}-plot path.point")
        for number in range(min(4, marks.count())):
            marks.nth(number).hover(force=True)
    page.select_option("#which", "1")
    page.wait_for_timeout(200)
    assert page.evaluate("window.hit === undefined")
    assert page.locator("img").count() == 0
    assert page.locator("main script, main b").count() == 0


@pytest.mark.parametrize("name", PAGES)
def test_what_a_reader_without_a_mouse_or_with_weak_eyes_needs(name: str, opened: Open) -> None:
    page = opened(name)
    assert page.get_attribute("html", "lang") == "en"
    assert page.locator("h1").count() == 1
    unnamed = page.evaluate(script("unnamed.js"))
    assert unnamed == []
    weak = page.evaluate(script("contrast.js"))
    assert weak == []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    reached = {page.evaluate("document.activeElement.tagName") for _ in tabbed(page, 40)}
    assert "A" in reached


def tabbed(page: Page, times: int) -> Iterator[None]:
    for _ in range(times):
        page.keyboard.press("Tab")
        yield


def test_a_slider_by_the_keyboard(opened: Open) -> None:
    page = opened("sweep.html")
    slider = page.locator("#slider-3")
    slider.focus()
    before = page.locator("#slider-3-value").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#slider-3-value").inner_text() != before
    assert slider.get_attribute("aria-valuetext") == page.locator("#slider-3-value").inner_text()


def test_in_print_everything_is_there(opened: Open) -> None:
    page = opened("long.html")
    page.get_by_role("button", name="Show all 520 rows").click()
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    clipped = page.evaluate(
        "[...document.querySelectorAll('.tall')]"
        ".filter((each) => each.scrollHeight > each.clientHeight + 1).length"
    )
    assert clipped == 0
    assert len(page.pdf()) > 100_000
