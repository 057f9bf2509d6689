"""Where the shipped hardware files and scenarios are: beside a checkout or inside a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped_directory(name: str) -> Path:
    """The directory `hw_configs` or `scenarios`; that of the checkout if there is one."""
    checkout = _PACKAGE.parent / name
    if (_PACKAGE.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    return _PACKAGE / "data" / name


def shipped_files(name: str, suffix: str) -> dict[str, Path]:
    """Shipped files by their name without the suffix, sorted."""
    return {path.stem: path for path in sorted(shipped_directory(name).glob(f"*{suffix}"))}
