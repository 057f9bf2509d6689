"""What `explain` says is true: held against runs, programs and all tilings one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from functools import lru_cache
from math import isclose, prod

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow_sim.errors import DoesNotFitError, InputError
from dataflow_sim.explanation import explain
from dataflow_sim.graph.layer import Layer, LayerKind
from dataflow_sim.graph.names import find_layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware, load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.pipeline import RunOptions, load_network, memory_options, prepare, run
from dataflow_sim.program.instructions import Alloc, Compute, Instruction, Load, Program, Store
from dataflow_sim.program.lowering import lower
from dataflow_sim.report.explanation import explain_tables, shown_alternatives, why
from dataflow_sim.results_of_explanation import (
    ExplainResult,
    Loop,
    Move,
)
from dataflow_sim.schedule.alone import any_problem
from dataflow_sim.schedule.nest import (
    nest_buffers,
    nest_finish,
    nest_moves,
)
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.search import schedule_network
from dataflow_sim.schedule.types import MemoryOptions, PartialSums
from tests.oracle.test_any_tiling import drawn, schedule_of
from tests.support.runs import buffering, least_budget
from tests.support.small import SMALL

# bytes above the least in which a network runs, with one buffer or two
NETWORKS = ("concatenated", "depthwise", "pooled_classifier", "residual", "squeeze_excite")
CASES = [
    pytest.param(name, more, double, id=f"{name}-{more}-{'two' if double else 'one'}")
    for name in NETWORKS
    for more, double in ((0, False), (150, False), (40, True), (20_000, True))
]
# at its very least a run keeps its tiles small, where they may be larger
WITH_ROOM = [case for case in CASES if "-0-" not in str(case.id)]


@lru_cache(maxsize=32)
def graph_of(name: str) -> NetworkGraph:
    return graph_from_model(SMALL[name](), name)


def machine(capacity_bytes: int, double: bool) -> Hardware:
    changes = {
        "local_memory.capacity": f"{capacity_bytes}B",
        "local_memory.double_buffer": str(double).lower(),
        "count_biases": "true",
    }
    return load_hardware("bare", changes)


def budget(name: str, more: int, double: bool) -> int:
    graph = prepare(graph_of(name), machine(1, double), RunOptions())
    return least_budget(graph, double) + more


@lru_cache(maxsize=512)
def explained(name: str, capacity: int, double: bool, layer: str) -> ExplainResult:
    return explain(graph_of(name), machine(capacity, double), RunOptions(), layer)


def all_explained(name: str, capacity: int, double: bool) -> list[ExplainResult]:
    layers = graph_of(name).layers
    return [explained(name, capacity, double, layer.name) for layer in layers]


@pytest.mark.parametrize(("name", "more", "double"), CASES)
def test_bytes_and_buffers_are_those_of_a_run(name: str, more: int, double: bool) -> None:
    capacity = budget(name, more, double)
    ran = run(graph_of(name), machine(capacity, double), RunOptions("layerwise"))
    for layer, found in zip(ran.layers, all_explained(name, capacity, double), strict=True):
        assert found.dram_bytes == layer.traffic.total_bytes
        if more:
            assert {**layer.tiling, "steps": layer.steps} == found.tiling
            assert found.local_bytes == layer.local_bytes
        assert found.local_bytes <= capacity
        assert found.gap == layer.gap == layer.traffic.total_bytes / layer.lower_bound_bytes
        assert sum(tensor.dram_bytes for tensor in found.tensors) == found.dram_bytes
        assert sum(buffer.size_bytes for buffer in found.buffers) == found.local_bytes


@pytest.mark.parametrize(("name", "more", "double"), CASES)
def test_times_repeats_and_halo_explain_the_bytes(name: str, more: int, double: bool) -> None:
    for found in all_explained(name, budget(name, more, double), double):
        for tensor in found.tensors:
            assert tensor.times == tensor.moved_elements / tensor.elements
            assert isclose(tensor.once_bytes * tensor.times, tensor.dram_bytes)
            if len(tensor.roles) > 1:
                continue
            repeated = prod(repeat.trips for repeat in tensor.repeats)
            if tensor.roles == ("partial sums",):
                repeated = 2 * (repeated - 1)
            stays = 0 if tensor.pinned is None else tensor.pinned.elements
            rest = (tensor.elements - stays) * repeated * (1 + tensor.halo_share)
            assert isclose(tensor.moved_elements, stays + rest)
            assert bool(tensor.halo_axes) == (tensor.halo_share > 0)


@pytest.mark.parametrize(("name", "more", "double"), CASES)
def test_buffers_hold_their_tiles(name: str, more: int, double: bool) -> None:
    widths = {"output vectors": 32, "input vectors": 32, "partial sums": 32}
    for found in all_explained(name, budget(name, more, double), double):
        for buffer in found.buffers:
            if buffer.shape is None or buffer.slots is None or buffer.ring:
                continue
            tile = -(-prod(buffer.shape) * widths.get(buffer.holds, 8) // 8)
            assert buffer.size_bytes == tile * buffer.slots
            sizes = [m.tile_bytes for m in found.moves if m.holds == buffer.holds]
            assert set(sizes) == {tile}


@pytest.mark.parametrize(("name", "more", "double"), WITH_ROOM)
def test_lines_of_the_nest_are_those_of_the_program(name: str, more: int, double: bool) -> None:
    """A tile moves as often as its line says, which is what the loops around it make."""
    hardware = machine(budget(name, more, double), double)
    graph = prepare(graph_of(name), hardware, RunOptions())
    program = lower(graph, schedule_network(graph, memory_options(hardware), "layerwise"))
    found = all_explained(name, memory_options(hardware).capacity_bytes, double)
    for result, instructions in zip(found, by_layer(program), strict=True):
        layer = program.layers[result.layer.number - 1]
        problem = any_problem(graph, layer, memory_options(hardware))
        assert isinstance(problem, LayerProblem)
        assert counted(layer, result.moves) == happened(layer, instructions)
        steps = [i for i in instructions if isinstance(i, Compute)]
        assert len(steps) == result.steps
        finishing = result.finish.steps if result.finish else 0
        assert sum(not step.input for step in steps) == finishing
        for move in result.moves:
            around = result.loops[: move.depth]
            if move.when == "finish":
                outer = [x.trips for x in around if x.axis not in ("input channels", CHANNELS)]
                assert move.times == prod(outer) * problem.output_channels
            else:
                assert move.times == prod(trips_of(loop, move, result) for loop in around)


CHANNELS = "output channels"


def trips_of(loop: Loop, move: Move, result: ExplainResult) -> int:
    """Trips of a loop in which a line happens: not those with all channels pinned."""
    trips, pinned = loop.trips, result.pinned
    if pinned is not None and move.holds == pinned.role and loop.axis == pinned.axis:
        trips -= pinned.channels // loop.tile
    if loop.axis == "input channels":
        return {"last": 1, "before last": trips - 1, "after first": trips - 1}.get(move.when, trips)
    return trips


def by_layer(program: Program) -> list[list[Instruction]]:
    """The instructions of a program in which layers run alone, layer by layer."""
    found: list[list[Instruction]] = [[] for _ in program.layers]
    waiting: list[Instruction] = []
    layer = 0
    for instruction in program.instructions:
        if isinstance(instruction, Compute):
            layer = instruction.layer
            found[layer] += [*waiting, instruction]
            waiting = []
        elif isinstance(instruction, Store):
            found[layer].append(instruction)
        else:
            waiting.append(instruction)
    return found


def named_tensors(layer: Layer) -> dict[str, str]:
    """What moves in one piece, by the tensor's name."""
    weights = {
        "kernel": layer.weight,
        "input vectors": layer.input_vectors,
        "output vectors": layer.output_vectors,
        "partial sums": f"{layer.name}.partial_sums",
        "output": layer.output,
    }
    found = {name: role for role, name in weights.items() if name}
    inputs = {segment.tensor for segment in layer.input.segments}
    for index, view in enumerate(layer.operands):
        (name, *others) = (segment.tensor for segment in view.segments)
        if not others and name not in inputs:
            found[name] = f"operand {index}"
    return found


def counted(layer: Layer, moves: Iterable[Move]) -> Counter[tuple[str, str]]:
    """How often each tensor is loaded and stored, pinned channels with the others."""
    roles, found = set(named_tensors(layer).values()), Counter[tuple[str, str]]()
    for move in moves:
        role = move.holds.removeprefix("pinned ")
        if role in roles and move.what != "hold":
            found[move.what, role] += move.times
    return found


def happened(layer: Layer, instructions: Iterable[Instruction]) -> Counter[tuple[str, str]]:
    """The same of a program."""
    roles, found = named_tensors(layer), Counter[tuple[str, str]]()
    for each in instructions:
        if isinstance(each, Load | Store) and each.tensor in roles:
            found["load" if isinstance(each, Load) else "store", roles[each.tensor]] += 1
    return found


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_any_tiling_is_drawn_as_it_is_lowered(name: str, data: st.DataObject) -> None:
    """Lines and buffers of all tilings, pinned channels and sums finished by channel among them."""
    graph = prepare(graph_of(name), machine(1, double=False), RunOptions())
    memory = MemoryOptions(0, buffering(data.draw(st.booleans())), 32)
    chosen = drawn(data, graph, memory)
    instructions = by_layer(lower(graph, schedule_of(graph, chosen, memory)))
    for layer, tiling, made in zip(graph.layers, chosen, instructions, strict=True):
        problem = any_problem(graph, layer, memory)
        assert isinstance(problem, LayerProblem)
        moves = nest_moves(problem, tiling)
        assert counted(layer, moves) == happened(layer, made)
        finish = nest_finish(problem, tiling)
        finishing = [i for i in made if isinstance(i, Compute) and not i.input]
        assert len(finishing) == (finish.steps if finish else 0)
        allocated: dict[str, list[Alloc]] = {}
        for each in made:
            if isinstance(each, Alloc):
                allocated.setdefault(each.label, []).append(each)
        buffers = {f"{layer.name}: {b.holds}": b for b in nest_buffers(problem, tiling)}
        assert buffers.keys() == allocated.keys()
        for label, buffer in buffers.items():
            assert buffer.size_bytes == sum(each.size_bytes for each in allocated[label])
            if not buffer.ring:
                assert {each.shape for each in allocated[label]} == {buffer.shape}
                assert buffer.slots == len(allocated[label])


def test_pinned_channels_are_told_in_figures() -> None:
    """Of a layer alone at every memory: kernel, input, part of them and all, are all met."""
    met = set()
    graph = graph_of("residual")
    for layer in ("a", "c", "d", "self"):
        for more in range(0, 900, 25):
            try:
                found = explained("residual", 100 + more, False, layer)
            except DoesNotFitError:
                continue
            assert found.to_json()["local"]["pinned"] == (  # type: ignore[index]
                None if found.pinned is None else asdict(found.pinned)
            )
            if found.pinned is None:
                assert not any(tensor.pinned for tensor in found.tensors)
                continue
            pinned = found.pinned
            whole = pinned.channels == pinned.of_channels
            met.add((pinned.role, whole))
            assert pinned.channels == found.tiling[f"pinned_{pinned.axis.replace(' ', '_')}"]
            assert pinned.elements == prod(pinned.shape)
            assert f"pinned {pinned.role}" in {buffer.holds for buffer in found.buffers}
            assert (pinned.role in {move.holds for move in found.moves}) == (not whole)
            (tensor,) = (each for each in found.tensors if each.pinned is not None)
            assert pinned.role in tensor.roles
            assert tensor.pinned == pinned
            assert "left-over memory" in why(tensor) or len(tensor.roles) > 1
    assert met >= {("kernel", True), ("kernel", False), ("input", False)}, graph.name


@pytest.mark.parametrize(("name", "more", "double"), CASES)
def test_other_nests_are_never_better_and_fit(name: str, more: int, double: bool) -> None:
    capacity = budget(name, more, double)
    for found in all_explained(name, capacity, double):
        seen = {(found.nest, found.tiling["partial_sums"])}
        before = found.dram_bytes
        for each in found.alternatives:
            assert before <= each.dram_bytes
            assert each.local_bytes <= capacity
            assert each.more_share == each.dram_bytes / found.dram_bytes - 1
            assert (each.nest, each.partial_sums) not in seen
            seen.add((each.nest, each.partial_sums))
            before = each.dram_bytes
        shown = shown_alternatives(found)
        kinds = {each.stationary for each in found.alternatives}
        assert {each.stationary for each in shown} == kinds


@pytest.mark.parametrize(("name", "more", "double"), CASES)
def test_memories_are_exact_to_the_byte(name: str, more: int, double: bool) -> None:
    for found in all_explained(name, budget(name, more, double), double):
        layer = found.layer.name
        before = found.dram_bytes
        for step in found.next_steps:
            assert step.local_bytes > found.capacity_bytes
            assert explained(name, step.local_bytes - 1, double, layer).dram_bytes == before
            assert explained(name, step.local_bytes, double, layer).dram_bytes == step.dram_bytes
            assert step.dram_bytes < before
            before = step.dram_bytes
        least = explained(name, found.least.local_bytes, double, layer)
        assert least.dram_bytes == found.least.dram_bytes
        with pytest.raises(DoesNotFitError):
            explained(name, found.least.local_bytes - 1, double, layer)
        whole = explained(name, found.all_once.local_bytes, double, layer)
        assert whole.dram_bytes == found.all_once.dram_bytes
        assert all(tensor.times == 1 for tensor in whole.tensors if len(tensor.roles) == 1)
        assert not whole.next_steps


def test_a_streamed_layer_has_slices_and_no_nest() -> None:
    graph = load_network("deit_tiny@layers=1")
    streamed = [
        layer.name
        for layer in graph.layers
        if layer.kind is LayerKind.STREAMED and layer.sweep is None
    ]
    assert streamed
    for layer in streamed:
        found = explain(graph, machine(1 << 20, double=True), RunOptions(), layer)
        assert (found.loops, found.moves, found.alternatives, found.next_steps) == ((),) * 4
        assert found.layer.sweep is None
        assert all(tensor.times == 1 for tensor in found.tensors)
        assert sum(buffer.size_bytes for buffer in found.buffers) == found.local_bytes
        assert sum(tensor.dram_bytes for tensor in found.tensors) == found.dram_bytes
        assert any("No loop nest" in table.title for table in explain_tables(found))


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("accumulators", [40, pytest.param(400, marks=pytest.mark.slow), 100_000])
def test_partial_sums_may_lie_in_a_memory_of_their_own(accumulators: int, double: bool) -> None:
    graph = graph_of("residual")
    used = set()
    for capacity in range(140, 1000, 120):
        hardware = machine(capacity, double)
        compute = hardware.compute.model_copy(update={"accumulator_memory_bytes": accumulators})
        hardware = hardware.model_copy(update={"compute": compute})
        memory = memory_options(hardware)
        assert memory.accumulator_capacity_bytes == accumulators
        for layer in graph.layers:
            try:
                found = explain(graph, hardware, RunOptions(), layer.name)
            except DoesNotFitError:
                continue
            local = [each for each in found.buffers if not each.accumulators]
            apart = [each for each in found.buffers if each.accumulators]
            assert sum(buffer.size_bytes for buffer in local) == found.local_bytes <= capacity
            assert sum(buffer.size_bytes for buffer in apart) == found.accumulator_bytes
            assert found.accumulator_bytes <= accumulators == found.accumulator_capacity_bytes
            assert {each.holds for each in apart} <= {"partial sums"}
            split = found.tiling["partial_sums"] is not PartialSums.NONE
            assert bool(apart) == split == bool(found.accumulator_bytes)
            used.add(split)
            (table,) = (t for t in explain_tables(found) if t.title.startswith("Local memory"))
            rows = [row[0] for row in table.rows]
            assert rows.index("sum") == len(rows) - 2 - len(apart)
            assert table.rows[-1][0] == f"sum there, of {accumulators:,}"
            assert table.rows[-1][-1] == f"{found.accumulator_bytes:,}"
            assert found.to_json()["accumulators"] == {
                "capacity_bytes": accumulators,
                "used_bytes": found.accumulator_bytes,
            }
    assert used == {False, True}


def test_layers_by_name_and_by_number() -> None:
    graph = graph_of("residual")
    names = [layer.name for layer in graph.layers]
    for number, name in enumerate(names, 1):
        assert find_layer(graph, name) == find_layer(graph, str(number)) == number - 1
    for wrong in ("0", str(len(names) + 1), "-1", "99999999999999999999", "", "é"):
        with pytest.raises(InputError):
            find_layer(graph, wrong)
