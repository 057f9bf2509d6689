"""What is known at one node of a network that changes its size: before, and now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from dataflow_sim.graph.pointwise import Attribute
from dataflow_sim.ingest.file.nodes import name_of
from dataflow_sim.ingest.shapes.resolver import Resolver, attributes_of
from dataflow_sim.ingest.sizes.frozen import (
    Axes,
    Axis,
    Shape,
    new_extent,
    new_shape,
    old_extent,
    plain,
)

Array = npt.NDArray[np.generic]
Number = int | float


class ForbiddenError(Exception):
    """A node cannot follow the new size; the text says why, without the node."""


class Known:
    """Shapes and values of the network in the file, and what differs in the new one."""

    def __init__(self, before: Resolver, batch: tuple[int, int] | None) -> None:
        self.before = before
        self.batch = batch  # in the file, and now
        self._shapes: dict[str, Shape | None] = {}
        self._values: dict[str, Array | None] = {}
        self._axes: dict[str, Axes] = {}
        self._extents: dict[tuple[int, int, int], dict[int, None]] = {}
        self._elements: dict[str, int] = {}  # of names that the file does not have
        self._constants: set[str] = set()  # among these

    def add(
        self,
        name: str,
        element_type: int,
        axes: Axes,
        value: Array | None = None,
        is_constant: bool = False,
    ) -> None:
        """Note a map or a constant that the file does not have."""
        self._elements[name] = element_type
        if is_constant:
            self._constants.add(name)
        self.note(name, new_shape(axes), axes, value)

    def element_type(self, name: str) -> int | None:
        """The type of the elements of a tensor; None where it is unknown, or no tensor."""
        if name in self._elements:
            return self._elements[name]
        kind = self.before.types.get(name)
        return kind.tensor_type.elem_type or None if kind is not None else None

    def note(
        self, name: str, shape: Shape | None, axes: Axes | None = None, value: Array | None = None
    ) -> None:
        """Note a name whose shape or value is another now, or unknown."""
        self._shapes[name] = shape
        self._values[name] = value
        if axes is not None:
            self._axes[name] = axes

    def forget(self, name: str) -> None:
        """Note that a name is what it was."""
        for noted in (self._shapes, self._values, self._axes):
            noted.pop(name, None)

    def changed(self, name: str) -> bool:
        """Whether a name has another shape or value now, or may have."""
        return name in self._shapes

    def is_constant(self, name: str) -> bool:
        """Whether a name depends on no input of the network."""
        return name in self.before.constants or name in self._constants

    def old(self, name: str) -> Shape | None:
        """The shape of a name in the file."""
        return self.before.shapes.get(name)

    def new(self, name: str) -> Shape | None:
        """The shape of a name now."""
        return self._shapes[name] if name in self._shapes else self.old(name)

    def value(self, name: str) -> Array | None:
        """The value of a constant now; None where it is unknown."""
        return self._values[name] if name in self._values else self.before.values.get(name)

    def axes(self, name: str) -> Axes | None:
        """The axes of a name; None where one of its shapes is unknown."""
        if name in self._axes:
            return self._axes[name]
        old, new = self.old(name), self.new(name)
        if old is None or new is None or len(old) != len(new):
            return None
        return plain(old, new)

    def see(self, name: str) -> None:
        """Note the extents of a map for those that the file states without a map."""
        old, new = self.old(name), self.new(name)
        if old is not None and new is not None and len(old) == len(new):
            for axis, extents in enumerate(zip(old, new, strict=True)):
                found = self._extents.setdefault((len(old), axis, extents[0]), {})
                found[extents[1]] = None

    def seen(self, rank: int, axis: int, extent: int) -> tuple[int, ...]:
        """What became of an extent on an axis, over all maps of as many axes so far."""
        return tuple(self._extents.get((rank, axis, extent), ()))

    def is_batch(self, axis: Axis) -> bool:
        """Whether an axis is a batch of 1 that became larger."""
        return self.batch == (old_extent(axis), new_extent(axis)) and self.batch[0] == 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """Numbers that steer a node, in the file and now: an input, or an attribute."""

    position: int | None
    attribute: str
    before: tuple[Number, ...]
    now: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Numbers of a node that were written anew."""

    node: str
    op: str
    before: tuple[Number, ...]
    now: tuple[Number, ...]


class Names:
    """Names that the model does not use yet."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken

    def fresh(self, wish: str) -> str:
        """A name like the one wished for."""
        name, number = wish, 1
        while name in self._taken:
            number += 1
            name = f"{wish}_{number}"
        self._taken.add(name)
        return name


class Site:
    """One node under change: `node` is its copy, `before` are nodes to put in front of it."""

    def __init__(self, node: onnx.NodeProto, known: Known, names: Names, version: int) -> None:
        self.node = onnx.NodeProto()
        self.node.CopyFrom(node)
        self.known = known
        self.names = names
        self.version = version
        self.attributes: dict[str, Attribute] = attributes_of(node)
        self.before: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.rewritings: list[Rewriting] = []
        self.repeated: list[str] = []  # constants, for every sample
        self.remarks: list[str] = []  # sentences of anything else that was done
        self._given: dict[int, Parameter] = {}

    def name(self, position: int) -> str:
        """The name of an input, "" where there is none."""
        return str(self.node.input[position]) if position < len(self.node.input) else ""

    def axes(self, position: int) -> Axes | None:
        """The axes of an input."""
        name = self.name(position)
        return self.known.axes(name) if name else None

    def old_result(self, position: int = 0) -> Shape | None:
        """The shape of an output in the file."""
        return self.known.old(self.node.output[position])

    def integer(self, attribute: str, default: int) -> int:
        """An attribute that is an integer."""
        value = self.attributes.get(attribute, default)
        return value if isinstance(value, int) else default

    def parameter(self, position: int | None, attribute: str = "") -> Parameter | None:
        """An input, or else an attribute, of which the numbers are known; None if there is none."""
        if position is not None and position in self._given:
            return self._given[position]
        name = self.name(position) if position is not None else ""
        if name:
            before, now = self.known.before.values.get(name), self.known.value(name)
            if before is None or now is None or before.dtype.kind not in "iuf":
                return None
            values = tuple(before.ravel().tolist()), tuple(now.ravel().tolist())
            return Parameter(position, "", *values) if len(values[0]) == len(values[1]) else None
        value = self.attributes.get(attribute)
        if not isinstance(value, tuple):
            return None
        numbers = tuple(each for each in value if isinstance(each, int | float))
        return Parameter(None, attribute, numbers, numbers)

    def integers(self, position: int | None, attribute: str = "") -> tuple[int, ...] | None:
        """The numbers of a parameter now."""
        found = self.parameter(position, attribute)
        return None if found is None else tuple(int(value) for value in found.now)

    def become(self, op: str, inputs: Sequence[str]) -> None:
        """Make the node another one that writes the same."""
        node = onnx.helper.make_node(op, inputs, self.node.output, name=self.node.name)
        self.node.CopyFrom(node)
        self.attributes = {}

    def give(self, parameter: Parameter, numbers: Sequence[Number]) -> None:
        """Write other numbers: into the attribute, or into a constant of the node's own."""
        given = tuple(numbers)
        if given == parameter.now:
            return
        if parameter.position is None:
            for attribute in self.node.attribute:
                if attribute.name == parameter.attribute:
                    attribute.CopyFrom(onnx.helper.make_attribute(parameter.attribute, given))
            self.attributes[parameter.attribute] = given
        else:
            old = self.known.before.values[self.node.input[parameter.position]]
            array = np.array(given, old.dtype).reshape(old.shape)
            self._given[parameter.position] = replace(parameter, now=given)
            self.node.input[parameter.position] = self.constant(array, parameter.position)
        self.rewritings.append(
            Rewriting(name_of(self.node), self.node.op_type, parameter.before, given)
        )

    def constant(self, array: Array, position: int) -> str:
        """A new constant for an input of this node."""
        name = self.names.fresh(f"{self.node.output[0]}.resized_{position}")
        tensor = numpy_helper.from_array(array, name)
        self.constants.append(tensor)
        axes = plain(array.shape, array.shape)
        self.known.add(name, tensor.data_type, axes, array, is_constant=True)
        return name
