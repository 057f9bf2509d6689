"""What `explain` says is true: held against runs, programs and all tilings one by one."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import isclose, prod

import pytest

from dataflow_sim.errors import DoesNotFitError, InputError
from dataflow_sim.explanation import explain, find_layer
from dataflow_sim.graph.layer import Window
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware, load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.pipeline import RunOptions, load_network, memory_options, prepare, run
from dataflow_sim.program.instructions import Load, Store
from dataflow_sim.program.lowering import lower
from dataflow_sim.report.explanation import explain_tables, shown_alternatives, why
from dataflow_sim.results_of_explanation import ExplainResult, Repeat, TensorTraffic
from dataflow_sim.schedule.alone import any_problem
from dataflow_sim.schedule.estimate import tiling_costs
from dataflow_sim.schedule.explanation import best_of_each_nest
from dataflow_sim.schedule.nest import nest_loops, nest_name
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.search import schedule_network
from dataflow_sim.schedule.types import ORDERS, LayerTiling, MemoryOptions, PartialSums
from tests.support.runs import buffering, least_budget, single_convolution
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
            assert isclose(tensor.times, repeated * (1 + tensor.halo_share))
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
def test_loads_stand_inside_the_loops_that_repeat_them(name: str, more: int, double: bool) -> None:
    """A tile is loaded as often as the loops around its line say, in the program too."""
    hardware = machine(budget(name, more, double), double)
    graph = prepare(graph_of(name), hardware, RunOptions())
    program = lower(graph, schedule_network(graph, memory_options(hardware), "layerwise"))
    loads = [i.tensor for i in program.instructions if isinstance(i, Load)]
    stores = [i.tensor for i in program.instructions if isinstance(i, Store)]
    found = all_explained(name, memory_options(hardware).capacity_bytes, double)
    for layer, result in zip(graph.layers, found, strict=True):
        named = {
            "kernel": layer.weight,
            "output vectors": layer.output_vectors,
            "output": layer.output,
        }
        for move in result.moves:
            tensor = named.get(move.holds)
            if tensor is None:
                continue
            around = [
                loop.trips
                for loop in result.loops[: move.depth]
                if not (move.when == "last" and loop.axis == "input channels")
            ]
            moved = loads if move.what == "load" else stores
            assert moved.count(tensor) == prod(around), (layer.name, move)


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


def every_tiling(problem: LayerProblem) -> list[tuple[LayerTiling, int, int]]:
    """All legal tilings with all tile sizes: local bytes, DRAM bits."""
    extents = (
        problem.output_channels,
        problem.input_channels,
        problem.batch,
        problem.rows.output_size,
        problem.columns.output_size,
    )
    found = []
    for sizes in product(*(range(1, extent + 1) for extent in extents)):
        steps = prod(-(-extent // size) for extent, size in zip(extents, sizes, strict=True))
        for order, sums in product(ORDERS, PartialSums):
            m, k, n, r, c = sizes
            tiling = LayerTiling(order, sums, 1, m, k, n, r, c, steps)
            costs = tiling_costs(problem, tiling)
            if costs is not None:
                found.append((tiling, int(costs.local_bytes[0]), int(costs.dram_bits[0])))
    return found


@pytest.mark.parametrize("more", [0, 60, 200])
@pytest.mark.parametrize("double_buffer", [False, True])
def test_the_best_of_each_nest_is_the_best_of_all_tilings(more: int, double_buffer: bool) -> None:
    graph = single_convolution((1, 3, 5, 4), 4, Window((3, 3), pad=(1, 1)))
    problem = any_problem(graph, graph.layers[0], MemoryOptions(0, buffering(double_buffer), 32))
    assert isinstance(problem, LayerProblem)
    tilings = every_tiling(problem)
    capacity = min(local for _, local, _ in tilings) + more
    best: dict[tuple[tuple[str, ...], PartialSums], int] = {}
    for tiling, local, bits in tilings:
        if local <= capacity:
            key = (nest_name(nest_loops(problem, tiling)), tiling.partial_sums)
            best[key] = min(best.get(key, bits), bits)
    found = {
        (nest_name(nest_loops(problem, c.tiling)), c.tiling.partial_sums): c.dram_bits
        for c in best_of_each_nest(problem, capacity)
    }
    assert found == best


def test_a_streamed_layer_has_slices_and_no_nest() -> None:
    graph = load_network("llama2_7b_decode@cache=64-layers=1")
    streamed = [layer.name for layer in graph.layers if layer.kind.value == "streamed"]
    assert streamed
    for layer in streamed:
        found = explain(graph, machine(1 << 20, double=True), RunOptions(), layer)
        assert (found.loops, found.moves, found.alternatives, found.next_steps) == ((),) * 4
        assert all(tensor.times == 1 for tensor in found.tensors)
        assert sum(buffer.size_bytes for buffer in found.buffers) == found.local_bytes
        assert sum(tensor.dram_bytes for tensor in found.tensors) == found.dram_bytes
        assert any("No loop nest" in table.title for table in explain_tables(found))


def test_layers_by_name_and_by_number() -> None:
    graph = graph_of("residual")
    names = [layer.name for layer in graph.layers]
    for number, name in enumerate(names, 1):
        assert find_layer(graph, name) == find_layer(graph, str(number)) == number - 1
    for wrong in ("0", str(len(names) + 1), "-1", "99999999999999999999", "", "é"):
        with pytest.raises(InputError):
            find_layer(graph, wrong)


def traffic(**changes: object) -> TensorTraffic:
    values: dict[str, object] = {
        "roles": ("input",),
        "tensors": ("x",),
        "elements": 10,
        "moved_elements": 10,
        "once_bytes": 10,
        "dram_bytes": 10,
        "repeats": (),
        "halo_share": 0.0,
        "halo_axes": (),
        "rows_stay": False,
    }
    return TensorTraffic(**{**values, **changes})  # type: ignore[arg-type]


def test_sentences() -> None:
    assert why(traffic()) == "read once"
    assert why(traffic(roles=("output",))) == "written once"
    repeats = (Repeat("output channels", 3, ("space",)),)
    sentence = why(traffic(moved_elements=33, repeats=repeats))
    assert "once for each of the 3 tiles of output channels" in sentence
    assert "the tile changes with space" in sentence
    halo = {"moved_elements": 11, "halo_share": 0.1, "halo_axes": ("columns",), "rows_stay": True}
    assert "10.0% more in a pass" in why(traffic(**halo))
    assert "rows that the tile above left stay" in why(traffic(**halo))
    both = why(traffic(roles=("input", "operand 0"), moved_elements=20))
    assert both == "read as input and as operand 0"
    sums = traffic(roles=("partial sums",), repeats=(Repeat("input channels", 4, ()),))
    assert "each of the 4 tiles of input channels but the last" in why(sums)
