"""Values and layers under construction."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from dataflow_sim.graph.layer import POINT, LayerKind, Pooling, View, Window
from dataflow_sim.graph.pointwise import IDENTITY, Attribute, PointProgram
from dataflow_sim.graph.region import Shape4

Shape = tuple[int, ...]


def canonical(shape: Shape) -> Shape4:
    """Any shape as (batch, channel, row, column): vectors are channels, planes rows x columns."""
    if len(shape) == 1:
        return (1, shape[0], 1, 1)
    padded = (*shape, 1, 1, 1, 1)
    return (padded[0], padded[1], padded[2], prod(shape[3:]))


@dataclass(frozen=True, slots=True)
class Value:
    """What a name of the file stands for: a view, the shape the file gives it, and a
    pre-activation that its readers apply."""

    view: View
    shape: Shape
    pre: PointProgram = IDENTITY

    @property
    def exact(self) -> bool:
        """The shape in the file is that of the view."""
        return canonical(self.shape) == self.view.shape

    @property
    def flattened(self) -> bool:
        """The shape in the file is the view's with the plane flattened into channels."""
        n, c, h, w = self.view.shape
        return canonical(self.shape) == (n, c * h * w, 1, 1)


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
    output_shape: Shape4 | None = None
    weight_constant: str | None = None
    weight_transposed: bool = False
    bias_constant: str | None = None
    attributes: tuple[tuple[str, Attribute], ...] = ()
    extra: list[tuple[str, Shape4]] = field(default_factory=list)

    @property
    def shape(self) -> Shape4:
        """Shape of what the layer writes."""
        return self.output_shape or self.body_shape
