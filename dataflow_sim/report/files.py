"""Write a run's files: all rendered in memory first, then each moved into place whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dataflow_sim.errors import InputError
from dataflow_sim.report.live_set_plot import live_set_pictures
from dataflow_sim.report.plots import traffic_pictures
from dataflow_sim.report.tables import buffer_frame, layer_frame
from dataflow_sim.results import RunResult

_PICTURES = ("png", "svg")
_OTHER_OUT = "give another --out directory"
_OTHER_PLOT = "give another --plot file"


def run_files(result: RunResult) -> dict[str, bytes]:
    """File names and contents of a run's output directory.

    The pictures of local memory are there where the run lists its buffers.
    """
    pictures = traffic_pictures(result)
    lives = live_set_pictures(result) if result.buffers else {}
    return {
        "result.json": result.json_text().encode(),
        "layers.csv": layer_frame(result).to_csv(index=False, lineterminator="\n").encode(),
        "local_memory.csv": buffer_frame(result).to_csv(index=False, lineterminator="\n").encode(),
        "traffic.png": pictures["png"],
        "traffic.svg": pictures["svg"],
        **{f"live_set.{kind}": picture for kind, picture in lives.items()},
    }


def picture_kind(path: Path) -> str:
    """`png` or `svg`, as the suffix says, of a picture that could be written there.

    Raises InputError for another suffix, a directory, and where no file can be made.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _PICTURES:
        raise InputError(f"--plot {path}: the name of a picture ends in .png or .svg")
    if path.is_dir():
        raise InputError(f"'{path}' is a directory; {_OTHER_PLOT}")
    if not path.parent.is_dir():
        raise InputError(f"'{path.parent}' is no directory; make it, or {_OTHER_PLOT}")
    trial = _temporary(path)
    try:
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror}); {_OTHER_PLOT}") from None
    return kind


def write_picture(path: Path, picture: bytes) -> None:
    """Write a picture, whole or not at all.  Raises InputError when it cannot be written."""
    write_files(path.parent, {path.name: picture}, _OTHER_PLOT)


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
