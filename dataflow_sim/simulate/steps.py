"""One step of a layer: gather what it needs from local memory, reduce, finish, pool, write.

    input ─► pool on the way in ─► pre ─► body ─► + partial sums ─► bias, post ─► pool ─► result

Which channels' constants a step applies it finds in local memory: they travel as the channels'
numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer, LayerKind
from dataflow_sim.graph.region import Span
from dataflow_sim.program.instructions import Compute, Slice
from dataflow_sim.simulate.codec import Array
from dataflow_sim.simulate.kernels import (
    Rows,
    convolve,
    picked,
    pool,
    pool_on_the_way_in,
    pool_rows,
    pool_some_rows,
    pooled_from,
    resample,
)
from dataflow_sim.simulate.machine import Machine


@dataclass(slots=True)
class Steps:
    """Computes the steps of a program on its machine."""

    machine: Machine

    def compute(self, step: Compute) -> None:
        """Execute a step.  Raises ProgramError where it lacks what it needs."""
        layer = self.machine.program.layers[step.layer]
        result = step.made
        wanted = ((result.row.start, result.row.stop), (result.column.start, result.column.stop))
        body = wanted
        if layer.pool is not None:
            body = (
                pool_rows(layer.pool, 0, layer.body_shape[2], wanted[0]),
                pool_rows(layer.pool, 1, layer.body_shape[3], wanted[1]),
            )
        if step.body_rows is not None:
            rows = (step.body_rows.start, step.body_rows.stop)
            self._run_on(layer, step, self._reduce(layer, step, (rows, body[1])), body[1][0])
            return
        value = self._reduce(layer, step, body)
        if step.sums is not None:
            ids, codec = (
                self.machine.ids.of_sums(step.layer, step.sums.box),
                self.machine.arithmetic.codec_of_sums(layer),
            )
            if not step.first:
                value = value + self.machine.read(step.sums, ids, codec)
            if not step.last:
                self.machine.write(step.sums, value, ids, codec)
                return
        value = self._finish(layer, step, value)
        if layer.pool is not None:
            size = (layer.body_shape[2], layer.body_shape[3])
            value = pool(layer.pool, value, (body[0][0], body[1][0]), size, wanted)
            value = self.machine.arithmetic.averaged(layer, value)
        ids, codec = (
            self.machine.ids.of(layer.output, result),
            self.machine.arithmetic.codec(layer.output),
        )
        if not step.more:
            self.machine.write(step.result, value, ids, codec)
            return
        for part in (step.result, *step.more):
            spans = zip(part.box, result, strict=True)
            place = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in spans)
            self.machine.write(part, value[place], ids[place], codec)

    def _run_on(self, layer: Layer, step: Compute, value: Array, column: int) -> None:
        """Pool finished rows of the body, which begin at `column`, into running results.

        These go by the last row that they hold, so that none is left out or taken twice.
        """
        rows, sums, pooling = step.body_rows, step.sums, layer.pool
        if rows is None or sums is None or pooling is None:
            raise ProgramError(f"layer '{layer.name}' carries nothing that it pools")
        height = layer.body_shape[2]
        if step.first != (rows.start == 0) or step.last != (rows.stop == height):
            raise ProgramError(f"{rows} of {height} rows begin or end a running reduction")
        size, wanted = layer.body_shape[2:], (sums.box.column.start, sums.box.column.stop)
        value = self._finish(layer, step, value)
        value = pool_some_rows(pooling, value, (rows.start, column), size, wanted)
        codec = self.machine.arithmetic.codec_of_sums(layer, running=True)
        if not step.first:
            before = sums.box._replace(row=Span(rows.start - 1, rows.start))
            carried = self.machine.read(
                sums, self.machine.ids.of_running(step.layer, before), codec
            )
            value = np.maximum(value, carried) if pooling.op == "max" else value + carried
        if step.last:
            value = pooled_from(pooling, value, size, wanted)
            value = self.machine.arithmetic.averaged(layer, value)
            ids = self.machine.ids.of(layer.output, step.result.box)
            self.machine.write(step.result, value, ids, self.machine.arithmetic.codec(layer.output))
            return
        after = sums.box._replace(row=Span(rows.stop - 1, rows.stop))
        self.machine.write(sums, value, self.machine.ids.of_running(step.layer, after), codec)

    def _reduce(self, layer: Layer, step: Compute, body: tuple[Rows, Rows]) -> Array:
        """What a step adds to its sums: nothing, if it has no input.

        It then only finishes them, or meets nothing but padding.
        """
        if not step.input:
            made = step.made
            plane = tuple(stop - start for start, stop in body)
            return np.zeros((made.batch.length, made.channel.length, *plane))
        tile, source = self.machine.gather(step.input, layer.input)
        channels = self._channels(
            step.input_vectors, layer.input_vectors, source.channel.start, source.channel.stop
        )
        held = (source.row, source.column)
        if layer.input_pool is not None:
            tile, held = pool_on_the_way_in(layer, tile, held, body)
            tile = self.machine.arithmetic.averaged(layer, tile, incoming=True)
        tile = self.machine.arithmetic.prepared(layer, tile, channels)
        return self._body(layer, step, tile, held, body)

    def _body(
        self,
        layer: Layer,
        step: Compute,
        tile: Array,
        held: tuple[Span, Span],
        body: tuple[Rows, Rows],
    ) -> Array:
        if layer.kind is LayerKind.PIXELWISE:
            return self.machine.arithmetic.by_pixel(layer, tile)
        if not step.kernel and "mode" in dict(layer.attributes):
            return self.machine.arithmetic.enlarged(layer, resample(layer, tile, held, body))
        if not step.kernel:
            rows = picked(layer, 0, held[0], body[0])
            return tile[:, :, rows][..., picked(layer, 1, held[1], body[1])]
        assert layer.weight is not None
        codec = self.machine.arithmetic.codec(layer.weight)
        parts = [
            self.machine.read(p, self.machine.ids.of(layer.weight, p.box), codec)
            for p in step.kernel
        ]
        kernel = parts[0] if len(parts) == 1 else np.concatenate(parts)
        groups = max(1, step.made.channel.length // layer.output_channels_per_group)
        return convolve(layer, tile, held, kernel, body, groups)

    def _finish(self, layer: Layer, step: Compute, value: Array) -> Array:
        """Bias, then everything that is folded behind the body."""
        box = step.made.channel
        channels = self._channels(step.output_vectors, layer.output_vectors, box.start, box.stop)
        operands = [
            self.machine.gather(parts, view)[0]
            for parts, view in zip(step.operands, layer.operands, strict=True)
        ]
        return self.machine.arithmetic.finished(layer, value, channels, operands)

    def _channels(
        self, vectors: Slice | None, tensor: str | None, start: int, stop: int
    ) -> npt.NDArray[np.int64]:
        """The channels whose constants a step applies: those found in local memory.

        Of a narrow constant only the lowest bits of the channel are there; constants that are
        not counted are in no memory, and are those of the step's own channels.
        """
        if tensor is None:
            return np.arange(start, stop)
        if vectors is None:
            raise ProgramError(f"the step has no constants '{tensor}'")
        ids, codec = self.machine.ids.of(tensor, vectors.box), self.machine.arithmetic.codec(tensor)
        found = self.machine.read(vectors, ids, codec)[0, :, 0, 0].astype(np.int64)
        bits = self.machine.program.tensors[tensor].bits
        wanted = np.arange(*vectors.box.channel) - found
        if (wanted & ((1 << bits) - 1)).any():
            raise ProgramError(
                f"constants of channels {found.tolist()} where {vectors.box} is read"
            )
        return found + wanted
