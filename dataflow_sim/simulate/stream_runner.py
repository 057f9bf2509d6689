"""Streamed layers in the replay: what their steps find, checked, and where what they make goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer, View
from dataflow_sim.graph.region import Box, Shape4, Span, whole
from dataflow_sim.graph.sweep import Sweep
from dataflow_sim.program.instructions import Program, Slice, Stream
from dataflow_sim.simulate.stream_arithmetic import RealStreams
from dataflow_sim.simulate.stream_step import Found
from dataflow_sim.simulate.stream_tiles import Array, Held, vector_elements
from dataflow_sim.simulate.streams import is_computed, part_of, step_of_sweep
from dataflow_sim.simulate.whole_layers import WholeLayer, whole_layer

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Access:
    """The replay's memory: read a box of a view from its parts, read and write a part whose
    elements are the given ones, the identities of a box of a tensor, and all of a tensor as it is,
    in local memory or in DRAM."""

    gather: Callable[[tuple[Slice, ...], View], Held]
    read: Callable[[Slice, Ids], Array]
    write: Callable[[Slice, Array, Ids], None]
    ids: Callable[[str, Box, Shape4 | None], Ids]
    whole: Callable[[str], Array]


def sums_of(layer: int) -> str:
    """The name under which a layer's partial sums, or running sums, have identities."""
    return f"sums of layer {layer}"


def _waiting(sweep: Sweep) -> Shape4:
    """Extents in which running sums have identities: batches, groups, rows, values."""
    return (sweep.batch, sweep.groups, sweep.rows, sweep.sums + sweep.state)


def waiting_elements(layer: Layer) -> int:
    """How many running sums a layer may have, all rows together."""
    n, c, h, w = _waiting(layer.sweep) if layer.sweep is not None else (0, 0, 0, 0)
    return n * c * h * w


def _pieces(view: View, box: Box) -> Iterator[tuple[str, Box]]:
    """The tensors that a box of a view consists of, and what it is of each."""
    at = 0
    for segment in view.segments:
        low = max(box.channel.start - at, 0)
        high = min(box.channel.stop - at, segment.channels)
        at += segment.channels
        if low < high:
            first = segment.channel_start
            yield segment.tensor, box._replace(channel=Span(first + low, first + high))


@dataclass(slots=True, eq=False)
class StreamRunner:
    """Executes the steps of streamed layers.

    `whole` has the layers that are not computed step by step (`whole_layers`), by number.
    """

    program: Program
    constants: Mapping[str, npt.NDArray[np.generic]]
    access: Access
    arithmetic: RealStreams = field(default_factory=RealStreams)
    whole: dict[int, WholeLayer] = field(default_factory=dict)

    def run(self, step: Stream) -> None:
        """Execute a step.  Raises ProgramError where it lacks something."""
        layer = self.program.layers[step.layer]
        sweep = layer.sweep
        if sweep is not None and is_computed(layer):
            self._sweep(step, layer, sweep)
        else:
            self._of_whole(step, layer)

    def finish(self) -> tuple[str, ...]:
        """The names of the layers that were not computed step by step.

        Raises ProgramError where one of them has not read all that it is computed from.
        """
        for each in self.whole.values():
            each.check()
        return tuple(self.whole[index].layer.name for index in sorted(self.whole))

    def _sweep(self, step: Stream, layer: Layer, sweep: Sweep) -> None:
        access = self.access
        shapes = [self.program.tensors[name].shape for name in layer.outputs]
        views = [
            access.gather(parts, view) if parts else None
            for parts, view in zip(step.inputs, layer.views, strict=True)
        ]
        waiting = None
        if step.sums is not None:
            ids = access.ids(sums_of(step.layer), step.sums.box, _waiting(sweep))
            waiting = (step.sums, ids)
        found = Found(
            views=views,
            vectors=self._vectors(layer, step),
            sums=None if waiting is None or step.first else access.read(*waiting),
            waits=waiting is not None,
            last=step.last,
            results=[s if parts else None for s, parts in zip(shapes, step.outputs, strict=True)],
        )
        made = step_of_sweep(layer, found, self.constants, self.arithmetic)
        if waiting is not None and made.sums is not None:
            access.write(waiting[0], made.sums, waiting[1])
        for name, parts, held in zip(layer.outputs, step.outputs, made.results, strict=True):
            if held is not None:
                self._write(name, parts, held)

    def _write(self, name: str, parts: tuple[Slice, ...], held: Held) -> None:
        for part in parts:
            ids = self.access.ids(name, part.box, None)
            self.access.write(part, part_of(held, part.box), ids)

    def _vectors(self, layer: Layer, step: Stream) -> Array | None:
        """The numbers of a layer's constants in local memory: all of them where none count."""
        name = layer.output_vectors
        if name is None:
            return np.arange(vector_elements(layer, self.constants), dtype=np.float64)
        access = self.access
        found = [access.read(part, access.ids(name, part.box, None)) for part in step.constants]
        return np.concatenate([each.ravel() for each in found]) if found else None

    # ------------------------------------------------------------ layers taken whole

    def _of_whole(self, step: Stream, layer: Layer) -> None:
        """Read what the step names, and write what it makes of the whole results."""
        if step.layer not in self.whole:
            shapes = {name: tensor.shape for name, tensor in self.program.tensors.items()}
            self.whole[step.layer] = whole_layer(
                layer, shapes, self.access.whole, self.constants, self.arithmetic
            )
        found = self.whole[step.layer]
        if layer.sweep is None:
            for part in (part for parts in step.inputs for part in parts):
                found.note(self._tensor_of(part, layer), part.box)
        else:
            self._note_views(step, layer, found)
        self._vectors(layer, step)
        for name, parts, value in zip(layer.outputs, step.outputs, found.results, strict=True):
            n, c, h, w = value.shape
            self._write(name, parts, (value, whole((n, c, h, w))))

    def _note_views(self, step: Stream, layer: Layer, found: WholeLayer) -> None:
        """Take down what a step reads of views, segment by segment."""
        for parts, view in zip(step.inputs, layer.views, strict=True):
            if not parts:
                continue
            _, box = self.access.gather(parts, view)
            for name, piece in _pieces(view, box):
                found.note(name, piece)

    def _tensor_of(self, part: Slice, layer: Layer) -> str:
        """The tensor, among those that the layer reads, that a part is a box of.

        Raises ProgramError where it holds no box of any.
        """
        failed: ProgramError | None = None
        names = dict.fromkeys(s.tensor for view in layer.views for s in view.segments)
        for name in names:
            shape = self.program.tensors[name].shape
            if any(span.stop > extent for span, extent in zip(part.box, shape, strict=True)):
                continue
            try:
                self.access.read(part, self.access.ids(name, part.box, None))
            except ProgramError as error:
                failed = failed or error
            else:
                return name
        raise failed or ProgramError(f"{part.box} is no box of what '{layer.name}' reads")
