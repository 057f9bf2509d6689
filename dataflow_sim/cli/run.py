"""`dataflow-sim run`: schedule a network on a machine and tell what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataflow_sim.cli.options import (
    POLICIES,
    activation_bits_option,
    group_options,
    hardware_changes,
    hardware_option,
    json_option,
    layers_option,
    local_memory_option,
    network_argument,
    network_options,
    set_option,
    weight_bits_option,
)

_FASTEST_FPS = 1e9
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
@click.option("--fps", type=float, metavar="RATE", help="Frames a second, for required GB/s.")
@click.option(
    "--objective",
    type=click.Choice(("dram", "energy", "latency", "energy-delay")),
    default="dram",
    show_default=True,
    help="What the schedule is the best in: DRAM bytes, energy, latency, or their product.",
)
@click.option(
    "--frames",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Frames one after the other; weights may stay in local memory from one to the next.",
)
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
    from dataflow_sim.report import files, tables

    if fps is not None and not 0 < fps <= _FASTEST_FPS:
        raise InputError(f"--fps is {fps}; a frame rate is above 0 and at most {_FASTEST_FPS:g}")
    if exact_seconds is not None and not exact:
        raise InputError("--exact-seconds goes with --exact; give both, or neither")
    pipeline.check_frames(frames)
    if out is not None and not out.strip():
        raise InputError("--out is empty; give a directory")
    changed = hardware_changes(overrides, local_memory)
    machine = load_hardware(DEFAULT_HARDWARE if hw is None else hw, changed)
    policy = policy or ("merged" if exact else "layerwise")
    work = _EXACT_SECONDS if exact_seconds is None else exact_seconds
    options = pipeline.RunOptions(
        *(policy, weight_bits, activation_bits, fps, frames, objective, layers, group),
        exact_seconds=work if exact else None,
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
            tables.energy_table(result),
            tables.costliest_layers(result),
            *([] if policy == "layerwise" else [tables.group_table(result)]),
        )
    )
    if out is not None:
        click.echo(f"written to {out}")
