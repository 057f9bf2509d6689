"""Elementwise nodes as pointwise programs, and gates such as SiLU found among them.

A gate is a binary node both of whose inputs come from one map through elementwise nodes
that nobody else reads: `x * sigmoid(x)`, `x * clip(x + 3, 0, 6) / 6`, GELU written out.
It becomes one node with one input, so that it folds like any other activation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dataflow_sim.graph.pointwise import (
    Arg,
    ConstantArg,
    InputArg,
    OperandArg,
    PointProgram,
    PointStep,
    StepArg,
)
from dataflow_sim.ingest.network import Node, ResolvedNetwork

POINTWISE_OPS = frozenset(
    (
        *("Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh"),
        *("BatchNormalization", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr"),
        *("BitwiseXor", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div", "Elu", "Equal", "Erf"),
        *("Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish"),
        *("IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min"),
        *("Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu"),
        *("Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign"),
        *("Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor"),
    )
)

_VECTOR_LABELS: Mapping[str, tuple[str, ...]] = {
    "BatchNormalization": ("scale", "shift"),
    "Mul": ("scale",),
    "Div": ("scale",),
    "PRelu": ("slope",),
}


@dataclass(frozen=True, slots=True)
class PointNode:
    """One or several elementwise nodes as one: maps in, one map out.

    `program` reads its first map as `InputArg` and the others as operands 0, 1, ...
    """

    name: str
    maps: tuple[str, ...]
    output: str
    program: PointProgram


def vector_labels(program: PointProgram, per_channel: Mapping[str, bool]) -> tuple[str, ...]:
    """Which per-channel constants a program needs: at most one scale, shift and slope each.

    `per_channel` tells for each constant whether it has one value per channel.  Several
    scales in a row are one multiplication, several shifts one addition.
    """
    labels: dict[str, None] = {}
    for step in program.steps:
        constants = [arg.name for arg in step.args if isinstance(arg, ConstantArg)]
        if any(per_channel.get(name, False) for name in constants):
            labels.update(dict.fromkeys(_VECTOR_LABELS.get(step.op, ("shift",))))
    return tuple(labels)


def _as_point_node(node: Node, network: ResolvedNetwork) -> PointNode | None:
    constants = network.constants
    names = list(node.inputs)
    maps = list(dict.fromkeys(name for name in names if name and name not in constants))
    if node.op not in POINTWISE_OPS or not maps or len(node.outputs) != 1:
        return None

    def argument(name: str) -> Arg | None:
        if not name:
            return None
        if name in constants:
            return ConstantArg(name)
        position = maps.index(name)
        return InputArg() if position == 0 else OperandArg(position - 1)

    attributes = tuple(sorted(node.attributes.items()))
    rounded = network.quantisations.get(node.outputs[0])
    step = PointStep(node.op, tuple(argument(name) for name in names), attributes, rounded)
    return PointNode(node.name, tuple(maps), node.outputs[0], PointProgram((step,)))


class _GateFinder:
    def __init__(self, nodes: Sequence[Node | PointNode], used: Counter[str]) -> None:
        self.unary: dict[str, PointNode] = {}
        self.used = used
        self.nodes = nodes
        self.removed: set[str] = set()

    def run(self) -> list[Node | PointNode]:
        found: list[Node | PointNode] = []
        for node in self.nodes:
            if isinstance(node, PointNode):
                node = self._merge(node) or node
                if len(node.maps) == 1:
                    self.unary[node.output] = node
            found.append(node)
        return [
            node
            for node in found
            if not (isinstance(node, PointNode) and node.output in self.removed)
        ]

    def _ancestry(self, name: str) -> list[str]:
        """`name` and what it is computed from, as long as each is read once."""
        chain = [name]
        while self.used[chain[-1]] == 1 and chain[-1] in self.unary:
            chain.append(self.unary[chain[-1]].maps[0])
        return chain

    def _merge(self, node: PointNode) -> PointNode | None:
        if len(node.maps) != 2:
            return None
        left, right = (self._ancestry(name) for name in node.maps)
        # one side may be the common map itself, which then has several readers
        common = next((name for name in left if name in right), None)
        if common is None:
            return None
        sides = []
        for chain in (left, right):
            sides.append([self.unary[name] for name in chain[: chain.index(common)]][::-1])
        steps: list[PointStep] = []
        ends: list[Arg] = []
        for side in sides:
            program = PointProgram()
            for member in side:
                program = program.then(member.program)
                self.removed.add(member.output)
            offset = len(steps)
            steps.extend(_shifted(step, offset) for step in program.steps)
            ends.append(StepArg(len(steps) - 1) if program else InputArg())
        last = node.program.steps[0]
        steps.append(replace(last, args=tuple(_end(a, ends) for a in last.args)))
        return PointNode(node.name, (common,), node.output, PointProgram(tuple(steps)))


def _shifted(step: PointStep, offset: int) -> PointStep:
    args = tuple(StepArg(a.step + offset) if isinstance(a, StepArg) else a for a in step.args)
    return replace(step, args=args)


def _end(arg: Arg | None, ends: Sequence[Arg]) -> Arg | None:
    if isinstance(arg, InputArg):
        return ends[0]
    if isinstance(arg, OperandArg):
        return ends[1 + arg.operand]
    return arg


def gather_pointwise(network: ResolvedNetwork) -> list[Node | PointNode]:
    """The network's nodes with elementwise ones as PointNode and gates merged.

    Before: nodes in execution order.  After: the same order and the same values for every
    output; nodes inside a gate are gone.
    """
    nodes = [_as_point_node(node, network) or node for node in network.nodes]
    used: Counter[str] = Counter(network.outputs)
    for node in nodes:
        used.update(node.maps if isinstance(node, PointNode) else set(node.inputs))
    return _GateFinder(nodes, used).run()
