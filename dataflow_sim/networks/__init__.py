"""Built-in networks: a name, with numbers if wanted (`mobilenet_v1@0.5-160`), to an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import onnx

from dataflow_sim.networks.audio import ds_cnn, wav2letter
from dataflow_sim.networks.classification import (
    alexnet,
    densenet,
    efficientnet,
    googlenet,
    inception,
    inception_resnet,
    mobilenet,
    mobilenet_v3,
    nasnet,
    resnet,
    shufflenet,
    squeezenet,
    vgg,
    vit,
)
from dataflow_sim.networks.detection import faster_rcnn, ssd, yolo, yolov8
from dataflow_sim.networks.images import fsrcnn, segmentation, style_transfer, unet
from dataflow_sim.networks.language import bert, gpt2, llama, mobilebert
from dataflow_sim.networks.names import find, read_numbers, split_name
from dataflow_sim.networks.row import BuiltIn, Number, Parameter, Published
from dataflow_sim.networks.single import convolution
from dataflow_sim.networks.writer import input_shapes, output_shapes

__all__ = [
    "BUILT_IN",
    "BuiltIn",
    "Parameter",
    "Published",
    "build_network",
    "find_network",
    "input_shapes",
    "is_built_in",
    "numbers_of",
    "output_shapes",
]

# in the order of the catalogue
_FAMILIES = (
    *(alexnet, vgg, googlenet, inception, inception_resnet, resnet, densenet, squeezenet),
    *(mobilenet, mobilenet_v3, shufflenet, nasnet, efficientnet, vit),
    *(ssd, yolo, yolov8, faster_rcnn),
    *(segmentation, unet, style_transfer, fsrcnn, ds_cnn, wav2letter),
    *(bert, mobilebert, gpt2, llama),
    convolution,
)

BUILT_IN: Mapping[str, BuiltIn] = {
    row.name: row for row in chain.from_iterable(family.NETWORKS for family in _FAMILIES)
}


def is_built_in(name: str) -> bool:
    """Whether a name, with numbers or without, is that of a built-in network."""
    return split_name(name)[0] in BUILT_IN


def find_network(name: str) -> BuiltIn:
    """The row of a built-in network.  Raises NetworkError, naming the nearest."""
    return find(name, BUILT_IN)


def numbers_of(name: str) -> dict[str, Number]:
    """The numbers that a name sets.  Raises NetworkError for illegal ones."""
    return read_numbers(name, find_network(name))


def build_network(name: str) -> onnx.ModelProto:
    """Build a network by name.

    Raises NetworkError for an unknown name, naming the nearest, and for illegal numbers.
    """
    return find_network(name).model(name, numbers_of(name))
