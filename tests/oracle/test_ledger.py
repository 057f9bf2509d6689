"""The estimate equals the ledger to the byte, for every network and budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision, drop_vectors
from dataflow_sim.ingest import read_network
from dataflow_sim.program.instructions import Free, Load, Program, Store
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.occupancy import occupancy
from tests.support.runs import CLASSIC, built_in, case, scheduled

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
    found = occupancy(program)
    assert found.peak_bytes == schedule.local_bytes <= budget


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", CLASSIC)
def test_built_in_networks(name: str, budget: int) -> None:
    agree(built_in(name), budget, double_buffer=False)


@pytest.mark.parametrize("bits", [3, 5, 16])
@pytest.mark.parametrize("name", ["mobilenet_v1@0.25", "densenet121"])
def test_odd_widths_biases_and_double_buffers(name: str, bits: int) -> None:
    agree(built_in(name, bits, biases=True), 96 * KIB, double_buffer=True)


@pytest.mark.parametrize("budget", [48 * KIB, 512 * KIB])
@pytest.mark.parametrize(
    "name",
    ["bvlc_alexnet", "inception_v1", "inception_v2", "shufflenet", "squeezenet", "zfnet512"],
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


def changed(program: Program, index: int, *instead: object) -> Program:
    instructions = list(program.instructions)
    instructions[index : index + 1] = instead  # type: ignore[assignment]  # mutations
    return Program(
        program.name, program.capacity_bytes, program.layers, program.tensors, tuple(instructions)
    )


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
