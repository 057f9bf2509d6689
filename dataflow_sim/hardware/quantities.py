"""The kinds of values that a hardware file holds: numbers with units, some of them as ranges.

A figure that is known within limits is written as a range, `8..11.8pJ/bit`, or with the value in
between that is taken for the nominal one, `8..9..11.8pJ/bit`; without it that is the middle.
Ranges stand where a figure makes a run cheaper or quicker the lower, or the higher, it is, so that
all of them at their better end give the least energy and latency, and at their worse end the most.
Sizes and counts decide which schedules there are, and are no ranges.

A file is validated once for each end: `context={"end": ...}` tells the validators which.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema

from dataflow_sim.errors import InputError
from dataflow_sim.units import (
    parse_bytes,
    parse_bytes_per_second,
    parse_hertz,
    parse_part,
    parse_pj_per_bit,
    parse_pj_per_mac,
    parse_seconds,
    parse_watt,
)

_DOTS = ".."


class End(StrEnum):
    """Which figures of ranges are taken: the nominal ones, all the better ones, all the worse."""

    NOMINAL = "nominal"
    BETTER = "better"
    WORSE = "worse"


def is_range(value: object) -> bool:
    """Whether a value of a file is written as a range."""
    return isinstance(value, str) and _DOTS in value


def _with_unit(part: str, unit: str) -> str:
    """A bound of a range, which may leave the unit to the last one."""
    return part if not part or part[-1].isalpha() or part[-1] == "%" else part + unit


def figure(
    parse: Callable[[object], float], value: object, end: End, *, less_is_better: bool
) -> float:
    """The figure that a value of a file says, of a range the one at an end.

    Raises InputError where it is none, or the bounds of a range do not ascend.
    """
    if not is_range(value):
        return parse(value)
    parts = str(value).strip().split(_DOTS)
    if parts[-1][:1] == ".":
        raise InputError(f"{value!r} is no range; write two dots between its bounds")
    unit = parts[-1].lstrip("+-.0123456789eE ") if parts else ""
    whole = all(part.strip() and part.strip()[0] in "+-.0123456789" for part in parts)
    if not 2 <= len(parts) <= 3 or not whole:
        raise InputError(f"{value!r} is no range; write LOW..HIGH or LOW..NOMINAL..HIGH")
    found = [parse(_with_unit(part.strip(), unit)) for part in parts]
    if found != sorted(found):
        raise InputError(f"{value!r}: the bounds of a range ascend")
    if end is End.NOMINAL:
        return found[1] if len(found) == 3 else (found[0] + found[1]) / 2
    return found[0] if (end is End.BETTER) == less_is_better else found[-1]


def end_of(info: ValidationInfo) -> End:
    """The end that a validation is for."""
    return End((info.context or {}).get("end", End.NOMINAL))


def _ranged(parse: Callable[[object], float], *, less_is_better: bool) -> BeforeValidator:
    def convert(value: object, info: ValidationInfo) -> float:
        try:
            return figure(parse, value, end_of(info), less_is_better=less_is_better)
        except InputError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(convert)


def _exact(parse: Callable[[object], float]) -> BeforeValidator:
    def convert(value: object) -> float:
        if is_range(value):
            raise ValueError(
                f"{value!r}: a size decides which schedules there are and is no range; give one "
                "figure"
            )
        try:
            return parse(value)
        except InputError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(convert)


def _text(what: str, example: str, *, ranged: bool, bare: bool = False) -> WithJsonSchema:
    """The JSON Schema of a quantity: a text, of a size also a whole number of bytes."""
    kinds: Any = ["string", "integer"] if bare else "string"
    examples = [example, f"LOW..HIGH{example.lstrip('0123456789.')}"] if ranged else [example]
    told = f"{what}, as in {example}"
    return WithJsonSchema({"type": kinds, "description": told, "examples": examples})


Bytes = Annotated[int, _exact(parse_bytes), _text("a size", "256KiB", ranged=False, bare=True)]
BytesPerSecond = Annotated[
    float,
    _ranged(parse_bytes_per_second, less_is_better=False),
    _text("a bandwidth", "12.8GB/s", ranged=True),
]
Hertz = Annotated[
    float, _ranged(parse_hertz, less_is_better=False), _text("a clock", "500MHz", ranged=True)
]
Seconds = Annotated[
    float, _ranged(parse_seconds, less_is_better=True), _text("a time", "100ns", ranged=True)
]
PjPerBit = Annotated[
    float,
    _ranged(parse_pj_per_bit, less_is_better=True),
    _text("an energy per bit", "10pJ/bit", ranged=True),
]
PjPerMac = Annotated[
    float,
    _ranged(parse_pj_per_mac, less_is_better=True),
    _text("an energy per MAC", "1pJ", ranged=True),
]
Watt = Annotated[
    float, _ranged(parse_watt, less_is_better=True), _text("a power", "100mW", ranged=True)
]
Part = Annotated[
    float,
    _ranged(parse_part, less_is_better=False),
    Field(ge=1e-6, le=1),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "description": "a part of 1, as in 0.8 or 80%",
            "examples": ["80%", "LOW..HIGH%"],
        }
    ),
]
Bits = Annotated[int, Field(ge=1, le=64, strict=True)]
Count = Annotated[int, Field(ge=1, le=1 << 24, strict=True)]
Switch = Annotated[bool, Field(strict=True)]
