"""Shapes and constants of an ONNX graph, without its weights.

One sweep in execution order: what a node reads is known when its turn comes, so its output is
either evaluated (a constant, or the shape of something known) or inferred.  Shape arithmetic of
any length folds away on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.pointwise import Attribute
from dataflow_sim.ingest.file.nodes import (
    MAXIMUM_RANK,
    STANDARD_DOMAINS,
    bodies,
    check_extents,
    is_standard,
    readers_of,
    titled,
)
from dataflow_sim.ingest.file.tensors import BITS, filled, held_constant, read_tensor
from dataflow_sim.ingest.shapes.evaluation import LARGEST_READ_ELEMENTS, evaluate
from dataflow_sim.ingest.shapes.inference import Inference, extents_of, merged, tensor_type
from dataflow_sim.ingest.shapes.rounded_pooling import without_windows_of_padding

__all__ = ["STANDARD_DOMAINS", "Resolver", "attributes_of", "stated_types"]

Array = npt.NDArray[np.generic]

_STEERING = (TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING)
_FULL_PRECISION = (TensorProto.FLOAT, TensorProto.DOUBLE)
# of all that is evaluated, so that many nodes do not add up to gigabytes; from there on only what
# is no longer than a shape is evaluated
_LARGEST_TOTAL_BYTES = 2**27


def attributes_of(node: onnx.NodeProto) -> dict[str, Attribute]:
    """A node's attributes as plain values; graphs, tensors and types are left out."""
    found: dict[str, Attribute] = {}
    kinds = onnx.AttributeProto
    for attribute in node.attribute:
        name, kind = attribute.name, attribute.type
        if attribute.ref_attr_name:
            continue
        if kind == kinds.INT:
            found[name] = attribute.i
        elif kind == kinds.INTS:
            found[name] = tuple(attribute.ints)
        elif kind == kinds.FLOAT:
            found[name] = attribute.f
        elif kind == kinds.FLOATS:
            found[name] = tuple(attribute.floats)
        elif kind == kinds.STRING:
            found[name] = attribute.s.decode("utf-8", "replace")
        elif kind == kinds.STRINGS:
            texts: tuple[Any, ...] = tuple(t.decode("utf-8", "replace") for t in attribute.strings)
            found[name] = texts
    return found


def stated_types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """The types that a model states of its values: inputs, outputs, and those between."""
    graph = model.graph
    found: dict[str, onnx.TypeProto] = {}
    for value in (*graph.value_info, *graph.output, *graph.input):
        kind = value.type
        # an output is often stated twice, in one place without its shape
        news = value.name not in found or kind.tensor_type.HasField("shape")
        if news and kind.WhichOneof("value") is not None:
            found[value.name] = kind
    return found


class Resolver:
    """Infers and evaluates the nodes of a model in order.

    `stated` are the types that the file states, by default as it states them.  After `run`:
    `shapes` of all names whose extents are known, `types` of all of which something is known,
    `values` of the constants that are known, and `constants`, which maps each constant to the
    constant that it is derived from.  `readers` are the nodes with the names that they read.
    Raises NetworkError naming the node or the initialiser.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        label: str,
        stated: Mapping[str, onnx.TypeProto] | None = None,
    ) -> None:
        self.model = model
        self.label = label
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.types: dict[str, onnx.TypeProto] = {}
        self.values: dict[str, Array] = {}
        self.constants: dict[str, str] = {}
        self.joined: dict[str, tuple[str, ...]] = {}  # constants made of several, by Concat
        self.unreal: set[str] = set()
        self.readers = readers_of(model.graph.node)
        self.stated = stated_types(model) if stated is None else dict(stated)
        self._tensors: dict[str, TensorProto] = {}
        self._inference = Inference(model, label)
        self._evaluated_bytes = 0
        for value in model.graph.input:
            if value.name in self.stated:
                self._note(value.name, self.stated[value.name])
        for sparse in model.graph.sparse_initializer:
            self._hold(sparse.values.name, sparse.values.data_type, tuple(sparse.dims))
        for tensor in model.graph.initializer:
            array = read_tensor(tensor, f"initialiser '{tensor.name}'", label)
            self._hold(tensor.name, tensor.data_type, tuple(tensor.dims), array)

    def run(self) -> None:
        """Infer and evaluate all nodes."""
        for reader in self.readers:
            node = reader.node
            if is_standard(node) and node.op_type == "Constant" and self._constant(node):
                continue
            if is_standard(node) and node.op_type in ("Shape", "Size") and self._measured(node):
                continue
            values = self._small_values(node)
            found = self._inference.types(reader, self.types, values)
            self._learn(node, without_windows_of_padding(node, found, self.types, self.stated))
            if all(name in self.constants for name in reader.names):
                self._evaluate(node)
        for name, kind in self.stated.items():
            if name not in self.types:
                self._note(name, kind)

    def real(self, name: str) -> bool:
        """Whether a constant holds numbers of the network rather than shapes, axes or text."""
        value = self.values.get(name)
        if value is None:
            return name not in self.unreal
        return value.dtype.kind not in "USOb" and value.dtype not in (np.int32, np.int64)

    def element_types(self) -> dict[str, int]:
        """Element types of all names whose elements are known to be no 32 or 64-bit floats."""
        elements = {name: kind.tensor_type.elem_type for name, kind in self.types.items()}
        return {
            name: element
            for name, element in elements.items()
            if element in BITS and element not in _FULL_PRECISION
        }

    def _hold(
        self, name: str, element: int, extents: tuple[int, ...], array: Array | None = None
    ) -> None:
        """Note a constant that the file itself holds."""
        self.constants[name] = name
        self._note(name, tensor_type(element, extents))
        if element in _STEERING:
            self.unreal.add(name)
        if array is not None:
            self.values[name] = array

    def _note(self, name: str, kind: onnx.TypeProto) -> None:
        self.types[name] = kind
        extents = extents_of(kind)
        check_extents(extents or (), f"'{name}' has", self.label)
        if extents is not None and None not in extents:
            self.shapes[name] = tuple(extent for extent in extents if extent is not None)

    def _learn(self, node: onnx.NodeProto, found: Mapping[str, onnx.TypeProto]) -> None:
        """Note the types of what a node writes, completed by what the file states of them."""
        for name in node.output:
            if name:
                what = f"'{name}' of {titled(node)}"
                kind = merged(found.get(name), self.stated.get(name), what, self.label)
                if kind is not None:
                    self._note(name, kind)

    def _small_values(self, node: onnx.NodeProto) -> dict[str, TensorProto]:
        """Those inputs of a node whose values may decide the shape of what it writes."""
        found = {}
        for name in node.input:
            array = self.values.get(name)
            if array is not None and array.size <= LARGEST_READ_ELEMENTS:
                if name not in self._tensors and array.dtype.kind in "iufb":
                    self._tensors[name] = numpy_helper.from_array(array)
                if name in self._tensors:
                    found[name] = self._tensors[name]
        return found

    def _constant(self, node: onnx.NodeProto) -> bool:
        """Take in a Constant node; False where it holds nothing that is understood."""
        held = held_constant(node, self.label)
        if held is None:
            return False
        name = node.output[0]
        self._learn(node, {name: tensor_type(held.element_type, held.extents)})
        self._hold(name, held.element_type, held.extents, held.array)
        return True

    def _measured(self, node: onnx.NodeProto) -> bool:
        """Evaluate Shape or Size of a known shape; False where it is unknown."""
        shape = self.shapes.get(node.input[0]) if node.input else None
        if shape is None:
            return False
        bounds = {"start": 0, "end": len(shape)}
        for attribute in node.attribute:
            if attribute.name in bounds:
                bounds[attribute.name] = attribute.i
        result = np.array(shape[bounds["start"] : bounds["end"]], np.int64)
        if node.op_type == "Size":
            result = np.array(prod(shape), np.int64)
        self._learn(node, {node.output[0]: tensor_type(TensorProto.INT64, result.shape)})
        self._give(node.output[0], result, node.output[0])
        return True

    def _source(self, node: onnx.NodeProto) -> str:
        data = [name for name in node.input if name]
        if node.op_type in ("Constant", "ConstantOfShape") or not data:
            return str(next(name for name in node.output if name))
        return self.constants[data[0]]

    def _give(self, name: str, array: Array, source: str) -> None:
        self.constants[name] = source
        known = self.shapes.get(name)
        if known is not None and known != array.shape:
            raise NetworkError(
                f"{self.label}: '{name}' has shape {array.shape}, the file states {known}"
            )
        self._evaluated_bytes += array.nbytes
        self.values[name] = array
        if known is None:
            element = (
                TensorProto.STRING
                if array.dtype.kind in "USO"
                else onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            )
            self._note(name, tensor_type(element, array.shape))

    def _evaluate(self, node: onnx.NodeProto) -> None:
        """Note a node of constants as constants, with their values where they can be known."""
        source = self._source(node)
        named = [name for name in node.output if name]
        self.joined.update(dict.fromkeys(named, self._parts(node)))
        results = self._results(node, named)
        for position, name in enumerate(named):
            if results is None:
                self.constants[name] = source
            else:
                self._give(name, results[position], source)

    def _parts(self, node: onnx.NodeProto) -> tuple[str, ...]:
        """The constants that a constant is made of: those of its data, of a Concat all."""
        data = [name for name in node.input if name]
        if node.op_type in ("Constant", "ConstantOfShape") or not data:
            return tuple(name for name in node.output if name)
        taken = data if node.op_type == "Concat" else data[:1]
        parts = (self.joined.get(name, (self.constants[name],)) for name in taken)
        return tuple(dict.fromkeys(part for each in parts for part in each))

    def _results(self, node: onnx.NodeProto, named: list[str]) -> list[Array] | None:
        if not is_standard(node) or bodies(node):
            return None
        # an extent of 0 beside a huge one makes a small result, but not small work
        sizes = [
            prod(max(extent, 1) for extent in self.shapes[name]) if name in self.shapes else None
            for name in named
        ]
        spent = self._evaluated_bytes > _LARGEST_TOTAL_BYTES
        if spent and any((size or 0) > MAXIMUM_RANK for size in sizes):
            return None
        if node.op_type == "ConstantOfShape":
            if sizes[0] is None or sizes[0] > LARGEST_READ_ELEMENTS:
                return None
            array = filled(node, self.shapes[named[0]], self.label)
            return None if array is None else [array]
        if any(name and name not in self.values for name in node.input):
            return None
        operands = [self.values[name] if name else None for name in node.input]
        found = evaluate(node, operands, attributes_of(node), sizes, self.model.opset_import)
        return found if found is not None and len(found) == len(named) else None
