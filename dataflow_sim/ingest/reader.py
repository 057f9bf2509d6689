"""Read an ONNX file into resolved nodes: every shape known, every constant found.

The weights are never read (a 30 GB model is opened like a small one): external data
stays external, and shape arithmetic needs none of it.  Two steps alternate until nothing
changes any more: shape inference over the whole graph, and evaluation of small nodes
whose inputs are all known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.network import Constant
from dataflow_sim.graph.pointwise import Attribute

_LARGEST_FOLDED_ELEMENTS = 4096
_MAXIMUM_DIMENSION = 2**31 - 1

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Node:
    """One ONNX node; `inputs` holds "" where an optional input is left out."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True)
class ResolvedNetwork:
    """Nodes that compute feature maps, in execution order, with all shapes and constants.

    `opset` is the version of the standard operator set; `sources` maps each constant to the
    learned constant that it is derived from.
    """

    name: str
    opset: int
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, Constant]
    sources: Mapping[str, str]


def load_model(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file without its external data.  Raises NetworkError if it is none."""
    if not path.exists():
        raise NetworkError(f"network file '{path}' does not exist; give an .onnx file or a name")
    if path.is_dir():
        raise NetworkError(f"'{path}' is a directory; give the .onnx file inside it")
    try:
        model = onnx.load(path, load_external_data=False, format="protobuf")
    except (DecodeError, UnicodeDecodeError) as error:
        raise NetworkError(f"'{path}' is not an ONNX file: {error}") from None
    except OSError as error:
        raise NetworkError(f"'{path}' cannot be read: {error.strerror}") from None
    if not model.HasField("graph") or not model.graph.node:
        raise NetworkError(f"'{path}' is not an ONNX file: it holds no graph with nodes")
    if not model.opset_import:
        raise NetworkError(f"'{path}' is not an ONNX file: it imports no operator set")
    return model


def _attributes(node: onnx.NodeProto) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {}
    for attribute in node.attribute:
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.TENSOR):
            continue
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif isinstance(value, list | tuple):
            value = tuple(value)
        if isinstance(value, int | float | str | tuple):
            found[attribute.name] = value
    return found


def _bind_dimensions(model: onnx.ModelProto, bindings: Mapping[str, int], label: str) -> None:
    """Replace symbolic input dimensions by numbers, in place; report all unbound at once."""
    initialised = {tensor.name for tensor in model.graph.initializer}
    used: set[str] = set()
    unbound: list[str] = []
    for value in model.graph.input:
        if value.name in initialised:
            continue
        for position, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value"):
                if not 0 < dim.dim_value <= _MAXIMUM_DIMENSION:
                    raise NetworkError(
                        f"{label}: input '{value.name}' has the extent {dim.dim_value} on axis "
                        f"{position}; an extent is 1 to {_MAXIMUM_DIMENSION}"
                    )
            elif dim.dim_param in bindings:
                used.add(dim.dim_param)
                dim.dim_value = bindings[dim.dim_param]
            else:
                unbound.append(f"'{dim.dim_param or '?'}' (axis {position} of '{value.name}')")
    if unbound:
        raise NetworkError(
            f"{label}: unbound dimensions {', '.join(unbound)}; give each with --dim NAME=VALUE"
        )
    for name in sorted(set(bindings) - used):
        raise NetworkError(f"{label}: no input has a dimension named '{name}' (--dim)")
    if used:
        del model.graph.value_info[:]


def _check_graph(model: onnx.ModelProto, label: str) -> None:
    """Every value is written once, and before it is read."""
    known = {tensor.name for tensor in model.graph.initializer}
    known |= {value.name for value in model.graph.input} | {""}
    for node in model.graph.node:
        what = f"node '{node.name or node.output[0] if node.output else node.op_type}'"
        for name in node.input:
            if name not in known:
                raise NetworkError(
                    f"{label}: {what} ({node.op_type}) reads '{name}', which no earlier node, "
                    "input or initialiser gives; the graph is cyclic, unsorted or cut"
                )
        for name in node.output:
            if name and name in known:
                raise NetworkError(f"{label}: {what} ({node.op_type}) writes '{name}' again")
            known.add(name)
    for value in model.graph.output:
        if value.name not in known:
            raise NetworkError(f"{label}: no node writes the output '{value.name}'")


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    if not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(dim.dim_value for dim in tensor.shape.dim)


class _Resolver:
    """Alternates shape inference and constant evaluation to a fixpoint."""

    def __init__(self, model: onnx.ModelProto, label: str) -> None:
        self.model = model
        self.label = label
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.values: dict[str, Array] = {}
        self.constants: dict[str, str] = {}  # constant -> the constant it is derived from
        for tensor in model.graph.initializer:
            self.constants[tensor.name] = tensor.name
            self.shapes[tensor.name] = tuple(tensor.dims)
            if tensor.data_location != onnx.TensorProto.EXTERNAL:
                try:
                    array = numpy_helper.to_array(tensor)
                except ValueError as error:
                    raise NetworkError(f"{label}: initialiser '{tensor.name}': {error}") from None
                self.values[tensor.name] = array

    def run(self) -> None:
        while True:
            self._infer()
            if not self._fold():
                return

    def _infer(self) -> None:
        try:
            self.model = onnx.shape_inference.infer_shapes(self.model, data_prop=True)
        except (onnx.shape_inference.InferenceError, RuntimeError) as error:
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
            if node.op_type == "Shape" and node.input[0] in self.shapes:
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
        attributes = _attributes(node)
        shape = self.shapes[node.input[0]]
        start, end = attributes.get("start", 0), attributes.get("end", len(shape))
        assert isinstance(start, int)
        assert isinstance(end, int)
        return np.array(shape[start:end], np.int64)

    def _evaluable(self, node: onnx.NodeProto) -> bool:
        if node.op_type in ("If", "Loop", "Scan") or node.domain not in ("", "ai.onnx"):
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


def _live_nodes(resolver: _Resolver) -> list[onnx.NodeProto]:
    """Nodes that compute no constant and reach an output."""
    graph = resolver.model.graph
    wanted = {value.name for value in graph.output}
    live = []
    for node in reversed(graph.node):
        if any(name in wanted for name in node.output) and not all(
            name in resolver.constants for name in node.output if name
        ):
            live.append(node)
            wanted.update(node.input)
    return live[::-1]


def resolve(model: onnx.ModelProto, label: str, dims: Mapping[str, int]) -> ResolvedNetwork:
    """Bind dimensions, infer all shapes, separate constants from feature maps.

    Raises NetworkError naming the node when the graph is malformed or a shape stays
    unknown.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _check_graph(copy, label)
    _bind_dimensions(copy, dims, label)
    resolver = _Resolver(copy, label)
    resolver.run()
    live = _live_nodes(resolver)
    read = {name for node in live for name in node.input}
    nodes = []
    for node in live:
        for name in node.output:
            if name and name not in resolver.shapes and (name in read or name == node.output[0]):
                raise NetworkError(
                    f"{label}: the shape of '{name}', written by node "
                    f"'{node.name or node.output[0]}' ({node.op_type}), depends on data"
                )
        outputs = tuple(name for name in node.output if name in resolver.shapes)
        nodes.append(
            Node(
                node.name or node.output[0],
                node.op_type,
                tuple(node.input),
                outputs,
                _attributes(node),
            )
        )
    inputs = tuple(
        value.name
        for value in model.graph.input
        if value.name not in resolver.constants and value.name in read
    )
    return ResolvedNetwork(
        name=label,
        opset=max(
            (o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1
        ),
        nodes=tuple(nodes),
        inputs=inputs,
        outputs=tuple(value.name for value in model.graph.output),
        shapes=resolver.shapes,
        constants={
            name: Constant(name, resolver.shapes[name], resolver.values.get(name))
            for name in resolver.constants
            if name in resolver.shapes
        },
        sources=resolver.constants,
    )
