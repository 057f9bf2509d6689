from __future__ import annotations

from pathlib import Path

import pytest

from dataflow_sim.errors import HardwareError
from dataflow_sim.graph.layer import WeightRole
from dataflow_sim.hardware import DEFAULT_HARDWARE, DoubleBufferConfig, load_hardware
from dataflow_sim.pipeline import RunOptions, load_network, memory_options, prepare, run
from dataflow_sim.report.tables import summary_table
from dataflow_sim.resources import shipped_files
from dataflow_sim.schedule.types import Buffering

SMALLEST = """\
name: tiny
compute: {macs_per_cycle: 1, clock: 1MHz}
local_memory: {capacity: 64KiB}
dram: {bandwidth: 1GB/s, energy: 10pJ/bit}
energy: {mac: 1pJ}
"""


def write(directory: Path, text: str) -> str:
    path = directory / "machine.yaml"
    path.write_text(text)
    return str(path)


def problems(directory: Path, text: str, **overrides: str) -> list[str]:
    with pytest.raises(HardwareError) as caught:
        load_hardware(write(directory, text), overrides)
    return str(caught.value).splitlines()


def test_every_key_that_is_left_out_has_its_documented_default(tmp_path: Path) -> None:
    machine = load_hardware(write(tmp_path, SMALLEST))
    assert machine.precision.weights == machine.precision.activations == 8
    assert machine.compute.accumulator_bits == 32
    assert machine.count_biases
    assert machine.local_memory.double_buffer == DoubleBufferConfig()
    assert set(machine.local_memory.double_buffer.model_dump().values()) == {True}
    assert machine.compute.accumulator_memory_bytes is None
    assert machine.local_memory.alignment_bytes == 1
    assert memory_options(machine).alignment_bytes == 1
    assert machine.precision.local_weights is None
    assert machine.local_pj_per_bit == machine.energy.static_watt == 0.0
    assert machine.dram.read_energy_pj_per_bit == machine.dram.write_energy_pj_per_bit == 10.0


def test_the_smallest_legal_file_is_the_shared_one(shared: Path) -> None:
    machine = load_hardware(str(shared / "bare.yaml"))
    ours = load_hardware("bare")
    ignored = {"description": "", "figures": ()}
    assert machine.model_copy(update=ignored) == ours.model_copy(update=ignored)


@pytest.mark.parametrize("name", sorted(shipped_files("hw_configs", ".yaml")))
def test_every_shipped_file_loads_names_its_source_and_runs(name: str) -> None:
    machine = load_hardware(name)
    assert machine.name == name
    assert machine.figures
    assert machine.description
    result = run(load_network("mobilenet_v1@0.25"), machine)
    assert result.counted
    assert result.hardware == name


def test_the_default_machine_is_shipped() -> None:
    assert DEFAULT_HARDWARE in shipped_files("hw_configs", ".yaml")


def test_all_problems_are_told_at_once_with_file_line_and_key(tmp_path: Path) -> None:
    text = SMALLEST.replace("64KiB", "64 Kb").replace("1GB/s", "1").replace("mac:", "max:")
    found = problems(tmp_path, text)
    assert len(found) == 4
    assert any("machine.yaml:3: local_memory.capacity" in line for line in found)
    assert any("machine.yaml:4: dram.bandwidth" in line and "no unit" in line for line in found)
    assert any("energy.max" in line and "did you mean 'mac'" in line for line in found)
    assert any("energy.mac: required key is missing" in line for line in found)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: tiny", "name: tiny\nname: twice", "stands twice"),
        ("name: tiny", "name: [", "not YAML"),
        ("name: tiny", "name: tiny\nturbo: true", "unknown key"),
        ("capacity: 64KiB", "capacity: 0B", "greater than or equal to 1"),
        ("macs_per_cycle: 1", "macs_per_cycle: 0", "greater than or equal to 1"),
        ("macs_per_cycle: 1", "macs_per_cycle: '1'", "valid integer"),
        ("mac: 1pJ", "mac: {4x4: 1pJ}", "8x8"),
        ("mac: 1pJ", "mac: {8by8: 1pJ}", "pair of widths"),
        (
            "64KiB}",
            "64KiB, double_buffer: 2}",
            "true or false, or a switch each for inputs, weights",
        ),
        ("64KiB}", "64KiB, double_buffer: 'yes'}", "true or false, or a switch each"),
        ("64KiB}", "64KiB, double_buffer: {inputs: 1}}", "valid boolean"),
        (
            "64KiB}",
            "64KiB, alignment: 0B}",
            "0 bytes are no alignment; give a power of two from 1B",
        ),
        (
            "64KiB}",
            "64KiB, alignment: 48B}",
            "machine.yaml:3: local_memory.alignment: 48 bytes are",
        ),
        ("64KiB}", "64KiB, alignment: 128KiB}", "131072 bytes are no alignment; give a power of"),
        ("64KiB}", "64KiB, alignment: 12bit}", "whole bytes"),
        ("64KiB}", "64KiB, alignment: 64 lines}", "unknown unit"),
        ("1MHz}", "1MHz, accumulator_memory: 0B}", "greater than or equal to 1"),
        ("1MHz}", "1MHz, accumulator_memory: 4 Kb}", "Kb"),
        ("name: tiny", "name: tiny\nprecision: {local_weights: 0}", "greater than or equal to 1"),
    ],
)
def test_bad_files(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in "\n".join(problems(tmp_path, SMALLEST.replace(old, new)))


def test_a_file_that_is_no_mapping_and_one_that_is_missing(tmp_path: Path) -> None:
    assert "mapping" in problems(tmp_path, "- a\n- b\n")[0]
    with pytest.raises(HardwareError, match="does not exist"):
        load_hardware(str(tmp_path / "absent.yaml"))
    with pytest.raises(HardwareError, match="did you mean 'bare'"):
        load_hardware("bear")


def test_an_alignment_reaches_the_schedule_and_all_that_is_wrong_is_told_at_once() -> None:
    machine = load_hardware("bare", {"local_memory.alignment": "64B"})
    assert memory_options(machine).alignment_bytes == 64
    network = load_network("mobilenet_v1@0.25-128")
    plain, aligned = (run(network, each) for each in (load_hardware("bare"), machine))
    assert aligned.counted
    assert aligned.peak_bytes % 64 == 0
    assert all(stay.address % 64 == stay.size_bytes % 64 == 0 for stay in aligned.buffers)
    assert any(stay.size_bytes % 64 for stay in plain.buffers)
    with pytest.raises(HardwareError) as caught:
        load_hardware("bare", {"local_memory.alignment": "3B", "local_memory.capacity": "0B"})
    assert len(str(caught.value).splitlines()) == 2


def test_overrides_by_dotted_path_are_checked_and_recorded() -> None:
    machine = load_hardware("bare", {"dram.energy": "20pJ/bit", "local_memory.capacity": "1MiB"})
    assert machine.dram.energy_pj_per_bit == 20.0
    assert machine.local_memory.capacity_bytes == 1 << 20
    assert machine.overrides == (("dram.energy", "20pJ/bit"), ("local_memory.capacity", "1MiB"))
    with pytest.raises(HardwareError, match=r"--set dram\.enrgy=1: unknown key"):
        load_hardware("bare", {"dram.enrgy": "1"})


def test_all_problems_of_double_buffer_are_told_at_once(tmp_path: Path) -> None:
    switches = "{input: true, weights: on, outputs: false, partial_sums: maybe}"
    found = problems(tmp_path, SMALLEST.replace("64KiB}", f"64KiB, double_buffer: {switches}}}"))
    assert len(found) == 3
    assert "local_memory.double_buffer.input: unknown key; did you mean 'inputs'" in found[2]
    assert "legal here are inputs, weights, outputs, partial_sums" in found[2]
    assert "double_buffer.weights" in found[0]
    assert "double_buffer.partial_sums" in found[1]


def test_double_buffer_is_one_switch_or_four(tmp_path: Path) -> None:
    def switches(written: str) -> dict[str, bool]:
        text = SMALLEST.replace("64KiB}", f"64KiB, double_buffer: {written}}}")
        machine = load_hardware(write(tmp_path, text))
        return machine.local_memory.double_buffer.model_dump()

    assert set(switches("false").values()) == {False}
    assert set(switches("true").values()) == set(switches("{}").values()) == {True}
    left = switches("{weights: false, partial_sums: false}")
    assert left == {"inputs": True, "weights": False, "outputs": True, "partial_sums": False}


def test_an_override_of_one_switch_leaves_the_others() -> None:
    key = "local_memory.double_buffer"
    one = load_hardware("bare", {f"{key}.inputs": "true"}).local_memory.double_buffer
    assert one == DoubleBufferConfig(inputs=True, weights=False, outputs=False, partial_sums=False)
    other = load_hardware("vision_processor", {f"{key}.inputs": "false"})
    assert other.local_memory.double_buffer == DoubleBufferConfig(inputs=False)
    both = load_hardware("vision_processor", {key: "false", f"{key}.outputs": "true"})
    assert memory_options(both).doubled == Buffering(False, False, True, False)
    with pytest.raises(
        HardwareError, match=r"--set local_memory\.double_buffer\.input=true: unknown"
    ):
        load_hardware("bare", {f"{key}.input": "true"})


def test_local_weights_are_no_narrower_than_in_dram(tmp_path: Path) -> None:
    text = SMALLEST + "precision: {weights: 8, local_weights: 4}\n"
    (found,) = problems(tmp_path, text)
    assert "machine.yaml:6: precision.local_weights: 4 bits in local memory are less than" in found
    machine = load_hardware(write(tmp_path, SMALLEST + "precision: {weights: 4, local_weights: 8}"))
    graph = load_network("mobilenet_v1@0.25")

    def kernel_widths(options: RunOptions) -> set[tuple[int, int]]:
        tensors = prepare(graph, machine, options).tensors.values()
        return {(t.bits, t.local_bits) for t in tensors if t.role is WeightRole.KERNEL}

    assert kernel_widths(RunOptions()) == {(4, 8)}
    assert kernel_widths(RunOptions(weight_bits=16)) == {(16, 16)}
    tensors = prepare(graph, machine, RunOptions()).tensors.values()
    assert all(t.bits == t.local_bits for t in tensors if t.role is not WeightRole.KERNEL)
    halved = load_hardware(write(tmp_path, SMALLEST + "precision: {weights: 4}"))
    wide, narrow = run(graph, machine), run(graph, halved)
    assert wide.counted
    assert wide.traffic.total_bytes >= narrow.traffic.total_bytes
    assert wide.energy.mac_pj == narrow.energy.mac_pj


def test_an_accumulator_memory_takes_partial_sums(tmp_path: Path) -> None:
    text = SMALLEST.replace("64KiB", "4KiB").replace("1MHz}", "1MHz, accumulator_memory: 1KiB}")
    graph = load_network("mobilenet_v1@0.25-128")
    result = run(graph, load_hardware(write(tmp_path, text)))
    assert result.counted
    assert 0 < result.accumulator_peak_bytes <= result.accumulator_capacity_bytes == 1024
    assert result.to_json()["accumulators"] == {
        "capacity_bytes": 1024,
        "peak_bytes": result.accumulator_peak_bytes,
    }
    assert result.peak_bytes <= 4096
    assert not any("partial sums" in stay.label for stay in result.buffers)
    assert "accumulator memory used" in {row[0] for row in summary_table(result).rows}
    bare = load_hardware("bare")
    assert run(load_network("mobilenet_v1@0.25"), bare).accumulator_capacity_bytes == 0


def test_mac_energy_comes_from_the_table_or_scales_from_eight_bits() -> None:
    machine = load_hardware("bare")
    assert machine.mac_pj(8, 8) == 1.0
    assert machine.mac_pj(4, 8) == 0.5
    assert machine.mac_pj(16, 16) == 4.0
    listed = load_hardware("bare", {"energy.mac": "{8x8: 1pJ, 16x16: 3pJ}"})
    assert listed.mac_pj(16, 16) == 3.0
