"""What is known of a built-in network beside the network itself: a row of the catalogue."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx

Number = int | float


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number that a network's name may carry, as in `mobilenet_v1@0.5-160`.

    It is whole where the default is; `multiple_of` applies to whole numbers only, and `choices`,
    where there are any, are all that is legal.
    """

    name: str
    default: Number
    least: Number
    most: Number
    meaning: str
    multiple_of: int = 1
    choices: tuple[Number, ...] = ()

    def __post_init__(self) -> None:
        """Hold the row to its own limits."""
        assert self.least <= self.default <= self.most, self.name
        assert not self.whole or self.default % self.multiple_of == 0, self.name

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are legal."""
        return isinstance(self.default, int)

    @property
    def limits(self) -> str:
        """What is legal, in words."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        kind = "a whole number" if self.whole else "a number"
        steps = f" in multiples of {self.multiple_of}" if self.multiple_of > 1 else ""
        return f"{kind} from {self.least} to {self.most}{steps}"

    def read(self, text: str) -> Number | None:
        """The number that a text says, or None where it is not a legal one."""
        plain = text.isascii() and len(text) <= 12 and text.replace(".", "", 1).isdigit()
        if not plain or (self.whole and "." in text):
            return None
        number = int(text) if self.whole else float(text)
        legal = math.isfinite(number) and self.least <= number <= self.most
        if self.whole:
            legal = legal and number % self.multiple_of == 0
        return number if legal and number in (self.choices or (number,)) else None


@dataclass(frozen=True, slots=True)
class Published:
    """What a source says of a network: learned parameters and multiply-accumulates.

    `at` are the numbers of the name that it holds for, as in "0.5-160".  Counts here are within
    1 % of `parameters` and 2 % of `macs`, or `because` says which convention differs.
    """

    source: str
    parameters: int | None = None
    macs: int | None = None
    at: str = ""
    because: str = ""


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A built-in network: what it is, where it comes from, how it is built.

    `build` takes the name of the model and one keyword for each of `parameters`.  `source` cites
    the paper or the code that the tables are from; every departure from it stands in `deviations`.
    """

    name: str
    task: str
    description: str
    source: str
    build: Callable[..., onnx.ModelProto]
    parameters: tuple[Parameter, ...] = ()
    deviations: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()

    @property
    def pattern(self) -> str:
        """The name with the numbers it may carry, as in `mobilenet_v1[@width-resolution]`."""
        names = "-".join(parameter.name for parameter in self.parameters)
        return f"{self.name}[@{names}]" if names else self.name

    def model(self, name: str, numbers: Mapping[str, Number]) -> onnx.ModelProto:
        """The network with these numbers, the others at their defaults."""
        defaults = {parameter.name: parameter.default for parameter in self.parameters}
        return self.build(name, **{**defaults, **numbers})


def width(least: float = 0.1, most: float = 4.0) -> Parameter:
    """The usual multiplier of all channel counts."""
    return Parameter("width", 1.0, least, most, "multiplier of the channel counts")


def resolution(default: int = 224, least: int = 32, multiple_of: int = 1) -> Parameter:
    """Rows and columns of the usual square image."""
    return Parameter("resolution", default, least, 4096, "rows and columns", multiple_of)


def tokens(default: int, most: int) -> Parameter:
    """Length of a sequence."""
    return Parameter("tokens", default, 1, most, "length of the sequence")
