"""A hardware file as plain data: what it says with what it extends, and where each key stands.

Precedence, the later wins: the file that is extended, the preset of its DRAM, the file itself,
overrides.  Every key remembers who said it last, and the source that this one gives for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dataflow_sim.documents import KeyPath, YamlFile, read_yaml
from dataflow_sim.errors import HardwareError, InputError
from dataflow_sim.hardware.memory import switches
from dataflow_sim.hardware.presets import DRAM_PRESETS, preset_named
from dataflow_sim.resources import shipped_files

_LONGEST_CHAIN = 16
# a key that may hold one switch for all below it; a change of one leaves the others
_SWITCHES = ("local_memory", "double_buffer")
_MARKS = ("published", "derived", "assumed")
NO_SOURCE = "assumed: no source is given"


@dataclass(slots=True)
class Document:
    """What a file says: values, by path where each stands and its source, problems so far."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, str] = field(default_factory=dict)
    sources: dict[KeyPath, str] = field(default_factory=dict)
    based_on: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)

    def set(self, path: KeyPath, value: Any, place: str, source: str) -> None:
        """Say something; what was said of the same key, or below it, is forgotten."""
        node = self.values
        for depth, key in enumerate(path[:-1], start=1):
            held = node.get(key)
            if not isinstance(held, dict):
                self.places[path[:depth]] = place
                one_for_all = path[:depth] == _SWITCHES and isinstance(held, bool)
                node[key] = dict(switches(held)) if one_for_all else {}  # type: ignore[call-overload]
            node = node[key]
        below = [each for each in self.places if each[: len(path)] == path]
        for each in below:
            del self.places[each]
            self.sources.pop(each, None)
        node[path[-1]] = value
        self.places[path] = place
        self.sources[path] = source

    def place(self, path: tuple[object, ...]) -> str | None:
        """Where a key stands, or the innermost one around it that stands anywhere."""
        for length in range(len(path), 0, -1):
            found = self.places.get(tuple(str(key) for key in path[:length]))
            if found is not None:
                return found
        return None

    def leaves(self) -> Iterator[tuple[KeyPath, Any]]:
        """Every key that holds no further ones, with its value."""
        yield from leaves(self.values)


def leaves(values: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every key below which there is none, with its value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value


def _read_yaml(text: str, label: str) -> YamlFile:
    """A file's keys.  Raises HardwareError with file and line."""
    try:
        return read_yaml(text, label, "a hardware file")
    except InputError as error:
        raise HardwareError(str(error)) from None


def hardware_path(name_or_path: str) -> Path:
    """The file of a shipped hardware's name, or the path itself.  Raises HardwareError."""
    shipped = shipped_files("hw_configs", ".yaml")
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    try:
        if path.is_file():
            return path
    except OSError as error:
        raise HardwareError(f"'{name_or_path[:60]}...': {error.strerror}") from None
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1 or path.is_dir():
        raise HardwareError(f"hardware file '{path}' does not exist or is no file")
    near = get_close_matches(name_or_path, shipped, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise HardwareError(
        f"unknown hardware '{name_or_path}'; {hint}give a .yaml file or one of {', '.join(shipped)}"
    )


class _Reader:
    """Reads a file with all that it extends."""

    def __init__(self) -> None:
        self.open: list[Path] = []

    def read(self, name_or_path: str, beside: Path | None = None) -> Document:
        path = (
            hardware_path(name_or_path) if beside is None else self._extended(name_or_path, beside)
        )
        if path.resolve() in self.open or len(self.open) >= _LONGEST_CHAIN:
            chain = " -> ".join(each.name for each in (*self.open, path))
            raise HardwareError(f"hardware files extend each other in a circle: {chain}")
        self.open.append(path.resolve())
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise HardwareError(f"hardware file '{path}' cannot be read: {error}") from None
        parsed = _read_yaml(text, str(path))
        found = self._base(parsed, path)
        self._lay(found, parsed, str(path))
        self.open.pop()
        return found

    def _extended(self, name_or_path: str, beside: Path) -> Path:
        """A file that another one extends: beside it, or a shipped one."""
        near = beside.parent / name_or_path
        try:
            return near if near.is_file() else hardware_path(name_or_path)
        except (OSError, ValueError) as error:
            raise HardwareError(f"'{name_or_path[:60]}': {error}"[:200]) from None

    def _base(self, parsed: YamlFile, path: Path) -> Document:
        name = parsed.values.get("extends")
        if "extends" not in parsed.values:
            return Document()
        line = parsed.positions[("extends",)].line
        if not isinstance(name, str) or not name.strip():
            raise HardwareError(
                f"{path}:{line}: extends: give the name of a shipped machine, or a file"
            )
        try:
            found = self.read(name, path)
        except HardwareError as error:
            raise HardwareError(f"{path}:{line}: extends: {error}") from None
        found.based_on = (name, *found.based_on)
        return found

    def _lay(self, found: Document, parsed: YamlFile, label: str) -> None:
        """Lay a file over what it extends."""
        values = dict(parsed.values)
        positions = {path: f"{label}:{place.line}" for path, place in parsed.positions.items()}
        sources = _sources(values.pop("sources", {}), values, positions, found.problems)
        values.pop("extends", None)
        set_preset(found, values.get("dram"), positions.get(("dram", "preset"), label))
        for path, value in leaves(values):
            place = positions.get(path) or positions.get(path[:-1]) or label
            if value == {} and found.place(path) in found.places.values():
                continue  # a group without keys changes nothing
            found.set(path, value, place, sources.get(path, NO_SOURCE))
        for path, place in positions.items():
            if path[0] not in ("sources", "extends"):
                found.places.setdefault(path, place)


def set_preset(found: Document, dram: object, place: str) -> None:
    """Say what the preset of a DRAM stands for, before what is said of it besides."""
    name = dram.get("preset") if isinstance(dram, dict) else None
    if name is None:
        return
    preset = preset_named(name) if isinstance(name, str) else None
    if preset is None:
        found.problems.append(
            f"{place}: dram.preset: {name!r} is no technology; one of {', '.join(DRAM_PRESETS)}"
        )
        # so that what the preset would have said is not missed besides
        preset = next(iter(DRAM_PRESETS.values()))
    sources = preset.sources()
    for key, value in preset.keys().items():
        found.set(("dram", key), value, place, sources[key])
    for key in ("energy_read", "energy_write"):  # of another technology
        held = found.values["dram"]
        if key in held:
            del held[key]
            found.places.pop(("dram", key), None)
            found.sources.pop(("dram", key), None)


def _sources(
    given: object, values: Mapping[str, Any], positions: Mapping[KeyPath, str], problems: list[str]
) -> dict[KeyPath, str]:
    """The source of every key of a file, by the longest path that one is given for."""
    found: dict[KeyPath, str] = {}
    if not isinstance(given, dict):
        place = positions.get(("sources",), "?")
        problems.append(
            f"{place}: sources: a mapping of keys such as 'dram.bandwidth: \"published: ...\"'"
        )
        return found
    by_path: dict[KeyPath, str] = {}
    keys = [path for path, _ in leaves(values)]
    for key, text in given.items():
        place, path = positions[("sources", key)], tuple(key.split("."))
        mark, colon, told = str(text).partition(":")
        if not colon or mark not in _MARKS or not told.strip():
            problems.append(
                f"{place}: sources.{key}: {str(text)[:60]!r} begins with none of "
                f"{', '.join(f'{each}:' for each in _MARKS)} and tells where the figure is from"
            )
        elif not any(each[: len(path)] == path for each in keys):
            near = get_close_matches(key, [".".join(each) for each in keys], n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            problems.append(f"{place}: sources.{key}: this file gives no such key{hint}")
        else:
            by_path[path] = " ".join(str(text).split())
    for each in keys:
        for length in range(len(each), 0, -1):
            if each[:length] in by_path:
                found[each] = by_path[each[:length]]
                break
    return found


def read_document(name_or_path: str) -> Document:
    """A hardware file with all that it extends.  Raises HardwareError."""
    return _Reader().read(name_or_path)
