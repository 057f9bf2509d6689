"""The closed form of DRAM against every access on its bank, on transfers of networks at 256 KiB.

The queues of whole networks agree within 10 %, but for two of 400, which are within 15 %: LPDDR5
on EfficientNet-B0 with row-major maps (decision 0035).  Transfers by themselves, from a DRAM at
rest and without refresh, which takes the same part of both, agree within 10 % but for a few in a
hundred: short ones, whose end depends on which bank comes last.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from dataflow_sim import pipeline
from dataflow_sim.delivered import asked_of
from dataflow_sim.hardware import DRAM_PARTS, load_hardware
from dataflow_sim.ingest import ReadRequest
from dataflow_sim.pipeline import RunOptions
from dataflow_sim.program.instructions import Program
from dataflow_sim.program.laying import Layouts, laid_out
from dataflow_sim.program.lowering import lower
from dataflow_sim.simulate.dram_channel import Spread
from dataflow_sim.simulate.dram_play import banks, closed_form
from dataflow_sim.simulate.precedence import precedence
from dataflow_sim.simulate.requests import Requests
from tests.support.dram import spread

Bools = npt.NDArray[np.bool_]
LAYOUTS = ("row-major", "channels-last", "channel-blocked", "tiles", "packed")
TEN = (
    *("mobilenet_v1", "mobilenet_v2", "resnet18", "resnet50", "squeezenet1_1", "shufflenet_v2"),
    *("densenet121", "efficientnet_b0", "googlenet", "ds_cnn_s"),
)


def program_of(network: str, policy: str) -> Program:
    hardware = load_hardware("bare", {"local_memory.capacity": "256KiB"})
    options = RunOptions(policy=policy)
    graph = pipeline.prepare(pipeline.load_network(network, ReadRequest()), hardware, options)
    chosen = pipeline.choose(graph, hardware, options, pipeline.no_progress)
    return lower(graph, chosen.frames.cold)


def queue_of(program: Program, layout: str, preset: str) -> tuple[Spread, Requests, Bools]:
    """The requests of a program's queue, and which of its transfers write."""
    layouts = Layouts(layout, "fetch-order", "row-major", 16, 64, 1, 4)
    there = laid_out(program, layouts)
    found = precedence([there])
    burst = DRAM_PARTS[preset].access_bytes * program.byte_bits
    return (
        spread(preset),
        asked_of(found, [there], found.bits, burst),
        found.stores.astype(bool),
    )


def errors_alone(part: Spread, asked: Requests, stores: Bools) -> list[float]:
    """Relative errors of transfers by themselves, those alike once."""
    part = replace(part, channel=replace(part.channel, refi=1 << 50))
    found: dict[object, float] = {}
    for number in range(stores.size):
        first, last = asked.offset[number], asked.offset[number + 1]
        begin, count = asked.first[first:last], asked.count[first:last]
        if not count.size:
            continue
        moved = begin - begin[0] // part.period * part.period
        key = (bool(stores[number]), moved.tobytes(), count.tobytes())
        if key not in found:
            one = Requests(np.array([0, count.size]), begin, count)
            writes = stores[number : number + 1]
            true, said = (
                float(model(part, one, writes, 1).clocks.sum()) for model in (banks, closed_form)
            )
            found[key] = said / true - 1
    return list(found.values())


def check(program: Program, preset: str, within: float) -> None:
    alone: list[float] = []
    for layout in LAYOUTS:
        part, asked, stores = queue_of(program, layout, preset)
        true, said = (model(part, asked, stores, 1) for model in (banks, closed_form))
        assert said.clocks.sum() == pytest.approx(true.clocks.sum(), rel=within), layout
        assert (said.reads, said.writes) == (true.reads, true.writes)
        if layout in ("row-major", "tiles"):
            alone += errors_alone(part, asked, stores)
    assert np.percentile(np.abs(alone), 95) < 0.1


@pytest.mark.parametrize("preset", ["lpddr4-3200", "ddr4-3200", "hbm2", "gddr6"])
def test_a_small_network(preset: str) -> None:
    check(program_of("ds_cnn_s", "layerwise"), preset, within=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("network", TEN)
def test_ten_networks(network: str) -> None:
    program = program_of(network, "merged")
    for preset in sorted(DRAM_PARTS):
        row_major = network == "efficientnet_b0" and preset.startswith("lpddr5")
        check(program, preset, within=0.15 if row_major else 0.1)
