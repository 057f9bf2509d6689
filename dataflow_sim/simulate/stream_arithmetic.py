"""The arithmetic of streamed layers on real numbers, a tile at a time.

What a sweep has not finished waits as running sums, of the values on the last axis here:

    attention        m, l, a...      of scores s and values v seen so far, for each query
                                     m = max s,  l = sum exp(s - m),  a = sum exp(s - m) v
                     next tile       m' = max(m, max s'),  l' = l exp(m - m') + sum exp(s' - m'),
                                     a' likewise; the result is a / l
    normalisation    mean, M         M = sum (x - mean)^2, of n elements so far; n' more add
                                     d n'/(n + n') and own M + d^2 n n'/(n + n'), d being by how
                                     much their mean is larger
    softmax          m, l            as above
    hardmax          m, place        the largest, and the first place where it stands
    norm of x        sum |x|^p, 0

Where nothing of a query may be looked at, its result is 0.  Everything takes and gives float64; a
class with the same methods may do the same with other numbers.

Source: the operators' definitions; the running sums of Milakov and Gimelshein, "Online normalizer
calculation for softmax", arXiv:1805.02867; the moments of Chan, Golub and LeVeque, "Updating
formulae and a pairwise algorithm for computing sample variances", 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError

Array = npt.NDArray[np.float64]
MOMENTS = frozenset(
    (
        *("InstanceNormalization", "GroupNormalization", "LayerNormalization"),
        *("RMSNormalization", "MeanVarianceNormalization"),
    )
)
SOFT = frozenset(("Softmax", "LogSoftmax"))
_VARIANCE_GUARD = 1e-9  # MeanVarianceNormalization adds it to the standard deviation


@dataclass(frozen=True, slots=True)
class Reduction:
    """What a normalisation does: its operator, the axes that it reduces, and its numbers.

    `count` is how many elements are normalised together.
    """

    op: str
    axes: tuple[int, ...]
    count: int
    epsilon: float = 1e-5
    power: int = 2


class RealStreams:
    """Streamed layers on real numbers."""

    def kept(self, value: Array) -> Array:
        """A state, or a product that goes into sums, as it is kept."""
        return value

    def product(self, left: Array, right: Array) -> Array:
        """Rows of one factor against columns of the other."""
        return np.asarray(np.matmul(left, right), np.float64)

    def rotated(self, x: Array, cosine: Array, sine: Array) -> Array:
        """x cos + (-upper half, lower half) sin, over the last axis."""
        half = x.shape[-1] // 2
        crossed = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
        return np.asarray(x * cosine + crossed * sine, np.float64)

    # ------------------------------------------------------------ attention

    def scores(self, query: Array, key: Array, scale: float) -> Array:
        """Scaled scores of (B, H, T, D) against (B, G, S, D): (B, H, T, S)."""
        heads = query.shape[1]
        grouped = query.reshape(query.shape[0], key.shape[1], -1, *query.shape[2:])
        found = np.matmul(grouped, key[:, :, None].swapaxes(-1, -2)) * scale
        return np.asarray(found.reshape(found.shape[0], heads, *found.shape[3:]), np.float64)

    def attended(self, scores: Array, value: Array, before: Array | None) -> Array:
        """Running sums of attention with further columns, of (B, H, T, S) and (B, G, S, E)."""
        most = scores.max(axis=-1, keepdims=True)
        if before is not None:
            most = np.maximum(most, before[..., :1])
        base = np.where(np.isneginf(most), 0.0, most)
        weights = np.exp(scores - base)
        grouped = weights.reshape(weights.shape[0], value.shape[1], -1, *weights.shape[2:])
        summed = np.matmul(grouped, value[:, :, None]).reshape(*scores.shape[:3], value.shape[3])
        total = weights.sum(axis=-1, keepdims=True)
        if before is not None:
            share = np.exp(before[..., :1] - base)
            total, summed = total + before[..., 1:2] * share, summed + before[..., 2:] * share
        return np.concatenate([most, total, summed], axis=-1)

    def attention_result(self, sums: Array) -> Array:
        """The result of finished running sums."""
        total = sums[..., 1:2]
        return np.asarray(sums[..., 2:] / np.where(total == 0, 1.0, total), np.float64)

    # ------------------------------------------------------------ what is read twice

    def statistics(
        self, how: Reduction, x: Array, places: Array, seen: int, before: Array | None
    ) -> Array:
        """Statistics of what is normalised together, `seen` elements of it before these.

        `places` numbers the elements of x in it.  The result has extents of 1 along the axes that
        are reduced, and the two values on a last axis.
        """
        if how.op in MOMENTS:
            return self._moments(how, x, seen, before)
        if how.op == "LpNormalization":
            own = (np.abs(x) ** how.power).sum(axis=how.axes, keepdims=True)
            found = np.stack([own, np.zeros_like(own)], axis=-1)
            return found if before is None else found + before
        most = x.max(axis=how.axes, keepdims=True)
        if how.op == "Hardmax":
            here = np.where(x == most, places, np.inf).min(axis=how.axes, keepdims=True)
            if before is not None:
                here = np.where(most > before[..., 0], here, before[..., 1])
                most = np.maximum(most, before[..., 0])
            return np.stack([most, here], axis=-1)
        if how.op not in SOFT:
            raise ProgramError(f"{how.op} has no statistics")
        if before is not None:
            most = np.maximum(most, before[..., 0])
        total = np.exp(x - most).sum(axis=how.axes, keepdims=True)
        if before is not None:
            total = total + before[..., 1] * np.exp(before[..., 0] - most)
        return np.stack([most, total], axis=-1)

    def _moments(self, how: Reduction, x: Array, seen: int, before: Array | None) -> Array:
        """Mean and sum of squared distances from it; of a root mean square the mean is 0."""
        centred = how.op != "RMSNormalization"
        count = int(np.prod([x.shape[axis] for axis in how.axes]))
        mean = x.mean(axis=how.axes, keepdims=True) * centred
        spread = ((x - mean) ** 2).sum(axis=how.axes, keepdims=True)
        if before is not None:
            apart, all_of_it = mean - before[..., 0], seen + count
            spread = spread + before[..., 1] + apart**2 * (seen * count / all_of_it)
            mean = before[..., 0] + apart * (count / all_of_it)
        return np.stack([mean, spread], axis=-1)

    def normalised(
        self, how: Reduction, x: Array, places: Array, statistics: Array, learned: Sequence[Array]
    ) -> Array:
        """Elements normalised by finished statistics, then scaled and shifted by `learned`."""
        one, other = statistics[..., 0], statistics[..., 1]
        if how.op == "Hardmax":
            return np.asarray(places == other, np.float64)
        if how.op == "Softmax":
            return np.asarray(np.exp(x - one) / other, np.float64)
        if how.op == "LogSoftmax":
            return np.asarray(x - one - np.log(other), np.float64)
        if how.op == "LpNormalization":
            norm = one ** (1 / how.power)
            return np.asarray(np.divide(x, norm, out=np.zeros_like(x), where=norm != 0), np.float64)
        variance = other / how.count
        if how.op == "MeanVarianceNormalization":
            return np.asarray((x - one) / (np.sqrt(variance) + _VARIANCE_GUARD), np.float64)
        found = (x - one) / np.sqrt(variance + how.epsilon)
        for place, each in enumerate(learned):
            found = found + each if place else found * each
        return np.asarray(found, np.float64)
