"""Parts of a network: what comes in, what goes out, and that they compute what the whole does."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from dataflow_sim.errors import InputError
from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.part import part_of
from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks import BUILT_IN
from dataflow_sim.pipeline import RunOptions, curve, run
from dataflow_sim.simulate.replay import replay
from tests.support.runs import case, least_budget, scheduled
from tests.support.small import SMALL
from tests.support.zoo import smallest_model


def graph_of(name: str) -> NetworkGraph:
    return graph_from_model(SMALL[name](), name)


def names(graph: NetworkGraph) -> list[str]:
    return [layer.name for layer in graph.layers]


def test_what_comes_in_and_what_goes_out() -> None:
    """residual: a, b + a, short, c, d + short, one more; two read the first sum."""
    graph = graph_of("residual")
    assert names(graph)[:4] == ["a", "b", "short", "c"]
    middle = part_of(graph, "b:short")
    assert middle.name == "residual b:short"
    assert middle.part == "b:short"
    assert names(middle) == ["b", "short"]
    assert middle.inputs == ("a.relu",)
    assert set(middle.outputs) == {"add1.relu", "short"}  # both are read behind
    kinds = {name: tensor.kind for name, tensor in middle.tensors.items()}
    assert kinds["b.weight"] is TensorKind.WEIGHT
    assert kinds["add1.relu"] is TensorKind.OUTPUT
    assert middle.parameters == 6 * 6 * 9 + 10 * 6
    first = part_of(graph, ":b")
    assert (first.inputs, first.outputs) == (("input",), ("add1.relu",))
    assert first.tensors["a.relu"].kind is TensorKind.MAP
    rest = part_of(graph, "short:")
    assert rest.outputs == graph.outputs
    assert first.parameters + rest.parameters == graph.parameters


@pytest.mark.parametrize(
    "name",
    [*sorted(SMALL), *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(BUILT_IN))],
)
def test_the_layers_know_their_parameters(name: str) -> None:
    model = SMALL[name]() if name in SMALL else smallest_model(name)
    graph = graph_from_model(model, name)
    learned = {constant for layer in graph.layers for constant in layer.learned}
    assert sum(prod(graph.constants[each].shape) for each in learned) == graph.parameters
    whole = part_of(graph, ":")
    assert whole.layers == graph.layers
    assert (whole.inputs, whole.outputs) == (graph.inputs, graph.outputs)
    assert dict(whole.tensors) == dict(graph.tensors)
    assert whole.results == graph.results
    assert whole.parameters == graph.parameters


def test_numbers_and_names_with_colons() -> None:
    graph = graph_of("residual")
    assert names(part_of(graph, "2:3")) == names(part_of(graph, "b:short")) == ["b", "short"]
    assert names(part_of(graph, "b:2")) == ["b"]
    model = SMALL["padded_chain"]()
    for node in model.graph.node:
        node.name = f"net:{node.name}"
    graph = graph_from_model(model, "colons")
    assert names(graph) == ["net:a", "net:b", "net:c"]
    assert names(part_of(graph, "net:a:net:b")) == ["net:a", "net:b"]
    assert names(part_of(graph, "net:b:")) == ["net:b", "net:c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b", r"--layers b: write FIRST:LAST.*one layer is b:b"),
        ("", r"--layers '': write FIRST:LAST.*one layer is NAME:NAME"),
        ("shrt:c", r"--layers shrt:c: residual has no layer 'shrt'; nearest: short"),
        ("a:7", r"--layers a:7: residual has no layer number 7, only 1 to 6"),
        ("0:2", r"residual has no layer number 0, only 1 to 6"),
        ("c:a", r"'c' is layer 4 and 'a' layer 1 of residual; give the earlier one first"),
    ],
)
def test_parts_that_there_are_not(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        part_of(graph_of("residual"), text)


@pytest.mark.parametrize("name", ["residual", "concatenated", "depthwise"])
def test_parts_compute_what_the_whole_does(name: str) -> None:
    """Each part reads what the whole network has in DRAM, and writes what that has there."""
    found = case(name)
    graph = found.graph
    _, program = scheduled(graph, 8 * least_budget(graph, False))
    dram = replay(program, graph, found.inputs).tensors
    count = len(graph.layers)
    for first in range(1, count + 1):
        last = min(count, first + 1)
        part = part_of(graph, f"{first}:{last}")
        _, program = scheduled(part, 8 * least_budget(graph, False), policy="merged")
        given = {each: dram[each] for each in part.inputs if each not in graph.inputs}
        made = replay(program, part, {**found.inputs, **given}).tensors
        assert part.outputs
        for output in part.outputs:
            np.testing.assert_allclose(made[output], dram[output], rtol=1e-5, atol=1e-4)


def test_a_part_runs_and_says_which_it_is() -> None:
    graph, machine = graph_of("residual"), load_hardware("bare")
    result = run(graph, machine, RunOptions(layers="2:short"))
    assert (result.network, result.part) == ("residual b:short", "b:short")
    assert result.counted
    assert result.to_json()["part"] == "b:short"
    # b reads its input and adds it, short reads a quarter of the sum, which goes out to others too
    assert result.traffic.total_bytes == 600 + 600 + 6 * 6 * 9 + 600 + 150 + 60 + 250
    assert result.compulsory_bytes == 600 + 6 * 6 * 9 + 600 + 60 + 250
    points = curve(graph, machine, RunOptions("merged", layers="2:short"))
    assert points.part == "b:short"
    assert points.points[-1].traffic.total_bytes == result.compulsory_bytes


@pytest.mark.parametrize("name", ["residual", "pooled_towers", "squeeze_excite"])
def test_layer_by_layer_adjacent_parts_add_up_to_the_whole(name: str) -> None:
    graph, machine = graph_of(name), load_hardware("bare", {"local_memory.capacity": "2KiB"})
    whole = run(graph, machine)
    assert whole.to_json()["part"] is None
    for cut in range(1, len(graph.layers)):
        parts = [run(graph, machine, RunOptions(layers=e)) for e in (f":{cut}", f"{cut + 1}:")]
        moved = sum(part.traffic.total_bytes for part in parts)
        assert moved == whole.traffic.total_bytes
        assert sum(part.macs for part in parts) == whole.macs
