"""Rows that an output row needs, and waits for: the geometry of the row-by-row oracle.

Needs.  Output row r is pooled from the body rows [r*t - q, r*t - q + reach), clipped to the body
(row r itself without a pool).  The input rows of body rows b0 ... b1 reach from b0*s - p to
b1*s - p + (k-1)*d, clipped to the map; with k = 1 they are only the rows b*s - p.  Where the input
is spread by u, row i lies at place i*u, and the last row reached is the last at or before the last
place.  Where the layer pools its input, these are rows of the pooled map, and from the first of
them, i0, to the last, i1, the input rows i0*t - q to i1*t - q + reach - 1 are needed, clipped to
the map.  An operand of the body's shape is needed in the body rows, a per-channel one in its row 0.

A sweep walks loops; each axis of a map is cut by at most one of them, into equal runs, one an
index.  A row fixes the index of the loop that cuts the rows, and of no other.  An output row needs
the rows of a view that do not contradict it: those of its own index where one loop cuts the rows of
both, else all.  A sweep that reads its columns twice (statistics, then results) has all of
them in the statistics: where the columns' loop cuts the rows of both, its first row needs all rows,
and each other row those of its own index.  All columns are needed.

The last row that it waits for is counted without clipping at the bottom.
"""

from __future__ import annotations

from dataflow_sim.graph.layer import Layer, PlaneWindow, Window
from dataflow_sim.graph.sweep import Cut, Sweep, SweepKind

ROW, COLUMN = 0, 1


def body_positions(layer: Layer, axis: int, index: int) -> list[int]:
    """Body positions that an output position is made from, those outside the body too."""
    if layer.pool is None:
        return [index]
    window = layer.pool.window
    first = index * window.stride[axis] - window.pad[axis]
    return list(range(first, first + (window.kernel[axis] - 1) * window.dilation[axis] + 1))


def inside(positions: list[int], size: int) -> list[int]:
    """The positions that a map has."""
    return [position for position in positions if 0 <= position < size]


def lines_of_plane(plane: PlaneWindow, bodies: list[int]) -> set[int]:
    """Columns of a volume's planes that body columns need: whole lines, first to last."""
    height, width = plane.input_size
    reach = (plane.window.kernel[0] - 1) * plane.window.dilation[0]
    lines = [body // plane.body_size[1] for body in bodies]
    first = min(lines) * plane.window.stride[0] - plane.window.pad[0]
    last = max(lines) * plane.window.stride[0] - plane.window.pad[0] + reach
    found = inside(list(range(first, last + 1)), height)
    return {line * width + column for line in found for column in range(width)}


def indices(sweep: Sweep, loop: str, part: int | None) -> int:
    """How many indices a loop has, of columns perhaps those of a part."""
    if loop == "N":
        return sum(sweep.parts) if part is None else sweep.parts[part]
    return {"B": sweep.batch, "G": sweep.groups, "P": sweep.rows}[loop]


def common_run(layer: Layer, sweep: Sweep, place: int) -> tuple[Cut, int, int] | None:
    """The loop that cuts the rows of a view and of the output, and the rows of an index of each."""
    for cut in sweep.views[place]:
        if cut.axis == 2 + ROW and cut in sweep.outputs[0]:
            count = indices(sweep, cut.loop, cut.part)
            return cut, layer.views[place].shape[2] // count, layer.output_shape[2] // count
    return None


def has_statistics(sweep: Sweep, common: tuple[Cut, int, int] | None) -> bool:
    """Whether rows that are alike cut are columns, gathered before any of them is finished."""
    return common is not None and sweep.kind is SweepKind.TWICE and common[0].loop == "N"


def swept_needs(layer: Layer, sweep: Sweep, place: int, row: int) -> set[int]:
    """Rows of a view that an output row of a sweep needs."""
    everything = set(range(layer.views[place].shape[2]))
    common = common_run(layer, sweep, place)
    if common is None or (row == 0 and has_statistics(sweep, common)):
        return everything
    _, read, made = common
    return {q for q in everything if q // read == row // made}


def swept_last(layer: Layer, sweep: Sweep, place: int, row: int) -> int:
    """Last row of a view that an output row of a sweep waits for."""
    common = common_run(layer, sweep, place)
    if common is not None and not has_statistics(sweep, common):
        return max(swept_needs(layer, sweep, place, row))
    return layer.views[place].shape[2] - 1 + first_of_index(layer, sweep, row)


def first_of_index(layer: Layer, sweep: Sweep, row: int) -> int:
    """The first output row of the index that a row belongs to."""
    for cut in sweep.outputs[0]:
        if cut.axis == 2 + ROW:
            made = layer.output_shape[2] // indices(sweep, cut.loop, cut.part)
            return row // made * made
    return row


def swept_pace(layer: Layer, sweep: Sweep, row: int) -> int:
    """The input row with which an output row of a sweep comes that nothing in its group delays."""
    common = common_run(layer, sweep, 0)
    if common is None:
        return first_of_index(layer, sweep, row)
    _, read, made = common
    if has_statistics(sweep, common):
        return row // made * read
    return max(swept_needs(layer, sweep, 0, row))


def needs(layer: Layer, place: int, axis: int, index: int) -> set[int]:
    """Positions of a view that an output position needs along an axis; view 0 is the input."""
    view, is_input = layer.views[place], place == 0
    if layer.sweep is not None:
        if axis == COLUMN:
            return set(range(view.shape[3]))
        return swept_needs(layer, layer.sweep, place, index)
    if not is_input and view.shape != layer.body_shape:
        return {0}
    bodies = inside(body_positions(layer, axis, index), layer.body_shape[2 + axis])
    if not is_input or not bodies:
        return set(bodies)
    plane = layer.window.plane
    if plane is not None and axis == COLUMN:
        return lines_of_plane(plane, bodies)
    kernel, stride, pad = (
        part[axis] for part in (layer.window.kernel, layer.window.stride, layer.window.pad)
    )
    if kernel == 1:
        reached = [body * stride - pad for body in bodies]
    else:
        last = bodies[-1] * stride - pad + (kernel - 1) * layer.window.dilation[axis]
        reached = list(range(bodies[0] * stride - pad, last + 1))
    up = layer.window.up[axis]
    reached = [place // up for place in reached if place % up == 0]
    found = inside(reached, layer.source_shape[2 + axis])
    if layer.input_pool is not None and found:
        ends = window_places(layer.input_pool.window, axis, min(found), max(found))
        found = inside(ends, view.shape[2 + axis])
    return set(found)


def window_places(window: Window, axis: int, first: int, last: int) -> list[int]:
    """From the first to the last position under a window at its places `first` to `last`."""
    low = first * window.stride[axis] - window.pad[axis]
    high = last * window.stride[axis] - window.pad[axis]
    return list(range(low, high + (window.kernel[axis] - 1) * window.dilation[axis] + 1))


def last_row(layer: Layer, place: int, row: int) -> int:
    """Last row of a view that an output row needs, not clipped at the bottom."""
    if layer.sweep is not None:
        return swept_last(layer, layer.sweep, place, row)
    if place > 0 and layer.views[place].shape != layer.body_shape:
        return 0
    last = body_positions(layer, ROW, row)[-1]
    if place == 0:
        window = layer.window
        last = last * window.stride[ROW] - window.pad[ROW]
        last += (window.kernel[ROW] - 1) * window.dilation[ROW]
        last //= window.up[ROW]
        if layer.input_pool is not None:
            last = window_places(layer.input_pool.window, ROW, last, last)[-1]
    return max(last, 0)


def pace(layer: Layer, row: int) -> int:
    """The input row with which an output row comes in a layer that reads no map made inside."""
    if layer.sweep is not None:
        return swept_pace(layer, layer.sweep, row)
    return last_row(layer, 0, row)
