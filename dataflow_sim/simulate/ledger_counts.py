"""What the ledger counts, and which reasons there are to move a tensor of a kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.program.instructions import Load
from dataflow_sim.traffic import Reason, TrafficKey

FIRST_AGAIN = {
    TensorKind.INPUT: (Reason.INPUT_READ, Reason.INPUT_REFETCH),
    TensorKind.WEIGHT: (Reason.WEIGHT_FETCH, Reason.WEIGHT_REFETCH),
    TensorKind.MAP: (Reason.MAP_FILL, Reason.MAP_REFILL),
    TensorKind.OUTPUT: (Reason.MAP_FILL, Reason.MAP_REFILL),
}
STORE = {
    TensorKind.MAP: Reason.MAP_SPILL,
    TensorKind.OUTPUT: Reason.OUTPUT_WRITE,
    TensorKind.PARTIAL_SUM: Reason.PARTIAL_SUM_SPILL,
}


class Waiting(NamedTuple):
    """A load whose reader is not known yet; `padding` is that of its transfer, of the parts of one
    that falls apart the first part's alone."""

    load: Load
    padding: int | None


@dataclass(frozen=True)
class Ledger:
    """Counts of one program.

    `traffic_bits[layer, tensor, reason]` are DRAM bits, `byte_bits` of them a byte;
    `local_read_bits` and `local_write_bits` per layer are those of local memory (DMA and steps);
    `macs_executed` per layer.  `transfers` are a layer's loads and stores, `padding_bits` what
    these move beside their own bits where DRAM moves whole bursts only.
    """

    traffic_bits: Mapping[tuple[int, TrafficKey], int]
    local_read_bits: tuple[int, ...]
    local_write_bits: tuple[int, ...]
    macs_executed: tuple[int, ...]
    steps: tuple[int, ...]
    transfers: tuple[int, ...]
    padding_bits: Mapping[tuple[int, TrafficKey], int]
    byte_bits: int

    def traffic_bytes(self) -> dict[TrafficKey, int]:
        """DRAM bytes by tensor and reason, rounded up once for each, padding not among them."""
        totals: dict[TrafficKey, int] = defaultdict(int)
        for (_, key), bits in self.traffic_bits.items():
            totals[key] += bits
        return {key: -(-bits // self.byte_bits) for key, bits in totals.items()}
