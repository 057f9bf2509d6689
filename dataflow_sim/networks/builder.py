"""Write networks as ONNX models without weights: shapes and operators only.

Weights are initialisers that point to external data which does not exist; the reader
never opens it.  Names follow the blocks, so that results read like the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

_OPSET = 17
_IR_VERSION = 8
_NO_WEIGHTS = "weights_not_included.bin"


class OnnxBuilder:
    """Appends nodes to a model; every method returns the name of the value it makes."""

    def __init__(self, name: str, input_shape: Sequence[int]) -> None:
        self.name = name
        self._input = helper.make_tensor_value_info("input", TensorProto.FLOAT, input_shape)
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: list[onnx.TensorProto] = []
        self._channels = {"input": input_shape[1]}

    def channels(self, value: str) -> int:
        """Channels of a value."""
        return self._channels[value]

    def _weight(self, name: str, shape: Sequence[int]) -> str:
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=_NO_WEIGHTS)
        self._initialisers.append(tensor)
        return name

    def node(
        self,
        op: str,
        name: str,
        inputs: Sequence[str],
        channels: int,
        **attributes: int | float | str | list[int],
    ) -> str:
        """Append any node; `channels` are those of its result."""
        node = helper.make_node(op, inputs, [name], name=name)
        for key, value in attributes.items():
            node.attribute.append(helper.make_attribute(key, value))
        self._nodes.append(node)
        self._channels[name] = channels
        return name

    def convolution(
        self,
        name: str,
        value: str,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> str:
        """A convolution padded so that stride 1 keeps the size."""
        shape = (channels, self.channels(value) // groups, kernel, kernel)
        inputs = [value, self._weight(f"{name}.weight", shape)]
        if bias:
            inputs.append(self._weight(f"{name}.bias", (channels,)))
        return self.node(
            "Conv",
            name,
            inputs,
            channels,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=groups,
        )

    def batch_norm(self, name: str, value: str) -> str:
        """Batch normalisation with learned scale and shift and stored statistics."""
        channels = self.channels(value)
        parts = ("scale", "shift", "mean", "variance")
        inputs = [value, *(self._weight(f"{name}.{part}", (channels,)) for part in parts)]
        return self.node("BatchNormalization", name, inputs, channels)

    def activation(self, name: str, value: str, op: str = "Relu") -> str:
        """ReLU, or `op` of one input; `Relu6` clips at 6."""
        if op != "Relu6":
            return self.node(op, name, [value], self.channels(value))
        limits = []
        for suffix, number in (("low", 0.0), ("high", 6.0)):
            limit = helper.make_tensor(f"{name}.{suffix}", TensorProto.FLOAT, (), [number])
            self._initialisers.append(limit)
            limits.append(limit.name)
        return self.node("Clip", name, [value, *limits], self.channels(value))

    def pool(self, op: str, name: str, value: str, kernel: int, stride: int, pad: int = 0) -> str:
        """MaxPool or AveragePool."""
        return self.node(
            op,
            name,
            [value],
            self.channels(value),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
        )

    def add(self, name: str, left: str, right: str) -> str:
        """Residual add."""
        return self.node("Add", name, [left, right], self.channels(left))

    def concat(self, name: str, values: Sequence[str]) -> str:
        """Concatenation along channels."""
        total = sum(self.channels(value) for value in values)
        return self.node("Concat", name, values, total, axis=1)

    def global_average_pool(self, name: str, value: str) -> str:
        """Mean over the plane."""
        return self.node("GlobalAveragePool", name, [value], self.channels(value))

    def fully_connected(self, name: str, value: str, inputs: int, outputs: int) -> str:
        """Flatten, then a matrix product with bias; `inputs` counts the flattened elements."""
        flat = self.node("Flatten", f"{name}.flatten", [value], inputs)
        weight = self._weight(f"{name}.weight", (outputs, inputs))
        bias = self._weight(f"{name}.bias", (outputs,))
        return self.node("Gemm", name, [flat, weight, bias], outputs, transB=1)

    def model(self, output: str) -> onnx.ModelProto:
        """The model whose only output is the given value."""
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(
            self._nodes, self.name, [self._input], [result], self._initialisers
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="dataflow_sim"
        )
