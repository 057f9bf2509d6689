"""`dataflow-sim inspect`: what a network computes and holds, without hardware."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataflow_sim.cli.options import json_option, network_argument, network_options

if TYPE_CHECKING:
    from dataflow_sim.pipeline import Plan, ReadRequest


@click.command("inspect")
@network_argument
@network_options
@click.option(
    "--passes",
    is_flag=True,
    help="Show also what the reader made of the file; the JSON always tells.",
)
@click.option(
    "--out",
    metavar="DIR",
    help="Write result.json, layers.csv, lifetimes.csv, live_set.png and .svg there.",
)
@click.option(
    "--annotate",
    metavar="FILE",
    help="Write a copy of the .onnx file NETWORK there, with each layer's figures in the metadata "
    "of its node, where viewers show them.",
)
@click.option(
    "--weights",
    is_flag=True,
    help="Measure the values that the .onnx file NETWORK carries, kernel by kernel.",
)
@json_option
def command(
    network: str,
    request: ReadRequest,
    what_ifs: Plan,
    passes: bool,
    out: str | None,
    annotate: str | None,
    weights: bool,
    as_json: bool,
) -> None:
    """Show NETWORK's layers, MACs, parameters, live set and lifetimes, before any hardware.

    Operations per byte are 2 x MACs over the elements of the weights (kernels and per-channel
    constants), and over all elements that a layer reads and writes, each once; one byte an
    element.
    """
    from dataflow_sim import inspection, pipeline
    from dataflow_sim.cli.render import show, warn
    from dataflow_sim.errors import InputError
    from dataflow_sim.report.network import inspect_tables

    if out is not None and not out.strip():
        raise InputError("--out is empty; give a directory")
    if annotate is not None:
        if what_ifs.steps:
            raise InputError("--annotate writes into the file's own nodes; leave --what-if out")
        _refuse_built_in(network)
        inspection.check_annotated_copy(Path(network), Path(annotate))
    graph = pipeline.load_network(network, request, what_ifs)
    result = inspection.inspect(graph)
    if weights:
        path = pipeline.named_file(network)
        if path is None:
            raise InputError(f"--weights: '{network}' is a built-in network, which has no values")
        result = replace(result, weights=inspection.measured_kernels(graph, path))
    if out is not None:
        from dataflow_sim.report import files
        from dataflow_sim.report.network_files import network_files

        files.write_files(Path(out), network_files(result))
    warnings = result.warnings
    if annotate is not None:
        warnings += inspection.write_annotated_copy(result, Path(network), Path(annotate))
    warn(warnings)
    if as_json:
        click.echo(result.json_text(), nl=False)
        return
    show(inspect_tables(result, passes=passes, weights=weights))
    for written in (out, annotate):
        if written is not None:
            click.echo(f"written to {written}")


def _refuse_built_in(network: str) -> None:
    """Only a file can be copied.  Raises InputError."""
    from dataflow_sim.errors import InputError
    from dataflow_sim.pipeline import is_built_in

    if is_built_in(network):
        raise InputError(
            f"--annotate: '{network}' is a built-in network, not a file; "
            f"`networks export {network} FILE` makes one"
        )
