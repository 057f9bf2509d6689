"""Programs in banks: the same bytes moved, and what a step uses at the same time apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dataflow_sim.banking import NoBanksError, banked_schedule, check_alone
from dataflow_sim.errors import HardwareError, InputError, ProgramError
from dataflow_sim.hardware import load_hardware
from dataflow_sim.pipeline import RunOptions, curve, load_network, no_progress, run
from dataflow_sim.program.instructions import Alloc
from dataflow_sim.program.lowering import lower
from dataflow_sim.schedule.search import budget_curve
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from dataflow_sim.simulate.banks import check_banks
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.occupancy import occupancy
from dataflow_sim.simulate.replay import replay
from tests.support.runs import case, outputs_of

CASES = (("padded_chain", 2), ("padded_chain", 16), ("residual", 4), ("squeeze_excite", 8))


@pytest.mark.parametrize(("name", "banks"), CASES)
def test_the_same_program_at_other_addresses(name: str, banks: int) -> None:
    found = case(name)
    points = budget_curve(found.graph, MemoryOptions(0, SINGLE, 32), "merged").points
    size = -(-points[len(points) // 2].local_bytes // banks) + 512
    memory = MemoryOptions(size * banks, SINGLE, 32)
    try:
        schedule, program = banked_schedule(found.graph, memory, "merged", size, no_progress)
    except NoBanksError:
        assert banks == 2  # of three roles two share a bank, or one spans both
        return
    assert banks > 2
    assert occupancy(program).peak_bytes <= memory.capacity_bytes
    assert count(program).traffic_bytes() == schedule.traffic_bytes()
    output = outputs_of(
        found.graph, replay(program, found.graph, found.inputs).tensors, found.expected
    )
    scale = float(np.abs(found.expected).max())
    np.testing.assert_allclose(output["output"], found.expected, rtol=1e-4, atol=1e-5 * scale)


def test_buffers_of_one_step_in_one_bank_are_found() -> None:
    found = case("residual")
    points = budget_curve(found.graph, MemoryOptions(0, SINGLE, 32), "merged").points
    size = -(-points[len(points) // 2].local_bytes // 8) + 512
    memory = MemoryOptions(size * 8, SINGLE, 32)
    schedule, program = banked_schedule(found.graph, memory, "merged", size, no_progress)
    check_banks(program, size)
    with pytest.raises(ProgramError, match=r"instruction \d+: buffers \d+ \(\w+\) and \d+"):
        check_banks(lower(found.graph, schedule), size)
    squeezed = [
        each._replace(address=each.address % size) if isinstance(each, Alloc) else each
        for each in program.instructions
    ]
    with pytest.raises(ProgramError, match="share bank 0"):
        check_banks(replace(program, instructions=tuple(squeezed)), size)


def test_fewer_banks_never_cost_less_than_one() -> None:
    graph = load_network("ds_cnn_s")
    moved = [
        run(
            graph,
            load_hardware("bare", {"local_memory.capacity": "16KiB", "local_memory.banks": banks}),
            RunOptions(policy="merged"),
        )
        for banks in ("1", "4")
    ]
    assert moved[0].traffic.total_bytes <= min(each.traffic.total_bytes for each in moved[1:])
    assert all(each.peak_bytes <= each.capacity_bytes for each in moved)
    assert all(each.counted for each in moved)


def test_what_does_not_go_with_banks() -> None:
    machine = load_hardware("bare", {"local_memory.banks": "4"})
    with pytest.raises(InputError, match="a curve is of a memory of one bank"):
        curve(load_network("ds_cnn_s"), machine)
    with pytest.raises(InputError, match="leave out --frames 2, --objective energy, --exact"):
        check_alone(2, "energy", True)
    with pytest.raises(HardwareError, match="make no 7 banks of equal size"):
        load_hardware("bare", {"local_memory.banks": "7"})
    with pytest.raises(HardwareError, match="banks"):
        load_hardware("bare", {"local_memory.banks": "0"})
