"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from dataflow_sim.errors import InputError
from dataflow_sim.units import parse_bytes, parse_rows_by_columns

POLICIES = ("layerwise", "resident", "merged")
OBJECTIVES = ("dram", "energy", "latency", "edp", "energy-delay")
_FASTEST_FPS = 1e9
_LONGEST_NUMBER = 8  # digits

Command = TypeVar("Command", bound=Callable[..., Any])

_NETWORK_OPTIONS = (
    click.option(
        "--dim",
        "dims",
        multiple=True,
        metavar="NAME=VALUE",
        help="Bind a symbolic dimension of the network; may be repeated.",
    ),
    click.option("--batch", metavar="N", help="Images, or sequences, at a time."),
    click.option(
        "--input-size", metavar="HxW", help="Rows and columns of the input image, as in 320x320."
    ),
    click.option(
        "--branch",
        "branches",
        multiple=True,
        metavar="NODE=then|else",
        help="The branch that an If takes; may be repeated.",
    ),
    click.option(
        "--trips",
        multiple=True,
        metavar="NODE=N",
        help="How often a Loop runs; may be repeated.",
    ),
    click.option("--strict", is_flag=True, help="Refuse operators that are not understood."),
    click.option(
        "--what-if",
        "what_ifs",
        multiple=True,
        metavar="NAME=VALUE",
        help="Change the network first, as in weight_bits=4 or prune=0.5:multiple=8; may be "
        "repeated.  `whatifs` lists them.",
    ),
)
hardware_option = click.option(
    "--hw",
    metavar="HW",
    shell_complete=lambda *asked: complete_hardware(*asked),
    help="Hardware file, or a name that `hardware` lists.",
)
local_memory_option = click.option(
    "--local-memory", metavar="SIZE", help="Local memory, such as 256KiB."
)
POLICY_HELP = (
    "layerwise: every layer alone, every map through DRAM; resident: maps may stay in "
    "local memory; merged: layers may also run together, row by row."
)
_objective_option = click.option(
    "--objective",
    type=click.Choice(OBJECTIVES),
    default="dram",
    show_default=True,
    help="What the schedule is the best in: DRAM bytes, energy, latency, or their product (edp).",
)
_frames_option = click.option(
    "--frames",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Frames one after the other; weights may stay in local memory from one to the next.",
)
_fps_option = click.option(
    "--fps",
    type=float,
    metavar="RATE",
    help="Frames a second: the GB/s that they need, and whether they are reached.",
)
_in_flight_option = click.option(
    "--in-flight",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Frames under way at a time, 1 or 2: the next one's loads may go ahead of this one's last "
    "steps.",
)
weight_bits_option = click.option(
    "--weight-bits", type=int, metavar="N", help="Width of all weights."
)
activation_bits_option = click.option(
    "--activation-bits", type=int, metavar="N", help="Width of all feature maps."
)
layers_option = click.option(
    "--layers",
    metavar="FIRST:LAST",
    help="Only these layers of the network, in its order, by name or number from 1, as in "
    "conv1_1:conv3_1; either side may be left out.",
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the hardware file, as in dram.energy=20pJ/bit; may be repeated.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
_RUN_OPTIONS = (
    *(hardware_option, local_memory_option, set_option, weight_bits_option),
    *(activation_bits_option, _fps_option, _in_flight_option, _objective_option, _frames_option),
    layers_option,
)


_GROUP_OPTIONS = (
    click.option(
        "--force-group",
        metavar="FIRST:LAST",
        help="Layers that run as one group, by name or number; with --policy merged.",
    ),
    click.option(
        "--tile",
        metavar="WxH",
        help="That group runs by tiles so wide and so high of its last layer's output.",
    ),
    click.option(
        "--halo",
        type=click.Choice(("recompute", "cache-x", "cache", "best")),
        default="best",
        show_default=True,
        help="What tiles have in common is made again, kept along a line of tiles, or kept.",
    ),
    click.option(
        "--weights",
        type=click.Choice(("resident", "refetch", "best")),
        default="best",
        show_default=True,
        help="That group's kernels stay, or are fetched again in every firing.",
    ),
)


def network_argument(command: Command) -> Command:
    """The NETWORK argument: an .onnx file or a built-in name."""
    return click.argument("network", metavar="NETWORK", shell_complete=complete_network)(command)


def _completed(names: Iterable[str], typed: str) -> list[CompletionItem]:
    """Names that begin as typed, and files."""
    found = [CompletionItem(name) for name in names if name.startswith(typed)]
    return [*found, CompletionItem(typed, type="file")]


def complete_network(
    context: click.Context, parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Built-in networks, for a shell that completes."""
    from dataflow_sim.networks import BUILT_IN

    return _completed(BUILT_IN, typed)


def complete_hardware(
    context: click.Context, parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Shipped machines, for a shell that completes."""
    from dataflow_sim.resources import shipped_files

    return _completed(shipped_files("hw_configs", ".yaml"), typed)


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


def hardware_changes(overrides: Sequence[str], local_memory: str | None) -> dict[str, str]:
    """What `--set` and `--local-memory` change of the hardware file.  Raises InputError."""
    changed = pairs(overrides, "--set")
    if local_memory is None:
        return changed
    if "local_memory.capacity" in changed:
        raise InputError("--local-memory and --set local_memory.capacity: give one of them")
    try:
        changed["local_memory.capacity"] = f"{parse_bytes(local_memory)}B"
    except InputError as error:
        raise InputError(f"--local-memory: {error}") from None
    if changed["local_memory.capacity"] == "0B":
        raise InputError("--local-memory is 0 bytes; give at least 1")
    return changed


def network_options(command: Command) -> Command:
    """How networks are read and changed: the command receives `request` and `what_ifs`."""

    @wraps(command)
    def with_request(
        *args: Any,
        dims: tuple[str, ...],
        batch: str | None,
        input_size: str | None,
        branches: tuple[str, ...],
        trips: tuple[str, ...],
        strict: bool,
        what_ifs: tuple[str, ...],
        **others: Any,
    ) -> None:
        from dataflow_sim.pipeline import ReadRequest, parse_what_ifs

        request = ReadRequest(
            dims=_numbers(dims, "--dim"),
            batch=None if batch is None else _whole(batch, f"--batch {batch}"),
            input_size=None if input_size is None else _size(input_size),
            branches=_branches(branches),
            trips=_numbers(trips, "--trips", least=0),
            strict=strict,
        )
        command(*args, request=request, what_ifs=parse_what_ifs(what_ifs), **others)

    result: Any = with_request
    for option in reversed(_NETWORK_OPTIONS):
        result = option(result)
    return cast(Command, result)


def group_options(command: Command) -> Command:
    """What is demanded of a merged group: the command receives one `group` instead."""

    @wraps(command)
    def with_group(
        *args: Any,
        force_group: str | None,
        tile: str | None,
        halo: str,
        weights: str,
        **others: Any,
    ) -> None:
        from dataflow_sim.pipeline import GroupWords

        command(*args, group=GroupWords(force_group, tile, halo, weights), **others)

    result: Any = with_group
    for option in reversed(_GROUP_OPTIONS):
        result = option(result)
    return cast(Command, result)


def run_options(command: Command) -> Command:
    """What is run on which machine: the command receives `machine` and `options`."""

    @wraps(command)
    def with_options(
        *args: Any,
        hw: str | None,
        local_memory: str | None,
        overrides: tuple[str, ...],
        weight_bits: int | None,
        activation_bits: int | None,
        fps: float | None,
        in_flight: int,
        objective: str,
        frames: int,
        layers: str | None,
        group: Any,
        **others: Any,
    ) -> None:
        from dataflow_sim.hardware import DEFAULT_HARDWARE, load_hardware
        from dataflow_sim.pipeline import RunOptions, check_frames, check_in_flight

        if fps is not None and not 0 < fps <= _FASTEST_FPS:
            raise InputError(
                f"--fps is {fps}; a frame rate is above 0 and at most {_FASTEST_FPS:g}"
            )
        check_frames(frames)
        check_in_flight(in_flight)
        changed = hardware_changes(overrides, local_memory)
        machine = load_hardware(DEFAULT_HARDWARE if hw is None else hw, changed)
        options = RunOptions(
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            frames_per_second=fps,
            frames=frames,
            objective=objective,
            layers=layers,
            group=group,
            in_flight=in_flight,
        )
        command(*args, machine=machine, options=options, **others)

    result: Any = group_options(with_options)
    for option in reversed(_RUN_OPTIONS):
        result = option(result)
    return cast(Command, result)


def check_out(out: str | None, option: str = "--out") -> None:
    """Raise InputError for a directory without a name."""
    if out is not None and not out.strip():
        raise InputError(f"{option} is empty; give a directory")


def _whole(text: str, what: str, least: int = 1) -> int:
    legal = text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER
    if not legal or int(text) < least:
        raise InputError(f"{what[:60]}: a whole number from {least} up to 2^24")
    return int(text)


def _numbers(texts: Sequence[str], option: str, least: int = 1) -> dict[str, int]:
    return {
        name: _whole(value, f"{option} {name}={value}", least)
        for name, value in pairs(texts, option, last=True).items()
    }


def _size(text: str) -> tuple[int, int]:
    try:
        return parse_rows_by_columns(text)
    except InputError as error:
        raise InputError(f"--input-size: {error}") from None


def _branches(texts: Sequence[str]) -> dict[str, str]:
    found = pairs(texts, "--branch", last=True)
    for name, branch in found.items():
        if branch not in ("then", "else"):
            raise InputError(f"--branch {name}={branch}: an If has the branches then and else")
    return found
