"""The live set of whole maps over the layers as plain data: why each map is alive, and when.

A map is in the live set of every layer from the one that writes it first to the one that
reads it last; a map that a layer overwrites with its result is not in that layer's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataflow_sim.results_of_inspection import InspectResult, MapLifetime

Numbers = npt.NDArray[np.int64]

WAITING, READ, WRITTEN = WHY = (
    "kept for a later layer",
    "read by the layer",
    "written by the layer",
)


@dataclass(frozen=True, slots=True)
class LiveMap:
    """A map in the live set of the peak, and why it is there: one of WHY."""

    why: str
    name: str
    elements: int


@dataclass(frozen=True, slots=True)
class LiveMaps:
    """`elements[k, i]` are alive in layer i for the k-th reason of WHY.

    `peak` is the first layer in which most are alive, `maps` are alive there, the largest first.
    """

    elements: Numbers
    peak: int
    maps: tuple[LiveMap, ...]


def live_maps(result: InspectResult) -> LiveMaps:
    """The live set over the layers of a network."""
    changes = np.zeros(len(result.layers) + 1, dtype=np.int64)
    for life in result.lifetimes:
        changes[life.first] += life.elements
        changes[_stop(life)] -= life.elements
    total = changes.cumsum()[:-1]
    lives = {life.tensor: life for life in result.lifetimes}
    read, written = (
        np.array(
            [
                sum(lives[name].elements for name in names if index < _stop(lives[name]))
                for index, names in enumerate(each)
            ],
            dtype=np.int64,
        )
        for each in (
            [layer.reads for layer in result.layers],
            [layer.writes for layer in result.layers],
        )
    )
    peak = int(total.argmax())
    return LiveMaps(np.stack([total - read - written, read, written]), peak, _at(result, peak))


def _stop(life: MapLifetime) -> int:
    """The first layer, behind its lifetime, in whose live set a map is no more."""
    return life.last if life.overwritten else life.last + 1


def _at(result: InspectResult, index: int) -> tuple[LiveMap, ...]:
    """The maps alive in a layer, the largest first, others in order of first write."""
    layer = result.layers[index]
    why = dict.fromkeys(layer.reads, READ) | dict.fromkeys(layer.writes, WRITTEN)
    found = [
        LiveMap(why.get(life.tensor, WAITING), life.tensor, life.elements)
        for life in result.lifetimes
        if life.first <= index < _stop(life)
    ]
    return tuple(sorted(found, key=lambda each: -each.elements))
