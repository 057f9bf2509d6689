"""From a scenario file to a Scenario, or to everything that is wrong with it, line and column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dataflow_sim.documents import KeyPath, YamlFile, read_yaml
from dataflow_sim.errors import InputError
from dataflow_sim.hardware import DEFAULT_HARDWARE, HardwareFile
from dataflow_sim.networks import numbers_of
from dataflow_sim.pipeline import is_built_in, named_file, parse_what_ifs
from dataflow_sim.scenario.checking import problems_of_columns
from dataflow_sim.scenario.expressions import near
from dataflow_sim.scenario.machines import machine_named, overrides_of
from dataflow_sim.scenario.model import ScenarioFile, Settings, problems_of
from dataflow_sim.scenario.points import (
    FIELDS,
    Axis,
    Point,
    axis_of,
    combined,
    points_of,
)
from dataflow_sim.scenario.shipped import SUFFIX, shipped_scenarios
from dataflow_sim.units import parse_bytes, parse_rows_by_columns

_KIND = "a scenario"
_PREFIXES = ("dims", "branches", "trips")
_MOST_MACHINES = 5000  # are tried before anything runs


class ScenarioError(InputError):
    """A scenario file is wrong; every problem stands on a line of its own."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario, ready to be run: its name, the file's contents, its points in order."""

    name: str
    path: Path
    file: ScenarioFile
    points: tuple[Point, ...]


def scenario_path(name_or_path: str) -> Path:
    """A scenario file, or one of those that are shipped, by name.  Raises ScenarioError."""
    path = Path(name_or_path)
    try:
        if path.is_file():
            return path
    except OSError as error:
        raise ScenarioError(f"'{name_or_path[:60]}': {error.strerror}") from None
    shipped = shipped_scenarios()
    if name_or_path in shipped:
        return shipped[name_or_path]
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise ScenarioError(f"scenario file '{path}' does not exist or is no file")
    raise ScenarioError(
        f"unknown scenario '{name_or_path[:60]}'{near(name_or_path, shipped)}; give a {SUFFIX} "
        "file, or a name that `scenario list` shows"
    )


def read_scenario(path: Path) -> Scenario:
    """Read a scenario file and lay out its points; nothing is run.

    Raises ScenarioError with every problem, each with file, line and column.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"scenario file '{path}' cannot be read: {error}") from None
    return read_text(text, path)


def read_text(text: str, path: Path) -> Scenario:
    """As `read_scenario`, of a text that stands for the file."""
    try:
        document = read_yaml(text, str(path), _KIND)
    except InputError as error:
        raise ScenarioError(str(error)) from None
    reader = _Reader(document, path)
    return reader.read()


@dataclass(slots=True)
class _Reader:
    """Reads one file; problems gather with the path of the key that each is of."""

    document: YamlFile
    path: Path
    found: list[tuple[KeyPath, str]] = field(default_factory=list)

    def read(self) -> Scenario:
        file = self._validated()
        if file is not None:
            file = self._located(file)
            axes = self._axes(file)
            self._names(file)
            self._settings(file, axes)
            points = self._points(file)
            self.found += problems_of_columns(file, axes)
            if not self.found:
                self._machines(file, points)
            if not self.found:
                return Scenario(self.path.stem, self.path, file, points)
        ordered = sorted(self.found, key=lambda problem: self._position(problem[0]))
        lines = [f"{self._where(path)}: {text}" for path, text in ordered]
        raise ScenarioError("\n".join(dict.fromkeys(lines)))

    def _stands(self, path: KeyPath) -> KeyPath:
        """The key, or the nearest around it, that the file has."""
        while path and path not in self.document.positions:
            path = path[:-1]
        return path

    def _position(self, path: KeyPath) -> tuple[int, int]:
        """Line and column of a key, or of the nearest around it."""
        place = self.document.positions.get(self._stands(path))
        return (0, 0) if place is None else (place.line, place.column)

    def _where(self, path: KeyPath) -> str:
        """The file with line and column of a key, or of the nearest around it."""
        line, column = self._position(path)
        key = ".".join(self._stands(path))
        return f"{self.path}:{line}:{column}: {key}" if line else str(self.path)

    def _add(self, path: Iterable[object], text: str) -> None:
        self.found.extend((tuple(map(str, path)), line) for line in text.splitlines())

    def _try(self, path: Iterable[object], check: Any, *values: Any) -> Any:
        """What a check gives, None where it refuses: then that is a problem."""
        try:
            return check(*values)
        except InputError as error:
            self._add(path, str(error))
            return None

    def _validated(self) -> ScenarioFile | None:
        """The file's keys; of a file with wrong ones those that are left without them."""
        try:
            return ScenarioFile.model_validate(self.document.values)
        except ValidationError as failure:
            self._add_failure(failure)
            rest = _without(self.document.values, failure)
        try:
            return ScenarioFile.model_validate(rest)
        except ValidationError:
            return None

    def _add_failure(self, failure: ValidationError) -> None:
        for error, (place, text) in zip(failure.errors(), problems_of(failure), strict=True):
            given = error["input"]
            if error["type"] == "extra_forbidden":
                text = f"unknown key '{place[-1]}'{_nearest(place)}"
            elif error["type"] == "missing":
                text = f"required key '{place[-1]}' is missing"
            elif not isinstance(given, dict | list):
                text += f" (found {given!r})"
            self._add(place, text)

    # -------------------------------------------------------- networks, machines, axes

    def _beside(self, name: str | None, suffixes: tuple[str, ...]) -> str | None:
        """A file's name as seen from where the scenario lies, if the file is there."""
        if name is None or not name.endswith(suffixes):
            return name
        beside = self.path.parent / name
        return str(beside) if beside.is_file() else name

    def _located(self, file: ScenarioFile) -> ScenarioFile:
        """Files of networks and machines are looked for beside the scenario first."""

        def placed(settings: Settings) -> dict[str, str | None]:
            return {
                "network": self._beside(settings.network, (".onnx",)),
                "hardware": self._beside(settings.hardware, (".yaml", ".yml")),
            }

        return file.model_copy(
            update={
                **{k: v for k, v in placed(file).items() if v is not None},
                "networks": [self._beside(each, (".onnx",)) for each in file.networks],
                "machines": [self._beside(each, (".yaml", ".yml")) for each in file.machines],
                "cases": {
                    name: case.model_copy(
                        update={k: v for k, v in placed(case).items() if v is not None}
                    )
                    for name, case in file.cases.items()
                },
            }
        )

    def _axes(self, file: ScenarioFile) -> list[Axis]:
        """The axes that are legal."""
        top = {(f.alias or name) for name, f in HardwareFile.model_fields.items()}
        found = []
        for key, given in file.axes.items():
            head, dot, _ = key.partition(".")
            known = key in FIELDS or head in top or (dot and head in _PREFIXES)
            if not known:
                hint = near(key, [*FIELDS, *top, *_PREFIXES])
                self._add(
                    ("axes", key),
                    f"'{key}' is neither a setting ({', '.join(FIELDS)}) nor a key of the hardware "
                    f"file, nor dims.NAME{hint}",
                )
                continue
            try:
                axis = axis_of(key, given)
            except ValidationError as failure:
                for place, text in problems_of(failure):
                    self._add(("axes", key, *place), text)
                continue
            except InputError as error:
                self._add(("axes", key), str(error))
                continue
            for label, setting in zip(axis.labels, axis.settings, strict=True):
                self._legal(("axes", key), label, setting)
            found.append(axis)
        self._zips(file, found)
        for key in file.axes:
            setters = [name for name, case in file.cases.items() if _sets(case, key)]
            if setters:
                self._add(("cases", setters[0]), f"the axis '{key}' sets this as well; keep one")
        return found

    def _legal(self, place: tuple[object, ...], label: object, setting: Mapping[str, Any]) -> None:
        """What one value of an axis sets is a legal setting."""
        try:
            combined([setting])
        except ValidationError as failure:
            for _, text in problems_of(failure):
                self._add(place, f"{text} (found {label!r})")

    def _zips(self, file: ScenarioFile, axes: list[Axis]) -> None:
        lengths = {axis.key: len(axis.labels) for axis in axes}
        lengths |= {"network": len(file.networks), "hardware": len(file.machines)}
        lengths |= {"case": len(file.cases)} if file.cases else {}
        seen: set[str] = set()
        for index, names in enumerate(file.zip):
            for name in names:
                if name not in lengths and name not in file.axes:
                    self._add(
                        ("zip", index), f"'{name}' is no axis; there are {', '.join(lengths)}"
                    )
                if name in seen:
                    self._add(("zip", index), f"'{name}' is zipped twice")
                seen.add(name)
            counts = {name: lengths[name] for name in names if name in lengths}
            if len(set(counts.values())) > 1:
                told = ", ".join(f"{name} has {count}" for name, count in counts.items())
                self._add(("zip", index), f"axes that go together are of one length: {told}")

    def _names(self, file: ScenarioFile) -> None:
        networks: list[tuple[tuple[object, ...], str]] = [
            (("networks", index), name) for index, name in enumerate(file.networks)
        ]
        if file.network is not None:
            networks.append((("network",), file.network))
        for name, case in file.cases.items():
            if case.network is not None:
                networks.append((("cases", name, "network"), case.network))
        if not networks:
            self._add((), "no network; give networks: [NAME, ...]")
        elif not file.networks and file.network is None:
            for name, case in file.cases.items():
                if case.network is None:
                    self._add(("cases", name), "no network, neither here nor for all cases")
        for place, name in networks:
            self._try(place, _check_network, name)
        for index, name in enumerate(file.networks):
            if file.networks.index(name) < index:
                self._add(("networks", index), f"'{name}' stands twice")

    def _settings(self, file: ScenarioFile, axes: list[Axis]) -> None:
        """Values that have a form of their own."""
        stated: list[tuple[tuple[object, ...], Mapping[str, Any]]] = [((), file.model_dump())]
        stated += [(("cases", name), case.model_dump()) for name, case in file.cases.items()]
        stated += [(("axes", a.key), setting) for a in axes for setting in a.settings]
        for place, values in stated:
            for key, check in _CHECKS.items():
                value = values.get(key)
                if value:
                    self._try((*place, key), check, value)

    def _points(self, file: ScenarioFile) -> tuple[Point, ...]:
        if self.found:
            return ()
        try:
            points = points_of(file, DEFAULT_HARDWARE)
        except InputError as error:
            self._add(("where",) if file.where is not None else ("axes",), str(error))
            return ()
        if not points:
            self._add(("where",), "no point is left")
        return points

    def _machines(self, file: ScenarioFile, points: Iterable[Point]) -> None:
        """Every machine with its overrides is legal."""
        seen: set[tuple[object, ...]] = set()
        for point in points:
            settings = point.settings
            try:
                changed = overrides_of(settings)
                machine = (settings.hardware, *sorted(changed.items()))
                if machine not in seen and len(seen) < _MOST_MACHINES:
                    seen.add(machine)
                    machine_named(str(settings.hardware), changed)
            except InputError as error:
                for line in str(error).splitlines():
                    self._add(self._origin(file, settings, line), line)

    def _origin(self, file: ScenarioFile, settings: Settings, problem: str) -> tuple[object, ...]:
        """The key of this file that a problem of a machine comes from."""
        for key in (*settings.set, "local_memory"):
            if f"--set {key}" not in problem and key not in problem:
                continue
            for place in (("axes", key), ("set", key), (key,)):
                if place in self.document.positions:
                    return place
            for name, case in file.cases.items():
                if key in case.set:
                    return ("cases", name, "set", key)
        return ("machines",) if file.machines else ("hardware",)


def _without(values: Mapping[str, Any], failure: ValidationError) -> dict[str, Any]:
    """The keys of a file without those that are wrong, so that the others can be looked at."""
    rest = {"title": "", **values}
    for error in failure.errors():
        first = str(error["loc"][0]) if error["loc"] else ""
        if error["type"] != "missing" or len(error["loc"]) > 1:
            rest.pop(first, None)
    return rest


def _nearest(place: KeyPath) -> str:
    """What an unknown key was perhaps meant to be."""
    model: Any = ScenarioFile
    if len(place) > 1:
        inner = {"cases": Settings}.get(place[0])
        if inner is None:
            return ""
        model = inner
    return near(place[-1], model.model_fields)


def _sets(case: Settings, key: str) -> bool:
    return key in case.set or (key in case.model_fields_set and key != "what_ifs")


def _check_network(name: str) -> None:
    """Raise InputError unless a network of this name can be opened."""
    if is_built_in(name):
        numbers_of(name)
        return
    path = named_file(name)
    if path is None:
        numbers_of(name)  # says which name is nearest
    elif not path.is_file():
        raise InputError(f"network file '{name}' does not exist; give an .onnx file or a name")


_CHECKS: Mapping[str, Any] = {
    "local_memory": parse_bytes,
    "input_size": parse_rows_by_columns,
    "what_ifs": parse_what_ifs,
}
