"""Element types and extents of values, node by node, by ONNX's own inference.

A definition needs to know little of the values that a node reads: their element type, how many
axes they have, sometimes an extent.  Inference of the whole graph cannot tell, since it stops
at the first operator that ONNX does not define; but those are defined one after the other.
"""

from __future__ import annotations

import onnx

from dataflow_sim.ingest.file.nodes import is_standard

_STEERING = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
_LARGEST_SHAPE = 64
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


class Facts:
    """What is known of the values of a graph, and of the graphs around it.

    Values that the file states nothing of and inference does not reach count as 32-bit floats
    of unknown shape.
    """

    def __init__(self, opset: int, outer: Facts | None = None) -> None:
        self.opset = opset
        self.outer = outer
        self.types: dict[str, onnx.TypeProto] = {}
        self.tensors: dict[str, onnx.TensorProto] = {}

    def enter(self, graph: onnx.GraphProto) -> None:
        """Note what the graph itself states of its values."""
        for value in (*graph.input, *graph.value_info, *graph.output):
            if value.type.HasField("tensor_type"):
                self.types[value.name] = value.type
        for tensor in graph.initializer:
            self.hold(tensor)

    def hold(self, tensor: onnx.TensorProto, name: str = "") -> None:
        """Note a constant; under its own name unless another is given."""
        self.tensors[name or tensor.name] = tensor
        self.types[name or tensor.name] = onnx.helper.make_tensor_type_proto(
            tensor.data_type, list(tensor.dims)
        )

    def learn(self, node: onnx.NodeProto) -> None:
        """Infer what the node writes, as far as the file does not state it."""
        for name, kind in self._inferred(node).items():
            known = self.types.get(name)
            if known is None or not known.tensor_type.HasField("shape"):
                self.types[name] = kind
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name == "value":
                    self.hold(attribute.t, node.output[0])

    def _inferred(self, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
        if not is_standard(node):
            return self._like_first_float(node)
        read = [name for name in node.input if name]
        known = {name: self._type(name) for name in read}
        data = {name: tensor for name in read if (tensor := self._small(name)) is not None}
        try:
            schema = onnx.defs.get_schema(node.op_type, self.opset, "")
            found: dict[str, onnx.TypeProto] = onnx.shape_inference.infer_node_outputs(
                schema, node, known, data, opset_imports=[onnx.helper.make_opsetid("", self.opset)]
            )
        except Exception:  # whatever does not fit here is reported later, by name
            return self._like_first_float(node)
        return found

    def _like_first_float(self, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
        for name in node.input:
            if name and self.element_type(name) in _FLOATS:
                kind = onnx.helper.make_tensor_type_proto(self.element_type(name), None)
                return {output: kind for output in node.output if output}
        return {}

    def _type(self, name: str) -> onnx.TypeProto:
        found = self._lookup(name)
        return found or onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)

    def _lookup(self, name: str) -> onnx.TypeProto | None:
        scope: Facts | None = self
        while scope is not None:
            if name in scope.types:
                return scope.types[name]
            scope = scope.outer
        return None

    def _small(self, name: str) -> onnx.TensorProto | None:
        """A constant that may say a shape."""
        tensor = self.tensor(name)
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        elements = 1
        for extent in tensor.dims:
            elements *= extent
        return tensor if tensor.data_type in _STEERING and elements <= _LARGEST_SHAPE else None

    def tensor(self, name: str) -> onnx.TensorProto | None:
        """The tensor of a constant that the file holds or a definition brought."""
        scope: Facts | None = self
        while scope is not None:
            if name in scope.tensors:
                return scope.tensors[name]
            scope = scope.outer
        return None

    def element_type(self, name: str) -> int:
        """Element type of a value, as ONNX numbers them; 32-bit float where nothing tells."""
        kind = int(self._type(name).tensor_type.elem_type)
        return kind or int(onnx.TensorProto.FLOAT)

    def rank(self, name: str) -> int | None:
        """How many axes a value has, if known."""
        tensor = self._type(name).tensor_type
        return len(tensor.shape.dim) if tensor.HasField("shape") else None

    def extent(self, name: str, axis: int) -> int | None:
        """Extent of a value along an axis, if it is known as a number."""
        rank = self.rank(name)
        if rank is None or not -rank <= axis < rank:
            return None
        dim = self._type(name).tensor_type.shape.dim[axis % rank]
        return int(dim.dim_value) if dim.HasField("dim_value") else None
