"""`dataflow-sim run`: schedule a network on a machine and tell what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataflow_sim.cli.options import (
    POLICIES,
    POLICY_HELP,
    check_out,
    json_option,
    network_argument,
    network_options,
    run_options,
)

_EXACT_SECONDS = 60.0

if TYPE_CHECKING:
    from dataflow_sim.hardware import Hardware
    from dataflow_sim.pipeline import Plan, ReadRequest, RunOptions


@click.command("run")
@network_argument
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    show_default="layerwise; merged with --exact",
    help=POLICY_HELP,
)
@run_options
@click.option(
    "--exact",
    is_flag=True,
    help="Search exactly as well: prove the schedule the best of its space, or tell how far from "
    "it it may be (needs the extra `exact`).",
)
@click.option(
    "--exact-seconds",
    type=float,
    metavar="N",
    help="About how long the exact search may work, by its own count of work.  [default: 60]",
)
@network_options
@click.option(
    "--out",
    metavar="DIR",
    help="Write result.json, layers.csv, local_memory.csv, traffic.png and .svg there, and "
    "review.json.gz, which `report` reads; of a program that was lowered also buffers.csv, which "
    "`place` reads, live_set and memory, .png and .svg.",
)
@json_option
def command(
    network: str,
    policy: str | None,
    machine: Hardware,
    options: RunOptions,
    exact: bool,
    exact_seconds: float | None,
    request: ReadRequest,
    what_ifs: Plan,
    out: str | None,
    as_json: bool,
) -> None:
    """Schedule NETWORK (an .onnx file or a built-in name) on HW and tell what it costs.

    Prints DRAM traffic by reason, energy, the compulsory floor and the gap to the bound, and
    the layers that cost most.  Without --hw the machine is `vision_processor`.

    With --frames all that is told of a frame is told of the first, cold one; `frames` adds
    a warm one, which finds some of its weights in local memory.

    With --exact the same input gives the same output, since the limit counts work, not time.
    """
    from dataclasses import replace

    from dataflow_sim import pipeline, reviewing
    from dataflow_sim.cli.render import LateProgress, show, warn
    from dataflow_sim.errors import InputError
    from dataflow_sim.report import dram, files, tables, timeline
    from dataflow_sim.reviews import REVIEW, review_file

    check_out(out)
    if exact_seconds is not None and not exact:
        raise InputError("--exact-seconds goes with --exact; give both, or neither")
    policy = policy or ("merged" if exact else "layerwise")
    work = _EXACT_SECONDS if exact_seconds is None else exact_seconds
    options = replace(options, policy=policy, exact_seconds=work if exact else None)
    with LateProgress() as progress:
        graph = pipeline.load_network(network, request, what_ifs)
        if out is None:
            result = pipeline.run(graph, machine, options, progress)
        else:
            found = reviewing.review(graph, machine, options, progress)
            result = found.run
    warn(result.warnings)
    if out is not None:
        written = {**files.run_files(result), REVIEW: review_file(found)}
        files.write_files(Path(out), written)
    if as_json:
        click.echo(result.json_text(), nl=False)
        return
    show(
        (
            tables.summary_table(result),
            tables.traffic_table(result),
            *([] if options.frames == 1 else [tables.frames_table(result)]),
            *([] if result.timeline is None else [timeline.time_table(result.timeline)]),
            tables.energy_table(result),
            *([] if result.dram_delivery is None else [dram.dram_table(result.dram_delivery)]),
            tables.costliest_layers(result),
            *([] if policy == "layerwise" else [tables.group_table(result)]),
        )
    )
    if out is not None:
        click.echo(f"written to {out}")
