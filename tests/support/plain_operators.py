"""Operators with windows as ONNX defines them, for ONNX's own reference evaluator.

    reach    (kernel - 1) dilation + 1
    windows  floor((size + before + after - reach) / stride) + 1
             rounded up with `ceil_mode`, less those that begin behind the map
    SAME     ceil(size / stride) windows, padding as they need, an odd one behind (UPPER) or before
    Conv     y[o] = sum over taps k of  w[k] x[stride o + dilation k - before]
    its transpose adds w[k] x[i] to     y[stride i + dilation k - before]

The evaluator's own stumble over two images, groups, dilated or rounded-up pooling and LRN.  Written
tap by tap over any number of spatial axes, in float64; shares nothing with the package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import ceil, floor
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

Array = npt.NDArray[np.float64]
Given = npt.NDArray[np.float32]


class _Slide:
    """A window along one axis: what it begins with, how often it fits."""

    def __init__(self, size: int, kernel: int, stride: int, dilation: int) -> None:
        self.size, self.kernel, self.stride, self.dilation = size, kernel, stride, dilation
        self.before = self.after = self.count = 0

    @property
    def reach(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    def pad(self, before: int, after: int, up: bool) -> None:
        self.before, self.after = before, after
        exact = (self.size + before + after - self.reach) / self.stride
        self.count = (ceil(exact) if up else floor(exact)) + 1
        if up and (self.count - 1) * self.stride >= self.size + before:
            self.count -= 1

    def pad_by_itself(self, lower: bool) -> None:
        self.count = ceil(self.size / self.stride)
        total = max(0, (self.count - 1) * self.stride + self.reach - self.size)
        self.before = total - total // 2 if lower else total // 2
        self.after = total - self.before

    def positions(self, tap: int) -> npt.NDArray[np.int64]:
        """What the tap meets in each window, in elements of the map."""
        return np.arange(self.count) * self.stride + tap * self.dilation - self.before


def _slides(shape: Sequence[int], kernel: Sequence[int], said: dict[str, Any]) -> list[_Slide]:
    rank = len(kernel)
    strides = said.get("strides") or [1] * rank
    dilations = said.get("dilations") or [1] * rank
    pads = said.get("pads") or [0] * (2 * rank)
    auto = said.get("auto_pad") or "NOTSET"
    found = [_Slide(*axis) for axis in zip(shape, kernel, strides, dilations, strict=True)]
    for place, slide in enumerate(found):
        if auto.startswith("SAME"):
            slide.pad_by_itself(auto == "SAME_LOWER")
        elif auto == "VALID":
            slide.pad(0, 0, up=False)
        else:
            slide.pad(pads[place], pads[place + rank], up=bool(said.get("ceil_mode")))
    return found


def _taps(slides: Sequence[_Slide]) -> Iterator[tuple[tuple[int, ...], list[Any], list[Any]]]:
    """Every tap of a window with the windows in which it meets an element, and those elements."""
    for taps in product(*(range(slide.kernel) for slide in slides)):
        windows, elements = [], []
        for slide, tap in zip(slides, taps, strict=True):
            places = slide.positions(tap)
            inside = (places >= 0) & (places < slide.size)
            windows.append(np.flatnonzero(inside))
            elements.append(places[inside])
        yield taps, windows, elements


def _at(array: npt.NDArray[Any], axes: Sequence[npt.NDArray[np.int64]]) -> tuple[Any, ...]:
    """Index of some places along the spatial axes, for all batches and channels."""
    return np.ix_(np.arange(array.shape[0]), np.arange(array.shape[1]), *axes)


def _tap(kernel: Given, taps: tuple[int, ...]) -> Given:
    """The weights of one tap of a window, by the first two axes."""
    where: tuple[Any, ...] = (..., *taps)
    return np.asarray(kernel[where])


def _biased(value: Array, bias: Given | None) -> tuple[Given, ...]:
    if bias is not None:
        value = value + bias.reshape(-1, *(1,) * (value.ndim - 2))
    return (value.astype(np.float32),)


class Conv(OpRun):
    op_domain = ""

    def _run(self, x: Given, w: Given, b: Given | None = None, **said: Any) -> tuple[Given, ...]:
        groups = said["group"] or 1
        slides = _slides(x.shape[2:], w.shape[2:], said)
        found = np.zeros((len(x), len(w), *(slide.count for slide in slides)))
        inputs, outputs = w.shape[1], len(w) // groups
        for taps, windows, elements in _taps(slides):
            for group in range(groups):
                source = x[:, group * inputs : (group + 1) * inputs].astype(np.float64)
                mine = found[:, group * outputs : (group + 1) * outputs]
                kernel = _tap(w[group * outputs : (group + 1) * outputs], taps)
                met = source[_at(source, elements)]
                mine[_at(mine, windows)] += np.einsum("oi,ni...->no...", kernel, met)
        return _biased(found, b)


class ConvTranspose(OpRun):
    op_domain = ""

    def _run(self, x: Given, w: Given, b: Given | None = None, **said: Any) -> tuple[Given, ...]:
        rank, groups = x.ndim - 2, said["group"] or 1
        strides = said["strides"] or [1] * rank
        dilations = said["dilations"] or [1] * rank
        pads = said["pads"] or [0] * (2 * rank)
        more = said["output_padding"] or [0] * rank
        inputs, outputs = len(w) // groups, w.shape[1]
        plane = [
            (x.shape[2 + a] - 1) * strides[a] + (w.shape[2 + a] - 1) * dilations[a] + 1 + more[a]
            for a in range(rank)
        ]
        whole = np.zeros((len(x), outputs * groups, *plane))
        for taps in product(*(range(size) for size in w.shape[2:])):
            places = [
                np.arange(x.shape[2 + a]) * strides[a] + taps[a] * dilations[a] for a in range(rank)
            ]
            for group in range(groups):
                source = x[:, group * inputs : (group + 1) * inputs].astype(np.float64)
                mine = whole[:, group * outputs : (group + 1) * outputs]
                kernel = _tap(w[group * inputs : (group + 1) * inputs], taps)
                mine[_at(mine, places)] += np.einsum("io,ni...->no...", kernel, source)
        cut = [slice(pads[a], plane[a] - pads[a + rank]) for a in range(rank)]
        return _biased(whole[:, :, *cut], b)


class MaxPool(OpRun):
    op_domain = ""

    def _run(self, x: Given, **said: Any) -> tuple[Given, ...]:
        slides = _slides(x.shape[2:], said["kernel_shape"], said)
        found = np.full((*x.shape[:2], *(slide.count for slide in slides)), -np.inf)
        for _, windows, elements in _taps(slides):
            at = _at(found, windows)
            found[at] = np.maximum(found[at], x[_at(x, elements)])
        return (found.astype(np.float32),)


class AveragePool(OpRun):
    op_domain = ""

    def _run(self, x: Given, **said: Any) -> tuple[Given, ...]:
        slides = _slides(x.shape[2:], said["kernel_shape"], said)
        shape = (*x.shape[:2], *(slide.count for slide in slides))
        found, met = np.zeros(shape), np.zeros(shape)
        for taps, windows, elements in _taps(slides):
            found[_at(found, windows)] += x[_at(x, elements)]
            if said["count_include_pad"]:
                windows = [
                    np.flatnonzero(slide.positions(tap) < slide.size + slide.after)
                    for slide, tap in zip(slides, taps, strict=True)
                ]
            met[_at(met, windows)] += 1
        return ((found / met).astype(np.float32),)


class GlobalMaxPool(OpRun):
    op_domain = ""

    def _run(self, x: Given) -> tuple[Given, ...]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class LRN(OpRun):
    op_domain = ""

    def _run(
        self, x: Given, alpha: float, beta: float, bias: float, size: int
    ) -> tuple[Given, ...]:
        squares = np.zeros_like(x)
        for channel in range(x.shape[1]):
            first, last = channel - (size - 1) // 2, channel + ceil((size - 1) / 2)
            window = x[:, max(0, first) : last + 1]
            squares[:, channel] = np.square(window).sum(axis=1)
        return ((x / (bias + alpha / size * squares) ** beta).astype(x.dtype),)


OPERATORS: list[type[OpRun]] = [Conv, ConvTranspose, MaxPool, AveragePool, GlobalMaxPool, LRN]


def evaluate(model: onnx.ModelProto, inputs: dict[str, Given]) -> dict[str, Given]:
    """The outputs of a model by name."""
    evaluator = ReferenceEvaluator(model, new_ops=OPERATORS)
    # a sigmoid computes both of its branches and drops the one that overflows
    with np.errstate(over="ignore", invalid="ignore"):
        found = evaluator.run(None, dict(inputs))
    names = [value.name for value in model.graph.output]
    return {name: np.asarray(value) for name, value in zip(names, found, strict=True)}
