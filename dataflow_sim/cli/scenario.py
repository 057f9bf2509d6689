"""`dataflow-sim scenario`: the shipped scenarios, a new one, and what one would run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from dataflow_sim.cli.options import json_option

_SHOWN = 40


@click.group("scenario")
def command() -> None:
    """Write scenario files: list the shipped ones, copy one, check one, see what may be said."""


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the shipped scenarios."""
    from dataflow_sim.cli.render import show
    from dataflow_sim.report.tables import Table
    from dataflow_sim.scenario.reading import read_scenario
    from dataflow_sim.scenario.shipped import shipped_scenarios

    found = {name: read_scenario(path) for name, path in shipped_scenarios().items()}
    rows = [(name, f"{len(s.points):,}", s.file.title) for name, s in found.items()]
    if as_json:
        plain = [
            {"name": name, "points": len(s.points), "title": s.file.title}
            for name, s in found.items()
        ]
        click.echo(json.dumps(plain, indent=2, ensure_ascii=False))
        return
    show((Table("Scenarios", ("scenario", "points", "study"), tuple(rows)),))


@command.command("new")
@click.argument("file", metavar="FILE.yaml")
@click.option("--like", default="spills", show_default=True, help="The shipped one to copy.")
def new(file: str, like: str) -> None:
    """Write FILE.yaml, a copy of a shipped scenario to begin from."""
    from dataflow_sim.errors import InputError
    from dataflow_sim.report import files
    from dataflow_sim.scenario.reading import scenario_path

    path = Path(file)
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"'{file}': the name of a scenario ends in .yaml")
    if path.exists():
        raise InputError(f"'{file}' is there already; give another name")
    text = scenario_path(like).read_bytes()
    files.write_files(path.parent, {path.name: text}, "give another name")
    click.echo(f"written to {path}; `dataflow-sim scenario check {path}` shows its points")


@command.command("check")
@click.argument("scenario", metavar="SCENARIO")
@json_option
def check(scenario: str, as_json: bool) -> None:
    """Show the points of SCENARIO without running any, or everything that is wrong with it."""
    from dataflow_sim.cli.render import show
    from dataflow_sim.report.studies import cell
    from dataflow_sim.report.tables import Table
    from dataflow_sim.scenario.reading import read_scenario, scenario_path
    from dataflow_sim.studies import count_tasks

    read = read_scenario(scenario_path(scenario))
    points = [dict(point.coordinates) for point in read.points]
    if as_json:
        click.echo(json.dumps(points, indent=2, ensure_ascii=False))
        return
    columns = tuple(dict.fromkeys(name for point in points for name in point))
    rows = [tuple(cell(point.get(name)) for name in columns) for point in points[:_SHOWN]]
    more = f", the first {_SHOWN} here" if len(points) > _SHOWN else ""
    show((Table(f"{read.file.title}: {len(points):,} points{more}", columns, tuple(rows)),))
    tasks = ", ".join(f"{count:,} {kind}" for kind, count in count_tasks(read).items())
    click.echo(f"to compute: {tasks}")


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of scenario files, for editors."""
    from dataflow_sim.scenario.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


@command.command("reference")
def reference() -> None:
    """Print every key, expression and column with its meaning, as Markdown."""
    from dataflow_sim.scenario.reference import reference_page

    click.echo(reference_page(), nl=False)


@command.command("columns")
@json_option
def columns(as_json: bool) -> None:
    """List what a scenario may record, and the functions of its expressions."""
    from dataflow_sim.cli.render import show
    from dataflow_sim.report.tables import Table
    from dataflow_sim.scenario.schema import described_columns

    found = described_columns()
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for title, rows in found.items():
        shown = tuple((name, told) for name, told in rows.items())
        show((Table(title, ("name", "meaning"), shown),))
