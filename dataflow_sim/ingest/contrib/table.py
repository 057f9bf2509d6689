"""One row per operator that stands outside the standard set: what it means in standard ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dataflow_sim.ingest.contrib.activations import ACTIVATIONS
from dataflow_sim.ingest.contrib.attention import attention, multi_head_attention
from dataflow_sim.ingest.contrib.grouped_attention import group_query_attention
from dataflow_sim.ingest.contrib.layouts import nhwc_max_pool
from dataflow_sim.ingest.contrib.normalisations import NORMALISATIONS
from dataflow_sim.ingest.contrib.products import PRODUCTS
from dataflow_sim.ingest.contrib.quantised import QUANTISED, Rewrite
from dataflow_sim.ingest.contrib.rotary import rotary_embedding

MICROSOFT = "com.microsoft"


@dataclass(frozen=True, slots=True)
class Definition:
    """A row: `rewrite` puts standard nodes in a node's place, the last one for its result.

    It raises NoDefinitionError for variants of the operator that it does not define.
    """

    domain: str
    op: str
    rewrite: Rewrite


_ATTENTION: Mapping[str, Rewrite] = {
    "Attention": attention,
    "MultiHeadAttention": multi_head_attention,
    "GroupQueryAttention": group_query_attention,
    "RotaryEmbedding": rotary_embedding,
    "NhwcMaxPool": nhwc_max_pool,
}

_MICROSOFT: Mapping[str, Rewrite] = {
    **QUANTISED,
    **PRODUCTS,
    **ACTIVATIONS,
    **{op: NORMALISATIONS[op] for op in NORMALISATIONS if op != "LayerNormalization"},
    **_ATTENTION,
}

# What exporters put into the standard domain although it never had it, or before it had it
_UNOFFICIAL = (
    *("Attention", "BiasGelu", "EmbedLayerNormalization", "FastGelu", "FusedConv", "FusedGemm"),
    *("FusedMatMul", "Gelu", "LayerNormalization", "QuickGelu", "SimplifiedLayerNormalization"),
    *("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "TransposeMatMul"),
)

DEFINITIONS: Mapping[tuple[str, str], Definition] = {
    (row.domain, row.op): row
    for row in (
        *(Definition(MICROSOFT, op, rewrite) for op, rewrite in _MICROSOFT.items()),
        *(Definition("", op, {**_MICROSOFT, **NORMALISATIONS}[op]) for op in _UNOFFICIAL),
    )
}
