"""Passes over resolved nodes: each rewrites what exporters write into what the nodes mean.

A pass states what must hold before it and what holds after it, and says which nodes it
changed; it never looks at hardware.  They run in the order of `PASSES`.
"""

from __future__ import annotations

from collections.abc import Iterable

from dataflow_sim.graph.network import PassReport
from dataflow_sim.ingest.network import ResolvedNetwork
from dataflow_sim.ingest.passes.activations import ACTIVATIONS
from dataflow_sim.ingest.passes.attention import ATTENTION
from dataflow_sim.ingest.passes.contract import Pass, Rewrite
from dataflow_sim.ingest.passes.layer_norm import LAYER_NORM
from dataflow_sim.ingest.passes.linear import LINEAR
from dataflow_sim.ingest.passes.nan_guard import NAN_GUARD
from dataflow_sim.ingest.passes.padding import PADDING
from dataflow_sim.ingest.passes.quantisation import DYNAMIC, QDQ, QLINEAR
from dataflow_sim.ingest.passes.redundant import REDUNDANT
from dataflow_sim.ingest.passes.rotary import ROTARY
from dataflow_sim.ingest.passes.squeeze_excite import SQUEEZE_EXCITE

__all__ = ["PASSES", "Pass", "Rewrite", "run_passes"]

PASSES: tuple[Pass, ...] = (
    QLINEAR,
    QDQ,
    DYNAMIC,
    REDUNDANT,
    PADDING,
    LAYER_NORM,
    ACTIVATIONS,
    SQUEEZE_EXCITE,
    LINEAR,
    NAN_GUARD,
    ROTARY,
    ATTENTION,
)


def run_passes(
    network: ResolvedNetwork, more: Iterable[Pass] = ()
) -> tuple[ResolvedNetwork, tuple[PassReport, ...]]:
    """Run all passes in order, then some more; the reports say what each one did."""
    reports = []
    for each in (*PASSES, *more):
        network, changed = each.rewrite(network)
        reports.append(PassReport(each.name, each.after, changed))
    return network, tuple(reports)
