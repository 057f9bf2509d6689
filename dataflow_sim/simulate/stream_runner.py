"""Streamed layers in the replay: what their steps find, checked, and where what they make goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.layer import Layer, View
from dataflow_sim.graph.region import Box, Shape4
from dataflow_sim.graph.sweep import Sweep
from dataflow_sim.program.instructions import Program, Slice, Stream
from dataflow_sim.simulate.stream_arithmetic import RealStreams
from dataflow_sim.simulate.stream_step import Found
from dataflow_sim.simulate.stream_tiles import Array, Held, vector_elements
from dataflow_sim.simulate.streams import part_of, step_of_sweep

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Access:
    """The replay's memory: read a box of a view from its parts, read and write a part whose
    elements are the given ones, and the identities of a box of a tensor."""

    gather: Callable[[tuple[Slice, ...], View], Held]
    read: Callable[[Slice, Ids], Array]
    write: Callable[[Slice, Array, Ids], None]
    ids: Callable[[str, Box, Shape4 | None], Ids]


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


@dataclass(slots=True, eq=False)
class StreamRunner:
    """Executes the steps of streamed layers."""

    program: Program
    constants: Mapping[str, npt.NDArray[np.generic]]
    access: Access
    arithmetic: RealStreams = field(default_factory=RealStreams)

    def run(self, step: Stream) -> None:
        """Execute a step.  Raises ProgramError where it lacks something."""
        layer, access = self.program.layers[step.layer], self.access
        sweep = layer.sweep
        assert sweep is not None
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
                for part in parts:
                    access.write(part, part_of(held, part.box), access.ids(name, part.box, None))

    def _vectors(self, layer: Layer, step: Stream) -> Array | None:
        """The numbers of a layer's constants in local memory: all of them where none count."""
        name = layer.output_vectors
        if name is None:
            return np.arange(vector_elements(layer, self.constants), dtype=np.float64)
        access = self.access
        found = [access.read(part, access.ids(name, part.box, None)) for part in step.constants]
        return np.concatenate([each.ravel() for each in found]) if found else None
