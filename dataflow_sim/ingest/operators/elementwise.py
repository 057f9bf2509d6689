"""Elementwise operators: they fold into a neighbour (`ingest.layers.folding`), or are a layer."""

from __future__ import annotations

from dataflow_sim.ingest.layers.pointwise import POINTWISE_OPS
from dataflow_sim.ingest.operators.row import Merges, Operator, streaming

ROWS = tuple(
    Operator(name, "elementwise", streaming(), merges=Merges.BY_ROWS, in_place=True)
    for name in sorted(POINTWISE_OPS)
)
