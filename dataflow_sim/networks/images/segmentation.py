"""Classification networks turned to segmentation: FCN, DeepLabv3 and the mobile DeepLabv3.

FCN (Long, Shelhamer and Darrell, arXiv:1411.4038) scores every place of the last map; DeepLabv3
(Chen et al., arXiv:1706.05587) looks there with convolutions of several dilations at once.  Both
spread the taps of the last stages instead of striding, so that the map stays large, and enlarge
the scores to the size of the image.  All have 21 classes by default, those of PASCAL VOC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.classification import mobilenet, mobilenet_v3, resnet
from dataflow_sim.networks.row import BuiltIn, Parameter, Published, resolution

_PYRAMID = 256  # channels of every branch
# stages 3 and 4 of a ResNet without stride: (dilation of the first block, of the others)
_DILATIONS = {3: (1, 2), 4: (2, 4)}
# (output channels, repeats) of MobileNetV2's last blocks, the first of them without its stride
_V2_LAST = ((160, 3), (320, 1))
_V2_KEPT = 14  # results of MobileNetV2 up to output stride 16: a convolution and 13 blocks

Features = Callable[[OnnxBuilder, str], str]


def resnet_features(net: OnnxBuilder, value: str, depth: resnet.Depth) -> str:
    """A ResNet's last map at output stride 8.

    A stage that has lost its stride begins with the dilation that it would have read at.
    """
    value = resnet.stem(net, value)
    value = resnet.stage(net, 1, value, depth)
    value = resnet.stage(net, 2, value, depth, stride=2)
    for number, (first, others) in _DILATIONS.items():
        for place in range(depth.blocks[number - 1]):
            value = resnet.block(
                net,
                f"stage{number}.block{place + 1}",
                value,
                64 << (number - 1),
                depth,
                dilation=first if place == 0 else others,
            )
    return value


def mobilenet_v3_features(net: OnnxBuilder, value: str) -> str:
    """MobileNetV3-Large's last map at output stride 16."""
    *_, (_, value) = mobilenet_v3.features(net, value, mobilenet_v3.LARGE, dilation=2)
    return value


def mobilenet_v2_features(net: OnnxBuilder, value: str) -> str:
    """MobileNetV2's last map at output stride 16, the last 1x1 convolution left out."""
    *_, (_, value) = islice(mobilenet.v2_features(net, value, 1.0), _V2_KEPT)
    blocks = [channels for channels, repeats in _V2_LAST for _ in range(repeats)]
    for place, channels in enumerate(blocks):
        block, entry, inner = f"block{_V2_KEPT + place}", value, 6 * net.channels(value)
        value = net.unit(f"{block}.expand", entry, inner, 1, activation="Relu6")
        value = net.unit(
            f"{block}.dw",
            value,
            inner,
            3,
            groups=inner,
            dilation=1 if place == 0 else 2,
            activation="Relu6",
        )
        value = net.unit(f"{block}.project", value, channels, 1, activation=None)
        if channels == net.channels(entry):
            value = net.add(f"{block}.add", value, entry)
    return value


def _pyramid(net: OnnxBuilder, value: str, rates: Sequence[int]) -> str:
    """A 1x1, a 3x3 of each dilation and the mean over the plane, joined by a 1x1."""
    rows, columns = net.shape(value)[2:]
    branches = [net.unit("aspp.point", value, _PYRAMID, 1)]
    for rate in rates:
        branches.append(net.unit(f"aspp.rate{rate}", value, _PYRAMID, 3, dilation=rate))
    pooled = net.global_average_pool("aspp.pool", value)
    pooled = net.unit("aspp.image", pooled, _PYRAMID, 1)
    branches.append(net.resize("aspp.image.resize", pooled, (rows, columns)))
    return net.unit("aspp.project", net.concat("aspp.concat", branches), _PYRAMID, 1)


def _enlarged(net: OnnxBuilder, value: str, classes: int) -> onnx.ModelProto:
    """Scores of the classes for every pixel of the image."""
    _, _, rows, columns = net.shape("input")
    scores = net.convolution("classes", value, classes, 1, bias=True)
    return net.model(net.resize("enlarged", scores, (rows, columns)))


def fcn(name: str, resolution: int, classes: int, features: Features) -> onnx.ModelProto:
    """FCN: a 3x3 convolution to a quarter of the channels, then the scores."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = features(net, "input")
    return _enlarged(net, net.unit("head", value, net.channels(value) // 4, 3), classes)


def deeplabv3(
    name: str, resolution: int, classes: int, dilation: int, features: Features
) -> onnx.ModelProto:
    """DeepLabv3: a pyramid of convolutions of one, two and three times `dilation`, and a 3x3."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    rates = [times * dilation for times in (1, 2, 3)]
    value = _pyramid(net, features(net, "input"), rates)
    return _enlarged(net, net.unit("head", value, _PYRAMID, 3), classes)


def mobile_deeplabv3(name: str, resolution: int, classes: int) -> onnx.ModelProto:
    """MobileNetV2 and a pyramid without its dilated convolutions."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    return _enlarged(net, _pyramid(net, mobilenet_v2_features(net, "input"), ()), classes)


_NUMBERS = (
    resolution(513),
    Parameter("classes", 21, 1, 1000, "classes of pixels, the background included"),
)
_DILATION = Parameter("dilation", 12, 1, 64, "least dilation of the pyramid, of three")
_NO_SIDE = "the side classifier, which serves training alone, is left out"
_ON_RESNET = (
    "on a ResNet with dilated stages, as in later code; the paper's is VGG-16 with shortcuts"
)
_LATER_HEAD = "a 3x3 convolution behind the pyramid and no multi-grid, as in later code"
_COUNTED = "a published count of the framework's graph"
_SIDE = (
    "the source counts the side classifier, which serves training alone: 2,365,205 parameters "
    "and 9,990,739,200 MACs"
)
_FCN = "arXiv:1411.4038, section 4"
_DEEPLABV3 = "arXiv:1706.05587, sections 3.2 and 3.3"
# parameters and MACs at 520 pixels
_WITH_SIDE = {
    "fcn_resnet50": (35_322_218, 152_717_000_000),
    "fcn_resnet101": (54_314_346, 232_738_000_000),
    "deeplabv3_resnet50": (42_004_074, 178_722_000_000),
    "deeplabv3_resnet101": (60_996_202, 258_743_000_000),
}


def _on_resnet(name: str) -> BuiltIn:
    method, _, backbone = name.partition("_")
    features = partial(resnet_features, depth=resnet.DEPTHS[backbone])
    pyramid = method == "deeplabv3"
    what = "a pyramid of dilated convolutions" if pyramid else "scores of every place"
    return BuiltIn(
        name,
        "segmentation",
        f"{what} on {backbone}, output stride 8",
        _DEEPLABV3 if pyramid else _FCN,
        partial(deeplabv3 if pyramid else fcn, features=features),
        (*_NUMBERS, _DILATION) if pyramid else _NUMBERS,
        (_LATER_HEAD if pyramid else _ON_RESNET, _NO_SIDE),
        (Published(_COUNTED, *_WITH_SIDE[name], at="520", because=_SIDE),),
    )


NETWORKS = (
    *map(_on_resnet, _WITH_SIDE),
    BuiltIn(
        "deeplabv3_mobilenet_v3_large",
        "segmentation",
        "a pyramid of dilated convolutions on mobilenet_v3_large, output stride 16",
        f"{_DEEPLABV3}; arXiv:1905.02244, table 1",
        partial(deeplabv3, features=mobilenet_v3_features),
        (*_NUMBERS, _DILATION),
        (
            _LATER_HEAD,
            "dilations from 12 at output stride 16, as in later code; the paper's are from 6 there",
            _NO_SIDE,
        ),
        (Published(_COUNTED, 11_029_328, 10_452_000_000, at="520"),),
    ),
    BuiltIn(
        "deeplabv3_mobilenet_v2",
        "segmentation",
        "a pyramid of points and image means on mobilenet_v2, output stride 16",
        "arXiv:1801.04381, section 6.3",
        mobile_deeplabv3,
        _NUMBERS,
        ("convolutions with a stride pad both sides alike; the authors' code pads the far side",),
        (Published("arXiv:1801.04381, table 7", 2_110_000, 2_750_000_000),),
    ),
)
