"""What a step of a sweep finds in local memory, as its operator sees it, and what it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.meaning import Meaning
from dataflow_sim.graph.region import Shape4, Span
from dataflow_sim.graph.sweep import Sweep
from dataflow_sim.simulate.stream_arithmetic import RealStreams
from dataflow_sim.simulate.stream_tiles import (
    Array,
    Constants,
    Held,
    Tile,
    given_tile,
    loops_of,
    vectors_of,
)

Results = dict[int, Array]  # as the file sees them, by the operator's output


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a step finds in local memory: a box of each view, or none of it; the numbers of the
    constants there, None where there are none; the running sums, None where it starts them.

    `waits` tells whether it has running sums at all, `last` whether it leaves them as they are.
    `results` are the shapes of the tensors that the layer writes, None of those that the step does
    not.
    """

    views: Sequence[Held | None]
    vectors: Array | None
    sums: Array | None
    waits: bool
    last: bool
    results: Sequence[Shape4 | None]

    @property
    def keeps(self) -> bool:
        """Whether it leaves running sums that a later step goes on with."""
        return self.waits and not self.last

    @property
    def writes(self) -> bool:
        """Whether it makes anything of a result."""
        return any(shape is not None for shape in self.results)


@dataclass(slots=True, eq=False)
class SweepStep:
    """One step of a sweep on its way from what it finds to what it makes."""

    layer: Layer
    sweep: Sweep
    meaning: Meaning
    found: Found
    constants: Constants
    arithmetic: RealStreams
    loops: dict[str, Span] = field(init=False)
    tiles: tuple[Tile | None, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Find the loops' indices, and the operator's inputs as it sees them."""
        shapes = [view.shape for view in self.layer.views]
        boxes = [None if held is None else held[1] for held in self.found.views]
        self.loops = loops_of(self.sweep, shapes, boxes)
        vectors = vectors_of(self.meaning, self.constants, self.found.vectors)
        self.tiles = tuple(
            given_tile(self.layer, each, self.found.views, self.constants, vectors)
            for each in self.meaning.inputs
        )

    def tile(self, place: int) -> Tile:
        """An input of the operator.  Raises ProgramError where the step finds nothing of it."""
        found = self.optional(place)
        if found is None:
            raise ProgramError(f"{self.meaning.op} finds nothing of its input {place}")
        return found

    def optional(self, place: int) -> Tile | None:
        """An input of the operator that may be left out, or may not be there in this step."""
        return self.tiles[place] if place < len(self.tiles) else None

    def at_hand(self, place: int) -> Tile | None:
        """An input that may be left out, but must be there if it is not."""
        given = self.meaning.inputs[place : place + 1]
        return self.tile(place) if given and given[0].there else None
