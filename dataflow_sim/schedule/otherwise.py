"""What else a group might have been: joined with its neighbours, cut, or run in another way.

Layers that could join are those that may come next where the group ends, and those that came
last before it, one by one, and the whole group beside it.  A layer that joins leaves
its own group, which runs as well as it can without it.  Whatever can be run at all is
planned and assembled (`rearranged`), so that what it needs and moves is that of a schedule.

    before     group - 1   |   the group   |   group + 1     behind
               .. y        |   a  b  c     |   x ..
    joined           ..    |  y a b c | x ..       or  .. y | a b c x | ..

Other stripes, bands of another height and one kernel more or less that streams leave the plan as it
is: the group is laid out anew, kernels that stream one channel at a time.

Source: the space of `options`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.results_of_groups import Neighbour, Otherwise, Variant
from dataflow_sim.schedule.allocation import Life
from dataflow_sim.schedule.assemble import Assembler
from dataflow_sim.schedule.estimate import TrafficHistory, layer_schedule
from dataflow_sim.schedule.estimate_tiles import group_schedules
from dataflow_sim.schedule.group_explanation import live_set
from dataflow_sim.schedule.handover import handed_over_again
from dataflow_sim.schedule.layout import GroupRun, run_of, walk_of
from dataflow_sim.schedule.merging import MergedGroup
from dataflow_sim.schedule.order import Precedence
from dataflow_sim.schedule.plans import Plan
from dataflow_sim.schedule.rearranged import Members, Rearranged, Rearranger
from dataflow_sim.schedule.residents import held_in, place_residents, sharing_of
from dataflow_sim.schedule.rows import obstacle
from dataflow_sim.schedule.tile_regions import TiledGroup
from dataflow_sim.schedule.timetable import Timetable
from dataflow_sim.schedule.types import Group, Halo, LayerTiling, Schedule
from dataflow_sim.schedule.ways import grown

# layers that may come next are asked, up to so many, in the order of the schedule
MOST_NEIGHBOURS = 3


class Alternatives:
    """What else a group of a schedule might have been.

    `schedule` is that of `plan` in a memory of its capacity, `number` the group's.
    """

    def __init__(
        self,
        assembler: Assembler,
        plan: Plan,
        peak_bytes: int,
        schedule: Schedule,
        number: int,
        may_merge: bool,
    ) -> None:
        self.assembler = assembler
        self.graph: NetworkGraph = assembler.graph
        self.plan = plan
        self.schedule = schedule
        self.number = number
        self.capacity_bytes = schedule.memory.capacity_bytes
        self.dram_bytes = sum(schedule.traffic_bytes().values())
        self.may_merge = may_merge
        self.rearranger = Rearranger(assembler, plan, peak_bytes, self.capacity_bytes, may_merge)

    @property
    def group(self) -> Group:
        """The group in question."""
        return self.schedule.groups[self.number]

    # ------------------------------------------------------------ neighbours

    def neighbours(self) -> tuple[Neighbour, ...]:
        """Who could join: before the group, then behind it, single layers first."""
        if not self.may_merge:
            return ()
        return (*self._before(), *self._behind())

    def _before(self) -> Iterator[Neighbour]:
        if not self.number:
            return
        group = self.number - 1
        others = self.plan[group].members
        rest = (others[:-1],) if len(others) > 1 else ()
        yield self._joined("before", group, others[-1:], (*rest, others[-1:]), (group, group + 2))
        if rest:
            yield self._joined("before", group, others, (others,), (group, group + 2))

    def _behind(self) -> Iterator[Neighbour]:
        first, end = self.number, self.number + 1
        if end == len(self.plan):
            return
        done = sum(1 << i for decision in self.plan[:end] for i in decision.members)
        groups = {i: g for g, decision in enumerate(self.plan) for i in decision.members}
        ready = Precedence(self.graph).ready(done, 0, len(self.graph.layers))
        place = {index: number for number, index in enumerate(self.schedule.order)}
        for index in sorted(ready, key=place.__getitem__)[:MOST_NEIGHBOURS]:
            home = groups[index]
            parts: list[Members] = [(index,)]
            for number in range(end, home + 1):
                left = tuple(i for i in self.plan[number].members if i != index)
                parts += [left] if left else []
            yield self._joined("behind", home, (index,), tuple(parts), (first, home + 1))
        others = self.plan[end].members
        if len(others) > 1:
            yield self._joined("behind", end, others, (others,), (first, end + 1))

    def _joined(
        self,
        side: str,
        group: int,
        joining: Members,
        parts: tuple[Members, ...],
        window: tuple[int, int],
    ) -> Neighbour:
        """The group with layers that are the first of `parts`, or the last of them before it."""
        own = self.group.members
        names = tuple(self.graph.layers[i].name for i in joining)
        whole = len(joining) == len(self.plan[group].members)
        for index in (*joining, *own):
            against = obstacle(self.graph, self.graph.layers[index])
            if against is not None:
                blocked = self.graph.layers[index].name
                return Neighbour(side, names, group, whole, against.value, blocked, None)
        merged = tuple(sorted((*joining, *own)))
        if side == "before":
            parts = (*parts[:-1], merged)
        else:
            parts = (merged, *parts[1:])
        found = self.rearranger.best(*window, parts)
        assert found is not None, f"{names}: no way to run {parts}"
        return Neighbour(side, names, group, whole, "", "", self._told(found, merged))

    # ------------------------------------------------------------ the group's own layers

    def variants(self) -> tuple[Variant, ...]:
        """Other ways for a merged group's own layers: those that fit first, by DRAM bytes."""
        if not self.group.merged:
            return ()
        found = [*self._cuts(), *self._stripes_and_kernels()]
        return tuple(
            sorted(
                found,
                key=lambda each: (each.otherwise.short_bytes > 0, each.otherwise.dram_bytes),
            )
        )

    def _cuts(self) -> Iterator[Variant]:
        members, window = self.group.members, (self.number, self.number + 1)
        parts: dict[str, tuple[Members, ...]] = {"": tuple((index,) for index in members)}
        for place in range(1, len(members)):
            name = self.graph.layers[members[place - 1]].name
            if len(members) > 2:
                parts[name] = (members[:place], members[place:])
        for behind, each in parts.items() if len(members) > 1 else ():
            found = self.rearranger.best(*window, each)
            if found is not None:
                what = "cut" if behind else "alone"
                yield Variant(what, behind, self._told(found, each[0]))

    def _stripes_and_kernels(self) -> Iterator[Variant]:
        """The next stripe heights, the next bands, and one streamed kernel more or less."""
        run = run_of(self.group, self.schedule.memory.doubled)
        run = replace(run, tiles=tuple((index, 1) for index, _ in run.tiles))
        kernels = self.assembler.options.kernels
        able = [index for index in run.members if kernels[index].can_stream]
        order = sorted(able, key=lambda index: (-kernels[index].kernel_bytes, index))
        streamed = [index for index, _ in run.tiles]
        more = [index for index in order if index not in streamed][:1]
        fewer = [index for index in order if index in streamed][-1:]
        for height in self._next_heights(run):
            by_rows = replace(run, stripe_rows=height, tile=None, halos=())
            yield self._laid_out("stripe", by_rows)
        for tile in self._next_bands(run):
            by_tiles = replace(run, stripe_rows=None, running=False, tiles=(), pinned=())
            by_tiles = replace(by_tiles, tile=tile.tile)
            halos = tuple((name, Halo.CACHE_X) for name in (*tile.frame.outside, *tile.frame.inner))
            yield self._laid_out("tile", replace(by_tiles, halos=halos))
        if run.tile is not None:
            return
        if more:
            tiles = tuple((index, 1) for index in sorted((*streamed, *more)))
            yield self._laid_out("kernels", replace(run, tiles=tiles))
        if fewer:
            tiles = tuple((index, 1) for index in streamed if index not in fewer)
            pinned = tuple(each for each in run.pinned if each[0] not in fewer)
            yield self._laid_out("kernels", replace(run, tiles=tiles, pinned=pinned))

    def _next_heights(self, run: GroupRun) -> list[int | None]:
        """The next smaller and the next larger stripe that the search tries."""
        if run.tile is not None:
            return [None]
        tried = self._grown(run)
        rows = (group.stripe_rows for group in tried if isinstance(group, MergedGroup))
        heights = sorted({height or 1 for height in rows} | {run.stripe_rows or 1})
        place = heights.index(run.stripe_rows or 1)
        near = heights[max(place - 1, 0) : place] + heights[place + 1 : place + 2]
        return [None if height == 1 else height for height in near]

    def _next_bands(self, run: GroupRun) -> list[TiledGroup]:
        """The next lower and the next higher bands; of a group by rows the highest."""
        found = [group for group in self._grown(run) if isinstance(group, TiledGroup)]
        if run.tile is None:
            return found[:1]
        own = run.tile.rows
        higher = [group for group in found if group.tile.rows > own]
        lower = [group for group in found if group.tile.rows < own]
        return [*higher[-1:], *lower[:1]]

    def _grown(self, run: GroupRun) -> list[MergedGroup | TiledGroup]:
        return [group for group, _ in grown(self.assembler.options, run.members)]

    def _laid_out(self, what: str, run: GroupRun) -> Variant:
        """The same group, stripes and kernels apart."""
        schedule, own = self.run_otherwise(run)
        held = held_in(schedule)[self.number]
        fits = schedule.local_bytes <= self.capacity_bytes
        found = Rearranged(schedule, own + held, fits)
        return Variant(what, "", self._told(found, run.members))

    def run_otherwise(self, run: GroupRun) -> tuple[Schedule, int]:
        """The schedule with the group run as given, and the group's live set."""
        hands = handed_over_again(self.group.hands, self._walk(run))
        groups = list(self.schedule.groups)
        groups[self.number] = replace(self.group, hands=hands)
        held = held_in(replace(self.schedule, groups=tuple(groups)))[self.number]
        run = self.assembler.placed(run, self.capacity_bytes - held)
        chosen = self.assembler.layout(run)
        layers = group_schedules(
            self.assembler.options.tables,
            run,
            chosen.buffers.walk,
            self.group.kept,
            self._history(),
        )
        group = replace(
            self.group,
            stripe_rows=run.stripe_rows,
            tile=run.tile,
            halos=run.halos,
            hands=hands,
            packing=run.packing,
            layers=layers,
            local_bytes=chosen.height,
        )
        groups[self.number] = group
        homes = self.schedule.residents
        placed = place_residents(
            [Life(home.size_bytes, home.first, home.last) for home in homes],
            [each.local_bytes for each in groups],
            sharing_of(homes, [each.hands for each in groups]),
            self.schedule.memory.alignment_bytes,
        )
        schedule = replace(
            self.schedule,
            groups=tuple(
                replace(each, address=at) for each, at in zip(groups, placed.groups, strict=True)
            ),
            residents=tuple(
                replace(home, address=at) for home, at in zip(homes, placed.residents, strict=True)
            ),
        )
        return schedule, int(live_set(chosen).max())

    def _walk(self, run: GroupRun) -> Timetable | TiledGroup:
        return walk_of(self.assembler.options.tables, run)

    def _history(self) -> TrafficHistory:
        """What the groups before this one have read."""
        history = self.assembler.history()
        tables, memory = self.assembler.options.tables, self.schedule.memory
        for group in self.schedule.groups[: self.number]:
            if all(self.assembler.independent[index] for index in group.members):
                continue
            if group.merged:
                run = run_of(group, memory.doubled)
                group_schedules(tables, run, walk_of(tables, run), group.kept, history)
                continue
            (index,), tiling = group.members, group.layers[0].tiling
            assert isinstance(tiling, LayerTiling)
            maps = (group.resident, group.stored, group.kept)
            layer_schedule(self.graph, index, tiling, memory, history, *maps)
        return history

    # ------------------------------------------------------------ what to tell

    def _told(self, found: Rearranged, members: Members) -> Otherwise:
        """What a schedule with a group of these members needs and moves."""
        schedule = found.schedule
        place = next(n for n, group in enumerate(schedule.groups) if group.members == members)
        group = schedule.groups[place]
        streamed = tuple(
            layer.layer
            for layer in group.layers
            if not isinstance(layer.tiling, LayerTiling) and layer.tiling.streamed
        )
        own = group.local_bytes
        if group.merged:
            run = run_of(group, schedule.memory.doubled)
            own = int(live_set(self.assembler.layout(run)).max())
        short = 0
        if not found.fits:
            short = max(found.need_bytes, schedule.local_bytes) - self.capacity_bytes
            if found.need_bytes > self.capacity_bytes:
                short = found.need_bytes - self.capacity_bytes
        return Otherwise(
            need_bytes=found.need_bytes,
            own_bytes=own,
            short_bytes=short,
            dram_bytes=found.dram_bytes,
            more_bytes=found.dram_bytes - self.dram_bytes,
            stripe_rows=group.stripe_rows,
            tile=group.tile and (group.tile.rows, group.tile.columns),
            streamed=streamed,
        )
