"""What the passes find in exporters' files, counted; and the same values before and after."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from dataflow_sim.ingest.file.load import load_model
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.activations import ACTIVATIONS
from dataflow_sim.ingest.passes.layer_norm import LAYER_NORM
from dataflow_sim.ingest.passes.linear import LINEAR
from dataflow_sim.ingest.passes.padding import PADDING
from dataflow_sim.ingest.passes.redundant import REDUNDANT
from dataflow_sim.ingest.passes.squeeze_excite import SQUEEZE_EXCITE
from dataflow_sim.ingest.shapes.reader import resolve
from tests.unit.passes.chains import operators, same_values

ALL = (REDUNDANT, PADDING, LAYER_NORM, ACTIVATIONS, SQUEEZE_EXCITE, LINEAR)
DIMS = {
    "hf_bert_mini_dynseq": {"batch": 1, "seq": 128},
    "tv_mobilenet_v2_dynBHW_script17": {"batch": 1, "height": 224, "width": 224},
}
# pass -> file -> how many nodes it changes
FOUND: Mapping[str, Mapping[str, int]] = {
    "layer_norm": {
        # two in each of 2 (4) decoder blocks, and one behind them
        "hf_llama_tiny_decode_kv63": 5,
        "hf_llama_tiny_gqa_128": 9,
    },
    "activations": {
        # one in the perceptron of each decoder block
        "hf_llama_tiny_decode_kv63": 2,
        "hf_llama_tiny_gqa_128": 4,
        # all Sigmoid nodes, but for those of 16 squeeze-and-excitation blocks
        "timm_efficientnet_b0": 65 - 16,
        "keras_efficientnetv2b0": 71 - 16,
        # all Sigmoid nodes, but for those around the reference points
        "hf_rtdetr_r18_640": 24,
        # as many as the other export of the same network has Gelu nodes
        "timm_swin_tiny_script17": 12,
    },
    "squeeze_excite": {
        # 16 (8) squeeze-and-excitation blocks, and the mean before the classifier or in the head
        "timm_efficientnet_b0": 17,
        "tv_mobilenet_v3_large": 9,
        "tv_deeplabv3_mnv3": 9,
        "tv_ssdlite320_raw": 8,
        **dict.fromkeys(
            (
                *("ort_qdq_mobilenet_v2", "timm_convnext_tiny", "timm_mobilenetv1_100"),
                *("tv_densenet121", "tv_mobilenet_v2", "tv_resnet50_dynamo"),
            ),
            1,
        ),
    },
    "padding": {},
    "linear": {},
}


@cache
def network_of(path: Path) -> ResolvedNetwork:
    return resolve(load_model(path), path.stem, DIMS.get(path.stem, {}))


def reference(shared: Path, name: str) -> ResolvedNetwork:
    return network_of(shared / "models" / f"{name}.onnx")


NAMES = (
    *("hf_bert_base_128", "hf_bert_mini_dynseq", "hf_llama_tiny_decode_kv63"),
    *("hf_llama_tiny_gqa_128", "hf_mobilebert_128", "hf_rtdetr_r18_640", "hf_segformer_b0_512"),
    *("hf_whisper_tiny_encoder", "keras_efficientnetv2b0", "lstm_bidir_dynamo"),
    *("ort_qdq_mobilenet_v2", "smp_unet_resnet18_256", "timm_convnext_tiny", "timm_deit_tiny"),
    *("timm_efficientnet_b0", "timm_mobilenetv1_100", "timm_swin_tiny", "timm_swin_tiny_script17"),
    *("torch_cond_if", "tv_deeplabv3_mnv3", "tv_densenet121", "tv_mobilenet_v2"),
    *("tv_mobilenet_v2_dynBHW_script17", "tv_mobilenet_v3_large", "tv_resnet50_dynamo"),
    *("tv_resnet50_script17", "tv_ssdlite320_raw"),
)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_found(shared: Path, name: str) -> None:
    network = reference(shared, name)
    for each in ALL:
        if each is not REDUNDANT:
            changed = each.rewrite(network)[1]
            assert (each.name, len(changed)) == (each.name, FOUND[each.name].get(name, 0))


def gated(network: ResolvedNetwork) -> list[Node]:
    """Products of a map with its own Sigmoid, both read nowhere else: counted node by node."""
    sigmoids = {n.outputs[0]: n.inputs[0] for n in network.nodes if n.op == "Sigmoid"}
    return [
        node
        for node in network.nodes
        if node.op == "Mul"
        and len(set(node.inputs)) == 2
        and any(sigmoids.get(a) == b for a, b in (node.inputs, node.inputs[::-1]))
    ]


@pytest.mark.parametrize("name", [n for n in NAMES if n in FOUND["activations"]])
def test_every_activation_is_found(shared: Path, name: str) -> None:
    network = reference(shared, name)
    new, changed = ACTIVATIONS.rewrite(network)
    before, after = operators(network), operators(new)
    if "Erf" in before:
        gelu = operators(reference(shared, "timm_swin_tiny"))["Gelu"]
        assert after["Gelu"] == before["Erf"] == gelu == len(changed)
        assert "Erf" not in after
    else:
        assert changed == tuple(node.name for node in gated(network))
        assert after["Swish"] == len(changed)
        assert before["Sigmoid"] - after.get("Sigmoid", 0) == len(changed)
    assert len(network.nodes) - len(new.nodes) == len(changed) * (4 if "Erf" in before else 1)


@pytest.mark.parametrize("name", ["hf_llama_tiny_decode_kv63", "hf_llama_tiny_gqa_128"])
def test_every_root_mean_square_is_found(shared: Path, name: str) -> None:
    network = reference(shared, name)
    new, changed = LAYER_NORM.rewrite(network)
    before, after = operators(network), operators(new)
    assert before["Pow"] == after["RMSNormalization"] == len(changed)
    assert {"Pow", "Sqrt", "Reciprocal", "ReduceMean"}.isdisjoint(after)
    scales = [node.inputs[1] for node in new.nodes if node.op == "RMSNormalization"]
    assert all(network.constants[scale].shape == (256,) for scale in scales)


def test_both_exports_of_a_network_have_the_same_normalisations(shared: Path) -> None:
    counts = [
        operators(LAYER_NORM.rewrite(reference(shared, name))[0])["LayerNormalization"]
        for name in ("timm_swin_tiny", "timm_swin_tiny_script17")
    ]
    assert counts == [29, 29]


@pytest.mark.parametrize("name", ["timm_swin_tiny", "timm_swin_tiny_script17"])
def test_every_pad_by_nothing_vanishes(shared: Path, name: str) -> None:
    network = reference(shared, name)
    unpadded = [
        node.name
        for node in network.nodes
        if node.op == "Pad" and network.shapes[node.inputs[0]] == network.shapes[node.outputs[0]]
    ]
    changed = REDUNDANT.rewrite(network)[1]
    assert set(unpadded) <= set(changed)
    assert len(unpadded) == 15


@pytest.mark.parametrize("name", NAMES)
def test_what_vanishes_has_the_shape_of_what_it_read(shared: Path, name: str) -> None:
    network = reference(shared, name)
    new, changed = REDUNDANT.rewrite(network)
    gone = [node for node in network.nodes if node.name in changed]
    assert len(network.nodes) - len(new.nodes) == len(gone) == len(changed)
    for node in gone:
        assert network.shapes[node.inputs[0]] == network.shapes[node.outputs[0]]
        assert node.op in ("Pad", "Reshape", "Expand", "Cast", "Identity", "Dropout")


@pytest.mark.parametrize("name", NAMES)
def test_passes_are_done_once_and_leave_a_legal_network(shared: Path, name: str) -> None:
    network = reference(shared, name)
    for each in ALL:
        network = each.rewrite(network)[0]
        assert each.rewrite(network)[1] == ()
    known = {*network.inputs, *network.constants, ""}
    for node in network.nodes:
        assert known.issuperset(node.inputs)
        known.update(node.outputs)
    assert known.issuperset(network.outputs)


@pytest.mark.parametrize(
    "name", ["hf_llama_tiny_decode_kv63", "hf_llama_tiny_gqa_128", "timm_efficientnet_b0"]
)
def test_whole_networks_compute_the_same(shared: Path, name: str) -> None:
    network = reference(shared, name)
    new = network
    for each in ALL:
        new = each.rewrite(new)[0]
    assert len(new.nodes) < len(network.nodes)
    same_values(network, new, 1e-4)
