"""`dataflow-sim explain`: why a layer alone is tiled as it is, or why its group is as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dataflow_sim.cli.options import (
    POLICIES,
    activation_bits_option,
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

if TYPE_CHECKING:
    from dataflow_sim.pipeline import Plan, ReadRequest


@click.command("explain")
@network_argument
@click.argument("layer", metavar="LAYER")
@hardware_option
@local_memory_option
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    default="layerwise",
    show_default=True,
    help="layerwise: the layer alone, every map through DRAM; resident, merged: the group in "
    "which it runs in the schedule that `run` chooses.",
)
@weight_bits_option
@activation_bits_option
@layers_option
@network_options
@set_option
@json_option
def command(
    network: str,
    layer: str,
    hw: str | None,
    local_memory: str | None,
    policy: str,
    weight_bits: int | None,
    activation_bits: int | None,
    layers: str | None,
    request: ReadRequest,
    what_ifs: Plan,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Tell why LAYER of NETWORK is tiled as it is on HW: alone, every map through DRAM.

    Shows its loop nest with what is loaded where, what each tensor costs and why, the best
    tilings of all other nests, the bound, and what more memory would bring.  LAYER is a name
    that `inspect` lists, or a number in its order, from 1; with --layers in that of the part.

    With --policy resident or merged: the group in which LAYER runs, the line buffers of a merged
    one, the maps that stay around it, why it begins and ends where it does, and what
    the nearest other groups would need and move.
    """
    from dataflow_sim import explanation, pipeline
    from dataflow_sim.cli.render import LateProgress, show, warn
    from dataflow_sim.hardware import DEFAULT_HARDWARE, load_hardware
    from dataflow_sim.report.explanation import explain_tables
    from dataflow_sim.report.group_explanation import group_tables

    changed = hardware_changes(overrides, local_memory)
    machine = load_hardware(DEFAULT_HARDWARE if hw is None else hw, changed)
    options = pipeline.RunOptions(policy, weight_bits, activation_bits, layers=layers)
    graph = pipeline.load_network(network, request, what_ifs)
    if policy == "layerwise":
        result = explanation.explain(graph, machine, options, layer)
        warnings, text, tables = result.warnings, result.json_text(), explain_tables(result)
    else:
        with LateProgress() as progress:
            group = explanation.explain_group(graph, machine, options, layer, progress)
        warnings, text, tables = group.warnings, group.json_text(), group_tables(group)
    warn(warnings)
    if as_json:
        click.echo(text, nl=False)
        return
    show(tables)
