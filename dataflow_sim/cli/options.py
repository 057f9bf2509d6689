"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from dataflow_sim.errors import InputError

POLICIES = ("layerwise", "resident", "merged")
_LONGEST_DIMENSION = 8  # digits

Command = TypeVar("Command", bound=Callable[..., Any])

dim_option = click.option(
    "--dim",
    "dims",
    multiple=True,
    metavar="NAME=VALUE",
    help="Bind a symbolic dimension of the network; may be repeated.",
)
hardware_option = click.option(
    "--hw", metavar="HW", help="Hardware file, or a name that `hardware` lists."
)
weight_bits_option = click.option(
    "--weight-bits", type=int, metavar="N", help="Width of all weights."
)
activation_bits_option = click.option(
    "--activation-bits", type=int, metavar="N", help="Width of all feature maps."
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the hardware file, as in dram.energy=20pJ/bit; may be repeated.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


def network_argument(command: Command) -> Command:
    """The NETWORK argument: an .onnx file or a built-in name."""
    return click.argument("network", metavar="NETWORK")(command)


def pairs(texts: Sequence[str], option: str, *, last: bool = False) -> dict[str, str]:
    """`NAME=VALUE` texts as a mapping, split at the first or the last `=`.  Raises InputError."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.rpartition("=") if last else text.partition("=")
        if not (name and equals and value):
            raise InputError(f"{option} {text}: write NAME=VALUE")
        if name in found:
            raise InputError(f"{option} {name} is given twice")
        found[name] = value
    return found


def dimensions(texts: Sequence[str]) -> dict[str, int]:
    """The values of --dim.  Raises InputError."""
    found = {}
    for name, value in pairs(texts, "--dim", last=True).items():
        legal = value.isascii() and value.isdigit() and len(value) <= _LONGEST_DIMENSION
        if not legal or int(value) < 1:
            shown = f"{name}={value}"[:60]
            raise InputError(f"--dim {shown}: a dimension is a whole number from 1 up to 2^24")
        found[name] = int(value)
    return found
