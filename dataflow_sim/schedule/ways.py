"""All ways in which the search may run some layers merged, each with what it costs.

The search leaves out what cannot pay against smaller groups (`options`); whoever asks why a group
was not chosen wants to know what it would have needed, so that nothing is left out here.
"""

from __future__ import annotations

import numpy as np

from dataflow_sim.schedule.bands import bands
from dataflow_sim.schedule.group_kernels import Streams, streamed_sets
from dataflow_sim.schedule.handover import pair_of, savings
from dataflow_sim.schedule.merging import MergedGroup, Way
from dataflow_sim.schedule.options import Options
from dataflow_sim.schedule.tile_costs import tile_table
from dataflow_sim.schedule.tile_regions import TiledGroup, TileFrame
from dataflow_sim.schedule.trials import stripe_counts

# a merged group in one stripe height or by bands, and the sets of kernels that may stream in it
Grown = tuple[MergedGroup | TiledGroup, list[Streams]]
# local bytes, DRAM bits; of a merged group its way, and the map whose place an output takes
Point = tuple[int, int, Way | None, tuple[str, str] | None]


def grown(options: Options, members: tuple[int, ...]) -> list[Grown]:
    """Some layers merged, ascending, in every stripe height and with all sets that stream there;
    behind these by bands."""
    rows = options.graph.layers[members[0]].input.shape[2]
    sets = streamed_sets(options.kernels, members)
    tried: list[tuple[int | None, bool, list[Streams]]] = [(None, False, [()])]
    if any(options.tables.running[index] is not None for index in members):
        tried.append((None, True, [()]))
    counts = stripe_counts(rows, len(members)).tolist() if sets else []
    heights = {-(-rows // count) for count in counts}
    # in one stripe all of them stream
    tried += [(height, False, sets if height < rows else sets[-1:]) for height in sorted(heights)]
    found: list[Grown] = []
    for height, running, some in tried:
        group = options.group(height, running)
        for index in members:
            group = group.grown(index, keep=False)
        found.append((group, some))
    if options.trials.has_bands(group):
        found += [(each, [()]) for each in bands(TileFrame(options.tables, members))]
    return found


def ways(
    options: Options,
    groups: list[Grown],
    resident: frozenset[str],
    stored: frozenset[str],
    dying: frozenset[str],
) -> list[Point]:
    """What a group costs in all ways; `groups` are those of `grown`.

    The maps are where `resident` and `stored` say; nobody reads `dying` behind the group.
    """
    found: list[Point] = []
    finest, _ = groups[0]
    assert isinstance(finest, MergedGroup)
    takes = _takes(options, finest, resident, dying)
    for group, sets in groups:
        if isinstance(group, TiledGroup):
            found.append(_tiled(options, group, resident, stored))
            continue
        sources, targets = group.timetable.outside(), group.outgoing
        outside = np.array([[each.name in resident for each in sources]], bool)
        going = [(each.name in resident, each.name in stored) for each in targets]
        table = group.table(outside, np.array([going], bool).reshape(1, -1, 2), sets)
        maps = group.timetable.maps
        in_place = takes is not None and bool(group.overwrites(maps[takes[1]], maps[takes[0]]))
        less, hands, pair = 0, None, takes
        if takes is not None and in_place:
            less = options.size_bytes[takes[0]]
        else:
            pair = _pair(options, group, resident, dying)
        if pair is not None and not in_place:
            apart, saved = savings(options.tables, maps[pair[0]], maps[pair[1]])
            less = int(saved[0])
            places = ([each.name for each in some] for some in (sources, targets))
            taken, made = (some.index(name) for some, name in zip(places, pair, strict=True))
            hands = (taken, made, int(apart[0])) if less else None
        columns = (table.local_bytes[0, 0].tolist(), table.dram_bits[0, 0].tolist(), sets)
        for local, bits, streamed in zip(*columns, strict=True):
            way = Way(group.stripe_rows, streamed, group.timetable.running, in_place, hands)
            found.append((local - less, bits, way, pair if less else None))
    return found


def _tiled(
    options: Options, group: TiledGroup, resident: frozenset[str], stored: frozenset[str]
) -> Point:
    """What a group costs by tiles of the plane, all its kernels kept."""
    frame, double = group.frame, options.memory.doubled
    outside = np.array([[name in resident for name in frame.outside]], bool)
    going = np.array([[[frame.output in resident, frame.output in stored]]], bool)
    table = tile_table(group, options.kernels, double, outside, going, [()])
    halos = tuple(group.maps[name].halo for name in (*frame.outside, *frame.inner))
    way = Way(None, (), False, tile=group.tile, halos=halos)
    return int(table.local_bytes.item()), int(table.dram_bits.item()), way, None


def _takes(
    options: Options, group: MergedGroup, resident: frozenset[str], dying: frozenset[str]
) -> tuple[str, str] | None:
    """The first resident map that dies in a group, and a resident output that takes its place."""
    tensors = options.graph.tensors
    pinned = options.lives.pinned
    for taken in group.timetable.outside():
        before = tensors[taken.name]
        if taken.name not in dying & resident or taken.name in pinned:
            continue
        for made in group.outgoing:
            after = tensors[made.name]
            same = (before.shape, before.local_bits) == (after.shape, after.local_bits)
            if same and group.overwrites(made, taken):
                return (taken.name, made.name) if made.name in resident else None
    return None


def _pair(
    options: Options, group: MergedGroup, resident: frozenset[str], dying: frozenset[str]
) -> tuple[str, str] | None:
    """The resident maps of a group of which one may give its rows to the other."""
    names = [each.name for each in group.timetable.outside()]
    pinned = options.lives.pinned
    gone = [name for name in names if name in dying & resident and name not in pinned]
    made = [each.name for each in group.outgoing if each.name in resident]
    return pair_of(options.tables, gone, made)
