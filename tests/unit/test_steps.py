"""Cycles of steps: lanes that a step's own extents fill, vector work, exponentials, idle lanes."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest

from dataflow_sim.energy.compute import Extents, lanes_in_use
from dataflow_sim.energy.steps import StepShape, step_cycles
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.pipeline import RunOptions, load_network, prepare, run
from dataflow_sim.report.tables import energy_table
from dataflow_sim.results import RunResult
from dataflow_sim.results_of_costs import WEIGHTS
from dataflow_sim.results_of_timeline import BusTime, LayerTimes, TimelineResult
from tests.conftest import ROOT
from tests.support.changed import changed, machine

ALL = sorted(path.stem for path in (ROOT / "hw_configs").glob("*.yaml"))
SIXTEEN = {"compute__array": "{input_channels: 16, output_channels: 16}"}
ROWS = {"compute__array": "{kernel_rows: 12, output_rows: 14}", "compute__macs_per_cycle": "168"}
EVERYTHING_FITS = {"local_memory__capacity": "64MiB"}


def convolution(
    inputs: int, outputs: int, kernel: int = 3, side: int = 8, stride: int = 1
) -> NetworkGraph:
    net = OnnxBuilder("one", (1, inputs, side, side))
    return graph_from_model(
        net.model(net.convolution("conv", "input", outputs, kernel, stride=stride)), "one"
    )


def times(result: RunResult) -> TimelineResult:
    assert result.timeline is not None
    return result.timeline


@pytest.mark.parametrize(("channels", "passes"), [(16, 1), (17, 2), (32, 2), (33, 3)])
def test_a_seventeenth_channel_takes_a_whole_pass(channels: int, passes: int) -> None:
    """64 pixels x 9 taps a pass of 16 x 16 channels."""
    graph = prepare(convolution(16, channels), machine(**SIXTEEN), RunOptions())
    macs = Fraction(16 * channels * 9 * 64)
    shape = StepShape(0, macs, Extents(1, 16, channels, 8, 64), 0, 0)
    (found,) = step_cycles(machine(**SIXTEEN), graph, [shape])
    assert found.total == passes * 64 * 9
    assert found.at_peak == macs / 256


def test_tiles_fill_lanes_by_their_own_extents() -> None:
    """Tiles of 17 and 15 channels take three passes where the layer of 32 has two."""
    hardware = machine(**SIXTEEN)
    graph = prepare(convolution(16, 32), hardware, RunOptions())
    tiles = [
        StepShape(0, Fraction(16 * m * 9 * 64), Extents(1, 16, m, 8, 64), 0, 0) for m in (17, 15)
    ]
    assert [each.total for each in step_cycles(hardware, graph, tiles)] == [2 * 576, 576]


@pytest.mark.parametrize(
    ("kernel", "rows", "channels", "part"),
    [
        (3, 13, 64, Fraction(4 * 3 * 13, 168)),  # four sets of 3 x 13
        (5, 27, 64, Fraction(2 * 5 * 27, 12 * 28)),  # two of 5, strips of 13 and a half
        (11, 55, 64, Fraction(11 * 55, 12 * 56)),
        (3, 2, 64, Fraction(168, 168)),  # 4 x 7 sets of 3 x 2
        (3, 2, 5, Fraction(5 * 3 * 2, 168)),  # of which there are five
        (13, 14, 64, Fraction(13, 24)),  # cut in two
    ],
)
def test_a_row_stationary_array_holds_sets_of_rows(
    kernel: int, rows: int, channels: int, part: Fraction
) -> None:
    graph = convolution(1, channels, kernel, side=60)
    extents = Extents(1, 1, channels, rows, rows * 60)
    assert lanes_in_use(machine(**ROWS), graph.layers[0], extents) == part


def one(result: RunResult, name: str) -> LayerTimes:
    (found,) = [each for each in times(result).layers if each.name == name]
    return found


def test_a_vector_unit_times_what_the_array_does_not() -> None:
    """A shortcut of 8 channels x 10 x 10, a pooling of 3 x 3 taps, each at two elements a cycle."""
    net = OnnxBuilder("net", (1, 8, 10, 10))
    value = net.convolution("conv", "input", 8, 1)
    value = net.add("sum", value, "input")
    model = net.model(net.pool("MaxPool", "pool", value, 3, 2, 1))
    graph = graph_from_model(model, "net")
    keys = {**EVERYTHING_FITS, "pooling": "separate"}
    free = run(graph, machine(**keys))
    busy = run(graph, machine(**keys, compute__vector="{operations_per_cycle: 2}"))
    clock = 500e6
    names = [layer.name for layer in free.layers]
    assert len(names) == 2
    assert one(free, names[1]).compute_s == 0
    assert one(free, names[0]).compute_s == pytest.approx(ceil(8 * 8 * 100 / 256) / clock)
    assert one(busy, names[0]).compute_s == pytest.approx(8 * 100 / 2 / clock)
    assert one(busy, names[1]).compute_s == pytest.approx(8 * 25 * 9 / 2 / clock)


def test_exponentials_have_a_rate_of_their_own() -> None:
    """A softmax passes twice over its elements, and takes an exponential of each."""
    net = OnnxBuilder("net", (1, 64, 4, 4))
    graph = graph_from_model(net.model(net.softmax("softmax", "input", axis=1)), "net")
    clock, elements = 500e6, 64 * 16
    for unit, cycles in (
        ("{operations_per_cycle: 16}", 2 * elements / 16),
        ("{operations_per_cycle: 16, special_per_cycle: 2}", elements / 2),
    ):
        found = run(graph, machine(**EVERYTHING_FITS, compute__vector=unit))
        assert times(found).layers[0].compute_s == pytest.approx(cycles / clock)


def test_attention_takes_an_exponential_of_each_score() -> None:
    graph = load_network("bert_tiny@128")
    keys = {**EVERYTHING_FITS, "compute__macs_per_cycle": "65536"}
    slow = {"compute__vector": "{operations_per_cycle: 65536, special_per_cycle: 1}"}
    found = run(graph, machine(**keys, **slow))
    attention = [n for n, layer in enumerate(found.layers) if layer.op == "Attention"]
    heads = 2
    for number in attention:
        cycles = times(found).layers[number].compute_s * 500e6
        assert cycles == pytest.approx(heads * 128 * 128)


def test_lanes_that_multiply_nothing_cost_idle_energy() -> None:
    """Over the whole latency, waits included: lanes x cycles less one for each MAC."""
    graph = convolution(16, 17)
    found = run(graph, machine(**SIXTEEN, energy__idle_mac="0.1pJ"))
    idle = 256 * found.latency_s * 500e6 - found.macs_executed
    assert found.energy.idle_pj == pytest.approx(0.1 * idle)
    shown = {row[0]: row[1] for row in energy_table(found).rows}
    assert shown["idle lanes"] == f"{found.energy.idle_pj / 1e6:,.3f} uJ"
    plain = run(graph, machine(**SIXTEEN))
    assert "idle lanes" not in {row[0] for row in energy_table(plain).rows}
    assert found.energy.total_pj == pytest.approx(plain.energy.total_pj + found.energy.idle_pj)


def bus(result: RunResult, name: str) -> BusTime | None:
    return next((each for each in times(result).buses if each.name == name), None)


@pytest.mark.parametrize("name", ALL)
def test_buses_move_what_is_counted_on_every_machine(name: str) -> None:
    """DRAM all but what flash and system cache move; to the bytes that tensors round up by."""
    hardware = machine(name)
    found = run(changed("mobilenet_v1@0.25-32"), hardware)
    rounded = 4 * len(found.layers)
    weights = found.traffic.of(*WEIGHTS) if hardware.flash is not None else 0
    dram, flash = bus(found, "dram"), bus(found, "flash")
    moved = dram.moved_bytes if dram is not None else 0
    assert abs(found.traffic.total_bytes - weights - moved) <= rounded
    assert abs(weights - (flash.moved_bytes if flash is not None else 0)) <= rounded
    for engine in times(found).engines:
        assert engine.total_s == pytest.approx(found.latency_s, rel=1e-12)


@pytest.mark.parametrize("dma", ["{channels: 1}", "{channels: 3, setup: 100ns}"])
def test_buses_move_what_is_counted_with_everything(dma: str) -> None:
    """Bursts, commands, flash and a cache that holds maps, and weights that are fetched again."""
    keys = {
        "local_memory__capacity": "4KiB",
        "dram__burst": "64B",
        "command_stream": "{per_layer: 100B, per_step: 8B}",
        "system_cache": "{capacity: 24KiB, energy: 1pJ/bit, bandwidth: 20GB/s}",
        "dma": dma,
    }
    for flash in ({}, {"flash": "{bandwidth: 1GB/s, energy: 4pJ/bit}"}):
        found = run(changed("mobilenet_v1@0.25-32"), machine(**keys, **flash))
        assert found.system_cache is not None
        assert found.system_cache.traffic.total_bytes > 0
        rounded = 4 * len(found.layers)
        weights = found.traffic.of(*WEIGHTS) if flash else 0
        dram, cache = bus(found, "dram"), bus(found, "system cache")
        assert dram is not None
        assert cache is not None
        assert abs(found.traffic.total_bytes - weights - dram.moved_bytes) <= rounded
        assert cache.moved_bytes >= found.system_cache.traffic.total_bytes - rounded
