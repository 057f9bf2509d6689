"""New nodes and constants in the place of one node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from dataflow_sim.ingest.contrib.facts import Facts

AttributeValue = int | float | str | Sequence[int] | Sequence[float] | onnx.TensorProto


class NoDefinitionError(Exception):
    """A node uses a variant of its operator that has no definition here."""


def integer(node: onnx.NodeProto, name: str, default: int) -> int:
    """An integer attribute, or its default."""
    for attribute in node.attribute:
        if attribute.name == name:
            return int(attribute.i)
    return default


def number(node: onnx.NodeProto, name: str, default: float) -> float:
    """A float attribute, or its default."""
    for attribute in node.attribute:
        if attribute.name == name:
            return float(attribute.f)
    return default


def text(node: onnx.NodeProto, name: str, default: str) -> str:
    """A text attribute, or its default."""
    for attribute in node.attribute:
        if attribute.name == name:
            return str(attribute.s.decode("utf-8", "replace"))
    return default


def numbers(node: onnx.NodeProto, name: str) -> tuple[float, ...]:
    """A list of floats; empty where it is left out."""
    for attribute in node.attribute:
        if attribute.name == name:
            return tuple(attribute.floats)
    return ()


def integers(node: onnx.NodeProto, name: str) -> tuple[int, ...]:
    """A list of integers; empty where it is left out."""
    for attribute in node.attribute:
        if attribute.name == name:
            return tuple(attribute.ints)
    return ()


def has(node: onnx.NodeProto, name: str) -> bool:
    """Whether the node states the attribute."""
    return any(attribute.name == name for attribute in node.attribute)


def stated(node: onnx.NodeProto, names: Sequence[str]) -> list[onnx.AttributeProto]:
    """Those of the named attributes that the node states."""
    return [attribute for attribute in node.attribute if attribute.name in names]


def given(node: onnx.NodeProto, position: int) -> str:
    """Name of an input; empty where it is left out."""
    return str(node.input[position]) if position < len(node.input) else ""


def wanted(node: onnx.NodeProto, position: int) -> str:
    """Name of an output; empty where nobody asks for it."""
    return str(node.output[position]) if position < len(node.output) else ""


@dataclass(slots=True)
class Names:
    """All names of a model, and those initialisers that one node reads and nothing else names."""

    taken: set[str]
    read_once: frozenset[str]


class Fresh:
    """Collects what stands in a node's place.

    `names` knows every name of the model; those of new values and nodes start with the node's
    own.
    """

    def __init__(self, node: onnx.NodeProto, facts: Facts, names: Names) -> None:
        self.prefix = node.name or node.output[0]
        self.facts = facts
        self.names = names
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    @property
    def opset(self) -> int:
        """Version of the standard operators that the definition must be legal in."""
        return self.facts.opset

    def name(self, label: str) -> str:
        """A name nobody has yet, made of the node's and the label."""
        number, name = 1, f"{self.prefix}/{label}"
        while name in self.names.taken:
            number += 1
            name = f"{self.prefix}/{label}.{number}"
        self.names.taken.add(name)
        return name

    def add(
        self,
        op: str,
        *inputs: str,
        to: str = "",
        stated: Sequence[onnx.AttributeProto] = (),
        **attributes: AttributeValue,
    ) -> str:
        """Append a standard operator with one output; returns the output's name.

        `stated` are attributes as another node states them.
        """
        return self.add_many(op, inputs, (to,), stated, **attributes)[0]

    def add_many(
        self,
        op: str,
        inputs: Sequence[str],
        to: Sequence[str],
        stated: Sequence[onnx.AttributeProto] = (),
        **attributes: AttributeValue,
    ) -> tuple[str, ...]:
        """Append a standard operator; an output without a name is given one."""
        title = self.name(op)
        outputs = tuple(name or self.name(f"{op}_output") for name in to)
        node = helper.make_node(op, list(inputs), list(outputs), name=title)
        for key, value in sorted(attributes.items()):
            node.attribute.append(helper.make_attribute(key, value))
        node.attribute.extend(stated)
        self.nodes.append(node)
        self.facts.learn(node)
        return outputs

    def constant(self, label: str, array: npt.ArrayLike, element_type: int = 0) -> str:
        """A new initialiser; 64-bit integers unless the element type says otherwise."""
        kind = element_type or int(onnx.TensorProto.INT64)
        with np.errstate(over="ignore"):  # what no 16-bit float reaches is infinite
            values = np.asarray(array).astype(helper.tensor_dtype_to_np_dtype(kind))
        tensor = numpy_helper.from_array(values, self.name(label))
        self.hold(tensor)
        return str(tensor.name)

    def scalar(self, label: str, value: float, like: str) -> str:
        """A number of the element type that `like` has."""
        return self.constant(label, value, self.facts.element_type(like))

    def hold(self, tensor: onnx.TensorProto) -> None:
        """Append an initialiser."""
        self.constants.append(tensor)
        self.facts.hold(tensor)

    def seen_as(self, name: str, element_type: int, dims: Sequence[int]) -> str:
        """An initialiser's bytes as elements of another type; returns the name to read.

        The bytes stay where they are, in the model or beside it.  The name stays too, unless
        somebody else reads it.
        """
        tensor = self.facts.tensor(name)
        assert tensor is not None
        if name not in self.names.read_once:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = name = self.name(name)
            tensor = copy
            self.constants.append(tensor)
        tensor.data_type = element_type
        del tensor.dims[:]
        tensor.dims.extend(dims)
        self.facts.hold(tensor, name)
        return name

    # ---------------------------------------------------------------- operators across opsets

    def cast(self, x: str, element_type: int, to: str = "") -> str:
        """The value with elements of another type."""
        return self.add("Cast", x, to=to, stated=[helper.make_attribute("to", element_type)])

    def split(
        self, x: str, axis: int, count: int, sizes: str = "", to: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Split into parts: equal ones, or of the sizes that a value gives."""
        names = tuple(to) or ("",) * count
        if sizes:
            return self.add_many("Split", (x, sizes), names, axis=axis)
        if self.opset >= 18:
            return self.add_many("Split", (x,), names, axis=axis, num_outputs=count)
        return self.add_many("Split", (x,), names, axis=axis)

    def mean(self, x: str, axes: Sequence[int], keepdims: int = 1, to: str = "") -> str:
        """Mean over axes (all, if none): an attribute up to opset 17, an input from 18 on."""
        if not axes:
            return self.add("ReduceMean", x, keepdims=keepdims, to=to)
        if self.opset >= 18:
            return self.add(
                "ReduceMean", x, self.constant("axes", list(axes)), keepdims=keepdims, to=to
            )
        return self.add("ReduceMean", x, axes=list(axes), keepdims=keepdims, to=to)

    def unsqueezed(self, x: str, *axes: int, to: str = "") -> str:
        """The value with new axes of extent 1."""
        return self.add("Unsqueeze", x, self.constant("axes", list(axes)), to=to)

    def reshaped(self, x: str, *extents: int, to: str = "") -> str:
        """The value in another shape; 0 keeps an extent, -1 is what is left."""
        return self.add("Reshape", x, self.constant("shape", list(extents)), to=to)

    def extent(self, x: str, axis: int) -> str:
        """Extent of a value along an axis, as a scalar value."""
        return self.add("Gather", self.add("Shape", x), self.constant("axis", axis), axis=0)

    def extents(self, x: str, *axes: int) -> str:
        """Extents of a value along axes, as a vector value."""
        return self.add("Gather", self.add("Shape", x), self.constant("axes", list(axes)), axis=0)

    def sliced(self, x: str, axis: int, start: int, stop: int, to: str = "") -> str:
        """Part of a value along an axis."""
        bounds = [self.constant(label, [i]) for label, i in (("start", start), ("stop", stop))]
        return self.add("Slice", x, *bounds, self.constant("axis", [axis]), to=to)
