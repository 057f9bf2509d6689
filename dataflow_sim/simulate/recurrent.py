"""The arithmetic of LSTM, GRU and RNN, a tile of gate rows of one time step at a time.

    gates not finished    a = x Wᵀ + h Rᵀ of some rows, in the file's order: i o f c, z r h, or i
    LSTM                  i, f = f(a + b + p c),  c' = f c + i g(a + b),  o = f(a + b + p c'),
                          h' = o h(c')
    GRU                   z, r = f(a + b),  h̃ = g(x Wᵀ + (r h) Rᵀ + b),  h' = (1 - z) h̃ + z h
                          or, with the reset behind the product, h̃ = g(x Wᵀ + r (h Rᵀ + b_r) + b)
    RNN                   h' = f(a + b)

Rows of a GRU's h̃ need all of r, whose rows stand before theirs.  What is carried from one step to
the next is the state (h, of an LSTM also c) and the gates that are not finished, side by side.

Source: the definitions of ONNX's LSTM, GRU and RNN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.meaning import Meaning
from dataflow_sim.graph.pointwise import Attribute, InputArg, PointProgram, PointStep
from dataflow_sim.simulate.pointwise import pointwise

Array = npt.NDArray[np.float64]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}
_USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
# activations with numbers of their own: alpha, then beta, and their usual values
_NUMBERS = {
    "Affine": (1.0, 0.0),
    "Elu": (1.0, None),
    "HardSigmoid": (0.2, 0.5),
    "LeakyRelu": (0.01, None),
    "ScaledTanh": (1.0, 1.0),
    "ThresholdedRelu": (1.0, None),
}
_NOTHING: npt.NDArray[np.int64] = np.zeros(0, np.int64)
Activation = Callable[[Array], Array]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """What one direction reads in a step: W and R of some gate rows, and all of the rest.

    `input_bias` and `hidden_bias` have a value for each gate row, `peepholes` those of i, o and f.
    """

    rows: slice
    input: Array
    hidden: Array
    input_bias: Array
    hidden_bias: Array
    peepholes: Array


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """h, of an LSTM also c, each (batch, hidden); and the gates not finished, (batch, rows)."""

    values: tuple[Array, ...]
    gates: Array


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One direction of a recurrent layer of `hidden` values; `kept` is what becomes of a value that
    goes into further sums."""

    op: str
    hidden: int
    activations: tuple[Activation, ...]
    clip: float
    input_forget: bool
    reset_behind: bool
    kept: Activation
    gate: dict[str, slice] = field(init=False)

    def __post_init__(self) -> None:
        """Name the rows of each gate."""
        names = {"LSTM": "iofc", "GRU": "zrh", "RNN": "i"}[self.op]
        size = self.hidden
        rows = {name: slice(n * size, (n + 1) * size) for n, name in enumerate(names)}
        object.__setattr__(self, "gate", rows)

    def unfinished(self, x: Array, weights: Weights, state: State) -> Array:
        """The gates with the rows of these weights in them."""
        h = state.values[0]
        gates = state.gates.copy()
        taken = x @ weights.input.T
        gates[:, weights.rows] = taken + h @ weights.hidden.T
        last = self.gate.get("h")
        if self.op != "GRU" or last is None or weights.rows.stop <= last.start:
            return gates
        # of the rows of h̃ among these the hidden part again, with the reset gate in it
        low = max(weights.rows.start, last.start)
        own = slice(low - weights.rows.start, None)
        bias = weights.input_bias + weights.hidden_bias
        reset = self.kept(self._bounded(gates[:, self.gate["r"]] + bias[self.gate["r"]], 0))
        if self.reset_behind:
            places = slice(low - last.start, weights.rows.stop - last.start)
            hidden_bias = weights.hidden_bias[low : weights.rows.stop]
            behind = h @ weights.hidden[own].T + hidden_bias
            gates[:, low : weights.rows.stop] = taken[:, own] + self.kept(reset[:, places] * behind)
        else:
            gates[:, low : weights.rows.stop] = (
                taken[:, own] + self.kept(reset * h) @ weights.hidden[own].T
            )
        return gates

    def finished(self, weights: Weights, state: State) -> tuple[Array, ...]:
        """The state after a time step all of whose gates are there."""
        bias = weights.input_bias + weights.hidden_bias
        if self.op == "LSTM":
            return self._long_short(state.gates + bias, weights.peepholes, *state.values)
        if self.op == "RNN":
            return (self._bounded(state.gates + bias, 0),)
        (h,) = state.values
        own = self.gate["h"]
        update = self._bounded(state.gates[:, self.gate["z"]] + bias[self.gate["z"]], 0)
        last = weights.input_bias[own] if self.reset_behind else bias[own]
        candidate = self._bounded(state.gates[:, own] + last, 1)
        return ((1 - update) * candidate + update * h,)

    def _long_short(self, gates: Array, peepholes: Array, h: Array, c: Array) -> tuple[Array, ...]:
        looks = peepholes.reshape(3, -1)
        take = self._bounded(gates[:, self.gate["i"]] + looks[0] * c, 0)
        keep = self._bounded(gates[:, self.gate["f"]] + looks[2] * c, 0)
        if self.input_forget:
            keep = 1 - take
        cell = keep * c + take * self._bounded(gates[:, self.gate["c"]], 1)
        give = self._bounded(gates[:, self.gate["o"]] + looks[1] * cell, 0)
        return give * self.activations[2](cell), cell

    def _bounded(self, gates: Array, activation: int) -> Array:
        """An activation of gates, clipped before where the layer clips."""
        if self.clip:
            gates = np.clip(gates, -self.clip, self.clip)
        return self.activations[activation](gates)


def cell_of(meaning: Meaning, hidden: int, direction: int, kept: Activation) -> Cell:
    """One direction of a recurrent layer.  Raises ProgramError for unknown activations."""
    usual = _USUAL[meaning.op]
    named = dict(meaning.attributes).get("activations", ())
    names = [str(name) for name in named] if isinstance(named, tuple) and named else list(usual)
    alphas, betas = (list(_floats(meaning, f"activation_{each}")) for each in ("alpha", "beta"))
    found = []
    for name in names:
        alpha, beta = _NUMBERS.get(name, (None, None))
        alpha = alphas.pop(0) if alpha is not None and alphas else alpha
        beta = betas.pop(0) if beta is not None and betas else beta
        found.append(_activation(name, alpha, beta))
    first = direction * len(usual) if len(found) > len(usual) else 0
    return Cell(
        op=meaning.op,
        hidden=hidden,
        activations=tuple(found[first : first + len(usual)]),
        clip=meaning.number("clip", 0.0),
        input_forget=bool(meaning.number("input_forget", 0)),
        reset_behind=bool(meaning.number("linear_before_reset", 0)),
        kept=kept,
    )


def _floats(meaning: Meaning, name: str) -> tuple[float, ...]:
    value = dict(meaning.attributes).get(name, ())
    return tuple(float(each) for each in value) if isinstance(value, tuple) else ()


def _activation(name: str, alpha: float | None, beta: float | None) -> Activation:
    known = {kind.lower(): kind for kind in (*_NUMBERS, "Relu", "Sigmoid", "Softplus", "Softsign")}
    op = {**known, "tanh": "Tanh"}.get(name.lower())
    if op is None:
        raise ProgramError(f"activation '{name}' cannot be replayed")
    if op == "Affine":
        return lambda x: np.asarray((alpha or 0.0) * x + (beta or 0.0), np.float64)
    if op == "ScaledTanh":
        return lambda x: np.asarray((alpha or 0.0) * np.tanh((beta or 0.0) * x), np.float64)
    stated: list[tuple[str, Attribute]] = []
    stated += [] if alpha is None else [("alpha", alpha)]
    stated += [] if beta is None else [("beta", beta)]
    program = PointProgram((PointStep(op, (InputArg(),), tuple(stated)),))
    return lambda x: pointwise(program, x, {}, _NOTHING)
