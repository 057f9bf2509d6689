"""What the array does for a layer: at which rate, and how many multiplications really.

    rate    MACs a cycle of the operands' widths x lanes that work x utilisation of the kind

A convolution of C input channels a group, M output channels a group and P pixels on an array of
u_c x u_m x u_p lanes fills

    C / (u_c ceil(C / u_c)) x M / (u_m ceil(M / u_m)) x P / (u_p ceil(P / u_p))

of them: the last pass over each axis takes what is left.  These are the extents of a step where a
program is timed step by step, of the whole layer in the closed form.

    16 channels on 16 lanes   ████████████████                     16/16
    17 channels on 16 lanes   ████████████████ █···············    17/32

A row-stationary array of u_r x u_e lanes holds sets of R kernel rows by E output rows, for as many
pairs of channels as go side by side along both axes, and are there; a set that is larger is cut:

    R floor(u_r / R) / u_r,   or R / (u_r ceil(R / u_r)) where R > u_r,   and E on u_e likewise

(Chen et al., JSSC 2017.)

A depthwise layer has one channel a group, so that it works one lane of u_c x u_m, unless the array
takes `depthwise_channels` of its groups side by side.

Winograd F(m x m, 3 x 3) makes ceil(H / m) ceil(W / m) tiles of (m + 2)^2 multiplications in place
of 9 H W, for each pair of channels; its additions are not counted.  It applies to dense 3 x 3
layers of stride and dilation 1.  (Lavin and Gray, arXiv:1509.09308.)

Zero skipping leaves out the multiplications of zero weights, of zero activations, or both; where
both are told, they are taken to be independent.  Layers made by Winograd's convolution skip none.
Assumed: lanes never wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod
from typing import NamedTuple

from dataflow_sim.graph.layer import Layer, LayerKind, TensorKind, View
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import HardwareFile
from dataflow_sim.hardware.compute import ArrayConfig

_EXACT = 10**9  # denominators of parts that a file states in decimals


@dataclass(frozen=True, slots=True)
class LayerCompute:
    """Of a layer: MACs a cycle, those at full use, the part of the lanes that work, of the MACs the
    part executed, and the energy of one."""

    macs_per_cycle: Fraction
    peak: Fraction
    utilisation: float
    executed: Fraction
    mac_pj: float

    def macs_executed(self, macs: int) -> int:
        """Of so many MACs those that are multiplied."""
        return ceil(macs * self.executed)

    def cycles(self, macs_executed: int) -> int:
        """Cycles of so many multiplications."""
        return ceil(macs_executed / self.macs_per_cycle)


class Extents(NamedTuple):
    """What the array makes of a convolution, all of it or in a step: groups, channels in and out of
    a group, rows of the body, and pixels of all its images, rows and columns."""

    groups: int
    input_channels: int
    output_channels: int
    rows: int
    pixels: int


def extents_of(layer: Layer) -> Extents:
    """Those of a whole layer."""
    n, _, rows, columns = layer.body_shape
    channels = (layer.input_channels_per_group, layer.output_channels_per_group)
    return Extents(layer.groups, *channels, rows, n * rows * columns)


def _filled(extent: int, lanes: int) -> Fraction:
    """The part of the lanes along an axis that work."""
    return Fraction(extent, lanes * -(-extent // lanes))


def _sets_filled(array: ArrayConfig, kernel_rows: int, rows: int, channels: int) -> Fraction:
    """Likewise of the lanes for rows of kernels and of the output, of so many pairs of channels."""
    sets, found = 1, Fraction(1)
    for extent, lanes in ((kernel_rows, array.kernel_rows), (rows, array.output_rows)):
        if extent > lanes:
            found *= _filled(extent, lanes)
        else:
            found *= Fraction(extent, lanes)
            sets *= lanes // extent
    return found * min(sets, channels)


def kind_of(layer: Layer) -> str:
    """What a layer is to the array: a key of `compute.utilisation`."""
    if layer.kind is not LayerKind.CONVOLUTION:
        return "streamed"
    if layer.groups > 1 and layer.input_channels_per_group == 1:
        return "depthwise"
    whole = layer.body_shape[2:] == (1, 1) and layer.window.kernel == layer.source_shape[2:]
    return "fully_connected" if whole else "convolution"


def lanes_in_use(hardware: HardwareFile, layer: Layer, extents: Extents | None = None) -> Fraction:
    """The part of the array's lanes that work on a layer, or on a step of these extents."""
    array = hardware.compute.array
    if array is None or layer.kind is not LayerKind.CONVOLUTION:
        return Fraction(1)
    groups, inputs, outputs, rows, pixels = extents_of(layer) if extents is None else extents
    own = pixels // rows if array.output_rows > 1 else pixels
    plane = _filled(own, array.pixels)
    if max(array.kernel_rows, array.output_rows) > 1:
        plane *= _sets_filled(array, layer.window.kernel[0], rows, groups * inputs * outputs)
    lanes = array.input_channels * array.output_channels
    if kind_of(layer) == "depthwise" and array.depthwise_channels is not None:
        side_by_side = array.depthwise_channels
        return _filled(groups * outputs, side_by_side) * side_by_side / lanes * plane
    channels = _filled(inputs, array.input_channels) * _filled(outputs, array.output_channels)
    return channels * plane


def by_winograd(layer: Layer) -> bool:
    """Whether Winograd's convolution applies."""
    window = layer.window
    plain = not window.transposed and window.plane is None and window.up == (1, 1)
    slides = window.kernel == (3, 3) and window.stride == window.dilation == (1, 1)
    return layer.kind is LayerKind.CONVOLUTION and layer.groups == 1 and plain and slides


def winograd_part(layer: Layer, tile: int) -> Fraction:
    """Multiplications of F(tile x tile, 3 x 3) over those of a plain convolution."""
    _, _, rows, columns = layer.body_shape
    tiles = -(-rows // tile) * -(-columns // tile)
    return Fraction(tiles * (tile + 2) ** 2, 9 * rows * columns)


def _density(graph: NetworkGraph, views: Sequence[View]) -> Fraction:
    """The part of some views' elements that is not zero."""
    parts = [
        (
            prod(view.shape) // view.shape[1] * segment.channels,
            graph.tensors[segment.tensor].density,
        )
        for view in views
        for segment in view.segments
    ]
    elements = sum(count for count, _ in parts)
    return sum((count * part for count, part in parts), Fraction(0)) / elements


def _operands(graph: NetworkGraph, layer: Layer) -> tuple[list[View], list[View]]:
    """The views that a layer multiplies: constants among them, which are weights, and maps."""
    views = layer.views if layer.kind is LayerKind.STREAMED else (layer.input,)
    weights = [v for v in views if graph.tensors[v.segments[0].tensor].kind is TensorKind.WEIGHT]
    maps = [view for view in views if view not in weights]
    return weights, maps or list(views)


def _executed(hardware: HardwareFile, graph: NetworkGraph, layer: Layer) -> Fraction:
    """Of a layer's MACs the part that is multiplied: by Winograd's convolution, or without zeros.

    Transforms of a tile and a kernel fill their zeros, so that one layer has the one or the other,
    whichever leaves less.  Of products of two maps the first one's zeros are skipped.
    """
    skipping, weights = hardware.compute.zero_skipping, _operands(graph, layer)[0]
    found = Fraction(1)
    if skipping.weights and layer.weight is not None:
        found *= graph.tensors[layer.weight].density
    elif skipping.weights and weights:
        found *= _density(graph, weights)
    if skipping.activations:
        found *= _density(graph, _operands(graph, layer)[1][:1])
    return min(found, winograd_of(hardware, layer))


def winograd_of(hardware: HardwareFile, layer: Layer) -> Fraction:
    """Multiplications of Winograd's convolution over those of a plain one, 1 where it is not used.

    It is used where it takes fewer: tiles that leave a small map are made whole.
    """
    winograd = hardware.compute.winograd
    if winograd is None or not by_winograd(layer):
        return Fraction(1)
    return min(Fraction(1), winograd_part(layer, winograd.tile))


def mac_widths(graph: NetworkGraph, layer: Layer) -> tuple[int, int]:
    """Widths of the operands that the array multiplies, weights first."""
    weights, maps = _operands(graph, layer)
    widths = [max(graph.tensors[s.tensor].mac_bits for s in view.segments) for view in maps]
    if layer.weight is not None:
        return graph.tensors[layer.weight].mac_bits, widths[0]
    if weights:
        kernels = [s.tensor for view in weights for s in view.segments]
        return max(graph.tensors[name].mac_bits for name in kernels), widths[0]
    return max(widths[1:2] or widths), widths[0]


def layer_compute(hardware: HardwareFile, graph: NetworkGraph, layer: Layer) -> LayerCompute:
    """What the array does for a layer."""
    weights, activations = mac_widths(graph, layer)
    lanes = lanes_in_use(hardware, layer)
    stated = getattr(hardware.compute.utilisation, kind_of(layer))
    utilisation = lanes * Fraction(stated).limit_denominator(_EXACT)
    peak = hardware.compute.macs_per_cycle_of(weights, activations)
    return LayerCompute(
        macs_per_cycle=peak * utilisation,
        peak=peak,
        utilisation=float(utilisation),
        executed=_executed(hardware, graph, layer),
        mac_pj=hardware.mac_pj(weights, activations),
    )
