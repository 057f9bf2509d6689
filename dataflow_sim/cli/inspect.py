"""`dataflow-sim inspect`: what a network computes and holds, without hardware."""

from __future__ import annotations

import click

from dataflow_sim.cli.options import dim_option, dimensions, json_option, network_argument


@click.command("inspect")
@network_argument
@dim_option
@json_option
def command(network: str, dims: tuple[str, ...], as_json: bool) -> None:
    """Show NETWORK's layers, MACs, parameters, live set and lifetimes, before any hardware."""
    from dataflow_sim import inspection, pipeline
    from dataflow_sim.cli.render import show, warn
    from dataflow_sim.report.network import inspect_tables

    result = inspection.inspect(pipeline.load_network(network, dimensions(dims)))
    warn(result.warnings)
    if as_json:
        click.echo(result.json_text(), nl=False)
    else:
        show(inspect_tables(result))
