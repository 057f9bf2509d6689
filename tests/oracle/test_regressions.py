"""What random networks have found, each as the smallest network that shows it.

Every breakpoint of every policy is lowered, counted and replayed, so that what was wrong at one
of them cannot come back at another.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.passes import Precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.schedule.allocation import Life
from dataflow_sim.schedule.demands import Demand
from dataflow_sim.schedule.residents import Sharing, place_residents
from dataflow_sim.schedule.rows import Obstacle, layer_rows, obstacle
from dataflow_sim.schedule.search import POLICIES, budget_curve
from dataflow_sim.schedule.types import (
    DOUBLE,
    SINGLE,
    Buffering,
    Halo,
    LayerTiling,
    MemoryOptions,
    PartialSums,
    PlaneTile,
)
from tests.oracle.test_any_tiling import schedule_of
from tests.support.replayed_cases import Case, frame, on_machine, replayed
from tests.support.runs import proved

PLAIN = MemoryOptions(0, SINGLE, 32)


def holds_everywhere(case: Case) -> None:
    """Programs of all breakpoints are counted as estimated and give the network's outputs."""
    for policy in POLICIES:
        found = budget_curve(case.graph, case.memory, policy)
        for point in found.points:
            schedule = found.schedule(point.local_bytes)
            assert schedule is not None
            replayed(case, schedule, proved(case.graph, schedule))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_no_window_begins_behind_the_map(op: str) -> None:
    """Of 8 elements every other one, rounded up: four, not five, whatever ONNX infers."""
    net = OnnxBuilder("rounded_up", (1, 1, 2, 8))
    pooled = net.pool(op, "pooled", "input", 1, 2, ceil=True)
    assert net.shape(pooled) == (1, 1, 2, 5)
    model = net.model(net.activation("out", pooled))
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 1
    model.graph.output[0].type.tensor_type.shape.dim[3].dim_value = 4
    assert graph_from_model(model, "rounded_up").layers[0].output_shape == (1, 1, 1, 4)
    holds_everywhere(on_machine(model, PLAIN))


def test_a_file_may_state_windows_that_begin_behind_the_map() -> None:
    """As files do whose shapes ONNX's inference has filled in: what follows is for that size."""
    net = OnnxBuilder("rounded_up", (1, 1, 2, 8))
    pooled = net.pool("MaxPool", "pooled", "input", 1, 2, ceil=True)
    model = net.model(pooled, net.activation("out", pooled))
    graph = graph_from_model(model, "rounded_up")
    assert graph.layers[0].output_shape == (1, 1, 2, 5)


@pytest.mark.parametrize("doubled", [SINGLE, DOUBLE])
def test_columns_of_padding_alone(doubled: Buffering) -> None:
    """A window that never meets the map along an axis: its results are the bias."""
    net = OnnxBuilder("beside", (1, 2, 3, 1))
    first = net.convolution("first", "input", 3, 1)
    beside = net.convolution("beside", net.concat("both", [first, "input"]), 2, 1, stride=2, pad=1)
    shape = net.shape(beside)
    assert shape == (1, 2, 3, 2)
    weight, bias = net.weight("bias.weight", (2, 2, 1, 1)), net.weight("bias.bias", (2,))
    net.node("Conv", "biased", ["input", weight, bias], strides=[1, 2], pads=[0, 1, 0, 1])
    assert net.shape("biased") == (1, 2, 3, 2)
    holds_everywhere(on_machine(net.model(beside, "biased"), MemoryOptions(0, doubled, 32)))


def test_tiles_of_padding_beside_channels_that_stay() -> None:
    """Every channel of the input stays, and some tiles need none of them."""
    net = OnnxBuilder("around", (1, 1, 1, 1))
    weight = net.weight("around.weight", (4, 1, 3, 1))
    net.node("Conv", "around", ["input", weight], pads=[2, 2, 2, 2])
    assert net.shape("around") == (1, 4, 3, 5)
    holds_everywhere(on_machine(net.model("around"), PLAIN))


def test_rows_behind_the_map() -> None:
    """The last row of a convolution lies in the padding: it is made alone, never in a group."""
    net = OnnxBuilder("behind", (1, 2, 3, 2))
    first = net.convolution("first", "input", 2, 3)
    weight, bias = net.weight("last.weight", (2, 2, 1, 1)), net.weight("last.bias", (2,))
    net.node("Conv", "last", [first, weight, bias], strides=[2, 1], pads=[0, 0, 2, 0])
    assert net.shape("last") == (1, 2, 3, 2)
    case = on_machine(net.model("last"), PLAIN)
    _, last = case.graph.layers
    assert obstacle(case.graph, last) is Obstacle.PADDING
    needs = layer_rows(last).views[0]
    assert [tuple(needs.rows(row))[:2] for row in range(3)] == [(0, 1), (2, 3), (3, 3)]
    holds_everywhere(case)


@pytest.mark.parametrize("doubled", [SINGLE, DOUBLE])
@pytest.mark.parametrize("turned", [False, True])
def test_nothing_is_loaded_over_a_map_that_is_yet_to_be_read(
    turned: bool, doubled: Buffering
) -> None:
    """A sum in the place of one map, which dies; the other comes from DRAM."""
    net = OnnxBuilder("in_place", (1, 1, 4, 4))
    shown = net.convolution("shown", "input", 1, 1)
    pair = (shown, "input") if turned else ("input", shown)
    added = net.add("added", *pair)
    valid = net.convolution("valid", added, 1, 3, pad=0)
    holds_everywhere(on_machine(net.model(valid, shown), MemoryOptions(0, doubled, 32)))


@pytest.mark.parametrize("sums_bytes", [None, 500])
def test_pooling_over_padding_makes_more_than_there_was(sums_bytes: int | None) -> None:
    """Results of a split reduction leave where its sums were: these must have room for them."""
    net = OnnxBuilder("growing", (1, 4, 2, 2))
    value = net.convolution("conv", "input", 2, 1)
    window = {"kernel_shape": [3, 3], "pads": [2, 2, 2, 2]}
    pooled = net.node("MaxPool", "pooled", [value], **window)
    assert net.shape(pooled) == (1, 2, 4, 4)
    case = on_machine(net.model(pooled), MemoryOptions(0, SINGLE, 32, sums_bytes))
    assert len(case.graph.layers) == 1
    holds_everywhere(case)


def test_results_that_are_wider_than_sums() -> None:
    """They would find no room where these were: a reduction is then not split."""
    net = OnnxBuilder("wide", (1, 4, 3, 3))
    model = net.model(net.convolution("conv", "input", 2, 3))
    for sums, splits in ((16, True), (13, False)):
        widths = Precision(8, 16, sums)
        case = on_machine(model, MemoryOptions(0, SINGLE, sums, 500), precision=widths)
        found = budget_curve(case.graph, case.memory, "layerwise")
        tilings = [point.schedule.layers[0].tiling for point in found.points]
        kept = {t.partial_sums for t in tilings if isinstance(t, LayerTiling)}
        assert splits == (kept != {PartialSums.NONE})
        holds_everywhere(case)


def test_gaps_between_what_a_transposed_convolution_spreads() -> None:
    """Steps that meet nothing but zeros make as many results of it as any, in two places too."""
    net = OnnxBuilder("gaps", (1, 1, 2, 5))
    weight, bias = net.weight("up.weight", (1, 2, 1, 1)), net.weight("up.bias", (2,))
    net.node("ConvTranspose", "up", ["input", weight, bias], strides=[1, 3])
    window = {"kernel_shape": [2, 3], "strides": [1, 2], "dilations": [1, 2]}
    net.node("Conv", "last", ["up", net.weight("last.weight", (1, 2, 2, 3))], **window)
    assert net.shape("last") == (1, 1, 1, 5)
    case = on_machine(net.model("last"), PLAIN)
    demand = Demand((0, 1), PlaneTile(1, 1), Halo.CACHE_X)
    found = budget_curve(case.graph, case.memory, "merged", demand=demand)
    for point in found.points:
        schedule = found.schedule(point.local_bytes)
        assert schedule is not None
        replayed(case, schedule, proved(case.graph, schedule))


@pytest.mark.parametrize("rows", [7, 8])
def test_windows_that_all_begin_at_the_first_row(rows: int) -> None:
    """Back from the last to the first a window is read again, as estimated, and to its place."""
    net = OnnxBuilder("first_row", (1, 1, rows, 3))
    window = {"strides": [2, 1], "dilations": [2, 1], "pads": [2, 0, 2, 0]}
    net.node("Conv", "out", ["input", net.weight("weight", (2, 1, 5, 3))], **window)
    tiling = LayerTiling("MPK", PartialSums.NONE, 1, 1, 1, 1, 1, 1, steps=4)
    for doubled in (SINGLE, DOUBLE):
        case = on_machine(net.model("out"), MemoryOptions(0, doubled, 32))
        schedule = schedule_of(case.graph, (tiling,), case.memory)
        replayed(case, schedule, proved(case.graph, schedule))


def test_a_definition_that_gives_another_shape_is_no_fault_of_the_program() -> None:
    """ONNX's own evaluator makes one plane too few of a volume that pads itself."""
    net = OnnxBuilder("volume", (1, 1, 3, 4, 2))
    window: dict[str, Any] = {
        "kernel_shape": [3, 3, 2],
        "strides": [2, 2, 1],
        "auto_pad": "SAME_LOWER",
    }
    net.node("MaxPool", "pooled", ["input"], **window)
    assert net.shape("pooled") == (1, 1, 2, 2, 2)
    case = on_machine(net.model("pooled"), PLAIN)
    point = budget_curve(case.graph, case.memory, "layerwise").points[-1]
    program = proved(case.graph, replace(point.schedule, memory=replace(PLAIN, capacity_bytes=999)))
    with pytest.raises(ProgramError, match=r"layer 'pooled' \(MaxPool\) makes .* came"):
        frame(case, program, seed=2)


def test_kernels_of_recurrent_layers_are_unpacked_on_their_way_in() -> None:
    """What is written to local memory is wider than what is read from DRAM."""
    net = OnnxBuilder("unpacked", (3, 1, 2))
    given = ["input", net.weight("inwards", (1, 4, 2)), net.weight("onwards", (1, 4, 4))]
    found = net.node("RNN", "states", given, hidden_size=4)
    widths = Precision(4, 8, 32, local_weight_bits=8)
    holds_everywhere(on_machine(net.model(found), PLAIN, precision=widths))


def test_tiles_of_padding_beside_maps_that_stay() -> None:
    """A tile that needs nothing of a concatenation names neither of its parts."""
    net = OnnxBuilder("beside", (1, 1, 2, 2))
    made = net.convolution("made", "input", 1, 1)
    both = net.concat("both", [made, "input"])
    net.node("Conv", "last", [both, net.weight("last.weight", (1, 2, 1, 1))], pads=[0, 0, 0, 2])
    other = net.convolution("other", "input", 1, 1)
    case = on_machine(net.model("last", other), PLAIN)
    demand = Demand((0, 1), PlaneTile(1, 1))
    found = budget_curve(case.graph, case.memory, "merged", demand=demand)
    stays = False
    for point in found.points:
        schedule = found.schedule(point.local_bytes)
        assert schedule is not None
        replayed(case, schedule, proved(case.graph, schedule))
        stays |= any("input" in group.resident for group in schedule.groups if group.tile)
    assert stays


def test_a_group_without_bytes_of_its_own_lies_nowhere() -> None:
    """It has maps that stay and no others, and takes no part in the height."""
    maps = [Life(32, 0, 2), Life(36, 2, 3), Life(24, 3, 4)]
    placed = place_residents(maps, [32, 32, 18, 0, 17], [Sharing(0, 1, 18)])
    assert placed.height == 42 + 32
    assert placed.groups[3] == 0
