"""The cookbook: every command parses, every file that it shows is legal; nothing is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from dataflow_sim.cli.main import cli
from dataflow_sim.hardware import load_hardware
from dataflow_sim.networks import numbers_of
from dataflow_sim.scenario.reading import read_text

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "cookbook.md").read_text(encoding="utf-8")
PROGRAM = "dataflow-sim"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line for _, block in BLOCKS for line in block.splitlines() if line.startswith(f"{PROGRAM} ")
]
FILES = {
    match[1]: block
    for _, block in BLOCKS
    if (match := re.match(r"# (\S+\.yaml)\n", block)) is not None
}


def parsed(line: str) -> click.Context:
    """A command with its options and arguments, as click reads them; it is not invoked."""
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = cli
    context = click.Context(cli, info_name=PROGRAM, **cli.context_settings)
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, f"{line}: no command '{words[0]}'"
        name, *words = words
        command = found
        if isinstance(command, click.Group):
            context = click.Context(command, parent=context, info_name=name)
        else:
            context = command.make_context(name, words, parent=context)
    return context


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_parses(line: str) -> None:
    assert parsed(line).command.callback is not None


@pytest.mark.parametrize(
    "line",
    [
        f"{PROGRAM} run mobilenet_v1 --fast",
        f"{PROGRAM} run mobilenet_v1 --policy fused",
        f"{PROGRAM} study knees results",
        f"{PROGRAM} study needs results --least dram_bytes",
        f"{PROGRAM} explain vgg16",
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        parsed(line)


def test_the_page_has_its_recipes() -> None:
    titles = re.findall(r"^## (\d+)\. (.+)$", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in titles] == list(range(1, len(titles) + 1))
    assert 14 <= len(titles) <= 18
    for number, title in titles:
        anchor = re.sub(r"[^a-z0-9 -]", "", f"{number} {title}".lower()).replace(" ", "-")
        assert f"(#{anchor})" in PAGE, f"no question leads to {title}"
    assert set(re.findall(r"\(([a-z]+\.md)\)", PAGE)) <= {path.name for path in DOCS.glob("*.md")}


def given(parameter: str, command: str | None = None) -> Iterator[str]:
    """What the commands, or those of a name, give as a parameter."""
    for line in COMMANDS:
        context = parsed(line)
        value = context.params.get(parameter)
        if command in (None, context.info_name):
            yield from (value,) if isinstance(value, str) else value or ()


def test_networks_and_machines_exist(tmp_path: Path) -> None:
    networks = {*given("network"), *given("networks"), *given("name", "export")}
    for name in networks:
        if not name.endswith(".onnx"):
            numbers_of(name)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name in {*given("hw"), *given("name", "hardware")}:
        load_hardware(str(tmp_path / name) if name in FILES else name)


def test_scenarios_are_legal() -> None:
    scenarios = {name for name in given("scenario") if name.endswith(".yaml")}
    assert scenarios
    for name in scenarios:
        assert read_text(FILES[name], Path(name)).points


def test_the_notebook_compiles() -> None:
    cells = [block for language, block in BLOCKS if language == "python"]
    assert cells
    for cell in cells:
        compile(cell, "cookbook", "exec")
