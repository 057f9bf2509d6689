"""What a pass is: its name, its contract, and the rewriting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dataflow_sim.ingest.network import ResolvedNetwork

Rewrite = Callable[[ResolvedNetwork], tuple[ResolvedNetwork, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass: `rewrite` returns the new network and the names of the nodes that it changed.

    `before` and `after` are its contract, in one sentence each.
    """

    name: str
    before: str
    after: str
    rewrite: Rewrite
