"""What `explain` says of sweeps is true: held against runs, programs and all tilings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_sim.errors import DoesNotFitError
from dataflow_sim.explanation import explain
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware, load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.language import llama
from dataflow_sim.pipeline import RunOptions, load_network, prepare, run
from dataflow_sim.program.instructions import Alloc, Load, Store, Stream
from dataflow_sim.program.lowering import lower
from dataflow_sim.report.explanation import explain_tables, why
from dataflow_sim.results_of_explanation import ExplainResult
from dataflow_sim.schedule.alone import any_problem
from dataflow_sim.schedule.alternatives import best_of_each_sweep
from dataflow_sim.schedule.estimate import TrafficHistory, layer_schedule
from dataflow_sim.schedule.explanation import tensor_traffic
from dataflow_sim.schedule.sweep import SweepProblem, tiling_costs
from dataflow_sim.schedule.sweep_frontier import sweep_frontier
from dataflow_sim.schedule.sweep_nest import (
    sweep_buffers,
    sweep_loops,
    sweep_moves,
    sweep_nest_name,
    sweep_tiling,
)
from dataflow_sim.schedule.sweep_steps import tiling_sizes
from dataflow_sim.schedule.types import Group, MemoryOptions, Packing, Schedule
from tests.oracle import sweep_oracle as oracle
from tests.oracle.test_sweep import problem_of, sweeps
from tests.property.test_sweeps import graph_of
from tests.support.runs import buffering, least_budget
from tests.unit import test_sweeps_of_operators as operators


def decoder() -> NetworkGraph:
    """One step of a small decoder with 15 keys in its cache and one new."""
    sizes = llama.Sizes(32, 2, 4, 2, 48, 50, 16)
    return graph_from_model(llama.decode("decoder", 15, 2, sizes.vocabulary, sizes), "decoder")


def lstm() -> NetworkGraph:
    """Five time steps whose weights take more room than all that waits."""
    weights = {"w": (1, 128, 16), "r": (1, 128, 32), "b": (1, 256)}
    return operators.graph_of("LSTM", {"x": (5, 2, 16)}, weights, hidden_size=32)


NETWORKS: Mapping[str, Callable[[], NetworkGraph]] = {
    "bert_tiny": partial(load_network, "bert_tiny"),
    "decoder": decoder,
    "lstm": lstm,
    "style_transfer": partial(load_network, "style_transfer@resolution=32-base=4"),
}
# bytes above the least in which a network runs, with one buffer or two
WITH_ROOM = [(150, False), (40, True), (3_000, True), (20_000, False)]


@lru_cache(maxsize=16)
def network(name: str) -> NetworkGraph:
    return NETWORKS[name]() if name in NETWORKS else operators.CASES[name][0]


def machine(capacity_bytes: int, double: bool) -> Hardware:
    changes = {
        "local_memory.capacity": f"{capacity_bytes}B",
        "local_memory.double_buffer": str(double).lower(),
        "count_biases": "true",
    }
    return load_hardware("bare", changes)


@lru_cache(maxsize=512)
def explained(name: str, capacity: int, double: bool, layer: str) -> ExplainResult:
    return explain(network(name), machine(capacity, double), RunOptions(), layer)


@lru_cache(maxsize=64)
def budget(name: str, double: bool) -> int:
    return least_budget(prepare(network(name), machine(1, double), RunOptions()), double)


def swept(name: str, capacity: int, double: bool) -> list[ExplainResult]:
    """Its sweeps, of each shape the first."""
    layers = {layer.sweep: layer.name for layer in reversed(network(name).layers) if layer.sweep}
    return [explained(name, capacity, double, layer) for layer in layers.values()]


ALL = [
    *(name for name in NETWORKS if name != "bert_tiny"),
    pytest.param("bert_tiny", marks=pytest.mark.slow),
    *operators.CASES,
]


@pytest.mark.parametrize(("more", "double"), WITH_ROOM)
@pytest.mark.parametrize("name", ALL)
def test_bytes_and_tilings_are_those_of_a_run(name: str, more: int, double: bool) -> None:
    capacity = budget(name, double) + more
    ran = run(network(name), machine(capacity, double), RunOptions("layerwise"))
    layers = {layer.name: layer for layer in ran.layers}
    results = swept(name, capacity, double)
    assert results
    for found in results:
        layer = layers[found.layer.name]
        assert found.layer.sweep is not None
        assert found.dram_bytes == layer.traffic.total_bytes
        assert found.tiling == {**layer.tiling, "steps": layer.steps}
        assert found.local_bytes == layer.local_bytes <= capacity
        assert found.gap == layer.gap
        assert sum(tensor.dram_bytes for tensor in found.tensors) == found.dram_bytes
        assert sum(buffer.size_bytes for buffer in found.buffers) == found.local_bytes
        assert not any(buffer.accumulators for buffer in found.buffers)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_other_nests_are_never_better_and_fit(name: str, double: bool) -> None:
    least = budget(name, double)
    for capacity in (least, least + 150, least * 3):
        for found in swept(name, capacity, double):
            seen = {found.nest}
            before = found.dram_bytes
            for each in found.alternatives:
                assert before <= each.dram_bytes
                assert each.local_bytes <= capacity
                assert each.nest not in seen
                seen.add(each.nest)
                before = each.dram_bytes


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", ["decoder", "lstm", *operators.CASES])
def test_memories_are_exact_to_the_byte(name: str, double: bool) -> None:
    at = partial(explained, name, double=double)
    for first in swept(name, budget(name, double), double):
        layer, before = first.layer.name, first.dram_bytes
        for step in first.next_steps:
            assert at(capacity=step.local_bytes - 1, layer=layer).dram_bytes == before
            assert at(capacity=step.local_bytes, layer=layer).dram_bytes == step.dram_bytes < before
            before = step.dram_bytes
        least = first.least
        assert at(capacity=least.local_bytes, layer=layer).dram_bytes == least.dram_bytes
        with pytest.raises(DoesNotFitError):
            at(capacity=least.local_bytes - 1, layer=layer)
        whole = at(capacity=first.all_once.local_bytes, layer=layer)
        assert whole.dram_bytes == first.all_once.dram_bytes
        assert not whole.next_steps
        assert all(tensor.times == 1 for tensor in whole.tensors)


@settings(max_examples=200, deadline=None)
@given(sweeps(), st.data())
def test_any_tiling_is_drawn_as_it_is_lowered(
    spec: oracle.OracleSweep, data: st.DataObject
) -> None:
    """Lines and buffers, and what each tensor is read again for, of all tilings."""
    graph = graph_of(spec)
    layer = graph.layers[0]
    memory = MemoryOptions(1 << 30, buffering(spec.double_buffer), spec.accumulator_bits)
    problem = any_problem(graph, layer, memory)
    assert isinstance(problem, SweepProblem)
    order, sizes = data.draw(st.sampled_from(list(oracle.tilings(spec))))
    tiling = sweep_tiling(problem.sweep, order, sizes)
    assert tiling_sizes(problem.sweep, tiling) == sizes
    nothing: frozenset[str] = frozenset()
    stored = frozenset(graph.outputs)
    history = TrafficHistory(graph)
    chosen = layer_schedule(graph, 0, tiling, memory, history, nothing, stored, ())
    local = int(tiling_costs(problem, order, sizes).local_bytes[0])
    group = Group((0,), False, Packing.RINGS, None, (chosen,), nothing, stored, (), 0, local)
    program = lower(graph, Schedule("sweep", "layerwise", memory, (group,)))

    allocated: dict[str, list[Alloc]] = {}
    for each in program.instructions:
        if isinstance(each, Alloc):
            allocated.setdefault(each.label, []).append(each)
    buffers = {f"sweep: {each.holds}": each for each in sweep_buffers(problem, tiling)}
    assert buffers.keys() == allocated.keys()
    for label, buffer in buffers.items():
        assert buffer.size_bytes == sum(each.size_bytes for each in allocated[label])
        assert {each.shape for each in allocated[label]} == {buffer.shape}
        assert buffer.slots == len(allocated[label])
    assert sum(buffer.size_bytes for buffer in buffers.values()) == local

    roles = {name: f"operand {n - 1}" if n else "input" for n, name in enumerate(graph.inputs)}
    roles |= {name: f"output {n}" if n else "output" for n, name in enumerate(graph.outputs)}
    roles["vectors"] = "output vectors"
    happened, elements = Counter[tuple[str, str]](), Counter[str]()
    for each in program.instructions:
        if isinstance(each, Load | Store):
            what = "load" if isinstance(each, Load) else "store"
            happened[what, roles[each.tensor]] += 1
            elements[roles[each.tensor]] += each.box.elements
    loops, moves = sweep_loops(problem, tiling), sweep_moves(problem, tiling)
    assert {(m.what, m.holds): m.times for m in moves if m.what != "hold"} == happened
    assert prod(loop.trips for loop in loops) == tiling.steps
    assert sum(isinstance(each, Stream) for each in program.instructions) == tiling.steps
    trips = {loop.axis: loop.trips for loop in loops}
    for move in moves:
        around = [loop.axis for loop in loops[: move.depth]]
        waits = {"second pass": ["passes"], "last columns": ["columns"], "last rows": ["rows"]}
        if move.when != "own columns":
            left = [axis for axis in around if axis not in waits.get(move.when, [])]
            assert move.times == prod(trips[axis] for axis in left)
        else:
            assert "columns" in around
            assert move.times < prod(trips[axis] for axis in around)
        label = f"sweep: {move.holds}"
        assert {each.size_bytes for each in allocated[label]} == {move.tile_bytes}
    held = [move for move in moves if move.what == "hold"]
    assert len(held) == ("sweep: running sums" in allocated)

    for tensor in tensor_traffic(graph, layer, problem, chosen):
        assert tensor.moved_elements == tensor.elements * prod(r.trips for r in tensor.repeats)
        if tensor.roles != ("output",):
            assert tensor.moved_elements == elements[tensor.roles[0]]
        assert not any(repeat.roles for repeat in tensor.repeats)


@settings(max_examples=60, deadline=None)
@given(sweeps(largest=3), st.integers(0, 60))
def test_the_best_of_each_nest_is_the_best_of_all_tilings(
    spec: oracle.OracleSweep, more: int
) -> None:
    problem = problem_of(spec)
    capacity = int(sweep_frontier(problem).local_bytes[0]) + more
    best: dict[tuple[str, ...], tuple[int, int]] = {}
    for order, sizes in oracle.tilings(spec):
        counts = oracle.simulate(spec, order, sizes)
        if counts.local_bytes <= capacity:
            tiling = sweep_tiling(problem.sweep, order, sizes)
            name = sweep_nest_name(sweep_loops(problem, tiling))
            rank = (counts.dram_bits, counts.steps)
            best[name] = min(best.get(name, rank), rank)
    choices = best_of_each_sweep(problem, capacity)
    named = {sweep_nest_name(sweep_loops(problem, each.tiling)): each for each in choices}
    assert {name: (c.dram_bits, c.tiling.steps) for name, c in named.items()} == best
    of_all = sweep_frontier(problem).best(capacity)
    assert of_all is not None
    assert of_all.dram_bits == choices[0].dram_bits
    for choice in choices:
        sizes = tiling_sizes(problem.sweep, choice.tiling)
        costs = tiling_costs(problem, choice.tiling.order, sizes)
        assert int(costs.local_bytes[0]) == choice.local_bytes <= capacity


def lines(found: ExplainResult) -> list[str]:
    """The text of all tables, one row a line."""
    return [" ".join(row).strip() for table in explain_tables(found) for row in table.rows]


def test_attention_is_told_in_words() -> None:
    found = explain(load_network("bert_tiny"), machine(12 << 10, False), RunOptions(), "7")
    text = lines(found)
    assert "sweep attention: 2 groups, 128 rows (queries), 128 columns (keys)" in text
    assert found.nest == ("groups", "rows", "columns")
    assert found.stationary == "rows"
    keys = found.tensors[1]
    assert (keys.roles, keys.times) == (("operand 0",), 5)
    assert why(keys) == (
        "once for each of the 5 tiles of rows: inside that loop the tile changes with columns"
    )
    (held,) = (move for move in found.moves if move.what == "hold")
    assert (held.holds, held.depth, held.times) == ("running sums", 2, 10)


def test_a_tensor_that_is_queries_keys_and_values_names_what_is_read_again() -> None:
    graph = load_network("vit_b16@layers=1")
    found = explain(graph, machine(12 << 10, False), RunOptions(), "layer1.attention.heads")
    joined = found.tensors[0]
    assert joined.roles == ("input", "operand 0", "operand 1")
    (repeat,) = joined.repeats
    assert repeat.roles == ("operand 0", "operand 1")
    third = joined.elements // 3
    assert joined.moved_elements == third + 2 * third * repeat.trips
    assert why(joined).startswith("operand 0 and operand 1 once for each of the 7 tiles of rows: ")


def test_columns_in_parts_and_two_passes_are_drawn() -> None:
    graph = load_network("llama2_7b_decode@cache=64-layers=1")
    found = explain(graph, machine(8 << 10, False), RunOptions(), "layer1.attention.heads")
    text = [line.replace("  ", "") for line in lines(found)]
    assert any("65 columns (keys) in parts of 64 and 1" in line for line in text)
    assert any(line.startswith("load operand 0, where the columns are its own") for line in text)
    graph = load_network("style_transfer@resolution=64-base=8")
    found = explain(graph, machine(4 << 10, False), RunOptions(), "down1.norm")
    text = lines(found)
    assert any(line.startswith("for passes: statistics, then results 2") for line in text)
    assert any(line.startswith("store output, in the second pass") for line in text)
    assert why(found.tensors[0]) == (
        "once for the statistics and once for the results: "
        "inside a pass the tile changes with columns"
    )
    assert found.to_json()["layer"]["sweep"] == {  # type: ignore[index]
        "kind": "twice",
        "batch": 8,
        "groups": 1,
        "rows": 1,
        "parts": (64,),
    }


def test_time_steps_read_the_weights_again() -> None:
    (found,) = swept("lstm", budget("lstm", double=False), double=False)
    weights = next(tensor for tensor in found.tensors if tensor.tensors == ("w",))
    assert weights.times == 5
    assert "5 tiles of rows" in why(weights)
    assert any("recurrent: 5 rows (time steps)" in line for line in lines(found))
    (held,) = (move for move in found.moves if move.what == "hold")
    assert (held.depth, held.times) == (0, 1)  # the state goes from each step to the next
    roomy = explained("lstm", 100_000, False, found.layer.name)
    assert all(tensor.times == 1 for tensor in roomy.tensors)
    assert roomy.stationary == "columns"
