"""`dataflow-sim operators`: what the reader knows of every operator."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from dataflow_sim.cli.options import json_option


@click.command("operators")
@json_option
def command(as_json: bool) -> None:
    """List the operators that are understood, and what becomes of them.

    All others are charged as elementwise reads and writes and named in a warning; with
    --strict they are refused.
    """
    from dataflow_sim.cli.render import show
    from dataflow_sim.pipeline import catalogue
    from dataflow_sim.report.tables import Table

    found = catalogue()
    if as_json:
        click.echo(json.dumps([asdict(row) for row in found], indent=2))
        return
    rows = tuple(
        (
            row.operator,
            row.becomes,
            row.macs,
            row.reads,
            row.merges,
            "yes" if row.in_place else "",
        )
        for row in found
    )
    columns = ("operator", "becomes", "MACs", "reads", "merges", "in place")
    show((Table("Operators", columns, rows),))
