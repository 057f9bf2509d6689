"""Row-by-row simulation of a merged group of layers.

This is an oracle: it makes every row of every map, remembers who needs it, and counts the bytes
that are alive firing by firing.  It is slow on purpose and shares nothing with the code it checks.

The group.  Layers [start, stop) of a network pass whole rows: all channels, all columns, all
images of the batch.  Maps made inside stay in local memory; maps from outside are loaded row by
row, unless they are resident, and then they count nothing.

Needs.  What an output row needs of each view tells `row_needs_oracle`.

Ticks.  A tensor's scale is 1 for a network input, else the largest scale of the input's segments
times the row strides of window and pools, divided by u.  Row r has the tick of the latest of the
last rows that it needs of maps made inside, these counted without clipping at the bottom: rows
beyond the last one are a scale apart.  A layer that reads no map made inside has the last row of
its input times the scale of the input's first segment.  A layer's ticks never fall from one row to
the next.

Where a sweep waits for all rows of a view, its output row r waits for as many rows beyond the
last one as there are output rows before r's index, and where it reads no map made inside, that
number (statistics: the first input row of its index) counts instead of the last row of its input.
A sweep's stride is the rows of an index of its input over those of its output, 1 unless the
same loop cuts both.

Firings.  A row's stripe is its tick divided by the scale of the first input and by the stripe's
height, rounded down; with a height the stripes end with the first input's rows.  A firing is
(stripe, layer), in this order, and computes all rows of its layer in its stripe.

Lives, both ends included.  A row made inside: from the firing that makes it to the last that
needs it.  A loaded row: from the first firing that needs it to the last.  With double buffers a
loaded row begins no later than the loaded row before it is first needed (inputs), and a row of a
stored map stays until the map's next row is made (outputs); a streamed kernel tile is there twice
(weights).  Each of the three by itself.

Running reductions, if asked for.  A layer that pools all rows of its body, several, into its only
row makes its body rows one by one, each as if it were its output row; the last one's firing makes
the row.  From its first firing to its last it holds a running result as large as its output, in
accumulator bits where it takes the mean.  It does so only if every body row needs some input, and
only if the running result and the rows that one body row needs at most are fewer bytes than the
rows that all need.  Where accumulators have a memory of their own, the running result counts
nothing, but must find room there: behind those that are still held when it begins.

A sweep with statistics over rows that fires more than once holds them from its first firing to its
last, in accumulator bits each, in local memory.

Whatever has a buffer in local memory (a row, a kernel, a tile or the channels of it that stay, a
running result, statistics) takes whole units of the alignment there.

Kernels may be wider in local memory than in DRAM.  Of a streamed kernel some output channels may
stay: they are loaded once, and the others in every firing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from tests.oracle.row_needs_oracle import (
    COLUMN,
    ROW,
    common_run,
    has_statistics,
    last_row,
    needs,
    pace,
)

Firing = tuple[int, int]


@dataclass(frozen=True)
class Double:
    """What is double-buffered."""

    inputs: bool = False
    weights: bool = False
    outputs: bool = False


@dataclass(frozen=True)
class Choice:
    """What is free to choose: maps resident or stored, layers whose kernel streams and how many of
    its output channels stay."""

    resident: frozenset[str] = frozenset()
    stored: frozenset[str] = frozenset()
    streamed: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Carry:
    """Reductions run, in so many bits; `room` is the accumulators' own memory, if they have one."""

    bits: int
    room: int | None = None


@dataclass(frozen=True)
class Chip:
    """Bits of a statistic over rows, and the unit of which a buffer in local memory takes whole
    ones."""

    statistic_bits: int = 32
    unit: int = 1


CHIP = Chip()


@dataclass(frozen=True)
class Held:
    """A running result: bytes, first and last firing, address where it has a memory of its own."""

    size: int
    first: Firing
    last: Firing
    address: int | None


@dataclass(frozen=True)
class Totals:
    """Local memory and traffic of a group."""

    local_bytes: int
    dram_bits: int


@dataclass
class MapInGroup:
    """A map's rows in a group; times are places in the order of firings.

    `made` is empty for a map from outside; `needed` lacks the rows that nobody needs.
    """

    name: str
    row_bits: int
    made: dict[int, int] = field(default_factory=dict)
    needed: dict[int, set[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """A group executed: its firings in order, its maps, and the names of those that leave it."""

    graph: NetworkGraph
    start: int
    stop: int
    double: Double
    firings: list[Firing]
    maps: dict[str, MapInGroup]
    outgoing: tuple[str, ...]
    unit: int
    held: dict[int, Held] = field(default_factory=dict)

    @property
    def outside(self) -> tuple[str, ...]:
        """Maps that the group reads and does not make."""
        return tuple(name for name, found in self.maps.items() if not found.made)


def whole_bytes(bits: int, unit: int) -> int:
    """Bits in whole bytes, and as many more as end at a multiple of the unit."""
    whole = (bits + 7) // 8
    return whole + -whole % unit


def statistics_bytes(layer: Layer, chip: Chip) -> int:
    """Bytes of a sweep's statistics over rows: so many of each set that is normalised."""
    sweep = layer.sweep
    if sweep is None or not has_statistics(sweep, common_run(layer, sweep, 0)):
        return 0
    values = sweep.batch * sweep.groups * sweep.rows * sweep.sums
    return whole_bytes(values * chip.statistic_bits, chip.unit)


def scales(graph: NetworkGraph) -> dict[str, Fraction]:
    """Scale of every map: rows of the network's input that one of its rows stands for."""
    found = dict.fromkeys(graph.inputs, Fraction(1))
    for layer in graph.layers:
        scale = max(found[segment.tensor] for segment in layer.input.segments)
        scale *= Fraction(layer.window.stride[ROW], layer.window.up[ROW])
        if layer.pool is not None:
            scale *= layer.pool.window.stride[ROW]
        if layer.input_pool is not None:
            scale *= layer.input_pool.window.stride[ROW]
        common = None if layer.sweep is None else common_run(layer, layer.sweep, 0)
        if common is not None:
            scale *= Fraction(common[1], common[2])
        for name in layer.outputs:
            found[name] = scale
    return found


def tick_of(ticks: list[Fraction], row: int, scale: Fraction) -> Fraction:
    """Tick of a row of a map made inside; rows beyond the last one are a scale apart."""
    final = len(ticks) - 1
    return ticks[row] if row <= final else ticks[final] + (row - final) * scale


def unpooled(layer: Layer) -> Layer:
    """The layer as if its body were its output."""
    return replace(layer, pool=None, output_shape=layer.body_shape)


def view_row_bytes(graph: NetworkGraph, layer: Layer, place: int, unit: int) -> int:
    """Bytes of a row of a view, each map's part in whole units, the columns that are read."""
    columns, view = fetched_columns([(layer, place)]), layer.views[place]
    tensors = [graph.tensors[segment.tensor] for segment in view.segments]
    return sum(
        whole_bytes(tensor.shape[0] * segment.channels * columns * tensor.bits, unit)
        for tensor, segment in zip(tensors, view.segments, strict=True)
    )


def running_bytes(graph: NetworkGraph, layer: Layer, carry: Carry | None, unit: int) -> int | None:
    """Bytes of a layer's running result; None where it does not carry its reduction."""
    if carry is None or layer.pool is None or layer.output_shape[2] != 1:
        return None
    rows, window = list(range(layer.body_shape[2])), layer.pool.window
    taps = [tap * window.dilation[ROW] - window.pad[ROW] for tap in range(window.kernel[ROW])]
    if taps != rows or len(rows) < 2:
        return None
    plain, one, every = unpooled(layer), 0, 0
    for place in range(len(layer.views)):
        found = [needs(plain, place, ROW, row) for row in rows]
        if not all(found):
            return None
        row_bytes = view_row_bytes(graph, layer, place, unit)
        # rows that no body row needs, between those that some do, count too
        one += row_bytes * max(len(range(min(f), max(f) + 1)) for f in found)
        together = set.union(*found)
        every += row_bytes * len(range(min(together), max(together) + 1))
    bits = carry.bits if layer.pool.op == "average" else graph.tensors[layer.output].bits
    n, c, _, w = layer.output_shape
    size = whole_bytes(n * c * w * bits, unit if carry.room is None else 1)
    if carry.room is not None and size > carry.room:
        return None
    return size if one + (size if carry.room is None else 0) < every else None


def row_ticks(
    graph: NetworkGraph, start: int, stop: int, carrying: frozenset[int]
) -> dict[int, list[Fraction]]:
    """Tick of every output row of every layer, of every body row of those that carry."""
    scale = scales(graph)
    made: dict[str, list[Fraction]] = {}
    found: dict[int, list[Fraction]] = {}
    for index in range(start, stop):
        layer = graph.layers[index]
        if index in carrying:
            layer = unpooled(layer)
        ticks: list[Fraction] = []
        for row in range(layer.output_shape[2]):
            reached = [ticks[-1]] if ticks else []
            waits = False
            for place, view in enumerate(layer.views):
                last = last_row(layer, place, row)
                for segment in view.segments:
                    name = segment.tensor
                    if name in made:
                        waits = True
                        reached.append(tick_of(made[name], last, scale[name]))
            if not waits:
                first = layer.input.segments[0].tensor
                reached.append(pace(layer, row) * scale[first])
            ticks.append(max(reached))
        found[index] = ticks
        made[layer.output] = ticks[-1:] if index in carrying else ticks
    return found


def row_firings(
    graph: NetworkGraph, start: int, stop: int, height: int | None, carrying: frozenset[int]
) -> dict[int, list[Firing]]:
    """The firing that makes each output row of each layer, or each body row."""
    first = graph.layers[start].input
    unit = scales(graph)[first.segments[0].tensor] * (height or 1)
    found: dict[int, list[Firing]] = {}
    for index, ticks in row_ticks(graph, start, stop, carrying).items():
        found[index] = []
        for tick in ticks:
            stripe = max(tick // unit, 0)
            if height is not None:
                stripe = min(stripe, (first.shape[2] + height - 1) // height - 1)
            found[index].append((stripe, index))
    return found


def fetched_columns(readers: list[tuple[Layer, int]]) -> int:
    """Columns of a map from outside that are loaded for its readers."""
    ends: list[int] = []
    lattices: set[tuple[int, int]] = set()
    for layer, place in readers:
        columns: set[int] = set()
        for column in range(layer.output_shape[3]):
            columns |= needs(layer, place, COLUMN, column)
        if columns:
            narrow = place == 0 and layer.window.kernel[COLUMN] == 1
            narrow = narrow and layer.window.plane is None and layer.input_pool is None
            step = layer.window.stride[COLUMN] if narrow else 1
            lattices.add((step, min(columns) % step))
            ends += [min(columns), max(columns)]
    if not ends:
        return 0
    step = next(iter(lattices))[0] if len(lattices) == 1 else 1
    return len(range(min(ends), max(ends) + 1, step))


def fetched_row_bits(graph: NetworkGraph, name: str, start: int, stop: int) -> int:
    """Bits of a row of a map from outside: only the channels and columns that are read."""
    channels: list[int] = []
    readers: list[tuple[Layer, int]] = []
    for layer in graph.layers[start:stop]:
        for place, view in enumerate(layer.views):
            for segment in view.segments:
                if segment.tensor == name:
                    readers.append((layer, place))
                    channels += range(segment.channel_start, segment.channel_stop)
    tensor = graph.tensors[name]
    used = max(channels) - min(channels) + 1
    return tensor.shape[0] * used * fetched_columns(readers) * tensor.bits


def leaves(graph: NetworkGraph, name: str, stop: int) -> bool:
    """Whether a map made before layer `stop` is wanted behind it, or by nobody at all."""
    readers = [
        index
        for index, layer in enumerate(graph.layers)
        for view in layer.views
        if any(segment.tensor == name for segment in view.segments)
    ]
    return name in graph.outputs or not readers or max(readers) >= stop


def hold(
    makes: dict[int, list[Firing]], sizes: dict[int, int], carry: Carry | None
) -> dict[int, Held]:
    """The running results that find room, in order of layers."""
    held: dict[int, Held] = {}
    for index, size in sorted(sizes.items()):
        first, last = makes[index][0], makes[index][-1]
        address = None
        if carry is not None and carry.room is not None:
            still = [other for other in held.values() if other.last >= first]
            address = max((h.address + h.size for h in still if h.address is not None), default=0)
            if address + size > carry.room:
                continue
        held[index] = Held(size, first, last, address)
    return held


def execute(
    graph: NetworkGraph,
    start: int,
    stop: int,
    height: int | None,
    double: Double,
    carry: Carry | None = None,
    chip: Chip = CHIP,
) -> Group:
    """Run layers [start, stop): who makes and who needs each row, and when.

    Raises AssertionError when a row would be needed before it is made.
    """
    found = {
        index: running_bytes(graph, graph.layers[index], carry, chip.unit)
        for index in range(start, stop)
    }
    sizes = {index: size for index, size in found.items() if size is not None}
    held = hold(row_firings(graph, start, stop, height, frozenset(sizes)), sizes, carry)
    makes = row_firings(graph, start, stop, height, frozenset(held))
    firings = sorted({firing for made in makes.values() for firing in made})
    place = {firing: position for position, firing in enumerate(firings)}
    maps: dict[str, MapInGroup] = {}
    for index in range(start, stop):
        layer = unpooled(graph.layers[index]) if index in held else graph.layers[index]
        for row, firing in enumerate(makes[index]):
            for number, view in enumerate(layer.views):
                for segment in view.segments:
                    name = segment.tensor
                    if name not in maps:
                        maps[name] = MapInGroup(name, fetched_row_bits(graph, name, start, stop))
                    for needed in needs(layer, number, ROW, row):
                        made = maps[name].made
                        assert not made or made[needed] < place[firing], (name, needed, firing)
                        maps[name].needed.setdefault(needed, set()).add(place[firing])
        tensor = graph.tensors[layer.output]
        bits = tensor.shape[0] * tensor.shape[1] * tensor.shape[3] * tensor.bits
        by_row = makes[index][-1:] if index in held else makes[index]
        made = {row: place[firing] for row, firing in enumerate(by_row)}
        maps[layer.output] = MapInGroup(layer.output, bits, made)
    outgoing = tuple(
        layer.output for layer in graph.layers[start:stop] if leaves(graph, layer.output, stop)
    )
    for index, made_rows in makes.items():
        size = statistics_bytes(graph.layers[index], chip)
        if size and made_rows[0] != made_rows[-1]:
            held[index] = Held(size, made_rows[0], made_rows[-1], None)
    return Group(graph, start, stop, double, firings, maps, outgoing, chip.unit, held)


def row_lives(found: MapInGroup, stored: bool, double: Double) -> Iterator[tuple[int, int]]:
    """First and last firing of every row of a map that is in local memory row by row."""
    for row, made in found.made.items():
        moments = {made} | found.needed.get(row, set())
        if stored and double.outputs:
            moments.add(found.made.get(row + 1, made))
        yield made, max(moments)
    if found.made:
        return
    before: int | None = None
    for row in sorted(found.needed):
        first = min(found.needed[row])
        early = first if before is None or not double.inputs else min(first, before)
        yield early, max(found.needed[row])
        before = first


def measure(group: Group, choice: Choice) -> Totals:
    """Local memory and traffic of an executed group."""
    graph, unit = group.graph, group.unit
    born: dict[int, int] = {}
    dead: dict[int, int] = {}
    dram_bits = 0
    for found in group.maps.values():
        stored = found.name in choice.stored
        if stored:
            dram_bits += found.row_bits * len(found.made)
        if found.name in choice.resident:
            continue
        if not found.made:
            dram_bits += found.row_bits * len(found.needed)
        for first, last in row_lives(found, stored, group.double):
            size = whole_bytes(found.row_bits, unit)
            born[first] = born.get(first, 0) + size
            dead[last] = dead.get(last, 0) + size
    place = {firing: position for position, firing in enumerate(group.firings)}
    for running in group.held.values():
        if running.address is None:
            first, last = place[running.first], place[running.last]
            born[first] = born.get(first, 0) + running.size
            dead[last] = dead.get(last, 0) + running.size
    tiles: dict[int, int] = {}
    kept = 0
    streamed = dict(choice.streamed)
    for index in range(group.start, group.stop):
        layer = graph.layers[index]
        for name in (layer.weight, layer.input_vectors, layer.output_vectors):
            if name is None:
                continue
            tensor = graph.tensors[name]
            bits = tensor.elements * tensor.bits
            local_bits = tensor.elements * tensor.local_bits
            if name == layer.weight and index in streamed:
                channels, stay = tensor.shape[0], streamed[index]
                halves = 2 if group.double.weights and channels > 1 else 1
                tiles[index] = halves * whole_bytes(local_bits // channels, unit)
                kept += whole_bytes(stay * local_bits // channels, unit)
                fired = sum(1 for _, fired in group.firings if fired == index)
                bits = (stay + (channels - stay) * fired) * bits // channels
            else:
                kept += whole_bytes(local_bits, unit)
            dram_bits += bits
    living = peak = 0
    for position, (_, index) in enumerate(group.firings):
        living += born.get(position, 0)
        peak = max(peak, living + tiles.get(index, 0))
        living -= dead.get(position, 0)
    return Totals(peak + kept, dram_bits)
