"""Wav2Letter (Collobert, Puhrsch and Synnaeve, arXiv:1609.03193): frames of sound to letters.

Convolutions over time alone, here over images of one row: (1, features, 1, frames).  The network
is the paper's for MFCC, figure 1 without its first layer, which stands for MFCC where the input
is the wave itself; 39 features, 296 frames and 29 letters are those of Arm's model zoo.
"""

from __future__ import annotations

import onnx

from dataflow_sim.networks.builder import OnnxBuilder, same_pads
from dataflow_sim.networks.row import BuiltIn, Parameter

# (output channels, kernel, stride) of figure 1, from the layer of kernel 48
_LAYERS = (
    (250, 48, 2),
    *((250, 7, 1),) * 7,
    (2000, 32, 1),
    (2000, 1, 1),
)


def wav2letter(name: str, frames: int, features: int, letters: int) -> onnx.ModelProto:
    """Scores of letters, (1, `letters`, 1, half of `frames`)."""
    net = OnnxBuilder(name, (1, features, 1, frames))
    value = "input"
    for place, (channels, kernel, stride) in enumerate(_LAYERS, start=1):
        layer = f"conv{place}"
        pad = same_pads(net.shape(value)[2:], (1, kernel), (1, stride))
        value = net.convolution(
            layer, value, channels, (1, kernel), stride=(1, stride), pad=pad, bias=True
        )
        value = net.activation(f"{layer}.relu", value)
    return net.model(net.convolution("letters", value, letters, 1, bias=True))


NETWORKS = (
    BuiltIn(
        "wav2letter",
        "speech recognition",
        f"{len(_LAYERS) + 1} convolutions over time",
        "arXiv:1609.03193, figure 1; sizes of input and output from Arm's model zoo",
        wav2letter,
        (
            Parameter("frames", 296, 2, 65536, "frames of sound", 2),
            Parameter("features", 39, 1, 1024, "MFCC of a frame"),
            Parameter("letters", 29, 2, 1024, "letters, the blank included"),
        ),
        deviations=(
            "ReLU between layers, as the paper allows; Arm's copy has leaky ones",
            "every layer is padded to keep its frames, divided by its stride: as Arm's copy, "
            "whose result has 148 frames",
        ),
    ),
)
