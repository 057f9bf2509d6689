"""The shipped machines that stand for real chips, against the figures they were built from."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from dataflow_sim.cli.main import cli
from dataflow_sim.hardware import load_hardware

REAL = ["eyeriss", "microcontroller_npu", "mobile_npu"]
KIB = 1024


def reference(shared: Path, table: str, key: str) -> dict[str, str]:
    with (shared / "reference" / table).open(encoding="utf-8", newline="") as lines:
        return next(row for row in csv.DictReader(lines) if key in row.values())


@pytest.mark.parametrize(
    ("name", "giga_macs_per_s", "local_bytes", "bus_bits", "transfers_per_s", "bits"),
    [
        # JSSC 2017: 16.8 GMACS at 100 MHz, 42.0 at 250 MHz
        ("eyeriss", 16.8 * 2, 108 * KIB, 64, 60e6, 16),
        # Ethos-U55-256: 0.5 TOPS at 1 GHz, here 500 MHz; HyperRAM, 333 MB/s over 8 bits
        ("microcontroller_npu", 128, 512 * KIB, 8, 333e6, 8),
        # Ethos-N77: 4.096 TOPS, two operations a MAC
        ("mobile_npu", 4096 / 2, KIB * KIB, 32, 4266e6, 8),
    ],
)
def test_rates_sizes_and_widths_are_the_published_ones(
    name: str,
    giga_macs_per_s: float,
    local_bytes: int,
    bus_bits: int,
    transfers_per_s: float,
    bits: int,
) -> None:
    machine = load_hardware(name)
    peak = machine.compute.fastest_macs_per_cycle * machine.compute.clock_hertz
    assert peak == pytest.approx(giga_macs_per_s * 1e9)
    assert machine.local_memory.capacity_bytes == local_bytes
    bandwidth = machine.dram.bandwidth_bytes_per_second
    assert bandwidth == pytest.approx(bus_bits / 8 * transfers_per_s)
    assert machine.precision.weights == machine.precision.activations == bits


def test_eyeriss_counts_its_memories_in_units_of_1024_bytes() -> None:
    capacity = load_hardware("eyeriss").local_memory.capacity_bytes
    assert capacity + 168 * 448 == 181.5 * KIB


def test_eyeriss_energies_keep_the_published_ratios() -> None:
    machine = load_hardware("eyeriss")
    mac = machine.mac_pj(16, 16)
    assert machine.mac_pj(8, 8) == machine.mac_pj(8, 16) == mac
    assert machine.mac_pj(16, 8) == mac
    assert 16 * machine.dram.energy_pj_per_bit == pytest.approx(200 * mac)
    assert 16 * machine.local_pj_per_bit == pytest.approx(6 * mac)
    # a second way to it: 8-bit multiply and 32-bit add at 45 nm, to 16 bits and to 65 nm
    assert mac == pytest.approx((0.2 + 0.1) * 4 * 65 / 45, rel=0.1)


def test_hyperram_energy_is_its_largest_power_over_its_rate() -> None:
    dram = load_hardware("microcontroller_npu").dram
    watt = 60e-3 * 1.8
    pj_per_bit = watt / (8 * dram.bandwidth_bytes_per_second) * 1e12
    assert dram.energy_pj_per_bit == pytest.approx(pj_per_bit, rel=0.005)


def test_energies_follow_the_reference_tables(shared: Path) -> None:
    def pj(quantity: str, column: str) -> float:
        return float(reference(shared, "energy.csv", quantity)[column])

    eyeriss, small, mobile = (load_hardware(name) for name in REAL)
    assert 64 * eyeriss.dram.energy_pj_per_bit == pj("DDR3/DDR4 access", "pj_45nm")

    for machine, column, local_bytes in (
        (small, "pj_45nm", 512 * KIB),
        (mobile, "pj_7nm", KIB * KIB),
    ):
        mac = pj("int8 multiply", column) + pj("int32 add", column)
        assert machine.mac_pj(8, 8) == pytest.approx(mac)
        sram = pj("SRAM 1 MB access", column) * (local_bytes / KIB**2) ** 0.5
        assert 64 * machine.local_pj_per_bit == pytest.approx(sram, rel=0.01)

    lpddr4x = reference(shared, "dram.csv", "LPDDR4X-4266")
    assert mobile.dram.energy_pj_per_bit == float(lpddr4x["pj_per_bit_high"])
    half = float(lpddr4x["peak_gb_s"]) / 2  # the table's row is 64 bits wide
    assert mobile.dram.bandwidth_bytes_per_second == pytest.approx(half * 1e9, rel=0.005)


@pytest.mark.parametrize("name", REAL)
def test_a_network_runs_from_the_command_line(name: str) -> None:
    done = CliRunner().invoke(cli, ["run", "mobilenet_v1", "--hw", name, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["hardware"] == name
