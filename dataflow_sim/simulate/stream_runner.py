"""Streamed layers in the replay: what their steps find, checked, and where what they make goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer, View
from dataflow_sim.graph.region import Box, Span, whole
from dataflow_sim.program.instructions import Slice, Stream
from dataflow_sim.simulate.machine import Machine
from dataflow_sim.simulate.stream_step import Found
from dataflow_sim.simulate.stream_tiles import Array, Held, vector_elements
from dataflow_sim.simulate.streams import is_computed, part_of, step_of_sweep
from dataflow_sim.simulate.whole_layers import WholeLayer, whole_layer


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

    machine: Machine
    whole: dict[int, WholeLayer] = field(default_factory=dict)

    def run(self, step: Stream) -> None:
        """Execute a step.  Raises ProgramError where it lacks something."""
        layer = self.machine.program.layers[step.layer]
        if is_computed(layer):
            self._sweep(step, layer)
        else:
            self._of_whole(step, layer)

    def finish(self) -> tuple[str, ...]:
        """The names of the layers that were not computed step by step.

        Raises ProgramError where one of them has not read all that it is computed from.
        """
        for each in self.whole.values():
            each.check()
        return tuple(self.whole[index].layer.name for index in sorted(self.whole))

    def _sweep(self, step: Stream, layer: Layer) -> None:
        machine = self.machine
        shapes = [machine.program.tensors[name].shape for name in layer.outputs]
        views = [
            self._gathered(parts, view) if parts else None
            for parts, view in zip(step.inputs, layer.views, strict=True)
        ]
        sums, codec = step.sums, machine.arithmetic.codec_of_sums(layer)
        before = None
        if sums is not None and not step.first:
            before = machine.read(sums, machine.ids.of_waiting(step.layer, sums.box), codec)
        found = Found(
            views=views,
            vectors=self._vectors(layer, step),
            sums=before,
            waits=sums is not None,
            last=step.last,
            results=[s if parts else None for s, parts in zip(shapes, step.outputs, strict=True)],
        )
        arithmetic = machine.arithmetic
        made = step_of_sweep(layer, found, arithmetic.constants, arithmetic.streams)
        if sums is not None:
            for span, loop in ((sums.box.batch, "B"), (sums.box.channel, "G")):
                if span != made.loops[loop]:
                    raise ProgramError(f"running sums of {span}, in a step of {made.loops[loop]}")
            if made.sums is not None:
                machine.write(sums, made.sums, machine.ids.of_waiting(step.layer, sums.box), codec)
        for name, parts, held in zip(layer.outputs, step.outputs, made.results, strict=True):
            if held is not None:
                self._write(name, parts, held)

    def _gathered(self, parts: tuple[Slice, ...], view: View) -> Held:
        """A box of a view, as the numbers that its elements stand for."""
        tile, box = self.machine.gather(parts, view)
        return self.machine.arithmetic.meant(view, tile), box

    def _write(self, name: str, parts: tuple[Slice, ...], held: Held) -> None:
        arithmetic = self.machine.arithmetic
        for part in parts:
            ids = self.machine.ids.of(name, part.box)
            value = arithmetic.stored(name, part_of(held, part.box))
            self.machine.write(part, value, ids, arithmetic.codec(name))

    def _vectors(self, layer: Layer, step: Stream) -> Array | None:
        """The numbers of a layer's constants in local memory: all of them where none count."""
        name, machine = layer.output_vectors, self.machine
        if name is None:
            count = vector_elements(layer, machine.arithmetic.constants)
            return np.arange(count, dtype=np.float64)
        codec = machine.arithmetic.codec(name)
        found = [
            machine.read(part, machine.ids.of(name, part.box), codec) for part in step.constants
        ]
        return np.concatenate([each.ravel() for each in found]) if found else None

    # ------------------------------------------------------------ layers taken whole

    def _of_whole(self, step: Stream, layer: Layer) -> None:
        """Read what the step names, and write what it makes of the whole results."""
        arithmetic = self.machine.arithmetic
        if step.layer not in self.whole:
            shapes = {name: each.shape for name, each in self.machine.program.tensors.items()}
            self.whole[step.layer] = whole_layer(
                layer, shapes, self._tensor, arithmetic.constants, arithmetic.streams
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

    def _tensor(self, name: str) -> Array:
        """All of a tensor as it is in a buffer of local memory, or else in DRAM."""
        return self.machine.arithmetic.meant_of(name, self.machine.all_of(name))

    def _note_views(self, step: Stream, layer: Layer, found: WholeLayer) -> None:
        """Take down what a step reads of views, segment by segment."""
        for parts, view in zip(step.inputs, layer.views, strict=True):
            if not parts:
                continue
            _, box = self.machine.gather(parts, view)
            for name, piece in _pieces(view, box):
                found.note(name, piece)

    def _tensor_of(self, part: Slice, layer: Layer) -> str:
        """The tensor, among those that the layer reads, that a part is a box of.

        Raises ProgramError where it holds no box of any.
        """
        failed: ProgramError | None = None
        names = dict.fromkeys(s.tensor for view in layer.views for s in view.segments)
        for name in names:
            shape = self.machine.program.tensors[name].shape
            if any(span.stop > extent for span, extent in zip(part.box, shape, strict=True)):
                continue
            try:
                self.machine.expect(part, self.machine.ids.of(name, part.box))
            except ProgramError as error:
                failed = failed or error
            else:
                return name
        raise failed or ProgramError(f"{part.box} is no box of what '{layer.name}' reads")
