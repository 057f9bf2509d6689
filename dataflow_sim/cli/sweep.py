"""`dataflow-sim sweep`: every point of a scenario, in parallel, stored as they come."""

from __future__ import annotations

import click

from dataflow_sim.cli.options import check_out, json_option
from dataflow_sim.cli.sweeping import executor_of, store_directory, where_options
from dataflow_sim.errors import EXIT_INTERRUPTED

_FAILED = 1


@click.command("sweep")
@click.argument("scenario", metavar="SCENARIO")
@click.option(
    "--out",
    metavar="DIR",
    help="Where results.sqlite, tables (CSV, Parquet), pictures and README.md go.  "
    "[default: results/NAME]",
)
@click.option("--resume", is_flag=True, help="Go on from what is stored there.")
@where_options
@json_option
def command(
    scenario: str,
    out: str | None,
    resume: bool,
    processes: int | None,
    cluster: str | None,
    as_json: bool,
) -> None:
    """Run every point of SCENARIO, a .yaml file or the name of a shipped one.

    Results are stored as they come, so that a sweep that is stopped, however it is stopped, goes on
    with --resume; what is stored is never computed again.  Points that share a budget curve are one
    computation.  A point that fails is a row with its error.

    Ends with 1 where an expectation of the scenario is not met, or a proof failed.
    """
    import json

    from dataflow_sim.cli.render import SweepProgress, show, warn
    from dataflow_sim.report import files, studies
    from dataflow_sim.scenario.reading import read_scenario, scenario_path
    from dataflow_sim.studies import run_scenarios
    from dataflow_sim.sweeps.store import Store

    check_out(out)
    read = read_scenario(scenario_path(scenario))
    directory = store_directory(out, read.name, resume=resume)
    executor = executor_of(processes, cluster)
    try:
        with Store(directory) as store, SweepProgress(read.name) as progress:
            (result,) = run_scenarios([read], store, executor, progress)
    except KeyboardInterrupt:
        click.echo(
            f"interrupted; what was computed is stored in {directory}, --resume goes on", err=True
        )
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    files.write_files(directory, studies.study_files(result))
    if result.failed:
        told = f"{result.failed:,} of {len(result.points.rows):,} points failed"
        warn([f"{told}; the column `error` says why"])
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2, ensure_ascii=False))
    else:
        show(
            (
                studies.points_table(result),
                *([studies.checked_table(result)] if result.checked else []),
                *(studies.answer_table(answer) for answer in result.answers),
            )
        )
        done = f"{result.computed:,} computed, {result.stored:,} stored before"
        click.echo(f"{len(result.points.rows):,} points, {done}; written to {directory}")
    if result.defects or not result.met:
        raise click.exceptions.Exit(_FAILED)
