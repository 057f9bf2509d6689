"""The estimate equals the ledger to the byte, for every network and budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision, drop_vectors
from dataflow_sim.ingest import read_network
from dataflow_sim.program.instructions import Alloc, Free, Load, Memory, Program, Store
from dataflow_sim.program.lowering import lower
from dataflow_sim.schedule.search import budget_curve, schedule_network
from dataflow_sim.schedule.types import DOUBLE, SINGLE, Buffering, MemoryOptions, PartialSums
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.occupancy import occupancy
from tests.support.runs import (
    CLASSIC,
    built_in,
    case,
    least_of,
    proved,
    scheduled,
    unpacked,
)

KIB = 1024
BUDGETS = (64 * KIB, 256 * KIB, 1024 * KIB, 64 * 1024 * KIB)


def agree(graph: NetworkGraph, budget: int, double_buffer: bool, policy: str = "layerwise") -> None:
    schedule, program = scheduled(graph, budget, double_buffer, policy=policy)
    ledger = count(program)
    assert schedule.traffic_bytes() == ledger.traffic_bytes()
    for index, chosen in enumerate(schedule.layers):
        assert ledger.macs_executed[index] == chosen.macs_executed
        assert ledger.steps[index] == chosen.tiling.steps
        moved = ledger.local_read_bits[index] + ledger.local_write_bits[index]
        assert moved == chosen.local_bits
        assert ledger.local_write_bits[index] == chosen.local_write_bits
    found = occupancy(program)
    assert found.peak_bytes == schedule.local_bytes <= budget


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", CLASSIC)
def test_built_in_networks(name: str, budget: int) -> None:
    agree(built_in(name), budget, double_buffer=False)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        *(("mobilenet_v1@0.25", bits) for bits in (3, 5, 16)),
        ("densenet121", 5),
        *(pytest.param("densenet121", bits, marks=pytest.mark.slow) for bits in (3, 16)),
    ],
)
def test_odd_widths_biases_and_double_buffers(name: str, bits: int) -> None:
    agree(built_in(name, bits, biases=True), 96 * KIB, double_buffer=True)


@pytest.mark.parametrize("budget", [48 * KIB, 512 * KIB])
@pytest.mark.parametrize(
    "name",
    [
        *("bvlc_alexnet", "inception_v1", "shufflenet", "squeezenet", "zfnet512"),
        pytest.param("inception_v2", marks=pytest.mark.slow),
    ],
)
def test_light_networks(name: str, budget: int, light_models: Path) -> None:
    graph = read_network(light_models / f"light_{name}.onnx")
    agree(assign_precision(graph, Precision(8, 8, 32)), budget, double_buffer=True)


@pytest.mark.parametrize("budget", [48 * KIB, 512 * KIB])
@pytest.mark.parametrize(
    "name", ["tv_mobilenet_v3_large", "timm_efficientnet_b0", "smp_unet_resnet18_256"]
)
def test_exported_networks(name: str, budget: int, shared: Path) -> None:
    graph = read_network(shared / "models" / f"{name}.onnx")
    graph = drop_vectors(assign_precision(graph, Precision(8, 8, 32)))
    agree(graph, budget, double_buffer=False)


@pytest.mark.parametrize(
    ("name", "doubled"),
    [
        ("mobilenet_v1@0.25-64", Buffering(True, False, False, False)),
        pytest.param(
            *("mobilenet_v1@0.25", Buffering(True, False, False, False)), marks=pytest.mark.slow
        ),
        ("mobilenet_v2", Buffering(False, True, False, False)),
        pytest.param(
            *("mobilenet_v1@0.25", Buffering(False, False, True, False)), marks=pytest.mark.slow
        ),
        ("mobilenet_v2", Buffering(False, False, False, True)),
        ("mobilenet_v2", Buffering(True, False, True, False)),
    ],
)
def test_double_buffers_of_some_tensors(name: str, doubled: Buffering) -> None:
    graph = built_in(name, 5, biases=True)
    totals = []
    for each in (SINGLE, doubled, DOUBLE):
        memory = MemoryOptions(40 * KIB, each, 32)
        schedule = schedule_network(graph, memory, "layerwise")
        proved(graph, schedule)
        totals.append(sum(schedule.traffic_bytes().values()))
    assert totals == sorted(totals)
    if "v2" in name:
        return
    found = budget_curve(graph, MemoryOptions(0, doubled, 32), "merged")
    short = [point for point in found.points if point.schedule.steps < 10_000]
    for point in short[:: max(1, len(short) // 3)]:
        assert point.schedule.memory.doubled == doubled
        proved(graph, found.schedule(point.local_bytes) or point.schedule)


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        pytest.param("vgg16", "layerwise", marks=pytest.mark.slow),
        pytest.param("resnet50", "layerwise", marks=pytest.mark.slow),
        pytest.param("mobilenet_v1@0.25", "merged", marks=pytest.mark.slow),
        pytest.param("mobilenet_v1@0.25-64", "merged", marks=pytest.mark.slow),
        ("mobilenet_v1@0.25-32", "merged"),
    ],
)
def test_partial_sums_in_a_memory_of_their_own(name: str, policy: str) -> None:
    graph = built_in(name)
    for budget in (64 * KIB, 256 * KIB):
        totals = []
        for sums in (8 * KIB, 512 * KIB):
            memory = MemoryOptions(budget, DOUBLE, 32, sums)
            schedule = schedule_network(graph, memory, policy)
            proved(graph, schedule)
            assert schedule.accumulator_bytes <= sums
            totals.append(sum(schedule.traffic_bytes().values()))
        assert totals == sorted(totals, reverse=True)


@pytest.mark.parametrize(
    ("name", "policy", "bits", "local"),
    [
        ("mobilenet_v1@0.25", "layerwise", 4, 8),
        ("mobilenet_v1@0.25-32", "merged", 4, 16),
        pytest.param("mobilenet_v1@0.25-64", "merged", 4, 16, marks=pytest.mark.slow),
        pytest.param("mobilenet_v1@0.25", "merged", 4, 16, marks=pytest.mark.slow),
        pytest.param("resnet50", "layerwise", 3, 7, marks=pytest.mark.slow),
        pytest.param("mobilenet_v1@0.25", "merged", 8, 8, marks=pytest.mark.slow),
    ],
)
def test_kernels_that_the_transfer_unpacks(name: str, policy: str, bits: int, local: int) -> None:
    graph = built_in(name, bits)
    wide = unpacked(graph, local)
    for budget in (48 * KIB, 512 * KIB):
        memory = MemoryOptions(budget, SINGLE, 32)
        narrow, wider = (schedule_network(each, memory, policy) for each in (graph, wide))
        proved(wide, wider)
        less, more = (sum(each.traffic_bytes().values()) for each in (narrow, wider))
        assert less == more if bits == local else less <= more


def split_with_accumulators(sums: int) -> tuple[NetworkGraph, MemoryOptions]:
    """A network in the least local memory, where its reductions have to be split."""
    graph = case("padded_chain").graph
    memory = MemoryOptions(0, SINGLE, 32, sums)
    return graph, replace(memory, capacity_bytes=least_of(graph, memory))


@pytest.mark.parametrize("sums", [4, 64, 4096])
def test_sums_in_accumulators_are_no_local_bits(sums: int) -> None:
    graph, memory = split_with_accumulators(sums)
    schedule = schedule_network(graph, memory, "layerwise")
    program = proved(graph, schedule)
    allocs = [x for x in program.instructions if isinstance(x, Alloc)]
    apart = {x.buffer for x in allocs if x.memory is Memory.ACCUMULATORS}
    assert apart
    assert all("partial sums" in x.label for x in allocs if x.buffer in apart)
    together = replace(memory, accumulator_capacity_bytes=None)
    assert memory.capacity_bytes < least_of(graph, together)
    # with what lies apart counted as local, every layer that splits moves more
    local = tuple(
        x._replace(memory=Memory.LOCAL) if isinstance(x, Alloc) else x for x in program.instructions
    )
    one, other = count(program), count(replace(program, instructions=local))
    assert one.traffic_bits == other.traffic_bits
    for index, chosen in enumerate(schedule.layers):
        tiling = chosen.tiling
        split = getattr(tiling, "partial_sums", PartialSums.NONE) is not PartialSums.NONE
        assert (one.local_write_bits[index] < other.local_write_bits[index]) == split
        assert (one.local_read_bits[index] < other.local_read_bits[index]) == split


def test_what_lies_in_the_wrong_memory_is_an_error() -> None:
    graph, memory = split_with_accumulators(64)
    schedule = schedule_network(graph, memory, "layerwise")
    program = lower(graph, schedule)
    for index, instruction in enumerate(program.instructions):
        if isinstance(instruction, Alloc) and instruction.memory is Memory.LOCAL:
            moved = instruction._replace(memory=Memory.ACCUMULATORS, address=0)
            with pytest.raises(ProgramError, match=r"partial sums only|no partial sums were"):
                count(changed(program, index, moved))
    sums = next(
        index
        for index, x in enumerate(program.instructions)
        if isinstance(x, Alloc) and x.memory is Memory.ACCUMULATORS
    )
    alloc = program.instructions[sums]
    with pytest.raises(ProgramError, match="leaves the accumulator memory of 64 bytes"):
        occupancy(changed(program, sums, alloc._replace(address=61)))  # type: ignore[call-arg]
    small = replace(memory, accumulator_capacity_bytes=schedule.accumulator_bytes - 1)
    with pytest.raises(ProgramError, match="partial sums take"):
        lower(graph, replace(schedule, memory=small))


def test_a_buffer_too_narrow_for_what_is_unpacked_is_an_error() -> None:
    graph = case("padded_chain").graph
    _, program = scheduled(graph, 4000)
    wide = replace(program, tensors=dict(unpacked(graph, 40).tensors))
    with pytest.raises(ProgramError, match="has 40 bits on chip, its buffer 32"):
        count(wide)


def changed(program: Program, index: int, *instead: object) -> Program:
    instructions = list(program.instructions)
    instructions[index : index + 1] = instead  # type: ignore[assignment]  # mutations
    return replace(program, instructions=tuple(instructions))


def test_lost_doubled_and_early_bytes_are_errors() -> None:
    _, program = scheduled(case("residual").graph, 2000)
    stores = [i for i, x in enumerate(program.instructions) if isinstance(x, Store)]
    loads = [i for i, x in enumerate(program.instructions) if isinstance(x, Load)]
    frees = [i for i, x in enumerate(program.instructions) if isinstance(x, Free)]
    store = program.instructions[stores[0]]
    with pytest.raises(ProgramError, match="written twice"):
        count(changed(program, stores[0], store, store))
    with pytest.raises(ProgramError, match=r"loaded before it is written|elements"):
        count(changed(program, stores[0]))
    load = program.instructions[loads[-1]]
    with pytest.raises(ProgramError, match="freed without being read"):
        count(changed(program, frees[-1], load, *program.instructions[frees[-1] :]))
    with pytest.raises(ProgramError, match="freed but not allocated"):
        occupancy(
            changed(
                program, frees[0], program.instructions[frees[0]], program.instructions[frees[0]]
            )
        )
    with pytest.raises(ProgramError, match="never freed"):
        occupancy(changed(program, frees[-1]))
    alloc = program.instructions[0]
    with pytest.raises(ProgramError, match="leaves the local memory"):
        occupancy(changed(program, 0, alloc._replace(address=1_999)))  # type: ignore[call-arg]
    second = program.instructions[1]
    with pytest.raises(ProgramError, match="overlaps"):
        occupancy(changed(program, 1, second._replace(address=0)))  # type: ignore[call-arg]
