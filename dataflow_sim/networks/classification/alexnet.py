"""AlexNet with two groups (Krizhevsky et al., NIPS 2012), its one-column variant (Krizhevsky,
arXiv:1404.5997) and the network of Zeiler and Fergus (arXiv:1311.2901): five convolutions and three
fully connected layers.

The first fully connected layer reads the whole plane, so its weights grow with the resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Parameter, Published, resolution


@dataclass(frozen=True, slots=True)
class Stage:
    """A convolution with bias and ReLU, and what follows it: normalisation across maps, a
    max-pooling of stride 2 and of this kernel, whose size is rounded down or up.

    A `split` convolution has the groups of the network, any other has one.
    """

    channels: int
    kernel: int
    stride: int = 1
    pad: int | None = None
    split: bool = False
    norm: bool = False
    pool: int = 0
    ceil: bool = False


@dataclass(frozen=True, slots=True)
class Design:
    """The stages, the two inner fully connected layers, and whether pooling precedes
    normalisation; `alpha` and `bias` of the normalisation are as ONNX defines them."""

    stages: tuple[Stage, ...]
    connected: tuple[int, int] = (4096, 4096)
    pool_first: bool = False
    alpha: float = 1e-4
    bias: float = 1.0


ONE_COLUMN = Design(
    (
        Stage(64, 11, stride=4, pad=2, pool=3),
        Stage(192, 5, pool=3),
        Stage(384, 3),
        Stage(256, 3),
        Stage(256, 3, pool=3),
    )
)
TWO_GROUPS = Design(
    (
        Stage(96, 11, stride=4, pad=0, norm=True, pool=3),
        Stage(256, 5, split=True, norm=True, pool=3),
        Stage(384, 3),
        Stage(384, 3, split=True),
        Stage(256, 3, split=True, pool=3, ceil=True),
    )
)
# figure 3 of the paper; its planes of 110, 55, 26, 13 and 6 ask for this padding and rounding
ZFNET = Design(
    (
        Stage(96, 7, stride=2, pad=1, norm=True, pool=3, ceil=True),
        Stage(256, 5, stride=2, pad=0, norm=True, pool=3, ceil=True),
        Stage(384, 3),
        Stage(384, 3),
        Stage(256, 3, pool=3, ceil=True),
    ),
    pool_first=True,
    alpha=5e-4,
    bias=2.0,
)


def alexnet(name: str, resolution: int, design: Design, groups: int = 1) -> onnx.ModelProto:
    """A network of this design with its classifier of 1000 classes."""
    net = OnnxBuilder(name, (1, 3, resolution, resolution))
    value = "input"
    for number, stage in enumerate(design.stages, start=1):
        value = _stage(net, number, value, stage, design, groups)
    for number, outputs in enumerate(design.connected, start=len(design.stages) + 1):
        layer = f"fc{number}"
        value = net.activation(f"{layer}.relu", net.fully_connected(layer, value, outputs))
    return net.model(net.fully_connected("fc8", value, 1000))


def _stage(
    net: OnnxBuilder, number: int, value: str, stage: Stage, design: Design, groups: int
) -> str:
    layer = f"conv{number}"
    value = net.convolution(
        layer,
        value,
        stage.channels,
        stage.kernel,
        stride=stage.stride,
        pad=stage.pad,
        groups=groups if stage.split else 1,
        bias=True,
    )
    value = net.activation(f"{layer}.relu", value)
    normalised = partial(
        net.local_response_norm, f"norm{number}", alpha=design.alpha, bias=design.bias
    )
    if stage.norm and not design.pool_first:
        value = normalised(value)
    if stage.pool:
        value = net.pool("MaxPool", f"pool{number}", value, stage.pool, 2, ceil=stage.ceil)
    if stage.norm and design.pool_first:
        value = normalised(value)
    return value


_COUNTED = "a published count of the framework's graph, half of all operations"

NETWORKS = (
    BuiltIn(
        "alexnet",
        "classification",
        "5 convolutions, 3 fully connected layers, one column",
        "arXiv:1404.5997",
        partial(alexnet, design=ONE_COLUMN),
        (resolution(least=63),),
        deviations=("without normalisation across maps, as in the framework's graph",),
        published=(Published(_COUNTED, 61_100_840, 714_830_000),),
    ),
    BuiltIn(
        "alexnet_caffe",
        "classification",
        "5 convolutions, 3 of them in two groups, 3 fully connected layers",
        "Krizhevsky, Sutskever and Hinton, NIPS 2012, figure 2",
        partial(alexnet, design=TWO_GROUPS),
        (
            resolution(227, least=67),
            Parameter(
                "groups", 2, 1, 2, "groups of the 2nd, 4th and 5th convolution", choices=(1, 2)
            ),
        ),
        deviations=(
            "227 rows and columns, as the planes of 55 ask for; the paper says 224",
            "the constants of the normalisation are those of the framework's graph",
            "the last pooling rounds up, as in the exported graph of 224 rows; at 227 none rounds",
        ),
        published=(
            Published("a published count of the framework's graph", 60_965_224, 727_000_000),
            Published(
                "arXiv:1704.04861, table 9",
                60_000_000,
                720_000_000,
                because="the source cuts 60,965,224 to 60 million",
            ),
        ),
    ),
    BuiltIn(
        "zfnet",
        "classification",
        "AlexNet without groups, its first convolution 7x7 with stride 2",
        "arXiv:1311.2901, figure 3",
        partial(alexnet, design=ZFNET),
        (resolution(least=63),),
        deviations=("contrast normalisation is that of AlexNet, behind the pooling",),
        published=(Published(_COUNTED, 62_357_608, 1_170_330_000),),
    ),
)
