"""Shapes and constants of an ONNX graph, without its weights.

Two steps alternate until nothing changes any more: shape inference over the whole graph, and
evaluation of small nodes whose inputs are all known.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.pointwise import Attribute

STANDARD_DOMAINS = ("", "ai.onnx")
_LARGEST_FOLDED_ELEMENTS = 4096

Array = npt.NDArray[np.generic]


def attributes_of(node: onnx.NodeProto) -> dict[str, Attribute]:
    """A node's attributes as plain values; graphs and tensors are left out."""
    found: dict[str, Attribute] = {}
    for attribute in node.attribute:
        kinds = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.TENSOR)
        if attribute.type in kinds or attribute.ref_attr_name:
            continue
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif isinstance(value, list | tuple):
            value = tuple(
                v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value
            )
        if isinstance(value, int | float | str | tuple):
            found[attribute.name] = value
    return found


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    if not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(dim.dim_value for dim in tensor.shape.dim)


class Resolver:
    """Alternates shape inference and constant evaluation to a fixpoint."""

    def __init__(self, model: onnx.ModelProto, label: str) -> None:
        self.model = model
        self.label = label
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.values: dict[str, Array] = {}
        self.constants: dict[str, str] = {}  # constant -> the constant it is derived from
        types = onnx.TensorProto
        steering = (types.INT32, types.INT64, types.BOOL, types.STRING)
        self.unreal = {t.name for t in model.graph.initializer if t.data_type in steering}
        for tensor in model.graph.initializer:
            self.constants[tensor.name] = tensor.name
            self.shapes[tensor.name] = tuple(tensor.dims)
            if tensor.data_location != onnx.TensorProto.EXTERNAL:
                try:
                    array = numpy_helper.to_array(tensor)
                except (ValueError, TypeError, LookupError) as error:
                    raise NetworkError(
                        f"{label}: initialiser '{tensor.name}' cannot be read: {error}"
                    ) from None
                self.values[tensor.name] = array

    def run(self) -> None:
        """Infer and fold until nothing changes."""
        while True:
            self._infer()
            if not self._fold():
                return

    def _infer(self) -> None:
        try:
            self.model = onnx.shape_inference.infer_shapes(
                self.model, data_prop=True, strict_mode=True
            )
        except Exception as error:  # a hostile file reaches many kinds of error in there
            text = " ".join(str(error).split())
            raise NetworkError(f"{self.label}: shapes contradict each other: {text}") from None
        graph = self.model.graph
        for value in (*graph.input, *graph.value_info, *graph.output):
            shape = _shape(value)
            if shape is not None:
                self.shapes.setdefault(value.name, shape)

    def _fold(self) -> bool:
        """Evaluate what is known; True when shape inference may now learn from it."""
        learned = False
        for node in self.model.graph.node:
            if not node.output or node.output[0] in self.constants:
                continue
            if node.op_type == "Shape" and node.input and node.input[0] in self.shapes:
                self._give(node.output[0], self._shape_of(node), node.output[0])
                learned = True
                continue
            if not all(name in self.constants for name in node.input if name):
                continue
            source = self._source(node)
            result = self._evaluate(node) if self._evaluable(node) else None
            if result is not None:
                for name, array in zip(node.output, result, strict=True):
                    self._give(name, array, source)
                learned = True
            else:
                for name in node.output:
                    self.constants[name] = source
                learned = learned or node.op_type == "ConstantOfShape"
        return learned

    def real(self, name: str) -> bool:
        """Whether a constant holds numbers of the network rather than shapes, axes or text."""
        value = self.values.get(name)
        if value is None:
            return name not in self.unreal
        return value.dtype.kind not in "USOb" and value.dtype not in (np.int32, np.int64)

    def _source(self, node: onnx.NodeProto) -> str:
        data = [name for name in node.input if name]
        if node.op_type in ("Constant", "ConstantOfShape") or not data:
            return str(node.output[0])
        source: str = self.constants[data[0]]
        return source

    def _give(self, name: str, array: Array, source: str) -> None:
        self.constants[name] = source
        self.values[name] = array
        if name in self.shapes and self.shapes[name] != array.shape:
            raise NetworkError(
                f"{self.label}: '{name}' has shape {array.shape}, the file states "
                f"{self.shapes[name]}"
            )
        self.shapes[name] = array.shape
        if array.size <= _LARGEST_FOLDED_ELEMENTS:
            self.model.graph.initializer.append(numpy_helper.from_array(array, name))

    def _shape_of(self, node: onnx.NodeProto) -> Array:
        attributes = attributes_of(node)
        shape = self.shapes[node.input[0]]
        start, end = attributes.get("start", 0), attributes.get("end", len(shape))
        assert isinstance(start, int)
        assert isinstance(end, int)
        return np.array(shape[start:end], np.int64)

    def _evaluable(self, node: onnx.NodeProto) -> bool:
        if node.op_type in ("If", "Loop", "Scan") or node.domain not in STANDARD_DOMAINS:
            return False
        if any(name and name not in self.values for name in node.input):
            return False
        if node.op_type == "ConstantOfShape":
            extents = self.values[node.input[0]].astype(np.int64)
            if (extents < 0).any():
                raise NetworkError(f"{self.label}: '{node.output[0]}' has a negative extent")
            self.shapes[node.output[0]] = tuple(int(extent) for extent in extents)
            return int(np.prod(extents)) <= _LARGEST_FOLDED_ELEMENTS
        sizes = [self.values[name].size for name in node.input if name]
        return sum(sizes) <= _LARGEST_FOLDED_ELEMENTS

    def _evaluate(self, node: onnx.NodeProto) -> list[Array] | None:
        feeds = {name: self.values[name] for name in node.input if name}
        single = onnx.helper.make_model(
            onnx.helper.make_graph(
                [node],
                "constant",
                [
                    onnx.helper.make_tensor_value_info(
                        name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
                    )
                    for name, array in feeds.items()
                ],
                [onnx.helper.make_empty_tensor_value_info(name) for name in node.output],
            ),
            opset_imports=self.model.opset_import,
        )
        try:
            return [np.asarray(result) for result in ReferenceEvaluator(single).run(None, feeds)]
        except Exception:  # the evaluator raises whatever numpy raises: the value stays unknown
            return None
