"""Read lifetimes of buffers from a CSV file: anyone's, whatever made them.

    id,lower,upper,size          a line of names, in any order, perhaps with further ones
    conv1,0,12,401408            one row a buffer: it lives in [lower, upper), size in bytes
    conv2,8,20,200704

Assumed: text of UTF-8, cells parted by commas and quoted as spreadsheets do, whole numbers.
Ignored: further columns, rows without a cell, blanks around cells.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dataflow_sim.errors import InputError
from dataflow_sim.results_of_placement import Lifetime

COLUMNS = ("id", "lower", "upper", "size")

# Sums over a file stay far below 2^63, up to which addresses are reckoned.
MOST_BUFFERS = 1 << 20
LARGEST_SIZE_BYTES = 1 << 40
LATEST = 10**15
_LARGEST_FILE_BYTES = 1 << 28
_MOST_NAMED = 20
_LONGEST_SHOWN = 40
_LONGEST_NUMBER = 20  # digits, with zeros in front

Row = tuple[int, list[str]]


def read_lifetimes(path: Path) -> tuple[Lifetime, ...]:
    """The buffers of a file, in its order.

    Raises InputError with every problem, one a line, each with the line of the file.
    """
    rows = _rows(_text(path), path)
    line, header = next(rows, (1, []))
    if not header:
        raise InputError(f"'{path}' is empty; its first line names the columns {_list(COLUMNS)}")
    reader = _Reader(path, header, _places(header, f"{path}:{line}"))
    try:
        for line, cells in rows:
            reader.read(line, cells)
    except InputError as broken:
        reader.problems.append(str(broken))
    if not reader.count and not reader.problems:
        reader.problems.append(
            f"'{path}' names no buffer; write one row a buffer below the first line"
        )
    if reader.problems:
        more = len(reader.problems) - _MOST_NAMED
        rest = [f"and {more:,} more problems"] if more > 0 else []
        raise InputError("\n".join(reader.problems[:_MOST_NAMED] + rest))
    return tuple(reader.found)


@dataclass(slots=True)
class _Reader:
    """The buffers and the problems of the rows read so far."""

    path: Path
    header: list[str]
    places: dict[str, int]
    found: list[Lifetime] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    # the line on which each name stands first
    lines: dict[str, int] = field(default_factory=dict)
    count: int = 0

    def read(self, line: int, cells: list[str]) -> None:
        """A row.  Raises InputError where it is one too many."""
        if self.count == MOST_BUFFERS:
            raise InputError(
                f"{self.path}:{line}: more than {MOST_BUFFERS:,} buffers; split the file"
            )
        self.count += 1
        if len(cells) != len(self.header):
            self.problems.append(
                f"{self.path}:{line}: {len(cells)} cells; the first line names "
                f"{len(self.header)} columns"
            )
            return
        name, *numbers = (cells[self.places[column]] for column in COLUMNS)
        wrong = [*self._wrong_name(name), *_wrong_numbers(*numbers)]
        self.lines.setdefault(name, line)
        self.problems += (f"{self.path}:{line}: {each}" for each in wrong)
        if not wrong:
            self.found.append(Lifetime(name, *map(int, numbers)))

    def _wrong_name(self, name: str) -> list[str]:
        if not name:
            return ["id is empty; give every buffer a name of its own"]
        if name not in self.lines:
            return []
        there = f"id {_shown(name)} stands on line {self.lines[name]} already"
        return [f"{there}; give every buffer its own"]


def _text(path: Path) -> str:
    """The text of a file.  Raises InputError where there is none, or none that is text."""
    try:
        if not path.exists():
            raise InputError(f"'{path}' does not exist; give a CSV file of lifetimes")
        if path.is_dir():
            raise InputError(f"'{path}' is a directory; give the CSV file inside it")
        if not path.is_file():
            raise InputError(f"'{path}' is no regular file; give a CSV file of lifetimes")
        size_bytes = path.stat().st_size
        if size_bytes > _LARGEST_FILE_BYTES:
            raise InputError(
                f"'{path}' has {size_bytes:,} bytes; lifetimes are read from at most "
                f"{_LARGEST_FILE_BYTES:,}: leave further columns out, or split it"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"'{path}' is no CSV file: byte {error.start:,} is not UTF-8; save it as text"
        ) from None
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"'{str(path)[:60]}' cannot be read: {what}") from None
    if "\0" in text:
        raise InputError(f"'{path}' is no CSV file: it holds a byte 0; save it as text")
    return text


def _rows(text: str, path: Path) -> Iterator[Row]:
    """The rows that have a cell, stripped of blanks, with the lines on which they end."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not CSV: {error}") from None


def _places(header: list[str], where: str) -> dict[str, int]:
    """Where each column stands.  Raises InputError where one is missing or there twice."""
    problems = []
    for name in COLUMNS:
        if name not in header:
            shown = ", ".join(_shown(each) for each in header[:8])
            problems.append(
                f"{where}: no column '{name}' among {shown}; the first line names {_list(COLUMNS)}"
            )
        elif header.count(name) > 1:
            problems.append(f"{where}: the column '{name}' stands twice; delete one")
    if problems:
        raise InputError("\n".join(problems))
    return {name: header.index(name) for name in COLUMNS}


def _wrong_numbers(lower: str, upper: str, size: str) -> list[str]:
    """What is wrong with the numbers of a row."""
    moments = [_wrong_number("lower", lower), _wrong_number("upper", upper)]
    found = [each for each in (*moments, _wrong_number("size", size)) if each]
    if not any(moments) and int(upper) <= int(lower):
        found.append(
            f"upper is {int(upper)}, lower {int(lower)}; a buffer lives in [lower, upper), "
            f"so that upper is at least {int(lower) + 1}"
        )
    return found


def _wrong_number(column: str, text: str) -> str:
    """What is wrong with a number, nothing where it is legal."""
    most = LARGEST_SIZE_BYTES if column == "size" else LATEST
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        what = "bytes" if column == "size" else "a moment"
        return f"{column} is {_shown(text)}, no whole number; write {what} in digits alone"
    if digits != text:
        return f"{column} is {_shown(text)}, negative; write a number from 0 up"
    if len(digits) > _LONGEST_NUMBER or int(digits) > most:
        return f"{column} is {_shown(text)}; it is at most {most:,}"
    return ""


def _shown(text: str) -> str:
    """A cell as messages show it."""
    return repr(text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "...")


def _list(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
