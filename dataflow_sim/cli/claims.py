"""`dataflow-sim claims`: the claims of five talks, each put to the test by a scenario."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from dataflow_sim.cli.options import check_out, json_option
from dataflow_sim.cli.sweeping import SweepProgress, executor_of, where_options

_FAILED = 1
_PICTURES = "claims"


@click.command("claims")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option(
    "--out",
    metavar="DIR",
    help="Write claims.md there, and its pictures under claims/.  [default: nothing is written]",
)
@click.option(
    "--store",
    metavar="DIR",
    help="Keep results there and go on from them.  [default: in a directory that is thrown away]",
)
@where_options
@json_option
def command(
    ids: tuple[str, ...],
    out: str | None,
    store: str | None,
    processes: int | None,
    cluster: str | None,
    as_json: bool,
) -> None:
    """Put the claims with these IDs, or all of them, to the test.

    Prints what was expected beside what was measured.  A claim is reproduced, refined (it holds
    with a difference that is named) or refuted (it does not hold here); ends with 1 where one
    differs from what its scenario says.
    """
    import json

    from dataflow_sim.cli.render import show
    from dataflow_sim.errors import InputError
    from dataflow_sim.report import files, studies
    from dataflow_sim.scenario.reading import read_scenario
    from dataflow_sim.scenario.shipped import shipped_scenarios
    from dataflow_sim.studies import run_scenarios
    from dataflow_sim.sweeps.store import Store

    check_out(out)
    shipped = shipped_scenarios("claims")
    unknown = [each for each in ids if each not in shipped]
    if unknown:
        raise InputError(f"no claim {', '.join(unknown)}; there are {', '.join(shipped)}")
    scenarios = [read_scenario(shipped[name]) for name in (dict.fromkeys(ids) or shipped)]
    executor = executor_of(processes, cluster)
    with (
        TemporaryDirectory() as thrown_away,
        Store(Path(store or thrown_away)) as kept,
        SweepProgress("claims") as progress,
    ):
        results = run_scenarios(scenarios, kept, executor, progress)
    if out is not None:
        page = studies.claims_page(results, f"{_PICTURES}/").encode()
        drawn = {n: data for each in results for n, data in studies.picture_files(each).items()}
        files.write_files(Path(out) / _PICTURES, drawn)
        files.write_files(Path(out), {"claims.md": page})
    if as_json:
        click.echo(json.dumps([each.to_json() for each in results], indent=2, ensure_ascii=False))
    else:
        show((studies.claims_table(results),))
        counts = {v: sum(r.verdict == v for r in results) for v in studies.VERDICTS}
        click.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))
    if any(not each.met or each.defects for each in results):
        raise click.exceptions.Exit(_FAILED)
