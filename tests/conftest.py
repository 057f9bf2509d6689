"""Fixtures: reference data beside the checkout, and schedules of small networks."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("dataflow_sim", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("dataflow_sim")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of reference data; a user's checkout has none, and its tests are skipped."""
    directory = ROOT.parent / "shared"
    if not directory.is_dir():
        pytest.skip("no reference data: ../shared is not beside this checkout")
    return directory


@pytest.fixture(scope="session")
def light_models() -> Path:
    """The nine networks without weights that the onnx package ships."""
    return Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
