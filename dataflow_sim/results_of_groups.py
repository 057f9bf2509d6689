"""GroupExplanation: why a group of layers runs as it does in a schedule, as plain frozen data.

Bytes are those of the schedule that `run` chooses with the same options.  *Need* is a largest
live set with the maps that are resident meanwhile; what addresses add to it is told apart.
What might have been is the same schedule with some groups replaced: all others, and what
crosses from one to the other, stay as they are, and its DRAM bytes are those of the whole network.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from dataflow_sim.results_of_explanation import ExplainResult, Shape
from dataflow_sim.results_of_what_ifs import WhatIfResult

GROUP_SCHEMA = "dataflow_sim.explain_group/1"


@dataclass(frozen=True, slots=True)
class Member:
    """A layer of the group; `number` counts from 1 in the order of `inspect`.

    `kernel` tells how a merged group holds it: `stays`, fetched once; `streams`, fetched in each
    of its `firings` by tiles of `tile_channels` of its `channels`, of which the first
    `pinned_channels` stay; `none`, there is none; `nest`
    of a layer alone, whose loops decide.  `kernel_bytes` are those of the whole kernel, `fetches`
    how often it is fetched.  Where `macs_executed` are more than `macs`, some are computed again.
    """

    name: str
    number: int
    op: str
    output_shape: Shape
    kernel: str
    kernel_bytes: int
    channels: int
    tile_channels: int
    pinned_channels: int
    fetches: int
    firings: int
    steps: int
    macs: int
    macs_executed: int


@dataclass(frozen=True, slots=True)
class ResidentMap:
    """Maps that are whole in local memory while the group runs, in one place of `size_bytes`.

    `role` tells what they are to the group: `read`, `made`, `read and made`, or `waits` for
    `next_reader`, the next layer behind the group that reads it (empty: none).  They are there from
    group `first` to group `last`; `loaded` names those that the group loads whole before it.
    Where rows give way to those of a map that the group makes, `gives_to` names that.
    """

    tensors: tuple[str, ...]
    size_bytes: int
    role: str
    loaded: tuple[str, ...]
    gives_to: str
    made_by: str
    next_reader: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class LineBuffer:
    """Rows of a map in a merged group.

    `made_by` is empty where it comes from DRAM, `stored` tells that it goes there, `doubled` that
    it is doubly buffered on its way, which takes a row more; `read_by` are layers of the group.
    Of its `rows` at most `most_rows` live at once, `between_rows` persist when a reader has
    fired, and `peak_rows` live at the group's peak firing.  `window_rows` are those that a row of
    the last reader needs, K; `stride` is how far they move, None where that is no whole number, 0
    where every row of the reader needs the same ones: keys and values of an attention.
    """

    tensor: str
    made_by: str
    read_by: tuple[str, ...]
    stored: bool
    doubled: bool
    rows: int
    row_bytes: int
    most_rows: int
    between_rows: int
    peak_rows: int
    window_rows: int
    stride: int | None

    @property
    def most_bytes(self) -> int:
        """Bytes of the rows that live at most."""
        return self.most_rows * self.row_bytes

    @property
    def peak_bytes(self) -> int:
        """Bytes of the rows that live at the peak."""
        return self.peak_rows * self.row_bytes

    def to_json(self) -> dict[str, object]:
        """One entry of `line_buffers`, keys in a fixed order."""
        found = asdict(self)
        return {**found, "most_bytes": self.most_bytes, "peak_bytes": self.peak_bytes}


@dataclass(frozen=True, slots=True)
class HeldWeights:
    """Weights in local memory: a `kernel` or `constants` that stay, a `kernel tile` that streams, a
    `pinned kernel`, its channels that stay;
    or what is carried: a `running result`, `statistics`.

    `peak_bytes` are those at the peak firing, 0 of a tile of another layer.
    """

    tensor: str
    layer: str
    what: str
    size_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Peak:
    """The firing whose live set is largest, the first of equals.

    The `firing`th of `firings` of `layer`, in stripe `stripe` (both from 1), makes rows
    [first_row, last_row] of its output; `live_bytes` live then.
    """

    layer: str
    firing: int
    firings: int
    stripe: int
    first_row: int
    last_row: int
    live_bytes: int


@dataclass(frozen=True, slots=True)
class Rows:
    """How a merged group runs: stripes, line buffers, weights, peak, how its bytes lie.

    `stripe_rows` are rows of the first layer's input, None for the finest stripes, one row each;
    `packing` tells how the buffers got their addresses: `rings`, `gaps` or `searched`.
    """

    stripe_rows: int | None
    stripes: int
    packing: str
    line_buffers: tuple[LineBuffer, ...]
    weights: tuple[HeldWeights, ...]
    peak: Peak

    def to_json(self) -> dict[str, object]:
        """Plain data, keys in a fixed order."""
        return {
            "stripe_rows": self.stripe_rows,
            "stripes": self.stripes,
            "packing": self.packing,
            "line_buffers": [each.to_json() for each in self.line_buffers],
            "weights": [asdict(each) for each in self.weights],
            "peak": asdict(self.peak),
        }


@dataclass(frozen=True, slots=True)
class CellBuffer:
    """Cells of a map in a merged group that runs by tiles of the plane.

    `made_by`, `read_by`, `stored` and `doubled` are as those of a `LineBuffer`.  What two tiles
    have in common is made again or kept, as `halo` says (`cache`, `cache-x`, `recompute`): of
    `elements` of a channel that are made at all, or read from DRAM, `made_elements` are, counted
    each time.  `most_bytes` live at once, `between_bytes` persist when a reader has fired,
    `peak_bytes` live at the group's peak firing.
    """

    tensor: str
    made_by: str
    read_by: tuple[str, ...]
    stored: bool
    doubled: bool
    halo: str
    elements: int
    made_elements: int
    most_bytes: int
    between_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class TilePeak:
    """The firing whose live set is largest, the first of equals.

    The `firing`th of `firings` of `layer`, in the tile of a line and a column (all from 1), makes
    `rows` and `columns` of its output, first and last; `live_bytes` live then.
    """

    layer: str
    firing: int
    firings: int
    line: int
    column: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    live_bytes: int


@dataclass(frozen=True, slots=True)
class Tiles:
    """How a merged group runs by tiles of the plane: cells, weights, peak, how its bytes lie.

    A tile has `rows` and `columns` of the last layer's output; there are `lines` of `width` tiles.
    """

    rows: int
    columns: int
    lines: int
    width: int
    packing: str
    cells: tuple[CellBuffer, ...]
    weights: tuple[HeldWeights, ...]
    macs: int
    macs_executed: int
    peak: TilePeak

    def to_json(self) -> dict[str, object]:
        """Plain data, keys in a fixed order."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Moved:
    """DRAM bytes of the group by tensor and reason."""

    tensor: str
    reason: str
    dram_bytes: int


@dataclass(frozen=True, slots=True)
class Otherwise:
    """The schedule with some groups replaced: what it needs and moves.

    `need_bytes` is the largest live set of the groups that are replaced, resident maps
    included, at its least where nothing fits; then `short_bytes` is what the memory lacks, 0
    where the schedule fits.  `stripe_rows`, `tile` (rows, columns; None by rows) and `streamed`,
    the layers whose kernels stream, are those of the group in question, and `own_bytes` its
    live set without resident maps.
    `dram_bytes` are of the whole network, `more_bytes` what it moves more than the chosen schedule.
    """

    need_bytes: int
    own_bytes: int
    short_bytes: int
    dram_bytes: int
    more_bytes: int
    stripe_rows: int | None
    tile: tuple[int, int] | None
    streamed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Layers that could join the group, from `side` (`before`, `behind`).

    `obstacle` says why merging is impossible (`schedule.rows.Obstacle`), of layer `blocked`;
    else `joined` is what the schedule would be.  `whole` tells that they are all of the group
    beside it.
    """

    side: str
    layers: tuple[str, ...]
    group: int
    whole: bool
    obstacle: str
    blocked: str
    joined: Otherwise | None


@dataclass(frozen=True, slots=True)
class Variant:
    """Another way for the group's own layers.

    `what`: `alone`, each layer by itself; `cut`, in two behind layer `behind`; `stripe`, another
    stripe height; `tile`, bands of another height; `kernels`, one kernel more or less that streams.
    """

    what: str
    behind: str
    otherwise: Otherwise


@dataclass(frozen=True, slots=True)
class GroupExplanation:
    """One group of a schedule: who, how, why it begins and ends there, what else there is.

    `layer` is the one that was asked for, `number` the group's, from 0, of `count`.  `held_bytes`
    are those of resident maps, `own_bytes` the height of the group's own buffers.  A merged group
    has `rows` or `tiles`, a layer alone a `nest`.  `traffic` adds up to `group_dram_bytes`, each
    tensor and reason rounded up; `dram_bytes` are of the whole network.  `variants` ascend in
    DRAM bytes, those that fit first.
    """

    network: str
    hardware: str
    overrides: tuple[tuple[str, str], ...]
    what_ifs: tuple[WhatIfResult, ...]
    policy: str
    capacity_bytes: int
    schedule_bytes: int
    dram_bytes: int
    layer: str
    number: int
    count: int
    merged: bool
    members: tuple[Member, ...]
    residents: tuple[ResidentMap, ...]
    held_bytes: int
    own_bytes: int
    rows: Rows | None
    tiles: Tiles | None
    nest: ExplainResult | None
    traffic: tuple[Moved, ...]
    neighbours: tuple[Neighbour, ...]
    variants: tuple[Variant, ...]
    warnings: tuple[str, ...]

    @property
    def group_dram_bytes(self) -> int:
        """DRAM bytes of the group."""
        return sum(each.dram_bytes for each in self.traffic)

    def to_json(self) -> dict[str, object]:
        """The JSON result as plain data, keys in a fixed order."""
        return {
            "schema": GROUP_SCHEMA,
            "network": self.network,
            "hardware": self.hardware,
            "overrides": dict(self.overrides),
            "what_ifs": [each.to_json() for each in self.what_ifs],
            "policy": self.policy,
            "layer": self.layer,
            "group": {
                "number": self.number,
                "count": self.count,
                "merged": self.merged,
                "members": [asdict(each) for each in self.members],
                "rows": None if self.rows is None else self.rows.to_json(),
                "tiles": None if self.tiles is None else self.tiles.to_json(),
                "nest": None if self.nest is None else self.nest.to_json(),
            },
            "local": {
                "capacity_bytes": self.capacity_bytes,
                "schedule_bytes": self.schedule_bytes,
                "resident_bytes": self.held_bytes,
                "own_bytes": self.own_bytes,
                "residents": [asdict(each) for each in self.residents],
            },
            "dram": {
                "network_bytes": self.dram_bytes,
                "group_bytes": self.group_dram_bytes,
                "traffic": [asdict(each) for each in self.traffic],
            },
            "neighbours": [asdict(each) for each in self.neighbours],
            "variants": [asdict(each) for each in self.variants],
            "warnings": list(self.warnings),
        }

    def json_text(self) -> str:
        """The JSON result, ending in a newline."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"
