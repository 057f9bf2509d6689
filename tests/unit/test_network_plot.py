"""The live set of a network: the plain data against the definition, and its picture."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from dataflow_sim.ingest import graph_from_model
from dataflow_sim.inspection import inspect
from dataflow_sim.report.live_set_frame import COLUMNS, fullest
from dataflow_sim.report.network_live_set import READ, WAITING, WHY, WRITTEN, live_maps
from dataflow_sim.report.network_plot import network_figure, network_pictures
from dataflow_sim.results_of_inspection import InspectedLayer, InspectResult, MapLifetime
from tests.support.commands import SOURCE
from tests.support.small import SMALL

COUNTS = (1, 2, 5, 7, 40, 500, 2 * COLUMNS)
ODD_NAMES = (
    "$\\frac$",
    "two\nlines",
    "W" * 60,
    "\u5377\u79ef",
    "/features/features.0/0.0/Conv",
    "",
)


def alive_at(lives: tuple[MapLifetime, ...], index: int) -> list[MapLifetime]:
    """The maps in the live set of a layer, by the definition."""
    return [
        life
        for life in lives
        if life.first <= index <= life.last and not (life.overwritten and life.last == index)
    ]


def lives_of(names: list[str], chance: random.Random) -> tuple[MapLifetime, ...]:
    """A map for the input and each layer; now and then one gives its place to the next."""
    lives = []
    for index in range(-1, len(names)):
        first = max(index, 0)
        last = min(len(names) - 1, first + chance.choice([1, 1, 1, 1, 2, 9]))
        lives.append(
            MapLifetime(
                tensor="input" if index < 0 else f"{names[index]}.map",
                kind="map",
                first_layer=names[first],
                last_layer=names[last],
                first=first,
                last=last,
                shape=(1, 1, 1, 1),
                elements=int(10 ** chance.uniform(2, 7)),
                overwritten=last == first + 1 and chance.random() < 0.2,
            )
        )
    return tuple(lives)


def generated(count: int, seed: int = 0) -> InspectResult:
    """A network of so many layers with names short and long and maps that live short and long."""
    chance = random.Random(f"{count} {seed}")
    names = [f"{index}{'block.conv/' * chance.choice([0, 1, 1, 5])}end" for index in range(count)]
    lives = lives_of(names, chance)
    layers = []
    for index, name in enumerate(names):
        alive = alive_at(lives, index)
        dying = [life.tensor for life in lives if life.first < index == life.last]
        held = [life.tensor for life in alive if life.first < index < life.last]
        layers.append(
            InspectedLayer(
                name=name,
                op="Conv",
                folded="",
                input_shape=(1, 1, 1, 1),
                output_shape=(1, 1, 1, 1),
                reads=("input",) if index == 0 else (*dying, *held[: chance.choice([0, 0, 1])]),
                writes=(f"{name}.map",),
                macs=1,
                weight_elements=1,
                vector_elements=1,
                input_elements=1,
                output_elements=1,
                live_elements=sum(life.elements for life in alive),
            )
        )
    peak = max(range(count), key=lambda index: layers[index].live_elements)
    return InspectResult(
        network=f"generated_{count}",
        parameters=1,
        live_peak_elements=layers[peak].live_elements,
        live_peak_layer=names[peak],
        live_peak_maps=tuple(life.tensor for life in alive_at(lives, peak)),
        layers=tuple(layers),
        lifetimes=lives,
        passes=(),
        warnings=(),
    )


def small(name: str) -> InspectResult:
    return inspect(graph_from_model(SMALL[name](), name))


CASES = [*(small(name) for name in SMALL), *(generated(count) for count in COUNTS[:-1])]


@pytest.mark.parametrize("found", CASES, ids=lambda found: found.network)
def test_elements_by_why_they_are_alive(found: InspectResult) -> None:
    live = live_maps(found)
    for index, layer in enumerate(found.layers):
        by_why = dict.fromkeys(WHY, 0)
        for life in alive_at(found.lifetimes, index):
            why = READ if life.tensor in layer.reads else WAITING
            by_why[WRITTEN if life.tensor in layer.writes else why] += life.elements
        assert live.elements[:, index].tolist() == list(by_why.values())
        assert live.elements[:, index].sum() == layer.live_elements
    assert found.layers[live.peak].name == found.live_peak_layer
    assert {each.name for each in live.maps} == set(found.live_peak_maps)
    by_why = {why: sum(m.elements for m in live.maps if m.why == why) for why in WHY}
    assert list(by_why.values()) == live.elements[:, live.peak].tolist()
    sizes = [each.elements for each in live.maps]
    assert sizes == sorted(sizes, reverse=True)


def test_a_map_that_waits_is_told_from_one_that_is_read() -> None:
    live = live_maps(small("residual"))
    assert {each.name: each.why for each in live.maps} == {
        "add1.relu": READ,
        "short": WAITING,
        "c": WRITTEN,
    }


def texts_of(figure: Figure) -> list[Text]:
    found: list[Text] = []
    for axes in figure.axes:
        found += [child for child in axes.get_children() if isinstance(child, Text)]
        low, high = axes.get_ylim()
        ticks = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        found += [axes.yaxis.label, *(label for at, label in ticks if low <= at <= high)]
    return [text for text in (*found, *figure.texts) if text.get_text()]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts_of(figure)]
    return [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.overlaps(b)]


def outside(figure: Figure) -> list[str]:
    width, height = figure.get_size_inches() * figure.dpi
    return [
        text.get_text()
        for text in texts_of(figure)
        for box in [text.get_window_extent()]
        if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height
    ]


PICTURES = [*CASES, *(generated(count, seed) for count in COUNTS for seed in (1, 2))]


@pytest.mark.parametrize("found", PICTURES, ids=lambda found: found.network)
def test_no_text_overlaps_another_or_leaves_the_picture(found: InspectResult) -> None:
    figure = network_figure(found)
    assert overlapping(figure) == []
    assert outside(figure) == []


@pytest.mark.parametrize("count", COUNTS)
def test_names_below_are_those_of_the_layers_above_and_the_peak_is_among_them(count: int) -> None:
    found = generated(count)
    (axes,) = network_figure(found).axes
    peak = live_maps(found).peak
    below = [text for text in axes.texts if text.get_text()]
    places = [float(text.xy[0]) for text in below]  # type: ignore[attr-defined]
    assert places == sorted(places)
    assert peak + 0.5 in places
    for text, place in zip(below, places, strict=True):
        name = found.layers[int(place)].name
        shown = text.get_text()
        assert shown == name or (shown[:6] == name[:6] and shown[-6:] == name[-6:])
    # where there are few layers all are named, where there are many about every pixel row is used
    assert len(below) == count if count <= 40 else 30 <= len(below) <= 51


@pytest.mark.parametrize("count", COUNTS)
def test_areas_are_as_high_as_the_live_set(count: int) -> None:
    found = generated(count)
    (axes,) = network_figure(found).axes
    top = axes.collections[len(WHY) - 1].get_paths()[0]
    unit = 10 ** (3 * int(np.log10(found.live_peak_elements) // 3))
    vertices = np.asarray(top.vertices)
    assert vertices[:, 1].max() * unit == pytest.approx(found.live_peak_elements)
    words = {10**3: "thousand elements", 10**6: "million elements"}[unit]
    assert axes.get_ylabel() == f"live set [{words}]"
    if count <= COLUMNS:
        for index, layer in enumerate(found.layers):
            crossed = top.contains_point((index + 0.5, 0.999999 * layer.live_elements / unit))
            beyond = top.contains_point((index + 0.5, 1.000001 * layer.live_elements / unit))
            written = sum(life.elements for life in found.lifetimes if life.tensor in layer.writes)
            assert crossed == (written > 2e-6 * layer.live_elements)
            assert not beyond


def test_a_column_shows_the_fullest_of_its_layers() -> None:
    held = np.arange(6 * COLUMNS, dtype=np.int64)[::-1].reshape(2, -1) % 977
    count = held.shape[1]
    columns, shown = fullest(np.arange(count) * (COLUMNS / count), held)
    assert columns.tolist() == list(range(COLUMNS))
    totals = held.sum(axis=0).reshape(COLUMNS, -1).max(axis=1)
    assert shown.sum(axis=0).tolist() == totals.tolist()


def test_odd_names_are_shown_as_they_are() -> None:
    model = SMALL["residual"]()
    for number, node in enumerate(model.graph.node):
        node.name = ODD_NAMES[number % len(ODD_NAMES)] + str(number)
    pictures = network_pictures(inspect(graph_from_model(model, "cost$in$")))
    assert pictures["png"].startswith(b"\x89PNG")
    drawn = pictures["svg"].decode()
    for text in ("cost$in$: live set of whole maps", "$\\frac$0", "two?lines7"):
        assert f"<!-- {text} -->" in drawn


def test_wide_names_are_clipped() -> None:
    found = generated(7)
    layers = tuple(
        replace(layer, name="W" * (30 + index)) for index, layer in enumerate(found.layers)
    )
    lives = tuple(replace(life, tensor=life.tensor + "W" * 60) for life in found.lifetimes)
    figure = network_figure(replace(found, network="W" * 99, layers=layers))
    assert overlapping(figure) == []
    assert outside(figure) == []
    renamed = tuple(
        replace(
            layer,
            reads=tuple(name + "W" * 60 for name in layer.reads),
            writes=tuple(name + "W" * 60 for name in layer.writes),
        )
        for layer in layers
    )
    figure = network_figure(replace(found, layers=renamed, lifetimes=lives))
    assert overlapping(figure) == []
    assert outside(figure) == []


PROGRAM = """
import hashlib
from tests.unit.test_network_plot import generated, network_pictures, small
for found in (generated(40), generated(500), small("squeeze_excite")):
    for kind, picture in network_pictures(found).items():
        print(kind, hashlib.sha256(picture).hexdigest())
"""


@pytest.mark.slow
def test_pictures_have_the_same_bytes_under_two_hash_seeds() -> None:
    texts = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": SOURCE},
            cwd=SOURCE,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("0", "4242")
    ]
    assert texts[0] == texts[1]
    assert len(texts[0].splitlines()) == 6
