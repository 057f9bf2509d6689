"""Networks with other numbers of channels and other blocks: consistent, and recounted."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import floor, prod

import onnx
import pytest

from dataflow_sim.errors import InputError
from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.layer import Layer, LayerKind, TensorKind, View
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.pipeline import load_network
from dataflow_sim.whatif import parse
from tests.support.by_hand import NAMED_ALIKE, NORMALISED_BEFORE, SHARED, SHARED_WITH_THE_OUTPUT
from tests.support.small import SMALL
from tests.support.tokens import TOKENS

# networks of many kinds of blocks, at sizes that are soon read
NETWORKS = (
    "alexnet",
    "vgg11@96",
    "googlenet@64",
    "resnet18@64",
    "densenet121@64",
    "squeezenet1_1@64",
    "mobilenet_v1@1.0-64",
    "mobilenet_v2@1.0-64",
    "mobilenet_v3_small@1.0-64",
    "shufflenet_v2@1.0-64",
    "nasnet_a_mobile@64-1",
    "efficientnet_edgetpu_s@64",
    "ssd_mobilenet_v1@1.0-300",
    "yolov3@64",
    "unet_padded@64",
    "fsrcnn@32",
    "ds_cnn_s",
    "bert_tiny@8",
    "mobilebert_tiny@8-1",
    "deit_tiny@32-1",
)
# where every learned number is one that a kernel or a vector holds
STORED = NETWORKS[:10] + NETWORKS[11:17]
RESIZED = (
    "prune=0.4",
    "prune=0.5:multiple=8",
    "prune=0.5:by=size",
    "prune=0.9:by=size:multiple=4",
    "width=1.3",
    "width=0.35:multiple=8",
    "width=3",
)


@lru_cache
def network(name: str) -> NetworkGraph:
    small = {**SMALL, **TOKENS}
    return graph_from_model(small[name](), name) if name in small else load_network(name)


def changed(name: str, *texts: str) -> NetworkGraph:
    return parse(texts).apply(network(name))


def changed_if_it_can_be(name: str, text: str) -> NetworkGraph | None:
    """The changed network, None where it has nothing that this changes."""
    try:
        return changed(name, text)
    except InputError as error:
        if "no channels that could change" in str(error) or "no such block" in str(error):
            return None
        raise


def macs(graph: NetworkGraph) -> int:
    return sum(map(layer_macs, graph.layers))


# ------------------------------------------------------------ what is consistent


def is_by_channel(layer: Layer) -> bool:
    """Whether each channel is made of one: depthwise convolutions, poolings."""
    return layer.groups == layer.input.shape[1] == layer.body_shape[1]


def assert_view_lies_inside(graph: NetworkGraph, view: View) -> None:
    for segment in view.segments:
        tensor = graph.tensors[segment.tensor]
        assert 0 <= segment.channel_start < segment.channel_stop <= tensor.shape[1]
        assert (tensor.shape[0], *tensor.shape[2:]) == (view.shape[0], *view.shape[2:])
    assert sum(segment.channels for segment in view.segments) == view.shape[1]


def assert_consistent(graph: NetworkGraph) -> None:
    """What every network is, whatever it went through."""
    for layer in graph.layers:
        for view in layer.views:
            assert_view_lies_inside(graph, view)
        if layer.kind is not LayerKind.STREAMED:
            assert graph.tensors[layer.output].shape == layer.output_shape
            assert layer.output_shape[1] == layer.body_shape[1]
        if layer.kind is LayerKind.CONVOLUTION and layer.weight is not None:
            assert layer.input.shape[1] % layer.groups == 0
            assert layer.body_shape[1] % layer.groups == 0
            assert graph.tensors[layer.weight].shape == (
                layer.body_shape[1],
                layer.input.shape[1] // layer.groups,
                *layer.window.kernel,
            )
            if layer.weight_constant is not None:
                constant = graph.constants[layer.weight_constant]
                assert prod(constant.shape) == graph.tensors[layer.weight].elements
        if layer.pooled_shape is not None:
            assert layer.pooled_shape[1] == layer.input.shape[1]
        if layer.unpooled is not None:
            assert layer.unpooled.tensor.shape[1] == layer.body_shape[1]
    for result in graph.results:
        for segment in result.view.segments:
            assert segment.channel_stop <= graph.tensors[segment.tensor].shape[1]
    learned = {name for layer in graph.layers for name in layer.learned}
    assert graph.parameters == sum(prod(graph.constants[name].shape) for name in learned)
    writers = [name for layer in graph.layers for name in layer.outputs]
    assert len(writers) == len(set(writers))
    assert len({layer.name for layer in graph.layers}) == len(graph.layers)


def assert_resized(before: NetworkGraph, after: NetworkGraph) -> None:
    """The same layers on the same planes, with other numbers of channels."""
    assert_consistent(after)
    assert after.inputs == before.inputs
    assert after.outputs == before.outputs
    assert after.results == before.results
    assert after.placements == before.placements
    for name in (*before.inputs, *before.outputs):
        assert after.tensors[name] == before.tensors[name]
    for old, new in zip(before.layers, after.layers, strict=True):
        assert (new.name, new.op, new.kind, new.window) == (old.name, old.op, old.kind, old.window)
        assert is_by_channel(new) or not is_by_channel(old)
        assert new.groups == old.groups or is_by_channel(old)
        for was, now in ((old.output_shape, new.output_shape), (old.input.shape, new.input.shape)):
            assert (was[0], *was[2:]) == (now[0], *now[2:])
        for vectors, one, other in (
            (old.input_vectors, old.input.shape[1], new.input.shape[1]),
            (old.output_vectors, old.body_shape[1], new.body_shape[1]),
        ):
            if vectors is not None and before.tensors[vectors].shape[1] == one:
                assert after.tensors[vectors].shape[1] == other


def stored(graph: NetworkGraph) -> int:
    """Elements of all kernels and vectors."""
    weights = (each for each in graph.tensors.values() if each.kind is TensorKind.WEIGHT)
    return sum(tensor.elements for tensor in weights)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_other_numbers_of_channels_are_consistent(name: str) -> None:
    before = network(name)
    assert_consistent(before)
    for text in RESIZED:
        after = changed(name, text)
        assert_resized(before, after)
        assert after.parameters != before.parameters


@pytest.mark.parametrize("name", STORED)
def test_parameters_are_those_that_kernels_and_vectors_hold(name: str) -> None:
    assert network(name).parameters == stored(network(name))
    for text in RESIZED:
        after = changed(name, text)
        assert after.parameters == stored(after), text


@pytest.mark.parametrize("name", sorted({**SMALL, **TOKENS}))
def test_small_networks_of_every_kind_of_layer_are_consistent(name: str) -> None:
    before = network(name)
    for text in RESIZED:
        after = changed_if_it_can_be(name, text)
        if after is not None:
            assert_resized(before, after)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("text", ["prune=0", "prune=0%:by=size", "width=1", "width=100%"])
def test_nothing_pruned_and_width_1_change_nothing(name: str, text: str) -> None:
    before, after = network(name), changed(name, text)
    assert after.layers == before.layers
    assert after.tensors == before.tensors
    assert after.parameters == before.parameters
    for key, constant in before.constants.items():
        assert after.constants[key] is constant


# ------------------------------------------------------------ how many channels


def numbers(name: str, text: str) -> list[tuple[int, int]]:
    """Channels of every convolution before and after, depthwise ones left out."""
    return [
        (old.body_shape[1], new.body_shape[1])
        for old, new in zip(network(name).layers, changed(name, text).layers, strict=True)
        if old.kind is LayerKind.CONVOLUTION and old.groups == 1
    ]


def nearest(value: Fraction, multiple: int) -> int:
    return max(1, floor(value / multiple + Fraction(1, 2))) * multiple


# whose added maps are never concatenated ones, each convolution makes one class of channels
ONE_CLASS = (
    "alexnet",
    "resnet18@64",
    "mobilenet_v2@1.0-64",
    "mobilenet_v3_small@1.0-64",
    "ds_cnn_s",
    "fsrcnn@32",
)


@pytest.mark.parametrize("name", ONE_CLASS)
@pytest.mark.parametrize(("part", "multiple"), [("0.5", 1), ("0.3", 1), ("0.5", 8), ("0.77", 16)])
def test_pruned_channels_are_the_nearest_multiple_but_never_more(
    name: str, part: str, multiple: int
) -> None:
    found = numbers(name, f"prune={part}:multiple={multiple}")
    changes = [(old, new) for old, new in found if new != old]
    assert changes
    for old, new in changes:
        assert new == min(old, nearest(old * (1 - Fraction(part)), multiple))
        assert new % multiple == 0
    for old, new in found[:-1]:
        assert new == old or (old, new) in changes


@pytest.mark.parametrize("name", ONE_CLASS)
@pytest.mark.parametrize(("factor", "multiple"), [("0.5", 1), ("1.3", 1), ("0.35", 8), ("2", 3)])
def test_channels_of_another_width_are_the_nearest_multiple(
    name: str, factor: str, multiple: int
) -> None:
    found = numbers(name, f"width={factor}:multiple={multiple}")
    assert any(new != old for old, new in found)
    # the last layer makes the network's output
    assert found[-1][0] == found[-1][1]
    for old, new in found[:-1]:
        assert new == nearest(old * Fraction(factor), multiple)


@pytest.mark.parametrize("name", ["resnet18@64", "googlenet@64", "mobilenet_v2@1.0-64"])
def test_larger_layers_lose_more_where_it_goes_by_size(name: str) -> None:
    """Of two layers of one class each, the larger kernel keeps no larger part, but for rounding."""
    before, after = network(name), changed(name, "prune=0.5:by=size")
    kept = sorted(
        (before.tensors[old.weight].elements, new.body_shape[1] / old.body_shape[1])
        for old, new in zip(before.layers, after.layers, strict=True)
        if old.weight is not None and old.groups == 1 and new.body_shape[1] != old.body_shape[1]
    )
    assert kept[0][1] > kept[-1][1]
    assert changed(name, "prune=0.5:by=size").parameters != changed(name, "prune=0.5").parameters


# ------------------------------------------------------------ built otherwise


@pytest.mark.parametrize(
    ("name", "text", "other"),
    [
        ("mobilenet_v1", "width=0.5", "mobilenet_v1@0.5"),
        ("mobilenet_v1", "width=25%", "mobilenet_v1@0.25"),
        ("mobilenet_v1", "width=0.75", "mobilenet_v1@0.75"),
        ("mobilenet_v1", "prune=0.5", "mobilenet_v1@0.5"),
        ("mobilenet_v1@0.5", "width=2", "mobilenet_v1@1.0"),
        ("mobilenet_v2@1.0-64", "width=2", "mobilenet_v2@2.0-64"),
        ("densenet121@64-32", "width=0.5", "densenet121@64-16"),
        ("densenet121@64-32", "prune=0.25", "densenet121@64-24"),
        ("unet_padded@64-64", "width=0.5", "unet_padded@64-32"),
        ("efficientnet_b0@64-1.0", "width=2", "efficientnet_b0@64-2.0"),
        ("ssd_mobilenet_v1@1.0", "prune=50%", "ssd_mobilenet_v1@0.5"),
        ("ssdlite_mobilenet_v1@1.0", "width=0.5", "ssdlite_mobilenet_v1@0.5"),
    ],
)
def test_the_catalogue_has_the_same_network(name: str, text: str, other: str) -> None:
    found, built = changed(name, text), network(other)
    assert found.parameters == built.parameters
    assert macs(found) == macs(built)
    for one, two in zip(found.layers, built.layers, strict=True):
        assert layer_macs(one) == layer_macs(two)
        assert (one.input, one.body_shape, one.groups) == (two.input, two.body_shape, two.groups)
        assert one.output_shape == two.output_shape
        for left, right in zip(one.weights, two.weights, strict=True):
            assert found.tensors[left].shape == built.tensors[right].shape
    assert found.outputs == built.outputs


# ------------------------------------------------------------ blocks


BLOCKS = ("separable=on", "bottleneck=fused", "bottleneck=inverted", "kernel=3to5", "kernel=5to3")


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_other_blocks_are_consistent(name: str) -> None:
    before = network(name)
    for text in BLOCKS:
        after = changed_if_it_can_be(name, text)
        if after is None:
            continue
        assert_consistent(after)
        assert (after.inputs, after.outputs, after.results) == (
            before.inputs,
            before.outputs,
            before.results,
        )
        for each in (*before.inputs, *before.outputs):
            assert after.tensors[each].shape == before.tensors[each].shape
        if name in STORED:
            assert after.parameters == stored(after)


def split(name: str) -> list[Layer]:
    """The dense convolutions that are split, by their kernels and what they read."""
    graph = network(name)
    return [
        layer
        for layer in graph.layers
        if layer.op == "Conv"
        and layer.groups == 1
        and min(layer.window.kernel) > 1
        and all(s.tensor not in graph.inputs for s in layer.input.segments)
    ]


@pytest.mark.parametrize("name", ["resnet18@64", "squeezenet1_1@64", "googlenet@64", "yolov3@64"])
def test_a_separable_convolution_is_one_by_channel_and_one_by_pixel(name: str) -> None:
    """k k C taps by channel and C K by pixel in the place of k k C K."""
    after = changed(name, "separable=on")
    fewer_macs = fewer_parameters = 0
    for layer in split(name):
        taps, channels = prod(layer.window.kernel), layer.input.shape[1]
        made, pixels = layer.body_shape[1], prod(layer.body_shape[2:])
        fewer_parameters += taps * channels * made - taps * channels - channels * made
        fewer_macs += pixels * (taps * channels * made - taps * channels - channels * made)
    assert macs(network(name)) - macs(after) == fewer_macs > 0
    assert network(name).parameters - after.parameters == fewer_parameters
    assert len(after.layers) == len(network(name).layers) + len(split(name))


@pytest.mark.parametrize("name", ["resnet18@64", "ds_cnn_s", "mobilenet_v2@1.0-64"])
def test_kernels_made_larger_and_smaller_again_are_as_they_were(name: str) -> None:
    before, after = network(name), changed(name, "kernel=3to5", "kernel=5to3")
    assert (after.parameters, macs(after)) == (before.parameters, macs(before))
    for old, new in zip(before.layers, after.layers, strict=True):
        assert new.window == old.window
        assert new.body_shape == old.body_shape


@pytest.mark.parametrize("name", ["mobilenet_v2@1.0-64", "efficientnet_edgetpu_s@64"])
def test_bottlenecks_that_are_fused_and_split_again_take_the_same_macs(name: str) -> None:
    """And as many parameters, but for the normalisation between the two layers of each."""
    once = changed(name, "bottleneck=inverted") if "edgetpu" in name else network(name)
    fused = parse(["bottleneck=fused"]).apply(once)
    again = parse(["bottleneck=inverted"]).apply(fused)
    assert macs(fused) > macs(again) == macs(once)
    kernels = [
        sum(each.tensors[layer.weight].elements for layer in each.layers if layer.weight)
        for each in (once, again)
    ]
    assert kernels[0] == kernels[1]


def test_fully_connected_layers_are_no_convolutions_of_another_kernel() -> None:
    """They read a plane of 3 x 3 as a whole: a larger kernel would multiply nothing but padding."""
    before, after = network("vgg11@96"), changed("vgg11@96", "kernel=3to5")
    connected = [place for place, layer in enumerate(before.layers) if layer.op == "Gemm"]
    assert before.layers[connected[0]].window.kernel == (3, 3)
    for place in connected:
        assert after.layers[place] == before.layers[place]


# ------------------------------------------------------------ networks by hand


def after_texts(model: onnx.ModelProto, *texts: str) -> tuple[NetworkGraph, NetworkGraph]:
    before = graph_from_model(model, "by_hand")
    return before, parse(texts).apply(before)


@pytest.mark.parametrize("text", RESIZED)
def test_layers_that_share_a_kernel_keep_the_same_channels(text: str) -> None:
    before, after = after_texts(SHARED, text)
    assert_resized(before, after)
    assert after.parameters == stored(after)
    # where one of them makes the network's output the channels of both are its own
    with pytest.raises(InputError, match="no channels that could change"):
        after_texts(SHARED_WITH_THE_OUTPUT, text)


@pytest.mark.parametrize("text", ["separable=on", "kernel=3to5", "kernel=3to1"])
@pytest.mark.parametrize(
    "model", [SHARED, SHARED_WITH_THE_OUTPUT], ids=["shared", "shared_with_the_output"]
)
def test_a_kernel_that_layers_share_is_counted_once(model: onnx.ModelProto, text: str) -> None:
    _, after = after_texts(model, text)
    assert_consistent(after)
    assert after.parameters == stored(after) > 0


@pytest.mark.parametrize("text", RESIZED)
def test_normalisation_before_a_layer_has_the_channels_of_its_input(text: str) -> None:
    """Also where the layer made as many as it read, and no longer does."""
    before, after = after_texts(NORMALISED_BEFORE, text)
    assert_resized(before, after)
    assert after.parameters == stored(after)


def test_new_layers_have_names_of_their_own() -> None:
    _, after = after_texts(NAMED_ALIKE, "separable=on")
    assert_consistent(after)
