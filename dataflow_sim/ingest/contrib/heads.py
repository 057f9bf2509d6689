"""What the attention operators share: heads, masks, and attention over the last two axes.

    (batch, length, heads × depth) ─► (batch, heads, length, depth)
    q, k, v ─► softmax(q kᵀ · scale + masks) v

Lengths are read from the values themselves, so that they fold away once shapes are known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from dataflow_sim.ingest.contrib.fresh import Fresh, NoDefinitionError, number


@dataclass(frozen=True, slots=True)
class Softness:
    """How scores become weights: a bound tanh pulls them under, and a score that takes weight
    but has no value, one per head (0 where `sink` is empty)."""

    cap: float = 0.0
    smooth: bool = False
    sink: str = ""


def split_heads(fresh: Fresh, x: str, heads: int) -> str:
    """From (batch, length, heads × depth) to (batch, heads, length, depth)."""
    if heads < 1:
        raise NoDefinitionError("heads start at 1")
    return fresh.add("Transpose", fresh.reshaped(x, 0, 0, heads, -1), perm=[0, 2, 1, 3])


def merge_heads(fresh: Fresh, x: str, to: str) -> None:
    """From (batch, heads, length, depth) to (batch, length, heads × depth)."""
    fresh.reshaped(fresh.add("Transpose", x, perm=[0, 2, 1, 3]), 0, 0, -1, to=to)


def cached(fresh: Fresh, past: str, x: str, to: str) -> str:
    """Keys or values behind those of the past; also under the name `to` if that is asked for."""
    if past:
        return fresh.add("Concat", past, x, axis=2, to=to)
    return fresh.add("Identity", x, to=to) if to else x


def scale_of(node: onnx.NodeProto, fresh: Fresh, query: str) -> str:
    """The scale that the node states, or one over the root of a head's depth."""
    kind = fresh.facts.element_type(query)
    stated = number(node, "scale", 0.0)
    if stated:
        return fresh.constant("scale", stated, kind)
    depth = fresh.cast(fresh.extent(query, -1), kind)
    return fresh.add("Reciprocal", fresh.add("Sqrt", depth))


def _lowest(kind: int) -> float:
    """The most negative number of a float type."""
    if kind == TensorProto.FLOAT16:
        return float(np.finfo(np.float16).min)
    return float(np.finfo(np.float32).min) if kind != TensorProto.BFLOAT16 else -3.0e38


def excluded(fresh: Fresh, keep: str, like: str, value: float | None = None) -> str:
    """A mask to add to scores: 0 where `keep` holds, elsewhere `value` (the lowest number)."""
    kind = fresh.facts.element_type(like)
    low = _lowest(kind) if value is None else value
    return fresh.add(
        "Where", keep, fresh.constant("kept", 0, kind), fresh.constant("dropped", low, kind)
    )


def causal_mask(fresh: Fresh, query: str, key: str, causal: bool, window: int) -> str:
    """A mask of (length, total) to add to scores, or "" where nothing is excluded.

    The queries are the last positions.  Causal ones see no later position; with a window, only
    the last `window` positions up to their own.
    """
    if not causal:
        return ""
    length, total = fresh.extent(query, 2), fresh.extent(key, 2)
    step, zero = fresh.constant("step", 1), fresh.constant("zero", 0)
    rows = fresh.add("Range", fresh.add("Sub", total, length), total, step)
    rows = fresh.unsqueezed(rows, 1)
    columns = fresh.add("Range", zero, total, step)
    keep = fresh.add("LessOrEqual", columns, rows)
    if window > 0:
        first = fresh.add("Sub", rows, fresh.constant("window", window))
        keep = fresh.add("And", keep, fresh.add("Greater", columns, first))
    return excluded(fresh, keep, query)


def padding_mask(fresh: Fresh, mask: str, query: str, key: str, filter_value: float) -> str:
    """A mask to add to scores, of one that the operators take.

    One axis: ends of the keys' valid positions, and behind them their starts if there are two
    for each batch entry.  Two axes: (batch, total).  Three: (batch, length, total).  Elements
    above 0 are kept.
    """
    rank = fresh.facts.rank(mask)
    if rank in (2, 3):
        keep = fresh.add("Greater", mask, fresh.scalar("zero", 0, mask))
        added = excluded(fresh, keep, query, filter_value)
        return fresh.unsqueezed(added, 1) if rank == 3 else fresh.unsqueezed(added, 1, 2)
    if rank != 1:
        raise NoDefinitionError("masks of one, two or three axes")
    bounds, batch = fresh.facts.extent(mask, 0), fresh.facts.extent(query, 0)
    two = bounds is not None and batch is not None and bounds == 2 * batch
    if not two and None not in (bounds, batch) and bounds != batch:
        raise NoDefinitionError("packed sequences")
    total = fresh.extent(key, 2)
    positions = fresh.add("Range", fresh.constant("zero", 0), total, fresh.constant("step", 1))
    parts = fresh.split(mask, 0, 2) if two else (mask,)
    ends, *starts = (fresh.unsqueezed(fresh.cast(p, TensorProto.INT64), 1) for p in parts)
    keep = fresh.add("Less", positions, ends)
    for start in starts:
        keep = fresh.add("And", keep, fresh.add("GreaterOrEqual", positions, start))
    return fresh.unsqueezed(excluded(fresh, keep, query, filter_value), 1, 2)


def attend(
    fresh: Fresh,
    operands: tuple[str, str, str],
    scale: str,
    masks: tuple[str, ...],
    softness: Softness = Softness(),
    weights_to: str = "",
) -> str:
    """Attention of queries to keys and values of (batch, heads, length, depth).

    Names in `masks` that are not empty are added to the scores, in their order.
    """
    query, key, value = operands
    scores = fresh.add("MatMul", query, fresh.add("Transpose", key, perm=[0, 1, 3, 2]))
    scores = fresh.add("Mul", scores, scale)
    if softness.cap > 0.0:
        cap = fresh.scalar("cap", softness.cap, scores)
        scores = fresh.add("Mul", fresh.add("Tanh", fresh.add("Div", scores, cap)), cap)
    for mask in masks:
        scores = fresh.add("Add", scores, mask) if mask else scores
    if softness.smooth or softness.sink:
        weights = _with_sink(fresh, scores, softness.sink)
    else:
        weights = fresh.add("Softmax", scores, axis=-1, to=weights_to)
    return fresh.add("MatMul", weights, value)


def _with_sink(fresh: Fresh, scores: str, sink: str) -> str:
    """Softmax over the scores and one more per head, whose weight goes to nobody."""
    total = fresh.extents(scores, -1)
    column = fresh.sliced(scores, 3, 0, 1)
    if sink:
        extra = fresh.reshaped(sink, 1, -1, 1, 1)
    else:
        extra = fresh.constant("sink", np.zeros((1, 1, 1, 1)), fresh.facts.element_type(scores))
    extra = fresh.add("Expand", extra, fresh.add("Shape", column))
    weights = fresh.add("Softmax", fresh.add("Concat", scores, extra, axis=3), axis=-1)
    start, axis = fresh.constant("start", [0]), fresh.constant("axis", [3])
    return fresh.add("Slice", weights, start, total, axis)
