"""Energies of operations and memories by technology: what a machine's own figures follow from.

A MAC is a multiplication of its two operands and an addition at the accumulator's width:

    MAC(w, a) = multiply(sqrt(w a)) + add(accumulator)

Between widths that a table lists, an energy goes with a power of the width (a straight line in
logarithms); beyond them with its square for a multiplier, whose array has w x a cells, and with
the width itself for an adder.

A memory on chip is a power of its size between the sizes that a table lists, and goes with the
square root of it beyond them: lines grow with the side of a square array,

    E(C) = E0 (C / C0)^p,    p = ln(E1 / E0) / ln(C1 / C0) between C0 and C1, else 1/2.

Assumed: voltage and design of the source; no energy of control, clock tree or wiring but what a
memory's own access has.

Sources: Horowitz, ISSCC 2014 (45 nm); Jouppi et al., ISCA 2021, table 2 (45 nm and 7 nm); the
table of 32-bit operations of Varma, "Deep Learning on Edge", after Han et al., NIPS 2015.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt

Points = Sequence[tuple[float, float]]
_KB = 1024


def power_law(points: Points, at: float, beyond: float) -> float:
    """The value at a place of the curve that is straight in logarithms between some points.

    Before the first and behind the last it goes with the power `beyond` of the place.
    """
    low = max((p for p in points if p[0] <= at), default=points[0])
    high = min((p for p in points if p[0] >= at), default=points[-1])
    if low == high or not low[0] < at < high[0]:
        anchor = low if low[0] <= at else high
        anchor = high if high[0] == at else anchor
        return float(anchor[1] * (at / anchor[0]) ** beyond)
    slope = log(high[1] / low[1]) / log(high[0] / low[0])
    return float(low[1] * (at / low[0]) ** slope)


@dataclass(frozen=True, slots=True)
class EnergyTable:
    """Energies of one technology.

    `operations` are pJ by name, such as `int8 add`; `sram` are (bytes, pJ per bit) by ascending
    size, `dram` the lowest and highest pJ per bit of external memory.
    """

    name: str
    description: str
    source: str
    operations: Mapping[str, float]
    sram: tuple[tuple[int, float], ...]
    dram: Mapping[str, tuple[float, float]]

    def _integers(self, operation: str) -> list[tuple[float, float]]:
        found = []
        for name, pj in self.operations.items():
            kind, _, what = name.partition(" ")
            if what == operation and kind.startswith("int"):
                found.append((float(kind.removeprefix("int")), pj))
        return sorted(found)

    def add_pj(self, bits: int) -> float:
        """pJ of an integer addition of this width."""
        return power_law(self._integers("add"), bits, 1)

    def multiply_pj(self, weight_bits: int, activation_bits: int) -> float:
        """pJ of an integer multiplication of these widths."""
        return power_law(self._integers("multiply"), sqrt(weight_bits * activation_bits), 2)

    def mac_pj(self, weight_bits: int, activation_bits: int, accumulator_bits: int) -> float:
        """pJ of a MAC: the multiplication, and the addition to the accumulator."""
        return self.multiply_pj(weight_bits, activation_bits) + self.add_pj(accumulator_bits)

    def sram_pj_per_bit(self, capacity_bytes: int) -> float:
        """pJ of a bit read from or written to a memory on chip of this size."""
        return power_law(self.sram, capacity_bytes, 0.5)


_ISCA = "Jouppi et al., ISCA 2021, table 2"

ENERGY_TABLES: Mapping[str, EnergyTable] = {
    table.name: table
    for table in (
        EnergyTable(
            "45nm",
            "45 nm, 0.9 V",
            f"Horowitz, ISSCC 2014; {_ISCA}",
            {
                "int8 add": 0.03,
                "int8 multiply": 0.2,
                "int32 add": 0.1,
                "int32 multiply": 3.1,
                "fp16 add": 0.4,
                "fp16 multiply": 1.1,
                "fp32 add": 0.9,
                "fp32 multiply": 3.7,
            },
            ((8 * _KB, 10 / 64), (32 * _KB, 20 / 64), (_KB * _KB, 100 / 64)),
            {"DDR3/DDR4": (1300 / 64, 2600 / 64)},
        ),
        EnergyTable(
            "7nm",
            "7 nm",
            _ISCA,
            {
                "int8 add": 0.007,
                "int8 multiply": 0.07,
                "int32 add": 0.03,
                "int32 multiply": 1.48,
                "bf16 add": 0.11,
                "bf16 multiply": 0.21,
                "fp16 add": 0.16,
                "fp16 multiply": 0.34,
                "fp32 add": 0.38,
                "fp32 multiply": 1.31,
            },
            ((8 * _KB, 7.5 / 64), (32 * _KB, 8.5 / 64), (_KB * _KB, 14 / 64)),
            {"DDR3/DDR4": (1300 / 64, 1300 / 64), "HBM2": (250 / 64, 450 / 64)},
        ),
        EnergyTable(
            "32bit",
            "operations of 32 bits, 45 nm, as talks on deep compression print them",
            'Varma, "Deep Learning on Edge", after Han et al., NIPS 2015',
            {
                "int32 add": 0.1,
                "fp32 add": 0.9,
                "register file": 1.0,
                "int32 multiply": 3.1,
                "fp32 multiply": 3.7,
            },
            ((32 * _KB, 5 / 32),),
            {"DRAM": (640 / 32, 640 / 32)},
        ),
    )
}
