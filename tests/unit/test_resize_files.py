"""Exporters' files at other sizes and batches: MACs by their definition, node by node.

What forbids a size is named; a batch multiplies every MAC exactly.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from math import prod
from pathlib import Path

import onnx
import pytest

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.contrib import standardised
from dataflow_sim.ingest.file.load import load_model
from dataflow_sim.ingest.shapes.resolver import Resolver
from dataflow_sim.ingest.sizes.resize import resized

Shapes = Mapping[str, tuple[int, ...]]

DOUBLED = (
    *("hf_segformer_b0_512", "keras_efficientnetv2b0", "ort_qdq_mobilenet_v2"),
    *("ort_qlinear_resnet50", "smp_unet_resnet18_256", "timm_convnext_tiny"),
    *("timm_efficientnet_b0", "timm_mobilenetv1_100", "torch_cond_if", "tv_deeplabv3_mnv3"),
    *("tv_densenet121", "tv_mobilenet_v2", "tv_mobilenet_v3_large", "tv_resnet50_dynamo"),
    *("tv_resnet50_script17", "tv_ssdlite320_raw"),
)
# their convolutions are all behind strides that divide the size, and none reads a pooled map
EXACT = (
    *("hf_segformer_b0_512", "ort_qdq_mobilenet_v2", "ort_qlinear_resnet50"),
    *("smp_unet_resnet18_256", "timm_convnext_tiny", "timm_mobilenetv1_100", "torch_cond_if"),
    *("tv_densenet121", "tv_mobilenet_v2", "tv_resnet50_dynamo", "tv_resnet50_script17"),
)
FORBIDDEN = {
    "hf_rtdetr_r18_640": "node 'node_add_54' (Add) forbids 1280x1280: its constant 'unsqueeze_3' "
    "(1, 400, 256), made of 'mul_70', does not fit the map (1, 1600, 256)",
    "timm_deit_tiny": "node 'node_add' (Add) forbids 448x448: its constant 'pos_embed' "
    "(1, 197, 192) does not fit the map (1, 785, 192)",
    "timm_swin_tiny": "node 'node_add_4' (Add) forbids 448x448: its constant 'unsqueeze_3' "
    "(1, 64, 1, 49, 49), made of 'layers.0.blocks.1.attn_mask', does not fit the map "
    "(1, 256, 3, 49, 49)",
    "timm_swin_tiny_script17": "node '/layers/layers.0/blocks/blocks.1/attn/Add_1' (Add) forbids "
    "448x448: its constant '/layers/layers.0/blocks/blocks.1/attn/Constant_13_output_0' "
    "(1, 64, 1, 49, 49) does not fit the map (1, 256, 3, 49, 49)",
}
SEQUENCES = (
    *("hf_bert_base_128", "hf_llama_tiny_decode_kv63", "hf_llama_tiny_gqa_128"),
    *("hf_mobilebert_128", "hf_whisper_tiny_encoder", "lstm_bidir_dynamo"),
)


def read(shared: Path, name: str) -> onnx.ModelProto:
    return load_model(shared / "models" / f"{name}.onnx")


def size_of(model: onnx.ModelProto) -> tuple[int, int]:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return (shape[1], shape[2]) if shape[-1] == 3 else (shape[-2], shape[-1])


def shapes_of(model: onnx.ModelProto) -> Shapes:
    """The shapes that ONNX's own inference of the whole graph finds."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        found[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    return found


def resolved(model: onnx.ModelProto) -> Shapes:
    """Shapes behind shape arithmetic that ONNX's inference of the whole graph does not follow."""
    resolver = Resolver(model, "file")
    resolver.run()
    return resolver.shapes


def macs_of(node: onnx.NodeProto, shapes: Shapes) -> int:
    """The MACs of a node by the definition."""
    if node.op_type in ("Conv", "QLinearConv"):
        weight = shapes[node.input[3 if node.op_type == "QLinearConv" else 1]]
        return prod(shapes[node.output[0]]) * prod(weight[1:])
    if node.op_type in ("MatMul", "MatMulInteger", "Gemm"):
        return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    if node.op_type == "LSTM":
        steps, batch, inputs = shapes[node.input[0]]
        directions, gates, hidden = shapes[node.input[2]]
        return steps * batch * directions * gates * (inputs + hidden)
    return 0


def model_macs(model: onnx.ModelProto, shapes: Shapes | None = None) -> int:
    known = shapes_of(model) if shapes is None else shapes
    return sum(macs_of(node, known) for node in model.graph.node)


def convolution_macs(model: onnx.ModelProto) -> dict[str, int]:
    shapes = shapes_of(model)
    return {
        node.output[0]: macs_of(node, shapes)
        for node in model.graph.node
        if node.op_type in ("Conv", "QLinearConv")
    }


def expected_macs(shared: Path, name: str) -> int:
    with (shared / "models" / "expected.csv").open() as file:
        return next(int(row["macs"]) for row in csv.DictReader(file) if row["model"] == name)


@pytest.mark.parametrize("name", [*DOUBLED, *FORBIDDEN, *SEQUENCES])
def test_a_batch_multiplies_the_macs_exactly(shared: Path, name: str) -> None:
    result, statements = resized(read(shared, name), name, None, 4)
    shapes = resolved(result) if name.endswith("script17") else shapes_of(result)
    assert model_macs(result, shapes) == 4 * expected_macs(shared, name)
    assert statements[0].startswith("input '")
    for value in result.graph.output:
        assert shapes[value.name][0] == 4


def test_every_cache_has_the_batch(shared: Path) -> None:
    name = "hf_llama_tiny_decode_kv63"
    result, statements = resized(read(shared, name), name, None, 4)
    shapes = shapes_of(result)
    assert shapes["ids"] == (4, 1)
    assert {shapes[cache] for cache in ("k0", "v0", "k1", "v1")} == {(4, 2, 63, 32)}
    assert {shapes[value.name] for value in result.graph.output[1:]} == {(4, 2, 64, 32)}
    assert statements[4] == "so do 1 more, each in its batch"


@pytest.mark.parametrize("name", DOUBLED)
def test_a_size_twice_as_large(shared: Path, name: str) -> None:
    """No frozen number is left behind: every map is one of the network at that size.

    An odd size doubles to an odd size: of 2n - 1 pixels strides of 2 make n as before.
    """
    model = read(shared, name)
    rows, columns = size_of(model)
    odd = rows % 2
    result, _ = resized(model, name, (2 * rows - odd, 2 * columns - odd), None)
    before, after = convolution_macs(standardised(model)[0]), convolution_macs(result)
    assert list(before) == list(after)
    for layer, macs in before.items():
        if name in EXACT:
            assert after[layer] == 4 * macs, layer
        else:  # pooled to one place, or a border more or less where a stride does not divide
            assert after[layer] == macs or 2 * macs < after[layer] <= 4 * macs, layer


@pytest.mark.parametrize("size", [(320, 320), (448, 640)])
@pytest.mark.parametrize("name", ["hf_segformer_b0_512", "tv_deeplabv3_mnv3", "tv_ssdlite320_raw"])
def test_planes_follow_the_strides(shared: Path, name: str, size: tuple[int, int]) -> None:
    """Every plane is the image divided by a power of two, rounded up; others are the file's."""
    model = read(shared, name)
    old = size_of(model)
    result, _ = resized(model, name, size, None)
    before, after = shapes_of(model), shapes_of(result)
    for node in result.graph.node:
        output = node.output[0]
        if len(after[output]) != 4 or node.op_type not in ("Conv", "Resize"):
            continue
        powers = [
            power
            for power in range(10)
            if before[output][2:] == tuple(-(-extent // 2**power) for extent in old)
        ]
        wanted = [tuple(-(-extent // 2**power) for extent in size) for power in powers]
        # a plane of one place may be a mean over all
        pooled = [before[output][2:]] if before[output][2:] == (1, 1) or not wanted else []
        assert after[output][2:] in (*wanted, *pooled), node.name
        assert after[output][:2] == before[output][:2]


def test_attention_over_tokens_grows_with_their_square(shared: Path) -> None:
    name = "hf_segformer_b0_512"
    model = read(shared, name)
    result, _ = resized(model, name, (1024, 1024), None)
    before, after = shapes_of(model), shapes_of(result)
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "MatMul":
            factor = 4 if node.input[1] in constants else 16
            assert macs_of(node, after) == factor * macs_of(node, before), node.name


@pytest.mark.parametrize("size", [(640, 640), (512, 512), (448, 640)])
def test_two_exports_of_one_network_agree(shared: Path, size: tuple[int, int]) -> None:
    """A single image through shape arithmetic, and the static export of the same detector."""
    macs = []
    for name in ("tv_ssdlite320_script17", "tv_ssdlite320_raw"):
        result, _ = resized(read(shared, name), name, size, None)
        macs.append(model_macs(result, resolved(result)))
    assert macs[0] == macs[1]


def test_symbolic_dimensions_are_only_bound(shared: Path) -> None:
    name = "tv_mobilenet_v2_dynBHW_script17"
    model = read(shared, name)
    result, statements = resized(model, name, (448, 448), 2)
    plain, _ = resized(read(shared, "tv_mobilenet_v2"), "plain", (448, 448), 2)
    assert model_macs(result) == model_macs(plain)
    assert [*result.graph.node] == [*model.graph.node]
    assert statements == ("input 'image' (batch, 3, height, width) becomes (2, 3, 448, 448)",)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_was_learned_for_a_size_is_named(shared: Path, name: str) -> None:
    model = read(shared, name)
    rows, columns = size_of(model)
    with pytest.raises(NetworkError) as caught:
        resized(model, name, (2 * rows, 2 * columns), None)
    assert str(caught.value) == f"{name}: {FORBIDDEN[name]}; export the network at that size"


def test_windows_that_do_not_divide_are_named(shared: Path) -> None:
    with pytest.raises(NetworkError) as caught:
        resized(read(shared, "timm_swin_tiny"), "swin", (320, 320), None)
    assert str(caught.value) == (
        "swin: node 'node_view' (Reshape) forbids 320x320: the map 'pad', now (1, 80, 80, 96), "
        "cannot be cut as it was into (1, 8, 7, 8, 7, 96), whose inner extents stay; export the "
        "network at that size"
    )


@pytest.mark.parametrize("name", [*SEQUENCES, "hf_bert_mini_dynseq"])
def test_sequences_have_no_size(shared: Path, name: str) -> None:
    with pytest.raises(NetworkError, match=r"it has no image input, which --input-size could"):
        resized(read(shared, name), name, (320, 320), None)


def test_a_single_image_has_no_batch(shared: Path) -> None:
    name = "tv_ssdlite320_script17"
    with pytest.raises(NetworkError) as caught:
        resized(read(shared, name), name, None, 4)
    assert str(caught.value) == (
        f"{name}: input 'image.1' (3, 320, 320) is a single image without an axis for the batch; "
        "leave --batch out, or export the network with one"
    )


# ------------------------------------------------------------ the networks that onnx ships

LIGHT = {
    "light_densenet121": None,
    "light_inception_v2": "node 'n505' (AveragePool) has (14, 14) instead of the frozen (7, 7)",
    "light_resnet50": "node 'n172' (AveragePool) has (14, 14) instead of the frozen (7, 7)",
    "light_shufflenet": "node 'n199' (AveragePool) has (14, 14) instead of the frozen (7, 7)",
    "light_squeezenet": None,
}


@pytest.mark.parametrize("name", LIGHT)
def test_networks_whose_weights_are_filled_by_nodes(light_models: Path, name: str) -> None:
    """Weights are made by ConstantOfShape: none of their extents is one of a map."""
    model = load_model(light_models / f"{name}.onnx")
    result, statements = resized(model, name, (448, 448), 2)
    before, after = resolved(model), resolved(result)
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape":
            assert after[node.output[0]] == before[node.output[0]]
        # convolutions without padding lose a border, one reads a pooled map
        if node.op_type == "Conv" and name not in ("light_densenet121", "light_squeezenet"):
            assert macs_of(node, after) == 8 * macs_of(node, before)
    output = model.graph.output[0].name
    assert after[output] == (2, *before[output][1:])
    assert LIGHT[name] in (None, *statements)


@pytest.mark.parametrize(
    ("name", "node"),
    [("light_bvlc_alexnet", "n16"), ("light_vgg19", "n38"), ("light_zfnet512", "n16")],
)
def test_networks_with_a_flattened_map(light_models: Path, name: str, node: str) -> None:
    model = load_model(light_models / f"{name}.onnx")
    with pytest.raises(NetworkError, match=rf"node '{node}' \(Gemm\) forbids 448x448: its const"):
        resized(model, name, (448, 448), None)
    before, after = resolved(model), resolved(resized(model, name, None, 3)[0])
    for each in model.graph.node:
        assert macs_of(each, after) == 3 * macs_of(each, before)
