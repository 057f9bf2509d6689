"""The integers of a quantised file: what its own maps, kernels and sums are, bit for bit.

    map, kernel    the file's integers, in as many bits as the program gives an element, or more
    sums           of products of integers: integers too, exactly (`quantised.sums_meaning`)
    running        sums or maxima of a map's integers, carried from row to row: likewise
    real numbers   what the file does not quantise, in single precision, 32 bits

A step decodes what it reads, computes in double precision, and what it writes is encoded; where
the file quantises a value that is in no memory, it is rounded on the way.  So every program of the
network, and every layer on whole maps, makes the same integers, and they are those of any
other implementation of the file but where a number lies half-way between two of them.

Sums that have no scale of their own, as of maps of several scales, wait as real numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer, LayerKind, Segment, Tensor, WeightRole
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.pointwise import PointStep
from dataflow_sim.graph.quantisation import Quantisation, holds_integers
from dataflow_sim.graph.region import Box
from dataflow_sim.simulate.arithmetic import Channels, Reals
from dataflow_sim.simulate.codec import FLOAT32, TWOS_COMPLEMENT, Array, Codec, Patterns, container
from dataflow_sim.simulate.image import applied_numbers, dram_image
from dataflow_sim.simulate.quantised import (
    decode,
    encode,
    encode_sums,
    rounded,
    running_meaning,
    sums_meaning,
)

_SINGLE = 32


@dataclass(frozen=True, slots=True)
class Affine:
    """Integers that mean numbers, in two's complement, or without a sign where they have none."""

    meaning: Quantisation

    def encode(self, values: Array, box: Box, bits: int) -> Patterns:
        """Patterns of numbers, which are rounded.  Raises ProgramError for what is none."""
        return _patterns(encode(values, self.meaning, box), bits)

    def decode(self, patterns: Patterns, box: Box, bits: int) -> Array:
        """The numbers that patterns stand for."""
        return decode(_integers(patterns, bits, self.meaning.signed), self.meaning.alone, box)


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of integers, in an accumulator that must hold them."""

    meaning: Quantisation

    def encode(self, values: Array, box: Box, bits: int) -> Patterns:
        """Patterns of sums.  Raises ProgramError where one needs more bits, or is no integer."""
        return _patterns(encode_sums(values, self.meaning, box, bits), bits)

    def decode(self, patterns: Patterns, box: Box, bits: int) -> Array:
        """The numbers that patterns stand for."""
        return decode(_integers(patterns, bits, signed=True), self.meaning, box)


def _patterns(integers: npt.NDArray[np.int64], bits: int) -> Patterns:
    return (integers & ((1 << bits) - 1)).astype(container(bits))


def _integers(patterns: Patterns, bits: int, signed: bool) -> npt.NDArray[np.int64]:
    plain = patterns.astype(np.int64)
    half = 1 << (bits - 1)
    return (plain ^ half) - half if signed else plain


class FileIntegers(Reals):
    """The arithmetic of a graph whose file states the integers of its maps and kernels.

    Raises ProgramError naming all tensors that are neither quantised nor of 32 bits.
    """

    def __init__(self, graph: NetworkGraph) -> None:
        super().__init__(applied_numbers(graph))
        self.graph = graph
        self.codecs: dict[str, Codec] = {}
        self.sums: dict[tuple[str, bool], Codec] = {}
        tensors = [t for t in graph.tensors.values() if t.role is not WeightRole.VECTOR]
        odd = [t.name for t in tensors if t.quantisation is None and t.bits != _SINGLE]
        if odd:
            named = ", ".join(odd[:4]) + (f" and {len(odd) - 4} more" if len(odd) > 4 else "")
            raise ProgramError(
                f"real numbers need {_SINGLE} bits, and the file states no integers of: {named}"
            )

    def image(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, Array]:
        """All that is in DRAM before the program: inputs and kernels as they are there.

        Inputs are numbers, or the integers that the file states of them.
        """
        found = dram_image(self.graph, inputs)
        return {name: self.held(name, value) for name, value in found.items()}

    def drawn(
        self, shapes: Mapping[str, tuple[int, ...]], whole: Mapping[str, np.dtype[Any]], seed: int
    ) -> dict[str, npt.NDArray[Any]]:
        """Inputs of the given shapes: any of their integers, or the numbers that these mean.

        Integers are those of an input that the file wants so, of the type that `whole` says.
        """
        found: dict[str, npt.NDArray[Any]] = {}
        for name, shape in sorted(shapes.items()):
            meaning = self.meaning_of_input(name)
            if meaning is None:
                continue
            generator = np.random.default_rng([seed, crc32(name.encode())])
            integers = generator.integers(meaning.least, meaning.greatest + 1, shape)
            kind = whole.get(name)
            numbers = decode(integers, meaning).astype(np.float32)
            found[name] = numbers if kind is None else integers.astype(kind)
        return found

    def meaning_of_input(self, array: str) -> Quantisation | None:
        """What the integers of an array that the network is given mean; None where it has none."""
        for place in self.graph.placements:
            if place.array == array:
                found = self.graph.tensors[place.tensor].quantisation
                return None if found is None else found.alone
        return None

    def numbers_of(self, result: str, given: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What a result means that another implementation gives as integers, as the file does."""
        for each in self.graph.results:
            if each.name == result and holds_integers(given):
                segment = each.view.segments[0]
                found = segment.rounded or self.graph.tensors[segment.tensor].quantisation
                return given if found is None else decode(given.astype(np.int64), found.alone)
        return given

    @property
    def is_exact(self) -> bool:
        """Whether all sums are integers, so that their order does not matter."""
        return not any(
            layer.kind is LayerKind.STREAMED
            or (layer.weight is not None and self.codec_of_sums(layer) is FLOAT32)
            or (layer.pool is not None and self.codec_of_sums(layer, running=True) is FLOAT32)
            for layer in self.graph.layers
        )

    # ------------------------------------------------------------ how numbers lie

    def codec(self, tensor: str) -> Codec:
        """The file's integers; single precision of what it does not quantise.

        Partial sums in DRAM, which no layer reads as a tensor, are moved as they are.
        """
        found = self.codecs.get(tensor)
        if found is None:
            known = self.graph.tensors.get(tensor)
            found = TWOS_COMPLEMENT if known is None else _codec(known)
            self.codecs[tensor] = found
        return found

    def codec_of_sums(self, layer: Layer, running: bool = False) -> Codec:
        """Exact integers where the sums have a scale, else single precision."""
        found = self.sums.get((layer.name, running))
        if found is None:
            of = running_meaning if running else sums_meaning
            meaning = of(layer, self.graph.tensors)
            found = FLOAT32 if meaning is None else Sums(meaning)
            self.sums[layer.name, running] = found
        return found

    def held(self, tensor: str, value: Array) -> Array:
        """What a tensor holds of numbers that are written to it."""
        known = self.graph.tensors[tensor]
        if known.role is WeightRole.VECTOR:
            return value
        if known.quantisation is None:
            return value.astype(np.float32).astype(np.float64)
        return rounded(value, known.quantisation)

    def seen(self, segment: Segment, value: Array) -> Array:
        """Rounded as the view says."""
        return rounded(value, segment.rounded)

    # ------------------------------------------------------------ operations

    def prepared(self, layer: Layer, tile: Array, channels: Channels) -> Array:
        """What is folded in front of the body, rounded where the file quantises it."""
        return self.point(layer.pre, tile, channels, (), _settled)

    def averaged(self, layer: Layer, value: Array, incoming: bool = False) -> Array:
        """On the way in rounded as the map that is in no memory; what is written is, there."""
        return rounded(value, layer.pooled_rounded) if incoming else value

    def finished(
        self, layer: Layer, sums: Array, channels: Channels, operands: Sequence[Array]
    ) -> Array:
        """Bias, then what is folded behind the body, each rounded where the file quantises it."""
        value = rounded(self.biased(layer, sums, channels), layer.rounded)
        value = self.point(layer.post, value, channels, operands, _settled)
        if layer.unpooled is not None:
            value = rounded(value, layer.unpooled.tensor.quantisation)
        return value


def _settled(step: PointStep, value: Array) -> Array:
    return rounded(value, step.rounded)


def _codec(tensor: Tensor) -> Codec:
    if tensor.role is WeightRole.VECTOR:
        return TWOS_COMPLEMENT
    return FLOAT32 if tensor.quantisation is None else Affine(tensor.quantisation)
