"""Write a run's files: all rendered in memory first, then each moved into place whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dataflow_sim.errors import InputError
from dataflow_sim.report.plots import traffic_pictures
from dataflow_sim.report.tables import buffer_frame, layer_frame
from dataflow_sim.results import RunResult


def run_files(result: RunResult) -> dict[str, bytes]:
    """File names and contents of a run's output directory."""
    pictures = traffic_pictures(result)
    return {
        "result.json": result.json_text().encode(),
        "layers.csv": layer_frame(result).to_csv(index=False, lineterminator="\n").encode(),
        "local_memory.csv": buffer_frame(result).to_csv(index=False, lineterminator="\n").encode(),
        "traffic.png": pictures["png"],
        "traffic.svg": pictures["svg"],
    }


def write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a directory, made if need be: all of them, each whole, or none.

    Raises InputError when the directory cannot be written.
    """
    temporary = {name: directory / f".{name}.{os.getpid()}.tmp" for name in files}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, path in temporary.items():
            if (directory / name).is_dir():
                raise InputError(
                    f"'{directory / name}' is a directory; give another --out directory"
                )
            path.write_bytes(files[name])
        for name, path in temporary.items():
            path.replace(directory / name)
    except OSError as error:
        raise InputError(
            f"'{directory}' cannot be written ({error.strerror}); give another --out directory"
        ) from None
    finally:
        for path in temporary.values():
            with suppress(OSError):
                path.unlink(missing_ok=True)
