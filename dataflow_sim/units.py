"""Parse and print quantities; the only place where a unit is converted.

Sizes become integer bytes, everything else a float in the unit that the name of the
function states.  A decimal prefix is a power of 1000 (`KB`, `MB`), a binary one a power
of 1024 (`KiB`, `MiB`).  Case matters: `b` alone could be bits or bytes and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from dataflow_sim.errors import InputError

_QUANTITY = re.compile(
    r"\s*([+-]?(?:\d{1,40}\.?\d{0,40}|\.\d{1,40})(?:[eE][+-]?\d{1,4})?)\s*([^\d\s].*?)?\s*",
    re.ASCII,
)

_LONGEST_SIDE = 8  # digits
_MAGNITUDE = 24  # quantities lie between 1e-24 and 1e25 of their unit
_BYTES: Mapping[str, Decimal] = {
    "B": Decimal(1),
    "KB": Decimal(10**3),
    "MB": Decimal(10**6),
    "GB": Decimal(10**9),
    "KiB": Decimal(2**10),
    "MiB": Decimal(2**20),
    "GiB": Decimal(2**30),
    "bit": Decimal("0.125"),
    "Kbit": Decimal(125),
    "Mbit": Decimal(125_000),
    "Gbit": Decimal(125_000_000),
    "Kibit": Decimal(128),
    "Mibit": Decimal(131_072),
}
_BANDWIDTH: Mapping[str, Decimal] = {f"{unit}/s": factor for unit, factor in _BYTES.items()}
_FREQUENCY: Mapping[str, Decimal] = {
    "Hz": Decimal(1),
    "kHz": Decimal(10**3),
    "MHz": Decimal(10**6),
    "GHz": Decimal(10**9),
}
_JOULE: Mapping[str, Decimal] = {
    "fJ": Decimal("0.001"),
    "pJ": Decimal(1),
    "nJ": Decimal(1000),
}
_PER_BIT: Mapping[str, Decimal] = {
    **{f"{unit}/bit": factor for unit, factor in _JOULE.items()},
    **{f"{unit}/B": factor / 8 for unit, factor in _JOULE.items()},
}
_PER_MAC: Mapping[str, Decimal] = {
    **_JOULE,
    **{f"{unit}/MAC": factor for unit, factor in _JOULE.items()},
}
_SECOND: Mapping[str, Decimal] = {
    "ns": Decimal("0.000000001"),
    "us": Decimal("0.000001"),
    "ms": Decimal("0.001"),
    "s": Decimal(1),
}
_WATT: Mapping[str, Decimal] = {
    "uW": Decimal("0.000001"),
    "mW": Decimal("0.001"),
    "W": Decimal(1),
}


def _quantity(text: object, what: str, table: Mapping[str, Decimal]) -> Decimal:
    legal = ", ".join(table)
    a = "an" if what[0] in "aeiou" else "a"
    if isinstance(text, int | float) and not isinstance(text, bool):
        text = str(text)
    match = _QUANTITY.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InputError(f"{text!r} is not {a} {what}; write a number and a unit, one of {legal}")
    number, unit = match.groups()
    if unit is None:
        raise InputError(f"{text!r} has no unit; as {a} {what} write one of {legal} behind it")
    if unit not in table:
        raise InputError(
            f"{text!r} has the unknown unit {unit!r}; as {a} {what} write one of {legal}"
        )
    value = Decimal(number) * table[unit]
    _check_magnitude(value, text, what)
    if value < 0:
        raise InputError(f"{text!r} is negative; {a} {what} starts at zero")
    return value


def _check_magnitude(value: Decimal, text: object, what: str) -> None:
    """Refuse what no machine has and no float holds."""
    if value and not -_MAGNITUDE <= value.adjusted() <= _MAGNITUDE:
        raise InputError(f"'{str(text)[:40]}' is no {what} of this world; check its exponent")


def parse_bytes(text: object) -> int:
    """A size such as `256KiB` in bytes; a bare integer (5 or "5") is bytes already."""
    if isinstance(text, int) and not isinstance(text, bool):
        value = Decimal(text if abs(text) < 10**_MAGNITUDE else "Infinity")
    elif isinstance(text, str) and text.isascii() and text.strip().isdigit():
        value = Decimal(text.strip()[:60])
    else:
        value = _quantity(text, "size", _BYTES)
    if not value.is_finite():
        raise InputError(f"'{str(text)[:40]}' is no size of this world; check its digits")
    _check_magnitude(value, text, "size")
    if value != value.to_integral_value():
        raise InputError(f"{text!r} is {value} bytes; a size must be whole bytes")
    if value < 0:
        raise InputError(f"{text!r} is negative; a size starts at zero")
    return int(value)


def parse_bytes_per_second(text: object) -> float:
    """A bandwidth such as `12.8GB/s` in bytes per second."""
    return float(_quantity(text, "bandwidth", _BANDWIDTH))


def parse_hertz(text: object) -> float:
    """A clock such as `500MHz` in hertz."""
    return float(_quantity(text, "frequency", _FREQUENCY))


def parse_pj_per_bit(text: object) -> float:
    """An energy per bit such as `10pJ/bit` in picojoule per bit."""
    return float(_quantity(text, "energy per bit", _PER_BIT))


def parse_pj_per_mac(text: object) -> float:
    """An energy per multiply-accumulate such as `1pJ` in picojoule."""
    return float(_quantity(text, "energy per MAC", _PER_MAC))


def parse_watt(text: object) -> float:
    """A power such as `100mW` in watt."""
    return float(_quantity(text, "power", _WATT))


def parse_seconds(text: object) -> float:
    """A time such as `100ns` in seconds."""
    return float(_quantity(text, "time", _SECOND))


def parse_part(text: object) -> float:
    """A part of a whole, such as `0.8` or `80%`: a number, which other limits are checked of."""
    if isinstance(text, str) and text.strip().endswith("%"):
        return float(_quantity(text, "part", {"%": Decimal("0.01")}))
    if isinstance(text, int | float) and not isinstance(text, bool):
        text = str(text)
    match = _QUANTITY.fullmatch(text) if isinstance(text, str) else None
    if match is None or match.group(2) is not None:
        raise InputError(f"{text!r} is no part of a whole; write a number such as 0.8, or 80%")
    value = Decimal(match.group(1))
    _check_magnitude(value, text, "part")
    return float(value)


def parse_rows_by_columns(text: str) -> tuple[int, int]:
    """Rows and columns of an image such as `320x240`."""
    rows, cross, columns = text.lower().partition("x")
    numbers = [each.strip() for each in (rows, columns)]
    legal = all(n.isascii() and n.isdigit() and len(n) <= _LONGEST_SIDE for n in numbers)
    if not (cross and legal and all(int(n) for n in numbers)):
        raise InputError(f"'{text[:40]}' is no size of an image; write rows x columns, as 320x320")
    return int(numbers[0]), int(numbers[1])


def format_bytes(value_bytes: float) -> str:
    """Bytes for people: decimal megabytes from 1 MB up, kilobytes below."""
    if value_bytes >= 1e9:
        return f"{value_bytes / 1e9:,.3f} GB"
    if value_bytes >= 1e6:
        return f"{value_bytes / 1e6:,.3f} MB"
    if value_bytes >= 1e3:
        return f"{value_bytes / 1e3:,.2f} KB"
    return f"{value_bytes:,.0f} B"


def format_capacity(value_bytes: int) -> str:
    """A memory size for people: binary units where they are exact, else bytes."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value_bytes and value_bytes % factor == 0:
            return f"{value_bytes // factor} {unit}"
    return f"{value_bytes:,} B"
