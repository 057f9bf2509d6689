"""Scenario files: what they may say, the points that follow, and every mistake where it stands."""

from __future__ import annotations

import math
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_sim.errors import InputError
from dataflow_sim.scenario.model import Range, ScenarioFile
from dataflow_sim.scenario.points import axis_of, spread
from dataflow_sim.scenario.reading import ScenarioError, read_scenario, scenario_path
from dataflow_sim.scenario.schema import described_columns, json_schema
from dataflow_sim.scenario.shipped import shipped_scenarios
from tests.support.scenarios import mistakes, scenario

HEAD = "title: t\nnetworks: [ds_cnn_s]\n"


def coordinates(text: str) -> list[dict[str, object]]:
    return [dict(point.coordinates) for point in scenario(text).points]


def test_axes_are_crossed_the_later_ones_faster() -> None:
    found = coordinates(
        "title: t\nnetworks: [ds_cnn_s, ds_cnn_m]\nmachines: [bare, kryo]\n"
        "axes: {policy: [layerwise, merged], weight_bits: [8, 4]}"
    )
    expected = product(("ds_cnn_s", "ds_cnn_m"), ("bare", "kryo"), ("layerwise", "merged"), (8, 4))
    assert [tuple(row.values()) for row in found] == list(expected)


def test_zipped_axes_go_together() -> None:
    found = coordinates(
        HEAD + "axes: {weight_bits: [8, 4], policy: [layerwise, merged], activation_bits: [8, 4]}\n"
        "zip: [[weight_bits, activation_bits]]"
    )
    pairs = [(row["weight_bits"], row["activation_bits"], row["policy"]) for row in found]
    assert pairs == [(8, 8, "layerwise"), (8, 8, "merged"), (4, 4, "layerwise"), (4, 4, "merged")]


def test_a_filter_chooses_points() -> None:
    found = coordinates(
        HEAD + "axes: {local_memory: [8KiB, 64KiB], policy: [layerwise, merged]}\n"
        "where: local_memory_bytes > 8 * KiB or policy == 'merged'"
    )
    kept = [(row["local_memory_bytes"], row["policy"]) for row in found]
    assert kept == [(8192, "merged"), (65536, "layerwise"), (65536, "merged")]


def test_the_file_then_the_case_then_the_axes_say_what_runs() -> None:
    points = scenario(
        HEAD + "policy: merged\nwhat_ifs: [folding=off]\nset: {dram.energy: 5pJ/bit}\n"
        "cases:\n  one: {policy: resident, what_ifs: [weight_bits=4]}\n"
        "  two: {set: {dram.energy: 7pJ/bit}}\n"
        "axes: {what_ifs: {plain: [], pruned: ['prune=0.5']}, dram.bandwidth: [1GB/s]}"
    ).points
    told = [(p.settings.policy, p.settings.what_ifs, dict(p.settings.set)) for p in points]
    rest = {"dram.bandwidth": "1GB/s"}
    assert told == [
        ("resident", ["folding=off", "weight_bits=4"], {"dram.energy": "5pJ/bit", **rest}),
        (
            "resident",
            ["folding=off", "weight_bits=4", "prune=0.5"],
            {"dram.energy": "5pJ/bit", **rest},
        ),
        ("merged", ["folding=off"], {"dram.energy": "7pJ/bit", **rest}),
        ("merged", ["folding=off", "prune=0.5"], {"dram.energy": "7pJ/bit", **rest}),
    ]
    columns = [name for name, _ in points[0].coordinates]
    assert columns == ["network", "hardware", "case", "what_ifs", "dram_bandwidth"]


@given(
    least=st.integers(1, 1 << 20),
    octaves=st.integers(1, 12),
    per_octave=st.integers(1, 16),
)
def test_a_range_has_both_ends_and_equal_ratios(least: int, octaves: int, per_octave: int) -> None:
    most = least << octaves
    found = spread(
        Range.model_validate({"from": least, "to": most, "per_octave": per_octave}), sizes=True
    )
    assert found[0] == least
    assert found[-1] == most
    assert found == sorted(set(found))
    assert len(found) <= octaves * per_octave + 1
    if least > 1000:
        steps = [math.log2(b / a) * per_octave for a, b in pairwise(found)]
        assert all(abs(step - 1) < 0.05 for step in steps)


@pytest.mark.parametrize(
    ("given_range", "why"),
    [
        ({"from": "64KiB", "to": "8KiB", "points": 4}, "two ends above 0 that rise"),
        ({"from": "0B", "to": "8KiB", "points": 4}, "two ends above 0 that rise"),
        ({"from": "8 Kb", "to": "8KiB", "points": 4}, "unknown unit"),
    ],
)
def test_a_range_that_is_none(given_range: dict[str, object], why: str) -> None:
    with pytest.raises(InputError, match=why):
        axis_of("local_memory", given_range)


MISTAKES = {
    "hardwar: bare": "3:1: hardwar: unknown key 'hardwar'; did you mean 'hardware'?",
    "networks: [ds_cnn]": 'the key "networks" stands twice',
    "axes: {polcy: [merged]}": "3:8: axes.polcy: 'polcy' is neither a setting",
    "axes: {policy: [merge]}": "3:8: axes.policy: Input should be 'layerwise'",
    "axes: {policy: []}": "3:8: axes.policy: an axis without values",
    "axes: {local_memory: [8KiB, 8192]}": "3:8: axes.local_memory: 8192 stands twice",
    "axes: {dims.tokens: [x]}": "3:8: axes.dims.tokens: Input should be a valid integer",
    "axes: {dram.energi: [1pJ/bit]}": "3:8: axes.dram.energi: --set dram.energi=1pJ/bit: unknown",
    "axes: {dram.energy: [10pJ]}": "has the unknown unit 'pJ'",
    "axes: {what_ifs: [prun=0.5]}": "unknown; did you mean 'prune'?",
    "axes: {policy: [merged]}\ncases: {a: {policy: resident}}": "cases.a: the axis 'policy' sets",
    "axes: {batch: [1, 2], frames: [1]}\nzip: [[batch, frames]]": "of one length: batch has 2, f",
    "zip: [[batch, frames]]": "'batch' is no axis",
    "record: [dram_byte]": "3:10: record.0: unknown column 'dram_byte'; did you mean 'dram_bytes'?",
    "where: colour == 'red'": "3:1: where: unknown name 'colour'",
    "where: policy == 'x'\npolicy: merged": "where: unknown name 'policy'",
    "derive: {x: dram_bytes + y}": "3:10: derive.x: unknown name 'y'",
    "derive: {x: 2 * y, y: dram_bytes}": "3:10: derive.x: unknown name 'y'",
    "derive: {dram_bytes: 2 * macs}": "derive.dram_bytes: 'dram_bytes' is recorded; give what is",
    "measure: {m: n, n: dram_bytes}": "3:11: measure.m: unknown name 'n'",
    "expect:\n  - {label: a, value: dram_bytes, equals: 1, at_most: 2}": "4:5: expect.0: give",
    "expect:\n  - {label: a, value: 'dram_bytes(', equals: 1}": "is no expression",
    'expect:\n  - {label: a, value: "dram_bytes(colour=1)", equals: 1}': "told apart by 'colour'",
    "expect:\n  - {label: a, value: 1, equals: 1, within: 3}": "expect.0",
    "questions:\n  - {knee: {within: five}}": "is no part; write a percentage",
    "questions:\n  - {needs: {least: dram_bytes, target: 'latency_ms < 1'}}": "'latency_ms'",
    "pictures:\n  - {file: 'a/b', kind: bars, title: t, x: network, y: dram_bytes}": "match patt",
    "pictures:\n  - {file: a, kind: bars, title: t, x: network, y: latency}": "column 'latency'",
    "input_size: 3by4": "3:1: input_size: '3by4' is no size of an image",
    "local_memory: 12 Kb": "has the unknown unit 'Kb'",
    "set: {dram.bandwidth: fast}": "3:7: set.dram.bandwidth: --set dram.bandwidth=fast",
    "local_memory: 8KiB\nset: {local_memory.capacity: 9KiB}": "say the same; give one of them",
    "hardware: nowhere": "unknown hardware 'nowhere'",
    "network: nowhere.onnx": "3:1: network: network file 'nowhere.onnx' does not exist",
    "claim: {source: a, says: b, expected: c, verdict: refined}": "say under because",
    "claim: {source: a, says: b, expected: c, verdict: refuted, because: d}": "name under decision",
}


@pytest.mark.parametrize("more", MISTAKES)
def test_a_mistake_is_told_with_its_place(more: str) -> None:
    found = mistakes(HEAD + more)
    assert any(MISTAKES[more] in line for line in found), found
    assert all(line.startswith("study.yaml") for line in found)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    found = mistakes(
        "title: t\n"
        "networks: [mobilenet_v9]\n"
        "hardwar: bare\n"
        "axes:\n"
        "  polcy: [merged]\n"
        "  weight_bits: [8, 99]\n"
        "record: [dram_byte]\n"
        "expect:\n"
        "  - {label: x, value: foo, equals: 3}\n"
    )
    places = [tuple(map(int, line.split(":")[1:3])) for line in found]
    assert places == [(2, 12), (3, 1), (5, 3), (6, 3), (7, 10), (9, 16)]


def test_a_scenario_without_points_or_networks_is_refused() -> None:
    assert "no point is left" in mistakes(HEAD + "where: network == 'x'")[0]
    assert "no network; give networks" in mistakes("title: t\n")[0]


def test_files_are_looked_for_beside_the_scenario(tmp_path: Path) -> None:
    machine = Path("hw_configs/bare.yaml").resolve().read_text()
    (tmp_path / "mine.yaml").write_text(machine.replace("bare", "mine", 1))
    path = tmp_path / "study.yaml"
    path.write_text(HEAD + "hardware: mine.yaml\n")
    (point,) = read_scenario(path).points
    assert point.settings.hardware == str(tmp_path / "mine.yaml")


@pytest.mark.parametrize("name", ["nowhere", "no/where.yaml", "spils"])
def test_a_scenario_that_is_not_there(name: str) -> None:
    with pytest.raises(ScenarioError, match=r"unknown scenario|does not exist"):
        scenario_path(name)


@pytest.mark.parametrize("name", shipped_scenarios())
def test_shipped_scenarios_can_be_read(name: str) -> None:
    read = read_scenario(shipped_scenarios()[name])
    assert read.points
    assert read.name == name


def test_the_schema_has_every_key_and_column() -> None:
    found = json_schema()
    assert set(found["properties"]) == set(ScenarioFile.model_fields)
    assert all("description" in entry for entry in found["properties"].values())
    columns = described_columns()
    assert set(found["properties"]["record"]["items"]["enum"]) == set(
        columns["columns of points (record), and what finds them"]
    )
