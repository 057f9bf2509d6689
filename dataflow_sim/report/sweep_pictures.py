"""Pictures of a sweep for print: lines, a matrix, and all points in two figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dataflow_sim.report.drawing import PRINT_DPI
from dataflow_sim.report.page.sweep_data import Sweep
from dataflow_sim.report.study_plot import study_picture
from dataflow_sim.results_of_studies import PictureResult, Row

_MOST_CELLS = 24  # of a matrix, each way


def sweep_pictures(sweep: Sweep) -> dict[str, bytes]:
    """The first figure of a sweep over the last axis of numbers, a line for each value of the first
    other axis that moves; the same as a matrix; the first two figures against each other.

    All further axes stand at their value at the first point.
    """
    return {
        f"{picture.file}.{kind}": drawn
        for picture in _pictures(sweep)
        for kind, drawn in study_picture(picture, ("png", "svg"), PRINT_DPI).items()
    }


def _pictures(sweep: Sweep) -> Iterator[PictureResult]:
    moving = [axis for axis in sweep.axes if len(axis.values) > 1]
    if not moving or not sweep.figures:
        return
    numeric = [axis for axis in moving if axis.numeric]
    across = (numeric or moving)[-1]
    by = next((axis for axis in moving if axis is not across), None)
    others = [axis for axis in sweep.axes if axis not in (across, by)]
    rows = [row for row in sweep.rows if all(row[a.name] == sweep.rows[0][a.name] for a in others)]
    first = sweep.figures[0]
    fixed = ", ".join(f"{axis.name} {sweep.rows[0][axis.name]}" for axis in others)
    title = f"{sweep.name}: {first.replace('_', ' ')}" + (f"\n{fixed}" if fixed else "")
    apart = () if by is None else (by.name,)
    kind = "lines" if across.numeric else "bars"
    log = ("x",) if across.spreads else ()
    yield _picture("lines", kind, title, rows, across.name, first, apart, log)
    if by is not None and max(len(across.values), len(by.values)) <= _MOST_CELLS:
        yield _picture("matrix", "matrix", title, rows, across.name, first, apart, ())
    if len(sweep.figures) > 1:
        other = sweep.figures[1]
        title = f"{sweep.name}: all points"
        yield _picture("points", "points", title, sweep.rows, other, first, apart, ())


def _picture(
    file: str,
    kind: str,
    title: str,
    rows: Sequence[Row],
    x: str,
    y: str,
    by: tuple[str, ...],
    log: tuple[str, ...],
) -> PictureResult:
    known = tuple(row for row in rows if row[y] is not None and row[x] is not None)
    return PictureResult(
        file=file,
        kind=kind,
        title=title,
        x=x,
        y=(y,),
        by=by,
        log=log,
        x_label="",
        y_label="",
        limit_line=None,
        rows=known,
    )
