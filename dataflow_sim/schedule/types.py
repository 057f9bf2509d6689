"""Schedules: what was chosen for each layer, as immutable values.

The loop nest of one layer.  Groups are always outermost; the three loops M (output
channels), K (input channels) and P (space: batch, rows, columns) follow in one of six
orders, and the innermost body is one compute step on tiles in local memory:

    for g in groups / group_tile
      for . in order[0] ┐
        for . in order[1] │ a permutation of  M: output_channels / output_channel_tile
          for . in order[2] ┘                 K: input_channels  / input_channel_tile
            step                              P: batch x rows x columns / their tiles

A tensor's tile is loaded when its index changes and stays as long as it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dataflow_sim.traffic import TrafficKey

ORDERS = ("PMK", "MPK", "PKM", "MKP", "KPM", "KMP")


class PartialSums(StrEnum):
    """Where unfinished sums live while a reduction is split across steps.

    NONE     the reduction is finished within a step, in the array's own accumulators
    KEPT     in local memory, for all output tiles that the K loop encloses
    SPILLED  one tile in local memory; written to DRAM and read back between K steps
    """

    NONE = "none"
    KEPT = "kept"
    SPILLED = "spilled"


@dataclass(frozen=True, slots=True)
class LayerTiling:
    """Tile extents, loop order and place of the partial sums of one layer.

    Extents are in elements along the axis: groups, output and input channels *of a
    group*, batch, rows and columns of the layer's (pooled) output.  The last tile of an
    axis may be smaller.  Of an opaque layer, `steps` tells into how many slices its
    tensors are cut, and nothing else counts.
    """

    order: str
    partial_sums: PartialSums
    group_tile: int
    output_channel_tile: int
    input_channel_tile: int
    batch_tile: int
    row_tile: int
    column_tile: int
    steps: int


@dataclass(frozen=True, slots=True)
class LayerSchedule:
    """One layer's tiling with what the closed form says it costs.

    `local_bytes` is the height of its buffers, `traffic_bits` the DRAM bits by tensor
    and reason, `macs_executed` includes rows recomputed for overlapping pooling windows;
    `local_bits` are the bits in and out of local memory, by DMA and by steps.
    """

    layer: str
    tiling: LayerTiling
    local_bytes: int
    traffic_bits: Mapping[TrafficKey, int]
    macs_executed: int
    local_bits: int


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """What a schedule needs to know of the hardware's local memory."""

    capacity_bytes: int
    double_buffer: bool
    accumulator_bits: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """A whole network's schedule under one policy and one local memory."""

    network: str
    policy: str
    memory: MemoryOptions
    layers: tuple[LayerSchedule, ...]

    def traffic_bytes(self) -> dict[TrafficKey, int]:
        """Estimated DRAM bytes by tensor and reason, each rounded up once."""
        bits: dict[TrafficKey, int] = {}
        for layer in self.layers:
            for key, value in layer.traffic_bits.items():
                bits[key] = bits.get(key, 0) + value
        return {key: -(-value // 8) for key, value in bits.items()}
