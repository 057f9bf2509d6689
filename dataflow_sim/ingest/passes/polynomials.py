"""Sums, products and powers of names with known scalars, as polynomials.

Exporters write 0.5 * x * (1 + erf(x / sqrt(2))) in a dozen orders.  As a polynomial in x and
in g = erf(...), it is x / 2 + x * g / 2 in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose, isfinite

from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.rewriting import NodeIndex

# exponents of the variables -> coefficient
Polynomial = Mapping[tuple[int, ...], float]

POLYNOMIAL_OPS = ("Add", "Sub", "Mul", "Div", "Pow")
_HIGHEST_DEGREE = 4
_DEEPEST_CHAIN = 12
# square roots and reciprocals stand in files as rounded to 16 bits, at the worst
_RELATIVE_TOLERANCE = 1e-3


def _sum(first: Polynomial, second: Polynomial, factor: float = 1.0) -> Polynomial:
    total = dict(first)
    for powers, coefficient in second.items():
        total[powers] = total.get(powers, 0.0) + factor * coefficient
    return {powers: coefficient for powers, coefficient in total.items() if coefficient}


def _product(first: Polynomial, second: Polynomial) -> Polynomial | None:
    total: dict[tuple[int, ...], float] = {}
    for left, a in first.items():
        for right, b in second.items():
            powers = tuple(m + n for m, n in zip(left, right, strict=True))
            if sum(powers) > _HIGHEST_DEGREE:
                return None
            total[powers] = total.get(powers, 0.0) + a * b
    return total


def _combined(op: str, first: Polynomial, second: Polynomial) -> Polynomial | None:
    constant = (0,) * len(next(iter((*first, *second)), ()))
    number = second.get(constant, 0.0) if set(second) <= {constant} else None
    if op in ("Add", "Sub"):
        return _sum(first, second, 1.0 if op == "Add" else -1.0)
    if op == "Mul":
        return _product(first, second)
    if op == "Div":
        return _product(first, {constant: 1 / number}) if number else None
    if number is None or number not in (1, 2, 3):
        return None
    result: Polynomial | None = first
    for _ in range(int(number) - 1):
        result = None if result is None else _product(result, first)
    return result


class Polynomials:
    """Reads names as polynomials in some variables, casts between floats passed over."""

    def __init__(self, index: NodeIndex, variables: tuple[str, ...]) -> None:
        self.index = index
        self.roots = tuple(index.root(name) for name in variables)
        self._known: dict[str, Polynomial | None] = {}

    def read(self, name: str, depth: int = _DEEPEST_CHAIN) -> Polynomial | None:
        """The polynomial that a name is; None if it is none, or too long a one."""
        root = self.index.root(name)
        if root in self.roots:
            place = self.roots.index(root)
            return {tuple(int(i == place) for i in range(len(self.roots))): 1.0}
        scalar = self.index.scalar(root)
        if scalar is not None and isfinite(scalar):
            return {(0,) * len(self.roots): scalar} if scalar else {}
        if root not in self._known:
            node = self.index.writer(root, *POLYNOMIAL_OPS) if depth else None
            self._known[root] = None if node is None else self._of_node(node, depth)
        return self._known[root]

    def _of_node(self, node: Node, depth: int) -> Polynomial | None:
        first = self.read(node.inputs[0], depth - 1)
        second = None if first is None else self.read(node.inputs[1], depth - 1)
        return None if first is None or second is None else _combined(node.op, first, second)


def agree(found: Polynomial | None, wanted: Polynomial) -> bool:
    """Whether two polynomials have the same terms, but for the rounding of coefficients."""
    return (
        found is not None
        and set(found) == set(wanted)
        and all(isclose(found[p], wanted[p], rel_tol=_RELATIVE_TOLERANCE) for p in wanted)
    )
