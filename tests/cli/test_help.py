"""Help with examples that parse, exit codes, and completion in a shell."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from dataflow_sim.cli.completion import PROGRAM, SHELLS, VARIABLE
from dataflow_sim.cli.examples import EXAMPLES
from dataflow_sim.cli.main import cli
from tests.support.commands import command


def command_of(words: list[str]) -> None:
    """Parse a line as the command would, down to the last of its own; raises for what is wrong."""
    found: click.Command = cli
    context = click.Context(cli, info_name=words[0], **cli.context_settings)
    rest = words[1:]
    while isinstance(found, click.Group) and rest:
        inner = found.get_command(context, rest[0])
        if inner is None:
            assert found is not cli, words
            break
        found, rest = inner, rest[1:]
    found.make_context(found.name, rest, parent=context)


def test_every_command_has_examples_and_every_example_a_command() -> None:
    assert set(EXAMPLES) == set(cli.list_commands(click.Context(cli)))


@pytest.mark.parametrize(
    "line", [line for lines in EXAMPLES.values() for line in lines if not line.startswith("eval")]
)
def test_examples_parse(line: str) -> None:
    words = shlex.split(line)
    assert words[0] == PROGRAM
    command_of(words)


def test_a_wrong_example_would_be_found() -> None:
    with pytest.raises(click.NoSuchOption):
        command_of(["dataflow-sim", "run", "mobilenet_v1", "--no-such-option"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_shows_them(name: str, tmp_path: Path) -> None:
    told = command(name, "--help", cwd=tmp_path).stdout
    assert all(f"  {line}\n" in told for line in EXAMPLES[name])


def test_exit_codes_are_told(tmp_path: Path) -> None:
    told = command("--help", cwd=tmp_path).stdout
    assert told.split("Exit codes:\n")[1].count("\n") == 5


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts(shell: str, tmp_path: Path) -> None:
    script = command("completion", shell, cwd=tmp_path).stdout
    assert VARIABLE in script
    if shutil.which(shell) and shell != "fish":
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("dataflow-sim rep", {"replay", "report"}),
        ("dataflow-sim run mobilenet_v", {"mobilenet_v1", "mobilenet_v2"}),
        ("dataflow-sim run x --hw ethos_u5", {"ethos_u55_128", "ethos_u55_256"}),
        ("dataflow-sim run x --pol", {"--policy"}),
    ],
)
def test_names_are_completed(
    typed: str, expected: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    found = command(cwd=tmp_path, seed="0").stdout.splitlines()
    assert expected <= {line.partition(",")[2] for line in found}


def test_the_gallery_as_json(tmp_path: Path) -> None:
    import json

    (found,) = json.loads(
        command("gallery", "kv_cache", "--json", "--processes", "1", cwd=tmp_path).stdout
    )
    assert found["points"]
