"""Budget curves as plain data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from dataflow_sim.results_of_costs import DramTraffic
from dataflow_sim.results_of_what_ifs import WhatIfResult

CURVE_SCHEMA = "dataflow_sim.curve/1"


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A breakpoint of a budget curve: from this local memory on, these DRAM bytes move.

    `local_bytes` is an allocated height.
    """

    local_bytes: int
    traffic: DramTraffic

    def to_json(self) -> dict[str, int]:
        """One entry of `points`."""
        return {"local_bytes": self.local_bytes, **self.traffic.by_what_moves()}


@dataclass(frozen=True, slots=True)
class CurveResult:
    """The budget curve of one network, or a `part` of it, on one machine under one policy.

    `points` ascend in local bytes and strictly descend in DRAM bytes; below the first of
    them nothing runs.  `weight_bits` and `activation_bits` are the widths in use, ascending;
    `thinned` tells in a sentence each what the search left out of its space.
    """

    network: str
    hardware: str
    overrides: tuple[tuple[str, str], ...]
    policy: str
    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    compulsory_bytes: int
    capacity_bytes: int
    points: tuple[CurvePoint, ...]
    thinned: tuple[str, ...]
    warnings: tuple[str, ...]
    part: str = ""
    what_ifs: tuple[WhatIfResult, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The JSON result as plain data, keys in a fixed order."""
        return {
            "schema": CURVE_SCHEMA,
            "network": self.network,
            "part": self.part or None,
            "hardware": self.hardware,
            "overrides": dict(self.overrides),
            "what_ifs": [each.to_json() for each in self.what_ifs],
            "policy": self.policy,
            "weight_bits": list(self.weight_bits),
            "activation_bits": list(self.activation_bits),
            "compulsory_bytes": self.compulsory_bytes,
            "thinned": list(self.thinned),
            "warnings": list(self.warnings),
            "points": [point.to_json() for point in self.points],
        }


def curves_text(results: Sequence[CurveResult]) -> str:
    """Curves as JSON: an object for one, a list of objects for several."""
    data = [result.to_json() for result in results]
    return json.dumps(data[0] if len(data) == 1 else data, indent=2, ensure_ascii=False) + "\n"
