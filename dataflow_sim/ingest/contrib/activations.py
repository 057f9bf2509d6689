"""Activations of one map, alone or behind an added bias, written as chains of primitives."""

from __future__ import annotations

from math import pi, sqrt

import onnx

from dataflow_sim.ingest.contrib.fresh import Fresh, NoDefinitionError, given, number

_ALPHA = {"Elu": 1.0, "LeakyRelu": 0.01, "ThresholdedRelu": 1.0}
_PLAIN = ("Relu", "Sigmoid", "Softplus", "Softsign", "Tanh")


def gelu(fresh: Fresh, x: str, to: str) -> str:
    """Half of x (1 + erf(x / √2))."""
    inner = fresh.add("Erf", fresh.add("Div", x, fresh.scalar("sqrt2", sqrt(2.0), x)))
    return _gated(fresh, x, inner, to)


def _tanh_gelu(fresh: Fresh, x: str, to: str) -> str:
    """Half of x (1 + tanh(√(2/π) (x + 0.044715 x³)))."""
    cube = fresh.add("Pow", x, fresh.scalar("three", 3.0, x))
    sum_ = fresh.add("Add", x, fresh.add("Mul", cube, fresh.scalar("cubic", 0.044715, x)))
    inner = fresh.add("Tanh", fresh.add("Mul", sum_, fresh.scalar("linear", sqrt(2.0 / pi), x)))
    return _gated(fresh, x, inner, to)


def _gated(fresh: Fresh, x: str, inner: str, to: str) -> str:
    gate = fresh.add("Add", inner, fresh.scalar("one", 1.0, x))
    return fresh.add("Mul", fresh.add("Mul", x, gate), fresh.scalar("half", 0.5, x), to=to)


def _biased(node: onnx.NodeProto, fresh: Fresh) -> str:
    """The first input, with the second added where there is one."""
    return fresh.add("Add", node.input[0], given(node, 1)) if given(node, 1) else node.input[0]


def _erf_form(node: onnx.NodeProto, fresh: Fresh) -> None:
    gelu(fresh, _biased(node, fresh), node.output[0])


def _tanh_form(node: onnx.NodeProto, fresh: Fresh) -> None:
    _tanh_gelu(fresh, _biased(node, fresh), node.output[0])


def _quick_gelu(node: onnx.NodeProto, fresh: Fresh) -> None:
    """The product of x and sigmoid(alpha x)."""
    x = node.input[0]
    scaled = fresh.add("Mul", x, fresh.scalar("alpha", number(node, "alpha", 1.702), x))
    fresh.add("Mul", x, fresh.add("Sigmoid", scaled), to=node.output[0])


def activated(fresh: Fresh, x: str, activation: str, parameters: tuple[float, ...], to: str) -> str:
    """An activation that another operator names, with its parameters in ONNX's order.

    Parameters left out have ONNX's defaults.  Raises NoDefinitionError for other activations.
    """
    if activation in _PLAIN:
        return fresh.add(activation, x, to=to)
    if activation in _ALPHA:
        alpha = (*parameters, _ALPHA[activation])[0]
        return fresh.add(activation, x, to=to, alpha=alpha)
    if activation == "HardSigmoid":
        alpha, beta = (*parameters, *(0.2, 0.5)[len(parameters) :])[:2]
        return fresh.add(activation, x, to=to, alpha=alpha, beta=beta)
    if activation == "Selu":
        defaults = (1.67326319217681884765625, 1.05070102214813232421875)
        alpha, gamma = (*parameters, *defaults[len(parameters) :])[:2]
        return fresh.add(activation, x, to=to, alpha=alpha, gamma=gamma)
    if activation == "Clip" and len(parameters) == 2:
        bounds = [fresh.scalar("bound", bound, x) for bound in parameters]
        return fresh.add(activation, x, *bounds, to=to)
    raise NoDefinitionError(f"activation {activation!r}")


ACTIVATIONS = {
    "Gelu": _erf_form,
    "BiasGelu": _erf_form,
    "FastGelu": _tanh_form,
    "QuickGelu": _quick_gelu,
}
