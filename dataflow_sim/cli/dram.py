"""`dataflow-sim dram`: what a DRAM part makes of request traces."""

from __future__ import annotations

import json
from pathlib import Path

import click

from dataflow_sim.cli.options import json_option


@click.command("dram")
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option("--preset", required=True, metavar="NAME", help="The part, such as lpddr4 or hbm2.")
@click.option(
    "--model",
    type=click.Choice(("banks", "efficiency")),
    default="banks",
    show_default=True,
    help="Every access on its bank, at the clocks of the trace; or the closed form, as quick as "
    "they can go.",
)
@click.option("--queue", type=int, metavar="N", help="Accesses that the controller chooses from.")
@click.option(
    "--mapping",
    type=click.Choice(("row-bank-column", "bank-row-column")),
    default="row-bank-column",
    show_default=True,
    help="How addresses ascend, the slowest first.",
)
@click.option("--at-once", is_flag=True, help="Leave the clocks of the traces out.")
@json_option
def command(
    traces: tuple[str, ...],
    preset: str,
    model: str,
    queue: int | None,
    mapping: str,
    at_once: bool,
    as_json: bool,
) -> None:
    """Play each TRACE on one channel of a DRAM part.

    A trace has a request a line, as DRAMsim3 ('0x40 READ 12', with the clock at which it comes) or
    Ramulator 2 ('LD 0x40') read them; `timeline --requests` writes such of a run.  Prints time and
    rate, rows opened, and energy by commands.
    """
    from dataclasses import replace

    from dataflow_sim.cli.render import show
    from dataflow_sim.errors import InputError
    from dataflow_sim.hardware import dram_of
    from dataflow_sim.report.dram import stream_table
    from dataflow_sim.request_streams import play_stream, read_stream

    changed = {} if queue is None else {"queue": queue}
    dram = dram_of(preset, model=model, mapping=mapping, **changed)
    wrong, streams = [], []
    for trace in traces:
        try:
            streams.append(read_stream(Path(trace)))
        except InputError as error:
            wrong.append(str(error))
    if wrong:
        raise InputError("\n".join(wrong))
    if at_once:
        streams = [replace(stream, clocks=None) for stream in streams]
    found = [play_stream(dram, stream) for stream in streams]
    if as_json:
        records = [each.to_json() for each in found]
        click.echo(json.dumps(records[0] if len(found) == 1 else records, indent=2))
    else:
        show((stream_table(found),))
