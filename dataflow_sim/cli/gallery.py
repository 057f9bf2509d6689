"""`dataflow-sim gallery`: small studies that teach, with their outputs."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from dataflow_sim.cli.options import check_out
from dataflow_sim.cli.sweeping import SweepProgress, executor_of, where_options

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
def command(
    names: tuple[str, ...],
    out: str | None,
    check: str | None,
    processes: int | None,
    cluster: str | None,
) -> None:
    """Run the studies with these NAMES, or all, and write or compare what comes out.

    Ends with 1 where --check finds a difference, naming the file.
    """
    from dataflow_sim.cli.render import show
    from dataflow_sim.errors import InputError
    from dataflow_sim.report import files, studies
    from dataflow_sim.scenario.reading import read_scenario
    from dataflow_sim.scenario.shipped import shipped_scenarios
    from dataflow_sim.studies import run_scenarios
    from dataflow_sim.sweeps.store import Store

    check_out(out)
    shipped = shipped_scenarios("gallery")
    unknown = [each for each in names if each not in shipped]
    if unknown:
        raise InputError(f"no study {', '.join(unknown)}; there are {', '.join(shipped)}")
    scenarios = [read_scenario(shipped[name]) for name in (dict.fromkeys(names) or shipped)]
    executor = executor_of(processes, cluster)
    with (
        TemporaryDirectory() as thrown_away,
        Store(Path(thrown_away)) as store,
        SweepProgress("gallery") as progress,
    ):
        results = run_scenarios(scenarios, store, executor, progress)
    different = False
    for result in results:
        if out is not None:
            files.write_files(Path(out) / result.name, studies.gallery_files(result))
        elif check is not None:
            for name in studies.differing(result, Path(check) / result.name):
                different = True
                click.echo(f"{Path(check) / result.name / name} differs from what is found now")
        else:
            show((studies.points_table(result), *map(studies.answer_table, result.answers)))
    if different or any(not result.met or result.defects for result in results):
        raise click.exceptions.Exit(_DIFFERS)
