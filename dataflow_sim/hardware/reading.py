"""From a hardware file and overrides to a machine, or to everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from dataflow_sim.documents import parse_value
from dataflow_sim.errors import HardwareError
from dataflow_sim.hardware.document import Document, leaves, read_document, set_preset
from dataflow_sim.hardware.machine import Confidence, Figure, Hardware, HardwareFile
from dataflow_sim.hardware.quantities import End, is_range

DEFAULT_HARDWARE = "vision_processor"
_FIRST = ("dram", "dram.preset")
_SHOWN = 60  # letters of an override
_CHOICES = ("name", "description", "preset", "model", "layout", "mapping")  # are no figures


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The group of keys that a field holds, None where it holds a value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (UnionType, Union):
        return next(filter(None, (model_in(each) for each in get_args(annotation))), None)
    return None


def _legal_keys(place: Sequence[int | str]) -> list[str]:
    """Legal keys of the mapping that holds the last key of a place."""
    model: type[BaseModel] = HardwareFile
    for key in place[:-1]:
        fields = {(f.alias or name): f.annotation for name, f in model.model_fields.items()}
        inner = model_in(fields.get(str(key)))
        if inner is None:
            return []
        model = inner
    found = [f.alias or name for name, f in model.model_fields.items()]
    return [*found, "extends", "sources"] if model is HardwareFile else found


def _problem(error: Mapping[str, Any]) -> str:
    place = error["loc"]
    kind, text = error["type"], str(error["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        legal = _legal_keys(place)
        near = get_close_matches(str(place[-1]), legal, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return f"unknown key; {hint}legal here are {', '.join(legal)}"
    if kind == "model_type":
        return "this is a group of keys, write them below it"
    if kind == "missing" or text.startswith("required key"):
        return "required key is missing" + text.removeprefix("Field required").removeprefix(
            "required key is missing"
        )
    shown = error.get("input")
    if isinstance(shown, Mapping):  # of keys that do not go together
        return text
    return text if repr(shown) in text else f"{text} (found {shown!r})"


def _problems(
    failure: ValidationError, document: Document, label: str, overridden: Mapping[str, str]
) -> list[str]:
    found = []
    for error in failure.errors():
        path = ".".join(str(part) for part in error["loc"])
        given = [key for key in overridden if key == path or key.startswith(f"{path}.")]
        given += [key for key in overridden if path.startswith(f"{key}.")]
        where = document.place(error["loc"])
        if given and (where is None or where.startswith("--set")):
            where = f"--set {given[0]}={overridden[given[0]][:_SHOWN]}"
            where += f": {path}" if path.startswith(f"{given[0]}.") else ""
        elif where is None:
            where = f"{label}: {path}"
        else:
            where = f"{where}: {path}"
        found.append(f"{where}: {_problem(error)}")
    return found


def _figures(document: Document) -> tuple[Figure, ...]:
    """Every key that is stated, with its source."""
    found = []
    for path, value in document.leaves():
        mark, _, told = document.sources.get(path, "").partition(": ")
        if path[-1] in _CHOICES or not mark:
            continue
        found.append(
            Figure(key=".".join(path), value=str(value), confidence=Confidence(mark), source=told)
        )
    return tuple(sorted(found, key=lambda figure: figure.key))


def _validated(document: Document, label: str, overridden: Mapping[str, str]) -> Hardware:
    ranged = any(is_range(value) for _, value in document.leaves())
    found: dict[End, HardwareFile] = {}
    for end in End if ranged else (End.NOMINAL,):
        try:
            found[end] = HardwareFile.model_validate(document.values, context={"end": end})
        except ValidationError as failure:
            document.problems.extend(_problems(failure, document, label, overridden))
            break  # the other ends have the same problems, and more
    if document.problems:
        raise HardwareError("\n".join(dict.fromkeys(document.problems)))
    nominal = found[End.NOMINAL]
    return Hardware(
        **{name: getattr(nominal, name) for name in HardwareFile.model_fields},
        overrides=tuple(sorted(overridden.items())),
        based_on=document.based_on,
        figures=_figures(document),
        better=found.get(End.BETTER),
        worse=found.get(End.WORSE),
    )


def _override(document: Document, key: str, text: str) -> None:
    path, shown = tuple(key.split(".")), f"--set {key}={text[:_SHOWN]}"
    if not all(path):
        raise HardwareError(f"--set {key}={text}: '{key}' is no dotted path of keys")
    try:
        value = parse_value(text)
    except ValueError:
        raise HardwareError(f"{shown}: the value is not YAML") from None
    if path == ("dram", "preset"):
        set_preset(document, {"preset": value}, shown)
    elif path == ("dram",) and isinstance(value, dict):
        document.set(path, {}, shown, "")
        set_preset(document, value, shown)
        for inner, each in value.items():
            document.set((*path, str(inner)), each, shown, f"set: {shown}")
        return
    document.set(path, value, shown, f"set: {shown}")
    for below, _ in leaves(value, path) if isinstance(value, dict) else ():
        document.places[below] = shown
        document.sources[below] = f"set: {shown}"


def load_hardware(name_or_path: str, overrides: Mapping[str, str] | None = None) -> Hardware:
    """Read a hardware file, with some keys overridden by dotted path.

    Raises HardwareError with every problem of file and overrides, one a line.
    """
    document = read_document(name_or_path)
    # a preset stands for keys that other overrides may change, in whichever order they are given
    for key, value in sorted(
        (overrides or {}).items(),
        key=lambda item: (item[0] not in _FIRST, item[0] == "dram.preset"),
    ):
        _override(document, key, value)
    return _validated(document, str(name_or_path), overrides or {})
