"""Integers for a replay of the very program that is reported: its widths, its packing, its sums.

A network that comes in real numbers does not say what its integers would be.  They are therefore
drawn from a seed, and the operators get a meaning on them that is exact, whatever the order and the
tiles, so that a replay is right or wrong, and never nearly right:

    map         b bits, two's complement; v stands for v / 2^(b-3), so that 1 lies well inside
    kernel      integers about 0 over their range
    sums        of products, in accumulators that lose what overflows
    requantise  (sums + bias) / 2^s, rounded to nearest, saturated to b bits
    operation   computed on what the integers stand for, rounded to nearest, saturated

    s = floor(log2(sqrt(R) · 0.4 · 2^(bx-1) · 2^(bw-1)/sqrt(3) / (0.7 · 2^(b-1))))   of R products

With this s a layer's results have about the spread of its inputs, also behind many layers; as in
hardware it is a constant of the layer.  Additions, products, quotients and square roots are rounded
correctly by IEEE 754, so that an element's result is the same in every tile; functions of one
operand are tables over all 2^b integers, as small hardware has them; exponentials that are summed
are tables of 16-bit fractions, and all sums are sums of integers below 2^53.

Assumed: nothing of the file's values, but for single constants, such as the limit of a clip.
Ignored: accuracy.  Nobody would run a network so; what is proved is that the program moves the
right bits.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from math import log2, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import (
    Layer,
    LayerKind,
    Segment,
    Tensor,
    TensorKind,
    View,
    WeightRole,
)
from dataflow_sim.graph.meaning import EMBEDDING
from dataflow_sim.graph.network import Constant, NetworkGraph
from dataflow_sim.graph.pointwise import (
    Arg,
    ConstantArg,
    InputArg,
    OperandArg,
    PointProgram,
    PointStep,
    StepArg,
)
from dataflow_sim.simulate.arithmetic import Channels
from dataflow_sim.simulate.codec import TWOS_COMPLEMENT, Array, Codec
from dataflow_sim.simulate.integer_streams import IntegerStreams
from dataflow_sim.simulate.kernels import pixelwise
from dataflow_sim.simulate.pointwise import apply_step, is_unary, number

_POINT = 3  # bits before the point of a map, its sign among them
_TABLE_BITS = 16  # of wider maps functions have no table
_FRACTION = 16  # bits behind the point of an exponential in a sum
_EXACT = 53  # bits of an integer that double precision holds


class Integers:
    """Integers of the widths that a graph's tensors have, drawn from a seed.

    `accumulator_bits` is the width of partial sums.  Raises ProgramError where a layer's sums
    could leave the integers that double precision holds.
    """

    def __init__(self, graph: NetworkGraph, accumulator_bits: int, seed: int) -> None:
        self.graph = graph
        self.accumulator_bits = accumulator_bits
        self.seed = seed
        self.numbers = _rows_by_number(graph)
        widest = max((t.bits for t in graph.tensors.values() if _is_map(t)), default=8)
        self.streams = IntegerStreams(self._fraction(widest), accumulator_bits)
        self.all_constants = {name: self._stands_for(c) for name, c in graph.constants.items()}
        self.tables: dict[tuple[PointStep, int], Array] = {}
        self.drawn_constants: dict[tuple[str, str, int], Array] = {}

    # ------------------------------------------------------------ what is drawn

    def _generator(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def drawn(self, name: str) -> Array:
        """The integers of an input, a kernel or a constant map; constants go by their channel."""
        tensor = self.graph.tensors[name]
        if tensor.role is WeightRole.VECTOR:
            channels = np.arange(tensor.shape[1], dtype=np.float64)[:, None, None]
            return np.broadcast_to(channels, tensor.shape)
        half = 1 << (tensor.bits - 1)
        if name in self.numbers:
            rows = min(self.numbers[name], half)
            return self._generator(name).integers(0, rows, tensor.shape).astype(np.float64)
        # about 0, or long sums of maps that are never negative would all saturate
        found = self._generator(name).integers(min(0, 1 - half), half, tensor.shape)
        found.flat[0] = -half
        return found.astype(np.float64)

    def _stands_for(self, constant: Constant) -> npt.NDArray[Any]:
        """A constant of a streamed layer: the file's, or drawn."""
        if constant.value is not None:
            return constant.value
        count = int(np.prod(constant.shape))
        return self._spread(constant.name, "term", count).reshape(constant.shape)

    def image(self) -> dict[str, Array]:
        """All that is in DRAM before the program: inputs, kernels, constants."""
        kinds = (TensorKind.INPUT, TensorKind.WEIGHT)
        return {t.name: self.drawn(t.name) for t in self.graph.tensors.values() if t.kind in kinds}

    def _constant(self, name: str, role: str, bits: int) -> Array:
        """What the integers of a constant stand for: the file's if it is one, else drawn."""
        found = self.drawn_constants.get((name, role, bits))
        if found is None:
            constant = self.graph.constants[name]
            one = float(1 << max(0, bits - _POINT))
            count = int(np.prod(constant.shape))
            if count == 1 and constant.value is not None:
                found = self._settled(np.asarray(constant.value, np.float64).ravel() * one, bits)
            else:
                found = np.floor(self._spread(name, role, count) * one)
            found = self.drawn_constants[name, role, bits] = found / one
        return found

    def _spread(self, name: str, role: str, count: int) -> Array:
        """Numbers about 1 for what is multiplied with or divided by, about 0 for all else."""
        generator = self._generator(f"{role} {name}")
        sizes = generator.uniform(0.5, 2.0, count)
        if role == "variance":
            return sizes
        if role == "factor":
            return np.where(generator.integers(0, 2, count) == 1, sizes, -sizes)
        return generator.uniform(-1.0, 1.0, count)

    # ------------------------------------------------------------ how numbers lie

    def codec(self, tensor: str) -> Codec:
        """Two's complement."""
        return TWOS_COMPLEMENT

    def codec_of_sums(self, layer: Layer, running: bool = False) -> Codec:
        """Two's complement; of running sums of sweeps with bits behind the point."""
        return TWOS_COMPLEMENT if layer.sweep is None else self.streams.sums

    # ------------------------------------------------------------ what streamed layers compute with

    @property
    def constants(self) -> Mapping[str, npt.NDArray[Any]]:
        """The file's constants, and what stands for those that it does not carry."""
        return self.all_constants

    def _fraction(self, bits: int) -> int:
        return max(0, bits - _POINT)

    def _counts(self, view: View) -> bool:
        """Whether the elements of a view are numbers of rows, not points of a scale."""
        return all(segment.tensor in self.numbers for segment in view.segments)

    def meant(self, view: View, tile: Array) -> Array:
        """The numbers that a tile of a view stands for."""
        if self._counts(view):
            return tile
        bits = max(self.graph.tensors[segment.tensor].bits for segment in view.segments)
        return np.asarray(np.ldexp(tile, -self._fraction(bits)), np.float64)

    def meant_of(self, tensor: str, tile: Array) -> Array:
        """The numbers that a tile of a tensor stands for."""
        if tensor in self.numbers:
            return tile
        bits = self.graph.tensors[tensor].bits
        return np.asarray(np.ldexp(tile, -self._fraction(bits)), np.float64)

    def stored(self, tensor: str, value: Array) -> Array:
        """The integers that stand for these numbers, rounded and saturated."""
        bits = self.graph.tensors[tensor].bits
        return self._settled(np.ldexp(value, self._fraction(bits)), bits)

    def held(self, tensor: str, value: Array) -> Array:
        """The value as it is."""
        return value

    def seen(self, segment: Segment, value: Array) -> Array:
        """The value as it is."""
        return value

    # ------------------------------------------------------------ operations

    def bits_in(self, layer: Layer) -> int:
        """Width of a layer's input: its widest segment's."""
        return self.graph.view_bits(layer)

    def bits_out(self, layer: Layer) -> int:
        """Width of a layer's output."""
        return self.graph.tensors[layer.output].bits

    def prepared(self, layer: Layer, tile: Array, channels: Channels) -> Array:
        """What is folded in front of the body, step by step."""
        return self._point(layer.pre, tile, channels, (), self.bits_in(layer))

    def averaged(self, layer: Layer, value: Array, incoming: bool = False) -> Array:
        """Averages, rounded."""
        return self._settled(value, self.bits_in(layer) if incoming else self.bits_out(layer))

    def enlarged(self, layer: Layer, value: Array) -> Array:
        """Interpolated elements, rounded."""
        return self._settled(value, self.bits_in(layer))

    def by_pixel(self, layer: Layer, tile: Array) -> Array:
        """Normalised, reduced or shuffled; of the input's width."""
        bits = self.bits_in(layer)
        one = float(1 << max(0, bits - _POINT))
        if layer.op in ("Softmax", "LogSoftmax"):
            return self._settled(_softmax(layer, tile, one), bits)
        if layer.op in ("LayerNormalization", "RMSNormalization"):
            return self._settled(_normalised(layer, tile, one), bits)
        with np.errstate(all="ignore"):
            return self._settled(pixelwise(layer, tile / one) * one, bits)

    def finished(
        self, layer: Layer, sums: Array, channels: Channels, operands: Sequence[Array]
    ) -> Array:
        """Requantised, where there are sums, and everything that is folded behind the body."""
        bits = self.bits_out(layer)
        if layer.kind is LayerKind.CONVOLUTION:
            shift = self._shift(layer)
            if layer.bias_constant is not None:
                bias = self._constant(layer.bias_constant, "bias", bits) * 2.0 ** (bits - _POINT)
                bias = np.floor(bias) * (1 << shift)
                sums = sums + (bias if bias.size == 1 else bias[channels][:, None, None])
            value = self._settled(self._wrapped(sums) / (1 << shift), bits)
        else:
            value = self._settled(sums * 2.0 ** (bits - self.bits_in(layer)), bits)
        scaled = [
            self._settled(operand * 2.0 ** (bits - self._bits_of(layer, place)), bits)
            for place, operand in enumerate(operands)
        ]
        return self._point(layer.post, value, channels, scaled, bits)

    def _bits_of(self, layer: Layer, operand: int) -> int:
        return max(self.graph.tensors[s.tensor].bits for s in layer.operands[operand].segments)

    def _shift(self, layer: Layer) -> int:
        """The bits that a layer's sums lose.  Raises ProgramError where they are too wide."""
        assert layer.weight is not None
        kernel = self.graph.tensors[layer.weight]
        terms = kernel.elements // kernel.shape[0]
        width = self.bits_in(layer) + kernel.bits
        if max(width + log2(terms), self.accumulator_bits) >= _EXACT:
            raise ProgramError(
                f"layer '{layer.name}': sums of {terms} products of {self.bits_in(layer)} x "
                f"{kernel.bits} bits in {self.accumulator_bits}-bit accumulators leave the "
                f"{_EXACT} bits that are exact here; give narrower maps or weights"
            )
        gain = sqrt(terms / 3) * 0.4 / 0.7 * 2.0 ** (width - 1 - self.bits_out(layer))
        return max(0, int(np.floor(log2(gain))))

    def _wrapped(self, sums: Array) -> Array:
        """What accumulators hold of sums: those lose what overflows."""
        half = 2.0 ** (self.accumulator_bits - 1)
        return np.mod(sums + half, 2 * half) - half

    def _settled(self, value: Array, bits: int) -> Array:
        """Rounded to nearest and saturated; what is no number becomes 0."""
        half = float(1 << (bits - 1))
        found = np.clip(np.floor(np.asarray(value) + 0.5), -half, half - 1)
        none = np.isnan(found)
        return np.where(none, 0.0, found) if none.any() else found

    def _point(
        self,
        program: PointProgram,
        value: Array,
        channels: Channels,
        operands: Sequence[Array],
        bits: int,
    ) -> Array:
        """Run a pointwise program step by step."""
        results: list[Array] = []
        one = float(1 << max(0, bits - _POINT))

        def fetch(step: PointStep, place: int, arg: Arg | None) -> Array | None:
            if isinstance(arg, InputArg):
                return value / one
            if isinstance(arg, StepArg):
                return results[arg.step] / one
            if isinstance(arg, OperandArg):
                return operands[arg.operand] / one
            if isinstance(arg, ConstantArg):
                flat = self._constant(arg.name, _role(step, place), bits)
                return flat if flat.size == 1 else flat[channels][:, None, None]
            return None

        for step in program.steps:
            args = [fetch(step, place, arg) for place, arg in enumerate(step.args)]
            given = [arg for arg in args if arg is not None]
            if is_unary(step.op) and len(given) == 1 and bits <= _TABLE_BITS:
                half = 1 << (bits - 1)
                places = np.rint(given[0] * one).astype(np.int64) + half
                results.append(self._table(step, bits)[places])
                continue
            with np.errstate(all="ignore"):
                results.append(self._settled(apply_step(step, args) * one, bits))
        return results[-1] if results else value

    def _table(self, step: PointStep, bits: int) -> Array:
        """A function of one operand for every integer, the least first."""
        found = self.tables.get((step, bits))
        if found is None:
            half, one = 1 << (bits - 1), float(1 << max(0, bits - _POINT))
            every = np.arange(-half, half) / one
            with np.errstate(all="ignore"):
                found = self._settled(apply_step(step, [every]) * one, bits)
            self.tables[step, bits] = found
        return found


def _is_map(tensor: Tensor) -> bool:
    return tensor.kind is not TensorKind.WEIGHT


def _rows_by_number(graph: NetworkGraph) -> dict[str, int]:
    """Tensors whose elements are numbers of a table's rows, and how many rows that has."""
    found: dict[str, int] = {}
    for layer in graph.layers:
        if layer.meaning is None or layer.meaning.op != EMBEDDING:
            continue
        table, numbers = layer.meaning.inputs[:2]
        if table.seen and numbers.seen:
            rows = table.seen[0].axes.shape[0]
            for segment in layer.views[numbers.seen[0].view].segments:
                found[segment.tensor] = min(rows, found.get(segment.tensor, rows))
    return found


def _role(step: PointStep, place: int) -> str:
    """What a constant is to an operation, as far as that tells its size."""
    if step.op == "BatchNormalization":
        return ("", "factor", "term", "term", "variance")[place]
    return "factor" if step.op in ("Mul", "Div", "PRelu") else "term"


def exponentials(differences: npt.NDArray[np.int64], one: float) -> Array:
    """exp(d / one) of integers d up to 0, as integers with so many bits behind the point."""
    low = int(differences.min(initial=0))
    table = np.rint(np.exp(np.arange(low, 1) / one) * (1 << _FRACTION))
    return np.asarray(table[differences - low], np.float64)


def _softmax(layer: Layer, tile: Array, one: float) -> Array:
    whole = tile.astype(np.int64)
    shares = exponentials(whole - whole.max(axis=1, keepdims=True), one)
    total = shares.sum(axis=1, keepdims=True)
    if layer.op == "LogSoftmax":
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(shares / total) * one)
    return np.asarray(shares * one / total)


def _normalised(layer: Layer, tile: Array, one: float) -> Array:
    """From the sums of elements and of squares, which are exact."""
    count = tile.shape[1]
    squares = (tile**2).sum(axis=1, keepdims=True)
    if layer.op == "LayerNormalization":
        total = tile.sum(axis=1, keepdims=True)
        tile, squares = tile * count - total, squares * count - total**2
    else:
        tile, squares = tile * count, squares * count
    step = PointStep(layer.op, (), layer.attributes)
    least = number(step, "epsilon", 1e-5) * (count * one) ** 2
    return np.asarray(tile * one / np.sqrt(squares + least))
