"""The structure of every picture as SVG: its texts, and what is drawn in which colour how often.

They lie in `tests/golden/pictures`; `python -m tests.golden.test_pictures` writes them anew.  Where
exactly a mark stands is left to the tests of what is drawn; that labels do not overlap, for 5
layers or 500, is measured here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.pipeline import RunOptions, load_network
from dataflow_sim.report import review_pictures
from dataflow_sim.report.drawing import pictures
from dataflow_sim.results_of_review import Review
from dataflow_sim.reviewing import review
from tests.support.chains import chain

STRUCTURES = Path(__file__).parent / "pictures"
NAMES = (
    *("traffic", "curve", "energy", "network", "live_set", "memory", "timeline", "bandwidth"),
    *("roofline", "sensitivity"),
)


def small() -> Review:
    hardware = load_hardware("bare", {"local_memory.capacity": "12KiB"})
    return review(load_network("mobilenet_v1@0.25-32"), hardware, RunOptions(policy="merged"))


def structure(svg: bytes) -> str:
    """Texts in order, then counts of marks by element and colour."""
    text = svg.decode()
    lines = [f"text {each}" for each in re.findall(r"<!-- (.*?) -->", text)]
    body = re.sub(r"<defs>.*?</defs>", "", text, flags=re.DOTALL)
    marks: Counter[str] = Counter()
    for tag, style in re.findall(r'<(path|use|image)\b[^>]*?style="([^"]*)"', body):
        colours = re.findall(r"(fill|stroke): (#[0-9a-f]{6})", style)
        marks[f"{tag} " + " ".join(f"{what} {colour}" for what, colour in colours)] += 1
    return (
        "\n".join([*lines, *(f"{count} x {mark}" for mark, count in sorted(marks.items()))]) + "\n"
    )


def drawn(found: Review) -> dict[str, bytes]:
    return {name: pictures(draw, "svg")["svg"] for name, draw in review_pictures.figures_of(found)}


@pytest.fixture(scope="module")
def found() -> dict[str, bytes]:
    return drawn(small())


def test_every_picture_is_told() -> None:
    assert {path.stem for path in STRUCTURES.glob("*.txt")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_structure_is_the_one_that_was_seen(name: str, found: dict[str, bytes]) -> None:
    assert structure(found[name]) == (STRUCTURES / f"{name}.txt").read_text()


def long(layers: int) -> NetworkGraph:
    names = [f"backbone.stage{n // 9}.block{n % 9}.convolution" for n in range(layers)]
    return graph_from_model(chain(names), "long")


def labels(figure: Figure) -> Iterator[Text]:
    """Texts that are seen: labels of ticks within their axes, and all others."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if tick.label1.get_visible() and low <= tick.get_loc() <= high:
                    yield tick.label1
        yield axes.xaxis.label
        yield axes.yaxis.label
        yield from axes.texts
    yield from figure.texts


@pytest.mark.parametrize("layers", [5, pytest.param(60, marks=pytest.mark.slow), 500])
def test_no_two_labels_overlap(layers: int) -> None:
    """Nor does one leave the picture."""
    options = RunOptions(policy="layerwise")
    reviewed = review(long(layers), load_hardware("bare"), options)
    for name, draw in review_pictures.figures_of(reviewed):
        seen: list[Figure] = []
        pictures(lambda draw=draw, seen=seen: seen.append(draw()) or seen[-1], "svg")  # type: ignore[misc]
        (figure,) = seen
        figure.draw_without_rendering()
        boxes = [
            (text.get_text(), text.get_window_extent().padded(-0.5))
            for text in labels(figure)
            if text.get_text().strip()
        ]
        wide, high = figure.bbox.width, figure.bbox.height
        for told, box in boxes:
            inside = min(box.x0, box.y0, wide - box.x1, high - box.y1) >= -2
            assert inside, f"{name}: '{told}' leaves the picture"
        for (one, box), (other, next_box) in combinations(boxes, 2):
            assert not box.overlaps(next_box), f"{name}: '{one}' and '{other}'"


def main() -> None:
    """Write the structures anew."""
    STRUCTURES.mkdir(exist_ok=True)
    for name, svg in drawn(small()).items():
        (STRUCTURES / f"{name}.txt").write_text(structure(svg))


if __name__ == "__main__":
    main()
