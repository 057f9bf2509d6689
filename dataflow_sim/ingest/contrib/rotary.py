"""Rotary position embedding: pairs of elements turned by an angle that grows with the position."""

from __future__ import annotations

import onnx

from dataflow_sim.ingest.contrib.fresh import Fresh, NoDefinitionError, given, integer, number


def looked_up(
    fresh: Fresh, caches: tuple[str, str], positions: str, axis: int, interleaved: bool
) -> tuple[str, str]:
    """Rows of the cosine and sine caches, with a new axis for the heads at `axis` from the end.

    Both elements of a pair find their angle in the last axis, in the pairs' own order.
    """
    found = []
    for cache in caches:
        rows = fresh.unsqueezed(fresh.add("Gather", cache, positions, axis=0), axis)
        if interleaved:
            found.append(_twice_each(fresh, rows))
        else:
            found.append(fresh.add("Concat", rows, rows, axis=-1))
    return found[0], found[1]


def _twice_each(fresh: Fresh, table: str) -> str:
    """Each element of the last axis twice in a row."""
    column = fresh.unsqueezed(table, -1)
    rows = fresh.extents(table, *range(-(fresh.facts.rank(table) or 3), -1))
    shape = fresh.add("Concat", rows, fresh.constant("rest", [-1]), axis=0)
    return fresh.add("Reshape", fresh.add("Concat", column, column, axis=-1), shape)


def rotated(
    fresh: Fresh, x: str, tables: tuple[str, str], interleaved: bool, width: int, to: str = ""
) -> str:
    """The first `width` elements of the last axis turned, the others as they are (0: all turned).

    `x` has four axes; the tables are those of `looked_up`, and broadcast against `x`.
    """
    if not width:
        return _turned(fresh, x, tables, interleaved, to)
    front = _turned(fresh, fresh.sliced(x, 3, 0, width), tables, interleaved, "")
    rest = fresh.sliced(x, 3, width, 2**31 - 1)
    return fresh.add("Concat", front, rest, axis=3, to=to)


def _turned(fresh: Fresh, x: str, tables: tuple[str, str], interleaved: bool, to: str) -> str:
    """Of each pair (a, b): a cos - b sin, and b cos + a sin."""
    pairs = fresh.reshaped(x, 0, 0, 0, -1, 2) if interleaved else x
    low, high = fresh.split(pairs, -1, 2)
    partner = fresh.add("Concat", fresh.add("Neg", high), low, axis=-1)
    if interleaved:
        partner = fresh.add("Reshape", partner, fresh.add("Shape", x))
    kept, turned = fresh.add("Mul", x, tables[0]), fresh.add("Mul", partner, tables[1])
    return fresh.add("Add", kept, turned, to=to)


def partial_width(fresh: Fresh, cache: str, depth: int | None) -> int:
    """How many elements of a head turn: 0 for all, else twice the width of the cache."""
    half = fresh.facts.extent(cache, 1)
    if half is None or depth is None or 2 * half == depth:
        return 0
    return 2 * half


def rotary_embedding(node: onnx.NodeProto, fresh: Fresh) -> None:
    """Of input, position_ids, cos_cache, sin_cache.

    The input is (batch, length, heads × depth) or (batch, heads, length, depth); one position
    alone is the first token's.
    """
    x, positions, cos, sin = (given(node, i) for i in range(4))
    if integer(node, "is_packed_batching", 0) or number(node, "scale", 1.0) != 1.0:
        raise NoDefinitionError("packed sequences and scaled caches")
    rank, heads = fresh.facts.rank(x), integer(node, "num_heads", 0)
    half, width = fresh.facts.extent(cos, 1), integer(node, "rotary_embedding_dim", 0)
    if rank not in (3, 4) or (rank == 3 and not heads and half is None):
        raise NoDefinitionError("the number of axes or heads is unknown")
    flat = rank == 3
    length = fresh.extent(x, 1 if flat else 2)
    if flat:
        x = fresh.reshaped(x, 0, 0, *((heads, -1) if heads else (-1, 2 * (half or 0))))
    if fresh.facts.rank(positions) == 1:
        zero, step = fresh.constant("zero", 0), fresh.constant("step", 1)
        positions = fresh.add("Add", positions, fresh.add("Range", zero, length, step))
    interleaved = bool(integer(node, "interleaved", 0))
    tables = looked_up(fresh, (cos, sin), positions, -2 if flat else -3, interleaved)
    width = 0 if width == fresh.facts.extent(x, 3) else width
    if not flat:
        rotated(fresh, x, tables, interleaved, width, node.output[0])
        return
    y = rotated(fresh, x, tables, interleaved, width)
    fresh.reshaped(y, 0, 0, -1, to=node.output[0])
