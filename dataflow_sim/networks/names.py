"""A name with numbers, such as `mobilenet_v1@0.5-160`, to a network and its numbers.

Numbers stand behind `@`, between hyphens, in the order in which the network lists its
parameters; `NAME=NUMBER` sets one wherever it stands in that order.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from dataflow_sim.errors import NetworkError
from dataflow_sim.networks.row import BuiltIn, Number

_SHOWN = 80  # characters of a name that an error repeats


def split_name(name: str) -> tuple[str, str | None]:
    """The network and what stands behind `@`, None where there is no `@`."""
    base, at, rest = name.partition("@")
    return base, rest if at else None


def find(name: str, rows: Mapping[str, BuiltIn]) -> BuiltIn:
    """The row of a network.  Raises NetworkError, naming the nearest names."""
    base, _ = split_name(name)
    if base in rows:
        return rows[base]
    near = _numbered(base, rows) or get_close_matches(base, rows, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(other) for other in near)}? " if near else ""
    raise NetworkError(
        f"unknown network '{name[:_SHOWN]}'; {hint}give an .onnx file or a name that "
        "`networks` lists"
    )


def _numbered(name: str, rows: Mapping[str, BuiltIn]) -> list[str]:
    """What a name means whose number stands behind something else than `@`."""
    heads = [row for row in rows.values() if row.parameters and name.startswith(row.name)]
    if not heads:
        return []
    row = max(heads, key=lambda each: len(each.name))
    number = name[len(row.name) :].strip("_-x")
    legal = row.parameters[0].read(number) is not None
    return [f"{row.name}@{number}"] if legal else []


def read_numbers(name: str, row: BuiltIn) -> dict[str, Number]:
    """The numbers that a name sets, by parameter.  Raises NetworkError for all that is wrong."""
    _, rest = split_name(name)
    if rest is None:
        return {}
    if not row.parameters:
        raise NetworkError(f"'{name[:_SHOWN]}': {row.name} takes no numbers; write '{row.name}'")
    legal = {parameter.name: parameter for parameter in row.parameters}
    found: dict[str, Number] = {}
    faults = []
    for place, text in enumerate(rest.split("-")):
        key, equals, value = text.partition("=")
        if not equals:
            key, value = (tuple(legal)[place] if place < len(legal) else ""), text
        parameter = legal.get(key)
        if parameter is None:
            what = (
                f"there is no '{key[:_SHOWN]}'" if equals else f"'{text[:_SHOWN]}' is one too many"
            )
            faults.append(f"{what}; {row.name} takes {', '.join(legal)}")
            continue
        if key in found:
            faults.append(f"{key} is given twice")
            continue
        number = parameter.read(value)
        if number is None:
            faults.append(f"{key} '{value[:_SHOWN]}' is not {parameter.limits}")
            continue
        found[key] = number
    if faults:
        example = "-".join(f"{parameter.default}" for parameter in row.parameters)
        raise NetworkError(f"'{name[:_SHOWN]}': {'; '.join(faults)}; as in '{row.name}@{example}'")
    return found
