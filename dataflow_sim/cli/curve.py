"""`dataflow-sim curve`: DRAM bytes against local memory, at the exact breakpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataflow_sim.cli.options import (
    POLICIES,
    activation_bits_option,
    complete_network,
    group_options,
    hardware_option,
    json_option,
    layers_option,
    network_options,
    pairs,
    set_option,
    weight_bits_option,
)

if TYPE_CHECKING:
    from dataflow_sim.pipeline import GroupWords, Plan, ReadRequest


@click.command("curve")
@click.argument(
    "networks", metavar="NETWORK...", nargs=-1, required=True, shell_complete=complete_network
)
@hardware_option
@click.option(
    "--policy",
    "policies",
    type=click.Choice(POLICIES),
    multiple=True,
    help="As for `run`; may be repeated.  Without it merged, with --plot layerwise and merged.",
)
@weight_bits_option
@activation_bits_option
@layers_option
@group_options
@network_options
@set_option
@click.option("--plot", metavar="FILE", help="Draw the curves to FILE, a .png or .svg.")
@json_option
def command(
    networks: tuple[str, ...],
    hw: str | None,
    policies: tuple[str, ...],
    weight_bits: int | None,
    activation_bits: int | None,
    layers: str | None,
    group: GroupWords,
    request: ReadRequest,
    what_ifs: Plan,
    overrides: tuple[str, ...],
    plot: str | None,
    as_json: bool,
) -> None:
    """Tell what local memory buys: the DRAM bytes of each NETWORK at every memory size.

    A curve holds for all sizes at once; its JSON has every breakpoint, the tables those
    around powers of two.  The hardware's own local memory plays no part.
    """
    from dataflow_sim import pipeline
    from dataflow_sim.cli.render import LateProgress, show, warn
    from dataflow_sim.hardware import DEFAULT_HARDWARE, load_hardware
    from dataflow_sim.report import files
    from dataflow_sim.report.curves import curve_table
    from dataflow_sim.results_of_curves import curves_text

    policies = policies or (("layerwise", "merged") if plot is not None else ("merged",))
    _refuse_twice("NETWORK", networks)
    _refuse_twice("--policy", policies)
    changed = pairs(overrides, "--set")
    kind = None if plot is None else files.picture_kind(Path(plot))
    machine = load_hardware(DEFAULT_HARDWARE if hw is None else hw, changed)
    found = []
    with LateProgress() as progress:
        graphs = [pipeline.load_network(network, request, what_ifs) for network in networks]
        for graph in graphs:
            curves = []
            for policy in policies:
                options = pipeline.RunOptions(
                    policy, weight_bits, activation_bits, layers=layers, group=group
                )
                told = progress.of(f"{graph.name}, {policy}")
                curves.append(pipeline.curve(graph, machine, options, told))
            found.append(curves)
    for curves in found:
        warn(curves[0].warnings)
    if plot is not None and kind is not None:
        from dataflow_sim.report.curve_plot import budget_picture

        files.write_picture(Path(plot), budget_picture(found, kind))
    if as_json:
        click.echo(curves_text([curve for curves in found for curve in curves]), nl=False)
        return
    show(curve_table(curves) for curves in found)
    if plot is not None:
        click.echo(f"written to {plot}")


def _refuse_twice(what: str, values: tuple[str, ...]) -> None:
    """Nothing is computed twice over.  Raises InputError."""
    from dataflow_sim.errors import InputError

    for value in values:
        if values.count(value) > 1:
            raise InputError(f"{what} {value} is given twice; name each once")
