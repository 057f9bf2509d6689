"""Networks whose elements take no whole bits: the closed form, the ledger, curves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dataflow_sim.graph.analyses import live_peak_bytes
from dataflow_sim.pipeline import RunOptions, memory_options, prepare, run
from dataflow_sim.schedule.bounds import compulsory_bytes
from dataflow_sim.schedule.search import budget_curve, schedule_on
from tests.support.changed import changed, curve_of, machine
from tests.support.runs import proved

# what is asked, and what the machine makes of it
CODED = {
    "ideal, kept": (("sparsity=0.8:encoding=ideal",), {"formats__weights__ideal": "array"}),
    "run length, unpacked": (
        ("sparsity=0.7:encoding=run_length",),
        {"formats__weights__run_length": "dma"},
    ),
    "maps packed": (("map_compression=0.37",), {"formats__maps__packed": "dma"}),
    "maps kept packed": (("map_compression=0.37",), {"formats__maps__packed": "array"}),
    "narrow maps unpacked": (("activation_bits=5",), {"formats__maps__low_bits": "dma"}),
    "blocks of channels": ((), {"local_memory__channel_rounding": "16"}),
    "everything": (
        ("weight_bits=5", "sparsity=0.6:encoding=bitmap", "entropy=huffman", "map_compression=0.7"),
        {
            "formats__weights__bitmap": "array",
            "formats__weights__entropy": "dma",
            "formats__maps__packed": "dma",
            "local_memory__channel_rounding": "8",
            "local_memory__alignment": "16B",
            "local_memory__double_buffer": "true",
            "count_biases": "true",
        },
    ),
}
NETWORKS = ("mobilenet_v2@0.35-32", "shufflenet_v2@0.5-32", "ds_cnn_s", "fsrcnn@16-2")


@pytest.mark.parametrize(
    ("coding", "policy"),
    [
        *(
            pytest.param(
                coding,
                "merged",
                marks=pytest.mark.slow if coding in ("ideal, kept", "run length, unpacked") else (),
            )
            for coding in CODED
        ),
        *(("everything", policy) for policy in ("layerwise", "resident")),
        *(("maps packed", policy) for policy in ("layerwise", "resident")),
    ],
)
def test_the_ledger_counts_what_the_closed_form_says(coding: str, policy: str) -> None:
    what_ifs, keys = CODED[coding]
    network = NETWORKS[list(CODED).index(coding) % len(NETWORKS)]
    hardware = machine(**keys)
    graph = prepare(changed(network, *what_ifs), hardware, RunOptions())
    assert graph.byte_bits > 8 or coding in ("narrow maps unpacked", "blocks of channels")
    memory = memory_options(hardware, graph.byte_bits)
    curve, peak = budget_curve(graph, memory, policy), live_peak_bytes(graph)
    for capacity in (peak // 4, peak, 4 * peak):
        there = replace(memory, capacity_bytes=capacity)
        proved(graph, schedule_on(curve, graph, there))
    assert sum(curve.points[-1].traffic.values()) >= compulsory_bytes(graph)


@pytest.mark.parametrize(
    "coding", [pytest.param("maps packed", marks=pytest.mark.slow), "everything"]
)
def test_a_run_at_a_breakpoint_moves_its_bytes(coding: str) -> None:
    what_ifs, keys = CODED[coding]
    graph = changed("mobilenet_v1@0.25-32", *what_ifs)
    points = curve_of(graph, machine(**keys), "resident").points
    assert [p.local_bytes for p in points] == sorted({p.local_bytes for p in points})
    totals = [p.traffic.total_bytes for p in points]
    assert totals == sorted(set(totals), reverse=True)
    for number in (len(points) - len(points) // 4, len(points) - 1):
        for less, expected in ((0, points[number]), (1, points[number - 1])):
            capacity = f"{points[number].local_bytes - less}B"
            found = run(
                graph,
                machine(**keys, local_memory__capacity=capacity),
                RunOptions(policy="resident"),
            )
            assert found.counted
            assert found.traffic.total_bytes == expected.traffic.total_bytes


def test_what_is_kept_packed_is_never_worse_than_what_is_unpacked() -> None:
    what_ifs = ("sparsity=0.8:encoding=ideal",)
    graph = changed("mobilenet_v1@0.25-32", *what_ifs)
    curves = {
        support: curve_of(graph, machine(formats__weights__ideal=support), "resident").points
        for support in ("none", "dma", "array")
    }
    for worse, better in (("none", "dma"), ("dma", "array"), ("none", "array")):
        for point in curves[worse]:
            there = [p for p in curves[better] if p.local_bytes <= point.local_bytes]
            assert there
            assert there[-1].traffic.total_bytes <= point.traffic.total_bytes


def test_blocks_of_channels_are_exact_for_whole_maps() -> None:
    """24 channels in blocks of 16 take the room of 32, in DRAM as in local memory."""
    plain, rounded = machine(), machine(local_memory__channel_rounding="16")
    graph = changed("mobilenet_v2@1.0-32")
    before, after = (prepare(graph, each, RunOptions()) for each in (plain, rounded))
    for name, tensor in before.tensors.items():
        now, channels = after.tensors[name], tensor.shape[1]
        blocks = -(-channels // 16) * 16 if tensor.kind.value == "map" else channels
        assert now.elements * now.bits * channels == tensor.elements * after.byte_bits * blocks or (
            tensor.role.value == "vector" or tensor.bits != 8
        )
