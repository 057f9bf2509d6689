"""What a point asks to be computed, as tasks that points share, and the key of each.

    point ──► facts   of the network on the machine, whatever its local memory
          ├─► curve   the same: all budgets at once
          ├─► run     of the point itself
          └─► held    its schedule before the what-ifs

A task is its kind and a canonical text, so that two points which ask for the same ask for one task.
Its key is a hash of everything that its result follows from: what the texts say, the contents of
files that they name, the machine with every default, and the code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from dataflow_sim.hardware import Hardware, HardwareFile
from dataflow_sim.pipeline import external_files, named_file
from dataflow_sim.scenario.columns import LAYER_COLUMNS, POINT_COLUMNS, Finder
from dataflow_sim.scenario.machines import MEMORY_KEY, machine_named, overrides_of
from dataflow_sim.scenario.model import Settings

Kind = Literal["facts", "curve", "run", "held"]

_REQUEST = ("dims", "batch", "input_size", "branches", "trips")
_OPTIONS = (
    *("policy", "objective", "weight_bits", "activation_bits", "frames", "fps", "in_flight"),
    *("layers", "force_group", "tile", "halo", "weights"),
)
# what does not move a byte of a schedule for the least traffic
_NO_BYTES = ("objective", "fps", "in_flight", "frames")
_NO_FACTS = (*_NO_BYTES, "policy", "force_group", "tile", "halo", "weights")
# keys of hardware that set prices and rates, not bytes
_PRICES = (
    *("dram.energy", "dram.energy_read", "dram.energy_write", "dram.bandwidth", "dram.share"),
    *("dram.channels", "dram.efficiency", "dram.background_power", "compute.clock"),
    *("compute.macs_per_cycle", "energy"),
)
_TOLD_BY = ("cli", "report", "study")  # rooms that tell results and compute none
_NAMES = ("name", "description", "overrides", "based_on", "figures", "better", "worse")


@dataclass(frozen=True, slots=True)
class Task:
    """One computation: its kind, and as canonical JSON the network, machine and options."""

    kind: Kind
    text: str

    @property
    def asked(self) -> dict[str, Any]:
        """The text as plain data."""
        found: dict[str, Any] = json.loads(self.text)
        return found


def task_of(kind: Kind, settings: Settings) -> Task:
    """The task of a kind for a point; what plays no part in its result is left out."""
    stated = settings.model_dump(exclude_none=True)
    overrides = overrides_of(settings)
    if kind in ("facts", "curve"):
        moving = (key for key in overrides if not _is_price(key) and key != MEMORY_KEY)
        overrides = {key: overrides[key] for key in moving}
    unused = {"facts": _NO_FACTS, "curve": _NO_BYTES}.get(kind, ())
    asked = {
        "network": settings.network,
        "hardware": settings.hardware,
        "overrides": overrides,
        "what_ifs": settings.what_ifs,
        "request": {key: stated[key] for key in _REQUEST if stated.get(key)},
        "options": {key: stated[key] for key in _OPTIONS if key in stated and key not in unused},
    }
    return Task(kind, json.dumps(asked, sort_keys=True, ensure_ascii=False))


def _is_price(key: str) -> bool:
    return any(key == each or key.startswith(f"{each}.") for each in _PRICES)


def finders(record: Iterable[str], record_layers: Iterable[str]) -> set[Finder]:
    """What must be found for these columns."""
    found = {POINT_COLUMNS[name].finder for name in record if name in POINT_COLUMNS}
    return found | {LAYER_COLUMNS[name].finder for name in record_layers}


def kinds_of(
    wanted: set[Finder], machine: Hardware, settings: Settings, *, shared: bool, curves: bool
) -> tuple[Kind, ...]:
    """The tasks of a point.

    Bytes are read off a curve where several points share it and the curve tells what a run would,
    else they are of the run.
    """
    kinds: list[Kind] = []
    if Finder.FACTS in wanted:
        kinds.append("facts")
    run = Finder.RUN in wanted
    if Finder.CURVE in wanted and not run:
        run = not (shared or curves) or not on_curve(machine, settings)
    if curves or (Finder.CURVE in wanted and not run):
        kinds.append("curve")
    if run:
        kinds.append("run")
    if Finder.HELD in wanted:
        kinds.append("held")
    return tuple(kinds)


def on_curve(machine: Hardware, settings: Settings) -> bool:
    """Whether a curve tells the bytes of a run: one bank, whole bytes, no other memory beside DRAM,
    a schedule for the least traffic, one frame."""
    commands = machine.command_stream
    return (
        settings.objective in (None, "dram")
        and settings.frames in (None, 1)
        and machine.local_memory.banks == 1
        and machine.dram.granule_bytes <= 1
        and machine.flash is None
        and machine.system_cache is None
        and not (commands.per_layer_bytes or commands.per_step_bytes)
    )


def machine_of(asked: Mapping[str, Any]) -> Hardware:
    """The machine of a task.  Raises HardwareError."""
    return machine_named(asked["hardware"], asked["overrides"])


@cache
def code_version() -> str:
    """A hash of the package's sources that compute: with another one results may differ."""
    package = Path(__file__).resolve().parents[1]
    found = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package)
        if name.parts[0] not in _TOLD_BY:
            found.update(name.as_posix().encode() + b"\0")
            found.update(path.read_bytes())
    return found.hexdigest()


@cache
def _content(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _network_identity(name: str, what_ifs: Sequence[str]) -> list[str]:
    """A built-in name, or the contents of a file, of its weights as well where they are read."""
    path = named_file(name)
    if path is None:
        return [name]
    read = [path]
    if any("measured" in each or "entropy" in each for each in what_ifs):
        read += [each for each in external_files(path) if each.is_file()]
    return [f"sha256:{_content(each.resolve())}" for each in read]


def _machine_identity(machine: Hardware) -> list[object]:
    """What a machine does, at each end of its figures; not what it is called."""
    ends: list[HardwareFile] = [machine]
    ends += [end for end in (machine.better, machine.worse) if end is not None]
    return [each.model_dump(mode="json", exclude=set(_NAMES)) for each in ends]


def key_of(task: Task) -> str:
    """The key of a task's result, 64 hexadecimal digits.  Raises InputError for a missing file."""
    asked = task.asked
    what = {
        "code": code_version(),
        "kind": task.kind,
        "network": _network_identity(asked["network"], asked["what_ifs"]),
        "machine": _machine_identity(machine_of(asked)),
        "what_ifs": asked["what_ifs"],
        "request": asked["request"],
        "options": asked["options"],
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
