"""Merged groups by hand: a whole network, or its last layers, as one group."""

from __future__ import annotations

from dataclasses import replace

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.assemble import Assembler
from dataflow_sim.schedule.baseline import Baseline
from dataflow_sim.schedule.lives import DRAM, MapLives, shared_constants
from dataflow_sim.schedule.options import Options
from dataflow_sim.schedule.plans import Decision, Plan
from dataflow_sim.schedule.types import MemoryOptions, Schedule

_EVERYTHING = 1 << 60


def _plan(graph: NetworkGraph, options: Options, first: int, group: Decision) -> Plan:
    """Layers before `first` alone, every map through DRAM, then the group."""
    alone = (
        Decision(
            members=(index,),
            merged=False,
            stripe_rows=None,
            streamed=(),
            outputs=tuple((name, DRAM) for name in graph.layers[index].outputs),
            resident=frozenset(),
            kept=(),
        )
        for index in range(first)
    )
    made = options.group(group.stripe_rows)
    for index in group.members:
        made = made.grown(index, keep=False)
    outputs = tuple((found.name, DRAM) for found in made.outgoing)
    return (*alone, replace(group, outputs=outputs))


def grouped(
    graph: NetworkGraph,
    memory: MemoryOptions,
    running: bool,
    first: int = 0,
    height: int | None = None,
    streamed: int = 0,
    room_bytes: int = 0,
) -> Schedule:
    """A schedule that runs layers from `first` on as one group, the others alone.

    The `streamed` largest kernels are fetched again in each firing, by tiles as large as
    `room_bytes` allows; the capacity is what the schedule needs.
    """
    baseline = Baseline(graph, memory)
    lives = MapLives(graph, shared_constants(graph))
    options = Options(graph, memory, lives, baseline, _EVERYTHING, may_merge=False)
    members, nothing = tuple(range(first, len(graph.layers))), frozenset[str]()
    largest = sorted(
        (i for i in members if options.kernels[i].can_stream),
        key=lambda i: -options.kernels[i].kernel_bytes,
    )
    some = tuple((index, 0) for index in sorted(largest[:streamed]))
    group = Decision(members, True, height, some, (), nothing, (), running=running)
    plan = _plan(graph, options, first, group)
    assembler = Assembler(graph, "merged", memory, options)
    peak = max((int(f.local_bytes[0]) for f in baseline.frontiers[:first]), default=0)
    schedule = assembler.assemble(plan, peak)
    if room_bytes:
        schedule = assembler.assemble(plan, schedule.local_bytes, room_bytes)
    return replace(schedule, memory=replace(memory, capacity_bytes=schedule.local_bytes))
