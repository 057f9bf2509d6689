"""Passes over resolved nodes: each rewrites what exporters write into what the nodes mean.

A pass states what must hold before it and what holds after it, and says which nodes it
changed; it never looks at hardware.  They run in the order of `PASSES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dataflow_sim.graph.network import PassReport
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


PASSES: tuple[Pass, ...] = ()


def run_passes(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[PassReport, ...]]:
    """Run all passes in order; the reports say what each one did."""
    reports = []
    for each in PASSES:
        network, changed = each.rewrite(network)
        reports.append(PassReport(each.name, each.after, changed))
    return network, tuple(reports)
