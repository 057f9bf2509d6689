"""AlexNet, SqueezeNet and the Inception families: exporters' files, published counts, claims."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from math import prod
from pathlib import Path

import onnx
import pytest
from onnx import helper

from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest import graph_from_model, read_network
from dataflow_sim.networks.classification import (
    alexnet,
    googlenet,
    inception,
    inception_resnet,
    squeezenet,
)
from dataflow_sim.networks.classification.alexnet import Design, Stage
from dataflow_sim.networks.row import BuiltIn

ROWS: Mapping[str, BuiltIn] = {
    row.name: row
    for family in (alexnet, squeezenet, googlenet, inception, inception_resnet)
    for row in family.NETWORKS
}
CLASSES = 1000


@cache
def model(name: str, **numbers: int) -> onnx.ModelProto:
    return ROWS[name].model(name, numbers)


@cache
def graph(name: str, **numbers: int) -> NetworkGraph:
    return graph_from_model(model(name, **numbers), name)


def macs(network: NetworkGraph) -> int:
    return sum(map(layer_macs, network.layers))


def shapes(network: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of all values and constants, as ONNX infers them."""
    inferred = onnx.shape_inference.infer_shapes(network).graph
    values = [*inferred.input, *inferred.value_info, *inferred.output]
    found = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
    return found | {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}


def normalised_channels(network: onnx.ModelProto) -> int:
    """Scales of all batch normalisations."""
    known = shapes(network)
    nodes = [node for node in network.graph.node if node.op_type == "BatchNormalization"]
    return sum(prod(known[node.input[1]]) for node in nodes)


def classifier(features: int) -> int:
    return (features + 1) * CLASSES


# ------------------------------------------------------------- exporters' files


@pytest.mark.parametrize(
    ("name", "resolution", "file", "repeated"),
    [
        ("alexnet_caffe", 224, "bvlc_alexnet", False),
        ("squeezenet1_1", 224, "squeezenet", False),
        ("googlenet", 224, "inception_v1", False),
        ("inception_v2", 224, "inception_v2", True),
    ],
)
def test_counts_equal_those_of_the_exported_file(
    name: str, resolution: int, file: str, repeated: bool, light_models: Path
) -> None:
    """Exactly; a file of `repeated` scales and shifts has those of each normalisation twice."""
    exported, built = (
        read_network(light_models / f"light_{file}.onnx"),
        graph(name, resolution=resolution),
    )
    assert macs(built) == macs(exported)
    again = 2 * normalised_channels(model(name, resolution=resolution)) if repeated else 0
    assert built.parameters + again == exported.parameters


def test_a_wider_zfnet_equals_the_exported_file(light_models: Path) -> None:
    """That file has the first two kernels of the paper, no padding there and other widths."""
    stages = (
        Stage(96, 7, stride=2, pad=0, norm=True, pool=3),
        Stage(256, 5, stride=2, pad=0, norm=True, pool=3),
        Stage(512, 3),
        Stage(512, 3),
        Stage(512, 3, pool=2),
    )
    wider = alexnet.alexnet("zfnet512", 224, Design(stages, (4096, 1024)))
    built = graph_from_model(wider, "zfnet512")
    exported = read_network(light_models / "light_zfnet512.onnx")
    assert (macs(built), built.parameters) == (macs(exported), exported.parameters)
    kernels = [stage.kernel for stage in stages]
    assert kernels == [stage.kernel for stage in alexnet.ZFNET.stages]


# ------------------------------------------------------------- published counts


def operations(network: onnx.ModelProto, *, biased: bool = False) -> int:
    """Operations as the source of networks.csv counts them.

    A product with its sum is two, an activation one, a normalisation four and a pooling as many
    as its window has places.  A convolution without bias saves one for each pair of maps; `biased`
    says that all convolutions have one.
    """
    known = shapes(network)
    total = 0
    for node in network.graph.node:
        result = known[node.output[0]]
        if node.op_type == "Relu":
            total += prod(result)
        elif node.op_type == "BatchNormalization":
            total += 4 * prod(result)
        elif node.op_type in ("MaxPool", "AveragePool"):
            total += prod(result) * prod(attribute(node, "kernel_shape"))
        elif node.op_type == "GlobalAveragePool":
            total += prod(known[node.input[0]])
        elif node.op_type == "Conv":
            weight = known[node.input[1]]
            total += 2 * prod(weight) * prod(result[2:])
            total -= 0 if biased or len(node.input) == 3 else prod(weight[:2])
        elif node.op_type == "Gemm":
            total += 2 * prod(known[node.input[1]])
    return total


def attribute(node: onnx.NodeProto, name: str) -> list[int]:
    (found,) = [helper.get_attribute_value(each) for each in node.attribute if each.name == name]
    return list(found)


def published(shared: Path, name: str) -> tuple[int, float]:
    """Parameters and millions of MACs."""
    with (shared / "reference" / "networks.csv").open() as table:
        (row,) = [row for row in csv.DictReader(table) if row["network"] == name]
    return int(row["params"]), float(row["mmacs"] or 0)


@pytest.mark.parametrize(
    "name",
    [
        "alexnet",
        "squeezenet1_0",
        "squeezenet1_1",
        "inception_v3",
        "inception_resnet_v2",
    ],
)
def test_half_of_all_operations_is_the_published_figure(name: str, shared: Path) -> None:
    parameters, millions = published(shared, name)
    assert graph(name).parameters == parameters
    assert round(operations(model(name)) / 2e6, 2) == millions


def test_the_published_inception_v2_has_wider_projections_and_biases(shared: Path) -> None:
    wider = {
        name: (*row[:-1], 128 if name in ("4c", "4d") else row[-1])
        for name, row in inception.V2_MODULES.items()
    }
    other = inception.inception_v2("wider", 224, wider)
    biases = normalised_channels(other)
    parameters, millions = published(shared, "inception_v2")
    assert graph_from_model(other, "wider").parameters + biases == parameters
    assert round(operations(other, biased=True) / 2e6, 2) == millions
    assert parameters - graph("inception_v2").parameters == 100_256


def test_googlenet_with_normalisation_is_the_published_one(shared: Path) -> None:
    parameters, millions = published(shared, "googlenet")
    assert graph("googlenet_bn").parameters == parameters
    assert int(macs(graph("googlenet_bn")) / 1e6) == millions


def test_alexnet_in_two_groups_has_the_published_parameters(shared: Path) -> None:
    assert graph("alexnet_caffe").parameters == published(shared, "alexnet_caffe")[0]


def test_alexnet_in_one_group_has_twice_the_weights_of_three_convolutions() -> None:
    one, two = graph("alexnet_caffe", groups=1), graph("alexnet_caffe")
    weights = {(27, 5 * 5 * 48 * 256), (13, 3 * 3 * 192 * 384), (13, 3 * 3 * 192 * 256)}
    assert one.parameters - two.parameters == sum(count for _, count in weights)
    assert macs(one) - macs(two) == sum(side * side * count for side, count in weights)


def test_operations_of_squeezenet_on_the_planes_of_its_paper() -> None:
    """The 1,700 million of arXiv:1704.04861 are operations; 227 rows give the paper's planes."""
    known = shapes(model("squeezenet1_0", resolution=227))
    planes = [known[name][2] for name in ("conv1", "pool1", "pool4", "pool8")]
    assert planes == [111, 55, 27, 13]
    there, here = graph("squeezenet1_0", resolution=227), graph("squeezenet1_0")
    assert [round(2 * macs(each) / 1e6) for each in (there, here)] == [1665, 1638]
    assert round(2 * macs(there), -8) == 1_700_000_000


# ------------------------------------------------------------- GoogLeNet


def googlenet_branches() -> int:
    """Weights that 3x3 in place of 5x5 saves."""
    return sum((25 - 9) * row[3] * row[4] for row in googlenet.MODULES.values())


def test_the_three_googlenets_differ_by_planes_branches_and_normalisation() -> None:
    down, up, other = map(graph, ("googlenet", "googlenet_ceil", "googlenet_bn"))
    assert down.parameters == up.parameters
    assert macs(up) - macs(down) == 151_115_520
    shifts = normalised_channels(model("googlenet_bn"))
    assert up.parameters - other.parameters == googlenet_branches() - shifts == 380_928 - shifts
    sides = {"3": 28, "4": 14, "5": 7}
    saved = sum(
        (25 - 9) * row[3] * row[4] * sides[name[0]] ** 2 for name, row in googlenet.MODULES.items()
    )
    assert macs(up) - macs(other) == saved == 84_295_680


@pytest.mark.parametrize(
    ("name", "planes"), [("googlenet", [55, 27, 13, 6]), ("googlenet_ceil", [56, 28, 14, 7])]
)
def test_planes_of_googlenet(name: str, planes: list[int]) -> None:
    known = shapes(model(name))
    assert [known[f"pool{place}"][2] for place in (1, 2, 3, 4)] == planes
    assert [known[f"{place}.concat"][1] for place in ("3a", "3b", "4a", "4d", "4e", "5b")] == [
        *(256, 480, 512, 528, 832, 1024),
    ]


def test_table_1_of_googlenet_counts_a_separable_first_convolution() -> None:
    """With one, biases left out, the table's 1.5 billion MACs and 6.8 million weights come out."""
    full, separable = 7 * 7 * 3 * 64, 7 * 7 * 3 * 8 + 3 * 8 * 64
    assert separable == 2_712
    assert round(separable * 112 * 112 / 1e6) == 34
    nodes = [n for n in model("googlenet_ceil").graph.node if n.op_type in ("Conv", "Gemm")]
    known = shapes(model("googlenet_ceil"))
    weights = sum(prod(known[node.input[1]]) for node in nodes)
    assert round((weights - full + separable) / 1024) == 6820
    counted = macs(graph("googlenet_ceil")) - (full - separable) * 112 * 112
    assert round(counted / 1e6) == 1499
    assert (full - separable) * 112 * 112 == 83_994_624


# ------------------------------------------------------------- claims


def learned_without_scales(name: str, features: int) -> int:
    """Parameters without the classifier as b17-02 counts them.

    Normalisation there has a shift, a mean and a variance but no scale: one more a channel than
    the learned scale and shift.
    """
    return graph(name).parameters - classifier(features) + normalised_channels(model(name))


@pytest.mark.parametrize(
    ("name", "features", "claimed"),
    [("inception_v3", 2048, 21_802_784), ("inception_resnet_v2", 1536, 54_336_736)],
)
def test_claim_b17_02_exactly(name: str, features: int, claimed: int) -> None:
    assert learned_without_scales(name, features) == claimed
    assert graph(name).parameters - classifier(features) == pytest.approx(claimed, rel=0.02)


def test_claim_b17_02_of_inception_v2() -> None:
    """Its first convolution is separable, of depth 8, with a bias and without normalisation."""
    counted = learned_without_scales("inception_v2", 1024)
    full, separable = 7 * 7 * 3 * 64, 7 * 7 * 3 * 8 + 3 * 8 * 64
    assert counted - full + separable - 3 * 64 + 64 == 10_173_112
    learned = graph("inception_v2").parameters - classifier(1024)
    assert learned == pytest.approx(10_173_112, rel=0.02)


# layer -> weights and MACs in millions, as printed
IIIT_02 = {
    "conv1": (0.035, 105, 3),
    "conv2": (0.307, 223, 3),
    "conv3": (0.885, 149, 3),
    "conv4": (1.3, 112, 1),
    "conv5": (0.442, 74, 3),
    "fc6": (37, 37, 0),
    "fc7": (16, 16, 0),
    "fc8": (4, 4, 0),
}


def as_printed(count: int, digits: int) -> tuple[float, float]:
    """A count in millions, cut and rounded to so many digits behind the point."""
    shift = 10**digits
    return (count * shift // 10**6) / shift, round(count / 1e6, digits)


@pytest.mark.parametrize("name", IIIT_02)
def test_claim_iiit_02(name: str) -> None:
    """Both columns, but the weights of conv4: the talk prints those of one group, 1.3 million,
    beside the MACs of two."""
    weights, millions, digits = IIIT_02[name]
    built = model("alexnet_caffe")
    (node,) = [node for node in built.graph.node if node.name == name]
    (layer,) = [layer for layer in graph("alexnet_caffe").layers if layer.name == name]
    count = prod(shapes(built)[node.input[1]])
    assert millions in as_printed(layer_macs(layer), 0)
    if name == "conv4":
        assert weights not in as_printed(count, digits)
        assert count == 663_552
        count *= 2
    assert weights in as_printed(count, digits)


# ------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("name", "planes"),
    [
        ("alexnet", {"conv1": 55, "pool1": 27, "pool2": 13, "pool5": 6}),
        ("alexnet_caffe", {"conv1": 55, "pool1": 27, "pool2": 13, "pool5": 6}),
        ("zfnet", {"conv1": 110, "pool1": 55, "conv2": 26, "pool2": 13, "pool5": 6}),
        ("inception_v2", {"conv1": 112, "pool1": 56, "pool2": 28, "3c.concat": 14}),
        ("inception_v3", {"conv1": 149, "conv2": 147, "pool1": 73, "conv5": 71, "pool2": 35}),
        ("inception_v3", {"6a.concat": 17, "7a.concat": 8}),
        ("inception_resnet_v2", {"pool2": 35, "6a.concat": 17, "7a.concat": 8}),
    ],
)
def test_planes_are_those_of_the_papers(name: str, planes: dict[str, int]) -> None:
    known = shapes(model(name))
    assert {value: known[value][2] for value in planes} == planes


@pytest.mark.parametrize(
    ("name", "maps"),
    [
        ("inception_v2", {"3a": 256, "3b": 320, "3c": 576, "4b": 576, "4d": 576, "4e": 1024}),
        ("inception_v3", {"5b": 256, "5d": 288, "6a": 768, "6e": 768, "7a": 1280, "7c": 2048}),
        ("inception_resnet_v2", {"5b": 320, "6a": 1088, "7a": 2080}),
    ],
)
def test_modules_give_the_maps_of_the_graphs(name: str, maps: dict[str, int]) -> None:
    known = shapes(model(name))
    assert {place: known[f"{place}.concat"][1] for place in maps} == maps


def windows_fit(network: onnx.ModelProto) -> bool:
    """Whether every window lies inside the plane that it slides over, padding included."""
    known = shapes(network)
    nodes = [n for n in network.graph.node if n.op_type in ("Conv", "MaxPool", "AveragePool")]
    return all(
        extent + pad + pad_end >= kernel
        for node in nodes
        for extent, kernel, pad, pad_end in zip(
            known[node.input[0]][2:],
            attribute(node, "kernel_shape"),
            attribute(node, "pads")[:2],
            attribute(node, "pads")[2:],
            strict=True,
        )
    )


@pytest.mark.parametrize("name", sorted(set(ROWS) - {"inception_v2"}))
def test_the_least_resolution_is_the_least_at_which_every_window_fits(name: str) -> None:
    least = int(ROWS[name].parameters[0].least)
    assert windows_fit(model(name, resolution=least))
    assert not windows_fit(model(name, resolution=least - 1))


def test_no_network_is_read_with_a_warning() -> None:
    assert [name for name in ROWS if graph(name).warnings] == []
