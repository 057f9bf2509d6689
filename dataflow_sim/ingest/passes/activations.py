"""Smooth activations, put together from the chains that exporters write.

Each has one operator g that is no polynomial, applied to a polynomial in x, and is itself a
polynomial in x and g:

    Swish      x * g                g = sigmoid(alpha * x)
    HardSwish  x * g                g = hard_sigmoid(x), alpha 1/6, beta 1/2
               x * g                g = clip(x / 6 + 1/2, 0, 1)
               x * g / 6            g = clip(x + 3, 0, 6)
    Mish       x * g                g = tanh(softplus(x))
    Gelu       x / 2 + x * g / 2    g = erf(x / sqrt(2))
                                    g = tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isclose, pi, sqrt

from dataflow_sim.graph.pointwise import Attribute
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.contract import Pass
from dataflow_sim.ingest.passes.polynomials import POLYNOMIAL_OPS, Polynomial, Polynomials, agree
from dataflow_sim.ingest.rewriting import NodeIndex, casts_to_float, is_whole, rewritten

_GATES = ("Sigmoid", "HardSigmoid", "Clip", "Tanh", "Erf")
_CUBIC = 0.044715
_TANH_FACTOR = sqrt(2 / pi)
_GATED: Polynomial = {(1, 1): 1.0}
_HALVES: Polynomial = {(1, 0): 0.5, (1, 1): 0.5}
# as far as an argument is searched for x: the longest is the cubic of the tanh form
_STEPS_TO_X = 7
_STEPS_TO_END = 5


@dataclass(frozen=True, slots=True)
class _Activation:
    """An activation of x, and the polynomial in x and the gate's result that it ends in."""

    op: str
    x: str
    attributes: tuple[tuple[str, Attribute], ...]
    ending: Polynomial


def _candidates(index: NodeIndex, name: str) -> Iterator[str]:
    """The name and what it is computed from by polynomials, the nearest first."""
    level, seen = [name], {name}
    for _ in range(_STEPS_TO_X):
        following: list[str] = []
        for each in level:
            yield each
            node = index.producer(each, *POLYNOMIAL_OPS, "Cast", "Identity")
            if node is None or (node.op == "Cast" and not casts_to_float(node)):
                continue
            for source in node.inputs:
                if source and source not in seen and not index.is_constant(source):
                    seen.add(source)
                    following.append(source)
        level = following


def _is_hard_sigmoid_of_hard_swish(node: Node) -> bool:
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    return isinstance(alpha, float) and isclose(alpha, 1 / 6, rel_tol=1e-3) and beta == 0.5


def _activation(index: NodeIndex, gate: Node, x: str) -> _Activation | None:
    """The activation of x that the gate belongs to, if its argument is right for one."""
    argument = gate.inputs[0]
    if gate.op == "Tanh":
        softplus = index.writer(argument, "Softplus")
        if softplus is not None:
            same = index.root(softplus.inputs[0]) == index.root(x)
            return _Activation("Mish", x, (), _GATED) if same else None
    found = Polynomials(index, (x,)).read(argument)
    if found is None:
        return None
    if gate.op == "Sigmoid":
        alpha = found.get((1,), 0.0)
        fits = set(found) == {(1,)} and alpha > 0
        return _Activation("Swish", x, (("alpha", alpha),), _GATED) if fits else None
    if gate.op == "HardSigmoid":
        fits = found == {(1,): 1.0} and _is_hard_sigmoid_of_hard_swish(gate)
        return _Activation("HardSwish", x, (), _GATED) if fits else None
    if gate.op == "Clip":
        limits = index.limits(gate)
        if found == {(1,): 1.0, (0,): 3.0} and limits == (0, 6):
            return _Activation("HardSwish", x, (), {(1, 1): 1 / 6})
        fits = agree(found, {(1,): 1 / 6, (0,): 0.5}) and limits == (0, 1)
        return _Activation("HardSwish", x, (), _GATED) if fits else None
    if gate.op == "Erf":
        fits = agree(found, {(1,): sqrt(0.5)})
        return _Activation("Gelu", x, (("approximate", "none"),), _HALVES) if fits else None
    fits = agree(found, {(1,): _TANH_FACTOR, (3,): _TANH_FACTOR * _CUBIC})
    return _Activation("Gelu", x, (("approximate", "tanh"),), _HALVES) if fits else None


def _sources(index: NodeIndex, gate: Node) -> Iterator[str]:
    """Names that may be the x of a gate."""
    softplus = index.writer(gate.inputs[0], "Softplus") if gate.op == "Tanh" else None
    if softplus is not None:
        yield softplus.inputs[0]
    else:
        yield from _candidates(index, gate.inputs[0])


def _end(index: NodeIndex, gate: Node, activation: _Activation) -> Node | None:
    """The node where the activation is complete: reached from the gate by sole readers."""
    polynomials = Polynomials(index, (activation.x, gate.outputs[0]))
    node = index.sole_reader(gate.outputs[0])
    for _ in range(_STEPS_TO_END):
        if node is None or not is_whole(node):
            return None
        if node.op in POLYNOMIAL_OPS:
            if agree(polynomials.read(node.outputs[0]), activation.ending):
                return node
        elif node.op != "Identity" and not casts_to_float(node):
            return None
        node = index.sole_reader(node.outputs[0])
    return None


def _found(index: NodeIndex, gate: Node) -> tuple[_Activation, Node, tuple[Node, ...]] | None:
    """The activation around a gate, its last node, and all its nodes."""
    for source in _sources(index, gate):
        x = index.plain(source)
        activation = _activation(index, gate, x)
        last = _end(index, gate, activation) if activation is not None else None
        if activation is None or last is None:
            continue
        inner = index.between(last, (x, index.root(x)))
        if inner is not None and index.shape(x) == index.shape(last.outputs[0]):
            return activation, last, inner
    return None


def _rounds_inside(network: ResolvedNetwork, last: Node, inner: Iterable[Node]) -> bool:
    """Whether anything between the nodes of an activation is rounded to integers."""
    names = (name for node in inner if node is not last for name in node.outputs)
    return any(name in network.quantisations for name in names)


def _rewrite(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    index = NodeIndex(network)
    removed: dict[int, Node] = {}
    added: list[tuple[Node, Node]] = []
    for gate in network.nodes:
        found = _found(index, gate) if gate.op in _GATES and is_whole(gate) else None
        if found is None or any(id(node) in removed for node in found[2]):
            continue
        activation, last, inner = found
        if _rounds_inside(network, last, inner):
            continue
        removed.update((id(node), node) for node in inner)
        attributes = dict(activation.attributes)
        new = Node(last.name, activation.op, (activation.x,), last.outputs, attributes)
        added.append((new, last))
    changed = tuple(new.name for new, _ in added)
    return rewritten(network, removed.values(), added), changed


ACTIVATIONS = Pass(
    "activations",
    before=(
        "an activation of x may be a chain of Sigmoid, HardSigmoid, Clip, Erf, Tanh or "
        "Softplus, of known scalars and of sums and products that nothing else reads, and none of "
        "which is rounded to integers"
    ),
    after=(
        "each such chain is one Swish (alpha), HardSwish, Mish or Gelu (approximate 'none' or "
        "'tanh') of x"
    ),
    rewrite=_rewrite,
)
