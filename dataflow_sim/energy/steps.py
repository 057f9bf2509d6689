"""Cycles of a step: what the array, the vector unit and the unit for exponentials take for it.

    array      MACs that are multiplied / (MACs a cycle of the widths x lanes that the step's own
               extents fill x stated utilisation)
    vector     operations / operations a cycle, where the machine states them
    special    special operations / special operations a cycle

The units are one pipeline: a step takes as long as the slowest of them, rounded up to a cycle.
Assumed: to begin a step takes no time.  Ignored: filling and draining of the array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from dataflow_sim.energy.compute import (
    Extents,
    LayerCompute,
    lanes_in_use,
    layer_compute,
)
from dataflow_sim.graph.layer import LayerKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import HardwareFile


@dataclass(frozen=True, slots=True)
class StepShape:
    """What a step of a layer does, as counts and extents."""

    layer: int
    macs: Fraction
    extents: Extents
    vector_operations: int
    special_operations: int


@dataclass(frozen=True, slots=True)
class StepCycles:
    """Cycles of a step, in whole ones, and those of its multiplications at the array's peak."""

    total: int
    at_peak: Fraction


def step_cycles(
    hardware: HardwareFile, graph: NetworkGraph, shapes: Sequence[StepShape]
) -> list[StepCycles]:
    """Cycles of each of these steps."""
    known: dict[int, LayerCompute] = {}
    found = []
    for shape in shapes:
        if shape.layer not in known:
            known[shape.layer] = layer_compute(hardware, graph, graph.layers[shape.layer])
        found.append(_cycles(hardware, graph, shape, known[shape.layer]))
    return found


def _cycles(
    hardware: HardwareFile, graph: NetworkGraph, shape: StepShape, compute: LayerCompute
) -> StepCycles:
    layer, vector = graph.layers[shape.layer], hardware.compute.vector
    array = at_peak = Fraction(0)
    if shape.macs:
        at_peak = shape.macs * compute.executed / compute.peak
        rate = compute.macs_per_cycle
        if layer.kind is LayerKind.CONVOLUTION and hardware.compute.array is not None:
            rate = rate / lanes_in_use(hardware, layer)
            rate *= lanes_in_use(hardware, layer, shape.extents)
        array = shape.macs * compute.executed / rate
    elements = special = Fraction(0)
    if vector is not None:
        elements = Fraction(shape.vector_operations, vector.operations_per_cycle)
        per_cycle = vector.special_per_cycle or vector.operations_per_cycle
        special = Fraction(shape.special_operations, per_cycle)
    return StepCycles(ceil(max(array, elements, special)), at_peak)
