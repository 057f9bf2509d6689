"""What numbers a replay computes with.

A step gathers numbers, reduces them with a kernel or a window, and works on the result: the
geometry is the same for every arithmetic, and lies elsewhere (`kernels`).  An arithmetic says how
numbers lie in memory, what the network's constants are, and what becomes of a result between two
operations: real numbers stay as they are, integers are rounded and saturate (`integers`), and so do
those of a quantised file (`file_integers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.layer import Layer, LayerKind, Segment, View
from dataflow_sim.graph.pointwise import PointProgram
from dataflow_sim.simulate.codec import FLOAT32, Array, Codec
from dataflow_sim.simulate.kernels import pixelwise
from dataflow_sim.simulate.pointwise import Settle, pointwise
from dataflow_sim.simulate.stream_arithmetic import RealStreams

Channels = npt.NDArray[np.int64]


class Arithmetic(Protocol):
    """The operations of a layer on tiles of any size, in the order of execution.

    `streams` are those of streamed layers, `constants` the network's by name, both on the numbers
    that elements are `meant` for.
    """

    @property
    def streams(self) -> RealStreams:
        """The operations of streamed layers."""

    @property
    def constants(self) -> Mapping[str, npt.NDArray[Any]]:
        """The network's constants."""

    def meant(self, view: View, tile: Array) -> Array:
        """The numbers that a tile of a view stands for."""

    def meant_of(self, tensor: str, tile: Array) -> Array:
        """The numbers that a tile of a tensor stands for."""

    def stored(self, tensor: str, value: Array) -> Array:
        """The elements of a tensor that stand for these numbers."""

    def codec(self, tensor: str) -> Codec:
        """How the numbers of a tensor lie in memory."""

    def codec_of_sums(self, layer: Layer, running: bool = False) -> Codec:
        """How the partial sums of a layer lie in memory; with `running` those that it pools."""

    def held(self, tensor: str, value: Array) -> Array:
        """What a tensor holds of numbers that are written to it, whole or in part."""

    def seen(self, segment: Segment, value: Array) -> Array:
        """What the reader of a segment sees of the numbers that its tensor holds there."""

    def prepared(self, layer: Layer, tile: Array, channels: Channels) -> Array:
        """A tile of the input, pooled if it is to be, as the body meets it."""

    def averaged(self, layer: Layer, value: Array, incoming: bool = False) -> Array:
        """A result of pooling, on the way in or out."""

    def enlarged(self, layer: Layer, value: Array) -> Array:
        """A result of resizing."""

    def by_pixel(self, layer: Layer, tile: Array) -> Array:
        """What the body makes of each pixel's channels."""

    def finished(
        self, layer: Layer, sums: Array, channels: Channels, operands: Sequence[Array]
    ) -> Array:
        """What becomes of the body's finished results, with all that is folded behind them."""


class Reals:
    """Real numbers: double precision in steps, single precision in memory."""

    def __init__(self, constants: Mapping[str, npt.NDArray[np.generic]]) -> None:
        self.constants = constants

        self.streams = RealStreams()

    def meant(self, view: View, tile: Array) -> Array:
        """The tile as it is."""
        return tile

    def meant_of(self, tensor: str, tile: Array) -> Array:
        """The tile as it is."""
        return tile

    def stored(self, tensor: str, value: Array) -> Array:
        """The value as it is."""
        return value

    def codec(self, tensor: str) -> Codec:
        """Single precision."""
        return FLOAT32

    def codec_of_sums(self, layer: Layer, running: bool = False) -> Codec:
        """Single precision."""
        return FLOAT32

    def held(self, tensor: str, value: Array) -> Array:
        """The value as it is."""
        return value

    def seen(self, segment: Segment, value: Array) -> Array:
        """The value as it is."""
        return value

    def prepared(self, layer: Layer, tile: Array, channels: Channels) -> Array:
        """What is folded in front of the body, applied."""
        return self.point(layer.pre, tile, channels)

    def averaged(self, layer: Layer, value: Array, incoming: bool = False) -> Array:
        """The value as it is."""
        return value

    def enlarged(self, layer: Layer, value: Array) -> Array:
        """The value as it is."""
        return value

    def by_pixel(self, layer: Layer, tile: Array) -> Array:
        """Normalised, reduced or shuffled."""
        return pixelwise(layer, tile)

    def finished(
        self, layer: Layer, sums: Array, channels: Channels, operands: Sequence[Array]
    ) -> Array:
        """Bias, then everything that is folded behind the body."""
        return self.point(layer.post, self.biased(layer, sums, channels), channels, operands)

    def point(
        self,
        program: PointProgram,
        value: Array,
        channels: Channels,
        operands: Sequence[Array] = (),
        settle: Settle | None = None,
    ) -> Array:
        """A pointwise program; `settle` says what becomes of each step's result."""
        return pointwise(program, value, self.constants, channels, operands, settle)

    def biased(self, layer: Layer, sums: Array, channels: Channels) -> Array:
        """Sums of products scaled, with the bias, where the layer has them; else the value."""
        attributes = dict(layer.attributes)
        alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
        if layer.kind is LayerKind.CONVOLUTION:
            assert isinstance(alpha, int | float)
            assert isinstance(beta, int | float)
            sums = sums * alpha
            if layer.bias_constant is not None:
                bias = np.asarray(self.constants[layer.bias_constant], np.float64).ravel()
                sums = sums + beta * (bias if bias.size == 1 else bias[channels][:, None, None])
        return sums
