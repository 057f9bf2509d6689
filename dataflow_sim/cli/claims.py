"""`dataflow-sim claims`: the claims of five talks, each put to the test by a scenario."""

from __future__ import annotations

from pathlib import Path

import click

from dataflow_sim.cli.options import check_out, json_option
from dataflow_sim.cli.sweeping import executor_of, shipped_studies, where_options

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
    from dataflow_sim.report import files, studies

    check_out(out)
    results = shipped_studies("claims", ids, store, executor_of(processes, cluster))
    if out is not None:
        page = studies.claims_page(results, f"{_PICTURES}/").encode()
        drawn = {
            n: data for each in results for n, data in studies.picture_files(each, ("svg",)).items()
        }
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
