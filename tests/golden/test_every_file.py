"""With 64 MiB of local memory merging moves the compulsory bytes, whatever the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import read_network
from dataflow_sim.networks import BUILT_IN
from dataflow_sim.schedule.bounds import compulsory_bytes
from dataflow_sim.schedule.search import budget_curve
from dataflow_sim.schedule.types import MemoryOptions
from tests.support.curves import policies_are_ordered
from tests.support.runs import built_in

LARGE = 64 << 20
QUICK = (
    "lstm_bidir_dynamo",
    "torch_cond_if",
    "timm_mobilenetv1_100",
    "smp_unet_resnet18_256",
    "hf_llama_tiny_decode_kv63",
)
SLOW = (
    "hf_bert_base_128",
    "hf_llama_tiny_gqa_128",
    "hf_mobilebert_128",
    "hf_rtdetr_r18_640",
    "hf_segformer_b0_512",
    "hf_whisper_tiny_encoder",
    "keras_efficientnetv2b0",
    "ort_qdq_mobilenet_v2",
    "timm_convnext_tiny",
    "timm_deit_tiny",
    "timm_efficientnet_b0",
    "timm_swin_tiny",
    "timm_swin_tiny_script17",
    "tv_deeplabv3_mnv3",
    "tv_densenet121",
    "tv_mobilenet_v2",
    "tv_mobilenet_v3_large",
    "tv_resnet50_dynamo",
    "tv_resnet50_script17",
    "tv_ssdlite320_raw",
)
LIGHT_QUICK = ("bvlc_alexnet", "squeezenet", "zfnet512")
LIGHT_SLOW = ("densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "vgg19")


def reaches_the_floor(graph: NetworkGraph) -> None:
    points = budget_curve(graph, MemoryOptions(0, False, 32), "merged").points
    assert points[-1].dram_bytes == compulsory_bytes(graph)
    assert points[-1].local_bytes <= LARGE


def at_8_bit(path: Path) -> NetworkGraph:
    return assign_precision(read_network(path), Precision(8, 8, 32))


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_exported_networks(name: str, shared: Path) -> None:
    reaches_the_floor(at_8_bit(shared / "models" / f"{name}.onnx"))


@pytest.mark.parametrize(
    "name", [*LIGHT_QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LIGHT_SLOW)]
)
def test_light_networks(name: str, light_models: Path) -> None:
    graph = at_8_bit(light_models / f"light_{name}.onnx")
    reaches_the_floor(graph)
    if name in LIGHT_QUICK:
        policies_are_ordered(graph)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_built_in_networks(name: str) -> None:
    reaches_the_floor(built_in(name, biases=True))
