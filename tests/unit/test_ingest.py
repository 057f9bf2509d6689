"""The reader: counts against the published table, folding against the rules."""

from __future__ import annotations

from math import prod
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.analyses import layer_macs, live_peak_bytes
from dataflow_sim.graph.layer import LayerKind, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest import ReadRequest, graph_from_model, read_network
from dataflow_sim.networks.builder import OnnxBuilder
from tests.support.models import LIGHT
from tests.support.small import SMALL


def graph_macs(graph: NetworkGraph) -> int:
    return sum(layer_macs(layer) for layer in graph.layers)


def macs_from_file(path: Path) -> int:
    """MACs counted straight from the nodes of a file, by the definition, node by node."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path, load_external_data=False))
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)
    }
    shapes.update((tensor.name, list(tensor.dims)) for tensor in model.graph.initializer)
    total = 0
    for node in model.graph.node:
        weight = shapes.get(node.input[1]) if len(node.input) > 1 else None
        if node.op_type == "Conv":
            assert weight
            total += prod(shapes[node.output[0]]) * prod(weight[1:])
        elif node.op_type == "Gemm":
            assert weight
            total += prod(weight) * shapes[node.output[0]][0]
    return total


@pytest.mark.parametrize("name", LIGHT)
def test_light_models_are_read_whole(name: str, light_models: Path) -> None:
    path = light_models / f"light_{name}.onnx"
    graph = read_network(path)
    assert graph_macs(graph) == macs_from_file(path)
    assert not graph.warnings
    assert all(layer.kind is not LayerKind.STREAMED for layer in graph.layers)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("bvlc_alexnet", 60_965_224), ("vgg19", 143_667_240), ("squeezenet", 1_235_496)],
)
def test_parameters_are_those_published(name: str, parameters: int, light_models: Path) -> None:
    assert read_network(light_models / f"light_{name}.onnx").parameters == parameters


def folded(name: str) -> dict[str, tuple[str, ...]]:
    graph = graph_from_model(SMALL[name](), name)
    return {layer.name: (*layer.pre.ops, "|", *layer.post.ops) for layer in graph.layers}


def test_normalisation_activation_and_residual_fold_into_the_producer() -> None:
    assert folded("depthwise")["dw"] == ("|", "BatchNormalization", "Clip")
    assert folded("residual") == {
        "a": ("|", "Relu"),
        "b": ("|", "Add", "Relu"),
        "short": ("|",),
        "c": ("|",),
        "d": ("|", "Add", "Relu"),
        "self": ("|", "Add"),
    }


def test_a_pre_activation_folds_into_its_consumers() -> None:
    net = OnnxBuilder("pre", (1, 4, 6, 6))
    left, right = net.convolution("l", "input", 3, 1), net.convolution("r", "input", 5, 1)
    joined = net.concat("cat", [left, right])
    value = net.activation("relu", net.batch_norm("bn", joined))
    outputs = [net.convolution("x", value, 2, 3), net.pool("MaxPool", "y", value, 2, 2)]
    pooled = net.convolution("z", outputs[1], 2, 1)
    shrunk = net.pool("AveragePool", "p", outputs[0], 2, 2)
    graph = graph_from_model(net.model(net.add("sum", pooled, shrunk)), "pre")
    layers = {layer.name: layer for layer in graph.layers}
    assert layers["x"].pre.ops == layers["y"].pre.ops == ("BatchNormalization", "Relu")
    assert [s.tensor for s in layers["x"].input.segments] == ["l", "r"]
    assert graph.tensors[layers["x"].input_vectors or ""].shape == (2, 8, 1, 1)


def test_a_gate_becomes_one_activation_and_scaling_stays_a_layer() -> None:
    found = folded("squeeze_excite")
    assert found["a"] == ("|", "Swish")
    assert found["scaled"] == ("|", "Mul")


def test_pooling_folds_into_the_producer_only_where_nobody_else_reads() -> None:
    classifier = graph_from_model(SMALL["pooled_classifier"](), "x")
    assert [layer.name for layer in classifier.layers] == ["a", "b", "fc1", "fc2", "prob"]
    assert classifier.layers[0].pool is not None
    assert classifier.layers[2].window.kernel == (5, 4)
    branches = graph_from_model(SMALL["concatenated"](), "x")
    kinds = {layer.name: layer.kind for layer in branches.layers}
    assert kinds["p"] is kinds["down"] is LayerKind.CHANNELWISE


def test_concat_and_split_are_views() -> None:
    net = OnnxBuilder("views", (1, 4, 5, 5))
    value = net.convolution("a", "input", 6, 1)
    first, second = net.split("s", value, [3, 3])
    swapped = net.concat("swap", [second, first])
    graph = graph_from_model(net.model(net.convolution("b", swapped, 2, 1)), "views")
    assert [layer.name for layer in graph.layers] == ["a", "b"]
    segments = [(s.tensor, s.channel_start, s.channel_stop) for s in graph.layers[1].input.segments]
    assert segments == [("a", 3, 6), ("a", 0, 3)]


def test_unknown_operators_are_charged_and_named_once() -> None:
    net = OnnxBuilder("odd", (1, 4, 6, 6))
    value = net.node("Frobnicate", "one", ["input"], shape=(1, 4, 6, 6))
    value = net.node("Frobnicate", "two", [value], shape=(1, 4, 6, 6))
    model = net.model(net.convolution("c", value, 2, 1))
    model.opset_import.append(helper.make_opsetid("foo", 1))
    for node in model.graph.node[:2]:
        node.domain = "foo"
        shape = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, (1, 4, 6, 6))
        model.graph.value_info.append(shape)
    graph = graph_from_model(model, "odd")
    assert [layer.kind for layer in graph.layers[:2]] == [LayerKind.STREAMED] * 2
    assert len(graph.warnings) == 1
    assert "foo::Frobnicate (2)" in graph.warnings[0]


def test_live_set_counts_whole_maps_and_views_once() -> None:
    graph = graph_from_model(SMALL["concatenated"](), "x")
    assert graph.tensors["l.relu"].kind is TensorKind.MAP
    # while `p` runs: the input (5 channels of 81), l and r (4 and 7), and p itself (5)
    assert live_peak_bytes(graph) == 4 * 81 * (5 + 4 + 7 + 5)


def test_the_layer_graph_is_a_frozen_networkx_graph() -> None:
    digraph = graph_from_model(SMALL["residual"](), "x").digraph
    assert list(digraph.edges) == [
        ("a", "b"),
        ("b", "short"),
        ("b", "c"),
        ("short", "d"),
        ("c", "d"),
        ("d", "self"),
    ]
    with pytest.raises(Exception, match=r"[Ff]rozen"):
        digraph.add_node("another")


def one_node(op: str, shape: tuple[int, ...]) -> onnx.ModelProto:
    node = helper.make_node(op, ["x"], ["y"], name="n")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_malformed_graphs_name_the_node(tmp_path: Path) -> None:
    cyclic = one_node("Relu", (1, 2, 3, 3))
    cyclic.graph.node.append(helper.make_node("Relu", ["b"], ["a"], name="first"))
    cyclic.graph.node.append(helper.make_node("Relu", ["a"], ["b"], name="second"))
    with pytest.raises(NetworkError, match=r"'first'.*reads 'b'"):
        graph_from_model(cyclic, "cyclic")
    twice = one_node("Relu", (1, 2, 3, 3))
    twice.graph.node.append(helper.make_node("Abs", ["x"], ["y"], name="again"))
    with pytest.raises(NetworkError, match=r"'again'.*writes 'y' again"):
        graph_from_model(twice, "twice")
    with pytest.raises(NetworkError, match="extent -1"):
        graph_from_model(one_node("Relu", (1, -1, 3, 3)), "negative")
    symbolic = one_node("Relu", (1, 2, 3, 3))
    symbolic.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    with pytest.raises(NetworkError, match=r"'batch'.*--dim"):
        graph_from_model(symbolic, "symbolic")
    assert (
        graph_from_model(symbolic, "symbolic", ReadRequest({"batch": 3})).tensors["x"].shape[0] == 3
    )
    with pytest.raises(NetworkError, match="no input has a dimension named 'bacth'"):
        graph_from_model(one_node("Relu", (1, 2, 3, 3)), "x", ReadRequest({"bacth": 2}))


def test_views_of_no_cost_and_their_layers() -> None:
    net = OnnxBuilder("free", (1, 4, 6, 6))
    plane, first = net.whole_numbers("plane", [2, 3]), net.whole_numbers("first", [0])
    value = net.node("Identity", "i", ["input"])
    value = net.node("Cast", "c", [value], to=int(TensorProto.FLOAT))
    value = net.slice("s", value, 1, 1, 3)
    value = net.node("ReduceMean", "mean", [value, plane], keepdims=1)
    value = net.node("Squeeze", "q", [value, plane])
    value = net.node("Unsqueeze", "u", [value, first])
    value = net.node("Squeeze", "q2", [value, first])
    matrix = net.constant("matrix", [[1.0] * 3] * 2)
    graph = graph_from_model(net.model(net.node("MatMul", "fc", [value, matrix])), "free")
    assert [layer.name for layer in graph.layers] == ["mean", "fc"]
    segment = graph.layers[0].input.segments[0]
    assert (segment.tensor, segment.channel_start, segment.channel_stop) == ("input", 1, 3)
    peak = OnnxBuilder("peak", (1, 4, 6, 6))
    value = peak.node("GlobalMaxPool", "g", ["input"])
    assert graph_from_model(peak.model(value), "peak").layers[0].output_shape == (1, 4, 1, 1)
