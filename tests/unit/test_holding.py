"""A schedule held fixed while widths change: bytes scale by the ratio, and nothing else moves."""

from __future__ import annotations

import pytest

from dataflow_sim.errors import InputError
from dataflow_sim.holding import HeldFixed, held_fixed
from dataflow_sim.pipeline import RunOptions, run
from tests.support.changed import changed, machine

NETWORK = "mobilenet_v1@0.25-32"


def held(*what_ifs: str, policy: str = "resident", **keys: str) -> HeldFixed:
    hardware = machine(local_memory__capacity="4KiB", **keys)
    options = RunOptions(policy=policy)
    return held_fixed(changed(NETWORK), changed(NETWORK, *what_ifs), hardware, options)


def test_weights_at_half_their_size_leave_maps_alone() -> None:
    found = held("weight_compression=0.5", formats__weights__packed="dma")
    before, fixed, anew = found.weights()
    assert 2 * fixed == before
    assert anew <= before
    assert found.maps()[0] == found.maps()[1] > 0
    assert found.anew.total_bytes <= found.fixed.total_bytes < found.before.total_bytes


def test_maps_at_half_their_size_leave_weights_alone() -> None:
    found = held("map_compression=0.5", formats__maps__packed="dma")
    assert 2 * found.maps()[1] == found.maps()[0] > 0
    assert found.weights()[0] == found.weights()[1]


def test_before_and_anew_are_those_of_runs() -> None:
    found = held("weight_compression=0.5", formats__weights__packed="dma")
    hardware = machine(local_memory__capacity="4KiB", formats__weights__packed="dma")
    options = RunOptions(policy="resident")
    assert found.before == run(changed(NETWORK), hardware, options).traffic
    after = changed(NETWORK, "weight_compression=0.5")
    assert found.anew == run(after, hardware, options).traffic


def test_nothing_changes_without_a_change() -> None:
    found = held()
    assert found.before == found.fixed == found.anew


@pytest.mark.parametrize(
    ("what_if", "why"),
    [("prune=0.5", "change shapes or layers"), ("weight_bits=16", "takes more of local memory")],
)
def test_what_a_schedule_cannot_be_held_through(what_if: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        held(what_if)
