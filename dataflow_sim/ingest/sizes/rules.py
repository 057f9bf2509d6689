"""What exporters freeze into nodes when a network changes its size: shapes, sizes, bounds.

One rule an operator.  A rule rewrites numbers that the file holds; numbers that the network
computes from shapes follow by themselves and are left alone.  Where it cannot be told what
numbers become, a rule raises ForbiddenError with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from math import prod

from dataflow_sim.ingest.sizes.frozen import (
    Axes,
    Axis,
    Shape,
    boundary,
    is_fixed,
    is_followed,
    new_extent,
    new_shape,
    old_extent,
    regrouped,
)
from dataflow_sim.ingest.sizes.site import ForbiddenError, Number, Parameter, Site

Rule = Callable[[Site], None]

_TO_THE_END = 2**31 - 1  # what exporters write for "as far as it goes" starts here


def _resolved(raw: tuple[Number, ...], data: Shape, keeps_zero: bool) -> Shape | None:
    """The shape that a Reshape gives; None where its numbers do not fit the data."""
    shape = [int(extent) for extent in raw]
    if not keeps_zero:
        if any(extent == 0 and axis >= len(data) for axis, extent in enumerate(shape)):
            return None
        shape = [extent if extent else data[axis] for axis, extent in enumerate(shape)]
    rest = prod(extent for extent in shape if extent != -1)
    if shape.count(-1) == 1 and rest and prod(data) % rest == 0:
        shape[shape.index(-1)] = prod(data) // rest
    return tuple(shape) if prod(shape) == prod(data) and -1 not in shape else None


def _reshape(site: Site) -> None:
    target, axes, old = site.parameter(1, "shape"), site.axes(0), site.old_result()
    if target is None or axes is None or old is None or len(old) != len(target.before):
        return
    data = new_shape(axes)
    keeps_zero = bool(site.integer("allowzero", 0))
    current = _resolved(target.now, data, keeps_zero)
    followed = regrouped(axes, old, site.known.batch)
    if followed is None:
        if current is None or (target.now == target.before and any(map(is_followed, axes))):
            raise ForbiddenError(_no_reshape(site, data, old))
        return
    wanted = new_shape(followed)
    if current is not None and not _frozen(target, current, wanted):
        return
    kept = tuple(
        int(raw) if raw in (0, -1) else extent
        for raw, extent in zip(target.now, wanted, strict=True)
    )
    site.give(target, kept if _resolved(kept, data, keeps_zero) == wanted else wanted)


def _frozen(target: Parameter, current: Shape, wanted: Shape) -> bool:
    """Whether a shape is not the wanted one because of a number that did not follow.

    A shape of which some numbers followed, and that fits without a rest (-1), is no such one.
    """
    if target.now != target.before and -1 not in target.now:
        return False
    return any(
        extent != current[axis] and target.now[axis] == target.before[axis] not in (0, -1)
        for axis, extent in enumerate(wanted)
    )


def _no_reshape(site: Site, data: Shape, old: Shape) -> str:
    return (
        f"the map '{site.name(0)}', now {data}, cannot be cut as it was into {old}, "
        "whose inner extents stay"
    )


def _fresh_extent(site: Site, rank: int, axis: int, extent: int, what: str) -> int:
    """What becomes of an extent that no input has: that of other maps on the same axis."""
    found = site.known.seen(rank, axis, extent)
    if len(found) == 1:
        return found[0]
    if found and extent not in found:
        raise ForbiddenError(f"{what} {extent} on axis {axis} may become {_any_of(found)}")
    return extent


def _any_of(found: tuple[int, ...]) -> str:
    return " or ".join(str(extent) for extent in sorted(found))


def _expand(site: Site) -> None:
    target, axes = site.parameter(1), site.axes(0)
    if target is None or axes is None:
        return
    is_map = not site.known.is_constant(site.name(0))
    rank = max(len(target.before), len(axes))
    numbers = list(target.now)
    for place, before in enumerate(target.before):
        axis = place + rank - len(target.before)
        own = _aligned(axes, axis, rank)
        if before == 1 or target.now[place] != before:
            continue
        if old_extent(own) == before:
            numbers[place] = new_extent(own)
        elif is_map and is_fixed(own):
            numbers[place] = _fresh_extent(site, rank, axis, int(before), "its extent")
    site.give(target, numbers)


def _aligned(axes: Axes, axis: int, rank: int) -> Axis:
    """The axis of an input that meets an axis of a result when both end together."""
    own = axis - (rank - len(axes))
    return axes[own] if own >= 0 else ()


def _tile(site: Site) -> None:
    target, axes = site.parameter(1), site.axes(0)
    if target is None or axes is None or site.known.is_constant(site.name(0)):
        return
    numbers = list(target.now)
    for axis, (before, own) in enumerate(zip(target.before, axes, strict=False)):
        if before > 1 and numbers[axis] == before and new_extent(own) == old_extent(own) == 1:
            numbers[axis] = _fresh_extent(site, len(axes), axis, int(before), "its repeats")
    site.give(target, numbers)


def _listed_axes(site: Site, position: int | None, rank: int) -> list[int]:
    """The axes that a node names, all of them if it names none."""
    stated = site.integers(position, "axes")
    return [axis % rank for axis in stated] if stated else list(range(rank))


def _resize(site: Site) -> None:
    axes, old = site.axes(0), site.old_result()
    if axes is None or old is None or len(old) != len(axes) or not axes:
        return
    listed = _listed_axes(site, None, len(axes))
    scales = site.parameter(1 if site.version < 11 else 2)
    sizes = site.parameter(3) if site.version >= 11 else None
    if sizes is not None and len(sizes.before) == len(listed):
        if site.attributes.get("keep_aspect_ratio_policy", "stretch") == "stretch":
            _resize_to_sizes(site, sizes, listed, axes)
    elif scales is not None and len(scales.before) == len(listed):
        _resize_by_scales(site, scales, listed, axes)


def _resize_to_sizes(site: Site, sizes: Parameter, listed: list[int], axes: Axes) -> None:
    numbers = list(sizes.now)
    for place, axis in enumerate(listed):
        if numbers[place] == sizes.before[place]:
            numbers[place] = _size(site, axes, axis, int(sizes.before[place]))
    site.give(sizes, numbers)


def _size(site: Site, axes: Axes, axis: int, size: int) -> int:
    """The size that a map is scaled to: that of other maps there, else in the same proportion."""
    old, new = old_extent(axes[axis]), new_extent(axes[axis])
    found = site.known.seen(len(axes), axis, size)
    if size == old:
        return new
    if len(found) == 1:
        return found[0]
    scaled = new * size
    in_proportion = scaled % old == 0 and 0 in (size % old, old % size)
    if in_proportion and (not found or scaled // old in found):
        return scaled // old
    if old == new and (not found or size in found):
        return size
    if found:
        raise ForbiddenError(f"its size {size} on axis {axis} may become {_any_of(found)}")
    raise ForbiddenError(
        f"its size {size} on axis {axis} is that of no map before it, nor a multiple of the {old} "
        f"that became {new}"
    )


def _resize_by_scales(site: Site, scales: Parameter, listed: list[int], axes: Axes) -> None:
    """Scales that spread a single element over a plane stand for the size of the plane."""
    numbers = list(scales.now)
    for place, axis in enumerate(listed):
        spread = int(scales.before[place])
        if spread > 1 and old_extent(axes[axis]) == new_extent(axes[axis]) == 1:
            numbers[place] = float(
                _fresh_extent(site, len(axes), axis, spread, "the plane it fills, of")
            )
    site.give(scales, numbers)


def _slice(site: Site) -> None:
    axes = site.axes(0)
    starts, ends = site.parameter(1, "starts"), site.parameter(2, "ends")
    if axes is None or not axes or starts is None or ends is None:
        return
    listed = _listed_axes(site, 3, len(axes))
    for bounds in (starts, ends):
        numbers = list(bounds.now)
        for place, before in enumerate(bounds.before[: len(listed)]):
            axis = listed[place]
            inside = 0 < before <= min(old_extent(axes[axis]), _TO_THE_END - 1)
            if inside and numbers[place] == before:
                numbers[place] = _cut(site, axes, axis, int(before))
        site.give(bounds, numbers)


def _cut(site: Site, axes: Axes, axis: int, position: int) -> int:
    """Where a cut lies now.  Raises ForbiddenError where that cannot be told."""
    found = boundary(axes[axis], position)
    if found is None:
        raise ForbiddenError(
            f"it cuts axis {axis} of '{site.name(0)}' at {position} of {old_extent(axes[axis])}; "
            f"where that is in {new_extent(axes[axis])} cannot be told"
        )
    return found


def _split(site: Site) -> None:
    axes, sizes = site.axes(0), site.parameter(1, "split")
    if axes is None or not axes or sizes is None or sizes.now != sizes.before:
        return
    axis = site.integer("axis", 0) % len(axes)
    along = axes[axis]
    count = len(sizes.before)
    if not is_followed(along) or sum(sizes.before) != old_extent(along):
        return
    if len(set(sizes.before)) == 1 and not (len(along) == 1 and along[0].parts):
        if new_extent(along) % count:
            raise ForbiddenError(
                f"axis {axis} of '{site.name(0)}', now {new_extent(along)}, does not divide into "
                f"{count} equal parts as it did"
            )
        site.give(sizes, (new_extent(along) // count,) * count)
        return
    places = [int(sum(sizes.before[:end])) for end in range(count + 1)]
    cuts = [_cut(site, axes, axis, place) for place in places]
    if cuts != sorted(set(cuts)) and len(set(places)) == len(places):
        raise ForbiddenError(
            f"its parts {sizes.before} of '{site.name(0)}' no longer fit axis {axis}, now "
            f"{new_extent(along)}"
        )
    site.give(sizes, [end - start for start, end in pairwise(cuts)])


def _transposed_convolution(site: Site) -> None:
    """A stated output keeps its padding: it grows by the stride with every element of the map."""
    shape, axes = site.parameter(None, "output_shape"), site.axes(0)
    if shape is None or axes is None:
        return
    spatial = axes[2:]
    strides = site.integers(None, "strides") or (1,) * len(spatial)
    offset = len(shape.before) - len(spatial)  # some state batch and channels too
    if offset not in (0, 2) or len(strides) != len(spatial):
        return
    numbers = list(shape.now)
    if offset:
        numbers[0] = new_extent(axes[0]) if numbers[0] == old_extent(axes[0]) else numbers[0]
    for place, axis in enumerate(spatial):
        numbers[offset + place] += strides[place] * (new_extent(axis) - old_extent(axis))
    site.give(shape, numbers)


def pool_whole_map(site: Site) -> None:
    """A mean over a window as large as the map in the file becomes one over the new map."""
    window, axes, old = site.parameter(None, "kernel_shape"), site.axes(0), site.old_result()
    if window is None or axes is None or old is None or all(map(is_fixed, axes[2:])):
        return
    whole = window.before == tuple(map(old_extent, axes[2:])) and set(old[2:]) == {1}
    if whole and not any(site.integers(None, "pads") or ()):
        site.give(window, tuple(map(new_extent, axes[2:])))


# rules that hold even where no input changes: their sizes may be those of other maps
SPREADING = ("Expand", "Resize", "Tile")

RULES: Mapping[str, Rule] = {
    "ConvTranspose": _transposed_convolution,
    "Expand": _expand,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _split,
    "Tile": _tile,
}
