"""Running reductions: pooling over a whole height, carried from row to row.

Model.  A layer that pools all rows of its body into one output row need not wait for them.  It
takes body rows one by one, finishes each (bias, activation, shortcut), and adds it to, or takes
the maximum with, a running result; the last one makes the output row:

    stripe           0          1          2          3           4 body rows, kernel of 1 row
    input rows live  0          1          2          3           each dies as soon as it is read
    running result   = row 0    + row 1    + row 2    + row 3     output row = result / elements

The running result has output channels x output columns x images elements: of an average, a
partial sum of `accumulator_bits` each; of a maximum, as wide as the output.  It lives from the
layer's first firing to its last, in the accumulator memory where there is one, else in local
memory.  There it counts as what partial sums are: written by every step but the last, read by
every step but the first.

A layer may carry its reduction where its pooling window is exactly the rows of its body, more
than one, none of them made of padding alone, and where that takes less local memory by itself:

    running result (0 in an accumulator memory, which it must fit)
        + the most rows that one body row reads  <  the rows that all of them read

of the input and of the operands, in bytes.

Assumed: columns are pooled within a step.  Ignored: that a row may live on for another reader.

Source: the arithmetic of sums and maxima; partial sums as in `schedule.types`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.rows import LayerRows, column_span, layer_rows, row_bytes
from dataflow_sim.schedule.types import MemoryOptions, bytes_taken


@dataclass(frozen=True, slots=True, eq=False)
class RunningReduction:
    """How a layer carries its reduction.

    `rows` are its needs by body row; the running result has elements of `bits` and takes
    `size_bytes`, of `capacity_bytes` of accumulator memory, None where it is in local memory.
    """

    rows: LayerRows
    bits: int
    size_bytes: int
    capacity_bytes: int | None


def pools_all_rows(layer: Layer) -> bool:
    """Whether a layer's only output row is pooled from exactly the rows of its body, several."""
    if layer.pool is None or layer.output_shape[2] != 1:
        return False
    window, body_rows = layer.pool.window, layer.body_shape[2]
    return body_rows > 1 and window.extent(0) == window.kernel[0] == body_rows and not window.pad[0]


def running_reduction(
    graph: NetworkGraph, layer: Layer, memory: MemoryOptions
) -> RunningReduction | None:
    """How a layer that runs by rows carries its reduction; None where it may not."""
    if not pools_all_rows(layer):
        return None
    rows = layer_rows(replace(layer, pool=None, output_shape=layer.body_shape))
    if not (rows.views[0].low < rows.views[0].high).all():
        return None
    one = many = 0
    for view, needs in zip(layer.views, rows.views, strict=True):
        columns = column_span(layer, view).length
        row = sum(row_bytes(graph, memory, s.tensor, s.channels, columns) for s in view.segments)
        one += row * int((needs.high - needs.low).max())
        many += row * int(needs.high.max() - needs.low.min())
    assert layer.pool is not None
    n, c, _, w = layer.output_shape
    maximum = layer.pool.op == "max"
    bits = graph.tensors[layer.output].local_bits if maximum else memory.accumulator_bits
    there = memory.accumulator_capacity_bytes
    if there is None:
        size = memory.bytes_taken(n * c * w * bits)
        return RunningReduction(rows, bits, size, None) if size + one < many else None
    size = bytes_taken(n * c * w * bits, 1, memory.byte_bits)
    return RunningReduction(rows, bits, size, there) if one < many and size <= there else None
