"""From a schedule to a program: every tile, every transfer, every address.

Groups run one after the other; each one's buffers lie from its own base upwards and are
freed at its end.  Maps that are resident have their places until the last group that
keeps them.  Weights that stand have theirs from the first instruction on and keep it; a warm
schedule finds them there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dataflow_sim.errors import ProgramError
from dataflow_sim.garbage import without_collection
from dataflow_sim.graph.layer import Tensor, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.region import Box, Span, whole
from dataflow_sim.program.emitter import ORIGIN, Emitter, Slots, resident_slice
from dataflow_sim.program.instructions import (
    Alloc,
    Free,
    Load,
    Program,
    Slice,
    Standing,
    Store,
    Stream,
)
from dataflow_sim.program.loop_nest import LoopNest, sums_tensor_name
from dataflow_sim.program.planes import tiles
from dataflow_sim.program.row_pipeline import RowPipeline
from dataflow_sim.program.sweep import SweepNest
from dataflow_sim.program.tile_pipeline import TilePipeline
from dataflow_sim.schedule.alone import any_problem
from dataflow_sim.schedule.layout import group_layout, run_of
from dataflow_sim.schedule.problem import (
    StreamProblem,
    StreamRegion,
    longest_axis,
    region_doubled,
    stream_regions,
)
from dataflow_sim.schedule.sweep import SweepProblem
from dataflow_sim.schedule.timetable import RowTables
from dataflow_sim.schedule.types import (
    Buffering,
    Group,
    Halo,
    LayerTiling,
    MemoryOptions,
    PartialSums,
    Resident,
    Schedule,
)


def _lower_stream(
    graph: NetworkGraph, index: int, steps: int, emitter: Emitter, group: Group, doubled: Buffering
) -> None:
    """One pass: every region is cut along its longest axis and streamed through."""
    layer = graph.layers[index]
    cuts: dict[StreamRegion, list[Box]] = {}
    slots: dict[StreamRegion, Slots] = {}
    for region in stream_regions(graph, layer):
        n, _, h, w = shape = region.shape(graph)
        axis = longest_axis(shape)
        spans = [Span(0, n), Span(region.start, region.stop), Span(0, h), Span(0, w)]
        low, extent = spans[axis].start, shape[axis]
        boxes = []
        for span in tiles(extent, -(-extent // steps)):
            spans[axis] = Span(low + span.start, low + span.stop)
            boxes.append(Box(*spans))
        cuts[region] = boxes
        if region.tensor not in group.resident:
            count = 2 if steps > 1 and region_doubled(layer, region.tensor, doubled) else 1
            label = f"{layer.name}: {region.tensor}"
            bits = graph.tensors[region.tensor].local_bits
            slots[region] = emitter.alloc(label, boxes[0].shape, bits, count)
    for step in range(steps):
        reads: list[tuple[Slice, ...]] = []
        constants: list[Slice] = []
        writes: list[tuple[str, Slice]] = []
        for region, boxes in cuts.items():
            if step >= len(boxes):
                continue
            name, box = region.tensor, boxes[step]
            part = (
                Slice(slots[region].advance(), ORIGIN, box)
                if region in slots
                else resident_slice(emitter.resident[name], box)
            )
            if name in layer.outputs:
                writes.append((name, part))
                continue
            if name in layer.weights:
                constants.append(part)
            else:
                reads.append((part,))
            if region in slots:
                emitter.instructions.append(Load(name, box, part.buffer, ORIGIN))
        made = tuple(
            tuple(part for written, part in writes if written == name) for name in layer.outputs
        )
        emitter.instructions.append(Stream(index, tuple(reads), tuple(constants), made))
        for name, part in writes:
            if name in group.stored:
                emitter.instructions.append(Store(name, part.box, part.buffer, part.origin))


Progress = Callable[[int, int], None]


def _no_progress(done: int, total: int) -> None:
    """Say nothing."""


def lower(graph: NetworkGraph, schedule: Schedule, progress: Progress = _no_progress) -> Program:
    """Lower a schedule of the graph to a program; `progress` hears of steps done and in all.

    Raises ProgramError when a layer's buffers do not add up to what the schedule says, or its
    partial sums leave the accumulator memory.
    """
    with without_collection():
        return _lower(graph, schedule, progress)


def _lower(graph: NetworkGraph, schedule: Schedule, progress: Progress) -> Program:
    done, total = 0, schedule.steps
    memory = schedule.memory
    emitter = Emitter(alignment_bytes=memory.alignment_bytes, byte_bits=memory.byte_bits)
    tensors = dict(graph.tensors)
    tables = RowTables(graph, memory)
    standing = _reserve(graph, schedule, emitter)
    for number, group in enumerate(schedule.groups):
        homes = {
            name: home
            for home in schedule.residents
            if home.first <= number <= home.last
            for name in home.tensors
        }
        _move_in(graph, group, homes, emitter)
        emitter.base = group.address
        if group.merged:
            addresses = {name: home.address for name, home in homes.items()}
            _lower_merged(tables, group, memory.doubled, emitter, addresses)
        else:
            _lower_alone(graph, group, memory, emitter, tensors)
        emitter.free_all()
        later = schedule.groups[number + 1 :]
        _move_out(later[0].resident if later else schedule.standing, emitter)
        done += sum(layer.tiling.steps for layer in group.layers)
        progress(done, total)
    return Program(
        name=graph.name,
        capacity_bytes=memory.capacity_bytes,
        layers=graph.layers,
        tensors=tensors,
        instructions=tuple(emitter.instructions),
        accumulator_capacity_bytes=memory.accumulator_capacity_bytes or 0,
        again=frozenset(
            index
            for group in schedule.groups
            if any(halo is not Halo.CACHE for _, halo in group.halos)
            for index in group.members
        ),
        stands=standing if schedule.warm else (),
        leaves=standing,
        alignment_bytes=memory.alignment_bytes,
        byte_bits=memory.byte_bits,
    )


def _reserve(graph: NetworkGraph, schedule: Schedule, emitter: Emitter) -> tuple[Standing, ...]:
    """Places for the weights that stand; a warm program finds them allocated."""
    found = []
    for home in schedule.residents:
        name = home.tensors[0]
        if name not in schedule.standing:
            continue
        tensor = graph.tensors[name]
        emitter.resident[name] = emitter.place(name, tensor.shape, tensor.local_bits, home.address)
        alloc = emitter.instructions[-1]
        assert isinstance(alloc, Alloc)
        found.append(Standing(name, alloc))
    if schedule.warm:
        emitter.instructions.clear()
    return tuple(found)


def _move_in(
    graph: NetworkGraph, group: Group, homes: Mapping[str, Resident], emitter: Emitter
) -> None:
    """Reserve the maps that are resident from this group on, and load what is kept.

    A map that takes over the place of one that dies shares its buffer; weights that stand
    have their place.
    """
    for name in sorted(emitter.resident.keys() & set(group.kept)):
        box = whole(graph.tensors[name].shape)
        emitter.instructions.append(Load(name, box, emitter.resident[name], ORIGIN))
    # who holds a place first comes before those that take it over
    new = group.resident - emitter.resident.keys()
    if group.hands is not None:  # comes row by row
        new -= {group.hands.made}
    for name in sorted(new, key=lambda name: (homes[name].tensors.index(name), name)):
        home, tensor = homes[name], graph.tensors[name]
        sharing = [emitter.resident[other] for other in home.tensors if other in emitter.resident]
        if sharing:
            emitter.resident[name] = sharing[0]
            continue
        buffer = emitter.place(name, tensor.shape, tensor.local_bits, home.address)
        emitter.resident[name] = buffer
        if name in group.kept:
            emitter.instructions.append(Load(name, whole(tensor.shape), buffer, ORIGIN))


def _move_out(staying: frozenset[str], emitter: Emitter) -> None:
    """Free what is not `staying`, unless its place was taken over."""
    for name in sorted(emitter.resident.keys() - staying):
        buffer = emitter.resident.pop(name)
        if buffer not in emitter.resident.values():
            emitter.instructions.append(Free(buffer))


def _lower_alone(
    graph: NetworkGraph,
    group: Group,
    memory: MemoryOptions,
    emitter: Emitter,
    tensors: dict[str, Tensor],
) -> None:
    (chosen,) = group.layers
    (index,) = group.members
    layer, tiling = graph.layers[index], chosen.tiling
    assert isinstance(tiling, LayerTiling)
    problem = any_problem(graph, layer, memory, group.resident, group.stored)
    if isinstance(problem, StreamProblem):
        _lower_stream(graph, index, tiling.steps, emitter, group, memory.doubled)
    elif isinstance(problem, SweepProblem):
        SweepNest(index, layer, problem, tiling, emitter, group.stored).lower()
    else:
        LoopNest(index, layer, problem, tiling, emitter).lower()
    if tiling.partial_sums is PartialSums.SPILLED:
        name = sums_tensor_name(layer)
        bits = memory.accumulator_bits
        tensors[name] = Tensor(name, TensorKind.PARTIAL_SUM, layer.body_shape, bits)
    if emitter.height != group.local_bytes:
        raise ProgramError(
            f"layer '{layer.name}': its buffers take {emitter.height:,} bytes, the schedule "
            f"says {group.local_bytes:,}"
        )
    sums, there = emitter.accumulator_height, memory.accumulator_capacity_bytes or 0
    if sums != chosen.accumulator_bytes or sums > there:
        raise ProgramError(
            f"layer '{layer.name}': its partial sums take {sums:,} bytes of an accumulator memory "
            f"of {there:,}, the schedule says {chosen.accumulator_bytes:,}"
        )


def _lower_merged(
    tables: RowTables,
    group: Group,
    doubled: Buffering,
    emitter: Emitter,
    homes: Mapping[str, int],
) -> None:
    run = run_of(group, doubled)
    layout = group_layout(tables, run)
    if layout.height != group.local_bytes:
        raise ProgramError(
            f"group of '{group.layers[0].layer}': its buffers reach {layout.height:,} bytes, the "
            f"schedule says {group.local_bytes:,}"
        )
    if group.tile is None:
        RowPipeline(tables.graph, group, layout, emitter, homes).lower()
    else:
        TilePipeline(tables.graph, group, layout, emitter).lower()
