"""What a search minimises: DRAM bytes, energy, latency, or energy times latency.

Model.  Of a group of layers that moves b bits the search counts

    a b + c max(64 b, C)        C: compute time of its layers, in 64ths of a DRAM bit's time

as an integer, so that costs of groups add up: bytes (a = 1, c = 0), latency (groups run one
after the other, compute and DRAM of each side by side; a bit counts a 4096th of its time
besides, so that of equal latencies the one that moves less is found), energy (a: energy of
a DRAM bit; c: static power).  Energy of MACs is the same in all schedules and left
out; so are differences that a search by bytes does not see: rows that overlapping pooling
computes twice, bits in and out of local memory.  Each tiling of a layer alone that
moves fewer bits costs no more, so that frontiers in bits serve all objectives.

Energy times latency does not add up.  Along its lower convex hull it is least where
energy + w latency is, for some w; a few weights around energy / latency are searched, and
of what they find the least product is taken.

Reads and writes count at the mean of their energies where these differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from dataflow_sim.schedule.rows import Ints

_Bits = TypeVar("_Bits", int, Ints)

# parts of the time of a DRAM bit, and of its energy
_TICKS = 64
_PARTS = 1 << 12
# weights of latency against energy, in powers of two of their ratio
_WEIGHTS = range(-3, 4)


@dataclass(frozen=True, slots=True)
class Rates:
    """What the search needs to know of the machine: energy and time of a DRAM bit, static power.

    `compute_seconds` are those of each layer's MACs, in the network's order.
    """

    dram_pj_per_bit: float
    dram_seconds_per_bit: float
    static_watt: float
    compute_seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Objective:
    """An additive cost: `per_bit` for each DRAM bit, `per_tick` for each tick of latency.

    `compute_ticks` are those of each layer.
    """

    per_bit: int = 1
    per_tick: int = 0
    compute_ticks: tuple[int, ...] = ()

    @property
    def counts_bits(self) -> bool:
        """Whether the cost is the number of bits."""
        return self.per_tick == 0 and self.per_bit == 1

    def cost(self, members: Sequence[int], bits: Ints) -> Ints:
        """The cost of groups of some layers that move so many bits."""
        if self.per_tick == 0:
            return bits * self.per_bit
        compute = sum(self.compute_ticks[index] for index in members)
        latency = np.maximum(bits * _TICKS, compute)
        return np.asarray(bits * self.per_bit + self.per_tick * latency, np.int64)

    def transfer(self, bits: _Bits) -> _Bits:
        """The cost of moving bits beside which nothing is computed."""
        return bits * (self.per_bit + self.per_tick * _TICKS)


DRAM_BITS = Objective()


def _ticks(rates: Rates) -> tuple[int, ...]:
    tick = rates.dram_seconds_per_bit / _TICKS
    return tuple(round(seconds / tick) for seconds in rates.compute_seconds)


def _weighted(rates: Rates, watt: float) -> Objective:
    """DRAM energy and a power for as long as it takes."""
    tick = rates.dram_seconds_per_bit / _TICKS
    if rates.dram_pj_per_bit == 0:
        return Objective(0, 1, _ticks(rates)) if watt else DRAM_BITS
    part = rates.dram_pj_per_bit / _PARTS
    per_tick = round(watt * 1e12 * tick / part)
    return Objective(_PARTS, per_tick, _ticks(rates)) if per_tick else DRAM_BITS


def _dram(rates: Rates) -> list[Objective]:
    return [DRAM_BITS]


def _energy(rates: Rates) -> list[Objective]:
    return [_weighted(rates, rates.static_watt)]


def _latency(rates: Rates) -> list[Objective]:
    return [Objective(1, _TICKS, _ticks(rates))]


def _energy_delay(rates: Rates) -> list[Objective]:
    # energy over latency where DRAM sets both
    ratio = rates.dram_pj_per_bit / rates.dram_seconds_per_bit / 1e12
    powers = [rates.static_watt + ratio * 2.0**weight for weight in _WEIGHTS]
    found = [*_energy(rates), *(_weighted(rates, watt) for watt in powers), *_latency(rates)]
    return list(dict.fromkeys(found))


# by name: the additive costs whose best schedules hold the best one
OBJECTIVES: Mapping[str, Callable[[Rates], list[Objective]]] = {
    "dram": _dram,
    "energy": _energy,
    "latency": _latency,
    "energy-delay": _energy_delay,
}
