"""Pointwise programs: what is folded into a layer and applied to each element.

A program is a straight line of steps in single assignment: step i reads the value that
enters the program (`InputArg`), earlier steps (`StepArg`), constants (`ConstantArg`) or
further feature maps of the layer (`OperandArg`), and the last step is the result.  An
empty program is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dataflow_sim.graph.quantisation import Quantisation


@dataclass(frozen=True, slots=True)
class InputArg:
    """The value that enters the program."""


@dataclass(frozen=True, slots=True)
class StepArg:
    """The result of an earlier step."""

    step: int


@dataclass(frozen=True, slots=True)
class ConstantArg:
    """A constant of the network, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class OperandArg:
    """A further feature map that the layer reads, by its place in `Layer.operands`."""

    operand: int


Arg = InputArg | StepArg | ConstantArg | OperandArg
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PointStep:
    """One elementwise operation; `op` is the ONNX operator's name.

    Its result is rounded as `rounded` says, where the file quantises it.
    """

    op: str
    args: tuple[Arg | None, ...]
    attributes: tuple[tuple[str, Attribute], ...] = ()
    rounded: Quantisation | None = None

    def attribute(self, name: str, default: Attribute) -> Attribute:
        """The attribute of that name, or the operator's default."""
        return dict(self.attributes).get(name, default)


@dataclass(frozen=True, slots=True)
class PointProgram:
    """A straight line of elementwise steps."""

    steps: tuple[PointStep, ...] = field(default=())

    def __bool__(self) -> bool:
        """Whether there is any step."""
        return bool(self.steps)

    @property
    def ops(self) -> tuple[str, ...]:
        """The operators' names, in order."""
        return tuple(step.op for step in self.steps)

    def then(self, tail: PointProgram) -> PointProgram:
        """This program followed by `tail`, whose input is this program's result."""
        if not self.steps:
            return tail
        offset = len(self.steps)

        def moved(arg: Arg | None) -> Arg | None:
            if isinstance(arg, InputArg):
                return StepArg(offset - 1)
            if isinstance(arg, StepArg):
                return StepArg(arg.step + offset)
            return arg

        steps = tuple(
            replace(step, args=tuple(moved(arg) for arg in step.args)) for step in tail.steps
        )
        return PointProgram(self.steps + steps)

    def ending(self, rounded: Quantisation | None) -> PointProgram:
        """The same steps, the last one's result rounded so; there must be a step."""
        last = replace(self.steps[-1], rounded=rounded)
        return PointProgram((*self.steps[:-1], last))


IDENTITY = PointProgram()
