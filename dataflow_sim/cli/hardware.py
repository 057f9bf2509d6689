"""`dataflow-sim hardware`: the shipped machines, or one of them in full."""

from __future__ import annotations

import json

import click

from dataflow_sim.cli.options import json_option


@click.command("hardware")
@click.argument("name", required=False, metavar="[HW]")
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the shipped hardware, or show one file with every default filled in."""
    from dataflow_sim.cli.render import show
    from dataflow_sim.hardware import DEFAULT_HARDWARE, load_hardware
    from dataflow_sim.report.hardware import hardware_table, list_table
    from dataflow_sim.resources import shipped_files

    names = [name] if name is not None else list(shipped_files("hw_configs", ".yaml"))
    machines = [load_hardware(each) for each in names]
    if as_json:
        records = [machine.model_dump() for machine in machines]
        click.echo(json.dumps(records[0] if name else records, indent=2))
    elif name:
        show((hardware_table(machines[0].model_dump()),))
    else:
        show((list_table([machine.model_dump() for machine in machines], DEFAULT_HARDWARE),))
