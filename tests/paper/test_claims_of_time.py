"""What the talks say of latency and utilisation, by the timeline."""

from __future__ import annotations

from functools import lru_cache

import pytest

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.pipeline import RunOptions, run
from dataflow_sim.results import RunResult
from dataflow_sim.results_of_timeline import TimelineResult
from tests.support.changed import changed, machine

# an accelerator of 16 x 16 channels whose DRAM keeps up with it
ARRAY = {
    "compute__array": "{input_channels: 16, output_channels: 16}",
    "local_memory__double_buffer": "true",
    "dram__bandwidth": "25.6GB/s",
}


def one_layer(inputs: int, outputs: int, kernel: int, side: int = 28) -> NetworkGraph:
    net = OnnxBuilder("one", (1, inputs, side, side))
    return graph_from_model(net.model(net.convolution("conv", "input", outputs, kernel)), "one")


def timed(result: RunResult) -> TimelineResult:
    assert result.timeline is not None
    return result.timeline


def test_mvd_07_channels_are_worth_pruning_by_whole_vectors() -> None:
    """On 16 lanes 90 channels take the cycles of 96, and 80 five sixths of these."""
    found = {c: run(one_layer(96, c, 3), machine(**ARRAY)) for c in (96, 90, 80)}
    (full,), (odd,), (even,) = (timed(found[c]).layers for c in (96, 90, 80))
    assert full.utilisation == even.utilisation == 1.0
    assert odd.utilisation == pytest.approx(90 / 96)
    assert odd.compute_s == full.compute_s
    assert even.compute_s == pytest.approx(full.compute_s * 80 / 96)
    # nothing for 6 % fewer MACs, then 17 % at once; bytes alone make the small rest
    times = [timed(found[c]).latency_s for c in (96, 90, 80)]
    assert times[1] / times[0] == pytest.approx(1, abs=0.01)
    assert times[2] / times[0] == pytest.approx(80 / 96, abs=0.02)


def test_arm_02_five_by_five_takes_2_78_times_as_long_where_compute_limits() -> None:
    small, large = (run(one_layer(64, 64, k, 56), machine(**ARRAY)) for k in (3, 5))
    assert large.macs / small.macs == pytest.approx(25 / 9)
    assert timed(small).limited_by == timed(large).limited_by == "compute"
    assert timed(large).latency_s / timed(small).latency_s == pytest.approx(25 / 9, rel=0.05)
    # and less than that where DRAM does: the maps are the same
    slow = {**ARRAY, "dram__bandwidth": "50MB/s"}
    small, large = (run(one_layer(64, 64, k, 56), machine(**slow)) for k in (3, 5))
    assert timed(large).latency_s / timed(small).latency_s < 1.5


@pytest.mark.parametrize(("tile", "fewer"), [(2, 2.25), (4, 4.0)])
def test_arm_06_winograd_is_quicker_until_bandwidth_limits(tile: int, fewer: float) -> None:
    """Multiplications fall 2.25 and 4 times, latency by less: what moves is no less, or more."""
    graph = one_layer(64, 64, 3, 56)
    plain = run(graph, machine(**ARRAY))
    keys = {"compute__winograd": f"{{tile: {tile}, weights: offline}}"}
    fast = run(graph, machine(**ARRAY, **keys))
    assert timed(plain).engines[0].busy_s / timed(fast).engines[0].busy_s == pytest.approx(fewer)
    gain = timed(plain).latency_s / timed(fast).latency_s
    assert 1.5 < gain < fewer
    rates = [each.buses[0].mean_bytes_per_second for each in (timed(plain), timed(fast))]
    assert rates[1] > gain * rates[0]


def test_arm_08_a_fused_bottleneck_fills_the_array_better() -> None:
    """MobileNetV2's blocks against dense 3 x 3: more MACs, in less than half as much more time: a
    depthwise layer has one lane of 16 x 16."""
    network = "mobilenet_v2@0.5-96"
    split, fused = (
        run(changed(network, *what_ifs), machine(**ARRAY))
        for what_ifs in ((), ("bottleneck=fused",))
    )
    assert fused.parameters > split.parameters
    more = fused.macs / split.macs
    longer = timed(fused).engines[0].busy_s / timed(split).engines[0].busy_s
    assert more > 2
    assert longer < more / 2
    assert timed(fused).utilisation > 2 * timed(split).utilisation


@pytest.mark.parametrize(
    ("network", "hardware", "verdict"),
    [
        ("ssd_mobilenet_v1", "vision_processor", "fits"),
        ("ssd_mobilenet_v1", "microcontroller_npu", "bandwidth-bound"),
        pytest.param(
            *("faster_rcnn_resnet101", "mobile_npu", "compute-bound and bandwidth-bound"),
            marks=pytest.mark.slow,
        ),
        ("faster_rcnn_resnet101@proposals=20", "mobile_npu", "compute-bound"),
    ],
)
def test_iiit_08_thirty_frames_a_second(network: str, hardware: str, verdict: str) -> None:
    found = run(changed(network), machine(hardware), RunOptions(frames_per_second=30.0))
    told = timed(found).verdict
    assert told is not None
    assert told.verdict == verdict
    assert (told.reached_frames_per_second >= 30) == (verdict == "fits")
    assert told.bandwidth_share == pytest.approx(timed(found).engines[1].busy_s * 30)
    assert found.required_gb_s == pytest.approx(found.traffic.total_bytes * 30 / 1e9)


PUBLISHED = {0.25: 10 / 7.5, 0.5: 13 / 7.5, 0.75: 16 / 7.5}


@lru_cache
def pruned(part: float) -> RunResult:
    what_ifs = (f"prune={part}",) if part else ()
    return run(changed("ssd_mobilenet_v1", *what_ifs), machine("mobile_npu"))


@pytest.mark.parametrize("part", PUBLISHED)
def test_b17_05_pruned_channels_speed_a_detector_up(part: float) -> None:
    """Refined: MACs fall with the square of the channels left, latency with bytes, more slowly; a
    whole detector, with what runs beside its network, more slowly still."""
    before, after = pruned(0.0), pruned(part)
    quicker = before.latency_s / after.latency_s
    fewer_macs, fewer_bytes = (
        before.macs / after.macs,
        before.traffic.total_bytes / after.traffic.total_bytes,
    )
    assert PUBLISHED[part] < quicker < fewer_macs
    assert fewer_bytes <= quicker * 1.01
    # what is left is bandwidth's: DRAM works more of the time, the array less
    shares = [timed(each).engines[1].busy_s / timed(each).latency_s for each in (before, after)]
    assert shares[1] > shares[0] > 0.7
    assert timed(after).engines[0].busy_s < timed(before).engines[0].busy_s / fewer_macs * 1.5
