"""`dataflow-sim run`: schedule a network on a machine and tell what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataflow_sim.cli.options import (
    POLICIES,
    activation_bits_option,
    check_fps,
    check_out,
    fps_option,
    frames_option,
    group_options,
    hardware_changes,
    hardware_option,
    in_flight_option,
    json_option,
    layers_option,
    local_memory_option,
    network_argument,
    network_options,
    objective_option,
    set_option,
    weight_bits_option,
)

_EXACT_SECONDS = 60.0

if TYPE_CHECKING:
    from dataflow_sim.pipeline import GroupWords, Plan, ReadRequest


@click.command("run")
@network_argument
@hardware_option
@local_memory_option
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    show_default="layerwise; merged with --exact",
    help="layerwise: every layer alone, every map through DRAM; resident: maps may stay in "
    "local memory; merged: layers may also run together, row by row.",
)
@weight_bits_option
@activation_bits_option
@fps_option
@in_flight_option
@objective_option
@frames_option
@layers_option
@group_options
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
@set_option
@click.option(
    "--out",
    metavar="DIR",
    help="Write result.json, layers.csv, local_memory.csv, traffic.png and .svg there; of a "
    "program that was lowered also buffers.csv, which `place` reads, live_set and memory, .png and "
    ".svg.",
)
@json_option
def command(
    network: str,
    hw: str | None,
    local_memory: str | None,
    policy: str | None,
    weight_bits: int | None,
    activation_bits: int | None,
    fps: float | None,
    in_flight: int,
    objective: str,
    frames: int,
    layers: str | None,
    group: GroupWords,
    exact: bool,
    exact_seconds: float | None,
    request: ReadRequest,
    what_ifs: Plan,
    overrides: tuple[str, ...],
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
    from dataflow_sim import pipeline
    from dataflow_sim.cli.render import LateProgress, show, warn
    from dataflow_sim.errors import InputError
    from dataflow_sim.hardware import DEFAULT_HARDWARE, load_hardware
    from dataflow_sim.report import files, tables, timeline

    check_fps(fps)
    check_out(out)
    if exact_seconds is not None and not exact:
        raise InputError("--exact-seconds goes with --exact; give both, or neither")
    pipeline.check_frames(frames)
    pipeline.check_in_flight(in_flight)
    changed = hardware_changes(overrides, local_memory)
    machine = load_hardware(DEFAULT_HARDWARE if hw is None else hw, changed)
    policy = policy or ("merged" if exact else "layerwise")
    work = _EXACT_SECONDS if exact_seconds is None else exact_seconds
    options = pipeline.RunOptions(
        *(policy, weight_bits, activation_bits, fps, frames, objective, layers, group),
        exact_seconds=work if exact else None,
        in_flight=in_flight,
    )
    with LateProgress() as progress:
        graph = pipeline.load_network(network, request, what_ifs)
        result = pipeline.run(graph, machine, options, progress)
    warn(result.warnings)
    if out is not None:
        files.write_files(Path(out), files.run_files(result))
    if as_json:
        click.echo(result.json_text(), nl=False)
        return
    show(
        (
            tables.summary_table(result),
            tables.traffic_table(result),
            *([] if frames == 1 else [tables.frames_table(result)]),
            *([] if result.timeline is None else [timeline.time_table(result.timeline)]),
            tables.energy_table(result),
            tables.costliest_layers(result),
            *([] if policy == "layerwise" else [tables.group_table(result)]),
        )
    )
    if out is not None:
        click.echo(f"written to {out}")
