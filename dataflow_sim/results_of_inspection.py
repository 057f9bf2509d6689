"""InspectResult: what a network computes, holds and keeps alive, before any hardware."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

INSPECT_SCHEMA = "dataflow_sim.inspect/1"


@dataclass(frozen=True, slots=True)
class InspectedLayer:
    """One layer of a network, counts in elements.

    `weight_elements` are those of the kernel, `vector_elements` those of bias, folded scale
    and shift; `live_elements` is the live set of whole maps while the layer runs.
    """

    name: str
    op: str
    folded: str
    output_shape: tuple[int, int, int, int]
    macs: int
    weight_elements: int
    vector_elements: int
    input_elements: int
    output_elements: int
    live_elements: int


@dataclass(frozen=True, slots=True)
class MapLifetime:
    """A map is alive from the layer that writes it first to the layer that reads it last.

    A network input is alive from the first layer on; what nothing reads, only in the layer
    that writes it.
    """

    tensor: str
    first_layer: str
    last_layer: str
    elements: int


@dataclass(frozen=True, slots=True)
class InspectResult:
    """A network without hardware: what it computes, holds and keeps alive.

    `live_peak_layer` is the first layer with the largest live set, `live_peak_maps` are the
    maps alive there; one that the layer overwrites with its result is not among them, so
    that their elements add up to `live_peak_elements`.  `lifetimes` are those of all maps in
    order of first write.
    """

    network: str
    macs: int
    parameters: int
    weight_elements: int
    live_peak_elements: int
    live_peak_layer: str
    live_peak_maps: tuple[str, ...]
    layers: tuple[InspectedLayer, ...]
    lifetimes: tuple[MapLifetime, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """The JSON result as plain data, keys in a fixed order."""
        return {
            "schema": INSPECT_SCHEMA,
            "network": self.network,
            "macs": self.macs,
            "parameters": self.parameters,
            "weight_elements": self.weight_elements,
            "live_peak_elements": self.live_peak_elements,
            "live_peak_layer": self.live_peak_layer,
            "live_peak_maps": list(self.live_peak_maps),
            "warnings": list(self.warnings),
            "layers": [
                {**asdict(layer), "output_shape": list(layer.output_shape)} for layer in self.layers
            ],
            "lifetimes": [asdict(lifetime) for lifetime in self.lifetimes],
        }

    def json_text(self) -> str:
        """The JSON result, ending in a newline."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"
