"""Steps of sweeps, computed from what they find in local memory.

A step is given the boxes of its views, the numbers of the constants that lie there, and its running
sums as it finds them; it gives what it makes of each result, and the running sums as it leaves
them.  Nothing is kept from step to step.

    product      every result from the tiles of this step
    attention    scores of these queries and keys, taken into the running sums; with the last keys
                 the results
    twice        statistics of these elements, taken into the running sums, then the results that
                 the step makes from finished ones
    recurrent    these rows of the gates; with the last ones the next state and the results

Arithmetic is elsewhere (`stream_arithmetic`, `recurrent`), what lies where in `stream_tiles`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.region import Box, Span
from dataflow_sim.graph.sweep import SweepKind
from dataflow_sim.simulate.pointwise import pointwise
from dataflow_sim.simulate.stream_arithmetic import RealStreams
from dataflow_sim.simulate.stream_attention import attention_step
from dataflow_sim.simulate.stream_products import PRODUCTS, product_step
from dataflow_sim.simulate.stream_recurrent import recurrent_step
from dataflow_sim.simulate.stream_step import Found, Results, SweepStep
from dataflow_sim.simulate.stream_tiles import Array, Constants, Held, box_of, to_map
from dataflow_sim.simulate.stream_twice import twice_step

_KINDS: Mapping[SweepKind, Callable[[SweepStep], tuple[Results, Array | None]]] = {
    SweepKind.PRODUCT: product_step,
    SweepKind.ATTENTION: attention_step,
    SweepKind.TWICE: twice_step,
    SweepKind.RECURRENT: recurrent_step,
}
_NO_CHANNELS: npt.NDArray[np.int64] = np.zeros(0, np.int64)


def is_computed(layer: Layer) -> bool:
    """Whether the steps of a streamed layer are computed from what they read."""
    if layer.sweep is None or layer.meaning is None:
        return False
    return layer.sweep.kind is not SweepKind.PRODUCT or layer.meaning.op in PRODUCTS


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What a step makes: a box of each result, None of what it does not write; its running sums.

    `loops` are the indices of the sweep's loops that it was of.
    """

    results: tuple[Held | None, ...]
    sums: Array | None
    loops: Mapping[str, Span]


def step_of_sweep(
    layer: Layer, found: Found, constants: Constants, arithmetic: RealStreams
) -> Made:
    """What a step of a layer makes of what it finds in local memory.

    Raises ProgramError where it lacks something, and where nobody knows what it computes.
    """
    sweep, meaning = layer.sweep, layer.meaning
    if sweep is None or meaning is None:
        raise ProgramError(f"layer '{layer.name}' ({layer.op}) cannot be replayed")
    step = SweepStep(layer, sweep, meaning, found, constants, arithmetic)
    results, sums = _KINDS[sweep.kind](step)
    made: list[Held | None] = []
    for number, shape in enumerate(found.results):
        if shape is None:
            made.append(None)
            continue
        place, axes = meaning.places[number], meaning.results[number]
        if place not in results:
            raise ProgramError(f"layer '{layer.name}' writes what it has not finished")
        box = box_of(sweep, sweep.outputs[number], shape, step.loops)
        value = to_map(axes, shape, box, results[place])
        if number == 0:
            value = pointwise(layer.post, value, constants, _NO_CHANNELS)
        made.append((value, box))
    return Made(tuple(made), sums, step.loops)


def part_of(held: Held, box: Box) -> Array:
    """Part of what a step makes.  Raises ProgramError where it makes no such thing."""
    value, made = held
    index = []
    for inner, outer in zip(box, made, strict=True):
        if inner.start < outer.start or inner.stop > outer.stop or inner.step != 1:
            raise ProgramError(f"{box} is written of {made}")
        index.append(slice(inner.start - outer.start, inner.stop - outer.start))
    return value[tuple(index)]
