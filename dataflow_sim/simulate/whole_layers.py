"""Streamed layers whose results are taken whole from their operator's definition.

A copy that transposes, a tensor product, sampling: what a step of these makes does not follow from
what it reads.  All of the layer is computed when its first step comes, from its inputs as they are
then; steps still read what they name, and each element of the inputs must have been read at the
end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer, View
from dataflow_sim.graph.meaning import (
    ATTENTION,
    COPY,
    EMBEDDING,
    OWN,
    POINTWISE,
    ROTARY,
    Input,
    Meaning,
)
from dataflow_sim.graph.pointwise import OperandArg
from dataflow_sim.graph.region import Box, Shape4, whole
from dataflow_sim.graph.sweep import Sweep, SweepKind
from dataflow_sim.simulate.pointwise import pointwise
from dataflow_sim.simulate.reference import evaluate_operator
from dataflow_sim.simulate.stream_arithmetic import RealStreams
from dataflow_sim.simulate.stream_step import Found
from dataflow_sim.simulate.stream_tiles import Array, Constants, to_map, vector_elements
from dataflow_sim.simulate.streams import step_of_sweep

_NO_CHANNELS: npt.NDArray[np.int64] = np.zeros(0, np.int64)
# our own operators as sweeps of one step
_ONE_STEP: Mapping[str, SweepKind] = {
    ATTENTION: SweepKind.ATTENTION,
    ROTARY: SweepKind.PRODUCT,
    EMBEDDING: SweepKind.PRODUCT,
}


@dataclass(slots=True, eq=False)
class WholeLayer:
    """A layer's results as they lie, and which elements of its inputs were read."""

    layer: Layer
    results: tuple[Array, ...]
    read: dict[str, npt.NDArray[np.bool_]]

    def note(self, tensor: str, box: Box) -> None:
        """Take down that a step read a box of a tensor."""
        self.read[tensor][box.slices] = True

    def check(self) -> None:
        """Raise ProgramError unless every element that the layer reads was read."""
        for view in self.layer.views:
            for segment in view.segments:
                seen = self.read[segment.tensor][:, segment.channel_start : segment.channel_stop]
                if not seen.all():
                    raise ProgramError(
                        f"layer '{self.layer.name}' read {int(seen.sum()):,} of {seen.size:,} "
                        f"elements of '{segment.tensor}'"
                    )


def whole_layer(
    layer: Layer,
    shapes: Mapping[str, Shape4],
    tensor: Callable[[str], Array],
    constants: Constants,
    arithmetic: RealStreams,
) -> WholeLayer:
    """All that a layer makes of tensors as they are.

    Raises ProgramError where nobody knows what it computes.
    """
    meaning = layer.meaning
    if meaning is None:
        raise ProgramError(f"layer '{layer.name}' ({layer.op}) cannot be replayed")
    views = [_seen(view, tensor) for view in layer.views]
    names = {segment.tensor for view in layer.views for segment in view.segments}
    read = {name: np.zeros(shapes[name], bool) for name in sorted(names)}
    made = [shapes[name] for name in layer.outputs]
    if meaning.domain == OWN and meaning.op in _ONE_STEP:
        results = _in_one_step(layer, meaning, views, made, constants, arithmetic)
        return WholeLayer(layer, results, read)
    given = [_array(each, views, constants) for each in meaning.inputs]
    found = _evaluated(layer, meaning, given)
    arrays = []
    for number, (place, axes, shape) in enumerate(
        zip(meaning.places, meaning.results, made, strict=True)
    ):
        array = np.asarray(found[place], np.float64)
        if array.size != prod(axes.shape):
            raise ProgramError(
                f"layer '{layer.name}' ({layer.op}) makes {axes.shape}, but of its definition came "
                f"{array.shape}: there is nothing to hold it against"
            )
        array = array.reshape(axes.shape)
        value = to_map(axes, shape, whole(shape), array)
        arrays.append(value if number else pointwise(layer.post, value, constants, _NO_CHANNELS))
    return WholeLayer(layer, tuple(arrays), read)


def _seen(view: View, tensor: Callable[[str], Array]) -> Array:
    """All of a view."""
    parts = [tensor(s.tensor)[:, s.channel_start : s.channel_stop] for s in view.segments]
    return np.asarray(np.concatenate(parts, axis=1), np.float64)


def _array(
    given: Input, views: Sequence[Array], constants: Constants
) -> npt.NDArray[np.generic] | None:
    """An input of an operator as the file has it; None where it is left out."""
    if given.seen:
        parts = [axes.from_map(views[view]) for view, axes in given.seen]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts, given.joined)
        return joined.astype(given.element)
    if not given.constant:
        return None
    if given.constant not in constants:
        raise ProgramError(f"the constant '{given.constant}' has no values to replay")
    return constants[given.constant]


def _in_one_step(
    layer: Layer,
    meaning: Meaning,
    views: Sequence[Array],
    shapes: Sequence[Shape4],
    constants: Constants,
    arithmetic: RealStreams,
) -> tuple[Array, ...]:
    """One of our own operators, as a sweep none of whose loops is cut."""
    sweep = Sweep(
        kind=_ONE_STEP[meaning.op],
        batch=1,
        groups=1,
        rows=1,
        parts=(1,),
        views=((),) * len(layer.views),
        outputs=((),) * len(shapes),
        sums=0,
    )
    held = [(v, whole(view.shape)) for v, view in zip(views, layer.views, strict=True)]
    vectors = np.arange(vector_elements(layer, constants), dtype=np.float64)
    found = Found(held, vectors, None, False, True, shapes)
    made = step_of_sweep(replace(layer, sweep=sweep), found, constants, arithmetic)
    return tuple(each[0] for each in made.results if each is not None)


def _evaluated(
    layer: Layer, meaning: Meaning, given: Sequence[npt.NDArray[np.generic] | None]
) -> Mapping[int, npt.NDArray[np.generic]]:
    """The operator's results by their places among its outputs."""
    if meaning.domain == OWN and meaning.op == POINTWISE:
        return {0: _pointwise(meaning, given)}
    if meaning.domain == OWN and meaning.op == COPY and given[0] is not None:
        return {0: given[0]}
    if meaning.domain:
        raise ProgramError(f"layer '{layer.name}' ({layer.op}) has no definition")
    where = f"layer '{layer.name}' ({layer.op})"
    return evaluate_operator(
        where, meaning.op, meaning.version, dict(meaning.attributes), given, meaning.places
    )


def _pointwise(meaning: Meaning, given: Sequence[npt.NDArray[np.generic] | None]) -> Array:
    """Elementwise operations on arrays that broadcast; constants of a norm go by channel."""
    arrays = [np.zeros(()) if each is None else np.asarray(each, np.float64) for each in given]
    rank = max(array.ndim for array in arrays)
    for step in meaning.program.steps:
        for arg in step.args[1:] if step.op == "BatchNormalization" else ():
            if isinstance(arg, OperandArg) and arrays[arg.operand + 1].ndim == 1:
                arrays[arg.operand + 1] = arrays[arg.operand + 1].reshape(-1, *[1] * (rank - 2))
    found = pointwise(meaning.program, arrays[0], {}, _NO_CHANNELS, arrays[1:])
    return np.broadcast_to(found, meaning.results[0].shape)
