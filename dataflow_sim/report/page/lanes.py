"""The network as rows of layers in the order in which they run, and lanes of the maps between them.

    row   0  1   lanes
     0    ●       a map's lane runs from the row that makes it to the last one that reads it;
     1    ├──●    a layer stands in the lane of what it makes, and takes the lane of a map that
     2    │  ●    ends with it where there is one, so that a chain is a straight line
     3    ●──┘    (an add: one of its maps ends here, the other lane is free from here on)

At every row the lanes in use are the maps alive.  A lane is free again in the row that ends its
map; the lowest free one is taken.  Rows are the inputs of the network, then the layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dataflow_sim.results import RunResult
from dataflow_sim.results_of_review import Edge


@dataclass(frozen=True, slots=True)
class LaneRow:
    """An input of the network, or a layer: its lane, its group (None of an input), its bytes."""

    name: str
    op: str
    lane: int
    group: int | None
    dram_bytes: int


@dataclass(frozen=True, slots=True)
class LaneEdge:
    """A map from a row to a later one, down the lane of the row that makes it."""

    source: int
    target: int
    tensor: str
    size_bytes: int
    way: str


@dataclass(frozen=True, slots=True)
class LaneGraph:
    """Rows in order, edges by the row that reads, and how many lanes there are."""

    rows: tuple[LaneRow, ...]
    edges: tuple[LaneEdge, ...]
    lanes: int


def lane_graph(result: RunResult, edges: Sequence[Edge]) -> LaneGraph:
    """The network of a run, with a lane for every map alive."""
    inputs = list(dict.fromkeys(each.tensor for each in edges if each.producer is None))
    layers = {layer.name: layer for layer in result.layers}
    order = [name for group in result.groups for name in group.layers]
    row_of = {("input", name): row for row, name in enumerate(inputs)}
    row_of |= {("layer", name): row for row, name in enumerate(order, len(inputs))}
    drawn = [
        LaneEdge(
            source=row_of[("input", e.tensor) if e.producer is None else ("layer", e.producer)],
            target=row_of["layer", e.consumer],
            tensor=e.tensor,
            size_bytes=e.size_bytes,
            way=e.way,
        )
        for e in edges
    ]
    drawn.sort(key=lambda each: (each.target, each.source))
    lane = _lanes(len(row_of), drawn)
    group_of = {name: number for number, g in enumerate(result.groups) for name in g.layers}
    rows = [
        LaneRow(name, "input", lane[row], None, 0)
        if kind == "input"
        else LaneRow(
            name, layers[name].op, lane[row], group_of[name], layers[name].traffic.total_bytes
        )
        for (kind, name), row in row_of.items()
    ]
    return LaneGraph(tuple(rows), tuple(drawn), max(lane, default=-1) + 1)


def _lanes(rows: int, edges: Sequence[LaneEdge]) -> list[int]:
    """The lane of every row."""
    ends = list(range(rows))
    sources: list[list[int]] = [[] for _ in range(rows)]
    for edge in edges:
        ends[edge.source] = max(ends[edge.source], edge.target)
        sources[edge.target].append(edge.source)
    lane: list[int] = []
    taken_until: list[int] = []
    for row in range(rows):
        ending = [lane[source] for source in sources[row] if ends[source] == row]
        free = (number for number, until in enumerate(taken_until) if until <= row)
        place = min(ending) if ending else next(free, len(taken_until))
        if place == len(taken_until):
            taken_until.append(row)
        # what nobody reads takes its lane for its own row alone
        taken_until[place] = max(ends[row], row + 1)
        lane.append(place)
    return lane
