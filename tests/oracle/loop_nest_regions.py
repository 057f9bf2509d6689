"""Regions of a step of the loop-nest oracle, and the taps of a body element, axis by axis.

Per axis.  For output rows [a, b) the body rows are
[a*t - r, (b-1)*t - r + q) clipped to the body (the same rows without a pool).  For body rows
[x, y) the input rows are [x*s - p, (y-1)*s - p + (k-1)*d + 1) clipped to the input; but with k = 1
and s > 1 they are only the lattice x*s - p, (x+1)*s - p, ... inside the input.  Padding is never
loaded; an empty region has no elements and so loads nothing.  Where the input is spread by u (then
s = 1) these are places of the spread input, and input row i lies at place i*u; no other place is an
element.

Of a volume the rows are its depth and the columns its planes, line behind line.  For body columns
[x, y) of lines [u, v) of the plane the input columns are all elements of the input lines that the
formula above gives for body lines [u, v) along the height; k = 1 and s > 1 make no difference.

Multiplications.  A step multiplies each body element of its tile with all kh*kw taps, padding
included, for each of its k.  In a transposed convolution each input element meets each tap once:
input row i by tap t goes to body row i*u + p - t*d, to the border where that is outside the body.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from tests.oracle.loop_nest_spec import LayerSpec, PlaneSpec


def body_axis(spec: LayerSpec, axis: int, outputs: tuple[int, ...]) -> tuple[int, ...]:
    """Body rows (axis 0) or columns (axis 1) that a run of output rows or columns needs."""
    if spec.pool is None:
        return outputs
    q, t, r = spec.pool.kernel[axis], spec.pool.stride[axis], spec.pool.pad_begin[axis]
    low = outputs[0] * t - r
    high = outputs[-1] * t - r + q
    return tuple(x for x in range(low, high) if 0 <= x < spec.body_size[axis])


def input_axis(spec: LayerSpec, axis: int, body: tuple[int, ...]) -> tuple[int, ...]:
    """Input rows (axis 0) or columns (axis 1) loaded for a run of body rows or columns."""
    if not body:
        return ()
    if axis == 1 and spec.plane is not None:
        return tuple(lines(spec.plane, body))
    k, s = spec.kernel[axis], spec.stride[axis]
    d, p = spec.dilation[axis], spec.pad_begin[axis]
    candidates: Sequence[int]
    if k == 1 and s > 1:
        candidates = [x * s - p for x in body]
    else:
        candidates = range(body[0] * s - p, body[-1] * s - p + (k - 1) * d + 1)
    found = tuple(before(spec, axis, elements(spec, axis, candidates)))
    if spec.before is None:
        return found
    return tuple(range(min(found), max(found) + 1)) if found else ()


def slid_over(spec: LayerSpec, axis: int) -> int:
    """Rows (axis 0) or columns (axis 1) of the map that the window slides over."""
    return spec.input_size[axis] if spec.before is None else spec.pooled_size[axis]


def before(spec: LayerSpec, axis: int, pooled: Iterable[int]) -> Iterator[int]:
    """Input rows (axis 0) or columns (axis 1) that some of the pooled input are made of."""
    if spec.before is None:
        yield from pooled
        return
    for place in pooled:
        first = place * spec.before.stride[axis] - spec.before.pad_begin[axis]
        for x in range(first, first + spec.before.kernel[axis]):
            if 0 <= x < spec.input_size[axis]:
                yield x


def lines(plane: PlaneSpec, body: tuple[int, ...]) -> Iterator[int]:
    """Input columns loaded for a run of body columns of a volume: whole lines."""
    height, width = plane.input_size
    first, last = body[0] // plane.body_size[1], body[-1] // plane.body_size[1]
    low = first * plane.stride[0] - plane.pad_begin[0]
    high = last * plane.stride[0] - plane.pad_begin[0]
    for line in range(low, high + (plane.kernel[0] - 1) * plane.dilation[0] + 1):
        if 0 <= line < height:
            yield from range(line * width, (line + 1) * width)


def plane_taps(plane: PlaneSpec, column: int) -> Iterator[int]:
    """Input columns that one body column of a volume reads, unpadded."""
    place = divmod(column, plane.body_size[1])
    for taps in product(range(plane.kernel[0]), range(plane.kernel[1])):
        y, x = (
            place[axis] * plane.stride[axis]
            - plane.pad_begin[axis]
            + taps[axis] * plane.dilation[axis]
            for axis in (0, 1)
        )
        if 0 <= y < plane.input_size[0] and 0 <= x < plane.input_size[1]:
            yield y * plane.input_size[1] + x


def elements(spec: LayerSpec, axis: int, places: Iterable[int]) -> Iterator[int]:
    """Rows (axis 0) or columns (axis 1) at some places of what the window slides over, spread and
    padded."""
    for place in places:
        if place % spec.up[axis] == 0 and 0 <= place // spec.up[axis] < slid_over(spec, axis):
            yield place // spec.up[axis]


def taps_of(spec: LayerSpec, axis: int, x: int) -> Iterator[int]:
    """Input rows (axis 0) or columns (axis 1) that one body row or column depends on, unpadded."""
    if axis == 1 and spec.plane is not None:
        yield from plane_taps(spec.plane, x)
        return
    first = x * spec.stride[axis] - spec.pad_begin[axis]
    taps = range(spec.kernel[axis])
    places = [first + tap * spec.dilation[axis] for tap in taps]
    yield from before(spec, axis, elements(spec, axis, places))


def multiplications(spec: LayerSpec, axis: int) -> Counter[int]:
    """How many multiplications along an axis each body row or column is charged with."""
    size = spec.body_size[axis]
    if not spec.transposed:
        return Counter(dict.fromkeys(range(size), spec.kernel[axis]))
    found: Counter[int] = Counter()
    for element in range(slid_over(spec, axis)):
        for tap in range(spec.kernel[axis]):
            x = element * spec.up[axis] + spec.pad_begin[axis] - tap * spec.dilation[axis]
            found[min(max(x, 0), size - 1)] += 1
    return found


def window(spec: LayerSpec, axis: int, output: int) -> Iterator[int]:
    """Body rows (axis 0) or columns (axis 1) that one output row or column is made of."""
    if spec.pool is None:
        yield output
        return
    for tap in range(spec.pool.kernel[axis]):
        x = output * spec.pool.stride[axis] - spec.pool.pad_begin[axis] + tap
        if 0 <= x < spec.body_size[axis]:
            yield x
