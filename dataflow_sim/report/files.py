"""Write a run's files: all rendered in memory first, then each moved into place whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
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
    """Write files into a directory, made if need be; each appears whole or not at all.

    Raises InputError when the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            temporary = directory / f".{name}.{os.getpid()}.tmp"
            try:
                temporary.write_bytes(content)
                temporary.replace(directory / name)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"'{directory}' cannot be written ({error.strerror}); give another --out directory"
        ) from None
