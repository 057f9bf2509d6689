"""ShuffleNet, NASNet-A and EfficientNet: counts by closed form, exporters' files and claims."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import ceil, prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import infer_shapes

from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest import graph_from_model, read_network
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.classification import efficientnet, mobilenet, nasnet, shufflenet
from dataflow_sim.networks.names import read_numbers
from dataflow_sim.networks.row import BuiltIn
from dataflow_sim.networks.weights import random_weights

ROWS: dict[str, BuiltIn] = {
    row.name: row
    for family in (efficientnet, mobilenet, nasnet, shufflenet)
    for row in family.NETWORKS
}
Shapes = dict[str, tuple[int, ...]]
Array = npt.NDArray[np.float32]


@lru_cache(maxsize=32)
def model_of(name: str) -> onnx.ModelProto:
    row = ROWS[name.split("@")[0]]
    return row.model(name, read_numbers(name, row))


@lru_cache(maxsize=32)
def graph_of(name: str) -> NetworkGraph:
    return graph_from_model(model_of(name), name)


def macs(graph: NetworkGraph) -> int:
    return sum(map(layer_macs, graph.layers))


@lru_cache(maxsize=8)
def shapes_of(name: str) -> Shapes:
    """Shapes of all values and constants."""
    graph = infer_shapes(model_of(name)).graph
    found = {each.name: tuple(each.dims) for each in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        found[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    return found


def halved_operations(name: str) -> float:
    """Half of all operations, as a published count of many networks has them."""
    shapes, total = shapes_of(name), 0
    for node in model_of(name).graph.node:
        read, made = (prod(shapes[each[0]]) for each in (node.input, node.output))
        if node.op_type == "Conv":
            kernel = shapes[node.input[1]]
            biased = len(node.input) == 3
            total += 2 * prod(kernel) * prod(shapes[node.output[0]][2:])
            total -= 0 if biased else kernel[0] * kernel[1]
        elif node.op_type == "Gemm":
            total += 2 * prod(shapes[node.input[1]])
        elif node.op_type in {"MaxPool", "AveragePool"}:
            (window,) = (each.ints for each in node.attribute if each.name == "kernel_shape")
            total += made * prod(window)
        else:
            an_element = {"BatchNormalization": 4, "Relu": 1, "Transpose": 1}
            total += read * an_element.get(node.op_type, int(node.op_type == "GlobalAveragePool"))
    return total / 2


def results_of(model: onnx.ModelProto, image: Array) -> Array:
    """What the reference evaluator makes of an image."""
    (made,) = ReferenceEvaluator(model).run(None, {"input": image})
    return np.asarray(made, np.float32)


# ---------------------------------------------------------------- ShuffleNet


def shufflenet_v1_by_hand(first: int, stage2: int, groups: int) -> tuple[int, int]:
    """Parameters and MACs of table 1 at 224 x 224, a term for each of its layers."""
    parameters, total, read, side = 27 * first + 2 * first, 27 * first * 112**2, first, 56
    for stage, units in enumerate((4, 8, 4)):
        outputs = stage2 * 2**stage
        inner = ceil(outputs / 4 / groups) * groups
        for unit in range(units):
            strided = unit == 0
            before, side = side, side // 2 if strided else side
            made = outputs - read if strided else outputs
            reduce = read * inner // (1 if stage == 0 and strided else groups)
            expand = inner * made // groups
            parameters += reduce + 9 * inner + expand + 2 * (inner + inner + made)
            total += reduce * before**2 + (9 * inner + expand) * side**2
            read = outputs
    return parameters + 1000 * (read + 1), total + 1000 * read


STAGE2 = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
FIRST = {0.5: 12, 1.0: 24, 1.5: 24, 2.0: 48}


@pytest.mark.parametrize(("width", "groups"), list(product(FIRST, STAGE2)))
def test_shufflenet_v1_is_its_table(width: float, groups: int) -> None:
    graph = graph_of(f"shufflenet_v1@{width}-{groups}")
    first = 16 if (width, groups) == (0.5, 8) else FIRST[width]
    by_hand = shufflenet_v1_by_hand(first, int(STAGE2[groups] * width), groups)
    assert (graph.parameters, macs(graph)) == by_hand
    assert graph.warnings == ()


IIIT_05 = {
    "shufflenet_v1@2.0-3": 524,
    "shufflenet_v1@1.5-3": 292,
    "shufflenet_v1@1.0-8": 140,
    "shufflenet_v1@0.5-4": 38,
    "mobilenet_v1@0.75": 325,
    "mobilenet_v1@0.5": 149,
    "mobilenet_v1@0.25": 41,
}


@pytest.mark.parametrize("name", IIIT_05)
def test_iiit_05_shufflenet_beside_mobilenet(name: str) -> None:
    assert macs(graph_of(name)) / 1e6 == pytest.approx(IIIT_05[name], rel=0.03)


def test_light_shufflenet_is_half_as_wide_in_4_groups_without_bottlenecks(
    light_models: Path,
) -> None:
    """The file's first pointwise convolution is in groups, and its inner channels are as many as
    those that a unit makes, where the paper has a quarter; its first convolution has a bias."""
    net = OnnxBuilder("light", (1, 3, 224, 224))
    value = shufflenet.stem(net, "input", 24)
    for stage, units in enumerate((4, 8, 4)):
        outputs = 136 << stage
        for unit in range(units):
            stride = 2 if unit == 0 else 1
            inner = outputs - net.channels(value) if unit == 0 else outputs
            name = f"stage{stage}.unit{unit}"
            value = shufflenet.v1_unit(net, name, value, outputs, inner, 4, stride=stride)
    pooled = net.global_average_pool("pool", value)
    graph = graph_from_model(net.model(net.fully_connected("fc", pooled, 1000)), "light")
    light = read_network(light_models / "light_shufflenet.onnx")
    assert macs(graph) == macs(light) == 124_664_528
    assert graph.parameters + 24 == light.parameters == 1_393_320


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_a_shuffle_takes_the_channels_of_all_groups_in_turn(groups: int) -> None:
    net = OnnxBuilder("shuffle", (1, 12, 1, 1))
    mixed = results_of(
        net.model(shufflenet.shuffle(net, "mixed", "input", groups)),
        np.arange(12, dtype=np.float32).reshape(1, 12, 1, 1),
    )
    each = 12 // groups
    assert mixed.ravel().tolist() == [i * each + j for j in range(each) for i in range(groups)]


# width: parameters of the framework's graph, MMAC of the paper's table 5
SHUFFLENET_V2 = {
    0.5: (1_366_792, 41),
    1.0: (2_278_604, 146),
    1.5: (3_503_624, 299),
    2.0: (7_393_996, 591),
}


@pytest.mark.parametrize("width", SHUFFLENET_V2)
def test_shufflenet_v2(width: float) -> None:
    graph = graph_of(f"shufflenet_v2@{width}")
    parameters, mmacs = SHUFFLENET_V2[width]
    assert graph.parameters == parameters
    assert macs(graph) / 1e6 == pytest.approx(mmacs, rel=0.02)
    assert graph.warnings == ()


@pytest.mark.parametrize(("name", "millions"), [("1.0", 149.72), ("0.5", 43.31)])
def test_why_a_published_count_of_shufflenet_v2_is_higher(name: str, millions: float) -> None:
    assert round(halved_operations(f"shufflenet_v2@{name}") / 1e6, 2) == millions


@pytest.mark.parametrize("name", ["shufflenet_v1", "shufflenet_v2"])
def test_every_shuffle_is_read_as_one_layer(name: str) -> None:
    """Alone in V1; in V2 the split behind a shuffle takes it up, but for the last of a stage."""
    ops = [layer.op for layer in graph_of(name).layers]
    alone = 16 if name == "shufflenet_v1" else 3
    assert (ops.count("ChannelShuffle"), ops.count("Split")) == (alone, 16 - alone)
    assert not {"Reshape", "Transpose"} & set(ops)


# ------------------------------------------------------------------- NASNet-A


# parameters and halved operations of a framework's port; MACs of the paper; what it concatenates
NASNET = {
    "nasnet_a_mobile": (5_289_978, 584.90, 564, (1056, 7)),
    "nasnet_a_large": (88_753_150, 23_976.44, 23_800, (4032, 11)),
}


@pytest.mark.parametrize("name", NASNET)
def test_nasnet_counts(name: str) -> None:
    parameters, _, mmacs, (channels, side) = NASNET[name]
    graph = graph_of(name)
    assert graph.parameters == parameters
    assert macs(graph) / 1e6 == pytest.approx(mmacs, rel=0.001)
    assert shapes_of(name)["last.relu"] == (1, channels, side, side)
    assert graph.warnings == ()


def more_of_the_port(name: str) -> int:
    """Operations, halved, of what the port of the checkpoints computes beyond the network.

    A reduction cell that reads an even size computes a row and a column more; the 1x1 poolings
    of a factorised reduction count one operation an element.
    """
    shapes, more = shapes_of(name), 0
    for cell in ("stem2", "reduction1", "reduction2"):
        _, channels, rows, _ = shapes[f"{cell}.now.bn"]
        if rows % 2 == 0:
            places = (rows // 2 + 1) ** 2 - (rows // 2) ** 2
            more += sum(2 * (k * k + channels) * channels * places for k in (5, 7, 7, 5, 3))
            more += 3 * 9 * channels * places
    for node in model_of(name).graph.node:
        if node.name.endswith(".before.even"):
            more += 2 * shapes[node.input[0]][1] * prod(shapes[node.output[0]][2:])
    return more // 2


@pytest.mark.parametrize("name", NASNET)
def test_why_a_published_count_of_nasnet_is_higher(name: str) -> None:
    operations = halved_operations(name) + more_of_the_port(name)
    assert round(operations / 1e6, 2) == NASNET[name][1]


@pytest.mark.parametrize(("name", "read"), [("mobile", "cell4"), ("large", "cell5")])
def test_what_the_normal_cell_behind_a_reduction_reads(name: str, read: str) -> None:
    """The cell before the reduction in the smaller network, the one before that in the larger."""
    (relu,) = (
        node
        for node in model_of(f"nasnet_a_{name}").graph.node
        if node.name == "stage2.cell1.before.relu"
    )
    assert list(relu.input) == [f"stage1.{read}"]


@pytest.mark.parametrize("side", [6, 7])
def test_a_factorised_reduction_keeps_even_and_odd_places(side: int) -> None:
    net = OnnxBuilder("reduce", (1, 3, side, side))
    model = net.model(nasnet.factorised_reduction(net, "reduce", "input", 4))
    values = {tensor.name: array for tensor, array in random_weights(model, 5)}
    for part, plain in (("scale", 1), ("shift", 0), ("mean", 0), ("variance", 1 - 1e-5)):
        values[f"reduce.bn.{part}"] = np.full(4, plain, np.float32)
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    image = np.random.default_rng(6).standard_normal((1, 3, side, side)).astype(np.float32)
    padded = np.pad(np.maximum(image, 0), ((0, 0), (0, 0), (0, 2), (0, 2)))
    half = ceil(side / 2)
    for place, name in enumerate(("even", "odd")):
        taken = padded[0, :, place::2, place::2][:, :half, :half]
        kernel = values[f"reduce.{name}.weight"][:, :, 0, 0]
        wanted = np.einsum("oc,crs->ors", kernel, taken)
        made = results_of(model, image)[0, 2 * place : 2 * place + 2]
        np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------- EfficientNet


def convolutions(graph: NetworkGraph) -> list[int]:
    return sorted(count for count in map(layer_macs, graph.layers) if count)


def test_efficientnet_b0_is_the_exported_file_layer_for_layer(shared: Path) -> None:
    """The file has normalisation folded: one shift in place of a scale and a shift a channel."""
    file, graph = read_network(shared / "models" / "timm_efficientnet_b0.onnx"), graph_of(B0)
    assert convolutions(graph) == convolutions(file)
    assert macs(graph) == macs(file) == 385_814_752
    shapes = shapes_of(B0)
    folded = sum(shape[0] for name, shape in shapes.items() if name.endswith(".bn.scale"))
    assert graph.parameters - folded == file.parameters
    assert graph.parameters == 5_288_548


B0 = "efficientnet_b0"
# parameters and GMAC, to one digit, of the framework's graphs
EFFICIENTNET = {
    "efficientnet_b1": (7_794_184, 0.7),
    "efficientnet_b2@288": (9_109_994, 1.1),
    "efficientnet_b3": (12_233_232, 1.8),
    "efficientnet_b4": (19_341_616, 4.4),
    "efficientnet_b5": (30_389_784, 10.3),
    "efficientnet_b6": (43_040_704, 19.1),
    "efficientnet_b7": (66_347_960, 37.7),
}


@pytest.mark.parametrize("name", EFFICIENTNET)
def test_efficientnet_counts(name: str) -> None:
    graph = graph_of(name)
    assert (graph.parameters, round(macs(graph) / 1e9, 1)) == EFFICIENTNET[name]
    assert graph.warnings == ()


def test_the_scales_of_b2_make_b2_of_b0() -> None:
    scaled, b2 = graph_of(f"{B0}@260-1.1-1.2"), graph_of("efficientnet_b2")
    assert convolutions(scaled) == convolutions(b2)
    assert scaled.parameters == b2.parameters


# the cards of a port of the checkpoints: parameters in millions, GMAC, millions of results of
# convolutions and the classifier; its GMAC have two a result of a normalisation as well
EDGE = {
    "efficientnet_edgetpu_s": (5.4, 1.8, 8.7),
    "efficientnet_edgetpu_s@300-1.2-1.4": (10.6, 8.0, 30.7),
}


@pytest.mark.parametrize("name", EDGE)
def test_efficientnet_edgetpu_small_and_large(name: str) -> None:
    graph, shapes = graph_of(name), shapes_of(name)
    results = sum(
        prod(shapes[node.output[0]])
        for node in model_of(name).graph.node
        if node.op_type in {"Conv", "Gemm"}
    )
    normalised = results - 1000
    card = (
        round(graph.parameters / 1e6, 1),
        round((macs(graph) + 2 * normalised) / 1e9, 1),
        round(results / 1e6, 1),
    )
    assert card == EDGE[name]
    assert graph.warnings == ()


def test_edgetpu_has_no_gates_and_only_relu() -> None:
    ops = {node.op_type for node in model_of("efficientnet_edgetpu_s").graph.node}
    assert not ops & {"Sigmoid", "Mul"}
    kernels = [shape for shape in shapes_of("efficientnet_edgetpu_s").values() if len(shape) == 4]
    full = [shape for shape in kernels if shape[2:] == (3, 3) and shape[1] > 3]
    assert len(full) == 7  # the fused blocks: 1, 2 and 4
