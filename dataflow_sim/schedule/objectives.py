"""What a search minimises: DRAM bytes, energy, latency, or energy times latency.

Model.  Of a group of layers that moves b bits the search counts

    a b + c max(64 b, C) + E    C: compute time of its layers, in 64ths of a DRAM bit's time
                                E: energy of the MACs that it computes again

as an integer, so that costs of groups add up: bytes (a = 1, c = 0), latency (groups run one
after the other, compute and DRAM of each side by side; a bit counts a 4096th of its time
besides, so that of equal latencies the one that moves less is found), energy (a: energy of
a DRAM bit; c: static power).  Energy of MACs that every schedule computes once is left out; so are
differences that a search by bytes does not see: rows that overlapping pooling of a layer
alone computes twice, bits in and out of local memory.  Each tiling of a layer alone that moves
fewer bits costs no more, so that frontiers in bits serve all objectives.

Energy times latency does not add up.  Along its lower convex hull it is least where
energy + w latency is, for some w; a few weights around energy / latency are searched, and
of what they find the least product is taken.

Reads and writes count at the mean of their energies where these differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
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

    `compute_seconds` and `compute_pj` are those of each layer's MACs, in the network's order.
    """

    dram_pj_per_bit: float
    dram_seconds_per_bit: float
    static_watt: float
    compute_seconds: tuple[float, ...]
    compute_pj: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Objective:
    """An additive cost: `per_bit` for each DRAM bit, `per_tick` for each tick of latency.

    `compute_ticks` are those of each layer, `compute_costs` the energy of its MACs.
    """

    per_bit: int = 1
    per_tick: int = 0
    compute_ticks: tuple[int, ...] = ()
    compute_costs: tuple[int, ...] = ()

    @property
    def counts_bits(self) -> bool:
        """Whether the cost is the number of bits."""
        return self.per_tick == 0 and self.per_bit == 1

    @property
    def follows_bits(self) -> bool:
        """Whether of schedules that compute nothing again the one that moves less costs less."""
        return self.per_tick == 0

    @property
    def counts_compute(self) -> bool:
        """Whether what is computed again costs anything."""
        return bool(self.compute_ticks or self.compute_costs)

    def cost(self, members: Sequence[int], bits: Ints, again: Sequence[Fraction] = ()) -> Ints:
        """The cost of groups of some layers that move so many bits.

        `again` tells of each layer which part of its MACs is computed again, 1 for all of them.
        """
        found = bits * self.per_bit + _share(self.compute_costs, members, again)
        if self.per_tick == 0:
            return found
        ticks = sum(self.compute_ticks[index] for index in members)
        ticks += _share(self.compute_ticks, members, again)
        return np.asarray(found + self.per_tick * np.maximum(bits * _TICKS, ticks), np.int64)

    def transfer(self, bits: _Bits) -> _Bits:
        """The cost of moving bits beside which nothing is computed."""
        return bits * (self.per_bit + self.per_tick * _TICKS)


def _share(whole: Sequence[int], members: Sequence[int], parts: Sequence[Fraction]) -> int:
    """Parts of what some layers cost, rounded up; none of it where there are no costs or parts."""
    if not whole or not parts:
        return 0
    return ceil(sum(whole[index] * part for index, part in zip(members, parts, strict=True)))


DRAM_BITS = Objective()


def _ticks(rates: Rates) -> tuple[int, ...]:
    tick = rates.dram_seconds_per_bit / _TICKS
    return tuple(round(seconds / tick) for seconds in rates.compute_seconds)


def _weighted(rates: Rates, watt: float) -> Objective:
    """DRAM energy and a power for as long as it takes."""
    tick = rates.dram_seconds_per_bit / _TICKS
    if rates.dram_pj_per_bit == 0:
        part = watt * 1e12 * tick  # the energy of a tick
        costs = tuple(round(pj / part) for pj in rates.compute_pj) if watt else ()
        return Objective(0, 1, _ticks(rates), costs) if watt else DRAM_BITS
    part = rates.dram_pj_per_bit / _PARTS
    per_tick = round(watt * 1e12 * tick / part)
    costs = tuple(round(pj / part) for pj in rates.compute_pj)
    if not per_tick and not any(costs):
        return DRAM_BITS
    return Objective(_PARTS, per_tick, _ticks(rates), costs)


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
    "edp": _energy_delay,
}
