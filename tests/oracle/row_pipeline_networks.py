"""Random small networks for the merged groups: every kind of window, fold, join and gate."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import onnx
from onnx import TensorProto, helper

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.graph.pooling import Pooler, place_pooling
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder


@dataclass(frozen=True)
class Value:
    """A value of a network being drawn: channels, rows and columns."""

    name: str
    channels: int
    plane: tuple[int, int]


class Slide(NamedTuple):
    """A window along one axis, with its padding before the first element and behind the last."""

    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    def positions(self, size: int) -> int:
        """How often the window fits."""
        reach = (self.kernel - 1) * self.dilation + 1
        return (size + self.before + self.after - reach) // self.stride + 1


@dataclass
class Sketch:
    """Draws a small network operator by operator; every value so far may be read."""

    random: Random
    net: OnnxBuilder
    values: list[Value]
    count: int = 0

    def pick(self) -> Value:
        """A value, the latest more often than the others."""
        return self.values[-1] if self.random.randrange(5) < 3 else self.random.choice(self.values)

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def made(self, name: str, channels: int, plane: tuple[int, int]) -> Value:
        self.values.append(Value(name, channels, plane))
        return self.values[-1]

    def window(self, size: int, kernels: tuple[int, ...], pads: int) -> Slide:
        """A window along an axis that fits and never lies wholly in the padding."""
        fitting = [
            (kernel, dilation)
            for kernel in kernels
            for dilation in (1, 1, 2)
            if (kernel - 1) * dilation < size + min(pads, (kernel - 1) * dilation)
        ]
        kernel, dilation = self.random.choice(fitting)
        reach = (kernel - 1) * dilation + 1
        most = min(pads, reach - 1)
        before = self.random.randint(0, most)
        after = self.random.randint(min(most, max(0, reach - size - before)), most)
        before = max(before, reach - size - after)
        return Slide(kernel, self.random.choice((1, 1, 2, 3)), dilation, before, after)

    def windows(
        self, plane: tuple[int, int], kernels: tuple[int, ...], pads: int
    ) -> tuple[dict[str, list[int]], tuple[int, int]]:
        """Attributes of a mostly square window that fits, and the plane that it makes."""
        row = self.window(plane[0], kernels, pads)
        column = row
        if self.random.randrange(3) == 2 or row.positions(plane[1]) < 1:
            column = self.window(plane[1], kernels, pads)
        attributes = {
            "kernel_shape": [row.kernel, column.kernel],
            "strides": [row.stride, column.stride],
            "dilations": [row.dilation, column.dilation],
            "pads": [row.before, column.before, row.after, column.after],
        }
        return attributes, (row.positions(plane[0]), column.positions(plane[1]))

    def convolution(self, value: Value, channels: int = 0, *, point: bool = False) -> Value:
        name = self.name("conv")
        groups = value.channels if not point and self.random.randrange(4) == 3 else 1
        channels = value.channels if groups > 1 else channels or self.random.randint(1, 5)
        kernels = (1,) if point else (1, 2, 3, 3, 5)
        window, plane = self.windows(value.plane, kernels, 2)
        if point:
            window, plane = {"kernel_shape": [1, 1]}, value.plane
        shape = (channels, value.channels // groups, *window["kernel_shape"])
        inputs = [value.name, self.net.weight(f"{name}.weight", shape)]
        if self.random.randrange(5) > 2:
            inputs.append(self.net.weight(f"{name}.bias", (channels,)))
        self.net.node("Conv", name, inputs, group=groups, **window)
        if self.random.randrange(3) == 2:
            name = self.net.activation(f"{name}.relu", name)
        return self.made(name, channels, plane)

    def pool(self, value: Value) -> Value:
        window, plane = self.windows(value.plane, (1, 2, 3), 1)
        name = self.net.node("MaxPool", self.name("pool"), [value.name], **window)
        return self.made(name, value.channels, plane)

    def pooled_convolution(self, value: Value) -> Value:
        return self.pool(self.convolution(value))

    def enlarged(self, value: Value) -> Value:
        """A value with more rows and columns: resized, or by a transposed convolution."""
        if max(value.plane) > 9:
            return self.convolution(value)
        if self.random.randrange(2):
            return self.resized(value)
        name, channels = self.name("up"), self.random.randint(1, 3)
        kernel, strides, pads, extra, plane = [], [], [], [], []
        for size in value.plane:
            stride = self.random.randint(1, 3)
            taps = self.random.randint(stride, 2 * stride + 1)
            before, after = (self.random.randint(0, (taps - 1) // 2) for _ in range(2))
            more = self.random.choice([0, 0, stride - 1])
            kernel.append(taps)
            strides.append(stride)
            pads.append((before, after))
            extra.append(more)
            plane.append((size - 1) * stride + taps - before - after + more)
        weight = self.net.weight(f"{name}.weight", (value.channels, channels, *kernel))
        pads_in_order = [before for before, _ in pads] + [after for _, after in pads]
        window = {"strides": strides, "pads": pads_in_order, "output_padding": extra}
        self.net.node("ConvTranspose", name, [value.name, weight], **window)
        return self.made(name, channels, (plane[0], plane[1]))

    def resized(self, value: Value) -> Value:
        """A value with rows and columns multiplied."""
        rows, columns = self.random.choice([(2, 2), (2, 1), (1, 2), (3, 2)])
        plane = (value.plane[0] * rows, value.plane[1] * columns)
        mode = self.random.choice([("nearest", "asymmetric"), ("linear", "half_pixel")])
        name = self.net.resize(self.name("resize"), value.name, plane, *mode)
        return self.made(name, value.channels, plane)

    def add(self, value: Value) -> Value:
        """Add a value of the same shape, or a convolution that has it."""
        alike = [v for v in self.values if (v.channels, v.plane) == (value.channels, value.plane)]
        if len(alike) > 1 and self.random.randrange(5) < 4:
            other = self.random.choice([v for v in alike if v != value])
        else:
            other = self.convolution(value, value.channels, point=True)
        name = self.net.add(self.name("add"), other.name, value.name)
        return self.made(name, value.channels, value.plane)

    def concat(self, value: Value) -> Value:
        alike = [v for v in self.values if v.plane == value.plane]
        others = self.random.sample(alike, min(len(alike), 2))
        if len(others) < 2:
            others = [value, self.convolution(value, point=True)]
        name = self.net.concat(self.name("concat"), [v.name for v in others])
        return self.made(name, sum(v.channels for v in others), value.plane)

    def coarse(self, value: Value) -> Value:
        """Join a map of few rows with a strided convolution of it that has as many."""
        if value.plane[0] not in (2, 3):
            return self.convolution(value)
        name, channels = self.name("coarse"), self.random.randint(1, 3)
        weight = self.net.weight(f"{name}.weight", (channels, value.channels, 3, 1))
        window = {"kernel_shape": [3, 1], "strides": [2, 1], "pads": [2, 0, 2, 0]}
        self.net.node("Conv", name, [value.name, weight], **window)
        both = [value, self.made(name, channels, value.plane)]
        self.random.shuffle(both)
        joined = self.net.concat(f"{name}.joined", [v.name for v in both])
        return self.made(joined, value.channels + channels, value.plane)

    def global_pool(self, value: Value) -> Value:
        """The mean, or the maximum, of the whole plane, now and then behind a convolution."""
        if self.random.randrange(2):
            value = self.convolution(value)
        name, op = self.name("global"), self.random.choice(("Average", "Max"))
        self.net.node(f"Global{op}Pool", name, [value.name])
        return self.made(name, value.channels, (1, 1))

    def whole_height(self, value: Value) -> Value:
        """All rows pooled into one, the columns by a window that slides."""
        name, rows = self.name("tall"), value.plane[0]
        column = self.window(value.plane[1], (1, 2, 3), 1)._replace(dilation=1)
        columns = column.positions(value.plane[1])
        if columns < 1:
            return self.convolution(value)
        window = {
            "kernel_shape": [rows, column.kernel],
            "strides": [1, column.stride],
            "pads": [0, column.before, 0, column.after],
        }
        op = self.random.choice(("MaxPool", "AveragePool"))
        self.net.node(op, name, [value.name], **window)
        return self.made(name, value.channels, (1, columns))

    def gate(self, value: Value) -> Value:
        """Squeeze and excite: every row waits for the mean of all rows."""
        name = self.name("gate")
        squeezed = self.net.global_average_pool(f"{name}.mean", value.name)
        excited = self.net.convolution(f"{name}.excite", squeezed, value.channels, 1)
        excited = self.net.activation(f"{name}.sigmoid", excited, "Sigmoid")
        self.net.multiply(name, value.name, excited)
        return self.made(name, value.channels, value.plane)

    def part(self, value: Value) -> Value:
        """A run of the channels."""
        name = self.name("part")
        first = self.random.randrange(value.channels)
        last = self.random.randint(first + 1, value.channels)
        self.net.slice(name, value.name, 1, first, last)
        return self.made(name, last - first, value.plane)

    def parts(self, value: Value) -> Value:
        """Two runs of the channels, joined."""
        first, second = self.part(value), self.part(value)
        name = self.net.concat(self.name("parts"), [first.name, second.name])
        return self.made(name, first.channels + second.channels, value.plane)

    def norm(self, value: Value) -> Value:
        """A map normalised over its planes."""
        name = self.net.instance_norm(self.name("norm"), value.name)
        return self.made(name, value.channels, value.plane)

    def softmax(self, value: Value) -> Value:
        """Softmax over rows or over columns."""
        axis = self.random.choice((2, 3))
        name = self.net.softmax(self.name("softmax"), value.name, axis)
        return self.made(name, value.channels, value.plane)

    def turned(self, value: Value) -> Value:
        """Rows and columns changed over; not a value to go on with by itself."""
        name = self.net.transpose(self.name("turned"), value.name, (0, 1, 3, 2))
        return Value(name, value.channels, (value.plane[1], value.plane[0]))

    def product(self, value: Value) -> Value:
        """A product of two maps, plane by plane, one of them turned."""
        like = [
            v
            for v in self.values
            if v.channels == value.channels and v.plane[1] == value.plane[1] and v.plane[0] < 12
        ]
        other = self.random.choice([v for v in like if v.plane[0] < 12] or [value])
        return self._product(value, self.turned(other))

    def _product(self, left: Value, right: Value) -> Value:
        name = self.net.node("MatMul", self.name("product"), [left.name, right.name])
        return self.made(name, left.channels, (left.plane[0], right.plane[1]))

    def attention(self, value: Value) -> Value:
        """Attention among the rows of a map, or from them to those of others."""
        like = [
            v for v in self.values if (v.channels, v.plane[1]) == (value.channels, value.plane[1])
        ]
        keys = self.random.choice(like)
        alike = [
            v for v in self.values if (v.channels, v.plane[0]) == (keys.channels, keys.plane[0])
        ]
        query = value if self.random.randrange(2) else self.convolution(value, point=True)
        if query.channels != keys.channels:
            query = value
        scores = self._product(query, self.turned(keys))
        weights = self.net.softmax(self.name("weights"), scores.name)
        self.values.remove(scores)
        ready = Value(weights, scores.channels, scores.plane)
        return self._product(ready, self.random.choice(alike))

    def model(self) -> onnx.ModelProto:
        """The model; now and then a value on the way is an output too."""
        model = self.net.model(self.values[-1].name)
        if self.random.randrange(3) == 2:
            extra = self.random.choice(self.values).name
            if extra not in ("input", self.values[-1].name):
                info = helper.make_tensor_value_info(extra, TensorProto.FLOAT, None)
                model.graph.output.append(info)
        return model


def drawn_model(random: Random, sweeps: bool = False) -> onnx.ModelProto:
    """A random network of a few layers; with `sweeps`, some normalise or attend."""
    rows = random.randint(2, 13 if random.randrange(4) else 3)
    channels, plane = random.randint(1, 4), (rows, random.randint(2, 9))
    net = OnnxBuilder("drawn", (random.randint(1, 2), channels, *plane))
    sketch = Sketch(random, net, [Value("input", channels, plane)])
    kinds = [sketch.convolution] * 5 + [sketch.pooled_convolution] * 2
    kinds += [sketch.pool, sketch.add, sketch.add, sketch.concat, sketch.concat, sketch.gate]
    kinds += [sketch.global_pool, sketch.whole_height]
    kinds += [sketch.part, sketch.parts, sketch.coarse, sketch.enlarged, sketch.enlarged]
    if sweeps:
        few = [sketch.norm, sketch.norm, sketch.softmax, sketch.product, sketch.attention]
        kinds = [sketch.convolution] * 4 + [sketch.add, sketch.concat, sketch.pool] + 2 * few
    for _ in range(random.randint(3, 6)):
        random.choice(kinds)(sketch.pick())
    return sketch.model()


def network(random: Random, sweeps: bool = False) -> NetworkGraph:
    """Such a network as the reader sees it, whoever pools, at some widths."""
    model = drawn_model(random, sweeps)
    graph = place_pooling(graph_from_model(model, "drawn"), random.choice(list(Pooler)))
    widths = Precision(random.choice((3, 8)), random.choice((3, 8)), random.choice((32, 13)))
    return assign_precision(graph, widths)
