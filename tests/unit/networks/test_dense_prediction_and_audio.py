"""MobileNetV3, networks of image to image, and networks of sound: counts by another way.

Closed forms follow the papers' tables; two networks must equal the exporters' files exactly.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from math import ceil, prod
from pathlib import Path

import onnx
import pytest

from dataflow_sim.graph.analyses import layer_macs, live_elements
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest import graph_from_model, read_network
from dataflow_sim.networks.audio import ds_cnn, wav2letter
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.classification import mobilenet_v3
from dataflow_sim.networks.images import fsrcnn, segmentation, style_transfer, unet
from dataflow_sim.networks.names import read_numbers
from dataflow_sim.networks.row import BuiltIn
from dataflow_sim.networks.weights import is_left_out
from dataflow_sim.networks.writer import output_shapes

_MODULES = (mobilenet_v3, segmentation, unet, style_transfer, fsrcnn, ds_cnn, wav2letter)
ROWS: dict[str, BuiltIn] = {row.name: row for module in _MODULES for row in module.NETWORKS}


def model_of(name: str) -> onnx.ModelProto:
    row = ROWS[name.partition("@")[0]]
    return row.model(row.name, read_numbers(name, row))


@lru_cache(maxsize=4)
def graph_of(name: str) -> NetworkGraph:
    return graph_from_model(model_of(name), name)


def macs_of(graph: NetworkGraph) -> int:
    return sum(map(layer_macs, graph.layers))


def result_of(name: str) -> tuple[int, ...]:
    ((_, shape),) = output_shapes(model_of(name))
    return shape


def filters(name: str) -> list[tuple[int, ...]]:
    """Shapes of all kernels of a model, in order."""
    tensors = model_of(name).graph.initializer
    return [tuple(t.dims) for t in tensors if is_left_out(t) and len(t.dims) == 4]


def dilations(name: str) -> list[int]:
    """Dilations above 1 of a model's convolutions, in order."""
    found = []
    for node in model_of(name).graph.node:
        (dilation,) = [list(a.ints) for a in node.attribute if a.name == "dilations"] or [[1, 1]]
        assert dilation[0] == dilation[1]
        found += dilation[:1] if dilation[0] > 1 else []
    return found


# ------------------------------------------------------------------ MobileNetV3


def test_mobilenet_v3_large_equals_the_exported_file(shared: Path) -> None:
    exported = read_network(shared / "models" / "tv_mobilenet_v3_large.onnx")
    built = graph_of("mobilenet_v3_large")
    assert macs_of(built) == macs_of(exported) == 216_589_760
    assert built.parameters == 5_483_032
    by_layer = [
        [layer_macs(layer) for layer in graph.layers if layer_macs(layer)]
        for graph in (built, exported)
    ]
    assert by_layer[0] == by_layer[1]


def test_a_wider_head_is_what_the_first_count_of_the_small_one_has() -> None:
    """1280 channels behind the pooling, not 1024: 2.9 M parameters, and 2.4 M at width 0.75."""
    built = graph_of("mobilenet_v3_small")
    assert built.parameters == 2_542_856
    wider = (1280 - 1024) * (576 + 1 + 1000)
    assert wider == 403_712
    assert round((built.parameters + wider) / 1e6, 1) == 2.9
    narrow = graph_of("mobilenet_v3_small@0.75")
    narrower = (1280 - 1024) * (432 + 1 + 1000)
    assert narrower == 366_848
    assert round((narrow.parameters + narrower) / 1e6, 1) == 2.4
    # what the source says at full width is not a count of either head
    assert (macs_of(built) + (1280 - 1024) * (576 + 1000)) / 1e6 == pytest.approx(56.9, abs=0.05)
    assert (macs_of(narrow) + (1280 - 1024) * (432 + 1000)) / 1e6 == pytest.approx(44, abs=0.5)


def test_a_dilated_last_stage_keeps_kernels_and_doubles_rows() -> None:
    sizes = []
    for dilation in (1, 2):
        net = OnnxBuilder("features", (1, 3, 224, 224))
        results = mobilenet_v3.features(net, "input", mobilenet_v3.LARGE, dilation=dilation)
        sizes.append([(net.shape(wide), net.shape(value)) for wide, value in results])
    strided, dilated = sizes
    assert len(strided) == 1 + 15 + 1
    assert strided[:13] == dilated[:13]
    assert strided[-1][1] == (1, 960, 7, 7)
    assert dilated[-1][1] == (1, 960, 14, 14)
    # the widened map in front of the last stage's stride
    assert strided[13] == ((1, 672, 14, 14), (1, 160, 7, 7))


# ----------------------------------------------------------------- segmentation


def test_deeplab_on_mobilenet_v3_equals_the_exported_file(shared: Path) -> None:
    exported = read_network(shared / "models" / "tv_deeplabv3_mnv3.onnx")
    built = graph_of("deeplabv3_mobilenet_v3_large")
    assert macs_of(built) == macs_of(exported) == 10_431_414_536
    side = 40 * 10 * 9 + 2 * 10 + 10 * 21 + 21  # on 40 channels, at a quarter of them
    assert built.parameters + side == 11_029_328


@pytest.mark.parametrize(
    ("name", "parameters", "giga_macs"),
    [
        ("fcn_resnet50", 35_322_218, 152.717),
        ("fcn_resnet101", 54_314_346, 232.738),
        ("deeplabv3_resnet50", 42_004_074, 178.722),
        ("deeplabv3_resnet101", 60_996_202, 258.743),
    ],
)
def test_the_side_classifier_is_all_that_the_framework_counts_more(
    name: str, parameters: int, giga_macs: float
) -> None:
    """A 3x3 from 1024 channels to a quarter, normalised, and a 1x1, on a map of 65 x 65."""
    built = graph_of(f"{name}@520")
    kernels = 1024 * 256 * 9 + 256 * 21
    assert built.parameters + kernels + 2 * 256 + 21 == parameters
    assert round((macs_of(built) + 65 * 65 * kernels) / 1e9, 3) == giga_macs


def test_mobile_deeplab_is_mobilenet_v2_and_four_convolutions() -> None:
    """Table 7 of arXiv:1801.04381 says 2.11 M parameters and 2.75 G MACs."""
    features = 3_504_872 - (320 * 1280 + 2 * 1280) - (1280 * 1000 + 1000)
    pyramid = 2 * (320 * 256 + 2 * 256) + 512 * 256 + 2 * 256
    assert graph_of("deeplabv3_mobilenet_v2").parameters == features + pyramid + 256 * 21 + 21
    assert result_of("deeplabv3_mobilenet_v2@513") == (1, 21, 513, 513)


def test_stages_without_a_stride_begin_at_the_dilation_that_they_read() -> None:
    assert dilations("fcn_resnet50") == [2] * 5 + [2] + [4] * 2
    assert dilations("fcn_resnet101") == [2] * 22 + [2] + [4] * 2
    assert dilations("deeplabv3_resnet50") == [2] * 6 + [4] * 2 + [12, 24, 36]
    assert dilations("deeplabv3_mobilenet_v3_large") == [2] * 3 + [12, 24, 36]
    assert dilations("deeplabv3_mobilenet_v2") == [2] * 3


@pytest.mark.parametrize("name", [row.name for row in segmentation.NETWORKS])
def test_every_pixel_has_a_score_of_every_class(name: str) -> None:
    assert result_of(f"{name}@97-5") == (1, 5, 97, 97)


# ------------------------------------------------------------------------ U-Net


def unet_kernels() -> list[tuple[int, int, int]]:
    """(inputs, outputs, elements of a kernel) of figure 1, in order."""
    widths = [64, 128, 256, 512, 1024]
    layers = [(1, 64, 9), (64, 64, 9)]
    for wide, wider in pairwise(widths):
        layers += [(wide, wider, 9), (wider, wider, 9)]
    for wide in reversed(widths[:-1]):
        layers += [(2 * wide, wide, 4), (2 * wide, wide, 9), (wide, wide, 9)]
    return [*layers, (64, 2, 1)]


# rows of what each of figure 1's convolutions makes; of a transposed one, of what it reads
_FIGURE_1 = (
    *(570, 568, 282, 280, 138, 136, 66, 64, 30, 28),
    *(28, 54, 52, 52, 102, 100, 100, 198, 196, 196, 390, 388, 388),
)


def test_unet_is_figure_1() -> None:
    kernels = unet_kernels()
    assert len(kernels) == 23  # convolutional layers, as the paper says
    built = graph_of("unet")
    weights = [inputs * outputs * size for inputs, outputs, size in kernels]
    assert built.parameters == sum(weights) + sum(outputs for _, outputs, _ in kernels)
    assert result_of("unet") == (1, 2, 388, 388)
    products = zip(weights, _FIGURE_1, strict=True)
    # a transposed convolution multiplies every element that it reads by the whole kernel
    assert macs_of(built) == sum(weight * rows**2 for weight, rows in products)


def test_a_count_of_common_code_has_a_layer_more_than_figure_1() -> None:
    """31,031,685: a 3x3 to two channels and a 1x1 to one, where figure 1 has a 1x1 to two."""
    more = (64 * 2 * 9 + 2) + (2 + 1) - (64 * 2 + 2)
    assert graph_of("unet").parameters + more == 31_031_685
    assert graph_of("unet_padded").parameters == graph_of("unet").parameters


def test_unpadded_rows_are_184_fewer_and_poolings_read_even_sizes() -> None:
    (choices,) = [p.choices for p in ROWS["unet"].parameters if p.name == "resolution"]
    assert 572 in choices
    for rows in (int(choice) for choice in choices):
        size = rows
        for _ in range(4):
            size -= 4
            assert size % 2 == 0
            size //= 2
    for choice in choices[:3]:
        assert result_of(f"unet@{choice}-2") == (1, 2, choice - 184, choice - 184)


def test_a_padded_unet_keeps_the_size_and_crops_nothing() -> None:
    assert result_of("unet_padded@208-4") == (1, 2, 208, 208)
    ops = {node.op_type for node in model_of("unet_padded").graph.node}
    assert ops == {"Conv", "Relu", "MaxPool", "ConvTranspose", "Concat"}


# ----------------------------------------------- style transfer, super-resolution


def test_style_transfer_from_its_table() -> None:
    """(inputs, outputs, kernel, rows of the result in 256); all but the last are normalised."""
    layers = [
        (3, 32, 9, 256),
        (32, 64, 3, 128),
        (64, 128, 3, 64),
        *((128, 128, 3, 64),) * 10,
        (128, 64, 3, 128),
        (64, 32, 3, 256),
        (32, 3, 9, 256),
    ]
    built = graph_of("style_transfer")
    macs = sum(i * o * kernel**2 * rows**2 for i, o, kernel, rows in layers)
    learned = sum(o * (i * kernel**2 + 3) for i, o, kernel, _ in layers) - 2 * 3
    assert (macs_of(built), built.parameters) == (macs, learned)
    assert learned == 1_679_235
    assert result_of("style_transfer@132") == (1, 3, 132, 132)


@pytest.mark.parametrize(("name", "published"), [("fsrcnn", 12_464), ("fsrcnn_s", 3_937)])
def test_fsrcnn_has_the_kernels_of_the_paper(name: str, published: int) -> None:
    """Every pixel of the small image meets every element of every kernel once, at any scale."""
    assert sum(map(prod, filters(name))) == published
    for scale in (2, 3, 4):
        graph = graph_of(f"{name}@20-{scale}")
        assert macs_of(graph) == published * 20 * 20
        assert result_of(f"{name}@20-{scale}") == (1, 1, 20 * scale, 20 * scale)


# ------------------------------------------------------------------------ sound


@pytest.mark.parametrize(
    ("name", "kilobytes", "mega_operations"),
    [("ds_cnn_s", 38.6, 5.4), ("ds_cnn_m", 189.2, 19.8), ("ds_cnn_l", 497.6, 56.9)],
)
def test_ds_cnn_has_memory_and_operations_of_the_paper(
    name: str, kilobytes: float, mega_operations: float
) -> None:
    """Memory is 8-bit weights, a bias a channel and the largest pair of maps; operations are two
    a MAC and one a bias."""
    graph = graph_of(name)
    kernels = filters(name)
    channels, convolutions = kernels[0][0], len(kernels)
    # normalisation has two numbers a channel, of which the deployed network keeps a bias
    deployed = graph.parameters - channels * convolutions
    assert deployed == sum(map(prod, kernels)) + channels * (convolutions + 12) + 12
    assert round((deployed + max(live_elements(graph))) / 1000, 1) == kilobytes
    biased = sum(prod(kernel[2:]) for kernel in map_sizes(name)) * channels
    assert round((2 * macs_of(graph) + biased) / 1e6, 1) == mega_operations


def map_sizes(name: str) -> list[tuple[int, ...]]:
    """Shapes of what the convolutions make, from the paper's kernels and strides."""
    size = ds_cnn.SIZES[name]
    first = (ceil(49 / size.first_stride[0]), ceil(10 / size.first_stride[1]))
    later = tuple(ceil(extent / size.second_stride) for extent in first)
    return [(1, size.channels, *first), *((1, size.channels, *later),) * (2 * size.blocks)]


def test_wav2letter_from_its_figure() -> None:
    """(inputs, outputs, kernel) at half of the frames; Arm's copy has 148 results of 29 letters."""
    layers = [(39, 250, 48), *((250, 250, 7),) * 7]
    layers += [(250, 2000, 32), (2000, 2000, 1), (2000, 29, 1)]
    graph = graph_of("wav2letter")
    assert result_of("wav2letter") == (1, 29, 1, 148)
    assert graph.parameters == sum(o * (i * kernel + 1) for i, o, kernel in layers)
    assert macs_of(graph) == 148 * sum(i * o * kernel for i, o, kernel in layers)
    # a byte a weight and four a bias are all but 1 % of the 8-bit file of 23,815,520 bytes
    weights = sum(i * o * kernel for i, o, kernel in layers)
    assert weights + 4 * (graph.parameters - weights) == pytest.approx(23_815_520, rel=0.01)


@pytest.mark.parametrize("frames", [2, 50, 296])
def test_wav2letter_halves_the_frames(frames: int) -> None:
    assert result_of(f"wav2letter@{frames}") == (1, 29, 1, frames // 2)
