"""What a run's DRAM delivers: where tensors lie, what its part makes of it, energy by commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """A tensor in DRAM: its layout and addresses, and what its transfers came to.

    `runs` are ranges of bursts without gaps, over all transfers.
    """

    tensor: str
    layout: str
    start_byte: int
    size_bytes: int
    transfers: int
    runs: int
    own_bytes: float
    moved_bytes: int

    @property
    def mean_run_bytes(self) -> float:
        """What moves in one go."""
        return self.moved_bytes / self.runs if self.runs else 0.0


@dataclass(frozen=True, slots=True)
class CommandEnergy:
    """Energy in pJ of commands: rows opened, accesses, refresh, and standing by."""

    activate_pj: float
    read_pj: float
    write_pj: float
    refresh_pj: float
    background_pj: float

    @property
    def total_pj(self) -> float:
        """All of them."""
        return (
            self.activate_pj + self.read_pj + self.write_pj + self.refresh_pj + self.background_pj
        )

    def to_json(self) -> dict[str, float]:
        """The parts, and their sum."""
        return {**asdict(self), "total_pj": self.total_pj}


@dataclass(frozen=True, slots=True)
class PartDelivery:
    """What a part of DRAM makes of a frame's transfers.

    `efficiency` is what it moves while it is busy, over its pins' peak in that time, `share` of
    which is the run's.  `flat_pj` is what the same bytes cost at the file's energy of a bit.
    """

    part: str
    model: str
    channels: int
    clock_hertz: float
    access_bytes: int
    accesses: int
    activates: int
    turns: int
    refreshes: float
    busy_s: float
    efficiency: float
    energy: CommandEnergy
    flat_pj: float
    moved_bytes: int

    @property
    def row_hits(self) -> float:
        """The part of accesses that find their row open."""
        return max(0.0, 1 - self.activates / self.accesses) if self.accesses else 0.0

    def pj_per_bit(self, pj: float) -> float:
        """Energy of each bit that moves."""
        return pj / (8 * self.moved_bytes) if self.moved_bytes else 0.0

    def to_json(self) -> dict[str, object]:
        """Plain data, energies by command and a bit of the total."""
        plain = {key: value for key, value in asdict(self).items() if key != "energy"}
        return {
            **plain,
            "row_hits": self.row_hits,
            "energy": self.energy.to_json(),
            "pj_per_bit": self.pj_per_bit(self.energy.total_pj),
            "flat_pj_per_bit": self.pj_per_bit(self.flat_pj),
        }


@dataclass(frozen=True, slots=True)
class DramResult:
    """Where tensors lie in DRAM by the `layout` that a run took for its maps, and what its part
    delivers; None under `model: peak`."""

    layout: str
    tensors: tuple[TensorPlace, ...]
    delivery: PartDelivery | None

    def to_json(self) -> dict[str, object]:
        """The `dram_delivery` object of the JSON result."""
        return {
            "layout": self.layout,
            "part": None if self.delivery is None else self.delivery.to_json(),
            "tensors": [
                {**asdict(each), "mean_run_bytes": each.mean_run_bytes} for each in self.tensors
            ],
        }


@dataclass(frozen=True, slots=True)
class RequestStream:
    """Requests of one channel in their order: byte addresses as the channel counts them, whether
    each writes, and the clocks at which they come; None where a trace does not say."""

    name: str
    addresses: Sequence[int]
    writes: Sequence[bool]
    clocks: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class StreamResult:
    """What one channel of a part makes of a stream; bytes are those of whole accesses."""

    name: str
    part: str
    model: str
    requests: int
    reads: int
    writes: int
    clocks: int
    seconds: float
    bytes_per_second: float
    utilisation: float
    activates: int
    row_hits: float
    turns: int
    refreshes: float
    energy: CommandEnergy
    pj_per_bit: float

    def to_json(self) -> dict[str, object]:
        """Plain data."""
        return {**asdict(self), "energy": self.energy.to_json()}
