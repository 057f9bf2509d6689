"""Values and layers under construction."""

from __future__ import annotations

from dataclasses import dataclass, field

from dataflow_sim.graph.arrangement import CHANNEL, COLUMN, ROW, Arrangement
from dataflow_sim.graph.layer import POINT, LayerKind, Pooling, Segment, View, Window
from dataflow_sim.graph.meaning import Meaning
from dataflow_sim.graph.pointwise import IDENTITY, Attribute, PointProgram
from dataflow_sim.graph.quantisation import Quantisation
from dataflow_sim.graph.region import Shape4
from dataflow_sim.graph.sweep import Sweep

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """What a name of the file stands for: a view of maps, how the file sees it, and a
    pre-activation that its readers apply."""

    view: View
    axes: Arrangement
    pre: PointProgram = IDENTITY

    @property
    def shape(self) -> Shape:
        """The shape in the file."""
        return self.axes.shape

    @property
    def planes(self) -> bool:
        """The file sees the view as it lies: (batch, channel, row, column), or the first three."""
        rank = len(self.axes.axes)
        return rank in (3, 4) and all(
            self.axes.covers([axis], [axis], self.view.shape) for axis in range(rank)
        )

    @property
    def volume(self) -> bool:
        """The file sees the view as (batch, channel, depth, height, width): planes as columns."""
        return (
            len(self.axes.axes) == 5
            and all(self.axes.covers([axis], [axis], self.view.shape) for axis in range(3))
            and self.axes.covers([3, 4], [COLUMN], self.view.shape)
        )

    @property
    def flattened(self) -> bool:
        """The file sees the plane flattened into the channels: (batch, elements)."""
        last = len(self.axes.axes) - 1
        return (
            last > 0
            and self.axes.covers([last], [CHANNEL, ROW, COLUMN], self.view.shape)
            and self.axes.covers(range(last), [0], self.view.shape)
        )

    @property
    def channels_last(self) -> bool:
        """The file sees the channels on its last axis."""
        last = len(self.axes.axes) - 1
        return last >= 0 and self.axes.covers([last], [CHANNEL], self.view.shape)

    def alike(self, other: Value) -> bool:
        """Whether two values have the same elements at the same places of their maps."""
        return self.axes == other.axes and self.view.shape == other.view.shape


@dataclass(frozen=True, slots=True)
class JoinedValue:
    """A state that grows: values one behind the other, the first of them kept by the host.

    What a cache of keys or values is between the Concat that appends to it and the
    attention that reads it.
    """

    parts: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class ConstantMap:
    """A constant of the file that lies in a tensor of its own as `axes` says, None where rows of
    it lie there that nobody knows before; with `numbers` the rows of these numbers, in order."""

    constant: str
    shape: Shape4
    axes: Arrangement | None
    numbers: Value | None = None


@dataclass(slots=True)
class Draft:
    """A layer that may still take in what follows it."""

    name: str
    op: str
    kind: LayerKind
    input: View
    body_shape: Shape4
    end: str
    groups: int = 1
    window: Window = POINT
    operands: list[View] = field(default_factory=list)
    pre: PointProgram = IDENTITY
    post: PointProgram = IDENTITY
    pool: Pooling | None = None
    pool_node: tuple[str, str, str] | None = None  # its name, operator, and the map it would read
    output_shape: Shape4 | None = None
    weight_constant: str | None = None
    weight_transposed: bool = False
    bias_constant: str | None = None
    attributes: tuple[tuple[str, Attribute], ...] = ()
    extra: list[tuple[str, Shape4]] = field(default_factory=list)
    macs: int = 0
    vectors: tuple[str, ...] = ()  # a streamed layer's biases, scales and shifts
    sweep: Sweep | None = None
    meaning: Meaning | None = None
    rounded: Quantisation | None = None  # what the body makes, before anything is folded behind it

    @property
    def shape(self) -> Shape4:
        """Shape of what the layer writes."""
        return self.output_shape or self.body_shape

    def fold(self, program: PointProgram, rounded: Quantisation | None) -> None:
        """Append a program to what is made so far, which is rounded so before."""
        if rounded is not None and self.post:
            self.post = self.post.ending(rounded)
        elif rounded is not None:
            self.rounded = rounded
        self.post = self.post.then(program)


@dataclass(frozen=True, slots=True)
class Streamed:
    """A streamed layer, and the values that it reads with their places among the inputs."""

    draft: Draft
    read: tuple[tuple[int, Value], ...]


def whole_view(tensor: str, shape: Shape4) -> View:
    """The view of all of a tensor."""
    return View((Segment(tensor, 0, shape[1]),), shape)
