"""From a plan to a schedule: tilings, addresses, traffic by tensor and reason.

Address assignment comes before anything counts: the height that it reaches is the local
memory that the schedule needs.  Memory that a group leaves over goes to larger tiles,
which move the same bytes in fewer steps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from dataflow_sim.graph.layer import LayerKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.allocation import Life, place_residents
from dataflow_sim.schedule.estimate import TrafficHistory, layer_schedule
from dataflow_sim.schedule.estimate_rows import merged_schedules
from dataflow_sim.schedule.frontier import Frontier
from dataflow_sim.schedule.layout import GroupLayout, GroupRun, group_layout
from dataflow_sim.schedule.lives import shared_constants
from dataflow_sim.schedule.merging import streaming_order
from dataflow_sim.schedule.options import Options, resident_of, stored_of
from dataflow_sim.schedule.planner import Decision, Plan
from dataflow_sim.schedule.types import (
    Group,
    LayerSchedule,
    MemoryOptions,
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
        self._layouts: dict[GroupRun, GroupLayout] = {}
        self._frontiers: dict[tuple[int, frozenset[str], frozenset[str]], Frontier] = {}
        self._schedules: dict[object, tuple[LayerSchedule, ...]] = {}
        self._independent = self._layers_without_history()

    def _layers_without_history(self) -> list[bool]:
        """Layers whose traffic does not depend on what was read before them."""
        weights = Counter(name for layer in self.graph.layers for name in layer.weights)
        readers = self.lives.readings
        single = {name for name in self.graph.inputs if len(readers.get(name, ())) < 2}
        shared = (set(self.graph.inputs) - single) | shared_constants(self.graph)
        return [
            layer.kind is not LayerKind.STREAMED
            and all(weights[name] == 1 for name in layer.weights)
            and not self.options.reads[index] & shared
            for index, layer in enumerate(self.graph.layers)
        ]

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
        residents = self._residents(plan)
        lives = [Life(r.size_bytes, r.first, r.last) for r in residents]
        held = [
            sum(r.size_bytes for r in residents if r.first <= g <= r.last) for g in range(len(plan))
        ]
        history = TrafficHistory(self.graph)
        groups = []
        for decision, taken in zip(plan, held, strict=True):
            peak, room = peak_bytes - taken, room_bytes - taken
            if decision.merged:
                groups.append(self._merged(decision, peak, room, history))
            else:
                groups.append(self._alone(decision, peak, room, history))
        placed = place_residents(lives, [group.local_bytes for group in groups])
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

    def _residents(self, plan: Plan) -> list[Resident]:
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
            outputs = resident_of(decision.outputs)
            if not decision.merged and outputs:
                before = decision.resident - outputs
                taken = self.lives.overwritten(decision.start, before)
                if taken is not None:
                    (follows[taken, number],) = outputs
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
            found.append(Resident(tuple(chain), first, last, 0, self.lives.size_bytes[name]))
        return found

    def _alone(self, decision: Decision, peak: int, room: int, history: TrafficHistory) -> Group:
        index, layer = decision.start, self.graph.layers[decision.start]
        stored = stored_of(decision.outputs)
        resident = decision.resident & (self.options.reads[index] | set(layer.outputs))
        found = self._alone_frontier(index, resident, stored)
        choice = found.least(peak)
        assert choice is not None, f"{layer.name}: the plan leaves {peak} bytes"
        if room > peak:
            choice = found.easiest(choice.dram_bits, room)
        key: object = (index, choice.tiling, resident, stored, decision.kept)
        schedules = self._schedules.get(key)
        if schedules is None:
            schedules = (
                layer_schedule(
                    self.graph,
                    index,
                    choice.tiling,
                    self.memory,
                    history,
                    resident,
                    stored,
                    decision.kept,
                ),
            )
            if self._independent[index]:
                self._schedules[key] = schedules
        return _group(decision, schedules, choice.local_bytes)

    def _alone_frontier(
        self, index: int, resident: frozenset[str], stored: frozenset[str]
    ) -> Frontier:
        key = (index, resident, stored)
        if key not in self._frontiers:
            self._frontiers[key] = self.options.alone_frontier(index, resident, stored)
        return self._frontiers[key]

    def _merged(self, decision: Decision, peak: int, room: int, history: TrafficHistory) -> Group:
        run = self.group_run(decision)
        layout = self.layout(run)
        if layout.height > peak:
            packed = replace(run, packed=True)
            run = min(run, packed, key=lambda each: self.layout(each).height)
            layout = self.layout(run)
        if room > peak:
            run, layout = self._larger_tiles(run, layout, room)
        key = (run, decision.kept)
        schedules = self._schedules.get(key)
        if schedules is None:
            schedules = merged_schedules(
                self.options.tables, run, layout.timetable, decision.kept, history
            )
            if all(self._independent[decision.start : decision.stop]):
                self._schedules[key] = schedules
        return _group(decision, schedules, layout.height, run.packed)

    def _larger_tiles(
        self, run: GroupRun, layout: GroupLayout, room: int
    ) -> tuple[GroupRun, GroupLayout]:
        """Streamed kernels by as many channels at a time as there is room for."""
        channels = {i: self.graph.layers[i].output_shape[1] for i, _ in run.tiles}
        for share in (2, 4, 8, 16, 32) if run.tiles else ():
            tiles = tuple((i, -(-channels[i] // share)) for i, _ in run.tiles)
            larger = replace(run, tiles=tiles)
            found = self.layout(larger)
            if found.height <= room:
                return larger, found
        return run, layout

    def layout(self, run: GroupRun) -> GroupLayout:
        """The layout of a merged group."""
        if run not in self._layouts:
            self._layouts[run] = group_layout(self.options.tables, run)
        return self._layouts[run]

    def group_run(self, decision: Decision) -> GroupRun:
        """What a merged group's layout depends on; kernels stream channel by channel."""
        start, stop = decision.start, decision.stop
        order = streaming_order(self.options.kernels, start, stop)
        maps: set[str] = set()
        for index in range(start, stop):
            maps |= self.options.reads[index] | set(self.graph.layers[index].outputs)
        return GroupRun(
            start,
            stop,
            decision.stripe_rows,
            tuple((index, 1) for index in sorted(order[: decision.streamed_kernels])),
            decision.resident & maps,
            stored_of(decision.outputs),
            self.memory.doubled,
            packed=False,
            running=decision.running,
        )


def _group(
    decision: Decision,
    schedules: tuple[LayerSchedule, ...],
    local_bytes: int,
    packed: bool = False,
) -> Group:
    return Group(
        start=decision.start,
        stop=decision.stop,
        merged=decision.merged,
        packed=packed,
        stripe_rows=decision.stripe_rows,
        layers=schedules,
        resident=decision.resident,
        stored=stored_of(decision.outputs),
        kept=decision.kept,
        address=0,
        local_bytes=local_bytes,
    )
