"""`dataflow-sim timeline`: when everything of a run happens, who waits for whom, what buys most."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataflow_sim.cli.options import (
    activation_bits_option,
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
    policy_option,
    set_option,
    weight_bits_option,
)

if TYPE_CHECKING:
    from dataflow_sim.pipeline import GroupWords, Plan, ReadRequest


@click.command("timeline")
@network_argument
@hardware_option
@local_memory_option
@policy_option
@weight_bits_option
@activation_bits_option
@fps_option
@in_flight_option
@objective_option
@frames_option
@layers_option
@group_options
@click.option(
    "--sensitivity",
    is_flag=True,
    help="Also time machines with half and twice the bandwidth, memory, MACs and clock.",
)
@network_options
@set_option
@click.option(
    "--out",
    metavar="DIR",
    help="Write timeline.json, trace.json (for Perfetto), layers.csv, windows.csv, occupancy.csv, "
    "timeline and roofline, .png and .svg there; with --sensitivity also sensitivity.",
)
@json_option
def command(
    network: str,
    hw: str | None,
    local_memory: str | None,
    policy: str,
    weight_bits: int | None,
    activation_bits: int | None,
    fps: float | None,
    in_flight: int,
    objective: str,
    frames: int,
    layers: str | None,
    group: GroupWords,
    sensitivity: bool,
    request: ReadRequest,
    what_ifs: Plan,
    overrides: tuple[str, ...],
    out: str | None,
    as_json: bool,
) -> None:
    """Time NETWORK (an .onnx file or a built-in name) on HW, step by step and transfer by transfer.

    Prints latency and what limits it, what each engine does and waits for, the layers that take
    longest with the rate they reach and the one they would need not to wait.  With --frames all but
    frames a second is told of the first, cold frame.
    """
    from dataflow_sim import pipeline, timeline_study
    from dataflow_sim.cli.options import check_fps, check_out
    from dataflow_sim.cli.render import LateProgress, show, warn
    from dataflow_sim.hardware import DEFAULT_HARDWARE, load_hardware
    from dataflow_sim.report import files, timeline, timeline_files

    check_fps(fps)
    check_out(out)
    pipeline.check_frames(frames)
    pipeline.check_in_flight(in_flight)
    changed = hardware_changes(overrides, local_memory)
    machine = load_hardware(DEFAULT_HARDWARE if hw is None else hw, changed)
    options = pipeline.RunOptions(
        *(policy, weight_bits, activation_bits, fps, frames, objective, layers, group),
        in_flight=in_flight,
    )
    with LateProgress() as progress:
        graph = pipeline.load_network(network, request, what_ifs)
        found = timeline_study.study(graph, machine, options, progress, sensitivity=sensitivity)
    warn(found.run.warnings)
    if out is not None:
        files.write_files(Path(out), timeline_files.timeline_files(found))
    if as_json:
        click.echo(found.json_text(), nl=False)
        return
    assert found.run.timeline is not None
    show(
        (
            timeline.time_table(found.run.timeline),
            timeline.engine_table(found.run.timeline.engines),
            timeline.layer_table(found.run.timeline),
            *([timeline.sensitivity_table(found)] if sensitivity else []),
        )
    )
    if out is not None:
        click.echo(f"written to {out}")
