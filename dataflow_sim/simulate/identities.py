"""Which element of which tensor a number in memory is: every element of a program has a number.

Tensors take consecutive ranges, each in the order (batch, channel, row, column); the partial sums
of a layer are elements too, in body coordinates, or, where a pooling is carried from row to row, of
a row of the body by a column of the output; those of a sweep in its own loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.layer import Layer, View
from dataflow_sim.graph.region import Box, Shape4, Span
from dataflow_sim.program.instructions import Program

Ids = npt.NDArray[np.int64]

# of a larger tensor the numbers are worked out box by box
_MOST_HELD = 1 << 22


def running_shape(layer: Layer) -> Shape4:
    """The partial sums of a pooling that is carried from row to row."""
    n, c, height, _ = layer.body_shape
    return (n, c, height, layer.output_shape[3])


def waiting_shape(layer: Layer) -> Shape4:
    """The running sums of a sweep: batches, groups, rows, values."""
    sweep = layer.sweep
    if sweep is None:
        return (0, 0, 0, 0)
    return (sweep.batch, sweep.groups, sweep.rows, sweep.sums + sweep.state)


@dataclass(slots=True)
class Identities:
    """The numbers of a program's elements."""

    program: Program
    first: dict[str, int] = field(default_factory=dict)
    sums: list[int] = field(default_factory=list)
    held: dict[tuple[int, Shape4], Ids] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Consecutive ranges."""
        start = 0
        for name, tensor in self.program.tensors.items():
            self.first[name] = start
            start += tensor.elements
        for layer in self.program.layers:
            self.sums.append(start)
            start += max(map(prod, (layer.body_shape, running_shape(layer), waiting_shape(layer))))

    def of(self, tensor: str, box: Box) -> Ids:
        """The numbers of a tensor's elements in a box."""
        return self._within(self.first[tensor], self.program.tensors[tensor].shape, box)

    def of_sums(self, layer: int, box: Box) -> Ids:
        """The numbers of a layer's partial sums in a box of its body."""
        return self._within(self.sums[layer], self.program.layers[layer].body_shape, box)

    def of_running(self, layer: int, box: Box) -> Ids:
        """The numbers of a layer's pooling so far, by the last row of the body that it holds."""
        return self._within(self.sums[layer], running_shape(self.program.layers[layer]), box)

    def of_waiting(self, layer: int, box: Box) -> Ids:
        """The numbers of a sweep's running sums: of batches, groups, rows, values."""
        return self._within(self.sums[layer], waiting_shape(self.program.layers[layer]), box)

    def of_view(self, view: View, box: Box) -> Ids:
        """The numbers of a view's elements in a box, segment by segment."""
        parts: Sequence[Ids] = []
        position = 0
        for segment in view.segments:
            low = max(box.channel.start - position, 0)
            high = min(box.channel.stop - position, segment.channels)
            if low < high:
                first = segment.channel_start
                channels = Span(first + low, first + high)
                parts = [*parts, self.of(segment.tensor, box._replace(channel=channels))]
            position += segment.channels
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _within(self, first: int, shape: Shape4, box: Box) -> Ids:
        count = prod(shape)
        if count <= _MOST_HELD:
            every = self.held.get((first, shape))
            if every is None:
                every = np.arange(first, first + count).reshape(shape)
                self.held[first, shape] = every
            return every[box.slices]
        _, c, h, w = shape
        strides = (c * h * w, h * w, w, 1)
        places = np.ix_(*(np.arange(*span) * s for span, s in zip(box, strides, strict=True)))
        return np.asarray(sum(places, np.int64(first)))
