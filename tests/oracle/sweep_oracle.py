"""Element-by-element simulation of a sweep: rows against columns, within batches and groups.

This is an oracle: it walks the loops, builds every tile as a set of element coordinates, and
counts what is moved.  It is slow on purpose and shares nothing with the code it checks.

The loops.  Tiles of batches B are outermost, then tiles of groups G; inside them tiles of rows P
and of columns N, in the order "PN" or "NP".  Columns lie in parts, one behind the other; a tile
is within one part, unless one tile holds all columns.  In a sweep of kind "twice" with several
column tiles there is a loop of two passes between P and N.  A recurrent one has tiles of one row
and of one group; in the groups `backwards` its rows go from the last to the first, and a sweep that
has such groups holds no tile of its rows from one (batch, group) to the next.  Where some groups go
forwards and some backwards, its size of row tiles is one or all: so many rows of the inputs are
loaded together, of which a step reads its own.

Tensors have four axes.  A tensor is indexed by some loops: `cuts` are (loop, axis, part): the axis
is divided evenly among the loop's indices (those of the one part, or of all when it is None).
Indices of different loops cut different axes; axes that no loop cuts belong to every tile.

An input holds one tile.  A step loads its tile, element by element, if that is not the one held;
an empty tile (the step is in another part) is neither loaded nor read and changes nothing.
The columns of `resident` inputs are in local memory already: nothing is loaded, no buffer.

Results of a step: the tile of each output, written once every loop that does not index it is at
its last index (and the pass is the last one).  Constants are loaded once, whole, and read by the
steps that write the first output, in a recurrent sweep by all.

Running sums, with several column tiles: `sums` for every (batch, group, row), of the row tile
if P is outside N, else of all rows; each step reads those of its (batch, group, row) unless it
is the first that has them, and writes them unless it is in the second pass, or in the last
column tile.  A recurrent sweep instead has `state` and, with several column tiles, `sums` values
for each (batch, group), read by all but the first and written by all but the last step of it.

Local memory.  Each buffer is the largest extent along each axis, in whole units of the
alignment, twice if tiles are double-buffered and there is more than one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

Element = tuple[int, int, int, int]


@dataclass(frozen=True)
class OracleTensor:
    shape: Element
    cuts: tuple[tuple[str, int, int | None], ...]
    bits: int
    resident: bool = False
    stored: bool = True

    @property
    def elements(self) -> int:
        n, c, h, w = self.shape
        return n * c * h * w


@dataclass(frozen=True)
class OracleSweep:
    kind: str
    batch: int
    groups: int
    rows: int
    parts: tuple[int, ...]
    inputs: tuple[OracleTensor, ...]
    outputs: tuple[OracleTensor, ...]
    constants: tuple[OracleTensor, ...]
    sums: int
    state: int
    accumulator_bits: int
    double_buffer: bool
    backwards: tuple[int, ...] = ()
    alignment: int = 1


@dataclass(frozen=True)
class OracleCounts:
    local_bytes: int
    dram_bits: int
    steps: int
    step_bits: int
    reads: tuple[int, ...]
    first_reads: tuple[int, ...]


def _cut(extent: int, size: int) -> list[range]:
    return [range(low, min(low + size, extent)) for low in range(0, extent, size)]


def _column_tiles(parts: tuple[int, ...], size: int) -> list[range]:
    if size >= sum(parts):
        return [range(sum(parts))]
    found: list[range] = []
    start = 0
    for extent in parts:
        found.extend(range(start + t.start, start + t.stop) for t in _cut(extent, size))
        start += extent
    return found


class _Buffer:
    def __init__(self) -> None:
        self.extents = [0, 0, 0, 0]
        self.tiles: set[tuple[tuple[int, ...], ...]] = set()

    def note(self, axes: tuple[tuple[int, ...], ...]) -> None:
        self.tiles.add(axes)
        self.extents = [max(e, len(a)) for e, a in zip(self.extents, axes, strict=True)]

    def local_bytes(self, bits: int, double: bool, unit: int) -> int:
        n, c, h, w = self.extents
        slots = 2 if double and len(self.tiles) > 1 else 1
        return _whole_units(n * c * h * w * bits, unit) * slots


def _whole_units(bits: int, unit: int) -> int:
    whole = (bits + 7) // 8
    return whole + -whole % unit


def _axes(
    sweep: OracleSweep, tensor: OracleTensor, at: dict[str, range]
) -> tuple[tuple[int, ...], ...]:
    """The indices along each axis that belong to the tile of these loop indices."""
    axes = [tuple(range(extent)) for extent in tensor.shape]
    extents = {"B": sweep.batch, "G": sweep.groups, "P": sweep.rows, "N": sum(sweep.parts)}
    for loop, axis, part in tensor.cuts:
        indices, extent = list(at[loop]), extents[loop]
        if part is not None:
            start, extent = sum(sweep.parts[:part]), sweep.parts[part]
            indices = [i - start for i in indices if 0 <= i - start < extent]
        axes[axis] = tuple(k for k in axes[axis] if k * extent // tensor.shape[axis] in indices)
    return tuple(axes)


def _iterations(
    sweep: OracleSweep, order: str, sizes: tuple[int, int, int, int]
) -> Iterator[tuple[dict[str, range], bool, bool]]:
    """Tiles of the loops, whether the step is in the second pass, whether it is in the last."""
    size = 1 if sweep.kind == "recurrent" else sizes[2]
    rows, columns = _cut(sweep.rows, size), _column_tiles(sweep.parts, sizes[3])
    twice = sweep.kind == "twice" and len(columns) > 1
    for b, g in product(_cut(sweep.batch, sizes[0]), _cut(sweep.groups, sizes[1])):
        turned = rows[::-1] if g.start in sweep.backwards else rows
        if order == "NP":
            for n, p in product(columns, turned):
                yield {"B": b, "G": g, "P": p, "N": n}, False, True
        else:
            for p, again, n in product(turned, (False, True) if twice else (False,), columns):
                yield {"B": b, "G": g, "P": p, "N": n}, again, again or not twice


def simulate(sweep: OracleSweep, order: str, sizes: tuple[int, int, int, int]) -> OracleCounts:
    """Walk the loops of one tiling: sizes of batch, groups, rows and columns."""
    columns = _column_tiles(sweep.parts, sizes[3])
    split = len(columns) > 1
    columns_end = sum(sweep.parts)
    held: list[tuple[tuple[int, ...], ...] | None] = [None] * len(sweep.inputs)
    buffers = [_Buffer() for _ in sweep.inputs]
    results = [_Buffer() for _ in sweep.outputs]
    seen: list[set[Element]] = [set() for _ in sweep.inputs]
    made: list[set[Element]] = [set() for _ in sweep.outputs]
    reads = [0] * len(sweep.inputs)
    steps = step_bits = 0
    begun: set[tuple[int, ...]] = set()
    waiting = 0
    total_steps: dict[tuple[int, int], int] = {}
    iterations = list(_iterations(sweep, order, sizes))
    for at, _, _ in iterations:
        key = (at["B"].start, at["G"].start)
        total_steps[key] = total_steps.get(key, 0) + 1
    done_steps: dict[tuple[int, int], int] = {}
    for at, again, last_pass in iterations:
        steps += 1
        begins = (at["B"].start, at["G"].start) not in done_steps
        if begins and sweep.backwards and sizes[2] < sweep.rows:
            by_rows = [any(loop == "P" for loop, _, _ in each.cuts) for each in sweep.inputs]
            held = [None if rows else old for rows, old in zip(by_rows, held, strict=True)]
        for place, tensor in enumerate(sweep.inputs):
            axes = _axes(sweep, tensor, at)
            elements = list(product(*axes))
            if not elements:
                continue
            step_bits += len(elements) * tensor.bits
            together = [rows for rows in _cut(sweep.rows, sizes[2]) if at["P"].start in rows]
            axes = _axes(sweep, tensor, {**at, "P": together[0]})
            buffers[place].note(axes)
            if held[place] != axes:
                held[place] = axes
                elements = list(product(*axes))
                reads[place] += len(elements)
                seen[place].update((n, c, h, w) for n, c, h, w in elements)
        for place, tensor in enumerate(sweep.outputs):
            indexed = {loop for loop, _, _ in tensor.cuts}
            late = "N" not in indexed and at["N"].stop < columns_end
            if "P" not in indexed:
                back = at["G"].start in sweep.backwards
                late = late or (at["P"].start > 0 if back else at["P"].stop < sweep.rows)
            if late or not last_pass:
                continue
            axes = _axes(sweep, tensor, at)
            results[place].note(axes)
            for n, c, h, w in product(*axes):
                assert (n, c, h, w) not in made[place]
                made[place].add((n, c, h, w))
                step_bits += tensor.bits
            if place == 0 and sweep.kind != "recurrent":
                step_bits += sum(t.elements * t.bits for t in sweep.constants)
        if sweep.kind == "recurrent":
            step_bits += sum(t.elements * t.bits for t in sweep.constants)
        groups = len(at["B"]) * len(at["G"])
        key = (at["B"].start, at["G"].start)
        done_steps[key] = done_steps.get(key, 0) + 1
        if sweep.kind == "recurrent":
            size = groups * (sweep.state + (sweep.sums if split else 0))
            first, last = done_steps[key] == 1, done_steps[key] == total_steps[key]
            live = size
        elif split:
            size = groups * len(at["P"]) * sweep.sums
            identity = (*key, at["P"].start)
            first = identity not in begun
            begun.add(identity)
            last = again if sweep.kind == "twice" else at["N"].stop == columns_end
            rows = sweep.rows if order == "NP" else len(at["P"])
            live = groups * rows * sweep.sums
        else:
            continue
        waiting = max(waiting, live)
        step_bits += ((not first) + (not last)) * size * sweep.accumulator_bits
    for tensor, written in zip(sweep.outputs, made, strict=True):
        assert len(written) == tensor.elements
    double, unit = sweep.double_buffer, sweep.alignment
    local = _whole_units(waiting * sweep.accumulator_bits, unit)
    for tensor, buffer in zip((*sweep.inputs, *sweep.outputs), (*buffers, *results), strict=True):
        local += 0 if tensor.resident else buffer.local_bytes(tensor.bits, double, unit)
    local += sum(_whole_units(t.elements * t.bits, unit) for t in sweep.constants)
    pairs = zip(sweep.inputs, reads, strict=True)
    dram = sum(count * tensor.bits for tensor, count in pairs if not tensor.resident)
    dram += sum(t.elements * t.bits for t in sweep.outputs if t.stored)
    dram += sum(t.elements * t.bits for t in sweep.constants)
    return OracleCounts(
        local, dram, steps, step_bits, tuple(reads), tuple(len(each) for each in seen)
    )


def tilings(sweep: OracleSweep) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Every tiling: several batches only with all groups, time steps one by one."""
    groups, rows = sweep.groups, list(range(1, sweep.rows + 1))
    if sweep.kind == "recurrent":
        turns = 0 < len(sweep.backwards) < groups
        groups, rows = 1, [1, sweep.rows] if turns and sweep.rows > 1 else [1]
    orders = ("PN", "NP") if sweep.kind in ("product", "attention") else ("PN",)
    for order in orders:
        for b, g, p, n in product(
            range(1, sweep.batch + 1),
            range(1, groups + 1),
            rows,
            range(1, sum(sweep.parts) + 1),
        ):
            if b == 1 or g == sweep.groups:
                yield order, (b, g, p, n)
