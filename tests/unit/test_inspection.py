"""What `inspect` finds: lifetimes and the largest live set, against the definition."""

from __future__ import annotations

import json

import pytest

from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.inspection import inspect
from dataflow_sim.networks import BUILT_IN, build_network
from dataflow_sim.report.network import inspect_tables
from tests.support.small import SMALL


def small(name: str) -> NetworkGraph:
    return graph_from_model(SMALL[name](), name)


@pytest.mark.parametrize("name", SMALL)
def test_lifetimes_run_from_the_first_write_to_the_last_read(name: str) -> None:
    graph = small(name)
    found = inspect(graph)
    maps = {n: t for n, t in graph.tensors.items() if t.kind is not TensorKind.WEIGHT}
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
        assert life.elements == maps[life.tensor].elements


@pytest.mark.parametrize("name", [*SMALL, *BUILT_IN])
def test_the_maps_at_the_peak_add_up_to_the_largest_live_set(name: str) -> None:
    graph = small(name) if name in SMALL else graph_from_model(build_network(name), name)
    found = inspect(graph)
    sizes = {life.tensor: life.elements for life in found.lifetimes}
    assert sum(sizes[tensor] for tensor in found.live_peak_maps) == found.live_peak_elements
    live = {layer.name: layer.live_elements for layer in found.layers}
    assert live[found.live_peak_layer] == found.live_peak_elements == max(live.values())


def test_json_and_tables_name_the_maps() -> None:
    found = inspect(small("residual"))
    data = json.loads(found.json_text())
    assert data["live_peak_layer"] == "c"
    assert data["lifetimes"][0] == {
        "tensor": "input",
        "first_layer": "a",
        "last_layer": "a",
        "elements": 600,
    }
    summary, layers, lifetimes = inspect_tables(found)
    assert ("maps alive there", ", ".join(data["live_peak_maps"])) in summary.rows
    assert len(layers.rows) == len(data["layers"])
    assert lifetimes.columns == ("map", "alive from", "to", "elements")
    assert lifetimes.rows[0] == ("input", "a", "a", "600")
    assert len(lifetimes.rows) == len(data["lifetimes"])
