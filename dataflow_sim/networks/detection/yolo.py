"""YOLOv2 (Redmon and Farhadi, arXiv:1612.08242) and YOLOv3 (arXiv:1804.02767).

YOLOv2 predicts on one map at 1/32 of the image, beside which a finer map is folded into channels.
YOLOv3 predicts on maps at 1/32, 1/16 and 1/8, the finer ones joined to the coarser ones enlarged.
"""

from __future__ import annotations

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Parameter, Published, resolution

_SLOPE = 0.1  # of the leaky rectifier, below zero
_BOX = 5  # coordinates of a box, and whether there is an object

# (channels, kernel) of the convolutions between poolings: Darknet-19, arXiv:1612.08242, table 6
_DARKNET19 = (
    ((32, 3),),
    ((64, 3),),
    ((128, 3), (64, 1), (128, 3)),
    ((256, 3), (128, 1), (256, 3)),
    ((512, 3), (256, 1), (512, 3), (256, 1), (512, 3)),
    ((1024, 3), (512, 1), (1024, 3), (512, 1), (1024, 3)),
)
_V2_ANCHORS = 5
_V2_FINE_STAGE = 5  # counted from 1: the last at 1/16
_V2_FINE_CHANNELS = 64
_V2_CHANNELS = 1024

# (channels, residual blocks) of the stages: Darknet-53, arXiv:1804.02767, table 1
_DARKNET53 = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))
_V3_FIRST_CHANNELS = 32
_V3_ANCHORS = 3  # at each of the three scales
_V3_SCALES = 3


def _unit(
    net: OnnxBuilder, name: str, value: str, channels: int, kernel: int, stride: int = 1
) -> str:
    """A convolution, batch normalisation and the leaky rectifier."""
    value = net.unit(name, value, channels, kernel, stride=stride, activation=None)
    return net.node("LeakyRelu", f"{name}.act", [value], alpha=_SLOPE)


def yolov2(name: str, resolution: int, classes: int) -> onnx.ModelProto:
    """YOLOv2; gives one map (1, 5 x (5 + classes), resolution / 32, resolution / 32)."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = fine = "input"
    for stage, layers in enumerate(_DARKNET19, start=1):
        if stage > 1:
            value = net.pool("MaxPool", f"pool{stage - 1}", value, 2, 2)
        for layer, (channels, kernel) in enumerate(layers, start=1):
            value = _unit(net, f"conv{stage}_{layer}", value, channels, kernel)
        if stage == _V2_FINE_STAGE:
            fine = value
    for layer in (1, 2):
        value = _unit(net, f"head.conv{layer}", value, _V2_CHANNELS, 3)
    fine = _unit(net, "passthrough.conv", fine, _V2_FINE_CHANNELS, 1)
    fine = net.node("SpaceToDepth", "passthrough.fold", [fine], blocksize=2)
    value = net.concat("passthrough.concat", [fine, value])
    value = _unit(net, "head.conv3", value, _V2_CHANNELS, 3)
    outputs = _V2_ANCHORS * (_BOX + classes)
    return net.model(net.convolution("head.predict", value, outputs, 1, bias=True))


def _darknet53(net: OnnxBuilder, value: str) -> list[str]:
    """The result of every stage."""
    value = _unit(net, "conv0", value, _V3_FIRST_CHANNELS, 3)
    results = []
    for stage, (channels, blocks) in enumerate(_DARKNET53, start=1):
        value = _unit(net, f"stage{stage}.down", value, channels, 3, stride=2)
        for block in range(1, blocks + 1):
            place = f"stage{stage}.block{block}"
            inner = _unit(net, f"{place}.conv1", value, channels // 2, 1)
            inner = _unit(net, f"{place}.conv2", inner, channels, 3)
            value = net.add(f"{place}.add", inner, value)
        results.append(value)
    return results


def _enlarged(net: OnnxBuilder, name: str, value: str) -> str:
    rows, columns = net.shape(value)[2:]
    return net.resize(name, value, (2 * rows, 2 * columns), "nearest", "asymmetric")


def yolov3(name: str, resolution: int, classes: int) -> onnx.ModelProto:
    """YOLOv3; gives a map (1, 3 x (5 + classes), rows, columns) at 1/32, at 1/16 and at 1/8."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    stages = _darknet53(net, "input")
    outputs, value = [], ""
    for scale in range(1, _V3_SCALES + 1):
        stage = stages[-scale]
        half = net.channels(stage) // 2
        if scale == 1:
            value = stage
        else:
            value = _unit(net, f"scale{scale}.reduce", value, half, 1)
            value = _enlarged(net, f"scale{scale}.enlarge", value)
            value = net.concat(f"scale{scale}.concat", [value, stage])
        for layer in range(1, 6):
            channels, kernel = (half, 1) if layer % 2 else (2 * half, 3)
            value = _unit(net, f"scale{scale}.conv{layer}", value, channels, kernel)
        last = _unit(net, f"scale{scale}.conv6", value, 2 * half, 3)
        boxes = _V3_ANCHORS * (_BOX + classes)
        outputs.append(net.convolution(f"scale{scale}.predict", last, boxes, 1, bias=True))
    return net.model(*outputs)


_COUNTED = "a published count of the framework's graph"
_NUMBERS = Parameter("classes", 80, 1, 10_000, "classes of objects")
_RAW = "the results are the maps of the last convolutions: anchors and selection are left out"

NETWORKS = (
    BuiltIn(
        "yolov2",
        "detection",
        "Darknet-19, one map of 5 boxes a place, a finer map folded in",
        "arXiv:1612.08242, table 6 and section 2; the authors' configuration for COCO",
        yolov2,
        (resolution(608, multiple_of=32), _NUMBERS),
        deviations=(
            _RAW,
            "the finer map passes a 1x1 to 64 channels, as in the authors' configuration, which "
            "the paper does not tell",
            "its folded channels stand in the order of SpaceToDepth",
        ),
        published=(Published(_COUNTED, 50_700_000, 31_470_000_000),),
    ),
    BuiltIn(
        "yolov3",
        "detection",
        "Darknet-53, three maps of 3 boxes a place",
        "arXiv:1804.02767, table 1 and section 2.3; the authors' configuration for COCO",
        yolov3,
        (resolution(416, multiple_of=32), _NUMBERS),
        deviations=(_RAW,),
        published=(Published(_COUNTED, 61_900_000, 32_930_000_000),),
    ),
)
