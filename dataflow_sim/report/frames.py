"""Results for notebooks: as frames, as HTML tables, as figures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import pandas as pd
from matplotlib.figure import Figure

from dataflow_sim.report.curves import curve_table
from dataflow_sim.report.studies import answer_table, checked_table, frame_of, points_table
from dataflow_sim.report.study_plot import study_figure
from dataflow_sim.report.tables import Table, summary_table, traffic_table
from dataflow_sim.results import RunResult
from dataflow_sim.results_of_curves import CurveResult
from dataflow_sim.results_of_studies import StudyResult


def html_table(table: Table) -> str:
    """A table as HTML; whatever names hold is shown, never executed."""
    heads = "".join(f"<th>{escape(each)}</th>" for each in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    head = f"<thead><tr>{heads}</tr></thead>" if any(table.columns) else ""
    return f"<table><caption>{escape(table.title)}</caption>{head}<tbody>{rows}</tbody></table>"


def _page(tables: Sequence[Table]) -> str:
    return "".join(map(html_table, tables))


def run_html(result: RunResult) -> str:
    """A run in two tables."""
    return _page([summary_table(result), traffic_table(result)])


def curve_frame(result: CurveResult) -> pd.DataFrame:
    """Breakpoints as rows."""
    return pd.DataFrame([point.to_json() for point in result.points])


def curve_html(result: CurveResult) -> str:
    """A curve as a table."""
    return _page([curve_table([result])])


def study_frame(result: StudyResult, of: str) -> pd.DataFrame:
    """One of the tables of a study."""
    tables = {"points": result.points, "layers": result.layers, "breakpoints": result.breakpoints}
    if of not in tables:
        raise ValueError(f"'{of}' is none of {', '.join(tables)}")
    return frame_of(tables[of])


def study_html(result: StudyResult) -> str:
    """A study as tables."""
    checked = [checked_table(result)] if result.checked else []
    return _page([points_table(result), *checked, *map(answer_table, result.answers)])


def study_figure_of(result: StudyResult, file: str | None) -> Figure:
    """A picture of a study."""
    drawn = [each for each in result.pictures if file in (None, each.file)]
    if not drawn:
        there = ", ".join(each.file for each in result.pictures) or "none"
        raise ValueError(f"the scenario draws no picture '{file or ''}'; there are {there}")
    return study_figure(drawn[0])
