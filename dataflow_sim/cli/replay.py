"""`dataflow-sim replay`: execute the program of a run on real tensors, and compare."""

from __future__ import annotations

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

_LARGEST_SEED = 2**32 - 1

if TYPE_CHECKING:
    from dataflow_sim.pipeline import GroupWords, Plan, ReadRequest


@click.command("replay")
@network_argument
@hardware_option
@local_memory_option
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    default="layerwise",
    show_default=True,
    help="As of `run`.",
)
@weight_bits_option
@activation_bits_option
@click.option(
    "--numbers",
    type=click.Choice(("integers", "float32", "quantised", "both")),
    default="both",
    show_default=True,
    help="integers: the program that `run` reports, at its widths, on integers drawn from a seed, "
    "against every layer on whole maps; float32: a program of 32-bit elements, against ONNX; "
    "quantised: the file's own integers, against ONNX; both: integers, and what the file has.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Draws inputs, and weights that the file does not carry.",
)
@click.option(
    "--max-seconds",
    type=float,
    metavar="N",
    help="Stop each execution after so long; what was stored by then is compared.",
)
@layers_option
@group_options
@network_options
@set_option
@json_option
def command(
    network: str,
    hw: str | None,
    local_memory: str | None,
    policy: str,
    weight_bits: int | None,
    activation_bits: int | None,
    numbers: str,
    seed: int,
    max_seconds: float | None,
    layers: str | None,
    group: GroupWords,
    request: ReadRequest,
    what_ifs: Plan,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Execute the program of NETWORK on HW instruction by instruction, and compare its results.

    Loads and stores copy real bits between a DRAM and a local memory of exactly as many bytes as
    the machine has; steps compute from what lies there, at the addresses that the program gives.
    To read what is not there, to write where something lives, or to leave an output out ends with
    code 1 and names the instruction.
    """
    from dataflow_sim import pipeline, replaying
    from dataflow_sim.cli.render import LateProgress, show, warn
    from dataflow_sim.errors import InputError, ProgramError
    from dataflow_sim.hardware import DEFAULT_HARDWARE, load_hardware
    from dataflow_sim.report.replay import replay_tables

    if not 0 <= seed <= _LARGEST_SEED:
        raise InputError(f"--seed is {seed}; a seed is 0 to {_LARGEST_SEED}")
    if max_seconds is not None and not 0 < max_seconds < float("inf"):
        raise InputError(f"--max-seconds is {max_seconds}; a time is above 0")
    changed = hardware_changes(overrides, local_memory)
    machine = load_hardware(DEFAULT_HARDWARE if hw is None else hw, changed)
    options = pipeline.RunOptions(policy, weight_bits, activation_bits, layers=layers, group=group)
    kinds = () if numbers == "both" else (numbers,)
    asked = replaying.ReplayOptions(kinds, seed, max_seconds)
    with LateProgress() as progress:
        result = replaying.replay_network(
            network, request, machine, options, asked, progress, what_ifs
        )
    warn(result.warnings)
    if as_json:
        click.echo(result.json_text(), nl=False)
    else:
        show(replay_tables(result))
    if not result.passed:
        faults = "; ".join(f"{e.numbers}: {e.fault}" for e in result.executions if e.fault)
        raise ProgramError(f"the replay failed: {faults}")
