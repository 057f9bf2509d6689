"""From a network, a machine and a layer's name to what `explain` tells: a layer, or its group."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial

from dataflow_sim.errors import DoesNotFitError
from dataflow_sim.graph.analyses import layer_macs, vector_elements, weight_elements
from dataflow_sim.graph.layer import Layer, LayerKind, Pooling, View
from dataflow_sim.graph.names import find_layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware
from dataflow_sim.inspection import folded
from dataflow_sim.pipeline import (
    Progress,
    RunOptions,
    memory_options,
    no_progress,
    prepare,
    what_if_results,
)
from dataflow_sim.results_of_explanation import (
    Alternative,
    Buffer,
    ExplainedLayer,
    ExplainedSweep,
    ExplainResult,
    Finish,
    InPlace,
    Loop,
    Move,
    Pinned,
)
from dataflow_sim.results_of_groups import GroupExplanation
from dataflow_sim.schedule.alone import AnyProblem, any_problem, frontier
from dataflow_sim.schedule.alternatives import alternatives
from dataflow_sim.schedule.bounds import (
    layer_bound_bytes,
    layer_floor_bytes,
    square_root_bound_bytes,
)
from dataflow_sim.schedule.check import check_schedule
from dataflow_sim.schedule.explanation import (
    THROUGH_DRAM,
    Whereabouts,
    memory_steps,
    moved_bytes,
    schedule_alone,
    stream_buffers,
    tensor_traffic,
)
from dataflow_sim.schedule.frontier import Choice
from dataflow_sim.schedule.group_explanation import (
    group_members,
    group_rows,
    group_traffic,
    resident_maps,
)
from dataflow_sim.schedule.layout import run_of
from dataflow_sim.schedule.nest import (
    in_place,
    nest_buffers,
    nest_finish,
    nest_loops,
    nest_moves,
    nest_name,
    pinned_channels,
    stationary,
)
from dataflow_sim.schedule.otherwise import Alternatives
from dataflow_sim.schedule.problem import StreamProblem
from dataflow_sim.schedule.residents import held_in
from dataflow_sim.schedule.search import Curve, budget_curve, schedule_on
from dataflow_sim.schedule.sweep import SweepProblem
from dataflow_sim.schedule.sweep_nest import (
    sweep_buffers,
    sweep_loops,
    sweep_moves,
    sweep_nest_name,
    sweep_stationary,
)
from dataflow_sim.schedule.tile_explanation import group_tiles
from dataflow_sim.schedule.types import LayerTiling, MemoryOptions

_NEXT_STEPS = 3


def explain(
    graph: NetworkGraph, hardware: Hardware, options: RunOptions, layer_name: str
) -> ExplainResult:
    """Why one layer, alone, is tiled as it is on a machine, every map through DRAM.

    `layer_name` is a layer's name, or its number in the order of `inspect`, from 1.  Of the
    options the widths count.  Raises InputError for an unknown layer, DoesNotFitError.
    """
    graph = prepare(graph, hardware, options)
    index = find_layer(graph, layer_name)
    layer, memory = graph.layers[index], memory_options(hardware, graph.byte_bits)
    capacity = memory.capacity_bytes
    found = frontier(any_problem(graph, layer, memory))
    choice = found.best(capacity)
    if choice is None:
        raise DoesNotFitError(layer.name, int(found.local_bytes[0]), capacity)
    return _nest(graph, hardware, index, memory, choice)


def _nest(
    graph: NetworkGraph,
    hardware: Hardware,
    index: int,
    memory: MemoryOptions,
    choice: Choice,
    maps: Whereabouts = THROUGH_DRAM,
    resident_bytes: int | None = None,
) -> ExplainResult:
    """The loop nest of a layer alone, whose maps are where `maps` says, in a memory."""
    layer, tiling, capacity = graph.layers[index], choice.tiling, memory.capacity_bytes
    problem = any_problem(graph, layer, memory, maps.resident, maps.stored)
    chosen = schedule_alone(graph, index, tiling, memory, maps)
    drawn = _drawn(graph, layer, problem, tiling)
    others: tuple[Alternative, ...] = ()
    if not isinstance(problem, StreamProblem):
        others = alternatives(graph, index, problem, chosen, memory, maps)
    steps = memory_steps(graph, index, frontier(problem), memory, _NEXT_STEPS, maps)
    least, all_once, further = steps
    tensors = tensor_traffic(graph, layer, problem, chosen)
    floor, root = layer_floor_bytes(graph, layer), square_root_bound_bytes(graph, layer, capacity)
    bound = layer_bound_bytes(graph, layer, capacity)
    if maps.touch(layer):
        floor = sum(each.once_bytes for each in tensors if each.roles != ("partial sums",))
        root, bound = None, floor
    return ExplainResult(
        network=graph.name,
        hardware=hardware.name,
        overrides=hardware.overrides,
        what_ifs=what_if_results(graph),
        capacity_bytes=capacity,
        layer=_explained(graph, index, memory.accumulator_bits, chosen.macs_executed),
        tiling=asdict(tiling),
        nest=drawn.nest,
        stationary=drawn.stationary,
        steps=tiling.steps,
        loops=drawn.loops,
        moves=drawn.moves,
        finish=drawn.finish,
        pinned=drawn.pinned,
        buffers=drawn.buffers,
        in_place=drawn.in_place,
        local_bytes=choice.local_bytes,
        accumulator_capacity_bytes=memory.accumulator_capacity_bytes,
        accumulator_bytes=chosen.accumulator_bytes,
        tensors=tensors,
        dram_bytes=moved_bytes(chosen, graph.byte_bits),
        alternatives=others,
        floor_bytes=floor,
        square_root_bytes=root,
        lower_bound_bytes=bound,
        least=least,
        all_once=all_once,
        next_steps=further,
        warnings=graph.warnings,
        resident_bytes=resident_bytes,
    )


def explain_group(
    graph: NetworkGraph,
    hardware: Hardware,
    options: RunOptions,
    layer_name: str,
    progress: Progress = no_progress,
) -> GroupExplanation:
    """Why the group in which a layer runs is as it is in the schedule that `run` chooses.

    Of the options policy (`resident` or `merged`) and widths count.  Raises InputError for an
    unknown layer, DoesNotFitError.
    """
    graph = prepare(graph, hardware, options)
    memory = memory_options(hardware, graph.byte_bits)
    index = find_layer(graph, layer_name)
    curve = budget_curve(graph, memory, options.policy, partial(progress, "scheduling"))
    return group_on(curve, graph, hardware, index)


def group_on(curve: Curve, graph: NetworkGraph, hardware: Hardware, index: int) -> GroupExplanation:
    """Why the group of layer `index` is as it is, of a prepared network and its curve.

    Raises DoesNotFitError.
    """
    memory = memory_options(hardware, graph.byte_bits)
    schedule = schedule_on(curve, graph, memory)
    check_schedule(graph, schedule)
    point = curve.point(memory.capacity_bytes)
    assert point is not None, "a schedule fits"
    number = next(n for n, group in enumerate(schedule.groups) if index in group.members)
    group, held = schedule.groups[number], held_in(schedule)[number]
    assembler = curve.assembler
    merge = curve.policy == "merged"
    otherwise = Alternatives(assembler, point.plan, point.peak_bytes, schedule, number, merge)
    rows = tiles = nest = None
    if group.merged:
        run = run_of(group, memory.doubled)
        layout = assembler.layout(run)
        if run.tile is None:
            rows = group_rows(assembler.options.tables, group, run, layout)
        else:
            tiles = group_tiles(group, run, layout)
    else:
        tiling = group.layers[0].tiling
        assert isinstance(tiling, LayerTiling)
        maps = Whereabouts(group.resident, group.stored, group.kept)
        room = replace(memory, capacity_bytes=memory.capacity_bytes - held)
        choice = Choice(tiling, group.local_bytes, 0)
        nest = _nest(graph, hardware, index, room, choice, maps, held)
    return GroupExplanation(
        network=graph.name,
        hardware=hardware.name,
        overrides=hardware.overrides,
        what_ifs=what_if_results(graph),
        policy=curve.policy,
        capacity_bytes=memory.capacity_bytes,
        schedule_bytes=schedule.local_bytes,
        dram_bytes=otherwise.dram_bytes,
        layer=graph.layers[index].name,
        number=number,
        count=len(schedule.groups),
        merged=group.merged,
        members=group_members(graph, group),
        residents=resident_maps(graph, schedule, number, assembler.lives),
        held_bytes=held,
        own_bytes=group.local_bytes,
        rows=rows,
        tiles=tiles,
        nest=nest,
        traffic=group_traffic(group, graph.byte_bits),
        neighbours=otherwise.neighbours(),
        variants=otherwise.variants(),
        warnings=graph.warnings,
    )


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The nest of a tiling and its buffers; a layer without a nest has buffers only."""

    buffers: tuple[Buffer, ...]
    nest: tuple[str, ...] = ()
    stationary: str = ""
    loops: tuple[Loop, ...] = ()
    moves: tuple[Move, ...] = ()
    finish: Finish | None = None
    pinned: Pinned | None = None
    in_place: tuple[InPlace, ...] = ()


def _drawn(graph: NetworkGraph, layer: Layer, problem: AnyProblem, tiling: LayerTiling) -> _Drawn:
    if isinstance(problem, StreamProblem):
        return _Drawn(stream_buffers(graph, layer, problem, tiling.steps))
    if isinstance(problem, SweepProblem):
        loops = sweep_loops(problem, tiling)
        nest = sweep_nest_name(loops)
        return _Drawn(
            buffers=sweep_buffers(problem, tiling),
            nest=nest,
            stationary=sweep_stationary(problem, nest),
            loops=loops,
            moves=sweep_moves(problem, tiling),
        )
    loops = nest_loops(problem, tiling)
    nest = nest_name(loops)
    return _Drawn(
        buffers=nest_buffers(problem, tiling),
        nest=nest,
        stationary=stationary(problem, nest),
        loops=loops,
        moves=nest_moves(problem, tiling),
        finish=nest_finish(problem, tiling),
        pinned=pinned_channels(problem, tiling),
        in_place=in_place(problem, tiling),
    )


def _explained(
    graph: NetworkGraph, index: int, accumulator_bits: int, macs_executed: int
) -> ExplainedLayer:
    """What the layer is."""
    layer, tensors = graph.layers[index], graph.tensors
    return ExplainedLayer(
        number=index + 1,
        count=len(graph.layers),
        name=layer.name,
        op=layer.op,
        kind=layer.kind.value,
        sweep=_swept(layer),
        folded=folded(layer),
        input_shape=layer.input.shape,
        body_shape=layer.body_shape,
        output_shape=layer.output_shape,
        groups=layer.output_shape[1] if layer.kind is LayerKind.CHANNELWISE else layer.groups,
        kernel=tuple(window.kernel[axis] for window, axis in layer.window.slides),
        stride=tuple(window.stride[axis] for window, axis in layer.window.slides),
        dilation=tuple(window.dilation[axis] for window, axis in layer.window.slides),
        pad=tuple(window.pad[axis] for window, axis in layer.window.slides),
        plane=layer.window.plane.input_size if layer.window.plane else (),
        pool=_pool(layer.pool),
        input_pool=_pool(layer.input_pool),
        operands=tuple(map(_view, layer.operands)),
        macs=layer_macs(layer),
        macs_executed=macs_executed,
        weight_elements=weight_elements(graph, layer),
        vector_elements=vector_elements(graph, layer),
        input_bits=graph.view_bits(layer),
        kernel_bits=graph.whole_bits(tensors[layer.weight].bits) if layer.weight else 0,
        output_bits=graph.whole_bits(tensors[layer.output].bits),
        accumulator_bits=accumulator_bits,
    )


def _swept(layer: Layer) -> ExplainedSweep | None:
    """The loops of a sweep."""
    if layer.sweep is None:
        return None
    found = layer.sweep
    return ExplainedSweep(found.kind.value, found.batch, found.groups, found.rows, found.parts)


def _pool(pooling: Pooling | None) -> str:
    """A pooling that is folded in, or the layer's own."""
    if pooling is None:
        return ""
    (rows, columns), stride = pooling.window.kernel, pooling.window.stride
    return f"{pooling.op} {rows}x{columns} stride {stride[0]}x{stride[1]}"


def _view(view: View) -> str:
    """A map that is read beside the input, with its shape."""
    names = " + ".join(segment.tensor for segment in view.segments)
    return f"{names} {'x'.join(map(str, view.shape[1:]))}"
