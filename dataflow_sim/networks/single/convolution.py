"""One convolution, and the depthwise and 1x1 pair that stands for one: layers by their sizes.

Padded so that stride 1 keeps the plane, without bias: nothing but what the sizes say.
"""

from __future__ import annotations

import onnx

from dataflow_sim.errors import NetworkError
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Parameter

_MOST = 1 << 16
_SOURCE = "the operator's definition, ONNX Conv"


def convolution(
    name: str, inputs: int, outputs: int, kernel: int, resolution: int, stride: int, groups: int
) -> onnx.ModelProto:
    """A convolution of square kernel on a square plane."""
    if inputs % groups or outputs % groups:
        raise NetworkError(
            f"network '{name}': groups {groups} divide neither or only one of inputs {inputs} and "
            f"outputs {outputs}; give a number that divides both"
        )
    net = OnnxBuilder(name, (1, inputs, resolution, resolution))
    value = net.convolution("conv", "input", outputs, kernel, stride=stride, groups=groups)
    return net.model(value)


def separable(
    name: str, inputs: int, outputs: int, kernel: int, resolution: int
) -> onnx.ModelProto:
    """A depthwise convolution and a 1x1 one behind it, nothing between."""
    net = OnnxBuilder(name, (1, inputs, resolution, resolution))
    value = net.convolution("conv.dw", "input", inputs, kernel, groups=inputs)
    return net.model(net.convolution("conv.pw", value, outputs, 1))


_SIZES = (
    Parameter("inputs", 64, 1, _MOST, "channels of the input"),
    Parameter("outputs", 64, 1, _MOST, "channels of the output"),
    Parameter("kernel", 3, 1, 63, "rows and columns of the kernel"),
    Parameter("resolution", 56, 1, 4096, "rows and columns of the input"),
)

NETWORKS = (
    BuiltIn(
        "convolution",
        "single layers",
        "one convolution, padded to keep the plane",
        _SOURCE,
        convolution,
        (
            *_SIZES,
            Parameter("stride", 1, 1, 63, "step of the kernel"),
            Parameter("groups", 1, 1, _MOST, "groups of channels"),
        ),
    ),
    BuiltIn(
        "separable",
        "single layers",
        "a depthwise convolution and a 1x1 one",
        _SOURCE,
        separable,
        _SIZES,
    ),
)
