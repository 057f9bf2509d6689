"""What the exact search proved of a run's schedule, as plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExactResult:
    """The exact search beside the fast one, in DRAM bytes.

    `status` is `optimal`, where nothing in the space moves fewer bits than the schedule taken;
    `unplaced`, where something does by the sum of what is held at once, but its addresses
    reach above the local memory; or `stopped`, where the solver came to the limit of its work.
    `dram_bytes` are those of the schedule taken, `fast_bytes` those of the fast search,
    `found_bytes` the fewest that the solver saw; no schedule of the space moves fewer than
    `bound_bytes`.  `arcs`, `variables` and `rows` are the size of the integer program, 0
    where the compulsory traffic was proof enough; `left_out` tells in a sentence each what the
    program did not hold.
    """

    status: str
    bound_bytes: int
    dram_bytes: int
    fast_bytes: int
    found_bytes: int
    arcs: int
    variables: int
    rows: int
    left_out: tuple[str, ...]

    @property
    def gap(self) -> float:
        """DRAM bytes over the bound."""
        return self.dram_bytes / self.bound_bytes

    @property
    def text(self) -> str:
        """What was proved, in a line."""
        above = f"{self.gap - 1:.3%} above the bound"
        space = "what was searched" if self.left_out else "the space"
        what = {
            "optimal": f"proved the best of {space}",
            "unplaced": f"{above}; the best sum has no addresses",
            "stopped": f"{above}; stopped before a proof",
        }[self.status]
        if self.dram_bytes < self.fast_bytes:
            saved = (self.fast_bytes - self.dram_bytes) / self.fast_bytes
            what += f"; {saved:.3%} less than the fast search"
        return what

    def to_json(self) -> dict[str, object]:
        """The `exact` object of the JSON result."""
        return {
            "status": self.status,
            "bound_bytes": self.bound_bytes,
            "gap": self.gap,
            "dram_bytes": self.dram_bytes,
            "fast_bytes": self.fast_bytes,
            "found_bytes": self.found_bytes,
            "arcs": self.arcs,
            "variables": self.variables,
            "rows": self.rows,
            "left_out": list(self.left_out),
        }
