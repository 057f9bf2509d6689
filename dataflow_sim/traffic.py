"""Why bytes move: the reasons, and the key under which bits are summed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a byte crosses the DRAM interface; every byte has exactly one reason."""

    INPUT_READ = "input_read"
    INPUT_REFETCH = "input_refetch"
    WEIGHT_FETCH = "weight_fetch"
    WEIGHT_REFETCH = "weight_refetch"
    MAP_SPILL = "map_spill"
    MAP_FILL = "map_fill"
    MAP_REFILL = "map_refill"
    PARTIAL_SUM_SPILL = "partial_sum_spill"
    PARTIAL_SUM_FILL = "partial_sum_fill"
    OUTPUT_WRITE = "output_write"
    BURST_PADDING = "burst_padding"
    COMMAND_FETCH = "command_fetch"


# what is written to DRAM; everything else is read
STORES = frozenset({Reason.MAP_SPILL, Reason.PARTIAL_SUM_SPILL, Reason.OUTPUT_WRITE})


@dataclass(frozen=True, slots=True)
class TrafficKey:
    """Bits are summed, and rounded up to bytes once, for each tensor and reason."""

    tensor: str
    reason: Reason
