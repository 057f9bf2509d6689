"""What a placement of buffers found, as plain frozen data; and how fragmentation is reckoned.

A buffer lives in [lower, upper), in whatever unit of time its file counts.  While n of them are
placed in a memory there are three heights:

    live peak       max over time of the sum of the sizes of those that live: no addresses do better
    least           what is proved of the problem: no placement is lower, live peak or more
    allocated peak  the highest address in use, of the placement that was found

    fragmentation = 1 - live peak / allocated peak
"""

from __future__ import annotations

import json
from dataclasses import dataclass

SCHEMA = "dataflow_sim.placement/1"


def fragmentation(live_bytes: int, allocated_bytes: int) -> float:
    """The part of the allocated height that the largest live set does not take; 0 of nothing."""
    return 1 - live_bytes / allocated_bytes if allocated_bytes else 0.0


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer to place: its name, the moments [lower, upper) in which it lives, its size."""

    name: str
    lower: int
    upper: int
    size_bytes: int

    def __post_init__(self) -> None:
        """Refuse a buffer that never lives."""
        if self.upper <= self.lower or self.size_bytes < 0:
            raise ValueError(f"'{self.name}' lives [{self.lower}, {self.upper}) in no memory")


@dataclass(frozen=True, slots=True)
class PlacementResult:
    """Buffers, and an address in bytes for each of them, in the order of the file.

    `source` names the file, `capacity_bytes` is None where the least height was asked for,
    `live_peak_bytes` is the largest live set and `least_bytes` what no placement is proved to be
    below.  Raises ValueError where the three heights are out of order.
    """

    source: str
    capacity_bytes: int | None
    alignment_bytes: int
    lifetimes: tuple[Lifetime, ...]
    offsets: tuple[int, ...]
    live_peak_bytes: int
    least_bytes: int
    peak_bytes: int

    def __post_init__(self) -> None:
        """Refuse heights that contradict each other, and buffers without an address."""
        if not self.live_peak_bytes <= self.least_bytes <= self.peak_bytes:
            raise ValueError("live peak, least and allocated peak are out of order")
        ends = [
            offset + life.size_bytes
            for life, offset in zip(self.lifetimes, self.offsets, strict=True)
        ]
        if self.peak_bytes != max(ends, default=0):
            raise ValueError(f"the highest address in use is not {self.peak_bytes}")

    @property
    def fragmentation(self) -> float:
        """The part of the allocated height that the largest live set does not take."""
        return fragmentation(self.live_peak_bytes, self.peak_bytes)

    @property
    def proved_least(self) -> bool:
        """Whether no placement is lower than this one."""
        return self.peak_bytes == self.least_bytes

    def to_json(self) -> dict[str, object]:
        """The JSON result as plain data, keys in a fixed order."""
        return {
            "schema": SCHEMA,
            "lifetimes": self.source,
            "capacity_bytes": self.capacity_bytes,
            "alignment_bytes": self.alignment_bytes,
            "buffers": len(self.lifetimes),
            "live_peak_bytes": self.live_peak_bytes,
            "least_bytes": self.least_bytes,
            "peak_bytes": self.peak_bytes,
            "fragmentation": self.fragmentation,
            "proved_least": self.proved_least,
            "placements": [
                {
                    "id": life.name,
                    "lower": life.lower,
                    "upper": life.upper,
                    "size_bytes": life.size_bytes,
                    "offset_bytes": offset,
                }
                for life, offset in zip(self.lifetimes, self.offsets, strict=True)
            ],
        }

    def json_text(self) -> str:
        """The JSON result, ending in a newline."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"
