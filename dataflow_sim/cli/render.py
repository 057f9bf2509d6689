"""Tables, warnings and progress on a terminal."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Literal, Self

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from dataflow_sim.report.tables import Table

_PROGRESS_AFTER_S = 1.0
_MANY = 20_000  # so many steps take over a second
_WIDTH_WITHOUT_TERMINAL = 160
_LEAST_TEXT = 16  # characters of a text that may go on in the next line
_BETWEEN = 3  # characters between columns


def show(tables: Iterable[Table]) -> None:
    """Print tables one below the other: as wide as the terminal, or wide and without styles where
    there is none."""
    console = Console(highlight=False)
    if console.is_terminal:
        _draw(console, tables)
        return
    text = io.StringIO()
    _draw(Console(file=text, highlight=False, width=_WIDTH_WITHOUT_TERMINAL), tables)
    lines = (line.rstrip() for line in text.getvalue().splitlines())
    click.echo("\n".join(lines))


def _draw(console: Console, tables: Iterable[Table]) -> None:
    for table in tables:
        columns = [_Column(table, index) for index in range(len(table.columns))]
        shown = _fitting(columns, console.width)
        left = [column.head for column in columns if column not in shown]
        drawn = RichTable(
            title=Text(table.title, style="bold"),
            title_justify="left",
            box=SIMPLE_HEAD,
            show_header=any(table.columns),
            pad_edge=False,
            caption=f"a wider terminal also shows: {', '.join(left)}" if left else None,
            caption_justify="left",
        )
        for column in shown:
            justify: Literal["right", "left"] = "right" if column.numeric else "left"
            drawn.add_column(
                column.head,
                justify=justify,
                overflow="fold",
                no_wrap=column.numeric,
                min_width=column.least,
            )
        for row in table.rows:
            drawn.add_row(*(Text(row[column.index]) for column in shown))
        console.print(drawn)


class _Column:
    """A column of a table: its place, its head, whether it is of numbers, which never break, and
    the least width that it can be read in."""

    def __init__(self, table: Table, index: int) -> None:
        cells = [row[index] for row in table.rows]
        self.index, self.head = index, table.columns[index]
        self.numeric = index > 0 and all(_looks_numeric(cell) for cell in cells)
        widest = max((len(text) for text in (self.head, *cells)), default=0)
        self.least = widest if self.numeric else min(widest, _LEAST_TEXT)


def _fitting(columns: list[_Column], width: int) -> list[_Column]:
    """The columns from the left that a width has room for, the first two at any rate."""
    shown = list(columns)
    while len(shown) > 2 and sum(column.least + _BETWEEN for column in shown) > width:
        shown.pop()
    return shown


def _looks_numeric(cell: str) -> bool:
    return cell in ("", "-", "yes", "no") or cell[0].isdigit()


def warn(warnings: Iterable[str]) -> None:
    """Print each warning once, on standard error."""
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


class Bar:
    """A progress bar on standard error for as long as a block runs; drawn by those that derive."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        """Nothing is drawn before there is anything to say."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()


class LateProgress(Bar):
    """A progress bar that appears only when work takes over a second."""

    def __init__(self) -> None:
        super().__init__()
        self._tasks: dict[str, TaskID] = {}
        self._start = time.monotonic()

    def of(self, what: str) -> Callable[[str, int, int], None]:
        """This progress for one of several pieces of work: its stages are told apart."""
        return lambda stage, done, total: self(f"{what}: {stage}", done, total)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Tell that `done` of `total` parts of a stage are finished."""
        if self._progress is None:
            late = time.monotonic() - self._start > _PROGRESS_AFTER_S
            if not (self._console.is_terminal and (late or total > _MANY)):
                return
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._tasks[stage], completed=done)


class _Rate(ProgressColumn):
    """How many are done in a second."""

    def render(self, task: Task) -> Text:
        """The rate so far, of those that this sweep computed."""
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:.2f}/s" if speed < 10 else f"{speed:,.0f}/s")


class SweepProgress(Bar):
    """How many tasks are done, how fast, and how long the rest takes; on a terminal only."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def __call__(self, done: int, total: int) -> None:
        """Tell that so many of all are done."""
        if not self._console.is_terminal:
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _Rate(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.start()
            self._progress.add_task(self._what, total=total, completed=done)
        self._progress.update(self._progress.task_ids[0], completed=done)
