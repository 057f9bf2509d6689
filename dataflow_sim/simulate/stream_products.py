"""Sweeps that finish what they compute in every step: products, rotary embedding, tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.meaning import EMBEDDING, ROTARY
from dataflow_sim.simulate.stream_step import Results, SweepStep
from dataflow_sim.simulate.stream_tiles import Array


def product_step(step: SweepStep) -> tuple[Results, None]:
    """Every result from the tiles of the step."""
    op = step.meaning.op
    if op not in PRODUCTS:
        raise ProgramError(f"layer '{step.layer.name}' ({op}) cannot be replayed")
    return {0: PRODUCTS[op](step)}, None


def _matrix_product(step: SweepStep) -> Array:
    """Integers less their zero points: of the left factor by row, of the right one by column."""
    left, right = step.tile(0), step.tile(1)
    values = [left.array, right.array]
    for place, (tile, axis) in enumerate(((left, -2), (right, -1)), 2):
        zero = step.at_hand(place)
        if zero is None:
            continue
        flat = zero.array.ravel()
        if flat.size > 1:
            low = tile.first[axis]
            flat = flat[low : low + tile.array.shape[axis]]
            flat = flat[:, None] if axis == -2 else flat
        values[place - 2] = values[place - 2] - flat
    return step.arithmetic.product(*values)


def _rotary(step: SweepStep) -> Array:
    x = step.tile(0)
    return step.arithmetic.rotated(x.array, step.tile(1).beside(x), step.tile(2).beside(x))


def _embedding(step: SweepStep) -> Array:
    """Rows of a table as they lie, which are those asked for, or by their numbers."""
    table, numbers = step.tile(0), step.tile(1)
    if step.meaning.number("picked", 0):
        return table.array
    rows = numbers.array.astype(np.int64)
    size = table.full[0]
    if table.array.shape[0] != size or rows.min() < -size or rows.max() >= size:
        raise ProgramError(f"rows {rows.min()} to {rows.max()} of a table of {size}")
    return np.asarray(table.array[rows], np.float64)


PRODUCTS: Mapping[str, Callable[[SweepStep], Array]] = {
    "MatMul": _matrix_product,
    "MatMulInteger": _matrix_product,
    ROTARY: _rotary,
    EMBEDDING: _embedding,
}
