"""Faster R-CNN (Ren et al., arXiv:1506.01497) on ResNet-101 (He et al., arXiv:1512.03385, A.)

    image -> stem, stages 1 to 3 -> map at 1/16 -> region proposal network -> objectness, boxes
                                          |
    proposals ------------------------> RoiAlign, 14x14 each -> stage 4 -> mean -> classes, boxes

Which proposals are looked at is an input: they are chosen from the proposal network's boxes by
sorting and by suppression, whose work depends on the image.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.classification.resnet import DEPTHS, stage, stem
from dataflow_sim.networks.row import BuiltIn, Parameter, Published

_DEPTH = DEPTHS["resnet101_v1"]
_SHARED_STAGES = (1, 2, 3)
_SHARED_STRIDE = 16
_PROPOSAL_CHANNELS = 512
_ANCHORS = 12  # four scales of three shapes
_POOLED = 14
_COORDINATES = 4


def _proposals(net: OnnxBuilder, value: str) -> tuple[str, str]:
    """Objectness, two numbers an anchor, and boxes, four: of every place of the map."""
    value = net.convolution("rpn.conv", value, _PROPOSAL_CHANNELS, 3, bias=True)
    value = net.activation("rpn.relu", value)
    scores = net.convolution("rpn.scores", value, 2 * _ANCHORS, 1, bias=True)
    return scores, net.convolution("rpn.boxes", value, _COORDINATES * _ANCHORS, 1, bias=True)


def faster_rcnn(
    name: str, rows: int, columns: int, proposals: int, classes: int
) -> onnx.ModelProto:
    """A Faster R-CNN; `classes` counts the background, which has no boxes.

    Reads the image, the corners of the proposals in pixels, (proposals, 4), and the number of the
    image that each belongs to, (proposals,), which is 0.  Gives objectness and boxes of all
    anchors, (1, 2 x 12 and 4 x 12, rows / 16, columns / 16), then classes and boxes of every
    proposal, (proposals, classes) and (proposals, 4 x (classes - 1)).
    """
    net = OnnxBuilder(name, (1, 3, rows, columns))
    rois = net.input("proposals", (proposals, _COORDINATES))
    images = net.input("images_of_proposals", (proposals,), TensorProto.INT64)
    shared = stem(net, "input")
    for number in _SHARED_STAGES:
        shared = stage(net, number, shared, _DEPTH, stride=1 if number == 1 else 2)
    value = net.node(
        "RoiAlign",
        "pool_proposals",
        [shared, rois, images],
        output_height=_POOLED,
        output_width=_POOLED,
        sampling_ratio=1,
        spatial_scale=1 / _SHARED_STRIDE,
        coordinate_transformation_mode="output_half_pixel",
    )
    value = stage(net, len(_DEPTH.blocks), value, _DEPTH, stride=2)
    value = net.global_average_pool("pool", value)
    return net.model(
        *_proposals(net, shared),
        net.fully_connected("classes", value, classes),
        net.fully_connected("boxes", value, _COORDINATES * (classes - 1)),
    )


NETWORKS = (
    BuiltIn(
        "faster_rcnn_resnet101",
        "detection",
        "shared stages 1 to 3, a proposal network, stage 4 on every proposal",
        "arXiv:1506.01497, section 3; arXiv:1512.03385, appendix A; sizes of the TensorFlow "
        "detection API",
        faster_rcnn,
        (
            Parameter("rows", 600, 32, 4096, "rows of the image"),
            Parameter("columns", 1024, 32, 4096, "columns of the image"),
            Parameter("proposals", 300, 1, 10_000, "proposals that are looked at"),
            Parameter("classes", 91, 2, 10_000, "classes, the background one of them"),
        ),
        deviations=(
            "which proposals are looked at is an input: sorting and suppression, which choose "
            "them and the detections, are left out, as are anchors and softmax",
            "the proposal network has 512 channels and 12 anchors a place, as in the API; the "
            "paper has 9 anchors",
            "a proposal is sampled at 14x14 points and stage 4 strides; the paper takes maxima "
            "of 14x14 bins, the API maxima of 2x2 of the 14x14 points before a stage 4 without "
            "stride",
            "stages 2 and 3 stride in their first 1x1, as in the paper; the API strides the last "
            "3x3 of the stage before",
        ),
        published=(
            Published(
                "a published count of the converted TensorFlow checkpoint", parameters=48_128_000
            ),
        ),
    ),
)
