"""Weights that stay from frame to frame, by hand: two layers, what they hold and what they save."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dataflow_sim.errors import InputError, ProgramError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.program.instructions import Free
from dataflow_sim.program.lowering import lower
from dataflow_sim.schedule.check import schedule_faults
from dataflow_sim.schedule.frames import FrameSchedules, check_frames, schedule_frames
from dataflow_sim.schedule.search import schedule_network
from dataflow_sim.schedule.standing import standing_items
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from dataflow_sim.simulate.occupancy import occupancy
from tests.support.curves import curve
from tests.support.frames import both_proved, frames_of, moved, total
from tests.support.runs import built_in
from tests.unit.test_sweeps_of_operators import CASES as SWEEPS


@pytest.fixture(name="pair", scope="module")
def fixture_pair() -> NetworkGraph:
    """1x1 convolutions 4 -> 8 -> 4 on 6 x 6 pixels, 8 bit: kernels of 32 bytes each."""
    net = OnnxBuilder("pair", (1, 4, 6, 6))
    model = net.model(net.convolution("b", net.convolution("a", "input", 8, 1), 4, 1))
    return assign_precision(graph_from_model(model, "pair"), Precision(8, 8, 32))


def pair_in(pair: NetworkGraph, capacity: int, policy: str, frames: int = 1000) -> FrameSchedules:
    return schedule_frames(pair, MemoryOptions(capacity, SINGLE, 32), policy, frames)


INPUT, BETWEEN, OUTPUT, KERNELS = 144, 288, 144, 64


def test_layer_by_layer(pair: NetworkGraph) -> None:
    """Both kernels, and of the second layer a pixel of 8 channels and a result."""
    found = pair_in(pair, KERNELS + 8 + 1, "layerwise")
    assert moved(found.warm) == INPUT + 2 * BETWEEN + OUTPUT
    assert moved(found.cold) == moved(found.warm) + KERNELS
    assert total(found, 1000) == 1000 * moved(found.warm) + KERNELS
    assert len(found.warm.standing) == 2
    assert found.warm.local_bytes == KERNELS + 8 + 1
    both_proved(pair, found)
    assert moved(pair_in(pair, KERNELS + 8, "layerwise").warm) > moved(found.warm)


def test_merged(pair: NetworkGraph) -> None:
    """Both kernels and two places: of the map between, and of the input or of the output."""
    found = pair_in(pair, KERNELS + 8 + 4, "merged")
    assert moved(found.warm) == INPUT + OUTPUT
    assert moved(found.cold) == INPUT + OUTPUT + KERNELS
    both_proved(pair, found)
    assert moved(pair_in(pair, KERNELS + 8 + 3, "merged").warm) > moved(found.warm)


def test_what_stands_lies_still(pair: NetworkGraph) -> None:
    """One address for the whole time; the warm program begins where the cold one ends."""
    found = pair_in(pair, 400, "merged")
    cold, warm = both_proved(pair, found)
    assert {each.tensor for each in cold.leaves} == found.warm.standing
    for program in (cold, warm):
        end = len(program.instructions)
        stays = {stay.buffer: stay for stay in occupancy(program).residencies}
        for standing in program.leaves:
            assert stays[standing.alloc.buffer].stop == end
            assert stays[standing.alloc.buffer].address == standing.alloc.address


def test_a_single_frame_is_what_it_was(pair: NetworkGraph) -> None:
    for policy in ("layerwise", "resident", "merged"):
        memory = MemoryOptions(100, SINGLE, 32)
        found = schedule_frames(pair, memory, policy, 1)
        assert found.cold == found.warm == schedule_network(pair, memory, policy)


def test_the_local_format_is_what_stands() -> None:
    """Kernels of 4 bits in DRAM and 8 in local memory: 64 bytes are held for 32 saved."""
    net = OnnxBuilder("pair", (1, 4, 6, 6))
    model = net.model(net.convolution("b", net.convolution("a", "input", 8, 1), 4, 1))
    widths = Precision(4, 8, 32, local_weight_bits=8)
    pair = assign_precision(graph_from_model(model, "pair"), widths)
    found = pair_in(pair, KERNELS + 48 + 24, "merged")
    assert sum(home.size_bytes for home in found.warm.residents) == KERNELS
    assert moved(found.cold) - moved(found.warm) == KERNELS // 2
    both_proved(pair, found)


def test_items_are_the_weights_of_a_layer() -> None:
    graph = built_in("mobilenet_v1@0.25-128", biases=True)
    items = standing_items(graph)
    layers = [layer for layer in graph.layers if layer.weights]
    assert sorted(item.tensors for item in items) == sorted(
        tuple(sorted(layer.weights)) for layer in layers
    )
    tensors = [graph.tensors[name] for item in items for name in item.tensors]
    assert sum(item.dram_bits for item in items) == sum(t.elements * t.bits for t in tensors)


def test_layers_that_share_weights_share_an_item(pair: NetworkGraph) -> None:
    first, second = pair.layers
    shared = replace(pair, layers=(first, replace(second, output_vectors=first.weight)))
    (item,) = standing_items(shared)
    assert set(item.tensors) == {first.weight, second.weight}


@pytest.mark.parametrize("policy", ["layerwise", "resident", "merged"])
def test_a_shared_kernel_is_fetched_once_for_all_who_use_it(policy: str) -> None:
    net = OnnxBuilder("shared", (1, 4, 6, 6))
    value = net.convolution("b", net.convolution("a", "input", 4, 3), 4, 3, bias=True)
    model = net.model(net.convolution("c", value, 3, 1))
    for node in model.graph.node:
        if node.name == "b":
            node.input[1] = "a.weight"
    graph = assign_precision(graph_from_model(model, "shared"), Precision(8, 8, 32))
    assert len(standing_items(graph)) == 2
    for capacity in (180, 250, 400, 700):
        found = schedule_frames(graph, MemoryOptions(capacity, SINGLE, 32), policy, 10)
        both_proved(graph, found)
    assert len(found.warm.standing) == 3
    alone = schedule_network(graph, MemoryOptions(700, SINGLE, 32), policy)
    assert moved(alone) - moved(found.cold) >= 4 * 4 * 9


def test_all_of_a_small_network_stands() -> None:
    graph = built_in("mobilenet_v1@0.25-128", biases=True)
    memory = MemoryOptions(1 << 20, SINGLE, 32)
    found = schedule_frames(graph, memory, "resident", 2)
    assert moved(found.warm) == 3 * 128 * 128 + 1000
    both_proved(graph, found)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", [n for n, (graph, _) in SWEEPS.items() if standing_items(graph)])
def test_constants_of_sweeps_stand(name: str, double: bool) -> None:
    graph, _ = SWEEPS[name]
    found = curve(graph, "resident", double)
    items = standing_items(graph)
    capacity = found.points[-1].local_bytes + sum(item.local_bytes for item in items)
    schedules = frames_of(graph, found, capacity, 10, double)
    assert len(schedules.warm.standing) == sum(len(item.tensors) for item in items)
    both_proved(graph, schedules)


@pytest.mark.parametrize("frames", [0, -1, 10**9 + 1])
def test_numbers_of_frames_that_are_refused(frames: int) -> None:
    with pytest.raises(InputError, match=f"--frames is {frames}; give a number from 1 to"):
        check_frames(frames)


def test_the_checker_follows_what_stands(pair: NetworkGraph) -> None:
    found = pair_in(pair, 400, "layerwise")
    assert schedule_faults(pair, found.cold) == schedule_faults(pair, found.warm) == ()
    first = min(found.warm.standing)
    never = replace(found.warm, warm=False)
    assert f"group 0: '{first}' is used, but nobody brought it" in schedule_faults(pair, never)
    groups = found.warm.groups
    gone = replace(groups[1], resident=groups[1].resident - {first})
    faults = schedule_faults(pair, replace(found.warm, groups=(groups[0], gone)))
    assert f"group 1: ['{first}'] do not stand any more" in faults
    again = replace(found.cold, groups=(replace(found.cold.groups[0], kept=()), *groups[1:]))
    assert any("stand in local memory, but 256 bits" in f for f in schedule_faults(pair, again))
    home = found.warm.residents[0]
    moved_home = replace(home, address=groups[0].address)
    overlapping = replace(found.warm, residents=(moved_home, *found.warm.residents[1:]))
    assert any("overlap" in fault for fault in schedule_faults(pair, overlapping))


def test_occupancy_misses_what_is_not_left(pair: NetworkGraph) -> None:
    program = lower(pair, pair_in(pair, 400, "layerwise").cold)
    without = replace(program, instructions=program.instructions[2:])
    with pytest.raises(ProgramError, match="is used but not allocated"):
        occupancy(without)
    last = Free(program.leaves[0].alloc.buffer)
    with pytest.raises(ProgramError, match="is to be left, but not there"):
        occupancy(replace(program, instructions=(*program.instructions, last)))
