"""Hardware files: what they extend, sources, ranges, presets, tables, the schema and its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from dataflow_sim.cli.main import cli
from dataflow_sim.errors import HardwareError
from dataflow_sim.hardware import Confidence, Hardware, load_hardware
from dataflow_sim.hardware.document import leaves
from dataflow_sim.hardware.machine import HardwareFile
from dataflow_sim.hardware.presets import DRAM_PRESETS
from dataflow_sim.hardware.quantities import End, figure
from dataflow_sim.hardware.reading import model_in
from dataflow_sim.hardware.schema import json_schema, reference_page
from dataflow_sim.hardware.tables import ENERGY_TABLES, power_law
from dataflow_sim.pipeline import RunOptions, load_network, run
from dataflow_sim.resources import shipped_files
from dataflow_sim.units import parse_bytes_per_second, parse_pj_per_bit

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(shipped_files("hw_configs", ".yaml"))
BASE = """\
name: base
sources:
  compute: "published: a data sheet"
  dram.bandwidth: "derived: 8 bit x 1 GHz"
compute: {macs_per_cycle: 16, clock: 100MHz}
local_memory: {capacity: 64KiB, double_buffer: false}
dram: {bandwidth: 1GB/s, energy: 10pJ/bit}
energy: {mac: {8x8: 1pJ, 16x16: 3pJ}}
"""


def write(directory: Path, name: str, text: str) -> str:
    (directory / f"{name}.yaml").write_text(text)
    return str(directory / f"{name}.yaml")


def problems(directory: Path, text: str, **overrides: str) -> list[str]:
    with pytest.raises(HardwareError) as caught:
        load_hardware(write(directory, "machine", text), overrides)
    return str(caught.value).splitlines()


def source(machine: Hardware, key: str) -> tuple[str, str]:
    found = next(each for each in machine.figures if each.key == key)
    return found.confidence.value, found.source


# ------------------------------------------------------------ what is shipped


def test_there_are_the_machines_that_architects_ask_about() -> None:
    assert len(CONFIGS) >= 24


@pytest.mark.parametrize("name", CONFIGS)
def test_every_figure_of_a_shipped_machine_says_where_it_is_from(name: str) -> None:
    machine = load_hardware(name)
    assert machine.name == name
    assert machine.description
    for each in machine.figures:
        assert each.confidence in (Confidence.PUBLISHED, Confidence.DERIVED, Confidence.ASSUMED)
        assert each.source != "no source is given", f"{name}: {each.key}"
        assert each.source


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    "network", ["mobilenet_v1", pytest.param("resnet50", marks=pytest.mark.slow)]
)
def test_every_shipped_machine_runs(name: str, network: str) -> None:
    """Its energy adds up to the last float; its ranges hold the nominal figures."""
    result = run(load_network(network), load_hardware(name))
    energy = result.to_json()["energy_pj"]
    assert isinstance(energy, dict)
    parts = ("mac", "dram", "local", "static", "flash", "system_cache")
    on_chip = energy["mac"] + energy["dram"] + energy["local"] + energy["static"]
    assert energy["total"] == on_chip + energy["flash"] + energy["system_cache"]
    assert energy["dram"] == energy["dram_access"] + energy["dram_background"]
    for part in (*parts, "dram_access", "dram_background"):
        assert energy[part] == sum(
            layer.energy.to_json()[part] if part != "dram" else layer.energy.dram_pj
            for layer in result.layers
        ) or energy[part] == pytest.approx(
            sum(layer.energy.to_json()[part] for layer in result.layers), rel=1e-12
        )
    if result.price_range is not None:
        low, high = result.price_range.energy
        assert low.total_pj <= result.energy.total_pj <= high.total_pj
        assert result.price_range.latency_s[0] <= result.latency_s
        assert result.latency_s <= result.price_range.latency_s[1]


# ------------------------------------------------------------ extends


def test_a_file_takes_over_what_it_extends_and_groups_merge(tmp_path: Path) -> None:
    write(tmp_path, "base", BASE)
    child = write(
        tmp_path,
        "child",
        "name: child\nextends: base.yaml\nlocal_memory: {double_buffer: {inputs: true}}\n"
        'dram: {energy: 5pJ/bit}\nsources: {dram.energy: "assumed: half of it"}\n',
    )
    machine = load_hardware(child)
    assert machine.name == "child"
    assert machine.based_on == ("base.yaml",)
    assert machine.local_memory.capacity_bytes == 64 * 1024
    switches = machine.local_memory.double_buffer
    assert (switches.inputs, switches.weights) == (True, False)
    assert machine.mac_pj(16, 16) == 3.0
    assert source(machine, "dram.energy") == ("assumed", "half of it")
    assert source(machine, "compute.clock") == ("published", "a data sheet")
    # who says a figure anew no longer has the source of the file before
    assert source(machine, "local_memory.double_buffer.inputs")[0] == "assumed"


def test_a_shipped_machine_may_be_extended(tmp_path: Path) -> None:
    path = write(tmp_path, "own", "name: own\nextends: bare\ncompute: {clock: 1GHz}\n")
    machine = load_hardware(path)
    assert machine.compute.clock_hertz == 1e9
    assert machine.compute.macs_per_cycle == 256
    assert source(machine, "compute.clock") == ("assumed", "no source is given")


def test_files_in_a_circle_and_files_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path, "one", "name: one\nextends: two.yaml\n")
    path = write(tmp_path, "two", "name: two\nextends: one.yaml\n")
    with pytest.raises(HardwareError, match=r"two\.yaml:2: extends: .*in a circle"):
        load_hardware(path)
    missing = write(tmp_path, "other", "name: other\nextends: baer\n")
    with pytest.raises(HardwareError, match=r"other\.yaml:2: extends: .*did you mean 'bare'"):
        load_hardware(missing)
    with pytest.raises(HardwareError, match="extends: give the name of a shipped machine"):
        load_hardware(write(tmp_path, "list", "name: list\nextends: [bare]\n"))


def test_a_mistake_in_what_is_extended_is_told_where_it_stands(tmp_path: Path) -> None:
    write(tmp_path, "base", BASE.replace("1GB/s", "1GBs"))
    path = write(tmp_path, "child", "name: child\nextends: base.yaml\nenrgy: {}\n")
    with pytest.raises(HardwareError) as caught:
        load_hardware(path)
    first, second = sorted(str(caught.value).splitlines())
    assert "base.yaml:7: dram.bandwidth: '1GBs' has the unknown unit" in first
    assert "child.yaml:3: enrgy: unknown key; did you mean 'energy'?" in second


# ------------------------------------------------------------ sources


def test_sources_are_checked_with_everything_else(tmp_path: Path) -> None:
    text = BASE.replace("published: a data", "somewhere, a data").replace(
        "dram.bandwidth:", "dram.bandwith:"
    )
    found = problems(tmp_path, text.replace("64KiB", "64"), **{"dram.share": "2"})
    assert any("machine.yaml:3: sources.compute: 'somewhere" in line for line in found)
    assert any("no such key; did you mean 'dram.bandwidth'?" in line for line in found)
    assert any("--set dram.share=2" in line and "less than or equal to 1" in line for line in found)
    assert len(found) == 3


def test_an_override_is_its_own_source() -> None:
    machine = load_hardware("bare", {"dram.energy": "5pJ/bit"})
    assert source(machine, "dram.energy") == ("set", "--set dram.energy=5pJ/bit")


# ------------------------------------------------------------ ranges


@pytest.mark.parametrize(
    ("text", "nominal", "better", "worse"),
    [
        ("8..12pJ/bit", 10.0, 8.0, 12.0),
        ("8pJ/bit..12pJ/bit", 10.0, 8.0, 12.0),
        ("8..9..12pJ/bit", 9.0, 8.0, 12.0),
        ("500fJ/bit..2pJ/bit", 1.25, 0.5, 2.0),
        ("7pJ/bit", 7.0, 7.0, 7.0),
    ],
)
def test_a_range_has_two_ends_and_a_middle(
    text: str, nominal: float, better: float, worse: float
) -> None:
    found = [figure(parse_pj_per_bit, text, end, less_is_better=True) for end in End]
    assert found == [nominal, better, worse]
    more = text.replace("pJ/bit", "GB/s").replace("fJ/bit", "MB/s")
    found = [figure(parse_bytes_per_second, more, end, less_is_better=False) for end in End]
    assert found == pytest.approx([1e9 * each for each in (nominal, worse, better)])


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("dram.energy", "9..8pJ/bit", "bounds of a range ascend"),
        ("dram.energy", "1..2..3..4pJ/bit", "no range; write LOW..HIGH"),
        ("dram.energy", "..8pJ/bit", "no range"),
        ("dram.energy", "1..8", "no unit"),
        ("local_memory.capacity", "1..2KiB", "no range; give one figure"),
        ("compute.macs_per_cycle", "1..2", "is no range; give one figure"),
        ("dram.energy", "8..pJ/bit", "no range"),
        ("dram.energy", "8...9pJ/bit", "two dots"),
        ("dram.share", "0..50%", "greater than or equal to 0.000001"),
        ("dram.share", "50..150%", "less than or equal to 1"),
    ],
)
def test_ranges_that_are_none(key: str, text: str, expected: str) -> None:
    with pytest.raises(HardwareError, match=expected):
        load_hardware("bare", {key: text})


def test_ranges_reach_energy_and_latency_and_nothing_else() -> None:
    network = load_network("mobilenet_v1@0.25")
    keys = {
        "dram.energy": "8..12pJ/bit",
        "energy.mac": "0.5..1.5pJ",
        "energy.static_power": "10..30mW",
        "dram.bandwidth": "3.2..9.6GB/s",
        "compute.clock": "400..600MHz",
    }
    found = run(network, load_hardware("bare", keys))
    assert found.price_range is not None
    ends = []
    for place in (0, 2):  # the lowest costs with the highest rates, and the other way round
        values = {
            "dram.energy": ("8pJ/bit", "", "12pJ/bit"),
            "energy.mac": ("0.5pJ", "", "1.5pJ"),
            "energy.static_power": ("10mW", "", "30mW"),
            "dram.bandwidth": ("9.6GB/s", "", "3.2GB/s"),
            "compute.clock": ("600MHz", "", "400MHz"),
        }
        machine = load_hardware("bare", {key: each[place] for key, each in values.items()})
        ends.append(run(network, machine))
    assert found.price_range.energy == tuple(each.energy for each in ends)
    assert found.price_range.latency_s == tuple(each.latency_s for each in ends)
    assert {each.traffic.total_bytes for each in ends} == {found.traffic.total_bytes}
    assert run(network, load_hardware("bare")).price_range is None


# ------------------------------------------------------------ presets and tables


def test_presets_stand_for_bandwidth_and_energy_which_the_file_may_say_otherwise(
    tmp_path: Path,
) -> None:
    text = BASE.replace("bandwidth: 1GB/s, energy: 10pJ/bit", "preset: lpddr4-3200")
    text = text.replace('  dram.bandwidth: "derived: 8 bit x 1 GHz"\n', "")
    machine = load_hardware(write(tmp_path, "machine", text))
    assert machine.dram.bandwidth_bytes_per_second == pytest.approx(12.8e9)
    assert machine.dram.energy_pj_per_bit == pytest.approx(9.9)
    assert source(machine, "dram.bandwidth")[0] == "published"
    own = load_hardware(
        write(tmp_path, "machine", text.replace("4-3200", "4-3200, energy: 7pJ/bit, channels: 2"))
    )
    assert own.dram.energy_pj_per_bit == 7.0
    assert own.dram.bandwidth_bytes_per_second == pytest.approx(25.6e9)
    found = problems(tmp_path, text.replace("lpddr4-3200", "lpddr9"))
    assert len(found) == 1
    assert "machine.yaml:6: dram.preset: 'lpddr9' is no technology; one of lpddr4-3200" in found[0]


def test_presets_are_those_of_the_reference_table(shared: Path) -> None:
    rows = (shared / "reference" / "dram.csv").read_text().splitlines()[1:]
    for row in rows:
        name, low, high, peak, _, _ = row.split(",")[:6]
        preset = DRAM_PRESETS.get(name.lower(), DRAM_PRESETS.get(f"{name.lower()}-1600"))
        assert preset is not None, name
        bounds = preset.energy.removesuffix("pJ/bit").split("..")
        assert [float(each) for each in bounds] == [float(each) for each in (low, high) if each]
        assert parse_bytes_per_second(preset.bandwidth) / 1e9 == pytest.approx(
            float(peak), rel=0.002
        )


def test_tables_are_those_of_the_reference_table(shared: Path) -> None:
    rows = (shared / "reference" / "energy.csv").read_text().splitlines()[1:]
    for row in rows:
        what, old, new, unit = row.split(",")[:4]
        for name, text in (("45nm", old), ("7nm", new)):
            table = ENERGY_TABLES[name]
            if not text:
                continue
            if unit == "pJ/op":
                assert table.operations[what] == float(text)
            elif what.startswith("SRAM"):
                size = int(what.split()[1]) * (1024 if "KB" in what else 1024 * 1024)
                assert 64 * table.sram_pj_per_bit(size) == pytest.approx(float(text))
            else:
                low, _ = table.dram[what.removesuffix(" access")]
                assert 64 * low == pytest.approx(float(text), rel=0.3)


def test_energies_between_and_beyond_what_a_table_lists() -> None:
    table = ENERGY_TABLES["45nm"]
    assert table.mac_pj(8, 8, 32) == pytest.approx(0.2 + 0.1)
    assert table.mac_pj(32, 32, 32) == pytest.approx(3.1 + 0.1)
    assert table.multiply_pj(4, 16) == pytest.approx(table.multiply_pj(8, 8))
    assert table.multiply_pj(4, 4) == pytest.approx(0.2 / 4)  # w x a cells
    assert table.multiply_pj(64, 64) == pytest.approx(3.1 * 4)
    assert table.add_pj(64) == pytest.approx(0.2)
    sizes = [2**exponent for exponent in range(10, 26)]
    energies = [table.sram_pj_per_bit(size) for size in sizes]
    assert energies == sorted(energies)
    assert table.sram_pj_per_bit(4 << 20) == pytest.approx(2 * 100 / 64)  # the square root
    assert table.sram_pj_per_bit(2 << 10) == pytest.approx(10 / 64 / 2)
    points = ((1.0, 2.0), (4.0, 8.0))
    assert power_law(points, 2.0, 9.0) == pytest.approx(4.0)


def test_a_table_gives_what_a_file_does_not_state(tmp_path: Path) -> None:
    text = BASE.replace("mac: {8x8: 1pJ, 16x16: 3pJ}", "table: 7nm")
    machine = load_hardware(write(tmp_path, "machine", text))
    assert machine.mac_pj(8, 8) == pytest.approx(0.07 + 0.03)
    assert machine.local_pj_per_bit == pytest.approx(
        ENERGY_TABLES["7nm"].sram_pj_per_bit(64 * 1024)
    )
    own = load_hardware(
        write(tmp_path, "machine", text.replace("7nm", "7nm, mac: 5pJ, local_read: 1pJ/bit"))
    )
    assert own.mac_pj(8, 8) == 5.0
    assert own.local_read_pj_per_bit == 1.0
    assert own.local_write_pj_per_bit == machine.local_pj_per_bit
    found = problems(tmp_path, text.replace("7nm", "9nm"))
    assert any("'9nm' is no table of energies; one of 45nm" in line for line in found)


# ------------------------------------------------------------ rates by widths


def test_macs_a_cycle_by_widths() -> None:
    machine = load_hardware("bare", {"compute.macs_per_cycle": "{8x8: 256, 4x8: 512, 16x16: 64}"})
    of = machine.compute.macs_per_cycle_of
    assert of(8, 8) == 256
    assert of(4, 8) == of(2, 8) == of(4, 4) == 512
    assert of(16, 8) == 128  # two passes of 8 x 8, or four of 4 x 8: the best of them
    assert of(16, 16) == 64
    assert of(32, 32) == 16
    graph = load_network("mobilenet_v1@0.25")
    narrow = run(graph, machine, RunOptions(weight_bits=4))
    wide = run(graph, machine, RunOptions(weight_bits=16))
    compute = [
        sum(-(-layer.macs_executed // rate) for layer in found.layers) / 500e6
        for found, rate in ((narrow, 512), (wide, 128))
    ]
    assert narrow.latency_s >= compute[0]
    assert wide.latency_s >= compute[1] > compute[0]


# ------------------------------------------------------------ schema and reference


def test_the_schema_knows_every_key_and_documents_it() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == {
        *(field.alias or name for name, field in HardwareFile.model_fields.items()),
        "extends",
        "sources",
    }

    def documented(model: type, path: str) -> int:
        count = 0
        for name, field in model.model_fields.items():  # type: ignore[attr-defined]
            inner = model_in(field.annotation)
            if inner is not None:
                count += documented(inner, f"{path}{field.alias or name}.")
            else:
                assert field.description, f"{path}{name} has no description"
                count += 1
        return count

    page = reference_page()
    assert page.count("\n| `") >= documented(HardwareFile, "")


def test_the_page_in_docs_is_the_one_that_the_command_prints() -> None:
    done = CliRunner().invoke(cli, ["hardware", "--reference"])
    assert done.exit_code == 0
    assert done.stdout == (ROOT / "docs" / "hardware.md").read_text(encoding="utf-8")


def test_the_command_prints_schema_machine_and_list() -> None:
    runner = CliRunner()
    assert json.loads(runner.invoke(cli, ["hardware", "--schema"]).stdout)["properties"]
    found = json.loads(runner.invoke(cli, ["hardware", "kryo", "--json"]).stdout)
    stated = {key for key, _ in leaves({"compute": found["compute"]})}
    assert ("compute", "clock_hertz") in stated
    assert found["figures"]
    listed = json.loads(runner.invoke(cli, ["hardware", "--json"]).stdout)
    assert [machine["name"] for machine in listed] == CONFIGS
    for wrong in (["hardware", "bare", "--schema"], ["hardware", "--set", "dram.energy=1pJ/bit"]):
        assert isinstance(runner.invoke(cli, wrong).exception, HardwareError | Exception)


MANY = """\
name: many
extends: bare
sources:
  compute.clock: "a guess"
  dram.nothing: "published: x"
precision: {weights: 0, activation: 8}
compute:
  macs_per_cycle: {8by8: 3}
  clock: 500
  array: {input_channels: 0, lanes: 3}
  winograd: {tile: 3}
local_memory: {capacity: -1KiB, alignment: 3B, bandwidth: 5}
dram: {preset: lpddr9, share: 120%, energy: 9..8pJ/bit, burst: 48B}
formats: {weights: {bitmap: maybe}, maps: {csr: dma}}
energy: {table: 9nm, mac: 1J}
flash: {bandwidth: 1GB/s}
"""


def test_unknown_missing_out_of_range_and_unit_less_values_all_at_once(tmp_path: Path) -> None:
    """Each with file, line, key, value and the legal form."""
    found = "\n".join(problems(tmp_path, MANY))
    for line, expected in (
        (4, "sources.compute.clock: 'a guess' begins with none of published:, derived:, assumed:"),
        (5, "sources.dram.nothing: this file gives no such key; did you mean 'dram.energy'?"),
        (6, "precision.weights: Input should be greater than or equal to 1 (found 0)"),
        (6, "precision.activation: unknown key; did you mean 'activations'? legal here are"),
        (8, "compute.macs_per_cycle: '8by8' is not a pair of widths such as 8x8"),
        (9, "compute.clock: '500' has no unit; as a frequency write one of Hz, kHz, MHz, GHz"),
        (10, "compute.array.input_channels: Input should be greater than or equal to 1 (found 0)"),
        (10, "compute.array.lanes: unknown key; legal here are input_channels, output_channels"),
        (11, "compute.winograd.tile: Input should be 2 or 4 (found 3)"),
        (12, "local_memory.capacity: '-1KiB' is negative; a size starts at zero"),
        (12, "local_memory.alignment: 3 bytes are no alignment; give a power of two from 1B"),
        (12, "local_memory.bandwidth: '5' has no unit; as a bandwidth write one of B/s"),
        (13, "dram.preset: 'lpddr9' is no technology; one of lpddr4-3200"),
        (13, "dram.share: Input should be less than or equal to 1 (found '120%')"),
        (13, "dram.energy: '9..8pJ/bit': the bounds of a range ascend"),
        (13, "dram.burst: 48 bytes are no burst; give a power of two from 1B (none) to 4KiB"),
        (14, "formats.weights.bitmap: Input should be 'none', 'dma', 'array' or 'computed'"),
        (14, "formats.maps.csr: unknown key; legal here are low_bits, bitmap, run_length, packed"),
        (15, "energy.table: '9nm' is no table of energies; one of 45nm, 7nm, 32bit"),
        (15, "energy.mac: '1J' has the unknown unit 'J'; as an energy per MAC write one of fJ"),
        (16, "flash.energy: required key is missing"),
    ):
        assert f"machine.yaml:{line}: {expected}" in found
    assert found.count("machine.yaml:") == 21
