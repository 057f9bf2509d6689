"""What the timeline of a run found: plain frozen data, part of a RunResult."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineTime:
    """Seconds that an engine works, and waits, by cause; they add up to the latency."""

    name: str
    busy_s: float
    waits_s: Mapping[str, float]

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.busy_s + sum(self.waits_s.values())

    def to_json(self) -> dict[str, object]:
        """One entry of `engines` in the JSON result."""
        return {"name": self.name, "busy_s": self.busy_s, "waits_s": dict(self.waits_s)}


@dataclass(frozen=True, slots=True)
class BusTime:
    """What a bus (DRAM, flash, a system cache) moves over the timeline.

    Rates in bytes a second; `peak` and `percentile_95` are of windows of equal length,
    `pins` is what its interface can move.
    """

    name: str
    moved_bytes: float
    busy_s: float
    mean_bytes_per_second: float
    peak_bytes_per_second: float
    percentile_95_bytes_per_second: float
    pins_bytes_per_second: float

    def to_json(self) -> dict[str, object]:
        """One entry of `buses` in the JSON result."""
        return {
            "name": self.name,
            "moved_bytes": self.moved_bytes,
            "busy_s": self.busy_s,
            "mean_gb_s": self.mean_bytes_per_second / 1e9,
            "peak_gb_s": self.peak_bytes_per_second / 1e9,
            "percentile_95_gb_s": self.percentile_95_bytes_per_second / 1e9,
            "pins_gb_s": self.pins_bytes_per_second / 1e9,
        }


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """One layer's part of the timeline: from the end of a step to the end of the next of its own.

    `waits_s` by cause of the engine of steps; `dram_busy_s` is the time in which DRAM serves
    anything meanwhile, at `achieved_bytes_per_second` over the layer's time.
    `required_bytes_per_second` is what its own DRAM bytes need for its steps not to wait, None
    where it computes nothing.
    """

    name: str
    latency_s: float
    compute_s: float
    waits_s: Mapping[str, float]
    dram_busy_s: float
    limited_by: str
    utilisation: float
    achieved_bytes_per_second: float
    required_bytes_per_second: float | None

    def to_json(self) -> dict[str, object]:
        """One entry of `layers` of the `timeline` object."""
        required = self.required_bytes_per_second
        return {
            "name": self.name,
            "latency_s": self.latency_s,
            "compute_s": self.compute_s,
            "waits_s": dict(self.waits_s),
            "dram_busy_s": self.dram_busy_s,
            "limited_by": self.limited_by,
            "utilisation": self.utilisation,
            "achieved_gb_s": self.achieved_bytes_per_second / 1e9,
            "required_gb_s": None if required is None else required / 1e9,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a frame rate is reached, and what stands against it.

    `verdict` is `fits`, `compute-bound`, `bandwidth-bound`, both of these, or `latency-bound`: each
    engine alone would be quick enough, but they wait for each other.  Shares are of a frame's time;
    that of bandwidth is of the `bus` (or the port of local memory) that takes longest.
    """

    frames_per_second: float
    verdict: str
    reached_frames_per_second: float
    compute_share: float
    bandwidth_share: float
    bus: str

    def to_json(self) -> dict[str, object]:
        """The `verdict` object of the JSON result."""
        return {
            "frames_per_second": self.frames_per_second,
            "verdict": self.verdict,
            "reached_frames_per_second": self.reached_frames_per_second,
            "compute_share": self.compute_share,
            "bandwidth_share": self.bandwidth_share,
            "bus": self.bus,
        }


@dataclass(frozen=True, slots=True)
class TimelineResult:
    """The timeline of a run.

    `latency_s` is that of the first frame, `period_s` that from the end of one frame to the end of
    the next, which may begin before it where two are `in_flight`; each has `images` images.
    `utilisation` is the part of the array's peak that the MACs take over the latency.
    `closed_form_latency_s` is what the search reckons with.
    """

    latency_s: float
    cycles: int
    in_flight: int
    period_s: float
    images: int
    utilisation: float
    engines: tuple[EngineTime, ...]
    buses: tuple[BusTime, ...]
    window_s: float
    limited_by: str
    layers: tuple[LayerTimes, ...]
    closed_form_latency_s: float
    verdict: Verdict | None = None

    @property
    def frames_per_second(self) -> float:
        """Frames a second in the long run."""
        return 1 / self.period_s

    @property
    def closed_form_error(self) -> float:
        """How far the closed form is off, as a part of the latency; negative where too quick."""
        return self.closed_form_latency_s / self.latency_s - 1

    def to_json(self) -> dict[str, object]:
        """The `timeline` object of the JSON result."""
        return {
            "latency_s": self.latency_s,
            "cycles": self.cycles,
            "in_flight": self.in_flight,
            "period_s": self.period_s,
            "frames_per_second": self.frames_per_second,
            "images_per_frame": self.images,
            "images_per_second": self.images * self.frames_per_second,
            "utilisation": self.utilisation,
            "limited_by": self.limited_by,
            "engines": [engine.to_json() for engine in self.engines],
            "buses": [bus.to_json() for bus in self.buses],
            "window_s": self.window_s,
            "closed_form_latency_s": self.closed_form_latency_s,
            "closed_form_error": self.closed_form_error,
            "verdict": None if self.verdict is None else self.verdict.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
