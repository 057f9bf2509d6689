"""Layers, tensors and views: what a network is to the scheduler.

A layer is one pass over a feature map: a body (convolution, pooling, elementwise, ...)
with everything that folds into it.  In the order of execution:

    input view ─► input pool ─► pre (pointwise, on input channels) ─► zero padding ─► body
               ─► post (pointwise, may read further maps) ─► pool ─► output tensor

Of the two poolings a layer has the one, the other, both or none: who pools is a choice
(`graph.pooling`).

Feature maps are (batch, channel, row, column).  A fully connected layer is a convolution
whose kernel covers the whole plane, so that flattening costs nothing and needs no
addressing of its own.  A volume (batch, channel, depth, height, width) lies with its depth as
rows and each of its planes, line behind line, as columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from dataflow_sim.graph.coding import AS_IT_IS, Coding
from dataflow_sim.graph.meaning import Meaning
from dataflow_sim.graph.pointwise import IDENTITY, Attribute, PointProgram
from dataflow_sim.graph.quantisation import Quantisation
from dataflow_sim.graph.region import Shape4
from dataflow_sim.graph.sweep import Sweep


class TensorKind(StrEnum):
    """What a tensor is to the network; decides the reason that its bytes are counted under."""

    INPUT = "input"
    OUTPUT = "output"
    MAP = "map"
    WEIGHT = "weight"
    PARTIAL_SUM = "partial_sum"


class WeightRole(StrEnum):
    """How a weight tensor takes its width: like a matrix, or as per-channel constants."""

    NONE = "none"
    KERNEL = "kernel"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that lives in DRAM: four extents and bits per element.

    `quantised` says that the file itself states the width, so that the hardware's
    precision does not replace it.  `unpacked_bits` is the width of an element in local
    memory where the DMA unpacks it to another than in DRAM.  A VECTOR holds per-channel
    constants (bias, scale, shift) as (vectors, channels, 1, 1).  `quantisation` says what integers
    stand for the numbers, where the file does: of maps one scale, of kernels one, or one for each
    output channel (axis 0).  Raises ValueError where an element is too narrow for them.
    `coding` says how elements are coded where the machine knows the format; `multiplied_bits` is
    the width that the array takes them at, None where that is `bits`.  A width that was `asked` for
    this tensor is replaced by no general option.
    """

    name: str
    kind: TensorKind
    shape: Shape4
    bits: int
    role: WeightRole = WeightRole.NONE
    quantised: bool = False
    unpacked_bits: int | None = None
    quantisation: Quantisation | None = None
    coding: Coding = AS_IT_IS
    multiplied_bits: int | None = None
    asked: bool = False

    def __post_init__(self) -> None:
        """Refuse integers that an element cannot hold."""
        if self.quantisation is not None and self.quantisation.bits > self.bits:
            raise ValueError(
                f"'{self.name}' has {self.bits} bits for integers of {self.quantisation.bits}"
            )

    @property
    def local_bits(self) -> int:
        """Bits per element in local memory."""
        return self.bits if self.unpacked_bits is None else self.unpacked_bits

    @property
    def mac_bits(self) -> int:
        """Bits of an element as the array multiplies it."""
        return self.bits if self.multiplied_bits is None else self.multiplied_bits

    @property
    def density(self) -> Fraction:
        """The part of the elements that is not zero."""
        return self.coding.density

    @property
    def elements(self) -> int:
        """Number of elements."""
        n, c, h, w = self.shape
        return n * c * h * w


@dataclass(frozen=True, slots=True)
class Segment:
    """Channels [channel_start, channel_stop) of one tensor.

    Who reads them rounds them as `rounded` says: to the integers of a map that the file joins,
    cuts or renames, and quantises again, and that is in no memory.
    """

    tensor: str
    channel_start: int
    channel_stop: int
    rounded: Quantisation | None = None

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.channel_stop - self.channel_start


@dataclass(frozen=True, slots=True)
class View:
    """A feature map as its reader sees it: segments joined along the channel axis.

    Concat, split and slice along channels are views and move no bytes.
    """

    segments: tuple[Segment, ...]
    shape: Shape4


class LayerKind(StrEnum):
    """What a layer's tiles may split.

    CONVOLUTION  reduces over the input channels of each group: all axes split
    CHANNELWISE  each channel by itself (pooling, elementwise): channels and space split
    PIXELWISE    each pixel needs all its channels (softmax, LRN, shuffle): space splits
    STREAMED     rows against columns (`Sweep`), or every tensor once; its MACs are stated
    """

    CONVOLUTION = "convolution"
    CHANNELWISE = "channelwise"
    PIXELWISE = "pixelwise"
    STREAMED = "streamed"


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window: (row, column) pairs; `pad` is the padding before the first element.

    With `up` above 1 it slides, element by element, over the input with up - 1 zeros behind
    each element, which are neither read nor multiplied: how maps are enlarged.  Of a
    `transposed` convolution each input element meets every tap of the kernel, and that is
    what its MACs are counted by.  Raises ValueError where either comes with a stride.

    Over a volume it slides along rows by these pairs, and along both axes that the columns run
    over by those of `plane`; the columns' share is then (taps of the plane, 1, 1, 0).
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    up: tuple[int, int] = (1, 1)
    transposed: bool = False
    plane: PlaneWindow | None = None

    def __post_init__(self) -> None:
        """Refuse a stride in a window that enlarges, and columns that slide beside a plane."""
        if (self.transposed or max(self.up) > 1) and max(self.stride) > 1:
            raise ValueError(f"stride {self.stride} in a window that enlarges by {self.up}")
        if self.plane is not None:
            taps = self.plane.window.kernel[0] * self.plane.window.kernel[1]
            columns = (self.kernel[1], self.stride[1], self.dilation[1], self.pad[1])
            if columns != (taps, 1, 1, 0) or self.transposed or max(self.up) > 1:
                raise ValueError(f"a window of {taps} taps in the plane, columns of {columns}")

    @property
    def slides(self) -> tuple[tuple[Window, int], ...]:
        """The axes that it slides along: each as an axis (0 or 1) of a window of two."""
        if self.plane is None:
            return (self, 0), (self, 1)
        return (self, 0), (self.plane.window, 0), (self.plane.window, 1)

    def extent(self, axis: int) -> int:
        """Elements that one window spans along an axis (0 rows, 1 columns), zeros included."""
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1


@dataclass(frozen=True, slots=True)
class PlaneWindow:
    """How a window slides over the planes of a volume, which lie line behind line as columns.

    `window` is its part in the plane, (height, width) pairs; the sizes are those of a plane of
    the input and of the body.
    """

    input_size: tuple[int, int]
    body_size: tuple[int, int]
    window: Window


POINT = Window()


@dataclass(frozen=True, slots=True)
class Pooling:
    """A pooling window: `op` is `max` or `average`.

    An average divides by the window's elements inside the map, or with `count_padding`
    by those inside the padded map, whose padding behind the last element is `pad_end`.
    """

    op: str
    window: Window
    count_padding: bool = False
    pad_end: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class UnpooledMap:
    """What a pooling that folded into its producer is by itself: its name, operator, and the map
    that it would read."""

    name: str
    op: str
    tensor: Tensor


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: a body with all that folds into it (see the head of this module).

    Shapes are (batch, channel, row, column); `body_shape` is the map before `pool`, `unpooled`
    what that would be in a layer of its own.  Where `input_pool` pools the input on the way in,
    `pooled_shape` is what it makes of it, which is nowhere in memory.  Of a quantised network
    `rounded` says what integers the body makes, before `post`, and `pooled_rounded` the input pool.
    `weight` is the kernel tensor, (output channels, input channels of a group, kernel
    rows, kernel columns).  `operands` are further maps: of the output's shape, or one value per
    (batch, channel).  `input_vectors` and `output_vectors` name the counted per-channel
    constants of `pre` and of `post`.  `stated_macs` are those of a streamed layer, which has
    no kernel to count them from; `sweep` says how it walks its maps, None that it takes every
    element once; `meaning` what it computes.  `learned` names the constants among the network's
    parameters that the layer uses.
    """

    name: str
    op: str
    kind: LayerKind
    input: View
    output: str
    body_shape: Shape4
    output_shape: Shape4
    groups: int = 1
    window: Window = POINT
    weight: str | None = None
    operands: tuple[View, ...] = ()
    pre: PointProgram = IDENTITY
    post: PointProgram = IDENTITY
    pool: Pooling | None = None
    input_vectors: str | None = None
    output_vectors: str | None = None
    extra_outputs: tuple[str, ...] = ()
    weight_constant: str | None = None
    weight_transposed: bool = False
    bias_constant: str | None = None
    attributes: tuple[tuple[str, Attribute], ...] = ()
    stated_macs: int = 0
    sweep: Sweep | None = None
    meaning: Meaning | None = None
    unpooled: UnpooledMap | None = None
    input_pool: Pooling | None = None
    pooled_shape: Shape4 | None = None
    learned: tuple[str, ...] = ()
    rounded: Quantisation | None = None
    pooled_rounded: Quantisation | None = None

    @property
    def source_shape(self) -> Shape4:
        """The map that the window slides over: the input, or what it is pooled to."""
        return self.input.shape if self.pooled_shape is None else self.pooled_shape

    @property
    def outputs(self) -> tuple[str, ...]:
        """All tensors that the layer writes."""
        return (self.output, *self.extra_outputs)

    @property
    def views(self) -> tuple[View, ...]:
        """All maps that the layer reads, the input first."""
        return (self.input, *self.operands)

    @property
    def weights(self) -> tuple[str, ...]:
        """The weight tensors that the layer fetches: kernel, then per-channel constants."""
        names = (self.weight, self.input_vectors, self.output_vectors)
        return tuple(name for name in names if name is not None)

    @property
    def input_channels_per_group(self) -> int:
        """Input channels that one output channel reduces over."""
        return self.input.shape[1] // self.groups

    @property
    def output_channels_per_group(self) -> int:
        """Output channels of one group."""
        return self.body_shape[1] // self.groups
