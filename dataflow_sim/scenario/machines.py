"""The machine of a point: a hardware file with the keys that the point changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

from dataflow_sim.errors import InputError
from dataflow_sim.hardware import Hardware, load_hardware
from dataflow_sim.scenario.model import Settings
from dataflow_sim.units import parse_bytes

MEMORY_KEY = "local_memory.capacity"


def overrides(changes: Mapping[str, object], local_memory: str | int | None) -> dict[str, str]:
    """Keys of hardware as texts that override them.

    Raises InputError where local memory is said twice, or is no size.
    """
    found = {key: v if isinstance(v, str) else json.dumps(v) for key, v in changes.items()}
    if local_memory is None:
        return found
    if MEMORY_KEY in found:
        raise InputError(f"local_memory and the key {MEMORY_KEY} say the same; give one of them")
    return {**found, MEMORY_KEY: f"{parse_bytes(local_memory)}B"}


def overrides_of(settings: Settings) -> dict[str, str]:
    """Those of a point.  Raises InputError."""
    return overrides(settings.set, settings.local_memory)


@lru_cache(maxsize=4096)
def _machine(name: str, changed: tuple[tuple[str, str], ...]) -> Hardware:
    return load_hardware(name, dict(changed))


def machine_named(name: str, changed: Mapping[str, str]) -> Hardware:
    """A machine with overrides, read once.  Raises HardwareError."""
    return _machine(name, tuple(sorted(changed.items())))
