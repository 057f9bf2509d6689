"""What is in DRAM before a replay: what the file and the caller put there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer, WeightRole
from dataflow_sim.graph.network import NetworkGraph, Numbers
from dataflow_sim.graph.pointwise import ConstantArg
from dataflow_sim.graph.quantisation import holds_integers
from dataflow_sim.simulate.quantised import decode, numbers


def dram_image(
    graph: NetworkGraph, inputs: Mapping[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[np.float64]]:
    """The numbers in DRAM before a replay: inputs and weights, by the tensors that they lie in.

    An input of integers that the file gives a meaning is what these mean.  Raises ProgramError when
    the network does not carry the values of its weights.
    """
    image: dict[str, npt.NDArray[np.float64]] = {}
    for tensor in graph.tensors.values():
        if tensor.role is WeightRole.VECTOR:
            numbers = np.arange(tensor.shape[1], dtype=np.float64)[:, None, None]
            image[tensor.name] = np.broadcast_to(numbers, tensor.shape)
    for place in sorted(graph.placements, key=lambda place: place.numbers is not None):
        given = inputs[place.array] if place.array in inputs else _constant(graph, place.array)
        if place.numbers is not None:
            given = given[_rows(place.numbers, image, len(given))]
        tensor = graph.tensors[place.tensor]
        if place.array in inputs and holds_integers(given) and tensor.quantisation is not None:
            given = decode(given.astype(np.int64), tensor.quantisation.alone)
        found = place.axes.to_map(given.reshape(place.axes.shape), tensor.shape)
        image[place.tensor] = found.astype(np.float64)
    for layer in graph.layers:
        if layer.weight is None or layer.weight_constant is None:
            continue
        value = _constant(graph, layer.weight_constant)
        plain = value.T if layer.weight_transposed else value
        if layer.window.transposed:
            plain = _turned(layer, value)
        image[layer.weight] = plain.reshape(graph.tensors[layer.weight].shape).astype(np.float64)
    return image


def _rows(
    numbers: Numbers, image: Mapping[str, npt.NDArray[np.float64]], size: int
) -> npt.NDArray[np.int64]:
    """The rows of a table that the file's numbers ask for, in their order: an indexed transfer."""
    parts = [image[s.tensor][:, s.channel_start : s.channel_stop] for s in numbers.view.segments]
    rows = numbers.axes.from_map(np.concatenate(parts, axis=1)).ravel().astype(np.int64)
    if rows.min() < -size or rows.max() >= size:
        raise ProgramError(f"rows {rows.min()} to {rows.max()} are asked for of a table of {size}")
    return rows


def _turned(layer: Layer, value: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """The kernel of a transposed convolution as one that slides.

    The file has (input channels, output channels of a group, ...); here the outputs come first,
    group by group, and the taps in reverse.
    """
    kernel = value.reshape(
        layer.groups,
        layer.input_channels_per_group,
        layer.output_channels_per_group,
        *layer.window.kernel,
    )
    return kernel.swapaxes(1, 2)[..., ::-1, ::-1]


def _constant(graph: NetworkGraph, name: str) -> npt.NDArray[np.generic]:
    return numbers(graph.constants[name])


def applied_numbers(graph: NetworkGraph) -> dict[str, npt.NDArray[np.generic]]:
    """The numbers of the constants that steps apply themselves, which no tensor brings."""
    found: dict[str, npt.NDArray[np.generic]] = {}
    for layer in graph.layers:
        steps = (*layer.pre.steps, *layer.post.steps)
        named = [arg.name for step in steps for arg in step.args if isinstance(arg, ConstantArg)]
        named += layer.meaning.constants if layer.meaning is not None else ()
        for name in (*named, layer.bias_constant):
            if name is not None and graph.constants[name].value is not None:
                found[name] = numbers(graph.constants[name])
    return found
