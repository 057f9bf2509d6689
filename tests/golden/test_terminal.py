"""Whole outputs: what the terminal shows, wide and narrow, and Markdown for a pull request.

The texts lie in `tests/golden/terminal`; written anew by `python -m tests.golden.test_terminal`.
"""

from __future__ import annotations

import io
import tempfile
from contextlib import chdir
from pathlib import Path

import pytest
from rich.console import Console

from dataflow_sim.cli import render
from dataflow_sim.report.comparison import comparison_tables
from dataflow_sim.study.comparing import compare_runs
from dataflow_sim.study.stored import read_run
from tests.support.commands import command

TEXTS = Path(__file__).parent / "terminal"
SMALL = ("mobilenet_v1@0.25-32", "--hw", "bare", "--local-memory", "12KiB")
COMMANDS = {
    "run": ("run", *SMALL, "--policy", "merged", "--fps", "30"),
    "run_frames": ("run", "ds_cnn_s", "--hw", "bare", "--frames", "10"),
    "timeline": ("timeline", *SMALL, "--policy", "resident", "--sensitivity"),
    "curve": ("curve", "ds_cnn_s", "--hw", "bare"),
    "explain": ("explain", "mobilenet_v1@0.25-32", "conv3.pw", *SMALL[1:]),
    "inspect": ("inspect", "ds_cnn_s"),
    "hardware": ("hardware", "ethos_u55_256"),
    "compare": ("compare", "merged", "alone"),
    "compare_markdown": ("compare", "merged", "alone", "--markdown"),
    "help": ("--help",),
    "help_report": ("report", "--help"),
}


def shown(name: str, where: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "100")  # that help is written in
        return command(*COMMANDS[name], cwd=where).stdout


def runs(where: Path) -> Path:
    command("run", *SMALL, "--policy", "merged", "--out", "merged", cwd=where)
    command("run", *SMALL, "--out", "alone", cwd=where)
    return where


def narrow(where: Path, width: int) -> str:
    """The comparison as a terminal of so many columns shows it."""
    with chdir(where):
        found = compare_runs(read_run("merged"), read_run("alone"), ("merged", "alone"))
    text = io.StringIO()
    console = Console(
        file=text, force_terminal=True, width=width, color_system=None, highlight=False
    )
    render._draw(console, comparison_tables(found))
    return text.getvalue()


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_whole_output_is_the_one_that_was_read(name: str, where: Path) -> None:
    found = shown(name, where)
    assert found == (TEXTS / f"{name}.txt").read_text()
    assert not any(line != line.rstrip() for line in found.splitlines())


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_of_any_width_breaks_no_number(width: int, where: Path) -> None:
    found = narrow(where, width)
    assert found == (TEXTS / f"compare_{width}.txt").read_text()
    assert max(len(line) for line in found.splitlines()) <= width


def main() -> None:
    """Write the texts anew."""
    TEXTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        where = runs(Path(folder))
        for name in COMMANDS:
            (TEXTS / f"{name}.txt").write_text(shown(name, where))
        for width in (60, 80, 120):
            (TEXTS / f"compare_{width}.txt").write_text(narrow(where, width))


if __name__ == "__main__":
    main()
