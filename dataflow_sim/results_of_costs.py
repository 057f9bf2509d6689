"""What moves and what it costs: DRAM bytes by reason, energy by component."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

from dataflow_sim.traffic import STORES, Reason

MAP_READS = (Reason.MAP_FILL, Reason.MAP_REFILL)
WEIGHTS = (Reason.WEIGHT_FETCH, Reason.WEIGHT_REFETCH)
INPUTS = (Reason.INPUT_READ, Reason.INPUT_REFETCH)
PARTIAL_SUMS = (Reason.PARTIAL_SUM_SPILL, Reason.PARTIAL_SUM_FILL)
WRITES = tuple(sorted(STORES))


@dataclass(frozen=True, slots=True)
class DramTraffic:
    """DRAM bytes by reason; every reason is present, zero where nothing moved."""

    by_reason: Mapping[Reason, int]

    def of(self, *reasons: Reason) -> int:
        """Bytes of some reasons together."""
        return sum(self.by_reason[reason] for reason in reasons)

    @property
    def total_bytes(self) -> int:
        """All bytes."""
        return sum(self.by_reason.values())

    def by_what_moves(self) -> dict[str, int]:
        """All bytes, and those of each kind of tensor, under the names of columns."""
        return {
            "dram_bytes": self.total_bytes,
            "weight_bytes": self.of(*WEIGHTS),
            "map_bytes": self.of(*MAP_READS, Reason.MAP_SPILL),
            "input_bytes": self.of(*INPUTS),
            "output_bytes": self.of(Reason.OUTPUT_WRITE),
            "partial_sum_bytes": self.of(*PARTIAL_SUMS),
        }

    def to_json(self) -> dict[str, object]:
        """The `dram` object of the JSON result."""
        return {
            "total_bytes": self.total_bytes,
            "weight_bytes": self.of(*WEIGHTS),
            "map_read_bytes": self.of(*MAP_READS),
            "map_write_bytes": self.of(Reason.MAP_SPILL),
            "partial_sum_bytes": self.of(*PARTIAL_SUMS),
            "input_bytes": self.of(*INPUTS),
            "output_bytes": self.of(Reason.OUTPUT_WRITE),
            "burst_padding_bytes": self.of(Reason.BURST_PADDING),
            "command_bytes": self.of(Reason.COMMAND_FETCH),
            "by_reason": {reason.value: self.by_reason[reason] for reason in Reason},
        }


@dataclass(frozen=True, slots=True)
class EnergyBreakdown:
    """Energy in pJ by component.

    That of DRAM is of its transfers, and of its background power; flash and system cache are 0
    where a machine has none.  `idle` is that of lanes that multiply nothing.
    """

    mac_pj: float
    dram_access_pj: float
    dram_background_pj: float
    local_pj: float
    static_pj: float
    flash_pj: float = 0.0
    system_cache_pj: float = 0.0
    idle_pj: float = 0.0

    @property
    def components(self) -> tuple[float, ...]:
        """All of them, in the order in which they stand."""
        return astuple(self)

    @property
    def dram_pj(self) -> float:
        """DRAM's transfers and background."""
        return self.dram_access_pj + self.dram_background_pj

    @property
    def total_pj(self) -> float:
        """All components, added in the order of the JSON result."""
        on_chip = self.mac_pj + self.dram_pj + self.local_pj + self.static_pj
        return on_chip + self.flash_pj + self.system_cache_pj + self.idle_pj

    def to_json(self) -> dict[str, float]:
        """The `energy_pj` object: `total` is the sum of the rest, but for the parts of `dram`."""
        return {
            "total": self.total_pj,
            "mac": self.mac_pj,
            "dram": self.dram_pj,
            "local": self.local_pj,
            "static": self.static_pj,
            "flash": self.flash_pj,
            "system_cache": self.system_cache_pj,
            "idle": self.idle_pj,
            "dram_access": self.dram_access_pj,
            "dram_background": self.dram_background_pj,
        }
