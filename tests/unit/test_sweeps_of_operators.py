"""What normalisations, softmax, products and recurrent layers read again, file to ledger."""

from __future__ import annotations

from math import prod

import pytest
from onnx import TensorProto, helper

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.graph.sweep import Sweep
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.schedule.search import budget_curve, schedule_network
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from tests.support.runs import buffering, least_budget, proved

Shape = tuple[int, ...]


def graph_of(
    op: str,
    inputs: dict[str, Shape],
    constants: dict[str, Shape],
    opset: int = 21,
    **attributes: float,
) -> NetworkGraph:
    """A network of one node, 8 bit."""
    initialisers = []
    for name, shape in constants.items():
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="absent.bin")
        initialisers.append(tensor)
    node = helper.make_node(op, [*inputs, *constants], ["y"], name="node")
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    graph = helper.make_graph(
        [node],
        op,
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initialisers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return assign_precision(graph_from_model(model, op), Precision(8, 8, 32))


CASES = {
    "instance": (
        graph_of("InstanceNormalization", {"x": (2, 3, 6, 4)}, {"s": (3,), "b": (3,)}),
        (2, 3, 1, 6),
    ),
    "group": (
        graph_of("GroupNormalization", {"x": (1, 8, 6, 4)}, {"s": (8,), "b": (8,)}, num_groups=2),
        (2, 1, 1, 6),  # of one batch the groups are the outermost loop
    ),
    "softmax of rows": (graph_of("Softmax", {"x": (2, 3, 5, 7)}, {}, axis=2), (2, 3, 7, 5)),
    "product": (graph_of("MatMul", {"a": (2, 3, 5, 4), "b": (2, 3, 4, 6)}, {}), (2, 3, 5, 6)),
    "shared factor": (graph_of("MatMul", {"a": (2, 3, 5, 4), "b": (4, 6)}, {}), (2, 3, 5, 6)),
    "attention with a cap": (
        graph_of(
            "Attention",
            {"q": (1, 5, 16), "k": (1, 7, 8), "v": (1, 7, 8)},
            {},
            opset=23,
            q_num_heads=4,
            kv_num_heads=2,
            softcap=30.0,
        ),
        (1, 2, 5, 7),
    ),
    "recurrent": (
        graph_of(
            "LSTM",
            {"x": (5, 2, 3)},
            {"w": (1, 16, 3), "r": (1, 16, 4), "b": (1, 32)},
            hidden_size=4,
        ),
        (1, 1, 5, 16),
    ),
}


def sweep_of(graph: NetworkGraph) -> Sweep:
    found = [layer.sweep for layer in graph.layers if layer.sweep is not None]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("name", CASES)
def test_loops(name: str) -> None:
    graph, loops = CASES[name]
    sweep = sweep_of(graph)
    assert (sweep.batch, sweep.groups, sweep.rows, sweep.columns) == loops


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_ledger_equals_estimate(name: str, double: bool) -> None:
    graph, _ = CASES[name]
    least = least_budget(graph, double)
    for capacity in sorted({least, least + 3, least + 17, least * 2, least * 5, least * 30}):
        for policy in ("layerwise", "resident"):
            proved(
                graph,
                schedule_network(graph, MemoryOptions(capacity, buffering(double), 32), policy),
            )


def points(name: str, accumulator: int = 32) -> list[tuple[int, int]]:
    curve = budget_curve(CASES[name][0], MemoryOptions(0, SINGLE, accumulator), "layerwise")
    return [(point.local_bytes, point.dram_bytes) for point in curve.points]


def test_instance_normalisation_by_hand() -> None:
    """Rows of 4 and sums of 8 bytes, or planes of 24; constants of 24, there in either case."""
    x = y = prod((2, 3, 6, 4))
    assert points("instance") == [(4 + 4 + 8 + 24, 2 * x + y + 24), (24 + 24 + 24, x + y + 24)]


def test_group_normalisation_by_hand() -> None:
    """As above; a row of four channels is 16 bytes, a group 96."""
    x = y = 8 * 6 * 4
    assert points("group") == [(16 + 16 + 8 + 64, 2 * x + y + 64), (96 + 96 + 64, x + y + 64)]


def test_recurrent_layer_by_hand() -> None:
    """Weights of 16 x (3 + 4) once where they are whole, else in each of five steps.

    Input (batch 2 x 3) and result (2 x 4) of a step, constants of 32 x 4 bytes, and in one byte
    each the state (2 x 4 twice) and, gate row by gate row, the gates (2 x 16).
    """
    weights, others = 16 * 7, 5 * 2 * (3 + 4) + 32 * 4
    fixed = 6 + 8 + 2 * 8 + 32 * 4
    assert points("recurrent", accumulator=8) == [
        (fixed + 7 + 2 * 16, 5 * weights + others),
        (fixed + 16 * 7, weights + others),
    ]
    # gates of 4 bytes each would take more room than the weights
    wide = fixed + 3 * 2 * 8
    assert points("recurrent") == [(wide + 16 * 7, weights + others)]
