"""Schedules: what was chosen for each group of layers, as immutable values.

A schedule is a sequence of groups in the network's order.  Between groups a feature map is
in DRAM, or resident: whole in local memory, or both.

The loop nest of a layer alone.  Groups are always outermost; the three loops M (output
channels), K (input channels) and P (space: batch, rows, columns) follow in one of six
orders, and the innermost body is one compute step on tiles in local memory:

    for g in groups / group_tile
      for . in order[0] ┐
        for . in order[1] │ a permutation of  M: output_channels / output_channel_tile
          for . in order[2] ┘                 K: input_channels  / input_channel_tile
            step                              P: batch x columns x rows / their tiles

Where a split reduction has a further map to read (a shortcut that is added), its sums are
finished by steps of their own, one output channel after the other, behind the last of K.

A tensor's tile is loaded when its index changes and stays as long as it does not.  Of the
input, rows that the tile above left stay too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from dataflow_sim.traffic import TrafficKey

ORDERS = ("PMK", "MPK", "PKM", "MKP", "KPM", "KMP")
# of a sweep (`schedule.sweep`): row tiles P and column tiles N within batches and groups
SWEEP_ORDERS = ("PN", "NP")
_Bits = TypeVar("_Bits", int, npt.NDArray[np.int64])


def bytes_taken(bits: _Bits, alignment_bytes: int, byte_bits: int = 8) -> _Bits:
    """Bytes of local memory that a buffer of so many bits takes: whole units of the alignment."""
    units = -(-bits // (byte_bits * alignment_bytes))
    return units if alignment_bytes == 1 else units * alignment_bytes


class PartialSums(StrEnum):
    """Where unfinished sums live while a reduction is split across steps.

    NONE     the reduction is finished within a step, in the array's own accumulators
    KEPT     on chip, for all output tiles that the K loop encloses
    SPILLED  one tile on chip; written to DRAM and read back between K steps

    On chip is the accumulator memory where there is one, else local memory.
    """

    NONE = "none"
    KEPT = "kept"
    SPILLED = "spilled"


@dataclass(frozen=True, slots=True)
class LayerTiling:
    """Tile extents, loop order and place of the partial sums of one layer.

    Extents are in elements along the axis: groups, output and input channels *of a
    group*, batch, rows and columns of the layer's (pooled) output.  The last tile of an
    axis may be smaller.  Of the first `pinned_output_channels` the kernel, or of the first
    `pinned_input_channels` the whole plane, stays in left-over memory for the whole layer;
    at most one of the two is above 0.  Of a sweep the extents are indices of its loops:
    groups, batch, rows and columns; KEPT says that running sums wait in local memory.  Of any
    other streamed layer, `steps` tells into how many slices its tensors are cut, and nothing
    else counts.
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
    pinned_output_channels: int = 0
    pinned_input_channels: int = 0


@dataclass(frozen=True, slots=True)
class RowTiling:
    """How a layer runs inside a merged group: row by row, whole rows.

    `streamed` says that the kernel is fetched again in each of `firings`, by tiles of
    `output_channel_tile` channels, but for the first `pinned_channels`, which stay and are a tile
    of their own; otherwise it stays and a step makes a whole row.  `running` says that the
    layer carries its pooling from row to row: a step then takes one row of its body.  A sweep
    makes all rows of a firing in one step.
    """

    streamed: bool
    output_channel_tile: int
    firings: int
    steps: int
    running: bool = False
    pinned_channels: int = 0


class Halo(StrEnum):
    """What tiles of a map have in common with their neighbours (`tile_regions`).

    CACHE      it stays in local memory, rows and columns
    CACHE_X    columns stay, rows are made again
    RECOMPUTE  all of it is made again: computed, or read from DRAM
    """

    CACHE = "cache"
    CACHE_X = "cache-x"
    RECOMPUTE = "recompute"


class PlaneTile(NamedTuple):
    """Rows and columns of the output of a merged group's last layer."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class PlaneTiling:
    """How a layer runs inside a merged group by tiles of the plane.

    `streamed` says that the kernel is fetched again in each of `firings`, by tiles of
    `output_channel_tile` channels; otherwise it stays and a firing is one step.
    """

    streamed: bool
    output_channel_tile: int
    firings: int
    steps: int


@dataclass(frozen=True, slots=True)
class LayerSchedule:
    """One layer's tiling with what the closed form says it costs.

    `traffic_bits` are the DRAM bits by tensor and reason, `macs_executed` includes what is
    recomputed for overlapping pooling windows and halos; `local_bits` are the bits in and out of
    local memory, by DMA and by steps, `local_write_bits` those of them that go in;
    `accumulator_bytes` are what its partial sums take of an accumulator memory.
    """

    layer: str
    tiling: LayerTiling | RowTiling | PlaneTiling
    traffic_bits: Mapping[TrafficKey, int]
    macs_executed: int
    local_bits: int
    local_write_bits: int
    accumulator_bytes: int = 0


class Packing(StrEnum):
    """How the buffers of a merged group get their addresses, in the order of the effort.

    RINGS     every map has a region of its own, with as many slots as rows of it ever live
    GAPS      each buffer, the largest first, lies in the lowest gap
    SEARCHED  below the lowest height that a search of bounded work finds
    """

    RINGS = "rings"
    GAPS = "gaps"
    SEARCHED = "searched"


class Handover(NamedTuple):
    """A resident map that dies in a group, one that is made there, and how far their begins are
    apart at the least, the latter below."""

    taken: str
    made: str
    distance_bytes: int


@dataclass(frozen=True, slots=True)
class Group:
    """Layers executed together: indices in the network's order, as they fire within a stripe.

    A group of one layer with a `LayerTiling` runs its loop nest; any other is merged:
    `stripe_rows` rows of its input at a time, None for the finest timetable, or by tiles of
    the plane of its last layer's output, with a halo for each map but this.  Of its maps
    those in `resident` are whole in local memory while it runs, those in `stored` are
    written to DRAM, those in `kept` are loaded whole before it and stay; weights that stand are
    among the resident, and among the kept where they are brought.  Its own buffers lie in
    [address, address + local_bytes), those of a merged group as `packing` says; `hands` tells of a
    resident map whose rows give way to those of one that is made (`handover`).
    """

    members: tuple[int, ...]
    merged: bool
    packing: Packing
    stripe_rows: int | None
    layers: tuple[LayerSchedule, ...]
    resident: frozenset[str]
    stored: frozenset[str]
    kept: tuple[str, ...]
    address: int
    local_bytes: int
    tile: PlaneTile | None = None
    halos: tuple[tuple[str, Halo], ...] = ()
    hands: Handover | None = None


@dataclass(frozen=True, slots=True)
class Resident:
    """A map that stays whole in local memory from group `first` to group `last`.

    Every map in `tensors` takes over the place of the one before it, in the layer in
    which that one is read for the last time.
    """

    tensors: tuple[str, ...]
    first: int
    last: int
    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Buffering:
    """Whose tiles take two buffers where more than one passes through.

    Constants per channel are weights; operands and all other maps read are inputs.
    """

    inputs: bool
    weights: bool
    outputs: bool
    partial_sums: bool


SINGLE = Buffering(inputs=False, weights=False, outputs=False, partial_sums=False)
DOUBLE = Buffering(inputs=True, weights=True, outputs=True, partial_sums=True)


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """What a schedule needs to know of the hardware's memory on chip.

    `doubled` says which buffers are double; `accumulator_capacity_bytes` is the memory of its
    own that partial sums have, None where they lie in local memory.  Every buffer in local memory
    begins at a multiple of `alignment_bytes`, a power of two, and takes a multiple of it.
    Widths are the network's, `byte_bits` of them a byte (`NetworkGraph.byte_bits`).
    """

    capacity_bytes: int
    doubled: Buffering
    accumulator_bits: int
    accumulator_capacity_bytes: int | None = None
    alignment_bytes: int = 1
    byte_bits: int = 8

    def __post_init__(self) -> None:
        """Check the alignment."""
        unit = self.alignment_bytes
        if unit < 1 or unit & (unit - 1):
            raise ValueError(f"an alignment of {unit} bytes is no power of two")

    def bytes_taken(self, bits: _Bits) -> _Bits:
        """Bytes of local memory that a buffer of so many bits takes."""
        return bytes_taken(bits, self.alignment_bytes, self.byte_bits)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A whole network's schedule under one policy and one local memory.

    The groups run one after the other, in a topological order of the network's layers that
    is the schedule's own.  `local_bytes` is its height: the highest address that any of its
    buffers reaches.  `standing` are weights that have a place all the time and are left there at
    the end; they are there at the beginning, too, where it is `warm`.  `thinned` tells in a
    sentence each what the search that found it left out of its space.
    """

    network: str
    policy: str
    memory: MemoryOptions
    groups: tuple[Group, ...]
    residents: tuple[Resident, ...] = ()
    standing: frozenset[str] = frozenset()
    warm: bool = False
    thinned: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[int, ...]:
        """The layers' indices in the order in which they run."""
        return tuple(index for group in self.groups for index in group.members)

    @property
    def layers(self) -> tuple[LayerSchedule, ...]:
        """All layers in the order in which they run."""
        return tuple(layer for group in self.groups for layer in group.layers)

    @property
    def local_bytes(self) -> int:
        """The height of local memory in use."""
        groups = max(group.address + group.local_bytes for group in self.groups)
        maps = max((r.address + r.size_bytes for r in self.residents), default=0)
        return max(groups, maps)

    @property
    def accumulator_bytes(self) -> int:
        """The accumulator memory in use."""
        return max(layer.accumulator_bytes for layer in self.layers)

    @property
    def steps(self) -> int:
        """Steps of the program that the schedule is lowered to."""
        return sum(layer.tiling.steps for layer in self.layers)

    def traffic_bytes(self) -> dict[TrafficKey, int]:
        """Estimated DRAM bytes by tensor and reason, each rounded up once."""
        bits: dict[TrafficKey, int] = {}
        for layer in self.layers:
            for key, value in layer.traffic_bits.items():
                bits[key] = bits.get(key, 0) + value
        return {key: -(-value // self.memory.byte_bits) for key, value in bits.items()}
