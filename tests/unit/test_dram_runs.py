"""A run on a machine whose DRAM is a part: bytes, time and energy by layout, and its requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dataflow_sim import pipeline
from dataflow_sim.errors import HardwareError, InputError
from dataflow_sim.hardware import DRAM_PARTS, Hardware, dram_of, load_hardware
from dataflow_sim.ingest import ReadRequest
from dataflow_sim.pipeline import RunOptions
from dataflow_sim.report.dram import TRACE_FORMATS, difference, dram_table, stream_text
from dataflow_sim.request_streams import play_stream, read_stream
from dataflow_sim.results import RunResult
from dataflow_sim.simulate import dram_play
from dataflow_sim.timeline_study import study
from dataflow_sim.traffic import Reason

LAYOUTS = ("row-major", "channels-last", "channel-blocked", "tiles")
NETWORK = "ds_cnn_s"


def machine(model: str = "efficiency", layout: str = "row-major", **keys: str) -> Hardware:
    changed = {"dram.preset": "lpddr4", "dram.model": model, "dram.layout": layout}
    changed |= {key.replace("__", "."): value for key, value in keys.items()}
    return load_hardware("bare", {"local_memory.capacity": "16KiB", **changed})


def run(hardware: Hardware, objective: str = "dram", policy: str = "layerwise") -> RunResult:
    graph = pipeline.load_network(NETWORK, ReadRequest())
    return pipeline.run(graph, hardware, RunOptions(policy=policy, objective=objective))


def moved(result: RunResult) -> int:
    return result.traffic.total_bytes


def test_what_moves_beside_the_bytes_depends_on_the_layout_and_is_padding() -> None:
    found = {layout: run(machine(layout=layout)) for layout in (*LAYOUTS, "packed")}
    own = {
        name: moved(each) - each.traffic.of(Reason.BURST_PADDING) for name, each in found.items()
    }
    assert len(set(own.values())) == 1
    padding = {name: each.traffic.of(Reason.BURST_PADDING) for name, each in found.items()}
    assert padding["packed"] == min(padding.values())
    assert len(set(padding.values())) > 2
    for name, each in found.items():
        delivered = each.dram_delivery
        assert delivered is not None
        assert delivered.layout == name
        assert delivered.delivery is not None
        assert delivered.delivery.moved_bytes == moved(each)
        assert sum(place.moved_bytes for place in delivered.tensors) == moved(each)
        assert delivered.delivery.accesses * 32 == moved(each)


def test_the_best_layout_is_the_best_of_all_under_its_objective() -> None:
    worths: dict[str, Callable[[RunResult], float]] = {
        "dram": moved,
        "latency": lambda result: result.latency_s,
        "energy": lambda result: result.energy.total_pj,
    }
    for objective, worth in worths.items():
        best = run(machine(layout="best"), objective)
        assert best.dram_delivery is not None
        assert best.dram_delivery.layout in LAYOUTS
        least = min(worth(run(machine(layout=each), objective)) for each in LAYOUTS)
        assert worth(best) == pytest.approx(least, rel=1e-9)


def test_alignment_shows_in_bytes_time_and_energy() -> None:
    """Rows of 5 bytes that begin at multiples of 32 take a burst each, else they share some."""
    dense, apart = run(machine()), run(machine(dram__pitch="32B"))
    assert moved(apart) != moved(dense)
    assert apart.energy.dram_pj != dense.energy.dram_pj
    assert apart.latency_s != dense.latency_s


def test_a_part_takes_longer_than_its_peak_and_nearly_what_it_takes_access_by_access() -> None:
    plain = run(machine("peak", dram__burst="32B"))
    closed, played = run(machine("efficiency")), run(machine("banks"))
    assert moved(plain) == moved(closed) == moved(played)
    assert plain.latency_s < played.latency_s
    assert closed.latency_s == pytest.approx(played.latency_s, rel=0.1)
    for each in (closed, played):
        assert each.dram_delivery is not None
        part = each.dram_delivery.delivery
        assert part is not None
        assert 0 < part.efficiency <= 1
        assert part.energy.total_pj > 0
        assert "pJ/bit by commands" in difference(part)
        assert json.dumps(each.dram_delivery.to_json())


def test_energy_by_commands_adds_up() -> None:
    found = run(machine("banks")).dram_delivery
    assert found is not None
    assert found.delivery is not None
    energy = found.delivery.energy
    parts = (energy.activate_pj, energy.read_pj, energy.write_pj, energy.refresh_pj)
    assert energy.total_pj == pytest.approx(sum(parts) + energy.background_pj)
    assert found.delivery.to_json()["pj_per_bit"] == pytest.approx(
        energy.total_pj / 8 / found.delivery.moved_bytes
    )
    assert "energy by commands" in {row[0] for row in dram_table(found).rows}


def test_other_masters_take_their_share_of_the_time() -> None:
    whole, half = run(machine()), run(machine(dram__share="50%"))
    assert whole.dram_delivery is not None
    assert half.dram_delivery is not None
    assert whole.dram_delivery.delivery is not None
    assert half.dram_delivery.delivery is not None
    assert half.dram_delivery.delivery.busy_s == pytest.approx(
        whole.dram_delivery.delivery.busy_s, rel=1e-6
    )
    assert half.latency_s > whole.latency_s


@pytest.mark.parametrize("preset", sorted(DRAM_PARTS))
def test_every_preset_runs_under_both_models(preset: str) -> None:
    latencies = [
        run(machine(model, "tiles", dram__preset=preset)).latency_s
        for model in ("efficiency", "banks")
    ]
    assert latencies[0] == pytest.approx(latencies[1], rel=0.1)


def test_requests_are_written_read_back_and_take_as_long(tmp_path: Path) -> None:
    hardware = machine("banks")
    graph = pipeline.load_network(NETWORK, ReadRequest())
    found = study(graph, hardware, RunOptions(policy="layerwise"), requests=True)
    assert found.run.dram_delivery is not None
    delivery = found.run.dram_delivery.delivery
    assert delivery is not None
    assert len(found.requests) == delivery.channels == 2
    assert sum(len(each.addresses) for each in found.requests) == delivery.accesses
    for trace_format in TRACE_FORMATS:
        played = []
        for stream in found.requests:
            path = tmp_path / f"{trace_format}_{stream.name}.trace"
            path.write_text(stream_text(stream, trace_format))
            back = read_stream(path)
            clocks = stream.clocks if trace_format == "dramsim3" else None
            assert replace(back, name=stream.name) == replace(stream, clocks=clocks)
            played.append(play_stream(hardware.dram, back))
        assert sum(each.writes for each in played) == sum(
            sum(each.writes) for each in found.requests
        )
        longest = max(each.seconds for each in played)
        if trace_format == "dramsim3":  # at the clocks at which the run asks
            assert longest == pytest.approx(found.run.latency_s, rel=0.02)
        else:
            assert longest == pytest.approx(delivery.busy_s, rel=0.02)


def test_requests_need_a_part() -> None:
    graph = pipeline.load_network(NETWORK, ReadRequest())
    with pytest.raises(InputError, match=r"--requests: dram\.model is peak"):
        study(graph, load_hardware("bare"), RunOptions(), requests=True)


def test_what_a_trace_may_not_be(tmp_path: Path) -> None:
    trace = tmp_path / "a.trace"
    trace.write_text("0x40 READ 5\n\n# nothing\nfoo\nLD zz\n0x80 WRITE 4\n0x1 READ -3\n")
    with pytest.raises(InputError) as error:
        read_stream(trace)
    assert [line.split(": ")[0] for line in str(error.value).splitlines()] == [
        f"{trace}:{line}" for line in (4, 5, 6, 7)
    ]
    trace.write_text("# nothing\n")
    with pytest.raises(InputError, match="has no requests"):
        read_stream(trace)
    trace.write_text("0x40 READ 5\n0x40 READ\n")
    with pytest.raises(InputError, match="some requests have a clock"):
        read_stream(trace)
    with pytest.raises(InputError, match="cannot be read"):
        read_stream(tmp_path)
    trace.write_text("ld 64\nST 0x80 # the next one\n")
    assert list(read_stream(trace).addresses) == [64, 128]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"dram.model": "banks"}, "there is no preset; give a preset of lpddr4-2400"),
        ({"dram.preset": "ddr3", "dram.model": "banks"}, "the times of ddr3 are not known"),
        (
            {
                "dram.preset": "lpddr4",
                "dram.model": "banks",
                "dram.efficiency": "0.9",
                "dram.width": "24",
                "dram.interleave": "16B",
            },
            "leave one of them out; width: 24 bits make no channels of 16 each; interleave: 16",
        ),
        ({"dram.width": "32"}, "width: a part's"),
        ({"dram.pitch": "48B"}, "48 bytes are no alignment"),
        ({"dram.layout": "diagonal"}, "'packed', 'row-major'"),
        ({"dram.queue": "0"}, "greater than or equal to 1"),
    ],
)
def test_keys_that_do_not_go_together(keys: dict[str, str], told: str) -> None:
    with pytest.raises(HardwareError) as error:
        load_hardware("bare", keys)
    assert told in str(error.value)


def test_a_narrower_interface_has_fewer_channels() -> None:
    hardware = machine("banks", dram__width="16", dram__bandwidth="6.4GB/s")
    found = run(hardware).dram_delivery
    assert found is not None
    assert found.delivery is not None
    assert (found.delivery.channels, found.delivery.clock_hertz) == (1, 1.6e9)


def test_too_many_accesses_are_told_and_the_closed_form_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dram_play, "MOST_ACCESSES", 100)
    found = run(machine("banks"))
    assert any("too many to play one by one" in each for each in found.warnings)
    assert found.dram_delivery is None
    assert found.latency_s > 0


def test_a_preset_of_no_part() -> None:
    with pytest.raises(InputError, match="--preset lpddr9: no part whose times are known"):
        dram_of("lpddr9", model="banks")
    with pytest.raises(InputError, match="dram: queue"):
        dram_of("lpddr4", model="banks", queue=0)


def test_compressed_tensors_are_read_by_the_block_with_an_index() -> None:
    """Half of the weights are zero: a bitmap and what is left, in blocks that an index finds."""
    hardware = machine(formats__weights__bitmap="dma")
    graph = pipeline.load_network(
        NETWORK, ReadRequest(), pipeline.parse_what_ifs(("sparsity=0.5:encoding=bitmap",))
    )
    result = pipeline.run(graph, hardware, RunOptions(policy="layerwise"))
    assert result.dram_delivery is not None
    weights = [each for each in result.dram_delivery.tensors if "weight" in each.tensor]
    assert weights
    assert {each.layout for each in weights} == {"tiles"}
    assert all(each.runs >= 2 * each.transfers or each.runs == 1 for each in weights)


def test_times_of_a_queue_add_up_and_none_is_negative() -> None:
    hardware = machine("banks")
    graph = pipeline.load_network(NETWORK, ReadRequest())
    full = pipeline.run_in_full(graph, hardware, RunOptions(policy="layerwise"))
    timed = full.cold.timed
    assert timed is not None
    assert timed.delivery is not None
    assert (timed.delivery.clocks >= 0).all()
    busy = timed.durations.buses[0]
    clock_fs = 10**15 / 1.6e9
    assert busy.sum() == pytest.approx(timed.delivery.clocks.sum() * clock_fs, rel=1e-6)
    assert ((busy > 0) == (timed.followed.bits[0] > 0)).all()
    assert np.isclose(sum(busy) / 1e15, full.result.timeline.buses[0].busy_s)  # type: ignore[union-attr]
