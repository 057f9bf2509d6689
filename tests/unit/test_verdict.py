"""The three sentences: what they say is what a run with that change finds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dataflow_sim.hardware import load_hardware
from dataflow_sim.pipeline import RunOptions, load_network, run
from dataflow_sim.report.page.decisions import RULES, applying, not_modelled
from dataflow_sim.report.page.verdict import (
    byte_levers,
    duration,
    own_curve,
    time_levers,
    verdict,
)
from dataflow_sim.results_of_review import Review
from dataflow_sim.reviewing import review
from tests.conftest import ROOT


def reviewed(size: str, policy: str = "merged", **options: object) -> Review:
    hardware = load_hardware("bare", {"local_memory.capacity": size})
    return review(
        load_network("mobilenet_v1@0.25-32"),
        hardware,
        replace(RunOptions(policy=policy), **options),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def short() -> Review:
    """Of little memory, so that maps are spilled."""
    return reviewed("2KiB")


def test_twice_the_memory_saves_what_it_says(short: Review) -> None:
    lever = next(each for each in byte_levers(short) if "4 KiB" in each.what)
    hardware = load_hardware("bare", {"local_memory.capacity": "4KiB"})
    more = run(load_network("mobilenet_v1@0.25-32"), hardware, RunOptions(policy="merged"))
    saved = 1 - more.traffic.total_bytes / short.run.traffic.total_bytes
    assert lever.saved == pytest.approx(saved)
    assert lever.surety == ""
    assert str(lever) == f"twice the local memory (4 KiB) saves {saved:.1%}"


def test_merging_saves_no_more_than_it_says() -> None:
    alone = reviewed("2KiB", "layerwise")
    lever = next(each for each in byte_levers(alone) if "--policy merged" in each.what)
    hardware = load_hardware("bare", {"local_memory.capacity": "2KiB"})
    merged = run(load_network("mobilenet_v1@0.25-32"), hardware, RunOptions(policy="merged"))
    saved = 1 - merged.traffic.total_bytes / alone.run.traffic.total_bytes
    assert lever.surety == "at most"
    assert 0 < saved <= lever.saved


def test_half_the_bits_save_about_what_it_says(short: Review) -> None:
    lever = next(each for each in byte_levers(short) if "bits" in each.what)
    hardware = load_hardware("bare", {"local_memory.capacity": "2KiB"})
    options = RunOptions(policy="merged", weight_bits=4)
    narrow = run(load_network("mobilenet_v1@0.25-32"), hardware, options)
    saved = 1 - narrow.traffic.total_bytes / short.run.traffic.total_bytes
    assert lever.surety == "about"
    assert saved == pytest.approx(lever.saved, abs=0.1)


def test_a_quicker_machine_saves_what_it_says(short: Review) -> None:
    assert short.over_time is not None
    levers = time_levers(short.run.latency_s, short.over_time.sensitivity)
    assert levers == sorted(levers, key=lambda each: -each.saved)
    lever = next(each for each in levers if "bandwidth" in each.what)
    sizes = {"local_memory.capacity": "2KiB", "dram.bandwidth": "12.8GB/s"}
    quick = run(
        load_network("mobilenet_v1@0.25-32"), load_hardware("bare", sizes), RunOptions("merged")
    )
    assert lever.saved == pytest.approx(1 - quick.latency_s / short.run.latency_s)


def test_three_sentences(short: Review) -> None:
    bound, distance, change = verdict(short)
    total, floor = short.run.traffic.total_bytes, short.run.compulsory_bytes
    assert bound.startswith("A frame takes ")
    assert "limited by" in bound
    assert f"{total / floor:.3f} times the floor" in distance
    assert "map_" in distance
    assert change.startswith("To change first: ")
    _, distance, _ = verdict(reviewed("1MiB"))
    assert "the compulsory floor of" in distance


def test_a_rate_is_told() -> None:
    assert "It reaches 10 frames a second." in verdict(reviewed("2KiB", frames_per_second=10.0))[0]
    missed = verdict(reviewed("2KiB", frames_per_second=1e6))[0]
    assert "It misses 1e+06 frames a second (compute-bound and bandwidth-bound): " in missed


def test_a_run_off_the_curve_says_nothing_of_memory() -> None:
    found = reviewed("2KiB", frames=10)
    other = replace(found, run=replace(found.run, policy="layerwise"))
    assert own_curve(other) is None
    assert not any("twice the local" in each.what for each in byte_levers(other))


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.500 s"), (0.0125, "12.500 ms"), (3.2e-5, "32.000 us")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_every_decision_has_a_rule_and_every_rule_a_decision(short: Review) -> None:
    records = {path.name[:4] for path in (ROOT / "reports" / "decisions").glob("0*.md")}
    assert set(RULES) == records
    found = {record.number: record.title for record in applying(short.run)}
    assert found["0007"] == "How a merged group runs"
    assert "0019" not in found
    assert "0007" not in {r.number for r in applying(reviewed("2KiB", "layerwise").run)}


def test_what_is_not_modelled_is_told_whole() -> None:
    text = (ROOT / "reports" / "decisions" / "not-modelled.md").read_text()
    found = not_modelled()
    assert len(found) == text.count("\n* ")
    words = " ".join(found).split()
    assert words == text.split("\n", 1)[1].replace("\n* ", "\n").split()
