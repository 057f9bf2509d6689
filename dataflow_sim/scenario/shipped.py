"""The scenarios that come with the package."""

from __future__ import annotations

from pathlib import Path

from dataflow_sim.resources import shipped_files

FOLDERS = ("claims", "gallery")
SUFFIX = ".yaml"


def shipped_scenarios(folder: str | None = None) -> dict[str, Path]:
    """Shipped scenarios by name, those of one folder or of all."""
    folders = FOLDERS if folder is None else (folder,)
    return {
        name: path
        for each in folders
        for name, path in shipped_files(f"scenarios/{each}", SUFFIX).items()
    }
