"""Where the axes of a node's results come from, when a network changes its size.

Only axes of several factors, or of joined maps, need to be followed; whatever is not followed
here is an axis of which nothing is known but its extents, in the file and now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

from dataflow_sim.ingest.sizes.frozen import (
    Axes,
    Axis,
    Factor,
    Shape,
    is_followed,
    is_side,
    joined,
    new_extent,
    old_extent,
    part_of,
    regrouped,
)
from dataflow_sim.ingest.sizes.site import Site

# Axes of one result where they can be told; None for an axis, or for all, where they cannot.
Found = tuple[Axis | None, ...] | None
Follow = Callable[[Site, int], Found]

_NOTHING: Axis = ()
# the planes that these write have sides; those of others are as they were
_PLANES = frozenset(
    (
        *("AveragePool", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "DepthToSpace"),
        *("LpPool", "MaxPool", "MaxUnpool", "QLinearConv", "Resize", "SpaceToDepth", "Upsample"),
    )
)
_PIECES = frozenset(("Pad", "Slice", "Split"))


def _transposed(site: Site, position: int) -> Found:
    axes = site.axes(0)
    order = site.integers(None, "perm")
    if axes is None:
        return None
    if order is None:
        return axes[::-1]
    return tuple(axes[axis] for axis in order) if len(order) == len(axes) else None


def _reshaped(site: Site, position: int) -> Found:
    axes, old = site.axes(0), site.old_result()
    return None if axes is None or old is None else regrouped(axes, old, site.known.batch)


def _unsqueezed(site: Site, position: int) -> Found:
    axes, listed = site.axes(0), site.integers(1, "axes")
    if axes is None or listed is None:
        return None
    rank = len(axes) + len(listed)
    places = {axis % rank for axis in listed}
    rest = iter(axes)
    return tuple(_NOTHING if axis in places else next(rest, None) for axis in range(rank))


def _squeezed(site: Site, position: int) -> Found:
    axes, listed = site.axes(0), site.integers(1, "axes")
    if not axes:
        return None
    if listed is None:
        return tuple(axis for axis in axes if old_extent(axis) != 1)
    gone = {axis % len(axes) for axis in listed}
    return tuple(own for axis, own in enumerate(axes) if axis not in gone)


def _reduced(site: Site, position: int) -> Found:
    axes, listed = site.axes(0), site.integers(1, "axes")
    if not axes:
        return None
    if "axis" in site.attributes or site.node.op_type in ("ArgMax", "ArgMin"):
        listed = (site.integer("axis", 0),)
    if not listed:
        listed = () if site.integer("noop_with_empty_axes", 0) else tuple(range(len(axes)))
    gone = {axis % len(axes) for axis in listed}
    if site.integer("keepdims", 1):
        return tuple(_NOTHING if axis in gone else own for axis, own in enumerate(axes))
    return tuple(own for axis, own in enumerate(axes) if axis not in gone)


def _joined(site: Site, position: int) -> Found:
    inputs = [site.axes(each) for each in range(len(site.node.input))]
    known = [axes for axes in inputs if axes is not None]
    first = known[0] if known else ()
    if not first or len(known) < len(inputs) or any(len(axes) != len(first) for axes in known):
        return _matched(site, position)
    along = site.integer("axis", 1) % len(first)
    matched = _matched(site, position) or (None,) * len(first)
    whole = joined([axes[along] for axes in known])
    return (*matched[:along], whole, *matched[along + 1 :])


def _sliced(site: Site, position: int) -> Found:
    axes = site.axes(0)
    starts, ends = site.parameter(1, "starts"), site.parameter(2, "ends")
    if not axes or starts is None or ends is None:
        return None
    listed = site.integers(3, "axes") or tuple(range(len(starts.before)))
    steps = site.integers(4) or (1,) * len(listed)
    found: list[Axis | None] = list(axes)
    for start, end, axis, step in zip(starts.before, ends.before, listed, steps, strict=False):
        own = axes[axis % len(axes)]
        extent = old_extent(own)
        bounds = [max(0, min(extent, int(at) + (extent if at < 0 else 0))) for at in (start, end)]
        found[axis % len(axes)] = part_of(own, *bounds) if step == 1 else None
    return tuple(found)


def _split(site: Site, position: int) -> Found:
    axes = site.axes(0)
    if not axes:
        return None
    axis = site.integer("axis", 0) % len(axes)
    shapes = [site.known.old(name) for name in site.node.output]
    lengths = [shape[axis] for shape in shapes if shape is not None and len(shape) == len(axes)]
    if len(lengths) < len(shapes):
        return None
    places = [sum(lengths[:end]) for end in range(len(lengths) + 1)]
    start, end = list(pairwise(places))[position]
    return (*axes[:axis], part_of(axes[axis], start, end), *axes[axis + 1 :])


def _gathered(site: Site, position: int) -> Found:
    axes, indices = site.axes(0), site.axes(1)
    if not axes or indices is None:
        return None
    axis = site.integer("axis", 0) % len(axes)
    return (*axes[:axis], *indices, *axes[axis + 1 :])


def _multiplied(site: Site, position: int) -> Found:
    left, right = site.axes(0), site.axes(3 if site.node.op_type == "QLinearMatMul" else 1)
    old = site.old_result()
    if not left or not right or old is None or min(len(left), len(right)) < 2:
        return None
    outer: list[Axis | None] = list(_matched(site, position) or ())[:-2]
    if len(outer) != len(old) - 2:
        return None
    return (*outer, left[-2], right[-1])


def _recurrent(site: Site, position: int) -> Found:
    axes, old = site.axes(0), site.old_result(position)
    if axes is None or old is None or len(axes) != 3 or site.integer("layout", 0):
        return None
    own = [(Factor(extent, extent),) for extent in old]
    if position == 0 and len(old) == 4:
        return (axes[0], own[1], axes[1], own[3])
    return (own[0], axes[1], own[2]) if len(old) == 3 else None


def _matched(site: Site, position: int) -> Found:
    """Each axis as an input has it that ends where the result ends, with the same extents."""
    name = site.node.output[position]
    old, new = site.known.old(name), site.known.new(name)
    if old is None or new is None or len(old) != len(new):
        return None
    inputs = [site.known.axes(each) for each in site.node.input if each]
    found: list[Axis | None] = []
    for place, extents in enumerate(zip(old, new, strict=True)):
        distance = len(old) - place
        met = [axes[-distance] for axes in inputs if axes is not None and len(axes) >= distance]
        fits = [own for own in met if (old_extent(own), new_extent(own)) == extents]
        found.append(next(filter(is_followed, fits), None))
    return tuple(found)


_FOLLOW: Mapping[str, Follow] = {
    **dict.fromkeys(("ArgMax", "ArgMin"), _reduced),
    **dict.fromkeys(("Flatten", "Reshape"), _reshaped),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul"), _multiplied),
    "Concat": _joined,
    "Gather": _gathered,
    "Slice": _sliced,
    "Split": _split,
    "Squeeze": _squeezed,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
}


def _has_side(site: Site, place: int, rank: int) -> bool:
    """Whether an axis of a result is a side of a plane, although no input has the same."""
    axes = site.axes(0)
    if site.node.op_type in _PIECES and axes is not None and len(axes) == rank:
        return is_side(axes[place])
    return site.node.op_type in _PLANES


def result_axes(site: Site, position: int, old: Shape, new: Shape) -> Axes:
    """The axes of a result whose shapes, in the file and now, are known."""
    op = site.node.op_type
    follow = _reduced if op.startswith("Reduce") else _FOLLOW.get(op, _matched)
    found = follow(site, position)
    if found is None or len(found) != len(old):
        found = (None,) * len(old)
    return tuple(
        own
        if own is not None and (old_extent(own), new_extent(own)) == (before, now)
        else (Factor(before, now, is_side=_has_side(site, place, len(old))),)
        for place, (own, before, now) in enumerate(zip(found, old, new, strict=True))
    )
