"""Meanings: what a streamed layer computes, for whoever executes it.

A layer of a loop nest says by its window, weights and programs what it computes.  A streamed one is
an operator of the file, or one of our own: its meaning names it, with its attributes, and says for
each of its inputs where that lies and how the operator sees it:

    input 0       view 0                                  as (batch, heads, queries, depth)
    input 1       views 1 and 2, one behind the other     as (batch, heads, keys, depth)
    input 2       a constant of the network, or part of the layer's vectors
    input 3       left out

Our own operators, beside those of ONNX:

    Attention         softmax(scale q kᵀ + masks) v: q (B, H, T, D), k (B, G, S, D), v (B, G, S, E)
    RotaryEmbedding   x cos + concat(-x[..., D/2:], x[..., :D/2]) sin
    Embedding         rows of a table by their numbers; `picked`: row t is the one for number t
    Pointwise         the layer's `program`; input 0 is what enters it, input k + 1 its operand k
    Copy              its only input

Plain data: nothing here knows how anything is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from dataflow_sim.graph.arrangement import Arrangement
from dataflow_sim.graph.pointwise import IDENTITY, Attribute, ConstantArg, PointProgram

ATTENTION = "Attention"
ROTARY = "RotaryEmbedding"
EMBEDDING = "Embedding"
POINTWISE = "Pointwise"
COPY = "Copy"

OWN = "dataflow_sim"  # the domain of these


class Seen(NamedTuple):
    """A view of the layer, by its place among them, as the operator sees it."""

    view: int
    axes: Arrangement


@dataclass(frozen=True, slots=True)
class Input:
    """One input of an operator; nothing of it is there where it is left out.

    Several views lie one behind the other along `joined`, an axis counted from the last.  A
    constant among the layer's vectors has its elements there from `vector` on.  `element` is the
    type of its elements in the file, as numpy names it.
    """

    seen: tuple[Seen, ...] = ()
    constant: str = ""
    vector: int | None = None
    joined: int = -2
    element: str = "float32"

    @property
    def there(self) -> bool:
        """Whether the operator is given it at all."""
        return bool(self.seen or self.constant)


LEFT_OUT = Input()


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a streamed layer computes.

    `results` say how the operator sees each tensor that the layer writes, and `places` which of
    its outputs that is.  `domain` is empty for ONNX's operators, of which `version` is the set.
    """

    op: str
    inputs: tuple[Input, ...]
    results: tuple[Arrangement, ...]
    places: tuple[int, ...] = (0,)
    attributes: tuple[tuple[str, Attribute], ...] = ()
    domain: str = ""
    version: int = 0
    program: PointProgram = field(default=IDENTITY)

    def __post_init__(self) -> None:
        """Refuse results that are not told apart."""
        if len(set(self.places)) != len(self.results):
            raise ValueError(f"{self.op}: results {self.places} of {len(self.results)} tensors")

    @property
    def constants(self) -> tuple[str, ...]:
        """The constants that it is computed with, by name."""
        steps = self.program.steps
        args = (arg.name for s in steps for arg in s.args if isinstance(arg, ConstantArg))
        return (*(each.constant for each in self.inputs if each.constant), *args)

    def stating(self, **attributes: Attribute) -> Meaning:
        """The same with further attributes."""
        return replace(self, attributes=(*self.attributes, *sorted(attributes.items())))

    def number(self, name: str, default: float) -> float:
        """A numeric attribute, or the operator's default."""
        value = dict(self.attributes).get(name, default)
        return float(value) if isinstance(value, int | float) else default

    def numbers(self, name: str) -> tuple[int, ...]:
        """An attribute that is a list of integers; empty where it is not stated."""
        value = dict(self.attributes).get(name, ())
        return tuple(int(each) for each in value) if isinstance(value, tuple) else ()

    def text(self, name: str, default: str) -> str:
        """An attribute that is a word, or the operator's default."""
        value = dict(self.attributes).get(name, default)
        return value if isinstance(value, str) else default
