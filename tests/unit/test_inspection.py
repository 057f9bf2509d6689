"""What `inspect` finds: counts, live set and lifetimes, against the definitions."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any

import pytest

from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.graph.network import NetworkGraph, PassReport
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.ingest.passes import PASSES
from dataflow_sim.inspection import inspect
from dataflow_sim.networks import build_network
from dataflow_sim.report.network import inspect_tables, pass_table
from dataflow_sim.report.network_files import network_files
from dataflow_sim.results_of_inspection import InspectResult
from tests.support.runs import CLASSIC
from tests.support.small import SMALL


def small(name: str) -> NetworkGraph:
    return graph_from_model(SMALL[name](), name)


def found_in(name: str) -> InspectResult:
    return inspect(small(name))


@pytest.mark.parametrize("name", SMALL)
def test_lifetimes_run_from_the_first_write_to_the_last_read(name: str) -> None:
    graph = small(name)
    found = inspect(graph)
    maps = {n: t for n, t in graph.tensors.items() if t.kind is not TensorKind.WEIGHT}
    names = [layer.name for layer in graph.layers]
    assert {life.tensor for life in found.lifetimes} == set(maps)
    for life in found.lifetimes:
        writers = [layer.name for layer in graph.layers if life.tensor in layer.outputs]
        readers = [
            layer.name
            for layer in graph.layers
            for view in layer.views
            if life.tensor in {segment.tensor for segment in view.segments}
        ]
        assert life.first_layer == (writers or [graph.layers[0].name])[0]
        assert life.last_layer == (readers or [life.first_layer])[-1]
        assert (names[life.first], names[life.last]) == (life.first_layer, life.last_layer)
        assert life.elements == prod(life.shape) == maps[life.tensor].elements
        assert life.kind == maps[life.tensor].kind.value


@pytest.mark.parametrize("name", SMALL)
def test_lifetimes_give_the_live_set_of_every_layer(name: str) -> None:
    found = found_in(name)
    for index, layer in enumerate(found.layers):
        alive = [
            life
            for life in found.lifetimes
            if life.first <= index <= life.last and not (life.overwritten and life.last == index)
        ]
        assert sum(life.elements for life in alive) == layer.live_elements
        assert set(layer.writes) <= {life.tensor for life in alive}
        overwritten = {
            life.tensor for life in found.lifetimes if life.overwritten and life.last == index
        }
        assert len(overwritten) <= 1
        assert overwritten <= set(layer.reads)
        assert set(layer.reads) <= {life.tensor for life in alive} | overwritten


@pytest.mark.parametrize("name", [*SMALL, *CLASSIC])
def test_the_maps_at_the_peak_add_up_to_the_largest_live_set(name: str) -> None:
    graph = small(name) if name in SMALL else graph_from_model(build_network(name), name)
    found = inspect(graph)
    sizes = {life.tensor: life.elements for life in found.lifetimes}
    assert sum(sizes[tensor] for tensor in found.live_peak_maps) == found.live_peak_elements
    live = {layer.name: layer.live_elements for layer in found.layers}
    assert live[found.live_peak_layer] == found.live_peak_elements == max(live.values())


@pytest.mark.parametrize("name", SMALL)
def test_operations_per_byte_are_twice_the_macs_over_elements_of_the_graph(name: str) -> None:
    graph = small(name)
    macs, fetched, moved = 0, 0, 0
    for layer, shown in zip(graph.layers, inspect(graph).layers, strict=True):
        extents = graph.tensors[layer.weight].shape if layer.weight else (0,)
        own = prod(layer.body_shape) * prod(extents[1:]) if layer.weight else 0
        if layer.window.transposed:  # each input meets the kernel of its channel
            own = prod(layer.input.shape) * prod(extents) // layer.input.shape[1]
        constants = prod(extents) if layer.weight else 0
        for vectors in (layer.input_vectors, layer.output_vectors):
            constants += prod(graph.tensors[vectors].shape) if vectors else 0
        maps = prod(layer.output_shape) + sum(prod(view.shape) for view in layer.views)
        assert shown.macs == own
        weight_ratio = float(Fraction(2 * own, constants)) if constants else None
        assert shown.operations_per_weight_byte == weight_ratio
        assert shown.operations_per_byte_moved == float(Fraction(2 * own, constants + maps))
        macs, fetched, moved = macs + own, fetched + constants, moved + constants + maps
    found = inspect(graph)
    assert found.macs == macs
    assert found.operations_per_weight_byte == float(Fraction(2 * macs, fetched))
    assert found.operations_per_byte_moved == float(Fraction(2 * macs, moved))


def test_worked_figures() -> None:
    residual = {layer.name: layer for layer in found_in("residual").layers}
    # 3 x 3, 6 channels to 6, 10 x 10 pixels, no bias: every weight meets 100 pixels
    assert residual["a"].operations_per_weight_byte == 2 * 100
    assert residual["a"].operations_per_byte_moved == 2 * 32_400 / (324 + 600 + 600)
    pooled = {layer.name: layer for layer in found_in("concatenated").layers}
    assert pooled["p"].operations_per_weight_byte is None
    assert pooled["p"].operations_per_byte_moved == 0
    # DESIGN section 6: MobileNetV1 at 224 without biases
    mobile = inspect(graph_from_model(build_network("mobilenet_v1"), "mobilenet_v1"))
    constants = 4_209_088 + mobile.vector_elements
    assert mobile.operations_per_weight_byte == 2 * 568_740_352 / constants


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


@pytest.mark.parametrize("name", ["residual", "squeeze_excite", "tiny_mobilenet_v2"])
def test_csv_sums_are_the_totals_of_the_json(name: str) -> None:
    files = network_files(found_in(name))
    total: dict[str, Any] = json.loads(files["result.json"])
    rows = rows_of(files["layers.csv"])
    counts = ("macs", *(f"{what}_elements" for what in ("weight", "vector", "input", "output")))
    for count in counts:
        assert sum(int(row[count]) for row in rows) == total[count]
        assert [int(row[count]) for row in rows] == [each[count] for each in total["layers"]]
    assert max(int(row["live_elements"]) for row in rows) == total["live_peak_elements"]
    for row, layer in zip(rows, total["layers"], strict=True):
        assert row["layer"] == layer["name"]
        for ratio in ("operations_per_weight_byte", "operations_per_byte_moved"):
            assert (float(row[ratio]) if row[ratio] else None) == layer[ratio]
        extents = [int(row[f"output_{n}"]) for n in ("batch", "channels", "rows", "columns")]
        assert extents == layer["output_shape"]
    lives = rows_of(files["lifetimes.csv"])
    for index, row in enumerate(rows):
        alive = [
            int(life["elements"])
            for life in lives
            if int(life["first"]) <= index < int(life["last"]) + 1 - int(life["overwritten"])
        ]
        assert sum(alive) == int(row["live_elements"])


def test_json_and_tables_name_the_maps() -> None:
    found = found_in("residual")
    data = json.loads(found.json_text())
    assert data["live_peak_layer"] == "c"
    assert data["lifetimes"][0] == {
        "tensor": "input",
        "kind": "input",
        "first_layer": "a",
        "last_layer": "a",
        "first": 0,
        "last": 0,
        "shape": [1, 6, 10, 10],
        "elements": 600,
        "overwritten": False,
    }
    assert data["layers"][1]["reads"] == ["a.relu"]
    assert data["layers"][1]["writes"] == ["add1.relu"]
    names = ["constants", "dead code", *(each.name for each in PASSES), "arrangements"]
    assert [each["name"] for each in data["passes"]] == names
    summary, layers, elements, peak, lifetimes = inspect_tables(found)
    assert ("input", "input 6x10x10") in summary.rows
    assert "2 x MACs / (weights + constants + read + written)" in layers.title
    assert layers.rows[0] == ("a", "Conv", "Relu", "6x10x10", "6x10x10", "32,400", "200.0", "42.5")
    assert elements.rows[0][:6] == ("a", "324", "0", "600", "600", "1,200")
    assert len(layers.rows) == len(elements.rows) == len(data["layers"])
    bars = {row[0]: len(row[-1]) for row in elements.rows}
    assert bars["c"] == max(bars.values()) == 24
    assert {row[0] for row in peak.rows} == set(data["live_peak_maps"])
    assert lifetimes.columns == ("map", "alive from", "to", "layers", "elements")
    assert lifetimes.rows[0] == ("input", "a", "a", "1", "600")
    assert len(lifetimes.rows) == len(data["lifetimes"])
    (pool,) = [
        row for row in inspect_tables(found_in("concatenated"))[1].rows if row[1] == "MaxPool"
    ]
    assert pool[-2:] == ("-", "0.0")
    batched = inspect_tables(found_in("pooled_classifier"))
    assert batched[1].rows[0][3] == "2x3x20x18"


def test_passes_are_told_in_the_json_and_shortened_in_the_table() -> None:
    reports = (
        PassReport("linear", "No MatMul has a bias behind it.", ("a", "b", "c", "d", "e", "f")),
        PassReport("activations", "Every activation is one node.", ()),
    )
    found = inspect(replace(small("residual"), passes=reports))
    assert json.loads(found.json_text())["passes"] == [
        {"name": each.name, "after": each.after, "changed": list(each.changed)} for each in reports
    ]
    assert inspect_tables(found, passes=True)[-1] == pass_table(found)
    assert pass_table(found).rows == (
        ("linear", "6", "a, b, c, d and 2 more", "No MatMul has a bias behind it."),
        ("activations", "0", "-", "Every activation is one node."),
    )
    bare = inspect(replace(small("residual"), passes=()))
    assert pass_table(bare).title == "Passes of the reader: none"
