"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from dataflow_sim.errors import InputError

Command = TypeVar("Command", bound=Callable[..., Any])

dim_option = click.option(
    "--dim",
    "dims",
    multiple=True,
    metavar="NAME=VALUE",
    help="Bind a symbolic dimension of the network; may be repeated.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


def network_argument(command: Command) -> Command:
    """The NETWORK argument: an .onnx file or a built-in name."""
    return click.argument("network", metavar="NETWORK")(command)


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` texts as a mapping.  Raises InputError."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InputError(f"{option} {text}: write NAME=VALUE")
        if name in found:
            raise InputError(f"{option} {name} is given twice")
        found[name] = value
    return found


def dimensions(texts: Sequence[str]) -> dict[str, int]:
    """The values of --dim.  Raises InputError."""
    found = {}
    for name, value in pairs(texts, "--dim").items():
        if not value.isdigit() or int(value) < 1:
            raise InputError(f"--dim {name}={value}: a dimension is a whole number from 1 up")
        found[name] = int(value)
    return found
