"""`dataflow-sim networks`: the built-in networks, one of them, one of them as a file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from dataflow_sim.cli.options import json_option

_MOST_SEED = 2**32 - 1


@click.group("networks", invoke_without_command=True)
@click.option("--task", metavar="TASK", help="Only networks for this task, such as detection.")
@json_option
@click.pass_context
def command(context: click.Context, task: str | None, as_json: bool) -> None:
    """List the built-in networks, or show or export one of them.

    A name may carry numbers behind @, in the order shown: mobilenet_v1@0.5-160 has half the
    channels and reads 160 x 160 pixels; mobilenet_v1@resolution=160 sets one by its name.
    """
    if context.invoked_subcommand is not None:
        if task is not None or as_json:
            raise click.UsageError(
                f"--task and --json before '{context.invoked_subcommand}' have no meaning"
            )
        return
    from dataflow_sim import built_in
    from dataflow_sim.cli.render import LateProgress, show
    from dataflow_sim.report.networks import catalogue_table

    with LateProgress() as progress:
        found = built_in.summaries(task, progress)
    if as_json:
        click.echo(json.dumps([each.to_json() for each in found], indent=2))
        return
    show((catalogue_table(found),))


@command.command("show")
@click.argument("name")
@json_option
def show_one(name: str, as_json: bool) -> None:
    """Show what NAME is, where it comes from, what was published of it and what is counted."""
    from dataflow_sim import built_in
    from dataflow_sim.cli.render import show
    from dataflow_sim.report.networks import network_tables

    found = built_in.summary(name, with_published=True)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
        return
    show(network_tables(found))


@command.command("export")
@click.argument("name")
@click.argument("out", metavar="OUT.onnx")
@click.option(
    "--random-weights",
    "seed",
    type=click.IntRange(0, _MOST_SEED),
    metavar="SEED",
    help="Draw weights, the same for the same seed, so that the file can be executed; "
    "else it has shapes and operators only.",
)
def export_one(name: str, out: str, seed: int | None) -> None:
    """Write NAME as an ONNX file.

    More than a gigabyte of weights go to OUT.onnx.data beside it.
    """
    from dataflow_sim.cli.render import LateProgress
    from dataflow_sim.networks import build_network
    from dataflow_sim.networks.export import check_export, export

    model = build_network(name)
    check_export(Path(out))
    with LateProgress() as progress:
        files = export(model, Path(out), seed, progress)
    for file in files:
        click.echo(f"written to {file}")
