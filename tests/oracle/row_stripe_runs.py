"""Runs of layers by row stripes, and layers alone: what lives when, and what it costs.

A run's driver advances by h rows a stripe; layers before it compute what that takes, layers
behind it what they can.  Within a stripe layers fire in the network's order:

    stripe t:  a fires, a+1 fires, ... b-1 fires;  then stripe t+1

A row lives from the firing that makes it (from DRAM: first reads it) to the last one that reads
it; one that nobody in the run reads lives during the firing that makes it.  Everything follows
from `made[i][t]`, the rows of layer i that exist after t stripes.  See `row_stripe_program` for
the model as a whole, what it assumes and what it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.pointwise import IDENTITY

Rows = npt.NDArray[np.int64]
Window = tuple[int, int, int]  # kernel, stride, padding

SUM_BYTES = 4


@dataclass(eq=False)
class Map:
    """A feature map of one byte per element: its maker is -1 for the network's input."""

    number: int
    name: str
    channels: int
    height: int
    width: int
    maker: int = -1
    readers: list[int] = field(default_factory=list)

    @property
    def row_bytes(self) -> int:
        return self.channels * self.width

    @property
    def bytes(self) -> int:
        return self.row_bytes * self.height


@dataclass(eq=False)
class Node:
    """A layer; its windows along rows and columns are those of its body and its pooling."""

    name: str
    inputs: list[Map]
    operands: list[Map]
    output: Map
    rows: Window
    columns: Window
    weights: int
    taps: int  # kernel elements of one input and one output channel
    channelwise: bool
    linear: bool  # nothing between body and pooling but a sum: unfinished sums can be pooled

    @property
    def height(self) -> int:
        return self.output.height

    @property
    def maps(self) -> list[Map]:
        return [*self.inputs, *self.operands, self.output]

    @property
    def tile(self) -> int:
        """Kernel elements of one output channel."""
        return self.weights // self.output.channels

    @property
    def skips(self) -> bool:
        """Whether some rows and columns of the input are never read."""
        return self.rows[0] < self.rows[1] and self.columns[0] < self.columns[1]

    def _window(self, source: Map) -> Window:
        return self.rows if source in self.inputs else (1, 1, 0)

    def needed(self, made: Rows, source: Map) -> Rows:
        """Rows of a map that so many output rows take."""
        kernel, stride, pad = self._window(source)
        return np.where(made <= 0, 0, np.clip((made - 1) * stride - pad + kernel, 0, source.height))

    def possible(self, there: Rows, source: Map) -> Rows:
        """Output rows that so many rows of a map allow."""
        kernel, stride, pad = self._window(source)
        rows = np.clip((there + pad - kernel) // stride + 1, 0, self.height)
        return np.where(there >= source.height, self.height, rows)

    def dead(self, made: Rows, source: Map) -> Rows:
        """Rows of a map that no further output row reads."""
        _, stride, pad = self._window(source)
        rows = np.clip(made * stride - pad, 0, source.height)
        return np.where(made >= self.height, source.height, rows)

    def read_bytes(self, source: Map) -> int:
        """Bytes of a map that this layer reads."""
        if source in self.inputs and self.skips:
            return source.channels * self.height * self.output.width
        return source.bytes


def _window(layer: Layer, axis: int) -> Window:
    body, pool = layer.window, layer.pool
    kernel, stride, pad = body.kernel[axis], body.stride[axis], body.pad[axis]
    if pool is None:
        return kernel, stride, pad
    over = pool.window
    kernel += (over.kernel[axis] - 1) * stride
    return kernel, stride * over.stride[axis], pad + over.pad[axis] * stride


def nodes_of(graph: NetworkGraph) -> tuple[list[Node], list[Map]]:
    """The layers and the maps of a network whose layers read whole maps."""
    maps: dict[str, Map] = {}

    def map_of(name: str) -> Map:
        if name not in maps:
            _, channels, height, width = graph.tensors[name].shape
            maps[name] = Map(len(maps), name, channels, height, width)
        return maps[name]

    nodes = []
    for number, layer in enumerate(graph.layers):
        inputs = [map_of(segment.tensor) for segment in layer.input.segments]
        operands = [map_of(view.segments[0].tensor) for view in layer.operands]
        output = map_of(layer.output)
        output.maker = number
        for source in inputs + operands:
            source.readers.append(number)
        weights = graph.tensors[layer.weight].elements if layer.weight else 0
        channelwise = weights == 0 or layer.groups == layer.input.shape[1] > 1
        taps = layer.window.kernel[0] * layer.window.kernel[1]
        averaged = layer.pool is not None and layer.pool.op == "average"
        linear = layer.pool is None or (averaged and layer.post == IDENTITY)
        rows, columns = _window(layer, 0), _window(layer, 1)
        nodes.append(
            Node(
                layer.name,
                inputs,
                operands,
                output,
                rows,
                columns,
                weights,
                taps,
                channelwise,
                linear,
            )
        )
    return nodes, list(maps.values())


def heights(rows: int, every: bool = True) -> list[int]:
    """Stripe heights, ascending, each the least of its number of stripes (or of 1 to 4, or all)."""
    parts = range(1, rows + 1) if every else (1, 2, 3, 4, rows)
    return sorted({-(-rows // n) for n in parts})


def fired(nodes: list[Node], a: int, b: int, driver: int, h: int) -> dict[int, Rows]:
    """Rows that each of layers a to b - 1 has made after 0, 1, ... n stripes."""
    top = nodes[driver].height
    time = np.arange(-(-top // h) + 1)
    made: dict[int, Rows] = {driver: np.minimum(top, h * time)}
    for i in range(driver - 1, a - 1, -1):
        out = nodes[i].output
        takes = [nodes[r].needed(made[r], out) for r in out.readers if r in made]
        if takes:
            made[i] = np.maximum.reduce(takes)
            made[i][-1] = out.height
    loaded: dict[int, Rows] = {}
    for i in sorted(made):
        for m in nodes[i].inputs + nodes[i].operands:
            if m.maker < a:
                loaded[m.number] = np.maximum(loaded.get(m.number, 0), nodes[i].needed(made[i], m))
    for i in range(a, b):
        if i in made:
            continue
        rows = np.full(len(time), nodes[i].height)
        for m in nodes[i].inputs + nodes[i].operands:
            pace = np.minimum(m.height, -(-m.height * h * time // top) + 2)
            there = made[m.maker] if m.maker >= a else loaded.get(m.number, pace)
            rows = np.minimum(rows, nodes[i].possible(there, m))
        rows[0], rows[-1] = 0, nodes[i].height
        made[i] = np.maximum.accumulate(rows)
    return made


def live_rows(nodes: list[Node], a: int, b: int, m: Map, made: dict[int, Rows]) -> Rows:
    """Rows of a map alive at every firing, (layer, stripe)."""
    n, order = len(made[a]) - 1, np.arange(a, b)
    readers = [r for r in m.readers if a <= r < b]
    if not readers:
        rows = np.zeros((b - a, n), dtype=np.int64)
        rows[m.maker - a] = np.diff(made[m.maker])
        return rows
    free = np.array([nodes[r].dead(made[r], m) for r in readers])
    wall = np.full((1, n), m.height)
    done = np.minimum.accumulate(np.vstack([wall, free[:, 1:]]))
    due = np.minimum.accumulate(np.vstack([free[:, :-1], wall])[::-1])[::-1]
    before = np.searchsorted(readers, order)  # readers that have fired in this stripe
    dead = np.minimum(done[before], due[before])
    if m.maker >= a:
        late = (order >= m.maker)[:, None]
        there: Rows = np.where(late, made[m.maker][1:], made[m.maker][:-1])
        return np.asarray(np.maximum(there - dead, 0))
    takes = np.array([nodes[r].needed(made[r], m) for r in readers])
    none = np.zeros((1, n), dtype=np.int64)
    now = np.maximum.accumulate(np.vstack([none, takes[:, 1:]]))
    old = np.maximum.accumulate(np.vstack([takes[:, :-1], none])[::-1])[::-1]
    upto = np.searchsorted(readers, order, side="right")
    return np.asarray(np.maximum(np.maximum(now[upto], old[upto]) - dead, 0))


def tilings(x: Node, channels: int, buffered: bool) -> Iterable[tuple[int, int, str]]:
    """(DRAM bytes of kernel and input, local bytes, what it does) of a layer alone.

    So many `channels` of the input come from DRAM; where `buffered`, its output, or an operand
    that the output overwrites, passes through a buffer.
    """
    source, (kernel, stride, _) = x.inputs[0], x.rows
    width = x.output.width if x.skips else source.width
    read = channels * width * (x.height if x.skips else source.height)
    row = x.output.width if buffered else 0

    def window(h: int) -> int:
        return width * min((h - 1) * stride + kernel, source.height)

    if x.channelwise:
        yield x.weights + read, window(1) + x.taps + row, "channel by channel"
        return
    options = [(h, -(-x.height // h)) for h in heights(x.height)]
    for h, n in options:
        local = x.tile + channels * window(h) + h * row
        yield n * x.weights + read, local, f"kernel fetched {n} times"
    for tile in heights(x.output.channels):
        times = -(-x.output.channels // tile)
        local = tile * (x.tile + row) + channels * window(1)
        yield x.weights + times * read, local, f"input read {times} times"
        for h, n in options if x.linear else []:
            held = SUM_BYTES * tile * h * x.output.width
            halo = (n - 1) * max(0, kernel - stride) * channels * width
            moved = n * x.weights + times * (read + halo)
            what = f"sums of {tile} channels and {h} rows"
            yield moved, held + tile * x.taps + window(1), what
            if times == 1:
                yield moved, held + x.taps + window(h), what
