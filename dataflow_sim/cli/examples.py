"""Examples that `--help` shows below each command's options; a test parses every one of them."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "run": (
        "dataflow-sim run mobilenet_v1 --policy merged --local-memory 256KiB",
        "dataflow-sim run net.onnx --hw my_chip.yaml --fps 30 --out results/net",
        "dataflow-sim run resnet50 --what-if weight_bits=4 --set dram.energy=20pJ/bit --json",
    ),
    "timeline": (
        "dataflow-sim timeline mobilenet_v1 --policy merged --sensitivity",
        "dataflow-sim timeline resnet50 --hw mobile_npu --out times",
    ),
    "curve": (
        "dataflow-sim curve mobilenet_v1",
        "dataflow-sim curve mobilenet_v1 densenet121 --hw bare --plot spills.png",
    ),
    "explain": (
        "dataflow-sim explain vgg16 conv4_2 --hw bare",
        "dataflow-sim explain mobilenet_v2 block6.dw --policy merged",
    ),
    "replay": (
        "dataflow-sim replay mobilenet_v1@0.25-128 --policy merged",
        "dataflow-sim replay net.onnx --layers conv1..conv5 --numbers integers --max-seconds 60",
    ),
    "place": (
        "dataflow-sim place lifetimes.csv --capacity 1MiB --out placed.csv --plot memory.png",
        "dataflow-sim place results/net/buffers.csv",
    ),
    "inspect": (
        "dataflow-sim inspect densenet121",
        "dataflow-sim inspect net.onnx --passes --out facts",
    ),
    "networks": (
        "dataflow-sim networks --task detection",
        "dataflow-sim networks show mobilenet_v1@0.5-160",
    ),
    "operators": ("dataflow-sim operators --json",),
    "hardware": (
        "dataflow-sim hardware",
        "dataflow-sim hardware ethos_u55_256",
    ),
    "dram": ("dataflow-sim dram requests_channel0.trace --preset lpddr4",),
    "whatifs": (
        "dataflow-sim whatifs",
        "dataflow-sim whatifs prune",
    ),
    "scenario": (
        "dataflow-sim scenario new mine.yaml --like spills",
        "dataflow-sim scenario check mine.yaml",
    ),
    "sweep": (
        "dataflow-sim sweep spills",
        "dataflow-sim sweep mine.yaml --out study --resume",
    ),
    "study": (
        "dataflow-sim study pareto study --least dram_bytes --least local_memory_bytes",
        "dataflow-sim study sensitivity study --of dram_bytes",
    ),
    "compare": (
        "dataflow-sim compare results/before results/after",
        "dataflow-sim compare results/before results/after --markdown",
    ),
    "report": (
        "dataflow-sim report results/net -o review.html --plots pictures",
        "dataflow-sim report results/before results/after -o side_by_side.html",
        "dataflow-sim report study -o sliders.html",
    ),
    "claims": (
        "dataflow-sim claims",
        "dataflow-sim claims arm-01-mcu --out claims",
    ),
    "gallery": (
        "dataflow-sim gallery spills",
        "dataflow-sim gallery --out gallery",
    ),
    "completion": ('eval "$(dataflow-sim completion bash)"',),
}


def epilog(name: str) -> str:
    """The examples of a command, a line each, as click prints them."""
    return "\n".join(("\b", "Examples:", *(f"  {each}" for each in EXAMPLES[name])))
