"""The registry: one row per operator, how an ONNX node becomes a layer or folds into one.

What no row covers is charged as elementwise reads and writes and named in one warning
(`GraphBuilder.stream`).  Elementwise nodes are gathered before (`ingest.layers.pointwise`) and
placed by `ingest.layers.folding`; their rows here say what they are, and stream what that cannot
place.  Adding an operator is adding a row, and a test.
"""

from __future__ import annotations

from collections.abc import Mapping

from dataflow_sim.ingest.operators import (
    attention,
    convolutions,
    elementwise,
    embeddings,
    enlarging,
    movement,
    normalisations,
    pooling,
    products,
    recurrent,
    views,
)
from dataflow_sim.ingest.operators.row import Merges, Operator

__all__ = ["OPERATORS", "Merges", "Operator"]

OPERATORS: Mapping[str, Operator] = {
    row.name: row
    for module in (
        *(convolutions, enlarging, products, attention, recurrent),
        *(pooling, normalisations),
        *(elementwise, views, embeddings, movement),
    )
    for row in module.ROWS
}
