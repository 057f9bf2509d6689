"""Which loops of a sweep can run over which axes of its maps, so that every tile is a box.

A loop runs over an axis of the file.  Where that axis consists of several factors of a map
(`graph.arrangement`), only its slowest one can be cut, and only if it is the outermost along its
axis of the map; the others belong to every tile:

    tokens of a ViT     [row 14, column 14]      14 indices of 14 tokens each
    its heads           [channel 3 by 64]        3 indices; 6 heads that share 2 of keys: 2
    windows             [row 8 by 7, column 8]   8 indices of 8 windows each
    their tokens        [row 7, column 7]        none: a run of rows of one window is no box

A loop has as many indices as all of its maps allow: the greatest common divisor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd, prod

from dataflow_sim.graph.arrangement import BATCH, CHANNEL, COLUMN, ROW, Arrangement, Factors
from dataflow_sim.graph.region import Shape4
from dataflow_sim.graph.sweep import Access, Cut, Sweep, SweepKind
from dataflow_sim.ingest.layers.drafts import Value


@dataclass(frozen=True, slots=True)
class Role:
    """A map of a sweep: which loop runs over which axis of the file, counted from the last.

    With a `part` it holds only these of the columns.
    """

    shape: Shape4
    axes: Arrangement
    loops: Mapping[str, int]
    part: int | None = None

    def factors(self, loop: str) -> Factors:
        """What a loop runs over; nothing where it does not index the map."""
        axis = self.loops.get(loop)
        if axis is None or -axis > len(self.axes.axes):
            return ()
        return self.axes.axes[axis]

    def extent(self, loop: str) -> int:
        """Indices of the file's axis that a loop runs over."""
        return prod(factor.extent for factor in self.factors(loop))

    def runs(self, loop: str) -> int:
        """How many equal boxes the axis can be cut into."""
        outer = self.factors(loop)[0]
        whole = outer.extent * outer.stride == self.shape[outer.axis]
        return outer.extent if whole else 1


def roles_of(
    values: Sequence[Value], loops: Mapping[str, int], *, parts: bool = False
) -> list[Role]:
    """The roles of an operand's values; with `parts` each of them holds a part of the columns."""
    return [
        Role(value.view.shape, value.axes, loops, place if parts else None)
        for place, value in enumerate(values)
    ]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Values in local memory while a sweep runs: of all rows together, and of its state."""

    kind: SweepKind
    sums: int = 0
    state: int = 0


def _indices(roles: Sequence[Role], loop: str) -> int:
    """Indices of a loop, as many as all maps that it indexes allow."""
    return gcd(*(role.runs(loop) for role in roles if role.factors(loop))) or 1


def _parts(roles: Sequence[Role], own: Sequence[int]) -> tuple[int, ...]:
    """Columns of each part; of several parts every one can be cut anywhere, or none."""
    if len(own) == 1:
        return (_indices(roles, "N"),)
    free = all(role.runs("N") == role.extent("N") for role in roles if role.factors("N"))
    return tuple(own) if free else (1,)


def _access(role: Role, extents: Mapping[str, int], parts: tuple[int, ...]) -> Access:
    found = [
        Cut(loop, role.factors(loop)[0].axis)
        for loop in "BGP"
        if role.factors(loop) and extents[loop] > 1
    ]
    if sum(parts) == 1:
        return tuple(found)
    part = role.part if len(parts) > 1 else None
    if role.factors("N"):
        found.append(Cut("N", role.factors("N")[0].axis, part))
    elif part is not None:  # a part of one column: all of the map
        taken = {cut.axis for cut in found}
        free = (axis for axis in (COLUMN, ROW, BATCH, CHANNEL) if axis not in taken)
        found.append(Cut("N", next(free), part))
    return tuple(found)


def swept(
    views: Sequence[Role],
    outputs: Sequence[Role],
    waiting: Waiting,
    parts: Sequence[int] = (1,),
) -> Sweep | None:
    """The sweep over these maps; None where none of its loops can be cut.

    `parts` are the columns of each part, if there are several.  An output that a loop of
    batches or groups does not index would be written again: such a loop has one index.
    """
    roles = (*views, *outputs)
    extents = {loop: _indices(roles, loop) for loop in "BGP"}
    for loop in "BG":
        if not all(role.factors(loop) for role in outputs):
            extents[loop] = 1
    columns = _parts(roles, parts)
    if sum(columns) == 1 and all(extent == 1 for extent in extents.values()):
        return None
    per_sum = extents["B"] * extents["G"]
    rows = extents["P"] if waiting.kind is not SweepKind.RECURRENT else 1
    return Sweep(
        kind=waiting.kind,
        batch=extents["B"],
        groups=extents["G"],
        rows=extents["P"],
        parts=columns,
        views=tuple(_access(role, extents, columns) for role in views),
        outputs=tuple(_access(role, extents, columns) for role in outputs),
        sums=waiting.sums // (per_sum * rows),
        state=waiting.state // per_sum,
    )
