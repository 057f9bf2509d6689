"""Elementwise operators, written from their definitions in plain numpy.

Used by the replay alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import erf

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
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

Array = npt.NDArray[np.float64]
Settle = Callable[[PointStep, Array], Array]


def number(step: PointStep, name: str, default: float) -> float:
    """A numeric attribute of a step, or the operator's default."""
    value: Attribute = step.attribute(name, default)
    if not isinstance(value, int | float):
        raise ProgramError(f"operator {step.op} has the attribute {name}={value!r}")
    return float(value)


def _sigmoid(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-x)), np.float64)


def _clip(step: PointStep, args: Sequence[Array | None]) -> Array:
    x, low, high = (*args, None, None)[:3]
    assert x is not None
    least = number(step, "min", -np.inf) if low is None else low
    most = number(step, "max", np.inf) if high is None else high
    return np.minimum(np.maximum(x, least), most)


def _normalise(step: PointStep, args: Sequence[Array]) -> Array:
    x, scale, shift, mean, variance = args
    spread = np.sqrt(variance + number(step, "epsilon", 1e-5))
    return (x - mean) / spread * scale + shift


def _gelu(step: PointStep, x: Array) -> Array:
    if step.attribute("approximate", "none") == "tanh":
        inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
        return np.asarray(0.5 * x * (1 + np.tanh(inner)))
    return np.asarray(0.5 * x * (1 + np.vectorize(erf, otypes=[float])(x / np.sqrt(2))))


def _selu(step: PointStep, x: Array) -> Array:
    gamma = number(step, "gamma", 1.0507009873554804)
    return gamma * np.where(x > 0, x, number(step, "alpha", 1.6732632423543772) * np.expm1(x))


def _shrink(step: PointStep, x: Array) -> Array:
    bias, limit = number(step, "bias", 0.0), number(step, "lambd", 0.5)
    return np.where(x < -limit, x + bias, np.where(x > limit, x - bias, 0.0))


def _celu(step: PointStep, x: Array) -> Array:
    alpha = number(step, "alpha", 1.0)
    return np.asarray(np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(x / alpha)))


def _plain(function: Callable[[Array], Array]) -> Callable[[PointStep, Array], Array]:
    return lambda _, x: np.asarray(function(x), np.float64)


def _pair(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    return lambda x, y: np.asarray(function(x, y), np.float64)


_UNARY: Mapping[str, Callable[[PointStep, Array], Array]] = {
    "Abs": _plain(np.abs),
    "Acos": _plain(np.arccos),
    "Acosh": _plain(np.arccosh),
    "Asin": _plain(np.arcsin),
    "Asinh": _plain(np.arcsinh),
    "Atan": _plain(np.arctan),
    "Atanh": _plain(np.arctanh),
    "Cos": _plain(np.cos),
    "Cosh": _plain(np.cosh),
    "IsInf": _plain(np.isinf),
    "IsNaN": _plain(np.isnan),
    "Not": _plain(np.logical_not),
    "Sign": _plain(np.sign),
    "Sin": _plain(np.sin),
    "Sinh": _plain(np.sinh),
    "Tan": _plain(np.tan),
    "Celu": _celu,
    "Gelu": _gelu,
    "Selu": _selu,
    "Shrink": _shrink,
    "Swish": lambda s, x: x * _sigmoid(number(s, "alpha", 1.0) * x),
    "ThresholdedRelu": lambda s, x: np.where(x > number(s, "alpha", 1.0), x, 0.0),
    "Ceil": _plain(np.ceil),
    "Elu": lambda s, x: np.where(x < 0, number(s, "alpha", 1.0) * np.expm1(x), x),
    "Erf": lambda _, x: np.vectorize(erf, otypes=[float])(x),
    "Exp": _plain(np.exp),
    "Floor": _plain(np.floor),
    "HardSigmoid": lambda s, x: np.clip(
        number(s, "alpha", 0.2) * x + number(s, "beta", 0.5), 0.0, 1.0
    ),
    "HardSwish": lambda _, x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "LeakyRelu": lambda s, x: np.where(x < 0, number(s, "alpha", 0.01) * x, x),
    "Log": _plain(np.log),
    "Mish": lambda _, x: x * np.tanh(np.log1p(np.exp(x))),
    "Neg": lambda _, x: -x,
    "Reciprocal": lambda _, x: 1.0 / x,
    "Relu": lambda _, x: np.maximum(x, 0.0),
    "Round": lambda _, x: np.round(x),
    "Sigmoid": lambda _, x: _sigmoid(x),
    "Softplus": lambda _, x: np.log1p(np.exp(x)),
    "Softsign": lambda _, x: x / (1.0 + np.abs(x)),
    "Sqrt": _plain(np.sqrt),
    "Tanh": _plain(np.tanh),
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
    "Mod": np.mod,
    "PRelu": lambda x, slope: np.where(x < 0, slope * x, x),
    "And": _pair(np.logical_and),
    "Equal": _pair(np.equal),
    "Greater": _pair(np.greater),
    "GreaterOrEqual": _pair(np.greater_equal),
    "Less": _pair(np.less),
    "LessOrEqual": _pair(np.less_equal),
    "Or": _pair(np.logical_or),
    "Xor": _pair(np.logical_xor),
}


def is_unary(op: str) -> bool:
    """Whether an operator is a function of one operand."""
    return op in _UNARY


def apply_step(step: PointStep, args: Sequence[Array | None]) -> Array:
    """The result of one operation.  Raises ProgramError for an operator that is not known."""
    if step.op == "Clip":
        return _clip(step, args)
    given = [a for a in args if a is not None]
    if step.op == "BatchNormalization":
        return _normalise(step, given)
    if step.op == "Where":
        return np.where(given[0] != 0, given[1], given[2])
    if step.op == "Mean":
        return np.asarray(sum(given[1:], given[0]) / len(given))
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
    settle: Settle | None = None,
) -> Array:
    """Run a pointwise program on a tile whose channel axis holds the given channels.

    `settle` says what becomes of the result of each step.
    """
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
        made = apply_step(step, [fetch(arg) for arg in step.args])
        results.append(made if settle is None else settle(step, made))
    return results[-1] if results else value
