"""Float networks quantised after training, as tools do: ranges measured, maps and weights rounded.

Two ways to write the result.  With pairs (QDQ) every operator stays what it is, between
DequantizeLinear and QuantizeLinear.  With operators of integers (QLinear) those that ONNX or ONNX
Runtime has one for read and write integers themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from dataflow_sim.simulate.reference import evaluate_model, with_weights

Array = npt.NDArray[Any]

_KERNEL, _BIAS = 1, 2  # places of the inputs of Conv, ConvTranspose and Gemm
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm")
_ACTIVATIONS = ("Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "LeakyRelu")
# their integers are some of those that they read
_MOVING = ("Reshape", "Flatten", "Transpose", "MaxPool")
# operators of integers: name, domain
_QLINEAR = {
    **dict.fromkeys(("Conv",), ""),
    **dict.fromkeys(("Add", "Mul", "Concat", "GlobalAveragePool", "Sigmoid"), "com.microsoft"),
    **dict.fromkeys(("LeakyRelu", "Gemm"), "com.microsoft"),
}


@dataclass(frozen=True)
class Style:
    """How a network is quantised.

    `maps` and `weights` are integer types; kernels have a scale per channel or one; `every` map is
    quantised, or those alone that no activation behind their producer changes; `reach` is the part
    of a map's range that its integers cover, what is beyond it saturates.
    """

    maps: int = TensorProto.UINT8
    weights: int = TensorProto.INT8
    per_channel: bool = True
    every: bool = False
    qlinear: bool = False
    reach: float = 1.0


@dataclass(frozen=True)
class Meaning:
    """Names of a scale and of a zero point, and their values."""

    scale_name: str
    zero_name: str
    scale: Array
    zero: Array


def _bounds(kind: int) -> tuple[int, int]:
    name = TensorProto.DataType.Name(kind)
    bits = int(name.removeprefix("U").removeprefix("INT"))
    return (0, 2**bits - 1) if name.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def trained(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """The model with weights that are no whole numbers, so that sums seldom lie half-way."""
    model = with_weights(model, seed)
    generator = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        shape = tuple(tensor.dims)
        if tensor.data_type == TensorProto.FLOAT and shape:
            spread = 1.5 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.2
            values = numpy_helper.to_array(tensor)
            if len(shape) > 1 or values.min() < 1:
                values = spread * generator.standard_normal(shape)
            new = values.astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))
    return model


def with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The model with these outputs besides its own."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {value.name for value in copy.graph.output}
    for name in names:
        if name not in known:
            copy.graph.output.append(helper.make_empty_tensor_value_info(name))
    return copy


@dataclass
class _Quantiser:
    model: onnx.ModelProto
    style: Style
    ranges: Mapping[str, tuple[float, float]]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    maps: dict[str, Meaning] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict)  # maps as floats, where they are read so

    def run(self) -> onnx.ModelProto:
        given = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self.constants.update(given)
        skipped = set() if self.style.every else set(self._activated())
        for value in self.model.graph.input:
            self._quantise(value.name, value.name, self._of_map(value.name))
        for node in self.model.graph.node:
            if self.style.qlinear and self._integers(node, skipped):
                continue
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            for place, name in enumerate(node.input):
                copy.input[place] = self._read(node, place, name)
            self.nodes.append(copy)
            for name in node.output:
                if name in self.ranges and name not in skipped:
                    self._quantise(name, name, self._of_map(name))
        return self._model()

    def _activated(self) -> Iterator[str]:
        """Results of weighted nodes that an activation alone reads."""
        readers: dict[str, list[str]] = {}
        for node in self.model.graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node.op_type)
        for node in self.model.graph.node:
            after = readers.get(node.output[0], [])
            weighted = node.op_type in (*_WEIGHTED, "BatchNormalization", "Add")
            if weighted and len(after) == 1 and after[0] in (*_ACTIVATIONS, "BatchNormalization"):
                yield node.output[0]

    def _constant(self, name: str, value: Array, kind: int) -> str:
        array = np.asarray(value, helper.tensor_dtype_to_np_dtype(kind))
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def _meaning(self, name: str, scale: Array, zero: Array, kind: int) -> Meaning:
        scale = np.asarray(scale, np.float32)
        return Meaning(
            self._constant(f"{name} scale", scale, TensorProto.FLOAT),
            self._constant(f"{name} zero", zero, kind),
            scale,
            zero,
        )

    def _of_map(self, name: str) -> Meaning:
        least, greatest = _bounds(self.style.maps)
        # tools give maps of equal ranges one scale, and then many a mean lies half-way
        part = self.style.reach * (1 - crc32(name.encode()) / 2**32 / 20)
        low, high = (part * bound for bound in self.ranges[name])
        scale = np.array(max(high - low, 1e-6) / (greatest - least), np.float32)
        zero = np.clip(np.rint(least - low / scale), least, greatest)
        return self._meaning(name, scale, zero.astype(np.int64), self.style.maps)

    def _quantise(self, name: str, source: str, meaning: Meaning) -> None:
        self.maps[name] = meaning
        inputs = [source, meaning.scale_name, meaning.zero_name]
        self.nodes.append(helper.make_node("QuantizeLinear", inputs, [f"{name} q"], f"{name} q"))

    def _number(self, name: str) -> str:
        """The map as floats, dequantised once."""
        if name not in self.numbers:
            meaning = self.maps[name]
            inputs = [f"{name} q", meaning.scale_name, meaning.zero_name]
            made = helper.make_node("DequantizeLinear", inputs, [f"{name} dq"], f"{name} dq")
            self.nodes.append(made)
            self.numbers[name] = f"{name} dq"
        return self.numbers[name]

    def _read(self, node: onnx.NodeProto, place: int, name: str) -> str:
        if name in self.maps:
            return self._number(name)
        if node.op_type not in _WEIGHTED or place == 0 or name not in self.constants:
            return name
        axis = 0 if self._rows_are_outputs(node) else 1
        source, meaning = self._weights(node)
        if place == _BIAS:
            source, meaning = self._bias(node, meaning)
            axis = 0
        inputs = [source, meaning.scale_name, meaning.zero_name]
        made = helper.make_node("DequantizeLinear", inputs, [f"{source} dq"], source)
        made.attribute.append(helper.make_attribute("axis", axis if meaning.scale.ndim else 0))
        self.nodes.append(made)
        return f"{source} dq"

    @staticmethod
    def _rows_are_outputs(node: onnx.NodeProto) -> bool:
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        return node.op_type == "Conv" or turned

    def _weights(self, node: onnx.NodeProto) -> tuple[str, Meaning]:
        """The kernel as integers, symmetric about 0."""
        name = node.input[_KERNEL]
        values = numpy_helper.to_array(self.constants[name]).astype(np.float64)
        axis = 0 if self._rows_are_outputs(node) else 1
        others = tuple(a for a in range(values.ndim) if a != axis)
        channels = self.style.per_channel and node.op_type != "ConvTranspose"
        largest = np.abs(values).max(axis=others if channels else None)
        _, greatest = _bounds(self.style.weights)
        scale = np.asarray(np.maximum(largest, 1e-6) / greatest, np.float32)
        spread = [-1 if a == axis else 1 for a in range(values.ndim)]
        steps = np.rint(values / (scale.reshape(spread) if channels else scale))
        steps = np.clip(steps, -greatest, greatest)
        label = f"{name}.{node.output[0]}"
        zero = np.zeros(scale.shape, np.int64)
        source = self._constant(f"{label} q", steps, self.style.weights)
        return source, self._meaning(label, scale, zero, self.style.weights)

    def _bias(self, node: onnx.NodeProto, kernel: Meaning) -> tuple[str, Meaning]:
        """The bias in units of the products that it is added to."""
        name = node.input[_BIAS]
        scale = np.asarray(self.maps[node.input[0]].scale * kernel.scale, np.float32)
        steps = np.rint(numpy_helper.to_array(self.constants[name]) / scale)
        label = f"{name}.{node.output[0]}"
        source = self._constant(f"{label} q", steps, TensorProto.INT32)
        zero = np.zeros(scale.shape, np.int64)
        return source, self._meaning(label, scale, zero, TensorProto.INT32)

    # ---------------------------------------------------------------- operators of integers

    def _integers(self, node: onnx.NodeProto, skipped: set[str]) -> bool:
        """Write a node as an operator of integers; False where there is none."""
        result = node.output[0]
        data = [name for name in node.input if name in self.ranges]
        if any(name not in self.maps for name in data) or result in skipped:
            return False
        if node.op_type in _MOVING:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[0], copy.output[0] = f"{node.input[0]} q", f"{result} q"
            self.maps[result] = self.maps[node.input[0]]
            self.nodes.append(copy)
            return True
        if node.op_type not in _QLINEAR or (node.op_type != "Conv" and self._is_narrow()):
            return False
        own = self._of_map(result)
        ends = [own.scale_name, own.zero_name]
        inputs = [part for name in data for part in self._triple(name)]
        if node.op_type == "Concat":
            inputs = ends + inputs
        elif node.op_type in _WEIGHTED:
            source, kernel = self._weights(node)
            inputs += [source, kernel.scale_name, kernel.zero_name]
            bias = [self._bias(node, kernel)[0]] if len(node.input) > _BIAS else []
            inputs += [*ends, *bias] if node.op_type == "Conv" else [*(bias or [""]), *ends]
        else:
            inputs += ends
        op = "QGemm" if node.op_type == "Gemm" else f"QLinear{node.op_type}"
        domain = _QLINEAR[node.op_type]
        made = helper.make_node(op, inputs, [f"{result} q"], node.name, domain=domain)
        made.attribute.extend(a for a in node.attribute if a.name != "beta")
        self.nodes.append(made)
        self.maps[result] = own
        return True

    def _is_narrow(self) -> bool:
        return self.style.maps not in (TensorProto.UINT8, TensorProto.INT8)

    def _is_new(self) -> bool:
        """Whether the types are those that came with opset 21."""
        old = (TensorProto.UINT8, TensorProto.INT8)
        return not {self.style.maps, self.style.weights} <= set(old)

    def _triple(self, name: str) -> list[str]:
        return [f"{name} q", self.maps[name].scale_name, self.maps[name].zero_name]

    def _model(self) -> onnx.ModelProto:
        """The model whose outputs are the dequantised ones."""
        outputs = []
        for value in self.model.graph.output:
            if value.name in self.maps:
                outputs.append(helper.make_empty_tensor_value_info(self._number(value.name)))
            else:
                outputs.append(value)
        read = {name for node in self.nodes for name in node.input}
        graph = helper.make_graph(
            self.nodes,
            "quantised",
            list(self.model.graph.input),
            outputs,
            [tensor for name, tensor in self.constants.items() if name in read],
        )
        version = max(self.model.opset_import[0].version, 21 if self._is_new() else 0)
        opsets = [helper.make_opsetid("", version), helper.make_opsetid("com.microsoft", 1)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=self.model.ir_version)
        return onnx.shape_inference.infer_shapes(made)


def quantised(model: onnx.ModelProto, feeds: Mapping[str, Array], style: Style) -> onnx.ModelProto:
    """A float model with weights, quantised for inputs like those given."""
    names = [name for node in model.graph.node for name in node.output]
    found = {**feeds, **evaluate_model(with_outputs(model, names), feeds)[1]}
    ranges = {
        name: (min(float(value.min()), 0.0), max(float(value.max()), 0.0))
        for name, value in found.items()
        if value.dtype == np.float32
    }
    return _Quantiser(model, style, ranges).run()
