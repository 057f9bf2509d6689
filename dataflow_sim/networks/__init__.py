"""Built-in networks: a name, optionally with a width (`mobilenet_v1@0.5`), to an ONNX model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import onnx

from dataflow_sim.errors import NetworkError
from dataflow_sim.networks.densenet import densenet
from dataflow_sim.networks.mobilenet import mobilenet_v1, mobilenet_v2
from dataflow_sim.networks.resnet import resnet
from dataflow_sim.networks.vgg import vgg16

_RESOLUTION = 224
_WIDTHS = (0.1, 4.0)


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A built-in network: what it is, and how it is built at (name, width, resolution)."""

    name: str
    description: str
    build: Callable[[str, float, int], onnx.ModelProto]
    has_width: bool = False


BUILT_IN: Mapping[str, BuiltIn] = {
    row.name: row
    for row in (
        BuiltIn("densenet121", "DenseNet-BC, growth 32", lambda n, _, r: densenet(n, r)),
        BuiltIn("mobilenet_v1", "depthwise separable convolutions", mobilenet_v1, True),
        BuiltIn("mobilenet_v2", "inverted residuals", mobilenet_v2, True),
        BuiltIn(
            "resnet50", "bottleneck residuals, stride in the 3x3", lambda n, _, r: resnet(n, r)
        ),
        BuiltIn(
            "vgg16", "configuration D with fully connected layers", lambda n, _, r: vgg16(n, r)
        ),
    )
}


def _width(name: str, row: BuiltIn, text: str) -> float:
    if not row.has_width:
        raise NetworkError(f"'{name}': {row.name} has no width multiplier; write '{row.name}'")
    try:
        width = float(text)
    except ValueError:
        width = float("nan")
    if not _WIDTHS[0] <= width <= _WIDTHS[1]:
        raise NetworkError(
            f"'{name}': the width '{text}' is not a number from {_WIDTHS[0]} to {_WIDTHS[1]}, "
            f"as in '{row.name}@0.5'"
        )
    return width


def build_network(name: str, resolution: int = _RESOLUTION) -> onnx.ModelProto:
    """Build a network by name, with square inputs of `resolution` pixels.

    Raises NetworkError for an unknown name, naming the nearest, or an illegal width.
    """
    base, at, text = name.partition("@")
    row = BUILT_IN.get(base)
    if row is None:
        near = get_close_matches(base, BUILT_IN, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise NetworkError(
            f"unknown network '{name}'; {hint}give an .onnx file or one of {', '.join(BUILT_IN)}"
        )
    return row.build(name, _width(name, row, text) if at else 1.0, resolution)
