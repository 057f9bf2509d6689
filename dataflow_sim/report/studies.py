"""What a study found, for the terminal, as Markdown pages and as files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from dataflow_sim.report.study_plot import study_picture
from dataflow_sim.report.tables import Table
from dataflow_sim.results_of_studies import Answer, Checked, Row, StudyResult, TableResult, Value

_SHOWN_ROWS = 40
VERDICTS = ("reproduced", "refined", "refuted", "differs", "holds")
_FORMATS = ("png", "svg")


def cell(value: Value) -> str:
    """A value of a table for people."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value == int(value) and abs(value) < 1e15:
            return f"{int(value):,}"
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return value


def _varying(table: TableResult) -> tuple[str, ...]:
    """Columns that tell rows apart, or that hold anything."""
    found = []
    for name in table.columns:
        values = {row[name] for row in table.rows}
        if name in table.axes and len(values) == 1 and len(table.rows) > 1:
            continue
        if name in ("status", "error") and values <= {"ok", None}:
            continue
        found.append(name)
    return tuple(found)


def points_table(result: StudyResult) -> Table:
    """The points of a study, the first of them where they are many."""
    table = result.points
    columns = _varying(table)
    rows = [tuple(cell(row[name]) for name in columns) for row in table.rows[:_SHOWN_ROWS]]
    left = len(table.rows) - len(rows)
    more = f"; {left:,} more in points.csv" if left else ""
    return Table(f"{result.title}: {len(table.rows):,} points{more}", columns, tuple(rows))


def checked_table(result: StudyResult) -> Table:
    """Expectations with what was measured."""
    rows = tuple((each.label, each.expected, each.measured, _mark(each)) for each in result.checked)
    return Table("Expectations", ("what", "expected", "measured", ""), rows)


def _mark(each: Checked) -> str:
    if each.refuted:
        return "refuted" if each.met else "differs: it holds, though the scenario says it does not"
    return "met" if each.met else "differs"


def answer_table(answer: Answer) -> Table:
    """An answer as a table."""
    rows = tuple(tuple(cell(row.get(name)) for name in answer.columns) for row in answer.rows)
    return Table(answer.question, answer.columns, rows)


# ------------------------------------------------------------ Markdown


def _line(cells: Iterable[str]) -> str:
    plain = (text.replace("|", "\\|").replace("\n", " ") for text in cells)
    return f"| {' | '.join(plain)} |"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table as lines of Markdown."""
    return [_line(columns), _line(["---"] * len(columns)), *map(_line, rows), ""]


def _rows(columns: Sequence[str], rows: Iterable[Row]) -> list[list[str]]:
    return [[cell(row.get(name)) for name in columns] for row in rows]


def study_body(result: StudyResult, folder: str = "") -> list[str]:
    """What was expected, asked, shown and drawn, as lines of Markdown below a heading."""
    lines: list[str] = []
    if result.checked:
        marked = [[e.label, e.expected, e.measured, _mark(e)] for e in result.checked]
        lines += markdown_table(("what", "expected", "measured", ""), marked)
        reasons = dict.fromkeys(each.refuted for each in result.checked if each.refuted)
        lines += [line for reason in reasons for line in (reason, "")]
    for answer in result.answers:
        lines += [f"**{answer.question}**", ""]
        lines += markdown_table(answer.columns, _rows(answer.columns, answer.rows))
    for shown in result.shown:
        if shown.title:
            lines += [f"**{shown.title}**", ""]
        lines += markdown_table(shown.columns, _rows(shown.columns, shown.rows))
        if shown.left_out:
            lines += [f"{shown.left_out:,} rows more.", ""]
    for picture in result.pictures:
        lines += [f"![{picture.title}]({folder}{picture.file}.svg)", ""]
    return lines


def study_page(result: StudyResult) -> str:
    """A study as a page of Markdown."""
    lines = [f"# {result.title}", "", *_paragraphs(result.description), *study_body(result)]
    return "\n".join(lines).rstrip() + "\n"


def _paragraphs(text: str) -> list[str]:
    return [text.strip(), ""] if text.strip() else []


_CLAIMS_HEAD = """\
# The claims of five talks, put to the test

Made by `dataflow-sim claims` from the scenarios under `scenarios/claims`, one for each claim. A
claim is *reproduced* where every expectation is met as it was published, *refined* where it holds
with a difference that is named, *refuted* where it does not hold here.
"""


def claims_page(results: Sequence[StudyResult], folder: str) -> str:
    """All claims as one page of Markdown; `folder` is where its pictures lie."""
    rows = [[f"[{r.name}](#{r.name})", _says(r), r.verdict] for r in results]
    lines = [_CLAIMS_HEAD, *markdown_table(("id", "claim", "verdict"), rows)]
    for result in results:
        claim = result.claim
        lines += [f"## {result.name}", ""]
        if claim is not None:
            lines += [f"*{claim.source}*: {claim.says}", ""]
            lines += [f"Expected: {claim.expected}", ""]
            because = f": {result.because}" if result.because else "."
            lines += [f"**{result.verdict.capitalize()}**{because}", ""]
            if claim.decision:
                lines += [f"See [{claim.decision}](decisions/{claim.decision}.md).", ""]
        lines += _paragraphs(result.description)
        lines += study_body(result, folder)
    return "\n".join(lines).rstrip() + "\n"


def _says(result: StudyResult) -> str:
    return result.title if result.claim is None else result.claim.says


def claims_table(results: Sequence[StudyResult]) -> Table:
    """Every claim in a line, with the expectations that are not met."""
    rows = []
    for result in results:
        wrong = [each for each in result.checked if not each.met]
        shown = wrong or list(result.checked[:1])
        because = f": {result.because}" if result.because else ""
        met = sum(each.met for each in result.checked)
        rows.append(
            (
                result.name,
                result.title,
                "\n".join(f"{each.label}: {each.expected}" for each in shown),
                "\n".join(each.measured for each in shown),
                f"{result.verdict}, {met} of {len(result.checked)} met{because}",
            )
        )
    columns = ("id", "claim", "expected", "measured", "verdict")
    return Table("Claims", columns, tuple(rows))


# ------------------------------------------------------------ files


def frame_of(table: TableResult) -> pd.DataFrame:
    """A table with its columns typed: whole numbers stay whole where some are missing."""
    frame = pd.DataFrame(list(table.rows), columns=list(table.columns))
    return frame.convert_dtypes()


def _csv(table: TableResult) -> bytes:
    return frame_of(table).to_csv(index=False, lineterminator="\n").encode()


def _parquet(table: TableResult) -> bytes:
    target = io.BytesIO()
    frame_of(table).to_parquet(target, index=False)
    return target.getvalue()


def table_files(result: StudyResult) -> dict[str, bytes]:
    """The tables of a study as CSV and Parquet; those without rows are left out."""
    files = {}
    for name, table in (
        ("points", result.points),
        ("layers", result.layers),
        ("breakpoints", result.breakpoints),
    ):
        if table.rows:
            files[f"{name}.csv"] = _csv(table)
            files[f"{name}.parquet"] = _parquet(table)
    return files


def picture_files(result: StudyResult, kinds: Sequence[str] = _FORMATS) -> dict[str, bytes]:
    """The pictures of a study by file name."""
    return {
        f"{picture.file}.{kind}": data
        for picture in result.pictures
        for kind, data in study_picture(picture, kinds).items()
    }


def gallery_files(result: StudyResult) -> dict[str, bytes]:
    """What stands in a gallery: the page, the table of points, and pictures that scale."""
    return {**_texts(result), **picture_files(result, ("svg",))}


def _texts(result: StudyResult) -> dict[str, bytes]:
    return {"README.md": study_page(result).encode(), "points.csv": _csv(result.points)}


def differing(result: StudyResult, directory: Path) -> list[str]:
    """The files of a gallery whose text is another than that of a study, or that are not there.

    Of pictures only that they are there: how they are drawn changes with the drawing library.
    """
    texts = _texts(result)
    found = [name for name, data in texts.items() if _read(directory / name) != data]
    drawn = [f"{picture.file}.svg" for picture in result.pictures]
    return [*found, *(name for name in drawn if _read(directory / name) is None)]


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def study_files(result: StudyResult) -> dict[str, bytes]:
    """Tables, page and pictures of a study."""
    page = {"README.md": study_page(result).encode()}
    return {**table_files(result), **page, **picture_files(result)}
