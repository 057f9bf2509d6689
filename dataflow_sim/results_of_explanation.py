"""ExplainResult: why one layer, alone, is tiled as it is, as plain frozen data.

Bytes are those of the layer alone, every map through DRAM: what `run --policy layerwise` counts
for it.  Where two layers read one tensor, that run divides its bytes otherwise into first and
repeated reads; where its memory is the least for its traffic, it may take a smaller tiling of
the same bytes.

The words for loops are those of `Loop.axis`: groups, output channels, input channels, batch,
columns, rows; batch, columns and rows together are the space.  Those of a sweep are batch, groups,
rows, columns and passes, counted in indices of its loops, and never the space.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from dataflow_sim.results_of_what_ifs import WhatIfResult

EXPLAIN_SCHEMA = "dataflow_sim.explain/1"

Shape = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop over the tiles of an axis; extents in elements, `last_tile` that of the last one.

    The columns of a sweep are cut part by part, so that tiles before the last may be smaller too.
    """

    axis: str
    extent: int
    tile: int
    trips: int
    last_tile: int


@dataclass(frozen=True, slots=True)
class Move:
    """What happens inside the first `depth` loops: a load, a store, or sums that are held there.

    `what` is `load`, `store` or `hold`; `tile_bytes` are those of the largest tile, or of pinned
    channels all.  `when` tells in which iterations of the input channels it happens: `always`,
    `after first`, `before last`, only in the `last`, or behind that in the steps that `finish`
    sums; of a sweep `always`, where the columns are its `own columns`, in the `second pass`, or
    with the tile of the `last columns` or `last rows`.  `times` is how often in the whole layer;
    tiles that are pinned whole do not count.  `new_rows` says that only rows are loaded that the
    tile above did not leave.
    """

    what: str
    holds: str
    depth: int
    tile_bytes: int
    when: str
    times: int
    new_rows: bool


@dataclass(frozen=True, slots=True)
class Finish:
    """Steps of their own that finish sums, one output channel of the tile after the other.

    They stand inside the first `depth` loops, behind the last tile of input channels; a tile has
    up to `channels` channels, the whole layer takes so many `steps`.
    """

    depth: int
    channels: int
    steps: int


@dataclass(frozen=True, slots=True)
class Pinned:
    """Channels of a `role` (kernel, input) that stay in left-over memory for the whole layer.

    The first `channels` of `of_channels` along an axis, loaded before the loops.  `shape` is
    that of `Buffer`; `elements` and `size_bytes` are those of all these channels.
    """

    role: str
    axis: str
    channels: int
    of_channels: int
    shape: Shape
    elements: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Buffer:
    """A buffer: what it holds, the shape of its tile, slots, all its bytes.

    `shape` is (batch, channel, row, column), of a kernel (output channels, input channels, rows,
    columns), of a sweep's running sums (batches, groups, rows, values); None where no single tile
    is held.  `slots` is None for two windows in one ring.  It lies in local memory, or with
    `accumulators` in the memory that partial sums have for themselves.
    """

    holds: str
    shape: Shape | None
    slots: int | None
    ring: bool
    size_bytes: int
    accumulators: bool


@dataclass(frozen=True, slots=True)
class InPlace:
    """A role without a buffer of its own: its tile lies where that of another is."""

    role: str
    buffer: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """A loop that makes a tensor move once for each of its trips; axes may be `space`.

    `inside` are the loops further in that change the tensor's tile, so that none can stay.  Of a
    sweep's tensor that serves several roles `roles` are those that the loop repeats, else none.
    """

    axis: str
    trips: int
    inside: tuple[str, ...]
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TensorTraffic:
    """What a tensor costs: elements that are needed at all, and what crosses the interface.

    `roles` tells what it is to the layer, several where one tensor serves several; `repeats`
    are the loops that make it move again.  Each pass over the input reads `halo_share` more than
    is needed, because neighbours along `halo_axes` (rows, columns) read what they have in common
    twice; `rows_stay` tells that tiles have rows in common and keep them.  What is `pinned` moves
    once; `repeats`, `halo_share` and `rows_stay` are those of the rest.
    """

    roles: tuple[str, ...]
    tensors: tuple[str, ...]
    elements: int
    moved_elements: int
    once_bytes: int
    dram_bytes: int
    repeats: tuple[Repeat, ...]
    halo_share: float
    halo_axes: tuple[str, ...]
    rows_stay: bool
    pinned: Pinned | None

    @property
    def times(self) -> float:
        """How often each element moves, on average."""
        return self.moved_elements / self.elements

    def to_json(self) -> dict[str, object]:
        """One entry of `tensors`, keys in a fixed order."""
        return {
            **asdict(self),
            "roles": list(self.roles),
            "tensors": list(self.tensors),
            "halo_axes": list(self.halo_axes),
            "repeats": [asdict(repeat) for repeat in self.repeats],
            "times": self.times,
        }


@dataclass(frozen=True, slots=True)
class Alternative:
    """The best tiling of a nest that fits the same memory.

    `nest` are the axes of the loops of more than one trip, outermost first, the spatial ones as
    `space`; `stationary` is what the innermost of them leaves in place: `input`, `kernel`,
    `output`, of a sweep the tiles of `rows` or `columns`, or `` where there is no such loop.
    """

    nest: tuple[str, ...]
    stationary: str
    partial_sums: str
    tiling: Mapping[str, str | int]
    local_bytes: int
    dram_bytes: int
    more_share: float

    def to_json(self) -> dict[str, object]:
        """One entry of `alternatives`, keys in a fixed order."""
        return {**asdict(self), "nest": list(self.nest), "tiling": dict(self.tiling)}


@dataclass(frozen=True, slots=True)
class MemoryStep:
    """A local memory from which on the layer alone moves so many DRAM bytes."""

    local_bytes: int
    dram_bytes: int


@dataclass(frozen=True, slots=True)
class ExplainedSweep:
    """The loops of a sweep, in indices: product, attention, twice or recurrent.

    Its columns lie in `parts`, one behind the other.
    """

    kind: str
    batch: int
    groups: int
    rows: int
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExplainedLayer:
    """What the layer is: `number` counts from 1 in the order of `inspect`, of `count` layers.

    `sweep` is None where its steps do not take rows against columns.  The window is (row, column)
    pairs, of a volume (depth, height, width).  `plane` is the (height, width) of a volume's input,
    whose rows are its depth and columns its planes; empty elsewhere.  `input_pool` and
    `pool` are empty where none is folded in; widths are bits per element, 0 where there is no such
    tensor.
    """

    number: int
    count: int
    name: str
    op: str
    kind: str
    sweep: ExplainedSweep | None
    folded: str
    input_shape: Shape
    body_shape: Shape
    output_shape: Shape
    groups: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pad: tuple[int, ...]
    plane: tuple[int, ...]
    input_pool: str
    pool: str
    operands: tuple[str, ...]
    macs: int
    macs_executed: int
    weight_elements: int
    vector_elements: int
    input_bits: int
    kernel_bits: int
    output_bits: int
    accumulator_bits: int


@dataclass(frozen=True, slots=True)
class ExplainResult:
    """One layer alone in one local memory: its tiling, what it moves and why, what else there is.

    A streamed layer that is no sweep has no loops: its tensors pass through in `steps` slices,
    each once.  `local_bytes` are those of the buffers in local memory, `accumulator_bytes` those
    in the memory of partial sums, whose capacity is None where there is none.
    `finish` are those of the steps that finish sums by themselves, None where a step does it.
    `alternatives` ascend in DRAM bytes; the chosen tiling is not among them.  `square_root_bytes`
    is None where that bound does not hold, and below zero where it says nothing.  Below `least`
    the layer does not run; from `all_once` on it moves least, each tensor once; `next_steps` are
    the next larger memories in which it moves less.  In a schedule in which maps may stay
    `resident_bytes` of them are local beside the layer, and the capacity is what these leave; of
    a layer that reads or makes one of them the bound is what each tensor in DRAM moves once.
    None where every map of the network goes through DRAM.
    """

    network: str
    hardware: str
    overrides: tuple[tuple[str, str], ...]
    what_ifs: tuple[WhatIfResult, ...]
    capacity_bytes: int
    layer: ExplainedLayer
    tiling: Mapping[str, str | int]
    nest: tuple[str, ...]
    stationary: str
    steps: int
    loops: tuple[Loop, ...]
    moves: tuple[Move, ...]
    finish: Finish | None
    pinned: Pinned | None
    buffers: tuple[Buffer, ...]
    in_place: tuple[InPlace, ...]
    local_bytes: int
    accumulator_capacity_bytes: int | None
    accumulator_bytes: int
    tensors: tuple[TensorTraffic, ...]
    dram_bytes: int
    alternatives: tuple[Alternative, ...]
    floor_bytes: int
    square_root_bytes: int | None
    lower_bound_bytes: int
    least: MemoryStep
    all_once: MemoryStep
    next_steps: tuple[MemoryStep, ...]
    warnings: tuple[str, ...]
    resident_bytes: int | None = None

    @property
    def gap(self) -> float:
        """DRAM bytes over the lower bound, 1 where nothing moves."""
        return self.dram_bytes / self.lower_bound_bytes if self.dram_bytes else 1.0

    def to_json(self) -> dict[str, object]:
        """The JSON result as plain data, keys in a fixed order."""
        return {
            "schema": EXPLAIN_SCHEMA,
            "network": self.network,
            "hardware": self.hardware,
            "overrides": dict(self.overrides),
            "what_ifs": [each.to_json() for each in self.what_ifs],
            "layer": asdict(self.layer),
            "tiling": dict(self.tiling),
            "nest": list(self.nest),
            "stationary": self.stationary,
            "steps": self.steps,
            "loops": [asdict(loop) for loop in self.loops],
            "moves": [asdict(move) for move in self.moves],
            "finish": None if self.finish is None else asdict(self.finish),
            "local": {
                "capacity_bytes": self.capacity_bytes,
                "used_bytes": self.local_bytes,
                "pinned": None if self.pinned is None else asdict(self.pinned),
                "buffers": [asdict(buffer) for buffer in self.buffers],
                "in_place": [asdict(each) for each in self.in_place],
            },
            "accumulators": {
                "capacity_bytes": self.accumulator_capacity_bytes,
                "used_bytes": self.accumulator_bytes,
            },
            "dram": {
                "total_bytes": self.dram_bytes,
                "tensors": [tensor.to_json() for tensor in self.tensors],
            },
            "bounds": {
                "floor_bytes": self.floor_bytes,
                "square_root_bytes": self.square_root_bytes,
                "lower_bound_bytes": self.lower_bound_bytes,
                "gap": self.gap,
            },
            "alternatives": [each.to_json() for each in self.alternatives],
            "memory": {
                "least": asdict(self.least),
                "next": [asdict(step) for step in self.next_steps],
                "all_once": asdict(self.all_once),
            },
            "warnings": list(self.warnings),
        }

    def json_text(self) -> str:
        """The JSON result, ending in a newline."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"
