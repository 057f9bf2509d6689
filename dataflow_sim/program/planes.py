"""Spatial tiles of a layer's loop nest, with what each needs of body and input."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from dataflow_sim.graph.region import Span
from dataflow_sim.schedule.footprints import Axis
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.types import LayerTiling


def tiles(extent: int, size: int) -> list[Span]:
    """An axis cut into tiles; the last may be smaller."""
    return [Span(start, min(start + size, extent)) for start in range(0, extent, size)]


class PlaneTile(NamedTuple):
    """A spatial tile in the coordinates of output, body and input.

    `column` tells its column of tiles: where the batch and the columns start.
    """

    column: tuple[int, int]
    batch: Span
    rows: Span
    columns: Span
    body_rows: Span
    body_columns: Span
    input_rows: Span
    input_columns: Span


def _with_footprints(
    rows: Axis, row: Span, columns: Axis, column: Span
) -> tuple[Span, Span, Span, Span, Span, Span]:
    """An output tile with the body and the input that it needs, rows before columns."""
    body_row, body_column = (
        rows.body_span(row.start, row.stop),
        columns.body_span(column.start, column.stop),
    )
    source = (rows.input_span(body_row), columns.input_span(body_column))
    return (row, column, body_row, body_column, *source)


def plane_tiles(problem: LayerProblem, tiling: LayerTiling) -> list[PlaneTile]:
    """All tiles of the plane, image by image, down one column of tiles after the other."""
    return [
        PlaneTile(
            (batch.start, column.start),
            batch,
            *_with_footprints(problem.rows, row, problem.columns, column),
        )
        for batch, column, row in product(
            tiles(problem.batch, tiling.batch_tile),
            tiles(problem.columns.output_size, tiling.column_tile),
            tiles(problem.rows.output_size, tiling.row_tile),
        )
    ]
