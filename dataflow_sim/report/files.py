"""Write a run's files: all rendered in memory first, then each moved into place whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dataflow_sim.errors import InputError
from dataflow_sim.report.dram import place_frame
from dataflow_sim.report.live_set_plot import live_set_pictures
from dataflow_sim.report.memory_map_plot import memory_pictures
from dataflow_sim.report.plots import traffic_pictures
from dataflow_sim.report.tables import buffer_frame, layer_frame, lifetime_frame
from dataflow_sim.results import RunResult
from dataflow_sim.results_of_dram import DramResult

_PICTURES = ("png", "svg")
_OTHER_OUT = "give another --out directory"
_OTHER_PLOT = "give another --plot file"
_OTHER_PAGE = "give another file"
_OTHER_TABLE = "give another --out file"


def run_files(result: RunResult) -> dict[str, bytes]:
    """File names and contents of a run's output directory.

    Lifetimes and pictures of local memory are there where the run lists its buffers.
    """
    pictures = traffic_pictures(result)
    return {
        "result.json": result.json_text().encode(),
        "layers.csv": layer_frame(result).to_csv(index=False, lineterminator="\n").encode(),
        "local_memory.csv": buffer_frame(result).to_csv(index=False, lineterminator="\n").encode(),
        "traffic.png": pictures["png"],
        "traffic.svg": pictures["svg"],
        **(_buffer_files(result) if result.buffers else {}),
        **(_place_file(result.dram_delivery) if result.dram_delivery is not None else {}),
    }


def _place_file(found: DramResult) -> dict[str, bytes]:
    """Where tensors lie in DRAM."""
    return {"dram.csv": place_frame(found).to_csv(index=False, lineterminator="\n").encode()}


def _buffer_files(result: RunResult) -> dict[str, bytes]:
    """What is told of the buffers of a program that was lowered."""
    lives, memory = live_set_pictures(result), memory_pictures(result)
    return {
        "buffers.csv": lifetime_frame(result).to_csv(index=False, lineterminator="\n").encode(),
        **{f"live_set.{kind}": picture for kind, picture in lives.items()},
        **{f"memory.{kind}": picture for kind, picture in memory.items()},
    }


def picture_kind(path: Path) -> str:
    """`png` or `svg`, as the suffix says, of a picture that could be written there.

    Raises InputError for another suffix, a directory, and where no file can be made.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _PICTURES:
        raise InputError(f"--plot {path}: the name of a picture ends in .png or .svg")
    _check_target(path, _OTHER_PLOT)
    return kind


def check_page(path: Path, option: str = "-o") -> None:
    """Raise InputError unless the name ends in .html, and a file could be written there."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{option} {path}: the name of a page ends in .html")
    _check_target(path, _OTHER_PAGE)


def check_table(path: Path) -> None:
    """Raise InputError unless the name ends in .csv, and a file could be written there."""
    if path.suffix.lower() != ".csv":
        raise InputError(f"--out {path}: the name of a table ends in .csv")
    _check_target(path, _OTHER_TABLE)


def _check_target(path: Path, remedy: str) -> None:
    """Raise InputError for a directory, and where no file can be made."""
    if path.is_dir():
        raise InputError(f"'{path}' is a directory; {remedy}")
    if not path.parent.is_dir():
        raise InputError(f"'{path.parent}' is no directory; make it, or {remedy}")
    trial = _temporary(path)
    try:
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror}); {remedy}") from None


def write_picture(path: Path, picture: bytes) -> None:
    """Write a picture, whole or not at all.  Raises InputError when it cannot be written."""
    write_files(path.parent, {path.name: picture}, _OTHER_PLOT)


def write_page(path: Path, page: bytes) -> None:
    """Write a page, whole or not at all.  Raises InputError when it cannot be written."""
    write_files(path.parent, {path.name: page}, _OTHER_PAGE)


def write_table(path: Path, table: bytes) -> None:
    """Write a table, whole or not at all.  Raises InputError when it cannot be written."""
    write_files(path.parent, {path.name: table}, _OTHER_TABLE)


def _temporary(path: Path) -> Path:
    """Where a file is written before it is moved into place."""
    return path.parent / f".{path.name}.{os.getpid()}.tmp"


def write_files(directory: Path, files: Mapping[str, bytes], remedy: str = _OTHER_OUT) -> None:
    """Write files into a directory, made if need be: all of them, each whole, or none.

    Raises InputError when the directory cannot be written; `remedy` says what to do then.
    """
    temporary = {name: _temporary(directory / name) for name in files}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, path in temporary.items():
            if (directory / name).is_dir():
                raise InputError(f"'{directory / name}' is a directory; {remedy}")
            path.write_bytes(files[name])
        for name, path in temporary.items():
            path.replace(directory / name)
    except OSError as error:
        raise InputError(f"'{directory}' cannot be written ({error.strerror}); {remedy}") from None
    finally:
        for path in temporary.values():
            with suppress(OSError):
                path.unlink(missing_ok=True)
