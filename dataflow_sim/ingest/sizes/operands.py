"""Whether what a node reads still fits together once the network has another size.

Inference finds most contradictions, but some it takes for broadcasting, and none it explains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dataflow_sim.ingest.sizes.frozen import Axes, Axis, new_extent, old_extent
from dataflow_sim.ingest.sizes.site import ForbiddenError, Site

# of these all inputs are broadcast together; scale and shift of a normalisation with its map
_BROADCAST = frozenset(
    (
        *("Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater"),
        *("GreaterOrEqual", "LayerNormalization", "Less", "LessOrEqual", "Max", "Mean", "Min"),
        *("Mod", "Mul", "Or", "PRelu", "Pow", "RMSNormalization", "Sub", "Sum", "Where", "Xor"),
    )
)
_PRODUCTS = {"MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3)}
_PICKING = ("GatherElements", "GatherND", "ScatterElements", "ScatterND")
# operators whose output has the shape that an input states, with no rule for what becomes of it
_STATED = {"AffineGrid": 1, "CenterCropPad": 1, "Col2Im": 1, "MaxUnpool": 2}


def known_operands(site: Site) -> list[tuple[str, Axes]]:
    """The inputs of a node whose shapes are known."""
    named = dict.fromkeys(name for name in site.node.input if name)
    found = [(name, site.known.axes(name)) for name in named]
    return [(name, axes) for name, axes in found if axes is not None]


def _described(site: Site, name: str) -> str:
    """A constant as messages show it, with that which it is made of."""
    source = site.known.before.constants.get(name, name)
    made = "" if source == name else f", made of '{source}',"
    return f"its constant '{name}' {site.known.new(name)}{made}"


def misfit(site: Site, names: Sequence[str]) -> ForbiddenError:
    """The error that names the constant of some operands that does not fit, and the map.

    Without a constant it names two maps.
    """
    known = site.known
    shapes = {name: known.new(name) for name in names}
    maps = [name for name in shapes if not known.is_constant(name)]
    constants = [name for name in shapes if known.is_constant(name) and shapes[name]]
    constants.sort(key=known.changed)
    if constants and maps:
        return ForbiddenError(
            f"{_described(site, constants[0])} does not fit the map {shapes[maps[0]]}"
        )
    listed = " and ".join(f"'{name}' {shapes[name]}" for name in shapes)
    return ForbiddenError(f"what it reads does not fit together: {listed}")


def _aligned(axes: Axes, axis: int, rank: int) -> Axis:
    own = axis - (rank - len(axes))
    return axes[own] if own >= 0 else ()


def _check_broadcast(site: Site, operands: list[tuple[str, Axes]]) -> None:
    """Operands that agreed on an axis still do, and none is broadcast that was not."""
    rank = max((len(axes) for _, axes in operands), default=0)
    for axis in range(rank):
        met = [(name, _aligned(axes, axis, rank)) for name, axes in operands]
        wide = [(name, own) for name, own in met if old_extent(own) != 1]
        extents = {new_extent(own) for _, own in wide}
        grown = [(name, own) for name, own in met if old_extent(own) == 1 != new_extent(own)]
        if len(extents) > 1:
            raise misfit(site, _differing(wide))
        if grown and len({new_extent(own) for _, own in (*grown, *wide)} - {1}) > 1:
            raise misfit(site, _differing([*grown, *wide]))


def _differing(met: list[tuple[str, Axis]]) -> list[str]:
    """Names that differ on an axis, those of the commonest extent only once."""
    first = met[0]
    other = next(each for each in met if new_extent(each[1]) != new_extent(first[1]))
    return [first[0], other[0]]


def _check_product(site: Site, first: str, second: str) -> None:
    left, right = site.known.axes(first), site.known.axes(second)
    if not left or not right:
        return
    inner = left[-1], right[-2] if len(right) > 1 else right[-1]
    if new_extent(inner[0]) != new_extent(inner[1]):
        raise misfit(site, (first, second))
    _check_broadcast(site, [(first, left[:-2]), (second, right[:-2])])


def _check_gemm(site: Site) -> None:
    operands = [site.axes(position) for position in range(2)]
    if any(axes is None or len(axes) != 2 for axes in operands):
        return
    left, right = (axes or () for axes in operands)
    rows, inner = left[::-1] if site.integer("transA", 0) else left
    outer, columns = right[::-1] if site.integer("transB", 0) else right
    if new_extent(inner) != new_extent(outer):
        raise misfit(site, (site.name(0), site.name(1)))
    bias = site.axes(2)
    for own, whole in zip((bias or ())[::-1], (columns, rows), strict=False):
        if new_extent(own) not in (1, new_extent(whole)):
            raise misfit(site, (site.name(0), site.name(2)))


def _check_concat(site: Site, operands: list[tuple[str, Axes]]) -> None:
    rank = len(operands[0][1])
    along = site.integer("axis", 1) % rank if rank else 0
    if any(len(axes) != rank for _, axes in operands):
        return
    for axis in range(rank):
        met = [(name, axes[axis]) for name, axes in operands]
        if axis != along and len({new_extent(own) for _, own in met}) > 1:
            raise misfit(site, _differing(met))


def _check_gather(site: Site) -> None:
    """Constant indices into an axis that changed still mean what they meant."""
    axes, name = site.axes(0), site.name(1)
    if not axes or not site.known.is_constant(name) or site.known.changed(name):
        return
    along = axes[site.integer("axis", 0) % len(axes)]
    if site.known.is_batch(along):
        raise ForbiddenError(f"it picks samples of '{site.name(0)}', of which there were only one")
    shape, indices = site.known.new(name), site.known.value(name)
    old, new = old_extent(along), new_extent(along)
    if old == new or shape is None:
        return
    count = int(np.prod(shape))
    beyond = indices is not None and indices.size and int(indices.max()) >= new
    if beyond or (count > 1 and (count == old or indices is None)):
        raise misfit(site, (name, site.name(0)))


def _check_squeeze(site: Site) -> None:
    axes, listed = site.axes(0), site.integers(1, "axes")
    for axis in listed or ():
        if axes and new_extent(axes[axis % len(axes)]) != 1:
            raise ForbiddenError(
                f"it drops axis {axis} of '{site.name(0)}', now {site.known.new(site.name(0))}"
            )


def _check_picking(site: Site) -> None:
    """Indices in a constant are places in a map of another size."""
    data, name = site.name(0), site.name(1)
    if site.known.changed(data) and site.known.is_constant(name) and not site.known.changed(name):
        raise misfit(site, (name, data))


def _check_stated(site: Site) -> None:
    name = site.name(_STATED[site.node.op_type])
    stale = site.known.is_constant(name) and not site.known.changed(name)
    if name and stale and site.known.changed(site.name(0)):
        raise ForbiddenError(
            f"it states its output in '{name}', and what becomes of that cannot be told"
        )


def check_operands(site: Site) -> None:
    """Raise ForbiddenError where what a node reads no longer fits."""
    op = site.node.op_type
    operands = known_operands(site)
    if op in _BROADCAST:
        _check_broadcast(site, operands)
    elif op in _PRODUCTS:
        first, second = (site.name(position) for position in _PRODUCTS[op])
        _check_product(site, first, second)
    elif op == "Gemm":
        _check_gemm(site)
    elif op == "Concat" and operands:
        _check_concat(site, operands)
    elif op == "Gather":
        _check_gather(site)
    elif op == "Squeeze":
        _check_squeeze(site)
    elif op in _PICKING:
        _check_picking(site)
    elif op in _STATED:
        _check_stated(site)
