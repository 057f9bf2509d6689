"""The columns that a scenario may record: names with units, what each is, what finds it.

What finds a column decides what is computed: facts need no schedule, bytes a budget curve, which is
of all memories at once, and everything else a run of the point itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from dataflow_sim.traffic import Reason


class Finder(IntEnum):
    """What finds a column, the cheaper first."""

    MACHINE = 0  # the hardware file
    FACTS = 1  # the network as the machine runs it, without a schedule
    CURVE = 2  # the budget curve, or the run
    RUN = 3  # the run
    HELD = 4  # the run's program before the what-ifs, with the elements that these leave


@dataclass(frozen=True, slots=True)
class Column:
    """What a column is, and what finds it."""

    finder: Finder
    meaning: str


def _all(finder: Finder, **meanings: str) -> dict[str, Column]:
    return {name: Column(finder, meaning) for name, meaning in meanings.items()}


_TRAFFIC = {
    "dram_bytes": "all bytes over the DRAM interface, a frame",
    "weight_bytes": "of weights: weight_fetch + weight_refetch",
    "map_bytes": "of maps between layers: map_spill + map_fill + map_refill",
    "input_bytes": "of the network's input: input_read + input_refetch",
    "output_bytes": "of the network's output",
    "partial_sum_bytes": "of partial sums",
    **{f"{r.value}_bytes": f"of reason {r.value}" for r in Reason if r is not Reason.OUTPUT_WRITE},
}

POINT_COLUMNS: Mapping[str, Column] = {
    **_all(
        Finder.MACHINE,
        capacity_bytes="local memory",
        bandwidth_gb_s="peak DRAM bandwidth, GB/s",
        clock_mhz="the array's clock, MHz",
        macs_per_cycle="MACs a cycle of 8 x 8 bits",
        peak_gops="operations a second at the precision's widths, two to a MAC, in 1e9",
        peak_watt="power of the array at its peak and static, W",
        mac_pj="energy of a MAC at the precision's widths, pJ",
        dram_pj_per_bit="energy of a DRAM bit, pJ",
    ),
    **_all(
        Finder.FACTS,
        layer_count="layers after folding",
        macs="nominal MACs, padding counted",
        parameters="learned constants",
        weight_elements="elements of all kernels",
        constant_elements="elements of kernels and of per-channel constants",
        map_elements="elements of the maps between layers and of the output, each once",
        stored_weight_bytes="all kernels as they are coded in DRAM",
        nonzero_weights="elements of all kernels that are not zero",
        mean_weight_bits="bits of a stored weight on average",
        largest_weight_bytes="of the layer with the largest kernel, per-channel constants with it",
        largest_map_bytes="of the largest map",
        largest_live_bytes="the largest live set of whole maps, weights excluded",
        compulsory_bytes="weights, input and output, each once",
        mean_lifetime_layers="layers from first write to last read of a map, both counted, on mean",
        operations_per_weight_byte="2 MACs over the elements of kernels and constants",
        mean_operations_per_weight_byte="the same of each layer, on mean over layers that have any",
        least_operations_per_weight_byte="the least of any layer",
        most_operations_per_weight_byte="the most of any layer",
    ),
    **{name: Column(Finder.CURVE, meaning) for name, meaning in _TRAFFIC.items()},
    **_all(Finder.CURVE, used_bytes="height of the buffers in local memory"),
    **_all(
        Finder.RUN,
        lower_bound_bytes="the bound that the gap is against",
        gap="DRAM bytes over the bound",
        macs_executed="MACs with recomputation, without what is skipped",
        steps="steps of the program",
        groups="groups of layers that run together",
        counted="whether the program's bytes were counted and timed, or are the closed form's",
        energy_mj="energy of a frame, mJ",
        mac_energy_mj="of MACs, mJ",
        dram_energy_mj="of DRAM, mJ",
        local_energy_mj="of local memory, mJ",
        static_energy_mj="static power over the latency, mJ",
        latency_ms="of a frame, ms",
        compute_ms="that the array works, ms",
        dram_busy_ms="that DRAM works, ms",
        utilisation="MACs over the array's peak over the latency",
        limited_by="what the latency is mostly of",
        frames_per_second="that are reached, in flight as the point says",
        mean_gb_s="DRAM bytes over the latency, GB/s",
        required_gb_s="DRAM bytes of a frame times the rate that is wanted, GB/s",
        verdict="whether the rate that is wanted is reached, and what stands against it",
        warm_dram_bytes="DRAM bytes of a frame behind another",
    ),
    **_all(
        Finder.HELD,
        held_dram_bytes="all bytes at the schedule of the network before its what-ifs",
        held_weight_bytes="of weights, at that schedule",
        held_map_bytes="of maps between layers, at that schedule",
        before_dram_bytes="all bytes of the network before its what-ifs",
        before_weight_bytes="of weights, before the what-ifs",
        before_map_bytes="of maps between layers, before the what-ifs",
    ),
}

LAYER_COLUMNS: Mapping[str, Column] = {
    **_all(
        Finder.FACTS,
        op="operator",
        kind="how it is tiled",
        groups="groups of channels of a convolution, 1 of a dense one",
        macs="nominal MACs",
        weight_elements="elements of the kernel",
        constant_elements="elements of the kernel and of per-channel constants",
        input_elements="elements of all maps that it reads",
        output_elements="elements of all maps that it writes",
        live_elements="the live set of whole maps while it runs, in elements",
        stored_weight_bytes="the kernel as it is coded in DRAM",
        weight_bits="bits of a stored weight",
        zero_weights="part of the kernel that is zero",
        operations_per_weight_byte="2 MACs over the elements of kernel and constants",
    ),
    **_all(
        Finder.RUN,
        dram_bytes="all bytes over the DRAM interface",
        weight_bytes="of weights",
        map_bytes="of maps between layers",
        input_bytes="of the network's input",
        output_bytes="of the network's output",
        map_spill_bytes="of reason map_spill",
        reads_per_byte="bytes of maps and input that are read, over those first read",
        parts="tiles of output channels",
        steps="steps of the program",
        latency_us="of the layer, us",
        utilisation="of the array's peak while it computes",
        energy_uj="energy of the layer, uJ",
        local_bytes="in use of local memory while it runs",
        limited_by="what its latency is mostly of",
    ),
}

CURVE_COLUMNS: Mapping[str, str] = {
    "local_bytes": "local memory from which on these bytes move",
    **{name: _TRAFFIC[name] for name in list(_TRAFFIC)[:6]},
}
# beside what is recorded every row has these
ALWAYS = ("status", "error")
