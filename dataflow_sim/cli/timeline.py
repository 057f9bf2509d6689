"""`dataflow-sim timeline`: when everything of a run happens, who waits for whom, what buys most."""

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

if TYPE_CHECKING:
    from dataflow_sim.hardware import Hardware
    from dataflow_sim.pipeline import Plan, ReadRequest, RunOptions


@click.command("timeline")
@network_argument
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    default="layerwise",
    show_default=True,
    help=POLICY_HELP,
)
@run_options
@click.option(
    "--sensitivity",
    is_flag=True,
    help="Also time machines with half and twice the bandwidth, memory, MACs and clock.",
)
@click.option(
    "--requests",
    "trace_format",
    type=click.Choice(("dramsim3", "ramulator2")),
    help="Also write what DRAM is asked for to --out, a trace for each channel.",
)
@network_options
@click.option(
    "--out",
    metavar="DIR",
    help="Write timeline.json, trace.json (for Perfetto), layers.csv, windows.csv, occupancy.csv, "
    "timeline and roofline, .png and .svg there; with --sensitivity also sensitivity.",
)
@json_option
def command(
    network: str,
    policy: str,
    machine: Hardware,
    options: RunOptions,
    sensitivity: bool,
    trace_format: str | None,
    request: ReadRequest,
    what_ifs: Plan,
    out: str | None,
    as_json: bool,
) -> None:
    """Time NETWORK (an .onnx file or a built-in name) on HW, step by step and transfer by transfer.

    Prints latency and what limits it, what each engine does and waits for, the layers that take
    longest with the rate they reach and the one they would need not to wait.  With --frames all but
    frames a second is told of the first, cold frame.
    """
    from dataclasses import replace

    from dataflow_sim import pipeline, timeline_study
    from dataflow_sim.cli.render import LateProgress, show, warn
    from dataflow_sim.errors import InputError
    from dataflow_sim.report import dram, files, timeline, timeline_files

    check_out(out)
    if trace_format is not None and out is None:
        raise InputError("--requests writes traces; give --out DIR")
    options = replace(options, policy=policy)
    with LateProgress() as progress:
        graph = pipeline.load_network(network, request, what_ifs)
        found = timeline_study.study(
            graph,
            machine,
            options,
            progress,
            sensitivity=sensitivity,
            requests=trace_format is not None,
        )
    warn(found.run.warnings)
    if out is not None:
        files.write_files(Path(out), timeline_files.timeline_files(found, trace_format))
    if as_json:
        click.echo(found.json_text(), nl=False)
        return
    assert found.run.timeline is not None
    delivered = found.run.dram_delivery
    show(
        (
            timeline.time_table(found.run.timeline),
            timeline.engine_table(found.run.timeline.engines),
            timeline.layer_table(found.run.timeline),
            *([] if delivered is None else [dram.dram_table(delivered)]),
            *([timeline.sensitivity_table(found)] if sensitivity else []),
        )
    )
    if out is not None:
        click.echo(f"written to {out}")
