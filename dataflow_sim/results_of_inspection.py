"""InspectResult: what a network computes, holds and keeps alive, before any hardware.

Two ratios tell how much work a fetched byte brings, one byte an element, one MAC being two
operations:

    operations per weight byte = 2 x MACs / (weight elements + per-channel constants)
    operations per byte moved  = 2 x MACs / (the same + maps read + maps written), each once

Ignored: widths other than 8 bit, zero padding (counted as MACs), and whatever stays in local
memory from one layer to the next.  None where nothing is there to be fetched.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from dataflow_sim.results_of_what_ifs import WhatIfResult

INSPECT_SCHEMA = "dataflow_sim.inspect/1"

_OPERATIONS_PER_MAC = 2

Shape = tuple[int, int, int, int]


def operations_per_byte(macs: int, elements: int) -> float | None:
    """Operations for each element, taken as one byte; None where there are no elements."""
    return _OPERATIONS_PER_MAC * macs / elements if elements else None


@dataclass(frozen=True, slots=True)
class InspectedLayer:
    """One layer of a network, counts in elements, shapes as (batch, channel, row, column).

    `input_shape` is that of the first map; `reads` and `writes` are the names of all maps,
    constants not among them.  `weight_elements` are those of the kernel, `vector_elements`
    those of bias, folded scale and shift; `live_elements` is the live set of whole maps while
    the layer runs.
    """

    name: str
    op: str
    folded: str
    input_shape: Shape
    output_shape: Shape
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    macs: int
    weight_elements: int
    vector_elements: int
    input_elements: int
    output_elements: int
    live_elements: int

    @property
    def constant_elements(self) -> int:
        """Elements of the kernel and of the per-channel constants."""
        return self.weight_elements + self.vector_elements

    @property
    def moved_elements(self) -> int:
        """Elements of constants, of maps read and of maps written, each once."""
        return self.constant_elements + self.input_elements + self.output_elements

    @property
    def operations_per_weight_byte(self) -> float | None:
        """2 x MACs / (weight elements + per-channel constants), one byte an element."""
        return operations_per_byte(self.macs, self.constant_elements)

    @property
    def operations_per_byte_moved(self) -> float | None:
        """2 x MACs / (weights + per-channel constants + maps read + maps written)."""
        return operations_per_byte(self.macs, self.moved_elements)

    def to_json(self) -> dict[str, object]:
        """The layer as plain data, keys in a fixed order."""
        return {
            **asdict(self),
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            "reads": list(self.reads),
            "writes": list(self.writes),
            "operations_per_weight_byte": self.operations_per_weight_byte,
            "operations_per_byte_moved": self.operations_per_byte_moved,
        }


@dataclass(frozen=True, slots=True)
class MapLifetime:
    """A map is alive from the layer that writes it first to the layer that reads it last.

    A network input is alive from the first layer on; what nothing reads, only in the layer
    that writes it.  `first` and `last` are the layers' positions, counted from 0; `kind` is
    `input`, `output` or `map`.  A map that is `overwritten` gives its place to the result of
    the last layer, so that it is not in that layer's live set.
    """

    tensor: str
    kind: str
    first_layer: str
    last_layer: str
    first: int
    last: int
    shape: Shape
    elements: int
    overwritten: bool


@dataclass(frozen=True, slots=True)
class InspectedPass:
    """What a pass of the reader did: its name, what holds after it, the nodes it changed."""

    name: str
    after: str
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MeasuredKernel:
    """What a file says of a kernel's values: zeros, distinct ones, and of values of so many `bits`
    the entropy and the mean length of a Huffman code, in bits.

    Distinct values are None where they are too many to be counted.
    """

    layer: str
    elements: int
    zeros: int
    distinct: int | None
    bits: int
    entropy_bits: float
    huffman_bits: float

    def to_json(self) -> dict[str, object]:
        """One entry of `weights` in the JSON result."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class InspectResult:
    """A network without hardware: what it computes, holds and keeps alive.

    `live_peak_layer` is the first layer with the largest live set, `live_peak_maps` are the
    maps alive there; one that the layer overwrites with its result is not among them, so
    that their elements add up to `live_peak_elements`.  `lifetimes` are those of all maps in
    order of first write.  Other counts are sums over the layers: what two layers read counts
    twice, but in `parameters`.
    """

    network: str
    parameters: int
    live_peak_elements: int
    live_peak_layer: str
    live_peak_maps: tuple[str, ...]
    layers: tuple[InspectedLayer, ...]
    lifetimes: tuple[MapLifetime, ...]
    passes: tuple[InspectedPass, ...]
    warnings: tuple[str, ...]
    what_ifs: tuple[WhatIfResult, ...] = ()
    weights: tuple[MeasuredKernel, ...] = ()

    @property
    def macs(self) -> int:
        """Nominal MACs of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_elements(self) -> int:
        """Elements of all kernels."""
        return sum(layer.weight_elements for layer in self.layers)

    @property
    def vector_elements(self) -> int:
        """Elements of all per-channel constants."""
        return sum(layer.vector_elements for layer in self.layers)

    @property
    def input_elements(self) -> int:
        """Elements of the maps that the layers read."""
        return sum(layer.input_elements for layer in self.layers)

    @property
    def output_elements(self) -> int:
        """Elements of the maps that the layers write."""
        return sum(layer.output_elements for layer in self.layers)

    @property
    def operations_per_weight_byte(self) -> float | None:
        """2 x MACs / (weight elements + per-channel constants) of all layers."""
        return operations_per_byte(self.macs, sum(layer.constant_elements for layer in self.layers))

    @property
    def operations_per_byte_moved(self) -> float | None:
        """2 x MACs / (weights + per-channel constants + maps read + written) of all layers."""
        return operations_per_byte(self.macs, sum(layer.moved_elements for layer in self.layers))

    def to_json(self) -> dict[str, object]:
        """The JSON result as plain data, keys in a fixed order."""
        return {
            "schema": INSPECT_SCHEMA,
            "network": self.network,
            "what_ifs": [each.to_json() for each in self.what_ifs],
            "weights": [each.to_json() for each in self.weights],
            "macs": self.macs,
            "parameters": self.parameters,
            "weight_elements": self.weight_elements,
            "vector_elements": self.vector_elements,
            "input_elements": self.input_elements,
            "output_elements": self.output_elements,
            "operations_per_weight_byte": self.operations_per_weight_byte,
            "operations_per_byte_moved": self.operations_per_byte_moved,
            "live_peak_elements": self.live_peak_elements,
            "live_peak_layer": self.live_peak_layer,
            "live_peak_maps": list(self.live_peak_maps),
            "warnings": list(self.warnings),
            "passes": [
                {"name": each.name, "after": each.after, "changed": list(each.changed)}
                for each in self.passes
            ],
            "layers": [layer.to_json() for layer in self.layers],
            "lifetimes": [{**asdict(life), "shape": list(life.shape)} for life in self.lifetimes],
        }

    def json_text(self) -> str:
        """The JSON result, ending in a newline."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"
