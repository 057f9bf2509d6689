"""Detectors: maps and boxes of the papers, counts in closed form, the exporter's head."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.classification import mobilenet, resnet
from dataflow_sim.networks.detection import faster_rcnn, ssd, yolo, yolov8
from dataflow_sim.networks.row import BuiltIn
from tests.support.models import read, references

ROWS: Mapping[str, BuiltIn] = {
    row.name: row
    for family in (ssd, yolo, yolov8, faster_rcnn, mobilenet, resnet)
    for row in family.NETWORKS
}
SSD_MAPS = {300: (19, 10, 5, 3, 2, 1), 320: (20, 10, 5, 3, 2, 1)}
ANCHORS = (3, 6, 6, 6, 6, 6)
EXTRAS = (512, 256, 256, 128)
CLASSIFIERS = {"mobilenet_v1": 1024 * 1000, "mobilenet_v2": 1280 * 1000, "resnet101_v1": 2_048_000}


@cache
def model(name: str, **numbers: int) -> onnx.ModelProto:
    return ROWS[name].model(name, numbers)


@cache
def graph(name: str, **numbers: int) -> NetworkGraph:
    found = graph_from_model(model(name, **numbers), name)
    assert found.warnings == ()
    return found


def macs(name: str, **numbers: int) -> int:
    return sum(map(layer_macs, graph(name, **numbers).layers))


def results(name: str, **numbers: int) -> dict[str, tuple[int, ...]]:
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in model(name, **numbers).graph.output
    }


def normalised(name: str, **numbers: int) -> int:
    """Channels of all normalisations."""
    constants = model(name, **numbers).graph.initializer
    return sum(prod(tensor.dims) for tensor in constants if tensor.name.endswith(".scale"))


# ------------------------------------------------------------------ what is found


@pytest.mark.parametrize(
    ("name", "size", "classes", "boxes"),
    [
        ("ssd_mobilenet_v1", 300, 91, 1917),
        ("ssd_mobilenet_v2", 300, 91, 1917),
        ("ssdlite_mobilenet_v2", 320, 81, 1917 + 3 * (20**2 - 19**2)),
        ("ssdlite_mobilenet_v3_large", 320, 91, 3234),
    ],
)
def test_ssd_has_the_maps_and_boxes_of_the_paper(
    name: str, size: int, classes: int, boxes: int
) -> None:
    found = list(results(name).values())
    maps = [*SSD_MAPS[size], *SSD_MAPS[size]]
    assert [shape[2:] for shape in found] == [(extent, extent) for extent in maps]
    assert sum(prod(shape) for shape in found[:6]) == 4 * boxes
    assert sum(prod(shape) for shape in found[6:]) == classes * boxes


def test_yolo_predicts_on_the_grids_of_the_papers() -> None:
    assert results("yolov2", resolution=416) == {"head.predict": (1, 425, 13, 13)}
    v3 = list(results("yolov3").values())
    assert v3 == [(1, 3 * 85, size, size) for size in (13, 26, 52)]
    assert sum(prod(shape) for shape in v3) == 85 * 10_647


def test_yolov8_looks_at_8400_places() -> None:
    expected = {"distances": (1, 4, 8400), "scores": (1, 80, 8400)}
    assert all(results(name) == expected for name in yolov8.SCALES)


def test_distances_are_the_means_of_the_distributions() -> None:
    net = OnnxBuilder("means", (1, 64, 3))
    built = net.model(yolov8._expected(net, "distances", "input"))
    given = np.random.default_rng(0).standard_normal((1, 64, 3)).astype(np.float32)
    (found,) = ReferenceEvaluator(built).run(None, {"input": given})
    powers = np.exp(given[0].reshape(4, 16, 3))
    expected = np.einsum("sbp,b->sp", powers, np.arange(16)) / powers.sum(axis=1)
    assert np.allclose(found[0], expected, rtol=1e-5)


# ------------------------------------------------------------------ SSD


def heads(
    maps: tuple[int, ...], sizes: tuple[int, ...], classes: int, kernel: int, lite: bool
) -> tuple[int, int]:
    """Parameters and MACs of the heads for boxes and classes."""
    parameters = products = 0
    for channels, size, anchors in zip(maps, sizes, ANCHORS, strict=True):
        outputs = anchors * (4 + classes)
        weights = channels * outputs * kernel**2
        if lite:
            weights += 2 * 9 * channels
            parameters += 2 * 2 * channels
        parameters += weights + outputs
        products += weights * size**2
    return parameters, products


def extras(entry: int, sizes: tuple[int, ...], depthwise: bool) -> tuple[int, int]:
    """Parameters and MACs of the four maps behind the backbone."""
    parameters = products = 0
    for channels, before, after in zip(EXTRAS, sizes[1:], sizes[2:], strict=False):
        inner = channels // 2
        reduce = entry * inner
        spread = 9 * inner + inner * channels if depthwise else 9 * inner * channels
        norms = inner + channels + (inner if depthwise else 0)
        parameters += reduce + spread + 2 * norms
        products += reduce * before**2 + spread * after**2
        entry = channels
    return parameters, products


@pytest.mark.parametrize(
    ("name", "backbone", "taps", "size", "classes", "kernel"),
    [
        ("ssd_mobilenet_v1", "mobilenet_v1", (512, 1024), 300, 91, 1),
        ("ssd_mobilenet_v2", "mobilenet_v2", (576, 1280), 300, 91, 3),
        ("ssdlite_mobilenet_v1", "mobilenet_v1", (512, 1024), 320, 81, 1),
        ("ssdlite_mobilenet_v2", "mobilenet_v2", (576, 1280), 320, 81, 1),
    ],
)
def test_ssd_is_its_backbone_and_its_tail(
    name: str, backbone: str, taps: tuple[int, int], size: int, classes: int, kernel: int
) -> None:
    lite = name.startswith("ssdlite")
    tail = [
        extras(taps[1], SSD_MAPS[size], depthwise=name != "ssd_mobilenet_v1"),
        heads((*taps, *EXTRAS), SSD_MAPS[size], classes, kernel, lite),
    ]
    fc = CLASSIFIERS[backbone]
    expected = graph(backbone).parameters - fc - 1000 + sum(each for each, _ in tail)
    assert graph(name).parameters == expected
    assert macs(name) == macs(backbone, resolution=size) - fc + sum(each for _, each in tail)


def test_ssdlite_on_mobilenet_v3_is_the_exported_file(shared: Path) -> None:
    """Layer by layer; the exporter folds a normalisation's scale and shift into one bias."""
    exported = read(shared, "tv_ssdlite320_raw")
    name = "ssdlite_mobilenet_v3_large"

    def convolutions(network: NetworkGraph) -> list[tuple[int, tuple[int, ...], int]]:
        return sorted(
            (layer.groups, layer.output_shape, layer_macs(layer))
            for layer in network.layers
            if layer.op == "Conv"
        )

    assert convolutions(graph(name)) == convolutions(exported)
    assert macs(name) == references(shared)["tv_ssdlite320_raw"].macs
    assert graph(name).parameters - normalised(name) == exported.parameters


# ------------------------------------------------------------------ folded normalisations


@pytest.mark.parametrize(
    ("name", "numbers", "millions"),
    [
        ("ssd_mobilenet_v1", {}, 6.807),
        ("ssd_mobilenet_v2", {}, 16.818),
        ("ssdlite_mobilenet_v2", {"resolution": 300, "classes": 91}, 4.475),
        ("faster_rcnn_resnet101", {}, 48.128),
    ],
)
def test_converted_checkpoints_count_one_bias_a_normalised_channel(
    name: str, numbers: dict[str, int], millions: float
) -> None:
    """To the last digit that is published: a converter folds scale and shift into one bias."""
    folded = graph(name, **numbers).parameters - normalised(name, **numbers)
    assert round(folded / 1e6, 3) == millions


# ------------------------------------------------------------------ YOLO

# (channels, kernel, stride of its plane in pixels) of YOLOv2, from the entry to the exit
YOLOV2 = (
    *((32, 3, 1), (64, 3, 2)),
    *((128, 3, 4), (64, 1, 4), (128, 3, 4)),
    *((256, 3, 8), (128, 1, 8), (256, 3, 8)),
    *((512, 3, 16), (256, 1, 16), (512, 3, 16), (256, 1, 16), (512, 3, 16)),
    *((1024, 3, 32), (512, 1, 32), (1024, 3, 32), (512, 1, 32), (1024, 3, 32)),
    *((1024, 3, 32), (1024, 3, 32)),
)


def test_yolov2_is_the_sum_of_its_layers() -> None:
    size = 608
    weights = products = normalised = 0
    entries = [3, *(channels for channels, _, _ in YOLOV2[:-1])]
    layers = [(entry, *layer) for entry, layer in zip(entries, YOLOV2, strict=True)]
    layers += [(512, 64, 1, 16), (4 * 64 + 1024, 1024, 3, 32), (1024, 425, 1, 32)]
    for entry, channels, kernel, stride in layers:
        weights += entry * channels * kernel**2
        products += entry * channels * kernel**2 * (size // stride) ** 2
        normalised += channels
    assert graph("yolov2").parameters == weights + 2 * (normalised - 425) + 425
    assert macs("yolov2") == products


def test_yolov3_is_the_sum_of_its_layers() -> None:
    size = 416
    layers = [(3, 32, 3, 1)]
    for place, (channels, blocks) in enumerate(((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))):
        half, stride = channels // 2, 2 << place
        layers.append((half, channels, 3, stride))
        layers += [(channels, half, 1, stride), (half, channels, 3, stride)] * blocks
    for entry, half, stride in ((1024, 512, 32), (768, 256, 16), (384, 128, 8)):
        again = [(half, 2 * half, 3, stride), (2 * half, half, 1, stride)]
        layers += [(entry, half, 1, stride), *again, *again, (half, 2 * half, 3, stride)]
        layers.append((2 * half, 255, 1, stride))
    layers += [(512, 256, 1, 32), (256, 128, 1, 16)]
    assert len(layers) == 75
    weights = sum(entry * channels * kernel**2 for entry, channels, kernel, _ in layers)
    norms = sum(channels for _, channels, _, _ in layers) - 3 * 255
    assert graph("yolov3").parameters == weights + 2 * norms + 3 * 255
    assert macs("yolov3") == sum(
        entry * channels * kernel**2 * (size // stride) ** 2
        for entry, channels, kernel, stride in layers
    )


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("yolov8n", 3_157_200),
        ("yolov8s", 11_166_560),
        ("yolov8m", 25_902_640),
        ("yolov8l", 43_691_520),
        ("yolov8x", 68_229_648),
    ],
)
def test_yolov8_has_exactly_the_published_parameters(name: str, parameters: int) -> None:
    assert graph(name).parameters == parameters


def test_yolov8_is_convolutional_throughout() -> None:
    assert macs("yolov8n", resolution=1280) == 4 * macs("yolov8n")


# ------------------------------------------------------------------ Faster R-CNN


def test_every_proposal_costs_a_stage_and_two_layers() -> None:
    bottleneck = 2 * 2048 * 512 + 9 * 512**2
    first = 1024 * 512 + 9 * 512**2 + 512 * 2048 + 1024 * 2048
    each = 7 * 7 * (first + 2 * bottleneck) + 2048 * (91 + 4 * 90)
    one, many = (macs("faster_rcnn_resnet101", proposals=count) for count in (1, 300))
    assert many - one == 299 * each


def test_faster_rcnn_is_resnet_beside_a_proposal_network() -> None:
    """At 224x224 the map is 14x14, so that stage 4 costs as much as in the classifier."""
    sizes = {"rows": 224, "columns": 224, "proposals": 1}
    fc, proposal_network = CLASSIFIERS["resnet101_v1"], 1024 * 9 * 512 + 512 * 12 * (2 + 4)
    last = 2048 * (91 + 4 * 90)
    assert macs("faster_rcnn_resnet101", **sizes) == (
        macs("resnet101_v1") - fc + 14 * 14 * proposal_network + last
    )
    assert graph("faster_rcnn_resnet101").parameters == (
        graph("resnet101_v1").parameters
        - (fc + 1000)
        + (proposal_network + 512 + 12 * (2 + 4))
        + (last + 91 + 4 * 90)
    )


def test_faster_rcnn_looks_at_the_usual_image() -> None:
    assert results("faster_rcnn_resnet101") == {
        "rpn.scores": (1, 24, 38, 64),
        "rpn.boxes": (1, 48, 38, 64),
        "classes": (300, 91),
        "boxes": (300, 360),
    }
