"""A run looked at over time: roofline, what more of a resource buys, series, buffers, events."""

from __future__ import annotations

import json
from dataclasses import dataclass

from dataflow_sim.results import RunResult
from dataflow_sim.results_of_dram import RequestStream

SCHEMA = "dataflow_sim.timeline/1"


@dataclass(frozen=True, slots=True)
class RooflinePoint:
    """A layer under the roof, or the whole network: operations (two a MAC) a DRAM byte, None where
    no byte moves; operations a second that it reaches, and that the roof allows.

    A layer takes at least the time of its own transfers, of which some move beside the one before.
    """

    name: str
    operations_per_byte: float | None
    reached_operations_per_second: float
    roof_operations_per_second: float

    def to_json(self) -> dict[str, object]:
        """One entry of `layers` of the roofline."""
        return {
            "name": self.name,
            "operations_per_byte": self.operations_per_byte,
            "reached_operations_per_second": self.reached_operations_per_second,
            "roof_operations_per_second": self.roof_operations_per_second,
        }


@dataclass(frozen=True, slots=True)
class Roofline:
    """The roof min(peak, operations per byte x bandwidth), and who stands where under it.

    Source: Williams, Waterman and Patterson, Communications of the ACM 52(4), 2009.
    """

    peak_operations_per_second: float
    bandwidth_bytes_per_second: float
    network: RooflinePoint
    layers: tuple[RooflinePoint, ...]

    @property
    def knee_operations_per_byte(self) -> float:
        """Where the slope meets the roof: below it DRAM limits, above it the array."""
        return self.peak_operations_per_second / self.bandwidth_bytes_per_second

    def to_json(self) -> dict[str, object]:
        """The `roofline` object of the JSON result."""
        return {
            "peak_operations_per_second": self.peak_operations_per_second,
            "bandwidth_gb_s": self.bandwidth_bytes_per_second / 1e9,
            "knee_operations_per_byte": self.knee_operations_per_byte,
            "network": self.network.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What a machine with so many times a resource does; None and a note where nothing fits."""

    resource: str
    factor: float
    latency_s: float | None
    dram_bytes: int | None
    energy_pj: float | None
    note: str = ""

    def to_json(self) -> dict[str, object]:
        """One entry of `sensitivity` in the JSON result."""
        return {
            "resource": self.resource,
            "factor": self.factor,
            "latency_s": self.latency_s,
            "dram_bytes": self.dram_bytes,
            "energy_pj": self.energy_pj,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Series:
    """DRAM rates over windows of equal length, and local memory in use at their borders."""

    edges_s: tuple[float, ...]
    read_bytes_per_second: tuple[float, ...]
    written_bytes_per_second: tuple[float, ...]
    local_bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TimedStay:
    """A buffer of local memory from its first access to its last one."""

    label: str
    address: int
    size_bytes: int
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class StepEvent:
    """A step of a layer on the timeline, in nanoseconds; what it waited for before, how long."""

    layer: str
    instruction: int
    start_ns: float
    duration_ns: float
    waited_ns: float
    waited_for: str


@dataclass(frozen=True, slots=True)
class TransferEvent:
    """A transfer on the timeline, in nanoseconds from when it begins to move."""

    tensor: str
    instruction: int
    stores: bool
    bus: str
    start_ns: float
    duration_ns: float
    moved_bytes: float


@dataclass(frozen=True, slots=True)
class TimeStudy:
    """A run with its timeline in full; `requests` are those of each DRAM channel, if asked for."""

    run: RunResult
    roofline: Roofline
    sensitivity: tuple[Sensitivity, ...]
    series: Series
    stays: tuple[TimedStay, ...]
    steps: tuple[StepEvent, ...]
    transfers: tuple[TransferEvent, ...]
    requests: tuple[RequestStream, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The JSON result: the run's without its layers' costs, and what is beside the timeline."""
        run = self.run.to_json()
        kept = ("network", "part", "hardware", "overrides", "policy", "objective", "what_ifs")
        return {
            "schema": SCHEMA,
            **{key: run[key] for key in kept},
            "dram": run["dram"],
            "local": run["local"],
            "energy_pj": run["energy_pj"],
            "required_gb_s": run["required_gb_s"],
            "timeline": run["timeline"],
            "dram_delivery": run["dram_delivery"],
            "roofline": self.roofline.to_json(),
            "sensitivity": [each.to_json() for each in self.sensitivity],
            "warnings": run["warnings"],
        }

    def json_text(self) -> str:
        """The JSON result, ending in a newline."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"
