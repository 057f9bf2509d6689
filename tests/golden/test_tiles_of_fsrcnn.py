"""The super-resolution network that tiles with halos were first compared on, exactly.

FSRCNN with valid convolutions, input 974 wide and 554 high, 8 bit, one group in tiles 60 wide
and 72 high, 2 MiB:

    dataflow-sim run fsrcnn.onnx --hw bare --local-memory 2MiB --policy merged
        --force-group conv0:conv7 --tile 60x72 --halo recompute

Its DRAM bytes are weights, each once, the output, and of the input 16 x 8 tiles with a halo of
14 rows and columns: recomputed in both directions 1,184 x 652 elements, kept along a line of
tiles 974 x 652, kept 974 x 554.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from dataflow_sim import pipeline
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.results import RunResult

HEIGHT, WIDTH = 554, 974
# (output channels, input channels, kernel)
LAYERS = ((56, 1, 5), (12, 56, 1), *((12, 12, 3),) * 4, (56, 12, 1), (16, 56, 3))
OUTPUT = 960 * 540 * 16
WEIGHTS = 15_992


def fsrcnn() -> NetworkGraph:
    nodes, weights, name = [], [], "x"
    for place, (channels, taken, kernel) in enumerate(LAYERS):
        shape = (channels, taken, kernel, kernel)
        weights.append(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), f"w{place}"))
        inputs, output = [name, f"w{place}"], f"y{place}"
        nodes.append(onnx.helper.make_node("Conv", inputs, [output], name=f"conv{place}"))
        name = output
    kind = onnx.TensorProto.FLOAT
    given = onnx.helper.make_tensor_value_info("x", kind, (1, 1, HEIGHT, WIDTH))
    made = onnx.helper.make_tensor_value_info(name, kind, None)
    graph = onnx.helper.make_graph(nodes, "fsrcnn", [given], [made], weights)
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    return graph_from_model(model, "fsrcnn")


def run(graph: NetworkGraph, halo: str, tile: str = "60x72") -> RunResult:
    machine = load_hardware("bare", {"local_memory.capacity": "2MiB"})
    group = pipeline.GroupWords("conv0:conv7", tile, halo)
    return pipeline.run(graph, machine, pipeline.RunOptions("merged", group=group))


@pytest.mark.parametrize(
    ("halo", "read", "total", "macs"),
    [
        ("recompute", 1184 * 652, 9_082_360, 9_120_123_904),
        ("cache-x", 974 * 652, 8_945_440, 8_687_604_544),
        ("cache", 974 * 554, 8_849_988, 8_362_594_208),
    ],
)
def test_three_halos(halo: str, read: int, total: int, macs: int) -> None:
    result = run(fsrcnn(), halo)
    assert result.counted
    assert total == read + WEIGHTS + OUTPUT
    assert (result.traffic.total_bytes, result.macs_executed) == (total, macs)
    (group,) = result.groups
    assert (group.tile, set(group.halos.values())) == ((72, 60), {halo})


def test_the_best_halos_keep_the_input_and_make_the_rest_again() -> None:
    """No map is kept in both directions but the input: as few bytes, in less memory."""
    best, kept = run(fsrcnn(), "best"), run(fsrcnn(), "cache")
    assert best.traffic.total_bytes == kept.traffic.total_bytes
    assert best.peak_bytes < kept.peak_bytes
    assert best.groups[0].halos["x"] == "cache"
    assert best.macs_executed > kept.macs_executed
