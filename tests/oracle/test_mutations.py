"""Faults put into the lowering, one after the other: each is found, and it is told by whom.

The lists are in `faults_of_buffers` and its neighbours.
"""

from __future__ import annotations

from functools import cache

import pytest

from dataflow_sim.program.instructions import Program
from dataflow_sim.program.lowering import lower
from dataflow_sim.schedule.types import (
    ORDERS,
    SWEEP_ORDERS,
    Halo,
    LayerTiling,
    PartialSums,
    PlaneTiling,
    RowTiling,
)
from tests.oracle.faults_of_buffers import BUFFERS
from tests.oracle.faults_of_groups import MERGED
from tests.oracle.faults_of_nests import NESTS
from tests.oracle.faults_of_schedules import SCHEDULES
from tests.oracle.faults_of_sweeps import SWEPT
from tests.oracle.mutation_settings import SETTINGS, setting
from tests.support.mutations import (
    ESTIMATE,
    LEDGER,
    LOWERING,
    MEMORY,
    OCCUPANCY,
    REPLAY,
    RESULT,
    TRAFFIC,
    Fault,
    catchers,
    lowered,
    lowering_with,
)

FAULTS = (*BUFFERS, *NESTS, *SCHEDULES, *MERGED, *SWEPT)


@cache
def sound(name: str) -> tuple[Program, ...]:
    """What the lowering as it is makes of a setting."""
    return lowered(setting(name), lower)


@pytest.mark.parametrize("name", SETTINGS)
def test_nobody_finds_anything_wrong_with_the_lowering(name: str) -> None:
    assert catchers(setting(name), sound(name)) == set()


@pytest.mark.parametrize("fault", [pytest.param(f, id=f"{f.module}: {f.name}") for f in FAULTS])
def test_a_fault_changes_the_program_and_is_found(fault: Fault) -> None:
    tried = setting(fault.setting)
    faulty = lowered(tried, lowering_with(fault))
    assert faulty != sound(fault.setting)
    assert catchers(tried, faulty) == fault.caught


def test_what_is_computed_wrong_fails_in_the_replay_and_what_is_moved_in_the_ledger() -> None:
    for fault in FAULTS:
        assert fault.caught, fault.name
        if fault.spoils == RESULT:
            assert REPLAY in fault.caught, fault.name
        elif fault.spoils == TRAFFIC:
            assert fault.caught & {LEDGER, ESTIMATE}, fault.name
        else:
            assert fault.spoils == MEMORY
            assert OCCUPANCY in fault.caught, fault.name


def test_no_module_of_the_lowering_and_no_setting_is_without_faults() -> None:
    assert {fault.module for fault in FAULTS} == set(LOWERING)
    assert {fault.setting for fault in FAULTS} == set(SETTINGS)
    assert len({(fault.module, fault.name) for fault in FAULTS}) == len(FAULTS)


def test_settings_hold_all_that_is_lowered() -> None:
    schedules = [schedule for name in SETTINGS for schedule in setting(name).schedules]
    groups = [group for schedule in schedules for group in schedule.groups]
    tilings = [layer.tiling for group in groups for layer in group.layers]
    nests = [tiling for tiling in tilings if isinstance(tiling, LayerTiling)]
    assert {tiling.order for tiling in nests} == {*ORDERS, *SWEEP_ORDERS}
    assert {tiling.partial_sums for tiling in nests} == set(PartialSums)
    assert any(tiling.pinned_output_channels for tiling in nests)
    assert any(tiling.pinned_input_channels for tiling in nests)
    rows = [tiling for tiling in tilings if isinstance(tiling, RowTiling)]
    assert any(tiling.running for tiling in rows)
    assert any(tiling.pinned_channels for tiling in rows)
    assert {tiling.streamed for tiling in rows} == {False, True}
    planes = [tiling for tiling in tilings if isinstance(tiling, PlaneTiling)]
    assert {tiling.streamed for tiling in planes} == {False, True}
    assert {halo for group in groups for _, halo in group.halos} == set(Halo)
    assert any(group.hands is not None for group in groups)
    assert any(group.kept for group in groups)
    assert any(schedule.warm and schedule.standing for schedule in schedules)
    assert any(len(home.tensors) > 1 for schedule in schedules for home in schedule.residents)
