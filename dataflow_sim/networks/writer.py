"""Write an ONNX model node by node, with the shape of every value known as it is made.

Learned constants are initialisers that point to external data which does not exist: shapes
and operators only.  Shapes are those of ONNX's own inference, node by node.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper
from onnx.shape_inference import infer_node_outputs

OPSET = 20
_IR_VERSION = 9
WEIGHTS_FILE = "weights_not_included.bin"
_OPSETS = [helper.make_opsetid("", OPSET)]

Attribute = int | float | str | Sequence[int] | Sequence[float]


class ModelWriter:
    """Appends nodes to a model; every method returns the name of the value it makes."""

    def __init__(self, name: str, input_shape: Sequence[int] | None = None) -> None:
        self.name = name
        self._inputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: list[onnx.TensorProto] = []
        self._types: dict[str, onnx.TypeProto] = {}
        self._constants: dict[str, onnx.TensorProto] = {}
        if input_shape is not None:
            self.input("input", input_shape)

    def shape(self, value: str) -> tuple[int, ...]:
        """Shape of a value."""
        return tuple(dim.dim_value for dim in self._types[value].tensor_type.shape.dim)

    def channels(self, value: str) -> int:
        """Channels of a value: its second axis."""
        return self.shape(value)[1]

    def input(self, name: str, shape: Sequence[int], data_type: int = TensorProto.FLOAT) -> str:
        """An input of the network."""
        info = helper.make_tensor_value_info(name, data_type, shape)
        self._inputs.append(info)
        self._types[name] = info.type
        return name

    def weight(self, name: str, shape: Sequence[int]) -> str:
        """A learned constant, of float32, without its data."""
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=WEIGHTS_FILE)
        self._initialisers.append(tensor)
        self._types[name] = helper.make_tensor_type_proto(TensorProto.FLOAT, shape)
        return name

    def constant(self, name: str, values: ArrayLike, kind: type[np.generic] = np.float32) -> str:
        """A constant that is part of the operator set's way to say things, such as a shape."""
        array = np.asarray(values, kind)
        tensor = numpy_helper.from_array(array, name)
        self._initialisers.append(tensor)
        self._constants[name] = tensor
        self._types[name] = helper.make_tensor_type_proto(tensor.data_type, array.shape)
        return name

    def whole_numbers(self, name: str, values: Sequence[int]) -> str:
        """A constant of int64 in one dimension, as shapes and axes are given."""
        return self.constant(name, values, np.int64)

    def node(
        self,
        op: str,
        name: str,
        inputs: Sequence[str],
        *,
        shape: Sequence[int] | None = None,
        **attributes: Attribute,
    ) -> str:
        """Append a node of one result; `shape` is for operators that ONNX cannot infer."""
        return self.nodes(op, [name], inputs, shape=shape, **attributes)[0]

    def nodes(
        self,
        op: str,
        names: Sequence[str],
        inputs: Sequence[str],
        *,
        shape: Sequence[int] | None = None,
        **attributes: Attribute,
    ) -> list[str]:
        """Append a node of several results, called after the first of them."""
        node = helper.make_node(op, inputs, names, name=names[0])
        for key, value in attributes.items():
            node.attribute.append(helper.make_attribute(key, value))
        self._nodes.append(node)
        if shape is not None:
            typed = helper.make_tensor_type_proto(TensorProto.FLOAT, shape)
            self._types.update(dict.fromkeys(names, typed))
        else:
            self._types.update(self._inferred(node))
        return list(names)

    def _inferred(self, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
        given = [name for name in node.input if name]
        return infer_node_outputs(
            onnx.defs.get_schema(node.op_type, OPSET),
            node,
            {name: self._types[name] for name in given},
            {name: self._constants[name] for name in given if name in self._constants},
            opset_imports=_OPSETS,
            ir_version=_IR_VERSION,
        )

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The model that gives these values."""
        results = [onnx.ValueInfoProto(name=name, type=self._types[name]) for name in outputs]
        graph = helper.make_graph(self._nodes, self.name, self._inputs, results, self._initialisers)
        return helper.make_model(
            graph, opset_imports=_OPSETS, ir_version=_IR_VERSION, producer_name="dataflow_sim"
        )


Shapes = tuple[tuple[str, tuple[int, ...]], ...]


def input_shapes(model: onnx.ModelProto) -> Shapes:
    """Names and shapes of a model's inputs."""
    return _shapes(model.graph.input)


def output_shapes(model: onnx.ModelProto) -> Shapes:
    """Names and shapes of a model's outputs."""
    return _shapes(model.graph.output)


def _shapes(values: Iterable[onnx.ValueInfoProto]) -> Shapes:
    return tuple(
        (value.name, tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim))
        for value in values
    )
