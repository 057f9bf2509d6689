"""Who pools: the layer in front, the one behind, or a layer of its own; and what each one moves."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dataflow_sim.errors import HardwareError
from dataflow_sim.explanation import explain
from dataflow_sim.graph.analyses import layer_macs, layer_macs_without_padding
from dataflow_sim.graph.layer import Layer, LayerKind, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision, drop_vectors
from dataflow_sim.graph.pooling import Pooler, place_pooling
from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.pipeline import RunOptions, prepare, run
from dataflow_sim.report.explanation import explain_tables
from dataflow_sim.schedule.bounds import compulsory_bytes, layer_floor_bytes
from dataflow_sim.schedule.footprints import axis_tiles, layer_axes
from dataflow_sim.schedule.layout import GroupRun, group_layout
from dataflow_sim.schedule.rows import layer_rows
from dataflow_sim.schedule.search import schedule_network
from dataflow_sim.schedule.timetable import RowTables
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from dataflow_sim.simulate.reference import evaluate_reference, random_inputs, with_weights
from dataflow_sim.simulate.replay import replay
from tests.support.curves import curve
from tests.support.runs import input_placements, outputs_of, proved
from tests.support.small import SMALL

POOLERS = tuple(Pooler)


def placed(model: onnx.ModelProto, pooler: Pooler | str, bits: int = 8) -> NetworkGraph:
    graph = graph_from_model(model, f"{model.graph.name}, {pooler} pools")
    graph = place_pooling(graph, Pooler(pooler))
    return drop_vectors(assign_precision(graph, Precision(bits, bits, 32)))


def chain() -> onnx.ModelProto:
    """2 channels of 8x8, padded 3x3 to 4 channels, 2x2 maxima, padded 3x3 to 3 channels."""
    net = OnnxBuilder("chain", (1, 2, 8, 8))
    value = net.activation("a.relu", net.convolution("a", "input", 4, 3))
    value = net.pool("MaxPool", "pool", value, 2, 2)
    return net.model(net.convolution("b", value, 3, 3))


def overlapping() -> onnx.ModelProto:
    """Overlapping, padded, dilated and strided poolings before strided and dilated kernels."""
    net = OnnxBuilder("overlapping", (2, 3, 15, 13))
    value = net.activation("a.relu", net.convolution("a", "input", 4, 3, bias=True))
    value = net.pool("MaxPool", "p", value, 3, 2, 1)
    value = net.batch_norm("p.bn", value)  # behind the pooling, before the next kernel
    value = net.convolution("b", value, 5, 3, stride=2)
    window = {"kernel_shape": [2, 3], "strides": [1, 2], "pads": [0, 1, 1, 1]}
    value = net.node("AveragePool", "q", [value], count_include_pad=1, **window)
    value = net.convolution("c", value, 6, 1, stride=2)
    return net.model(net.fully_connected("fc", net.global_average_pool("g", value), 4))


def towers() -> onnx.ModelProto:
    """A pooled map that two convolutions read, one of them depthwise; then one for an add."""
    net = OnnxBuilder("towers", (1, 3, 12, 10))
    value = net.pool("MaxPool", "p", net.convolution("a", "input", 4, 3, bias=True), 3, 2, 1)
    left = net.convolution("left", value, 4, 3)
    right = net.convolution("right", value, 4, 3, groups=4)
    value = net.pool("AveragePool", "q", net.add("sum", left, right), 2, 2)
    return net.model(net.add("last", net.convolution("c", value, 4, 1), value))


NETWORKS = {build.__name__: build for build in (chain, overlapping, towers)}


def names(graph: NetworkGraph) -> list[str]:
    return [layer.name for layer in graph.layers]


def layer_of(graph: NetworkGraph, name: str) -> Layer:
    return next(layer for layer in graph.layers if layer.name == name)


def test_the_chain_by_hand() -> None:
    """Maps: 128 in, 4x64 unpooled, 4x16 pooled, 3x16 out; kernels 72 and 108."""
    unpooled, pooled, rest = 256, 64, 128 + 48 + 72 + 108
    moved = {
        "separate": rest + 2 * unpooled + 2 * pooled,
        "producer": rest + 2 * pooled,
        "consumer": rest + 2 * unpooled,
    }
    for pooler, due in moved.items():
        graph = placed(chain(), pooler)
        schedule = schedule_network(graph, MemoryOptions(1 << 16, SINGLE, 32), "layerwise")
        proved(graph, schedule)
        assert sum(schedule.traffic_bytes().values()) == due
        assert compulsory_bytes(graph) == rest
    assert names(placed(chain(), "separate")) == ["a", "pool", "b"]
    assert names(placed(chain(), "producer")) == names(placed(chain(), "consumer")) == ["a", "b"]


def test_what_a_layer_that_pools_its_input_is() -> None:
    graph = placed(chain(), "consumer")
    first, last = graph.layers
    assert first.pool is None
    assert first.output_shape == last.input.shape == (1, 4, 8, 8)
    assert (last.pooled_shape, last.output_shape) == ((1, 4, 4, 4), (1, 3, 4, 4))
    assert layer_macs(last) == 3 * 16 * 4 * 9
    assert layer_macs_without_padding(last) == 3 * 4 * (3 * 4 - 2) ** 2
    assert layer_floor_bytes(graph, last) == 256 + 108 + 48
    rows, columns = layer_axes(last)
    assert rows == columns
    # tiles of two rows: pooled rows 0 to 2 and 1 to 3
    assert axis_tiles(rows, (2,)).input_sum.tolist() == [6 + 6]
    assert axis_tiles(rows, (2,)).input_touched.tolist() == [8]
    needs = layer_rows(last).views[0]
    assert needs.low.tolist() == [0, 0, 2, 4]
    assert needs.high.tolist() == [4, 6, 8, 8]
    assert needs.last.tolist() == [3, 5, 7, 9]
    assert layer_rows(last).stride == 2


def test_merged_by_hand() -> None:
    """Kernels of 72 and 108 bytes, rows of 16, 32 unpooled, 16 pooled, and 12.

    Producer: a pooled row is made of four rows of the input, while two others wait; or b makes
    one of three, while the input keeps two.  Consumer: the sixth unpooled row is made of three
    rows of the input; or b makes one of six, while the input keeps two.
    """
    heights = {
        "producer": 72 + 108 + max(4 * 16 + 3 * 16, 3 * 16 + 12 + 2 * 16),
        "consumer": 72 + 108 + max(3 * 16 + 6 * 32, 6 * 32 + 12 + 2 * 16),
    }
    for pooler, height in heights.items():
        graph = placed(chain(), pooler)
        stored = frozenset(graph.outputs)
        group = GroupRun((0, 1), None, (), frozenset(), stored, SINGLE)
        assert group_layout(RowTables(graph, MemoryOptions(0, SINGLE, 32)), group).height == height


def expected_places(pooler: Pooler) -> dict[str, list[str]]:
    """Layers of each network."""
    if pooler is Pooler.PRODUCER:
        return {
            "chain": ["a", "b"],
            "overlapping": ["a", "b", "c", "fc"],
            "towers": ["a", "left", "right", "q", "c"],
        }
    if pooler is Pooler.SEPARATE:
        return {
            "chain": ["a", "pool", "b"],
            "overlapping": ["a", "p", "b", "q", "c", "g", "fc"],
            "towers": ["a", "p", "left", "right", "q", "c"],
        }
    return {
        "chain": ["a", "b"],
        "overlapping": ["a", "b", "c", "fc"],
        "towers": ["a", "left", "right", "q", "c"],
    }


@pytest.mark.parametrize("pooler", POOLERS)
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_where_poolings_go(name: str, pooler: Pooler) -> None:
    graph = placed(NETWORKS[name](), pooler)
    assert names(graph) == expected_places(pooler)[name]
    read = {s.tensor for layer in graph.layers for view in layer.views for s in view.segments}
    written = {name for layer in graph.layers for name in layer.outputs}
    maps = {name for name, t in graph.tensors.items() if t.kind is TensorKind.MAP}
    assert maps == (read & written) - set(graph.outputs)
    kept = [w for w in graph.warnings if "layers of their own" in w]
    alone = [layer.name for layer in graph.layers if layer.kind is LayerKind.CHANNELWISE]
    assert kept == (
        ["pooled in layers of their own, since not all readers can: q"]
        if (name, pooler) == ("towers", Pooler.CONSUMER)
        else []
    )
    assert pooler is Pooler.SEPARATE or alone == (["q"] if name == "towers" else [])


def test_nobody_else_pools_a_networks_output() -> None:
    """Nor what a concat reads, nor behind a pre-activation, nor of a volume."""
    net = OnnxBuilder("kept", (1, 3, 8, 8))
    value = net.pool("MaxPool", "out", net.convolution("a", "input", 4, 3), 2, 2)
    model = net.model(net.convolution("b", value, 2, 1))
    model.graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, None))
    assert names(placed(model, "consumer")) == ["a", "out", "b"]
    net = OnnxBuilder("joined", (1, 3, 8, 8))
    left = net.pool("MaxPool", "l", net.convolution("a", "input", 4, 3), 2, 2)
    joined = net.concat("cat", [left, net.convolution("b", "input", 4, 3, stride=2)])
    assert names(placed(net.model(net.convolution("c", joined, 2, 1)), "consumer")) == [
        *("a", "l", "b", "c"),
    ]


def test_names_that_are_taken() -> None:
    """A pooling's layer gets a number where another layer has its name; so do its tensors."""
    net = OnnxBuilder("twice", (1, 3, 8, 8))
    value = net.pool("MaxPool", "p", net.convolution("a", "input", 4, 3), 2, 2)
    value = net.pool("MaxPool", "q", net.convolution("b", value, 4, 3), 2, 2)
    model = net.model(value)
    for node in model.graph.node:
        if node.op_type == "MaxPool":
            node.name = "a"
    graph = placed(model, "separate")
    assert len(set(names(graph))) == 4


RUNS = [
    *(("chain", "merged", pooler) for pooler in POOLERS),
    ("overlapping", "layerwise", Pooler.CONSUMER),
    ("towers", "merged", Pooler.CONSUMER),
]
MORE = [
    run
    for run in product((*sorted(NETWORKS), "pooled_classifier"), ("layerwise", "merged"), POOLERS)
    if run not in RUNS
]


@pytest.mark.parametrize(
    ("name", "policy", "pooler"),
    [*RUNS, *(pytest.param(*run, marks=pytest.mark.slow) for run in MORE)],
)
def test_the_replay_gives_the_networks_output(name: str, policy: str, pooler: Pooler) -> None:
    model = with_weights({**NETWORKS, **SMALL}[name](), seed=1)
    graph = place_pooling(graph_from_model(model, f"{name}, {pooler} pools"), pooler)
    graph = assign_precision(graph, Precision(32, 32, 32))
    inputs = random_inputs({p.array: p.axes.shape for p in input_placements(graph)}, seed=2)
    (expected,) = evaluate_reference(model, dict(inputs)).values()
    found = curve(graph, policy)
    points = [p for p in found.points if p.schedule.steps < 600] or found.points[-1:]
    for point in (points[0], points[len(points) // 2], points[-1]):
        schedule = found.schedule(point.local_bytes)
        assert schedule is not None
        result = replay(proved(graph, schedule), graph, inputs)
        output = outputs_of(graph, result.tensors, expected)["output"]
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5 * scale)


def test_the_key_of_the_hardware_file(tmp_path: Path) -> None:
    graph = graph_from_model(chain(), "chain")
    assert load_hardware("bare").pooling == "producer"
    for pooler in POOLERS:
        machine = load_hardware("bare", {"pooling": pooler.value})
        assert names(prepare(graph, machine, RunOptions())) == names(placed(chain(), pooler))
        result = run(graph, machine)
        assert dict(result.overrides) == {"pooling": pooler.value}
        assert result.counted
    with pytest.raises(HardwareError, match=r"--set pooling=reader: .*'separate', 'producer' or"):
        load_hardware("bare", {"pooling": "reader"})


def test_explain_tells_what_is_pooled_on_the_way_in() -> None:
    graph = graph_from_model(chain(), "chain")
    found = explain(graph, load_hardware("bare", {"pooling": "consumer"}), RunOptions(), "b")
    assert (found.layer.input_pool, found.layer.pool) == ("max 2x2 stride 2x2", "")
    cells = [cell for table in explain_tables(found) for row in table.rows for cell in row]
    assert any("input pooled max 2x2 stride 2x2 on the way in" in cell for cell in cells)
    separate = load_hardware("bare", {"pooling": "separate"})
    assert explain(graph, separate, RunOptions(), "pool").layer.pool == "max 2x2 stride 2x2"
