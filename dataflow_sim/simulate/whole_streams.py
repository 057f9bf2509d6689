"""Streamed layers on whole maps: sweeps of which no loop is cut, but for time.

A layer of which a replay takes the results whole is evaluated as there: nothing of its program is
proved but what it moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.region import Shape4, Span, whole
from dataflow_sim.graph.sweep import Sweep, SweepKind
from dataflow_sim.simulate.arithmetic import Arithmetic
from dataflow_sim.simulate.codec import Array
from dataflow_sim.simulate.stream_step import Found
from dataflow_sim.simulate.stream_tiles import box_of, vector_elements
from dataflow_sim.simulate.streams import Made, is_computed, step_of_sweep
from dataflow_sim.simulate.whole_layers import whole_layer


def streamed(
    layer: Layer, arithmetic: Arithmetic, values: Mapping[str, Array], shapes: Mapping[str, Shape4]
) -> tuple[Array, ...]:
    """All that a streamed layer makes, tensor by tensor, given whole maps by name.

    Raises ProgramError where nobody knows what it computes.
    """
    meant = {
        segment.tensor: arithmetic.meant_of(segment.tensor, values[segment.tensor])
        for view in layer.views
        for segment in view.segments
    }
    if not is_computed(layer):
        found = whole_layer(
            layer, shapes, meant.__getitem__, arithmetic.constants, arithmetic.streams
        )
        results: Sequence[Array] = found.results
    else:
        views = [
            np.concatenate(
                [
                    arithmetic.seen(s, meant[s.tensor][:, s.channel_start : s.channel_stop])
                    for s in view.segments
                ],
                axis=1,
            )
            for view in layer.views
        ]
        made = [shapes[name] for name in layer.outputs]
        assert layer.sweep is not None
        in_time = layer.sweep.kind is SweepKind.RECURRENT
        run = _in_time if in_time else _at_once
        results = run(layer, layer.sweep, arithmetic, views, made)
    pairs = zip(layer.outputs, results, strict=True)
    return tuple(arithmetic.stored(name, value) for name, value in pairs)


def _vectors(layer: Layer, arithmetic: Arithmetic) -> Array:
    """All of a layer's constants, by their numbers."""
    return np.arange(vector_elements(layer, arithmetic.constants), dtype=np.float64)


def _step(layer: Layer, arithmetic: Arithmetic, found: Found) -> Made:
    return step_of_sweep(layer, found, arithmetic.constants, arithmetic.streams)


def _at_once(
    layer: Layer,
    sweep: Sweep,
    arithmetic: Arithmetic,
    views: Sequence[Array],
    shapes: Sequence[Shape4],
) -> tuple[Array, ...]:
    """A sweep as one step."""
    uncut = Sweep(sweep.kind, 1, 1, 1, (1,), ((),) * len(views), ((),) * len(shapes), sums=0)
    held = [(each, whole(view.shape)) for each, view in zip(views, layer.views, strict=True)]
    found = Found(held, _vectors(layer, arithmetic), None, False, True, shapes)
    made = _step(replace(layer, sweep=uncut), arithmetic, found)
    return tuple(each[0] for each in made.results if each is not None)


def _in_time(
    layer: Layer,
    sweep: Sweep,
    arithmetic: Arithmetic,
    views: Sequence[Array],
    shapes: Sequence[Shape4],
) -> tuple[Array, ...]:
    """A recurrent layer, direction by direction, time step by time step."""
    results = [np.zeros(shape) for shape in shapes]
    everything = {loop: Span(0, sweep.extent(loop)) for loop in "BN"}
    for group in range(sweep.groups):
        sums = None
        rows = range(sweep.rows)
        for row in reversed(rows) if group in sweep.backwards else rows:
            loops = {**everything, "G": Span(group, group + 1), "P": Span(row, row + 1)}
            held = []
            for each, view, access in zip(views, layer.views, sweep.views, strict=True):
                box = box_of(sweep, access, view.shape, loops)
                held.append((each[box.slices], box))
            # never its last, so that it hands its state on
            found = Found(held, _vectors(layer, arithmetic), sums, True, False, shapes)
            made = _step(layer, arithmetic, found)
            sums = made.sums
            for whole_result, part in zip(results, made.results, strict=True):
                if part is None:
                    raise ProgramError(f"layer '{layer.name}' leaves a result out")
                whole_result[part[1].slices] = part[0]
    return tuple(results)
