"""Channels that stay in local memory for a whole layer, beside the tiles of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.region import Box, Span
from dataflow_sim.program.emitter import ORIGIN, Emitter
from dataflow_sim.program.instructions import Load, Slice
from dataflow_sim.program.ring import lattice
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.types import LayerTiling


class Held(NamedTuple):
    """A buffer that holds `box` of a tensor, packed."""

    buffer: int
    box: Box

    def slice(self, part: Box) -> Slice:
        """Where a part of the box lies."""
        n, c, h, w = (
            lattice(inner).start - lattice(outer).start
            for inner, outer in zip(part, self.box, strict=True)
        )
        return Slice(self.buffer, (n, c, h, w), part)


@dataclass(frozen=True, slots=True)
class Pinned:
    """What of a layer's kernel and of its input stays, if anything."""

    kernel: Held | None
    input: Held | None


def pin(emit: Emitter, layer: Layer, problem: LayerProblem, tiling: LayerTiling) -> Pinned:
    """Bring to local memory what a tiling pins."""
    kernel = source = None
    if layer.weight is not None and tiling.pinned_output_channels:
        extents = (tiling.pinned_output_channels, problem.input_channels, *layer.window.kernel)
        box = Box(*(Span(0, extent) for extent in extents))
        slots = emit.alloc(f"{layer.name}: pinned kernel", box.shape, problem.kernel_local_bits, 1)
        kernel = Held(slots.advance(), box)
        emit.instructions.append(Load(layer.weight, box, kernel.buffer, ORIGIN))
    if tiling.pinned_input_channels:
        rows, columns = (
            axis.input_span(axis.body_span(0, axis.output_size))
            for axis in (problem.rows, problem.columns)
        )
        channels = Span(0, tiling.pinned_input_channels)
        box = Box(Span(0, problem.batch), channels, rows, columns)
        slots = emit.alloc(f"{layer.name}: pinned input", box.shape, problem.input_bits, 1)
        source = Held(slots.advance(), box)
        emit.load_view(layer.input, box, source.buffer)
    return Pinned(kernel, source)


def beside(
    held: Held | None, box: Box, axis: int, stream: Callable[[Box], tuple[Slice, ...]]
) -> tuple[Slice, ...]:
    """The parts of a tile: what is held of its channels, along an axis, and the others streamed."""
    if held is None:
        return stream(box)
    first, last, _ = box[axis]
    border = min(max(held.box[axis].stop, first), last)
    before, behind = list(box), list(box)
    before[axis], behind[axis] = Span(first, border), Span(border, last)
    parts = (held.slice(Box(*before)),) if first < border else ()
    return (*parts, *stream(Box(*behind))) if border < last else parts
