"""FSRCNN (Dong, Loy and Tang, arXiv:1608.00367): super-resolution, section 3.2.

All but the last layer work at the size of the small image: 5x5 to `d` channels, 1x1 down to `s`,
`m` times 3x3, 1x1 up to `d`; a 9x9 transposed convolution with stride `scale` makes the large
image.
"""

from __future__ import annotations

from functools import partial

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.networks.row import BuiltIn, Parameter, Published, resolution

# (d, s, m) of the paper's two networks, and its counts of their kernels
_SIZES = {"fsrcnn": (56, 12, 4), "fsrcnn_s": (32, 5, 1)}
_PUBLISHED = {"fsrcnn": 12_464, "fsrcnn_s": 3_937}
_LAST_KERNEL = 9


def fsrcnn(
    name: str, resolution: int, scale: int, wide: int, narrow: int, mappings: int
) -> onnx.ModelProto:
    """FSRCNN for one channel, the luminance; `resolution` is that of the small image."""
    net = OnnxBuilder(name, (1, 1, resolution, resolution))
    layers = [
        ("extract", wide, 5),
        ("shrink", narrow, 1),
        *((f"map{place}", narrow, 3) for place in range(1, mappings + 1)),
        ("expand", wide, 1),
    ]
    value = "input"
    for layer, channels, kernel in layers:
        value = net.convolution(layer, value, channels, kernel, bias=True)
        value = net.activation(f"{layer}.prelu", value, "PRelu")
    value = net.transposed_convolution(
        "enlarge",
        value,
        1,
        _LAST_KERNEL,
        stride=scale,
        pad=_LAST_KERNEL // 2,
        output_pad=scale - 1,
    )
    return net.model(value)


def _row(name: str, wide: int, narrow: int, mappings: int) -> BuiltIn:
    per_channel = 2 * wide + (mappings + 1) * narrow
    return BuiltIn(
        name,
        "super-resolution",
        f"{mappings + 3} convolutions on the small image, a transposed one to the large",
        "arXiv:1608.00367, section 3.2",
        partial(fsrcnn, wide=wide, narrow=narrow, mappings=mappings),
        (
            resolution(256, least=8),
            Parameter("scale", 3, 2, 4, "rows of the large image for one of the small"),
        ),
        published=(
            Published(
                "arXiv:1608.00367, the count of its section 3.2",
                _PUBLISHED[name],
                because=f"the source counts kernels alone: not {per_channel + 1} biases and "
                f"{per_channel} slopes",
            ),
        ),
    )


NETWORKS = tuple(_row(name, *sizes) for name, sizes in _SIZES.items())
