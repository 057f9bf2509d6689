"""Results back from files: the tables of sweeps and the JSON of runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from dataflow_sim.errors import InputError
from dataflow_sim.results_of_studies import Row, Value
from dataflow_sim.scenario.columns import ALWAYS
from dataflow_sim.scenario.table import Table

POINTS, RUN = "points.csv", "result.json"
_NEEDED = ("network", "hardware", "machine", "dram", "layers", "group_list")  # to compare
_RUN_SCHEMA = "dataflow_sim.run/"


def _value(text: str) -> Value:
    """A cell as what it looks like."""
    if not text:
        return None
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def read_points(name: str) -> Table:
    """The table of points of a sweep: its directory, or the CSV file.

    Columns before `status` tell the points apart.  Raises InputError where it is none.
    """
    path = Path(name)
    path = path / POINTS if path.is_dir() else path
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError:
        raise InputError(
            f"'{path}' does not exist; give the directory that `sweep --out` wrote"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"'{path}' cannot be read as a table: {error}") from None
    status = ALWAYS[0]
    if not lines or status not in lines[0]:
        raise InputError(f"'{path}' is no table of points: it has no column '{status}'")
    columns = tuple(lines[0])
    rows: list[Row] = []
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(columns):
            raise InputError(f"{path}:{number}: {len(line)} cells, the table has {len(columns)}")
        rows.append({name: _value(cell) for name, cell in zip(columns, line, strict=True)})
    return Table(columns[: columns.index(status)], columns, tuple(rows))


def read_run(name: str) -> dict[str, Any]:
    """The JSON of a run: the directory that `run --out` wrote, or the file.

    Raises InputError where it is none.
    """
    path = Path(name)
    path = path / RUN if path.is_dir() else path
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"'{path}' does not exist; give the directory that `run --out` wrote"
        ) from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read as JSON: {str(error)[:120]}") from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if not str(schema).startswith(_RUN_SCHEMA):
        raise InputError(f"'{path}' is no result of a run; `run --out DIR` writes {RUN}")
    missing = [key for key in _NEEDED if key not in found]
    if missing:
        raise InputError(f"'{path}' has no {', '.join(missing)}; was it cut off?")
    return dict(found)


def is_sweep(name: str) -> bool:
    """Whether a name is that of a sweep's results rather than a run's."""
    path = Path(name)
    return path.suffix == ".csv" or (path.is_dir() and (path / POINTS).is_file())
