"""What a what-if is: a name, a value with its unit, options, a contract, and the change itself.

What-ifs run in the order of their stages, and within a stage as they are given:

    READING     how the file is read: sizes, operators replaced, folding
    STRUCTURE   layers and channels: width, pruning, other blocks
    WIDTHS      bits of weights and feature maps
    SPARSITY    which elements are zero, and how their places are coded
    CODES       how values are coded
    LAST        Huffman codes, of values or of the numbers that stand for them

A later stage sees what an earlier one made: layers that are split have the bits that their kind is
given, a Huffman code is that of the widths and zeros that there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction

from dataflow_sim.errors import InputError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest import ReadRequest
from dataflow_sim.whatif.measured import Measure

Value = int | Fraction | str | tuple[int, ...]


class Stage(IntEnum):
    """When a what-if runs."""

    READING = 0
    STRUCTURE = 1
    WIDTHS = 2
    SPARSITY = 3
    CODES = 4
    LAST = 5


@dataclass(frozen=True, slots=True)
class Kind:
    """The values that a what-if or an option takes: in words, and from a text (None: not legal)."""

    words: str
    read: Callable[[str], Value | None]


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a what-if, `NAME=VALUE` behind a colon; None where it has no default."""

    name: str
    kind: Kind
    default: Value | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A what-if with its value and options, as a user asked for it."""

    text: str
    value: Value
    options: Mapping[str, Value | None]
    measure: Measure | None = None

    def whole(self, name: str | None = None) -> int:
        """The value, or that of an option, which is a whole number."""
        found = self.value if name is None else self.options[name]
        assert isinstance(found, int), self.text
        return found

    def part(self, name: str | None = None) -> Fraction:
        """The value, or that of an option, which is a number."""
        found = self.value if name is None else self.options[name]
        assert isinstance(found, int | Fraction), self.text
        return Fraction(found)

    def word(self, name: str | None = None) -> str:
        """The value, or that of an option, which is a word."""
        found = self.value if name is None else self.options[name]
        assert isinstance(found, str), self.text
        return found

    def refused(self, why: str) -> InputError:
        """The error that tells why this cannot be."""
        return InputError(f"--what-if {self.text}: {why}")


@dataclass(frozen=True, slots=True)
class Changed:
    """A network with a change made, and sentences on what that did."""

    graph: NetworkGraph
    effects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """One change that a user may ask for.

    `before` and `after` are its contract: what it looks for, and what holds once it ran.  `change`
    makes it of a network, `read` of how a file is read; a what-if has the one or the other.
    """

    name: str
    stage: Stage
    kind: Kind
    meaning: str
    before: str
    after: str
    change: Callable[[NetworkGraph, Asked], Changed] | None = None
    read: Callable[[ReadRequest, Asked], ReadRequest] | None = None
    options: tuple[Option, ...] = field(default=())

    @property
    def usage(self) -> str:
        """How it is written."""
        tail = "".join(f"[:{each.name}={each.kind.words}]" for each in self.options)
        return f"{self.name}={self.kind.words}{tail}"


# ------------------------------------------------------------ kinds of values


def whole(least: int, most: int) -> Kind:
    """A whole number between limits."""

    def read(text: str) -> int | None:
        plain = text.isascii() and text.isdigit() and len(text) <= 12
        return int(text) if plain and least <= int(text) <= most else None

    return Kind(f"{least}..{most}", read)


def number(least: Fraction, most: Fraction, *, below: bool = False) -> Kind:
    """A number between limits, decimal or per cent; the upper one is not legal where `below`."""

    def read(text: str) -> Fraction | None:
        digits, scale = (text[:-1], 100) if text.endswith("%") else (text, 1)
        if not (digits.isascii() and len(digits) <= 20 and digits.replace(".", "", 1).isdigit()):
            return None
        found = Fraction(digits) / scale
        return found if least <= found <= most and not (below and found == most) else None

    low, high = (str(float(each)).removesuffix(".0") for each in (least, most))
    return Kind(f"{low}..<{high}" if below else f"{low}..{high}", read)


def word(*words: str) -> Kind:
    """One of some words."""
    return Kind("|".join(words), lambda text: text if text in words else None)


def any_of(kind: Kind, *words: str) -> Kind:
    """A value of a kind, or one of some words."""

    def read(text: str) -> Value | None:
        return text if text in words else kind.read(text)

    return Kind("|".join((kind.words, *words)), read)


def anything(words: str) -> Kind:
    """Any text."""
    return Kind(words, lambda text: text or None)


def pair(words: str, between: str, least: int, most: int) -> Kind:
    """Two whole numbers with something between."""
    each = whole(least, most)

    def read(text: str) -> tuple[int, ...] | None:
        found = [each.read(part) for part in text.split(between)]
        if len(found) != 2 or None in found:
            return None
        return tuple(int(part) for part in found if isinstance(part, int))

    return Kind(words, read)
