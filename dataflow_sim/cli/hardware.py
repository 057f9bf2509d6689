"""`dataflow-sim hardware`: the shipped machines, one of them in full, or what a file may say."""

from __future__ import annotations

import json

import click

from dataflow_sim.cli.options import hardware_changes, json_option, set_option


@click.command("hardware")
@click.argument("name", required=False, metavar="[HW]")
@set_option
@click.option("--schema", is_flag=True, help="Print the JSON Schema of hardware files.")
@click.option("--reference", is_flag=True, help="Print every key with its meaning, as Markdown.")
@json_option
def command(
    name: str | None, overrides: tuple[str, ...], schema: bool, reference: bool, as_json: bool
) -> None:
    """List the shipped hardware, or show one machine with every default filled in.

    Of a machine every figure stands with its source and how well it is known: published,
    derived or assumed.
    """
    from dataflow_sim.cli.render import show
    from dataflow_sim.errors import InputError
    from dataflow_sim.hardware import DEFAULT_HARDWARE, load_hardware
    from dataflow_sim.hardware.schema import json_schema, reference_page
    from dataflow_sim.report.hardware import figures_table, hardware_table, list_table
    from dataflow_sim.resources import shipped_files

    if schema + reference + (name is not None) > 1:
        raise InputError("--schema, --reference and the name of a machine: give one of them")
    if name is None and overrides:
        raise InputError("--set goes with the name of a machine")
    if schema:
        click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return
    if reference:
        click.echo(reference_page(), nl=False)
        return
    changed = hardware_changes(overrides, None)
    names = [name] if name is not None else list(shipped_files("hw_configs", ".yaml"))
    machines = [load_hardware(each, changed) for each in names]
    if as_json:
        records = [machine.to_json() for machine in machines]
        click.echo(json.dumps(records[0] if name else records, indent=2, ensure_ascii=False))
    elif name:
        show((hardware_table(machines[0].to_json()), figures_table(machines[0].to_json())))
    else:
        show((list_table([machine.to_json() for machine in machines], DEFAULT_HARDWARE),))
