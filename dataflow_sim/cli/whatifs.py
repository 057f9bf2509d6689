"""`dataflow-sim whatifs`: what may be changed of a network before it is scheduled."""

from __future__ import annotations

import json

import click

from dataflow_sim.cli.options import json_option


@click.command("whatifs")
@click.argument("name", required=False, metavar="[NAME]")
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the what-ifs in the order in which they run, or show one with its options.

    They go with `run`, `curve`, `explain`, `inspect` and `replay`, as in --what-if weight_bits=4
    --what-if prune=0.5:multiple=8.
    """
    from dataflow_sim.cli.render import show
    from dataflow_sim.errors import InputError
    from dataflow_sim.report.what_ifs import list_table, one_table
    from dataflow_sim.whatif import WHAT_IFS, described

    if name is not None and name not in WHAT_IFS:
        raise InputError(f"unknown what-if '{name[:60]}'; there are {', '.join(WHAT_IFS)}")
    found = [described(each) for each in WHAT_IFS.values() if name in (None, each.name)]
    if as_json:
        click.echo(json.dumps(found[0] if name else found, indent=2, ensure_ascii=False))
    elif name is not None:
        show((one_table(found[0]),))
    else:
        show((list_table(found),))
