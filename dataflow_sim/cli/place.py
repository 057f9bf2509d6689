"""`dataflow-sim place`: an address for every buffer of a file of lifetimes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from dataflow_sim.cli.options import json_option

_LARGEST_BYTES = 1 << 40
_MOST_WORK = 10**12

Value = TypeVar("Value")


@click.command("place")
@click.argument("lifetimes", metavar="LIFETIMES.csv")
@click.option(
    "--capacity",
    metavar="SIZE",
    help="The memory that the buffers have to fit, such as 1MiB; without it they are placed as "
    "low as it goes.",
)
@click.option(
    "--alignment",
    default="1",
    show_default=True,
    metavar="SIZE",
    help="Every address is a multiple of it.",
)
@click.option(
    "--work",
    type=int,
    metavar="N",
    help="How long the search may work, counted in buffers placed.",
)
@click.option(
    "--out",
    metavar="FILE",
    help="Write the buffers with their offsets to FILE, a .csv.",
)
@click.option("--plot", metavar="FILE", help="Draw the memory over time to FILE, a .png or .svg.")
@json_option
def command(
    lifetimes: str,
    capacity: str | None,
    alignment: str,
    work: int | None,
    out: str | None,
    plot: str | None,
    as_json: bool,
) -> None:
    """Give every buffer of LIFETIMES.csv an address, so that none overlap that live at a time.

    The file has the columns id, lower, upper and size, in any order: a buffer of so many bytes
    lives in [lower, upper).  Further columns are ignored; `run --out` writes such a file.

    Prints the live peak, which no addresses can be below, the allocated peak, and what is lost
    between the two.  Exit code 3 where the buffers do not fit the capacity.
    """
    from dataflow_sim import placing
    from dataflow_sim.cli.render import show
    from dataflow_sim.report.placement import placement_csv, placement_table

    source = Path(lifetimes)
    problems = _Problems()
    capacity_bytes = problems.of(lambda: _size("--capacity", capacity))
    alignment_bytes = problems.of(lambda: _size("--alignment", alignment))
    problems.of(lambda: _check_work(work))
    problems.of(lambda: _check_table(source, out))
    kind = problems.of(lambda: _picture_kind(plot))
    buffers = problems.of(lambda: placing.read_lifetimes(source))
    problems.refuse()
    result = placing.place_buffers(
        source.name,
        buffers or (),
        capacity_bytes,
        alignment_bytes=alignment_bytes or 1,
        work=placing.WORK if work is None else work,
    )
    if out is not None:
        from dataflow_sim.report.files import write_table

        write_table(Path(out), placement_csv(result))
    if plot is not None and kind is not None:
        from dataflow_sim.report.files import write_picture
        from dataflow_sim.report.memory_map_plot import placement_picture

        write_picture(Path(plot), placement_picture(result, kind))
    if as_json:
        click.echo(result.json_text(), nl=False)
        return
    show((placement_table(result),))
    for written in (out, plot):
        if written is not None:
            click.echo(f"written to {written}")


class _Problems:
    """What is wrong with options and files, gathered so that all of it is told at once."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def of(self, check: Callable[[], Value]) -> Value | None:
        """What a check gives; None where it finds a problem."""
        from dataflow_sim.errors import InputError

        try:
            return check()
        except InputError as error:
            self._found.append(str(error))
            return None

    def refuse(self) -> None:
        """Raise InputError where there is a problem."""
        from dataflow_sim.errors import InputError

        if self._found:
            raise InputError("\n".join(self._found))


def _size(option: str, text: str | None) -> int | None:
    """Bytes of an option, at least 1.  Raises InputError."""
    from dataflow_sim.errors import InputError
    from dataflow_sim.units import parse_bytes

    if text is None:
        return None
    try:
        found = parse_bytes(text)
    except InputError as error:
        raise InputError(f"{option}: {error}") from None
    if not 0 < found <= _LARGEST_BYTES:
        raise InputError(f"{option} is {found:,} bytes; give 1 to {_LARGEST_BYTES:,}")
    return found


def _check_work(work: int | None) -> None:
    from dataflow_sim.errors import InputError

    if work is not None and not 0 <= work <= _MOST_WORK:
        raise InputError(f"--work is {work}; give 0 to {_MOST_WORK:,} buffers placed")


def _check_table(source: Path, out: str | None) -> None:
    """Whether a table could be written.  Raises InputError."""
    from dataflow_sim.errors import InputError
    from dataflow_sim.report.files import check_table

    if out is None:
        return
    check_table(Path(out))
    if source.exists() and Path(out).exists() and Path(out).samefile(source):
        raise InputError(f"--out '{out}' is the file of lifetimes itself; give another name")


def _picture_kind(plot: str | None) -> str | None:
    """The kind of picture that could be written, if one is asked for.  Raises InputError."""
    from dataflow_sim.report.files import picture_kind

    return None if plot is None else picture_kind(Path(plot))
