"""Groups by tiles of the plane: against sets of elements, the ledger, and replay."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import onnx
import pytest

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.program.instructions import Load
from dataflow_sim.schedule.demands import Demand
from dataflow_sim.schedule.group_kernels import KernelSizes
from dataflow_sim.schedule.search import budget_curve
from dataflow_sim.schedule.tile_costs import tile_table
from dataflow_sim.schedule.tile_regions import TiledGroup, TileFrame, tile_obstacle
from dataflow_sim.schedule.timetable import RowTables
from dataflow_sim.schedule.types import DOUBLE, SINGLE, Halo, MemoryOptions, PlaneTile, Schedule
from dataflow_sim.simulate.replay import replay
from tests.oracle.tile_oracle import Slide, walk
from tests.support.runs import case, outputs_of, proved
from tests.support.small import SMALL

MEMORY = MemoryOptions(0, SINGLE, 32)
# small enough that programs of many tiles are replayed in no time
QUICK = sorted(set(SMALL) - {"tiny_mobilenet_v1", "tiny_mobilenet_v2"})


def chain(slides: list[Slide], size: tuple[int, int]) -> NetworkGraph:
    """Convolutions of one channel, one after the other."""
    nodes, weights, name = [], [], "x"
    for place, slide in enumerate(slides):
        shape = (1, 1, slide.kernel, slide.kernel)
        weights.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), f"w{place}"))
        nodes.append(
            onnx.helper.make_node(
                "Conv",
                [name, f"w{place}"],
                [f"y{place}"],
                name=f"conv{place}",
                strides=[slide.stride] * 2,
                pads=[slide.pad] * 4,
            )
        )
        name = f"y{place}"
    values = [
        onnx.helper.make_tensor_value_info(*each)
        for each in (
            ("x", onnx.TensorProto.FLOAT, (1, 1, *size)),
            (name, onnx.TensorProto.FLOAT, None),
        )
    ]
    graph = onnx.helper.make_graph(nodes, "chain", values[:1], values[1:], weights)
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    return assign_precision(graph_from_model(model, "chain"), Precision(8, 8, 32))


def drawn_chain(random: Random) -> tuple[list[Slide], tuple[int, int]]:
    """Windows without gaps, over a map of which they need every element."""
    slides = []
    for _ in range(random.randint(1, 3)):
        kernel = random.choice((1, 2, 3, 3, 5))
        slides.append(
            Slide(kernel, random.randint(1, min(kernel, 2)), random.randint(0, kernel // 2))
        )
    height, width = random.randint(2, 5), random.randint(2, 5)
    for slide in reversed(slides):
        height = (height - 1) * slide.stride + slide.kernel - 2 * slide.pad
        width = (width - 1) * slide.stride + slide.kernel - 2 * slide.pad
    return slides, (height, width)


@pytest.mark.parametrize("seed", range(60))
def test_element_by_element(seed: int) -> None:
    random = Random(seed)
    slides, size = drawn_chain(random)
    if min(size) < 1:
        pytest.skip("a map of nothing")
    graph = chain(slides, size)
    tables, members = RowTables(graph, MEMORY), tuple(range(len(slides)))
    assert tile_obstacle(graph, tables, members) is None
    frame = TileFrame(tables, members)
    _, _, height, width = graph.layers[-1].output_shape
    tile = PlaneTile(random.randint(1, height), random.randint(1, width))
    halos = [random.choice(list(Halo)) for _ in slides]
    names = (*frame.outside, *frame.inner)
    group = TiledGroup(frame, tile, dict(zip(names, halos, strict=True)))
    expected = walk(slides, size, tile, [halo.value for halo in halos])
    found = group.maps["x"]
    assert found.rows.made * found.columns.made == expected.read
    made = [group.maps[layer.output] for layer in graph.layers]
    assert [each.rows.made * each.columns.made for each in made] == expected.made
    kernels = [KernelSizes(0, 0, 0, 0, 0, can_stream=False)] * len(slides)
    outside, going = np.array([[False]]), np.array([[[False, True]]])
    table = tile_table(group, kernels, SINGLE, outside, going, [()])
    assert table.local_bytes.item() == expected.peak
    assert table.dram_bits.item() == 8 * (expected.read + height * width)


def demanded(graph: NetworkGraph, demand: Demand, double: bool) -> Schedule:
    """The schedule of the least memory in which a demand can be met."""
    memory = MemoryOptions(0, DOUBLE if double else SINGLE, 32)
    found = budget_curve(graph, memory, "merged", demand=demand)
    assert [p.dram_bytes for p in found.points] == sorted(
        (p.dram_bytes for p in found.points), reverse=True
    )
    schedule = found.schedule(found.points[0].local_bytes)
    assert schedule is not None
    return schedule


@pytest.mark.parametrize("seed", range(24))
def test_replay_on_small_networks(seed: int) -> None:
    random = Random(seed)
    found = case(QUICK[seed % len(QUICK)])
    graph = found.graph
    tables = RowTables(graph, MEMORY)
    first = random.randrange(len(graph.layers))
    members = tuple(range(first, min(len(graph.layers), first + random.randint(1, 4))))
    while members and tile_obstacle(graph, tables, members) is not None:
        members = members[:-1]
    if not members:
        pytest.skip("no group by tiles begins there")
    _, _, height, width = graph.layers[members[-1]].output_shape
    tile = PlaneTile(-(-height // random.randint(1, 4)), -(-width // random.randint(1, 4)))
    halo = random.choice([None, *Halo])
    schedule = demanded(graph, Demand(members, tile, halo), random.random() < 0.3)
    (group,) = [each for each in schedule.groups if each.members == members]
    assert group.tile == tile
    result = replay(proved(graph, schedule), graph, found.inputs)
    output = outputs_of(graph, result.tensors, found.expected)["output"]
    scale = np.abs(found.expected).max()
    np.testing.assert_allclose(output, found.expected, rtol=1e-3, atol=1e-3 * scale)


def test_a_cell_that_is_never_loaded_makes_the_replay_fail() -> None:
    found = case("padded_chain")
    schedule = demanded(found.graph, Demand((0, 1), PlaneTile(4, 4), Halo.CACHE), double=False)
    program = proved(found.graph, schedule)
    loads = [i for i, each in enumerate(program.instructions) if isinstance(each, Load)]
    short = [each for i, each in enumerate(program.instructions) if i != loads[-1]]
    with pytest.raises(ProgramError, match=r"instruction \d+"):
        replay(replace(program, instructions=tuple(short)), found.graph, found.inputs)
