"""`dataflow-sim networks`: the built-in networks."""

from __future__ import annotations

import json

import click

from dataflow_sim.cli.options import json_option


@click.command("networks")
@json_option
def command(as_json: bool) -> None:
    """List the built-in networks."""
    from dataflow_sim import inspection, pipeline
    from dataflow_sim.cli.render import show
    from dataflow_sim.networks import BUILT_IN
    from dataflow_sim.report.tables import Table

    found = [
        (row, inspection.inspect(pipeline.load_network(row.name))) for row in BUILT_IN.values()
    ]
    if as_json:
        records = [
            {
                "name": row.name,
                "description": row.description,
                "width": row.has_width,
                "macs": facts.macs,
                "parameters": facts.parameters,
            }
            for row, facts in found
        ]
        click.echo(json.dumps(records, indent=2))
        return
    rows = tuple(
        (
            row.name + ("[@WIDTH]" if row.has_width else ""),
            f"{facts.macs / 1e6:,.1f} M",
            f"{facts.parameters / 1e6:,.2f} M",
            row.description,
        )
        for row, facts in found
    )
    columns = ("network", "MACs", "parameters", "description")
    show((Table("Built-in networks, 224 x 224 pixels", columns, rows),))
