"""Energy and time of layers from their counts: counts x cost, nothing else.

    MAC      MACs that are multiplied x pJ/MAC of the operands' widths   (`energy.compute`)
    DRAM     bits read x pJ/bit read + bits written x pJ/bit written; apart from these the
             background power of all channels x latency
    flash    bits of weights x pJ/bit, where weights have a memory of their own
    cache    bits in and out of a system cache x pJ/bit, which then are not DRAM's
    local    bits read x pJ/bit read + bits written x pJ/bit written: DMA in and out, operands
             read and results written by each step
    static   power x latency
    idle     lanes of the array x cycles in which they multiply nothing x pJ, waits included

Latency is the timeline's (`simulate.timeline`).  The closed form, which the search reckons with and
which stands where a program is not lowered:

    compute  of a layer: multiplications / MACs per cycle, rounded up, at the clock
    DRAM     bytes / bandwidth, and the set-up of its transfers, DMA channels side by side
    latency  of a group of layers that takes n steps with second buffers: what is brought before the
             first of them, and of the rest the longest of compute, DRAM, flash, cache and local
             memory, and an n-th of the others, which fills and drains; without second buffers
             all of them, one after the other.  Groups run one after the other.  A layer of a
             merged group has its share of the group's latency, in proportion to the sum of its own
             times.

Assumed in the closed form: elementwise work and pooling hide behind the transfers; what works for
one group works side by side, what works for different groups does not; the set-up of a transfer
hides behind nothing but the transfers of other DMA channels.

Of figures that are ranges, all at their better end give the least, all at their worse end the most:
energy rises with every cost and with latency, latency falls with every rate.  Only lanes that idle
take more of a quicker clock: of such machines the least and the most of both ends and the nominal
figures are told.

Source of the form: Horowitz, ISSCC 2014; the figures are the hardware file's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dataflow_sim.energy.compute import layer_compute
from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import HardwareFile
from dataflow_sim.results_of_costs import WEIGHTS, WRITES, DramTraffic, EnergyBreakdown

# ties go to the first
_BOUNDS = ("dram", "compute", "flash", "system cache", "local memory")


@dataclass(frozen=True, slots=True)
class LayerCounts:
    """What a layer did: MACs that its steps have, DRAM traffic, bits in and out of local memory.

    `transfers` are those of the DMA, 0 where the program was not lowered; the bits of a system
    cache are not among the traffic.
    """

    macs: int
    traffic: DramTraffic
    local_read_bits: int
    local_write_bits: int
    transfers: int = 0
    cache_bits: int = 0


@dataclass(frozen=True, slots=True)
class LayerTime:
    """Seconds of a layer in each part of the machine."""

    dram_s: float
    compute_s: float
    flash_s: float = 0.0
    cache_s: float = 0.0
    local_s: float = 0.0

    @property
    def parts(self) -> tuple[float, ...]:
        """All of them, in the order of `_BOUNDS`."""
        return (self.dram_s, self.compute_s, self.flash_s, self.cache_s, self.local_s)

    @property
    def limited_by(self) -> str:
        """Which of them is the longest."""
        return _BOUNDS[max(range(len(_BOUNDS)), key=lambda part: (self.parts[part], -part))]


@dataclass(frozen=True, slots=True)
class LayerPrice:
    """Time, energy and multiplications of a layer; `utilisation` is the part of the array's peak
    that it works at while it computes."""

    latency_s: float
    limited_by: str
    energy: EnergyBreakdown
    macs_executed: int
    utilisation: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """How far what a group does can run side by side: its steps, whether its tiles have second
    buffers, and the bytes that it brings before the first step."""

    steps: int = 1
    doubled: bool = True
    before_bytes: int = 0


def _latency(hardware: HardwareFile, totals: Sequence[float], overlap: Overlap) -> float:
    """The latency of a group that takes so long in each part of the machine."""
    if not overlap.doubled:
        return sum(totals)
    flash = hardware.flash
    bus = _BOUNDS.index("dram" if flash is None else "flash")
    source = hardware.dram if flash is None else flash
    before = min(totals[bus], overlap.before_bytes / source.bandwidth_bytes_per_second)
    left = [total - (before if part == bus else 0) for part, total in enumerate(totals)]
    longest = max(left)
    return before + longest + (sum(left) - longest) / overlap.steps


def _shares(hardware: HardwareFile, times: Sequence[LayerTime], overlap: Overlap) -> list[float]:
    """The latency of a group of layers, as each layer's share of it."""
    totals = [sum(part) for part in zip(*(time.parts for time in times), strict=True)]
    everything = sum(totals)
    if everything == 0:
        return [0.0 for _ in times]
    scale = _latency(hardware, totals, overlap) / everything
    return [scale * sum(time.parts) for time in times]


def layer_time(hardware: HardwareFile, counts: LayerCounts, cycles: int) -> LayerTime:
    """Time of one layer in each part of the machine."""
    dram, flash, cache = hardware.dram, hardware.flash, hardware.system_cache
    moved = counts.traffic.total_bytes
    flash_bytes = counts.traffic.of(*WEIGHTS) if flash is not None else 0
    setup_s = counts.transfers * hardware.dma.setup_s / hardware.dma.channels
    local = hardware.local_memory.bandwidth_bytes_per_second
    local_bits = counts.local_read_bits + counts.local_write_bits
    cache_rate = cache.bandwidth_bytes_per_second if cache is not None else None
    return LayerTime(
        dram_s=(moved - flash_bytes) / dram.bandwidth_bytes_per_second + setup_s,
        compute_s=cycles / hardware.compute.clock_hertz,
        flash_s=flash_bytes / flash.bandwidth_bytes_per_second if flash is not None else 0.0,
        cache_s=counts.cache_bits / 8 / cache_rate if cache_rate is not None else 0.0,
        local_s=local_bits / 8 / local if local is not None else 0.0,
    )


def _idle_lane_cycles(hardware: HardwareFile, cycles_at_peak: float, latency_s: float) -> float:
    """Cycles of single lanes in which they multiply nothing, over the time of a layer."""
    cycles = latency_s * hardware.compute.clock_hertz
    return hardware.compute.fastest_macs_per_cycle * max(0.0, cycles - cycles_at_peak)


def _layer_energy(
    hardware: HardwareFile,
    counts: LayerCounts,
    mac_pj: float,
    latency_s: float,
    cycles_at_peak: float,
) -> EnergyBreakdown:
    """Energy of one layer by component; `mac_pj` is that of all its MACs, which would take the
    whole array so many cycles."""
    dram, flash, cache = hardware.dram, hardware.flash, hardware.system_cache
    written = counts.traffic.of(*WRITES) * 8
    weights = counts.traffic.of(*WEIGHTS) * 8 if flash is not None else 0
    read = counts.traffic.total_bytes * 8 - written - weights
    return EnergyBreakdown(
        mac_pj=mac_pj,
        dram_access_pj=read * dram.read_energy_pj_per_bit + written * dram.write_energy_pj_per_bit,
        dram_background_pj=dram.background_watt * dram.channels * latency_s * 1e12,
        local_pj=counts.local_read_bits * hardware.local_read_pj_per_bit
        + counts.local_write_bits * hardware.local_write_pj_per_bit,
        static_pj=hardware.energy.static_watt * latency_s * 1e12,
        flash_pj=weights * flash.energy_pj_per_bit if flash is not None else 0.0,
        system_cache_pj=counts.cache_bits * cache.energy_pj_per_bit if cache is not None else 0.0,
        idle_pj=_idle_lane_cycles(hardware, cycles_at_peak, latency_s)
        * hardware.energy.idle_pj_per_mac,
    )


def price_layer(
    hardware: HardwareFile,
    graph: NetworkGraph,
    layer: Layer,
    counts: LayerCounts,
    latency_s: float,
    limited_by: str,
    utilisation: float | None = None,
) -> LayerPrice:
    """The price of a layer that takes so long; its utilisation is the closed form's, or given."""
    compute = layer_compute(hardware, graph, layer)
    macs = compute.macs_executed(counts.macs)
    at_peak = float(macs / compute.peak)
    return LayerPrice(
        latency_s=latency_s,
        limited_by=limited_by,
        energy=_layer_energy(hardware, counts, macs * compute.mac_pj, latency_s, at_peak),
        macs_executed=macs,
        utilisation=compute.utilisation if utilisation is None else utilisation,
    )


def price_group(
    hardware: HardwareFile,
    graph: NetworkGraph,
    layers: Sequence[Layer],
    counts: Sequence[LayerCounts],
    overlap: Overlap,
) -> list[LayerPrice]:
    """The price of each layer of a group that runs together, by the closed form."""
    times = []
    least = overlap.steps if len(layers) == 1 else 0  # each takes a cycle
    for layer, own in zip(layers, counts, strict=True):
        compute = layer_compute(hardware, graph, layer)
        cycles = compute.cycles(compute.macs_executed(own.macs))
        times.append(layer_time(hardware, own, max(cycles, least) if cycles else 0))
    return [
        price_layer(hardware, graph, layer, own, latency_s, time.limited_by)
        for layer, own, time, latency_s in zip(
            layers, counts, times, _shares(hardware, times, overlap), strict=True
        )
    ]


def add_up(parts: Sequence[EnergyBreakdown]) -> EnergyBreakdown:
    """The sum of breakdowns, component by component."""
    return EnergyBreakdown(
        *(sum(each) for each in zip(*(part.components for part in parts), strict=True))
    )
