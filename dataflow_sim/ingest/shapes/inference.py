"""Types and shapes of what one node writes, by ONNX's own inference.

Each node is inferred as a model of its own, from the types of what it reads and the values of
small constants.  Against inference of the whole graph: every shape is checked before the next
node builds on it, computed shapes can be evaluated in between, and a file of n nodes costs n
inferences however long its chains of shape arithmetic are.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.file.checks import FunctionKey, function_key, members
from dataflow_sim.ingest.file.nodes import (
    MAXIMUM_RANK,
    Reader,
    bodies,
    check_extents,
    is_standard,
    titled,
)

Types = Mapping[str, onnx.TypeProto]
Extents = tuple[int | None, ...]

# Operators whose output has as many axes as an input has elements, and that input.
_RANK_INPUTS: Mapping[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "MaxUnpool": (2,),
    "Pad": (1, 3),
    "Reshape": (1,),
    "Resize": (2, 3),
    "Tile": (1,),
    "Upsample": (1,),
}
# Inside bodies nobody checks a type or shape before the next node builds on it: there inference
# can reach these operators with extents of a rank beyond any memory, with negative ones, or with
# no type at all, and ends the process.
_UNSAFE_IN_BODIES = frozenset((*_RANK_INPUTS, "EyeLike", "GatherND", "RegexFullMatch"))


def extents_of(kind: onnx.TypeProto) -> Extents | None:
    """The extents of a tensor type, None for each unknown one; None where not even the rank is."""
    tensor = kind.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)


def tensor_type(element_type: int, extents: Extents) -> onnx.TypeProto:
    """The type of a tensor."""
    kind = onnx.TypeProto()
    kind.tensor_type.elem_type = element_type
    kind.tensor_type.shape.SetInParent()
    for extent in extents:
        dim = kind.tensor_type.shape.dim.add()
        if extent is not None:
            dim.dim_value = extent
    return kind


def merged(
    found: onnx.TypeProto | None, stated: onnx.TypeProto | None, what: str, label: str
) -> onnx.TypeProto | None:
    """What inference found, completed by what the file states.

    `what` names the value.  Raises NetworkError where the two contradict each other.
    """
    if found is None or stated is None:
        return stated if found is None else found
    if not (found.HasField("tensor_type") and stated.HasField("tensor_type")):
        return found
    element, said = found.tensor_type.elem_type, stated.tensor_type.elem_type
    if element and said and element != said:
        names = onnx.TensorProto.DataType.Name
        known = said in onnx.TensorProto.DataType.values()
        raise NetworkError(
            f"{label}: types contradict each other: {what} has elements of type {names(element)}, "
            f"the file states {names(said) if known else said}"
        )
    inferred, written = extents_of(found), extents_of(stated)
    if inferred is None or written is None:
        extents = written if inferred is None else inferred
    elif len(inferred) != len(written):
        raise NetworkError(
            f"{label}: shapes contradict each other: {what} has the shape {inferred}, the file "
            f"states {written}; they differ in the number of axes"
        )
    else:
        for axis, (one, other) in enumerate(zip(inferred, written, strict=True)):
            if one is not None and other is not None and one != other:
                raise NetworkError(
                    f"{label}: shapes contradict each other: {what} has the shape {inferred}, the "
                    f"file states {written}; they differ in dimension {axis}"
                )
        pairs = zip(inferred, written, strict=True)
        extents = tuple(other if one is None else one for one, other in pairs)
    if extents == inferred and element:
        return found
    if extents is None:
        return found if element else stated
    return tensor_type(element or said, extents)


# what ONNX defines by a function that its inference does not follow
_AS_ITS_INPUT = frozenset(("GroupNormalization", "MeanVarianceNormalization"))


class Inference:
    """ONNX's inference of single nodes of one model.

    Networks repeat their layers, so what was inferred is kept: nodes that differ in nothing
    but names are inferred once.
    """

    def __init__(self, model: onnx.ModelProto, label: str) -> None:
        self.label = label
        self.template = onnx.ModelProto(ir_version=onnx.IR_VERSION)
        self.template.opset_import.extend(model.opset_import)
        self.template.graph.name = "node"
        self.functions = {function_key(function): function for function in model.functions}
        self._known: dict[object, list[onnx.TypeProto | None]] = {}

    def types(
        self, reader: Reader, known: Types, values: Mapping[str, onnx.TensorProto]
    ) -> dict[str, onnx.TypeProto]:
        """Types of the node's outputs, as far as they can be inferred.

        `known` are the types of what it may read, `values` small constants among them.
        Raises NetworkError where what the node reads does not fit it.
        """
        node = reader.node
        if any(name not in known for name in reader.names):
            return {}
        key = self._key(reader, known, values)
        found = self._known.get(key)
        if found is None:
            found = self._inferred(reader, known, values)
            self._known[key] = found
        return {
            name: kind
            for name, kind in zip(node.output, found, strict=True)
            if name and kind is not None
        }

    def _key(
        self, reader: Reader, known: Types, values: Mapping[str, onnx.TensorProto]
    ) -> tuple[object, ...]:
        """All that a node's inference depends on: everything but names, where it has no bodies."""
        node = reader.node
        if len(reader.names) > sum(1 for name in node.input if name) or bodies(node):
            return (node.SerializeToString(),)
        places = {name: place for place, name in enumerate(dict.fromkeys(reader.names))}
        return (
            *(node.op_type, node.domain, node.overload),
            tuple(places.get(name) for name in node.input),
            tuple(bool(name) for name in node.output),
            tuple(attribute.SerializeToString() for attribute in node.attribute),
            tuple(
                (values[name] if name in values else known[name]).SerializeToString()
                for name in places
            ),
            tuple(name in values for name in places),
        )

    def _inferred(
        self, reader: Reader, known: Types, values: Mapping[str, onnx.TensorProto]
    ) -> list[onnx.TypeProto | None]:
        """Types of the outputs, None for each that stays unknown."""
        node = reader.node
        if not self._is_safe(node):
            return [None] * len(node.output)
        if is_standard(node) and node.op_type in _AS_ITS_INPUT and len(node.output) == 1:
            return [known[node.input[0]]]
        self._check_rank(node, known)
        model = self._model(node, dict.fromkeys(reader.names), known, values)
        try:
            found = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        except Exception as error:  # a hostile file reaches many kinds of error in there
            text = " ".join(str(error).split())
            raise NetworkError(
                f"{self.label}: {titled(node)} does not fit what it reads; shapes contradict each "
                f"other: {text}"
            ) from None
        types = {}
        for value in found.graph.output:
            if value.type.WhichOneof("value") is not None:
                what = f"'{value.name}' of {titled(node)} has"
                check_extents(extents_of(value.type) or (), what, self.label)
                types[value.name] = value.type
        return [types.get(name) for name in node.output]

    def _model(
        self,
        node: onnx.NodeProto,
        read: Mapping[str, None],
        known: Types,
        values: Mapping[str, onnx.TensorProto],
    ) -> onnx.ModelProto:
        """The node as a model of its own."""
        model = onnx.ModelProto()
        model.CopyFrom(self.template)
        graph = model.graph
        graph.node.append(node)
        for name in read:
            if name in values:
                graph.initializer.append(values[name])
                graph.initializer[-1].name = name
            else:
                graph.input.add(name=name, type=known[name])
        for name in dict.fromkeys(node.output):
            if name:
                graph.output.add(name=name)
        if self.functions:
            model.functions.extend(self._called(node))
        return model

    def _called(self, node: onnx.NodeProto) -> list[onnx.FunctionProto]:
        """The local functions that a node calls, and those that they call."""
        found: dict[FunctionKey, onnx.FunctionProto] = {}
        todo = [node]
        while todo:
            for member in members([todo.pop()], self.label):
                key = function_key(member)
                if key in self.functions and key not in found:
                    found[key] = self.functions[key]
                    todo.extend(found[key].node)
        return list(found.values())

    def _is_safe(self, node: onnx.NodeProto) -> bool:
        """Whether nothing in the bodies of a node, or in functions it calls, is unsafe there."""
        inner = [member for body in bodies(node) for member in body.node]
        if self.functions:
            inner.extend(member for function in self._called(node) for member in function.node)
        return not inner or not any(
            is_standard(member) and member.op_type in _UNSAFE_IN_BODIES
            for member in members(inner, self.label)
        )

    def _check_rank(self, node: onnx.NodeProto, known: Types) -> None:
        """Refuse to make a value of thousands of axes."""
        for position in _RANK_INPUTS.get(node.op_type, ()) if is_standard(node) else ():
            name = node.input[position] if position < len(node.input) else ""
            extents = extents_of(known[name]) if name else None
            if extents and (extents[0] or 0) > 2 * MAXIMUM_RANK:
                raise NetworkError(
                    f"{self.label}: {titled(node)} is given a shape of {extents[0]:,} axes by "
                    f"'{name}'; a value has at most {MAXIMUM_RANK}"
                )
