"""What a user demands of the schedule, so that a published case can be laid out exactly.

Some layers run as one merged group, in the way that is asked for; the rest is searched as ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from dataflow_sim.errors import InputError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.part import ends_of
from dataflow_sim.schedule.group_kernels import Streams
from dataflow_sim.schedule.rows import obstacle
from dataflow_sim.schedule.tile_regions import tile_obstacle
from dataflow_sim.schedule.timetable import RowTables
from dataflow_sim.schedule.types import Halo, MemoryOptions, PlaneTile

BEST = "best"
# all ways to choose the halos of so many maps; of more the same for all, or for two stretches
_EVERY_HALO_OF = 4


class Kernels(StrEnum):
    """What becomes of a group's kernels.

    RESIDENT  they stay
    REFETCH   they all come again in every firing
    BEST      whatever costs least
    """

    RESIDENT = "resident"
    REFETCH = "refetch"
    BEST = "best"


@dataclass(frozen=True, slots=True)
class Demand:
    """Layers that run as one group, ascending; by tiles of the plane where there is a tile.

    A halo of None leaves the choice to the search, map by map.
    """

    members: tuple[int, ...]
    tile: PlaneTile | None = None
    halo: Halo | None = None
    kernels: Kernels = Kernels.BEST

    def halos(self, maps: int) -> list[tuple[Halo, ...]]:
        """The halos to try for so many maps."""
        if self.halo is not None:
            return [(self.halo,) * maps]
        if maps <= _EVERY_HALO_OF:
            return list(product(Halo, repeat=maps))
        stretches = product(Halo, Halo, range(1, maps + 1))
        return list(
            dict.fromkeys(
                (one,) * first + (other,) * (maps - first) for one, other, first in stretches
            )
        )

    def sets(self, sets: list[Streams]) -> list[Streams]:
        """Of sets of streamed kernels, the largest last, those that are asked for."""
        if self.kernels is Kernels.RESIDENT:
            return [()]
        return sets[-1:] if self.kernels is Kernels.REFETCH else [(), *sets]


@dataclass(frozen=True, slots=True)
class GroupWords:
    """A demand as it is written: FIRST:LAST, WIDTHxHEIGHT, a halo, what becomes of kernels."""

    group: str | None = None
    tile: str | None = None
    halo: str = BEST
    kernels: str = BEST


NOTHING = GroupWords()


def demand_of(graph: NetworkGraph, memory: MemoryOptions, words: GroupWords) -> Demand | None:
    """What a user demands; None where nothing is.

    Raises InputError where a word is wrong, where something is asked of a group that is not
    given, or where the group cannot run like that.
    """
    group, tile, halo = words.group, words.tile, words.halo
    if group is None:
        given = {"--tile": tile, "--halo": halo, "--weights": words.kernels}
        for flag, word in given.items():
            if word not in (None, BEST):
                raise InputError(
                    f"{flag} {word} tells how a group runs; name it with --force-group FIRST:LAST"
                )
        return None
    first, last = ends_of(graph, group, "--force-group")
    members = tuple(range(first, last + 1))
    tables = RowTables(graph, memory)
    if halo != BEST and tile is None:
        raise InputError(f"--halo {halo} goes with tiles of the plane; give --tile WIDTHxHEIGHT")
    for index in members:
        if not tables.mergeable[index]:
            layer = graph.layers[index]
            raise InputError(
                f"--force-group {group}: '{layer.name}' ({layer.op}) cannot run merged: "
                f"{obstacle(graph, layer)}; leave it out"
            )
    kernels = Kernels(words.kernels)
    if tile is None:
        return Demand(members, kernels=kernels)
    why = tile_obstacle(graph, tables, members)
    if why is not None:
        raise InputError(f"--tile {tile}: the group cannot run by tiles of the plane: {why}")
    found = None if halo == BEST else Halo(halo)
    return Demand(members, _tile(graph, members[-1], tile), found, kernels)


def _tile(graph: NetworkGraph, last: int, text: str) -> PlaneTile:
    _, _, height, width = graph.layers[last].output_shape
    found = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text.strip())
    if found is None:
        raise InputError(f"--tile {text[:40]}: write WIDTHxHEIGHT, such as 60x72")
    columns, rows = int(found[1]), int(found[2])
    if not (1 <= columns <= width and 1 <= rows <= height):
        name = graph.layers[last].name
        raise InputError(f"--tile {text}: the output of '{name}' is {width} wide and {height} high")
    return PlaneTile(rows, columns)
