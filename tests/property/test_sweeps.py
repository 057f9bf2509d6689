"""Every tiling of random sweeps: the ledger counts what the closed form says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_sim.graph.layer import (
    Layer,
    LayerKind,
    Segment,
    Tensor,
    TensorKind,
    View,
)
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.alone import any_problem
from dataflow_sim.schedule.estimate import TrafficHistory, layer_schedule
from dataflow_sim.schedule.sweep import SweepProblem, tiling_costs
from dataflow_sim.schedule.types import (
    Group,
    LayerTiling,
    MemoryOptions,
    Packing,
    PartialSums,
    Schedule,
)
from tests.oracle import sweep_oracle as oracle
from tests.oracle.test_sweep import problem_of, sweeps
from tests.support.runs import buffering, proved


def graph_of(spec: oracle.OracleSweep) -> NetworkGraph:
    """A network of one sweep: inputs and constants are its inputs and weights."""
    names = [f"x{place}" for place in range(len(spec.inputs))]
    results = [f"y{place}" for place in range(len(spec.outputs))]
    rows = [
        *((n, TensorKind.INPUT, t) for n, t in zip(names, spec.inputs, strict=True)),
        *((n, TensorKind.OUTPUT, t) for n, t in zip(results, spec.outputs, strict=True)),
        *(("vectors", TensorKind.WEIGHT, t) for t in spec.constants),
    ]
    tensors = {name: Tensor(name, kind, each.shape, each.bits) for name, kind, each in rows}
    views = [View((Segment(n, 0, tensors[n].shape[1]),), tensors[n].shape) for n in names]
    shape = tensors["y0"].shape
    layer = Layer(
        name="sweep",
        op="Sweep",
        kind=LayerKind.STREAMED,
        input=views[0],
        operands=tuple(views[1:]),
        output="y0",
        extra_outputs=tuple(results[1:]),
        body_shape=shape,
        output_shape=shape,
        output_vectors="vectors" if spec.constants else None,
        stated_macs=1000,
        sweep=problem_of(spec).sweep,
    )
    return NetworkGraph("sweep", (layer,), tensors, tuple(names), tuple(results), 0)


@given(sweeps(), st.data())
@settings(max_examples=300, deadline=None)
def test_ledger_equals_closed_form(spec: oracle.OracleSweep, data: st.DataObject) -> None:
    graph = graph_of(spec)
    order, sizes = data.draw(st.sampled_from(list(oracle.tilings(spec))))
    memory = MemoryOptions(1 << 30, buffering(spec.double_buffer), spec.accumulator_bits)
    problem = any_problem(graph, graph.layers[0], memory)
    assert isinstance(problem, SweepProblem)
    costs = tiling_costs(problem, order, sizes)
    waits = spec.sums > 0 and sizes[3] < sum(spec.parts)
    sums = PartialSums.KEPT if waits else PartialSums.NONE
    batch, groups, rows, columns = sizes
    steps = int(costs.steps[0])
    tiling = LayerTiling(order, sums, groups, 1, 1, batch, rows, columns, steps)
    nothing: frozenset[str] = frozenset()
    stored = frozenset(graph.outputs)
    history = TrafficHistory(graph)
    found = layer_schedule(graph, 0, tiling, memory, history, nothing, stored, ())
    local = int(costs.local_bytes[0])
    group = Group((0,), False, Packing.RINGS, None, (found,), nothing, stored, (), 0, local)
    program = proved(graph, Schedule("sweep", "layerwise", memory, (group,)))
    assert program.instructions
    assert sum(found.traffic_bits.values()) == int(costs.dram_bits[0])
