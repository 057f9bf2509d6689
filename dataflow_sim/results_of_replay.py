"""What a replay found, as plain data: what `replay` prints."""

from __future__ import annotations

import json
from dataclasses import dataclass

from dataflow_sim.results_of_what_ifs import WhatIfResult

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution of a program, and how its results compare.

    `numbers` are "integers" of the reported widths or "float32"; `against` says what the results
    were held to.  Of `instructions` so many were `executed`: all, unless a limit of time came
    first.  `moved_bits` crossed the DRAM interface, `ledger_bits` by the count of the ledger.
    Of `elements` compared, `different` lie beyond the tolerance; `largest_difference` is
    relative to the largest value of each map.  `fault` is the first thing that went wrong, "" if
    nothing did; `left_out` says why there was no execution at all.  `whole_layers` were not
    computed tile by tile.
    """

    numbers: str
    weight_bits: tuple[int, ...] = ()
    activation_bits: tuple[int, ...] = ()
    capacity_bytes: int = 0
    peak_bytes: int = 0
    against: str = ""
    instructions: int = 0
    executed: int = 0
    moved_bits: int = 0
    ledger_bits: int = 0
    elements: int = 0
    different: int = 0
    largest_difference: float = 0.0
    tolerance: float = 0.0
    fault: str = ""
    left_out: str = ""
    whole_layers: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all of the program was executed."""
        return not self.left_out and self.executed == self.instructions

    @property
    def passed(self) -> bool:
        """Whether nothing went wrong, as far as it went."""
        return not self.fault

    def to_json(self) -> dict[str, object]:
        """One entry of `replays`."""
        return {
            "numbers": self.numbers,
            "weight_bits": list(self.weight_bits),
            "activation_bits": list(self.activation_bits),
            "capacity_bytes": self.capacity_bytes,
            "peak_bytes": self.peak_bytes,
            "against": self.against,
            "instructions": self.instructions,
            "executed": self.executed,
            "complete": self.complete,
            "dram_bits": self.moved_bits,
            "ledger_bits": self.ledger_bits,
            "elements": self.elements,
            "different": self.different,
            "largest_difference": self.largest_difference,
            "tolerance": self.tolerance,
            "passed": self.passed,
            "fault": self.fault or None,
            "left_out": self.left_out or None,
            "whole_layers": list(self.whole_layers),
        }


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What replays of a network on a machine found."""

    network: str
    part: str
    hardware: str
    overrides: tuple[tuple[str, str], ...]
    what_ifs: tuple[WhatIfResult, ...]
    policy: str
    objective: str
    seed: int
    weights: str
    executions: tuple[Execution, ...]
    warnings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing went wrong in any of them."""
        return all(each.passed for each in self.executions)

    def to_json(self) -> dict[str, object]:
        """The JSON result as plain data, keys in a fixed order."""
        return {
            "schema": SCHEMA,
            "network": self.network,
            "part": self.part or None,
            "hardware": self.hardware,
            "overrides": dict(self.overrides),
            "what_ifs": [each.to_json() for each in self.what_ifs],
            "policy": self.policy,
            "objective": self.objective,
            "seed": self.seed,
            "weights": self.weights,
            "passed": self.passed,
            "replays": [each.to_json() for each in self.executions],
            "warnings": list(self.warnings),
        }

    def json_text(self) -> str:
        """The JSON result, ending in a newline."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"
