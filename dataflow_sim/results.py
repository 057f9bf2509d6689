"""RunResult: what one run found, as plain frozen data; the only thing that reports read.

The JSON form is versioned: `schema` changes when a key changes its meaning or goes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataflow_sim.results_of_costs import DramTraffic, EnergyBreakdown
from dataflow_sim.results_of_dram import DramResult
from dataflow_sim.results_of_exact import ExactResult
from dataflow_sim.results_of_placement import fragmentation
from dataflow_sim.results_of_timeline import TimelineResult
from dataflow_sim.results_of_what_ifs import WhatIfResult

SCHEMA = "dataflow_sim.run/1"


@dataclass(frozen=True, slots=True)
class LayerResult:
    """One layer of a run; `tiling` is the chosen tiling as plain data.

    `group` is the index of its group, `local_bytes` what is in use of local memory while
    that runs; `utilisation` the part of the array's peak that it computes at.
    """

    name: str
    op: str
    kind: str
    output_shape: tuple[int, int, int, int]
    macs: int
    group: int
    macs_executed: int
    steps: int
    traffic: DramTraffic
    lower_bound_bytes: int
    local_bytes: int
    energy: EnergyBreakdown
    latency_s: float
    limited_by: str
    utilisation: float
    tiling: Mapping[str, str | bool | int]

    @property
    def gap(self) -> float:
        """DRAM bytes over the bound of the layer alone; below 1 where maps stay local."""
        return self.traffic.total_bytes / self.lower_bound_bytes

    def to_json(self) -> dict[str, object]:
        """One entry of `layers` in the JSON result."""
        return {
            "name": self.name,
            "op": self.op,
            "kind": self.kind,
            "output_shape": list(self.output_shape),
            "macs": self.macs,
            "group": self.group,
            "macs_executed": self.macs_executed,
            "steps": self.steps,
            "dram": self.traffic.to_json(),
            "lower_bound_bytes": self.lower_bound_bytes,
            "gap": self.gap,
            "local_bytes": self.local_bytes,
            "energy_pj": self.energy.to_json(),
            "latency_s": self.latency_s,
            "limited_by": self.limited_by,
            "utilisation": self.utilisation,
            "tiling": dict(self.tiling),
        }


@dataclass(frozen=True, slots=True)
class GroupResult:
    """Layers that run together: their names, how, which maps are resident meanwhile.

    `stripe_rows` is the number of rows of its input that a merged group takes at a time,
    None where it is as few as possible or the group is a single layer alone.  `local_bytes`
    are its own, `resident_bytes` those of the maps that stay in local memory.  A group that
    runs by tiles of the plane has a `tile`, rows and columns of its last layer's output, and
    `halos` of all other maps: `cache`, `cache-x` or `recompute`.  In a `handover` rows of a
    resident map give way to those of one that is made: their names, and how far apart they begin.
    """

    layers: tuple[str, ...]
    merged: bool
    stripe_rows: int | None
    streamed_kernels: tuple[str, ...]
    resident: tuple[str, ...]
    local_bytes: int
    resident_bytes: int
    tile: tuple[int, int] | None
    halos: Mapping[str, str]
    handover: tuple[str, str, int] | None = None

    def to_json(self) -> dict[str, object]:
        """One entry of `group_list` in the JSON result."""
        return {
            "layers": list(self.layers),
            "merged": self.merged,
            "stripe_rows": self.stripe_rows,
            "streamed_kernels": list(self.streamed_kernels),
            "resident": list(self.resident),
            "local_bytes": self.local_bytes,
            "resident_bytes": self.resident_bytes,
            "tile": None if self.tile is None else list(self.tile),
            "halos": dict(self.halos),
            "handover": None
            if self.handover is None
            else dict(zip(("taken", "made", "distance_bytes"), self.handover, strict=True)),
        }


@dataclass(frozen=True, slots=True)
class BufferStay:
    """A buffer's stay in local memory: instructions [first, last), what for, where."""

    label: str
    first_instruction: int
    last_instruction: int
    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FramesResult:
    """Frames one after the other: the first one is cold, each later one warm.

    A warm frame finds `resident_weights` in local memory, where they hold
    `resident_weight_bytes`.  Of a single frame, or where nothing stays, both are the same.
    """

    frames: int
    cold_bytes: int
    warm: DramTraffic
    warm_energy: EnergyBreakdown
    warm_latency_s: float
    resident_weights: tuple[str, ...]
    resident_weight_bytes: int

    @property
    def total_bytes(self) -> int:
        """DRAM bytes of all frames."""
        return self.cold_bytes + (self.frames - 1) * self.warm.total_bytes

    def to_json(self) -> dict[str, object]:
        """The `frames` object of the JSON result; what stands outside it is the cold frame's."""
        return {
            "frames": self.frames,
            "cold_bytes": self.cold_bytes,
            "warm_bytes": self.warm.total_bytes,
            "total_bytes": self.total_bytes,
            "resident_weight_bytes": self.resident_weight_bytes,
            "resident_weights": list(self.resident_weights),
            "described_elsewhere": "cold",
            "warm_dram": self.warm.to_json(),
            "warm_energy_pj": self.warm_energy.to_json(),
            "warm_latency_s": self.warm_latency_s,
        }


@dataclass(frozen=True, slots=True)
class PriceRange:
    """What a run costs with all figures that are ranges at their better end, and at their worse."""

    energy: tuple[EnergyBreakdown, EnergyBreakdown]
    latency_s: tuple[float, float]

    def to_json(self) -> dict[str, object]:
        """The `ranges` object of the JSON result."""
        low, high = (each.to_json() for each in self.energy)
        return {
            "energy_pj": {key: [low[key], high[key]] for key in low},
            "latency_s": list(self.latency_s),
        }


@dataclass(frozen=True, slots=True)
class SystemCacheResult:
    """What a cache between local memory and DRAM holds, and what moves there in DRAM's place."""

    capacity_bytes: int
    peak_bytes: int
    tensors: tuple[str, ...]
    traffic: DramTraffic

    def to_json(self) -> dict[str, object]:
        """The `system_cache` object of the JSON result."""
        return {
            "capacity_bytes": self.capacity_bytes,
            "peak_bytes": self.peak_bytes,
            "tensors": list(self.tensors),
            "total_bytes": self.traffic.total_bytes,
            "by_reason": {r.value: v for r, v in self.traffic.by_reason.items() if v},
        }


@dataclass(frozen=True, slots=True)
class RunResult:
    """One network on one machine under one policy; `part` tells which layers of it, if not all.

    `machine` are all figures of the hardware, with their sources; `what_ifs` what was changed of
    the network before it was scheduled.

    `counted` tells whether the bytes were counted by the ledger from the lowered program
    and found equal to the closed form; a program of too many steps is not lowered, and
    the closed form stands alone.  The accumulators are those with a memory of their own, 0 where
    partial sums lie in local memory.  `buffers` are the stays in local memory over the program,
    in order of allocation, `buffers_peak_bytes` their largest live set; empty and None where it
    was not lowered.  `thinned` tells in a sentence each what the search left out of its space;
    `exact` what the exact search proved, where it was asked; `timeline` when everything runs, None
    where the program was not lowered: `latency_s` is then the closed form's.

    Of several `frames` everything else describes the first one, which is cold; only
    `required_gb_s` is what lasts, that of the warm ones.
    """

    network: str
    hardware: str
    overrides: tuple[tuple[str, str], ...]
    machine: Mapping[str, Any]
    policy: str
    objective: str
    macs: int
    macs_executed: int
    macs_without_padding: int
    parameters: int
    traffic: DramTraffic
    compulsory_bytes: int
    lower_bound_bytes: int
    capacity_bytes: int
    peak_bytes: int
    buffers_peak_bytes: int | None
    live_peak_bytes: int
    accumulator_capacity_bytes: int
    accumulator_peak_bytes: int
    energy: EnergyBreakdown
    latency_s: float
    required_gb_s: float | None
    frames: FramesResult
    steps: int
    counted: bool
    layers: tuple[LayerResult, ...]
    groups: tuple[GroupResult, ...]
    buffers: tuple[BufferStay, ...]
    thinned: tuple[str, ...]
    warnings: tuple[str, ...]
    part: str = ""
    exact: ExactResult | None = None
    price_range: PriceRange | None = None
    system_cache: SystemCacheResult | None = None
    what_ifs: tuple[WhatIfResult, ...] = ()
    timeline: TimelineResult | None = None
    dram_delivery: DramResult | None = None

    @property
    def gap(self) -> float:
        """Bytes that leave and enter local memory, to DRAM or a cache, over the lower bound."""
        cached = 0 if self.system_cache is None else self.system_cache.traffic.total_bytes
        return (self.traffic.total_bytes + cached) / self.lower_bound_bytes

    @property
    def fragmentation(self) -> float | None:
        """The part of the allocated height that no buffer takes; None where not counted."""
        live_bytes = self.buffers_peak_bytes
        return None if live_bytes is None else fragmentation(live_bytes, self.peak_bytes)

    def to_json(self) -> dict[str, object]:
        """The JSON result as plain data, keys in a fixed order."""
        return {
            "schema": SCHEMA,
            "network": self.network,
            "part": self.part or None,
            "hardware": self.hardware,
            "overrides": dict(self.overrides),
            "policy": self.policy,
            "objective": self.objective,
            "macs": self.macs,
            "macs_executed": self.macs_executed,
            "macs_without_padding": self.macs_without_padding,
            "parameters": self.parameters,
            "dram": self.traffic.to_json(),
            "bounds": {
                "compulsory_bytes": self.compulsory_bytes,
                "lower_bound_bytes": self.lower_bound_bytes,
                "gap": self.gap,
            },
            "local": {
                "capacity_bytes": self.capacity_bytes,
                "peak_bytes": self.peak_bytes,
                "live_peak_bytes": self.live_peak_bytes,
                "buffers_peak_bytes": self.buffers_peak_bytes,
                "fragmentation": self.fragmentation,
            },
            "accumulators": {
                "capacity_bytes": self.accumulator_capacity_bytes,
                "peak_bytes": self.accumulator_peak_bytes,
            },
            "energy_pj": self.energy.to_json(),
            "latency_s": self.latency_s,
            "timeline": None if self.timeline is None else self.timeline.to_json(),
            "dram_delivery": None if self.dram_delivery is None else self.dram_delivery.to_json(),
            "required_gb_s": self.required_gb_s,
            "frames": self.frames.to_json(),
            "groups": len(self.groups),
            "group_list": [group.to_json() for group in self.groups],
            "proof": {"counted": self.counted, "steps": self.steps},
            "exact": None if self.exact is None else self.exact.to_json(),
            "thinned": list(self.thinned),
            "warnings": list(self.warnings),
            "ranges": None if self.price_range is None else self.price_range.to_json(),
            "system_cache": None if self.system_cache is None else self.system_cache.to_json(),
            "what_ifs": [each.to_json() for each in self.what_ifs],
            "machine": dict(self.machine),
            "layers": [layer.to_json() for layer in self.layers],
        }

    def json_text(self) -> str:
        """The JSON result, ending in a newline."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"
