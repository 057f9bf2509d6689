"""Energy and time of a layer from its counts: counts x cost, nothing else.

    MAC      executed MACs x pJ/MAC of the operands' widths
    DRAM     bits read x pJ/bit read + bits written x pJ/bit written
    local    bits of DMA in and out, operands read and results written by each step
    static   power x latency

    latency  of a group of layers the longer of its compute (MACs / MACs per cycle, rounded
             up for each layer, at the clock) and its DRAM (bytes / bandwidth); groups run one
             after the other.  A layer of a merged group has its share of the group's
             latency, in proportion to its own compute and DRAM times.

Assumed: the array is fully used; elementwise work and pooling hide behind the transfers;
compute and DRAM of one group overlap, those of different groups do not.

Source of the form: Horowitz, ISSCC 2014; the figures are the hardware file's.
"""

from __future__ import annotations

from dataclasses import dataclass

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware
from dataflow_sim.results import WRITES, DramTraffic, EnergyBreakdown


@dataclass(frozen=True, slots=True)
class LayerCounts:
    """What a layer did: executed MACs, DRAM traffic, bits in and out of local memory."""

    macs_executed: int
    traffic: DramTraffic
    local_bits: int


@dataclass(frozen=True, slots=True)
class LayerTime:
    """Seconds of a layer's compute and of its DRAM transfers."""

    compute_s: float
    dram_s: float

    @property
    def latency_s(self) -> float:
        """The longer of the two."""
        return max(self.compute_s, self.dram_s)

    @property
    def limited_by(self) -> str:
        """Which of the two it is."""
        return "compute" if self.compute_s > self.dram_s else "dram"


def group_latencies(times: list[LayerTime]) -> list[float]:
    """The latency of a group of layers, as each layer's share of it."""
    compute, dram = sum(t.compute_s for t in times), sum(t.dram_s for t in times)
    if len(times) == 1 or compute + dram == 0:
        return [t.latency_s for t in times]
    scale = max(compute, dram) / (compute + dram)
    return [scale * (t.compute_s + t.dram_s) for t in times]


def layer_time(hardware: Hardware, counts: LayerCounts) -> LayerTime:
    """Time of one layer."""
    cycles = -(-counts.macs_executed // hardware.compute.macs_per_cycle)
    return LayerTime(
        compute_s=cycles / hardware.compute.clock_hertz,
        dram_s=counts.traffic.total_bytes / hardware.dram.bandwidth_bytes_per_second,
    )


def layer_mac_pj(hardware: Hardware, graph: NetworkGraph, layer: Layer) -> float:
    """Energy of a MAC of a layer."""
    weight_bits = graph.tensors[layer.weight].bits if layer.weight else graph.view_bits(layer)
    return hardware.energy.mac_pj(weight_bits, graph.view_bits(layer))


def layer_energy(
    hardware: Hardware, graph: NetworkGraph, layer: Layer, counts: LayerCounts, latency_s: float
) -> EnergyBreakdown:
    """Energy of one layer by component."""
    written = counts.traffic.of(*WRITES) * 8
    read = counts.traffic.total_bytes * 8 - written
    dram = hardware.dram
    return EnergyBreakdown(
        mac_pj=counts.macs_executed * layer_mac_pj(hardware, graph, layer),
        dram_pj=read * dram.read_energy_pj_per_bit + written * dram.write_energy_pj_per_bit,
        local_pj=counts.local_bits * hardware.energy.local_pj_per_bit,
        static_pj=hardware.energy.static_watt * latency_s * 1e12,
    )


def add_up(parts: list[EnergyBreakdown]) -> EnergyBreakdown:
    """The sum of breakdowns, component by component."""
    return EnergyBreakdown(
        mac_pj=sum(part.mac_pj for part in parts),
        dram_pj=sum(part.dram_pj for part in parts),
        local_pj=sum(part.local_pj for part in parts),
        static_pj=sum(part.static_pj for part in parts),
    )
