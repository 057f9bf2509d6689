"""`dataflow-sim gallery`: small studies that teach, with their outputs."""

from __future__ import annotations

from pathlib import Path

import click

from dataflow_sim.cli.options import check_out, json_option
from dataflow_sim.cli.sweeping import executor_of, shipped_studies, where_options

_DIFFERS = 1


@click.command("gallery")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--out", metavar="DIR", help="Write each study's page, table and pictures to DIR/NAME."
)
@click.option(
    "--check", metavar="DIR", help="Compare pages and tables with those under DIR; write nothing."
)
@where_options
@json_option
def command(
    names: tuple[str, ...],
    out: str | None,
    check: str | None,
    processes: int | None,
    cluster: str | None,
    as_json: bool,
) -> None:
    """Run the studies with these NAMES, or all, and write or compare what comes out.

    Ends with 1 where --check finds a difference, naming the file.
    """
    import json

    from dataflow_sim.cli.render import show
    from dataflow_sim.report import files, studies

    check_out(out)
    results = shipped_studies("gallery", names, None, executor_of(processes, cluster))
    if as_json:
        click.echo(json.dumps([each.to_json() for each in results], indent=2, ensure_ascii=False))
    different = False
    for result in results:
        if out is not None:
            files.write_files(Path(out) / result.name, studies.gallery_files(result))
        elif check is not None:
            for name in studies.differing(result, Path(check) / result.name):
                different = True
                click.echo(f"{Path(check) / result.name / name} differs from what is found now")
        elif not as_json:
            show((studies.points_table(result), *map(studies.answer_table, result.answers)))
    if different or any(not result.met or result.defects for result in results):
        raise click.exceptions.Exit(_DIFFERS)
