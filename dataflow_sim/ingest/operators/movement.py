"""Operators that move or sample data, and whatever else is streamed: no arithmetic counted."""

from __future__ import annotations

from dataflow_sim.ingest.operators.row import Operator, streamed

_MOVE_FIRST = (
    *("Pad", "Tile", "DepthToSpace", "SpaceToDepth", "CenterCropPad"),
    *("Trilu", "ReverseSequence", "OneHot", "EyeLike", "Col2Im"),
)
_MOVE_ALL = (
    *("GatherElements", "GatherND", "ScatterElements", "ScatterND", "Scatter", "GridSample"),
    *("AffineGrid", "TensorScatter", "RotaryEmbedding"),
)
_QUANTISE = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")

ROWS: tuple[Operator, ...] = (
    *(streamed(name, "data movement", data=1) for name in _MOVE_FIRST),
    *(streamed(name, "data movement") for name in _MOVE_ALL),
    *(streamed(name, "change of width", data=1) for name in _QUANTISE),
    *(streamed(name, "transform", data=1) for name in ("DFT", "STFT", "Det")),
)
