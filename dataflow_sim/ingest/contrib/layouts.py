"""Operators that count channels last, as transposes around the standard one."""

from __future__ import annotations

import onnx

from dataflow_sim.ingest.contrib.fresh import Fresh, NoDefinitionError, integers, stated

CONVOLUTION = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_POOLING = {
    "MaxPool": ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides"),
    "AveragePool": (
        *("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"),
    ),
}


def rank_of(fresh: Fresh, name: str, default: int) -> int:
    """How many axes a map has; of a map that nothing is known of the usual number."""
    rank = fresh.facts.rank(name)
    if rank is None:
        return default
    if rank < 3:
        raise NoDefinitionError("maps have three axes at least")
    return rank


def planes(fresh: Fresh, x: str, rank: int) -> str:
    """From (batch, rows, ..., channels) to (batch, channels, rows, ...)."""
    return fresh.add("Transpose", x, perm=[0, rank - 1, *range(1, rank - 1)])


def restored(fresh: Fresh, y: str, rank: int, to: str = "") -> str:
    """From (batch, channels, rows, ...) to (batch, rows, ..., channels)."""
    return fresh.add("Transpose", y, perm=[0, *range(2, rank), 1], to=to)


def pooled(
    node: onnx.NodeProto, fresh: Fresh, x: str, op: str, channels_last: bool, to: str = ""
) -> str:
    """A pooling with the node's window."""
    window = stated(node, _POOLING[op])
    if not channels_last:
        return fresh.add(op, x, to=to, stated=window)
    rank = len(integers(node, "kernel_shape")) + 2
    return restored(fresh, fresh.add(op, planes(fresh, x, rank), stated=window), rank, to)


def nhwc_max_pool(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Largest element of each window of a channels-last map."""
    pooled(node, fresh, node.input[0], "MaxPool", True, node.output[0])
