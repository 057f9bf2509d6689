"""The reference files beside the checkout, as their table describes them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import ReadRequest, read_network

# every row of the table, so that tests can be collected where the files are not
NAMES = (
    *("hf_bert_base_128", "hf_bert_mini_dynseq", "hf_llama_tiny_decode_kv63"),
    *("hf_llama_tiny_gqa_128", "hf_mobilebert_128", "hf_rtdetr_r18_640", "hf_segformer_b0_512"),
    *("hf_whisper_tiny_encoder", "keras_efficientnetv2b0", "lstm_bidir_dynamo"),
    *("ort_qdq_mobilenet_v2", "ort_qlinear_resnet50", "smp_unet_resnet18_256"),
    *("timm_convnext_tiny", "timm_deit_tiny", "timm_efficientnet_b0", "timm_mobilenetv1_100"),
    *("timm_swin_tiny", "timm_swin_tiny_script17", "torch_cond_if", "tv_deeplabv3_mnv3"),
    *("tv_densenet121", "tv_mobilenet_v2", "tv_mobilenet_v2_dynBHW_script17"),
    *("tv_mobilenet_v3_large", "tv_resnet50_dynamo", "tv_resnet50_script17"),
    *("tv_ssdlite320_raw", "tv_ssdlite320_script17"),
)
LIGHT = (
    *("bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet"),
    *("squeezenet", "vgg19", "zfnet512"),
)


@dataclass(frozen=True)
class Reference:
    """A row of the table: the file, what its symbolic dimensions are bound to, its MACs."""

    path: Path
    dims: dict[str, int]
    macs: int


def references(shared: Path) -> dict[str, Reference]:
    """All rows of the table, by name."""
    found = {}
    with (shared / "models" / "expected.csv").open() as table:
        for row in csv.DictReader(table):
            bound = [pair.split("=") for pair in row["symbolic dims bound to"].split(";") if pair]
            dims = {name.strip(): int(extent) for name, extent in bound}
            path = shared / "models" / f"{row['model']}.onnx"
            found[row["model"]] = Reference(path, dims, int(row["macs"]))
    return found


@lru_cache(maxsize=4)
def read(shared: Path, name: str) -> NetworkGraph:
    """A reference file with its dimensions bound."""
    row = references(shared)[name]
    return read_network(row.path, ReadRequest(row.dims))


def at_8_bit(graph: NetworkGraph) -> NetworkGraph:
    """A network at 8 bits, 32 where it accumulates."""
    return assign_precision(graph, Precision(8, 8, 32))
