"""From a plan to a schedule: tilings, addresses, traffic by tensor and reason.

Address assignment comes before anything counts: the height that it reaches is the local
memory that the schedule needs.  Memory that a group leaves over goes to larger tiles,
which move the same bytes in fewer steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import replace

from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.allocation import Life
from dataflow_sim.schedule.amounts import Amounts
from dataflow_sim.schedule.estimate import TrafficHistory, layer_schedule
from dataflow_sim.schedule.estimate_tiles import group_schedules
from dataflow_sim.schedule.frontier import Frontier
from dataflow_sim.schedule.layout import (
    GroupLayout,
    GroupRun,
    group_buffers,
    group_height,
    laid_out,
    walk_of,
)
from dataflow_sim.schedule.lives import layer_reads
from dataflow_sim.schedule.options import Options, stored_of
from dataflow_sim.schedule.plans import Decision, Plan
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.residents import held_bytes, place_residents, sharing_of
from dataflow_sim.schedule.types import (
    Group,
    LayerSchedule,
    LayerTiling,
    MemoryOptions,
    Packing,
    Resident,
    Schedule,
)


class Assembler:
    """Assembles schedules of one network; what equal groups share is made once."""

    def __init__(
        self, graph: NetworkGraph, policy: str, memory: MemoryOptions, options: Options
    ) -> None:
        self.graph = graph
        self.policy = policy
        self.memory = memory
        self.options = options
        self.lives = options.lives
        self._heights: dict[Hashable, int] = {}
        self._weights = [layer.weights for layer in graph.layers]
        self._layouts: dict[GroupRun, GroupLayout] = {}
        self._frontiers: dict[tuple[int, frozenset[str], frozenset[str]], Frontier] = {}
        self._schedules: dict[object, tuple[LayerSchedule, ...]] = {}
        self._unread = TrafficHistory(graph)
        self.independent = self._layers_without_history()

    def _layers_without_history(self) -> list[bool]:
        """Layers whose traffic does not depend on what was read before them.

        No other layer reads their weights, or the network's inputs that they read.
        """
        names = [layer_reads(layer) | set(layer.weights) for layer in self.graph.layers]
        users = Counter(name for each in names for name in each)
        lasting = (TensorKind.INPUT, TensorKind.WEIGHT)
        shared = {n for n, c in users.items() if c > 1 and self.graph.tensors[n].kind in lasting}
        return [not each & shared for each in names]

    def history(self) -> TrafficHistory:
        """A history in which nothing has been read."""
        return self._unread.anew()

    def assemble(self, plan: Plan, peak_bytes: int, capacity_bytes: int | None = None) -> Schedule:
        """The schedule of a plan whose largest live set is `peak_bytes`.

        With a capacity, memory that is left over goes to larger tiles where they fit.
        """
        if capacity_bytes is not None:
            schedule = self._assemble(plan, peak_bytes, max(capacity_bytes, peak_bytes + 1))
            if schedule.local_bytes <= capacity_bytes:
                return schedule
        return self._assemble(plan, peak_bytes, peak_bytes)

    def _assemble(self, plan: Plan, peak_bytes: int, room_bytes: int) -> Schedule:
        residents = self.residents(plan)
        lives = [Life(r.size_bytes, r.first, r.last) for r in residents]
        sharing = sharing_of(residents, [decision.hands for decision in plan])
        held = held_bytes(lives, len(plan), sharing).tolist()
        history = self.history()
        groups = []
        for decision, taken in zip(plan, held, strict=True):
            peak, room = peak_bytes - taken, room_bytes - taken
            if decision.merged:
                groups.append(self._merged(decision, peak, room, history))
            else:
                groups.append(self._alone(decision, peak, room, history))
        own = [group.local_bytes for group in groups]
        placed = place_residents(lives, own, sharing, self.memory.alignment_bytes)
        return Schedule(
            network=self.graph.name,
            policy=self.policy,
            memory=self.memory,
            groups=tuple(
                replace(group, address=address)
                for group, address in zip(groups, placed.groups, strict=True)
            ),
            residents=tuple(
                replace(resident, address=address)
                for resident, address in zip(residents, placed.residents, strict=True)
            ),
        )

    def held(self, plan: Plan) -> list[int]:
        """Bytes of the maps that are resident in each group of a plan."""
        homes = self.residents(plan)
        lives = [Life(home.size_bytes, home.first, home.last) for home in homes]
        sharing = sharing_of(homes, [decision.hands for decision in plan])
        return [int(each) for each in held_bytes(lives, len(plan), sharing)]

    def residents(self, plan: Plan) -> list[Resident]:
        """Maps that are local while some group runs, those that share a place as one."""
        stays: list[tuple[str, int, int]] = []
        since: dict[str, int] = {}
        for number, decision in enumerate([*plan, None]):
            here = decision.resident if decision is not None else frozenset()
            for name in sorted(since.keys() - here):
                stays.append((name, since.pop(name), number - 1))
            for name in sorted(here - since.keys()):
                since[name] = number
        # what takes over the place of a map that dies, by the group in which that happens
        follows: dict[tuple[str, int], str] = {}
        for number, decision in enumerate(plan):
            if decision.replaces is not None:
                taken, output = decision.replaces
                follows[taken, number] = output
        ends = {(name, first): last for name, first, last in stays}
        found = []
        taking_over = {(follower, number) for (_, number), follower in follows.items()}
        for name, first, last in sorted(stays, key=lambda stay: (stay[1], stay[2], stay[0])):
            if (name, first) in taking_over:
                continue
            chain = [name]
            while (chain[-1], last) in follows:
                chain.append(follows[chain[-1], last])
                last = ends[chain[-1], last]
            size_bytes = self.options.size_bytes[name]
            found.append(Resident(tuple(chain), first, last, 0, size_bytes))
        return found

    def whereabouts(self, decision: Decision) -> tuple[frozenset[str], frozenset[str]]:
        """What of a layer alone is resident, maps and weights, and its outputs that go to DRAM."""
        (index,) = decision.members
        touched = self.options.reads[index].union(self.graph.layers[index].outputs)
        return decision.resident & touched, stored_of(decision.outputs)

    def _alone(self, decision: Decision, peak: int, room: int, history: TrafficHistory) -> Group:
        (index,) = decision.members
        resident, stored = self.whereabouts(decision)
        found = self.alone_frontier(index, resident, stored)
        choice = found.least(peak)
        assert choice is not None, f"{self.graph.layers[index].name}: the plan leaves {peak} bytes"
        if room > peak:
            choice = found.easiest(choice.dram_bits, room)
        return _group(
            decision, self.alone_schedules(decision, choice.tiling, history), choice.local_bytes
        )

    def alone_schedules(
        self,
        decision: Decision,
        tiling: LayerTiling,
        history: TrafficHistory | None,
        known: tuple[LayerProblem, Amounts] | None = None,
    ) -> tuple[LayerSchedule, ...]:
        """The schedule of a layer alone; `known` as in `layer_schedule`.

        Without a history no other layer may read what it reads.
        """
        (index,) = decision.members
        resident, stored = self.whereabouts(decision)
        key: object = (index, tiling, resident, stored, decision.kept)
        schedules = self._schedules.get(key)
        if schedules is None:
            history = history or self.history()
            kept = decision.kept
            schedules = (
                layer_schedule(
                    self.graph, index, tiling, self.memory, history, resident, stored, kept, known
                ),
            )
            if self.independent[index]:
                self._schedules[key] = schedules
        return schedules

    def alone_frontier(
        self, index: int, resident: frozenset[str], stored: frozenset[str]
    ) -> Frontier:
        """The frontier of a layer alone."""
        key = (index, resident, stored)
        if key not in self._frontiers:
            self._frontiers[key] = self.options.alone_frontier(index, resident, stored)
        return self._frontiers[key]

    def _merged(self, decision: Decision, peak: int, room: int, history: TrafficHistory) -> Group:
        run = self.placed(self.group_run(decision), peak)
        if room > peak:
            run = self._larger_tiles(run, room)
        schedules = self.merged_schedules(decision, run, history)
        return _group(decision, schedules, self.height(run), run.packing)

    def merged_schedules(
        self, decision: Decision, run: GroupRun, history: TrafficHistory
    ) -> tuple[LayerSchedule, ...]:
        """The schedules of a merged group's layers."""
        key = (run, decision.kept)
        schedules = self._schedules.get(key)
        if schedules is None:
            there = self._layouts.get(run)
            walk = walk_of(self.options.tables, run) if there is None else there.buffers.walk
            schedules = group_schedules(self.options.tables, run, walk, decision.kept, history)
            if all(self.independent[index] for index in decision.members):
                self._schedules[key] = schedules
        return schedules

    def _larger_tiles(self, run: GroupRun, room: int) -> GroupRun:
        """Streamed kernels by as many channels at a time as there is room for, without a search."""
        pinned = dict(run.pinned)
        channels = {
            i: self.graph.layers[i].output_shape[1] - pinned.get(i, 0) for i, _ in run.tiles
        }
        for share in (2, 4, 8, 16, 32) if run.tiles else ():
            tiles = tuple((i, -(-channels[i] // share)) for i, _ in run.tiles)
            easy = Packing.GAPS if run.packing is Packing.SEARCHED else run.packing
            larger = replace(run, tiles=tiles, packing=easy)
            if self.height(larger) <= room:
                return larger
        return run

    def placed(self, run: GroupRun, room: int) -> GroupRun:
        """A merged group with no more effort in its addresses than some room asks for."""
        least, *others = run.packings
        run = replace(run, packing=least)
        for packing in others:
            if self.height(run) > room:
                other = replace(run, packing=packing)
                if self.height(other) < self.height(run):
                    run = other
        return run

    def height(self, run: GroupRun) -> int:
        """The height of a merged group's layout; that of groups that are alike is the same."""
        shape = self.options.shapes.of(run.members)
        places = {index: place for place, index in enumerate(run.members)}
        key = (
            shape.key,
            tuple(name in run.resident for name in (*shape.outside, *shape.outgoing)),
            tuple(name in run.resident for i in run.members for name in self._weights[i]),
            tuple(name in run.stored for name in shape.outgoing),
            tuple((places[index], channels) for index, channels in (*run.tiles, *run.pinned)),
            len(run.pinned),
            (run.stripe_rows, run.running, run.packing, run.tile),
            tuple(halo for _, halo in run.halos),
        )
        if key not in self._heights:
            tiled = run.tile is not None
            tables = self.options.tables
            self._heights[key] = group_height(tables, run) if tiled else self.layout(run).height
        return self._heights[key]

    def layout(self, run: GroupRun) -> GroupLayout:
        """The layout of a merged group."""
        if run not in self._layouts:
            plain = replace(run, packing=Packing.RINGS)
            known = self._layouts.get(plain)
            buffers = known.buffers if known else group_buffers(self.options.tables, run)
            packed = self._layouts.get(replace(run, packing=Packing.GAPS))
            self._layouts[run] = laid_out(buffers, run.packing, packed)
        return self._layouts[run]

    def group_run(self, decision: Decision) -> GroupRun:
        """What a merged group's layout depends on; kernels stream channel by channel."""
        touched: set[str] = set()
        for index in decision.members:
            touched |= self.options.reads[index] | set(self.graph.layers[index].outputs)
        return GroupRun(
            decision.members,
            decision.stripe_rows,
            tuple(
                (index, 1)
                for index, _ in decision.streamed
                if self.graph.layers[index].weight not in decision.resident
            ),
            decision.resident & touched,
            stored_of(decision.outputs),
            self.memory.doubled,
            packing=Packing.RINGS,
            running=decision.running,
            tile=decision.tile,
            halos=decision.halos,
            pinned=tuple(
                (index, pinned)
                for index, pinned in decision.streamed
                if pinned and self.graph.layers[index].weight not in decision.resident
            ),
        )


def _group(
    decision: Decision,
    schedules: tuple[LayerSchedule, ...],
    local_bytes: int,
    packing: Packing = Packing.RINGS,
) -> Group:
    return Group(
        members=decision.members,
        merged=decision.merged,
        packing=packing,
        stripe_rows=decision.stripe_rows,
        layers=schedules,
        resident=decision.resident,
        stored=stored_of(decision.outputs),
        kept=decision.kept,
        address=0,
        local_bytes=local_bytes,
        tile=decision.tile,
        halos=decision.halos,
        hands=decision.hands,
    )
