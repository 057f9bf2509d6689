"""What the operands of attention's two products are views of.

Exporters reshape, transpose, repeat and scale queries, keys and values before they multiply
them.  A trace follows an operand back through such nodes; for each name on the way an
arrangement says which of its elements the operand runs over.  A name of rank 4 that holds the
heads apart and none of them twice is what attention reads.

    (B, S, G * D) ─ Reshape ─► (B, S, G, D) ─ Transpose ─► (B, G, S, D) ─ Expand, Reshape ─►
    (B, H, S, D) ─ Transpose ─► (B, H, D, S) ─ Mul ─► right operand of the first product
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from math import isfinite, prod

from dataflow_sim.graph.arrangement import Arrangement, Factor
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.rewriting import NodeIndex, integer_tuple, is_whole

Shape = tuple[int, ...]

# Operators whose result has the elements of their first input in the same order
RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")
_REPEATS = ("Expand", "Tile")
IN_PLACE = (0, 1, 2, 3)
_LONGEST_TRACE = 32


@dataclass(frozen=True, slots=True)
class Step:
    """A name on the way back from an operand; `reader` reads it and writes the step before."""

    name: str
    reader: Node | None
    scales: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """The shape of an operand: rows and columns behind `batch`, which runs over the heads."""

    batch: Shape
    heads: tuple[int, int]
    rows: int
    columns: int
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Heads:
    """A step that has an operand's elements, once its axes are put in order."""

    position: int
    order: Shape
    groups: int

    @property
    def preference(self) -> tuple[bool, int]:
        """The smaller the better: nothing to transpose, the farther from the operand."""
        return self.order != IN_PLACE, -self.position


def factor_of(index: NodeIndex, node: Node) -> tuple[str, float] | None:
    """(map, factor) where a node multiplies a map by a known positive number, or divides it."""
    if node.op not in ("Mul", "Div") or not is_whole(node):
        return None
    pairs = [node.inputs] if node.op == "Div" else [node.inputs, node.inputs[::-1]]
    for scaled, constant in pairs:
        number = index.scalar(constant)
        if number is None or index.is_constant(scaled) or not number > 0 or not isfinite(number):
            continue
        if index.shape(scaled) == index.shape(node.outputs[0]):
            return scaled, 1 / number if node.op == "Div" else number
    return None


def _contiguous(shape: Shape) -> Arrangement:
    """The arrangement of a name over its own elements, numbered from 0."""
    axes, stride = [], prod(shape)
    for extent in shape:
        stride //= extent
        axes.append((Factor(0, extent, stride),))
    return Arrangement(tuple(axes))


def _repeated(axes: Arrangement, shape: Shape) -> Arrangement | None:
    """Broadcast to a shape; None where something else than an extent of 1 would change."""
    missing = len(shape) - len(axes.axes)
    if missing < 0:
        return None
    found = []
    for factors, before, after in zip(
        ((),) * missing + axes.axes, (1,) * missing + axes.shape, shape, strict=True
    ):
        if before not in (1, after):
            return None
        found.append(factors if before == after else (Factor(0, after, 0),))
    return Arrangement(tuple(found))


class Trace:
    """The names that an operand is a view of, the operand first.

    With `scaled` the way goes on through factors, if nothing reads a scaled name but the node
    on the way.
    """

    def __init__(self, index: NodeIndex, operand: str, *, scaled: bool) -> None:
        self.index = index
        self.steps = [Step(operand, None)]
        self.factor = 1.0
        alone = scaled
        while len(self.steps) < _LONGEST_TRACE:
            name = self.steps[-1].name
            node = index.producer(name)
            alone = alone and index.sole_reader(name) is not None
            if node is None or not is_whole(node):
                break
            found = factor_of(index, node) if alone else None
            if found is not None:
                self.factor *= found[1]
                self.steps.append(Step(found[0], node, scales=True))
            elif node.op in (*RESHAPES, *_REPEATS, "Transpose"):
                self.steps.append(Step(node.inputs[0], node))
            else:
                break

    def _through(self, node: Node, axes: Arrangement) -> Arrangement | None:
        """The arrangement of a view's result, of that of what it reads."""
        shape = self.index.shape(node.outputs[0])
        if node.op in RESHAPES:
            return axes.reshaped(shape)
        if node.op in _REPEATS:
            return _repeated(axes, shape)
        if node.op != "Transpose":
            return axes
        rank = len(shape)
        order = integer_tuple(node.attributes.get("perm", tuple(range(rank))[::-1]))
        whole = order is not None and sorted(order) == list(range(rank))
        return axes.transposed(order) if order is not None and whole else None

    def _seen(self, position: int, batch: Shape) -> Arrangement | None:
        """How the operand, its axes before the last two joined, runs over a step's name."""
        axes: Arrangement | None = _contiguous(self.index.shape(self.steps[position].name))
        for step in self.steps[position:0:-1]:
            if axes is None or step.reader is None:
                return None
            axes = self._through(step.reader, axes)
        if axes is not None:
            axes = _repeated(axes, (*batch, *axes.shape[-2:]))
        if axes is None or len(axes.axes) < 2:
            return None
        joined = tuple(factor for factors in axes.axes[:-2] for factor in factors)
        return Arrangement((joined, *axes.axes[-2:]))

    def heads(self, wanted: Wanted) -> Iterator[Heads]:
        """Steps of rank 4 that are (batch, groups, rows, columns), perhaps in another order."""
        batch, heads = wanted.heads
        for position, step in enumerate(self.steps):
            shape = self.index.shape(step.name)
            seen = self._seen(position, wanted.batch) if len(shape) == 4 else None
            orders = [IN_PLACE] if self.index.is_constant(step.name) else permutations(IN_PLACE)
            for order in orders if seen is not None else ():
                extents = tuple(shape[axis] for axis in order)
                groups = extents[1]
                if extents != (batch, groups, wanted.rows, wanted.columns) or heads % groups:
                    continue
                axes = _contiguous(shape).transposed(order).axes
                joined = (*axes[0], *axes[1], Factor(0, heads // groups, 0))
                last = axes[:1:-1] if wanted.transposed else axes[2:]
                if seen == Arrangement((joined, *last)):
                    yield Heads(position, order, groups)

    def passed(self, heads: Heads) -> tuple[Node, ...]:
        """Nodes that nothing needs any longer, unless others read them."""
        readers = [step.reader for step in self.steps[: heads.position + 1]]
        scaling = [step.reader for step in self.steps if step.scales]
        return tuple(node for node in (*readers, *scaling) if node is not None)

    def unscaled(self, heads: Heads) -> Iterator[tuple[Node, Node]]:
        """Views behind a step, as they read past the factors, with what they were."""
        for position in range(heads.position + 1, len(self.steps)):
            view = self.steps[position].reader
            after = position
            while after + 1 < len(self.steps) and self.steps[after + 1].scales:
                after += 1
            if view is not None and not self.steps[position].scales and after > position:
                inputs = (self.steps[after].name, *view.inputs[1:])
                yield replace(view, inputs=inputs), view
