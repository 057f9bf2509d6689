"""The arithmetic of streamed layers on integers: exact in any order and any tiles.

Numbers are what integers stand for, multiples of 2^-f.  Running sums wait in accumulators as
multiples of a finer 2^-F, F = max(8 + f, 2 f), and lose what overflows, so that they are the same
however the columns are cut:

    attention, softmax   scores in steps of 1/16 from -8 to 8; weights exp(s - 8) in steps of 2^-8,
                         from a table, without the running maximum, which waits all the same
    normalisation        sum x and sum x^2 instead of the moments
    recurrent            states and reset gates, rounded as they are made

Results are quotients and square roots of such sums, rounded correctly by IEEE 754, then by whoever
stores them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dataflow_sim.graph.region import Box, whole
from dataflow_sim.simulate.codec import TWOS_COMPLEMENT, Array, Patterns
from dataflow_sim.simulate.stream_arithmetic import MOMENTS, SOFT, RealStreams, Reduction

_STEPS = 16  # of a score, to 1
_HALF = 128  # scores either side of 0
_WEIGHTS = 8  # bits behind the point of a weight


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """Multiples of 2^-fraction, in two's complement."""

    fraction: int

    def encode(self, values: Array, box: Box, bits: int) -> Patterns:
        """Patterns of numbers, rounded to nearest; upper bits are lost."""
        integers = np.floor(np.ldexp(values, self.fraction) + 0.5)
        return TWOS_COMPLEMENT.encode(np.fmod(integers, 2.0**bits), box, bits)

    def decode(self, patterns: Patterns, box: Box, bits: int) -> Array:
        """The numbers that patterns stand for."""
        found = TWOS_COMPLEMENT.decode(patterns, box, bits)
        return np.asarray(np.ldexp(found, -self.fraction), np.float64)


def fraction_of_sums(fraction: int) -> int:
    """Bits behind the point of running sums of numbers with so many."""
    return max(_WEIGHTS + fraction, 2 * fraction)


class IntegerStreams(RealStreams):
    """Streamed layers on multiples of 2^-fraction, with running sums of so many bits."""

    def __init__(self, fraction: int, accumulator_bits: int) -> None:
        self.fraction = fraction
        self.bits = accumulator_bits
        self.sums = FixedPoint(fraction_of_sums(fraction))
        every = np.arange(-_HALF, _HALF) - (_HALF - 1)
        self.table = np.rint(np.exp(every / _STEPS) * (1 << _WEIGHTS)) / (1 << _WEIGHTS)

    def kept(self, value: Array) -> Array:
        """A state, rounded and saturated to what maps hold."""
        most = 4.0 - 2.0**-self.fraction
        rounded = np.floor(np.ldexp(value, self.fraction) + 0.5)
        return np.clip(np.ldexp(rounded, -self.fraction), -4.0, most)

    def _held(self, sums: Array) -> Array:
        """What accumulators hold of sums."""
        box = whole((1, 1, 1, 1))  # all elements have the same codec
        return self.sums.decode(self.sums.encode(sums, box, self.bits), box, self.bits)

    def _grid(self, scores: Array) -> Array:
        scores = np.where(np.isneginf(scores), -_HALF, scores)
        return np.clip(np.floor(scores * _STEPS + 0.5), -_HALF, _HALF - 1)

    def _weights(self, scores: Array) -> Array:
        found = self.table[self._grid(scores).astype(np.int64) + _HALF]
        return np.where(np.isneginf(scores), 0.0, found)

    # ------------------------------------------------------------ products

    def product(self, left: Array, right: Array) -> Array:
        """Rows against columns, so much smaller that the spread stays about the same."""
        shift = int(np.floor(np.log2(max(1.0, np.sqrt(left.shape[-1])))))
        return np.asarray(np.ldexp(super().product(left, right), -shift), np.float64)

    # ------------------------------------------------------------ attention

    def attended(self, scores: Array, value: Array, before: Array | None) -> Array:
        """Running sums: the maximum, the weights, weights times values."""
        most = (self._grid(scores) / _STEPS).max(axis=-1, keepdims=True)
        weights = self._weights(scores)
        grouped = weights.reshape(weights.shape[0], value.shape[1], -1, *weights.shape[2:])
        summed = np.matmul(grouped, value[:, :, None]).reshape(*scores.shape[:3], value.shape[3])
        total = weights.sum(axis=-1, keepdims=True)
        if before is not None:
            most = np.maximum(most, before[..., :1])
            total, summed = total + before[..., 1:2], summed + before[..., 2:]
        return np.concatenate([most, total, summed], axis=-1)

    def attention_result(self, sums: Array) -> Array:
        """The result of finished running sums."""
        return super().attention_result(self._held(sums))

    # ------------------------------------------------------------ what is read twice

    def statistics(
        self, how: Reduction, x: Array, places: Array, seen: int, before: Array | None
    ) -> Array:
        """Statistics of what is normalised together, as two sums."""
        if how.op in MOMENTS:
            sums = [(x**power).sum(axis=how.axes, keepdims=True) for power in (1, 2)]
            found = np.stack(sums, axis=-1)
            return found if before is None else found + before
        if how.op in SOFT:
            most = (self._grid(x) / _STEPS).max(axis=how.axes, keepdims=True)
            total = self._weights(x).sum(axis=how.axes, keepdims=True)
            if before is not None:
                most, total = np.maximum(most, before[..., 0]), total + before[..., 1]
            return np.stack([most, total], axis=-1)
        return super().statistics(how, x, places, seen, before)

    def normalised(
        self, how: Reduction, x: Array, places: Array, statistics: Array, learned: Sequence[Array]
    ) -> Array:
        """Elements normalised by finished sums, then scaled and shifted by `learned`."""
        statistics = self._held(statistics)
        with np.errstate(all="ignore"):
            if how.op in SOFT:
                share = self._weights(x) / statistics[..., 1]
                return np.asarray(np.log(share) if how.op == "LogSoftmax" else share, np.float64)
            if how.op not in MOMENTS:
                return super().normalised(how, x, places, statistics, learned)
            count, total, squares = how.count, statistics[..., 0], statistics[..., 1]
            if how.op == "RMSNormalization":
                total = np.zeros_like(total)
            guard = 0.0 if how.op == "MeanVarianceNormalization" else how.epsilon * count**2
            spread = np.sqrt(count * squares - total**2 + guard)
            found = (count * x - total) / spread
            for place, each in enumerate(learned):
                found = found + each if place else found * each
        return np.asarray(found, np.float64)
