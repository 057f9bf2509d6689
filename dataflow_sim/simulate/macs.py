"""The MACs of a step: one for each body element, input channel and kernel tap.

Of a transposed convolution one for each input element and tap whose product falls to the body
elements; what would fall beyond the map's border falls to the border.  A step that pools what it
makes executes the body that its windows cover.

Assumed: multiplications by padding count (the literature's convention).  Ignored: zeros that
hardware skips.  Source: the definition of the layer, from the regions of the step alone.
"""

from __future__ import annotations

from functools import lru_cache

from dataflow_sim.graph.layer import Layer, Window
from dataflow_sim.graph.region import Span
from dataflow_sim.program.instructions import Compute


def body_of(layer: Layer, step: Compute) -> tuple[int, Span, Span]:
    """Images, rows and columns of the layer's body that a step computes."""
    box = step.sums.box if step.sums is not None else step.made
    pooled = layer.pool if step.sums is None or step.body_rows is not None else None
    spans = []
    for axis, span in enumerate((box.row, box.column)):
        low, high = span.start, span.stop
        if axis == 0 and step.body_rows is not None:
            low, high = step.body_rows.start, step.body_rows.stop
        elif pooled is not None:
            window = pooled.window
            low = max(0, span.start * window.stride[axis] - window.pad[axis])
            last = (span.stop - 1) * window.stride[axis] - window.pad[axis]
            high = min(last + window.extent(axis), layer.body_shape[2 + axis])
        spans.append(Span(low, high))
    return box.batch.length, spans[0], spans[1]


def macs_of(layer: Layer, step: Compute) -> int:
    """MACs that a step of the layer executes, padding included; 0 where it has no kernel."""
    if not step.kernel:
        return 0
    images, *spans = body_of(layer, step)
    boxes = [part.box for part in step.kernel]
    macs = images * sum(b.batch.length * b.channel.length for b in boxes)
    for axis, (low, high, _) in enumerate(spans):
        sizes = (layer.source_shape[2 + axis], layer.body_shape[2 + axis])
        macs *= _multiplications(layer.window, axis, sizes, low, high)
    return macs


@lru_cache(maxsize=65536)
def _multiplications(window: Window, axis: int, sizes: tuple[int, int], low: int, high: int) -> int:
    """Multiplications along an axis for body elements [low, high); `sizes` of input and body."""
    if not window.transposed:
        return (high - low) * window.kernel[axis]
    size, body = sizes
    found = 0
    for tap in range(window.kernel[axis]):
        # the elements whose product with this tap falls to [low, high), borders taken in
        shift = window.pad[axis] - tap * window.dilation[axis]
        first = 0 if low == 0 else -((shift - low) // window.up[axis])
        last = size if high == body else -((shift - high) // window.up[axis])
        found += max(0, min(size, last) - max(0, first))
    return found
