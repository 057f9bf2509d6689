"""What the layers compute, written from the operators' definitions in plain numpy.

Used by the replay alone.  Every function takes the position of its data in the whole map,
so that a tile that lacks an element it needs is found out rather than padded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import erf

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer, Pooling, Window
from dataflow_sim.graph.pointwise import (
    Arg,
    Attribute,
    ConstantArg,
    InputArg,
    OperandArg,
    PointProgram,
    PointStep,
    StepArg,
)
from dataflow_sim.graph.region import Span

Array = npt.NDArray[np.float64]
Rows = tuple[int, int]  # a half-open range along one spatial axis


def _number(step: PointStep, name: str, default: float) -> float:
    value: Attribute = step.attribute(name, default)
    if not isinstance(value, int | float):
        raise ProgramError(f"operator {step.op} has the attribute {name}={value!r}")
    return float(value)


def _sigmoid(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-x)), np.float64)


def _clip(step: PointStep, args: Sequence[Array | None]) -> Array:
    x, low, high = (*args, None, None)[:3]
    assert x is not None
    least = _number(step, "min", -np.inf) if low is None else low
    most = _number(step, "max", np.inf) if high is None else high
    return np.minimum(np.maximum(x, least), most)


def _normalise(step: PointStep, args: Sequence[Array]) -> Array:
    x, scale, shift, mean, variance = args
    spread = np.sqrt(variance + _number(step, "epsilon", 1e-5))
    return (x - mean) / spread * scale + shift


_UNARY: Mapping[str, Callable[[PointStep, Array], Array]] = {
    "Abs": lambda _, x: np.abs(x),
    "Ceil": lambda _, x: np.ceil(x),
    "Elu": lambda s, x: np.where(x < 0, _number(s, "alpha", 1.0) * np.expm1(x), x),
    "Erf": lambda _, x: np.vectorize(erf, otypes=[float])(x),
    "Exp": lambda _, x: np.exp(x),
    "Floor": lambda _, x: np.floor(x),
    "HardSigmoid": lambda s, x: np.clip(
        _number(s, "alpha", 0.2) * x + _number(s, "beta", 0.5), 0.0, 1.0
    ),
    "HardSwish": lambda _, x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "LeakyRelu": lambda s, x: np.where(x < 0, _number(s, "alpha", 0.01) * x, x),
    "Log": lambda _, x: np.log(x),
    "Mish": lambda _, x: x * np.tanh(np.log1p(np.exp(x))),
    "Neg": lambda _, x: -x,
    "Reciprocal": lambda _, x: 1.0 / x,
    "Relu": lambda _, x: np.maximum(x, 0.0),
    "Round": lambda _, x: np.round(x),
    "Sigmoid": lambda _, x: _sigmoid(x),
    "Softplus": lambda _, x: np.log1p(np.exp(x)),
    "Softsign": lambda _, x: x / (1.0 + np.abs(x)),
    "Sqrt": lambda _, x: np.sqrt(x),
    "Tanh": lambda _, x: np.tanh(x),
}
_BINARY: Mapping[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sum": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Max": np.maximum,
    "Min": np.minimum,
    "PRelu": lambda x, slope: np.where(x < 0, slope * x, x),
}


def _apply(step: PointStep, args: Sequence[Array | None]) -> Array:
    if step.op == "Clip":
        return _clip(step, args)
    given = [a for a in args if a is not None]
    if step.op == "BatchNormalization":
        return _normalise(step, given)
    if step.op in _UNARY:
        return _UNARY[step.op](step, given[0])
    if step.op in _BINARY:
        result = given[0]
        for other in given[1:]:
            result = _BINARY[step.op](result, other)
        return result
    raise ProgramError(f"operator {step.op} cannot be replayed")


def pointwise(
    program: PointProgram,
    value: Array,
    constants: Mapping[str, npt.NDArray[np.generic]],
    channels: npt.NDArray[np.int64],
    operands: Sequence[Array] = (),
) -> Array:
    """Run a pointwise program on a tile whose channel axis holds the given channels."""
    results: list[Array] = []

    def fetch(arg: Arg | None) -> Array | None:
        if isinstance(arg, InputArg):
            return value
        if isinstance(arg, StepArg):
            return results[arg.step]
        if isinstance(arg, OperandArg):
            return operands[arg.operand]
        if isinstance(arg, ConstantArg):
            flat = np.asarray(constants[arg.name], np.float64).ravel()
            return flat if flat.size == 1 else flat[channels][:, None, None]
        return None

    for step in program.steps:
        results.append(_apply(step, [fetch(arg) for arg in step.args]))
    return results[-1] if results else value


def _taps(
    window: Window, axis: int, size: int, held: Span, wanted: Rows, tap: int, where: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Places in the tile that a kernel tap meets, and which of them are real elements."""
    positions = np.arange(*wanted) * window.stride[axis] - window.pad[axis]
    positions = positions + tap * window.dilation[axis]
    real = (positions >= 0) & (positions < size)
    places, left = np.divmod(positions - held.start, held.step)
    missing = real & ((left != 0) | (places < 0) | (places >= held.length))
    if missing.any():
        raise ProgramError(
            f"{where} needs {'row' if axis == 0 else 'column'} {positions[missing][0]} of its "
            f"input, the buffer holds {held.start} to {held.stop}"
        )
    return np.where(real, places, 0), real


def convolve(
    layer: Layer,
    tile: Array,
    held: tuple[Span, Span],
    kernel: Array,
    body: tuple[Rows, Rows],
    groups: int,
) -> Array:
    """Partial convolution of a tile: the body rows and columns asked for.

    `tile` is (batch, channels, rows, columns) and holds the input's rows and columns
    `held`; `kernel` is (output channels, input channels of a group, rows, columns).
    """
    n, c, _, _ = tile.shape
    outputs = kernel.shape[0]
    shape = tuple(stop - start for start, stop in body)
    total = np.zeros((n, groups, outputs // groups, *shape))
    weights = kernel.reshape(groups, outputs // groups, *kernel.shape[1:])
    where = f"layer '{layer.name}'"
    for ky in range(layer.window.kernel[0]):
        rows, real_rows = _taps(layer.window, 0, layer.input.shape[2], held[0], body[0], ky, where)
        for kx in range(layer.window.kernel[1]):
            columns, real_columns = _taps(
                layer.window, 1, layer.input.shape[3], held[1], body[1], kx, where
            )
            real = real_rows[:, None] & real_columns
            if not real.any():
                continue
            picked = np.where(real, tile[:, :, rows][..., columns], 0.0)
            picked = picked.reshape(n, groups, c // groups, *shape)
            total += np.einsum("ngcyx,goc->ngoyx", picked, weights[..., ky, kx])
    return total.reshape(n, outputs, *shape)


def pool_rows(pooling: Pooling, axis: int, size: int, wanted: Rows) -> Rows:
    """Rows of the body that the pooled rows `wanted` depend on."""
    window = pooling.window
    first = wanted[0] * window.stride[axis] - window.pad[axis]
    last = (wanted[1] - 1) * window.stride[axis] - window.pad[axis] + window.extent(axis)
    return max(0, first), min(size, last)


def pool(
    pooling: Pooling,
    body: Array,
    origin: tuple[int, int],
    size: tuple[int, int],
    wanted: tuple[Rows, Rows],
) -> Array:
    """Pool a tile of the body whose first element is at `origin` of a map of `size`."""
    n, c, height, width = body.shape
    result = np.empty((n, c, wanted[0][1] - wanted[0][0], wanted[1][1] - wanted[1][0]))
    window = pooling.window
    for y in range(*wanted[0]):
        for x in range(*wanted[1]):
            picks, counts = [], 1
            for axis, place in enumerate((y, x)):
                start = place * window.stride[axis] - window.pad[axis]
                at = [start + tap * window.dilation[axis] for tap in range(window.kernel[axis])]
                inside = [p for p in at if 0 <= p < size[axis]]
                limit = size[axis] + pooling.pad_end[axis]
                counts *= sum(-window.pad[axis] <= p < limit for p in at)
                picks.append([p - origin[axis] for p in inside])
            rows, columns = picks
            if min(rows) < 0 or min(columns) < 0 or max(rows) >= height or max(columns) >= width:
                raise ProgramError(f"pooling ({y}, {x}) needs elements that the tile lacks")
            taken = body[:, :, rows][..., columns]
            at_result = (slice(None), slice(None), y - wanted[0][0], x - wanted[1][0])
            if pooling.op == "max":
                result[at_result] = taken.max(axis=(2, 3))
            else:
                divisor = counts if pooling.count_padding else len(rows) * len(columns)
                result[at_result] = taken.sum(axis=(2, 3)) / divisor
    return result


def pixelwise(layer: Layer, tile: Array) -> Array:
    """Softmax over channels, local response normalisation, channel shuffle."""
    attributes = dict(layer.attributes)
    if layer.op == "Softmax":
        shifted = np.exp(tile - tile.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
    if layer.op == "ChannelShuffle":
        groups = attributes["groups"]
        assert isinstance(groups, int)
        n, c, h, w = tile.shape
        return tile.reshape(n, groups, c // groups, h, w).swapaxes(1, 2).reshape(tile.shape)
    if layer.op == "LRN":
        step = PointStep("LRN", (), layer.attributes)
        size = int(_number(step, "size", 1))
        squares = np.zeros_like(tile)
        channels = tile.shape[1]
        for channel in range(channels):
            low = max(0, channel - (size - 1) // 2)
            high = min(channels, channel + size // 2 + 1)
            squares[:, channel] = (tile[:, low:high] ** 2).sum(axis=1)
        scale = _number(step, "bias", 1.0) + _number(step, "alpha", 1e-4) / size * squares
        return np.asarray(tile / scale ** _number(step, "beta", 0.75))
    raise ProgramError(f"layer '{layer.name}' ({layer.op}) cannot be replayed")
