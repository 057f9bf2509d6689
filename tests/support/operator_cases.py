"""One network for each operator of the registry: its inputs, what it computes and moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = tuple[int, ...]
FLOAT, INTEGER, BOOLEAN = int(TensorProto.FLOAT), int(TensorProto.INT64), int(TensorProto.BOOL)
UINT8 = int(TensorProto.UINT8)
_BYTES = {FLOAT: 1, INTEGER: 8, BOOLEAN: 1, UINT8: 1}


@dataclass(frozen=True)
class Given:
    """An input: a map of the network, or a constant with its values."""

    shape: Shape
    kind: int = FLOAT
    values: tuple[float, ...] | None = None
    constant: bool = False


def maps(*shape: int) -> Given:
    """A map of floats."""
    return Given(shape)


def indices(*shape: int) -> Given:
    """A map of 64-bit integers."""
    return Given(shape, INTEGER)


def flags(*shape: int) -> Given:
    """A map of truth values."""
    return Given(shape, BOOLEAN)


def small(*shape: int) -> Given:
    """A map of bytes."""
    return Given(shape, UINT8)


def weight(*shape: int) -> Given:
    """A learned constant."""
    return Given(shape, constant=True)


def ints(*values: int) -> Given:
    """A list of integers that steers the operator."""
    return Given((len(values),), INTEGER, values, constant=True)


def number(value: float, kind: int = FLOAT) -> Given:
    """A constant of one value."""
    return Given((), kind, (value,), constant=True)


def floats(*values: float) -> Given:
    """A list of numbers that steers the operator."""
    return Given((len(values),), FLOAT, values, constant=True)


@dataclass(frozen=True)
class OperatorCase:
    """An operator in a network of its own: MACs, and DRAM bytes at 8 bit in a large memory.

    `bytes` None: every input once, except what only steers, and every output once.
    """

    op: str
    inputs: Sequence[Given | None]
    macs: int = 0
    bytes: int | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 23

    def model(self) -> onnx.ModelProto:
        """The network: one node `n`, inputs i0, i1, ... and outputs o0, o1, ..."""
        names, values, initialisers = [], [], []
        for place, each in enumerate(self.inputs):
            names.append("" if each is None else f"i{place}")
            if each is None:
                continue
            if not each.constant:
                values.append(helper.make_tensor_value_info(f"i{place}", each.kind, each.shape))
                continue
            kind = helper.tensor_dtype_to_np_dtype(each.kind)
            array = np.ones(each.shape) if each.values is None else np.array(each.values)
            array = array.reshape(each.shape).astype(kind)
            initialisers.append(numpy_helper.from_array(array, f"i{place}"))
        results = [f"o{place}" for place in range(self.outputs)]
        made = helper.make_node(self.op, names, results, name="n", **self.attributes)  # type: ignore[arg-type]  # attributes of any kind
        infos = [helper.make_tensor_value_info(name, FLOAT, None) for name in results]
        for info in infos:
            info.type.tensor_type.ClearField("elem_type")
        graph = helper.make_graph([made], self.op, values, infos, initialisers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])

    def expected_bytes(self, output_bytes: int) -> int:
        """Inputs once, learned constants once, outputs once."""
        if self.bytes is not None:
            return self.bytes
        read = sum(
            prod(each.shape) * _BYTES[each.kind]
            for each in self.inputs
            if each is not None and (not each.constant or each.values is None)
        )
        return read + output_bytes


X = maps(1, 4, 6, 6)
_UNARY = (
    *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh"),
    *("Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "IsInf", "IsNaN"),
    *("LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Shrink"),
    *("Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh"),
    "ThresholdedRelu",
)
_BINARY = ("Add", "Div", "Max", "Mean", "Min", "Mul", "Pow", "Sub", "Sum", "Mod")
_COMPARE = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
_REDUCE = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
_SAME = ("Identity", "Flatten", "Dropout")

CASES: tuple[OperatorCase, ...] = (
    # matrix arithmetic
    OperatorCase("Conv", [X, weight(8, 4, 3, 3)], 8 * 4 * 4 * 36),
    OperatorCase("Conv", [X, weight(8, 2, 3, 3)], 8 * 4 * 4 * 18, attributes={"group": 2}),
    OperatorCase("Conv", [X, weight(8, 4, 3, 3)], 8 * 2 * 2 * 36, attributes={"dilations": [2, 2]}),
    OperatorCase("Conv", [maps(2, 3, 10), weight(5, 3, 4)], 2 * 5 * 7 * 12),
    OperatorCase("Conv", [maps(1, 3, 5, 6, 7), weight(4, 3, 3, 3, 3)], 4 * 3 * 4 * 5 * 81),
    OperatorCase("Conv", [X, maps(8, 4, 3, 3)], 8 * 4 * 4 * 36),
    OperatorCase(
        "ConvTranspose",
        [X, weight(4, 5, 2, 2)],
        4 * 36 * 20,
        attributes={"strides": [2, 2]},
    ),
    OperatorCase("DeformConv", [X, weight(8, 4, 3, 3), maps(1, 18, 4, 4)], 8 * 4 * 4 * 36),
    OperatorCase("ConvInteger", [small(1, 4, 6, 6), small(8, 4, 3, 3)], 8 * 4 * 4 * 36),
    OperatorCase("Gemm", [maps(3, 7), weight(7, 5)], 3 * 7 * 5),
    OperatorCase("Gemm", [maps(7, 3), weight(7, 5)], 3 * 7 * 5, attributes={"transA": 1}),
    OperatorCase("MatMul", [maps(2, 3, 7), weight(7, 5)], 2 * 3 * 7 * 5),
    OperatorCase("MatMul", [maps(2, 4, 3, 7), maps(2, 4, 7, 5)], 8 * 3 * 7 * 5),
    OperatorCase("MatMul", [weight(3, 7), maps(2, 7, 5)], 2 * 3 * 7 * 5),
    OperatorCase("MatMulInteger", [small(3, 7), small(7, 5)], 3 * 7 * 5),
    OperatorCase("Attention", [maps(1, 4, 6, 8), maps(1, 2, 9, 8), maps(1, 2, 9, 5)], 24 * 9 * 13),
    OperatorCase(
        "Attention",
        [maps(1, 6, 32), maps(1, 9, 16), maps(1, 9, 10)],
        24 * 9 * 13,
        attributes={"q_num_heads": 4, "kv_num_heads": 2},
    ),
    OperatorCase(
        "Einsum",
        [maps(2, 3, 4), maps(2, 4, 5)],
        2 * 3 * 4 * 5,
        attributes={"equation": "bij,bjk->bik"},
    ),
    OperatorCase(
        "LSTM",
        [maps(5, 2, 3), weight(1, 16, 3), weight(1, 16, 4)],
        10 * 16 * 7,
        attributes={"hidden_size": 4},
    ),
    OperatorCase(
        "GRU",
        [maps(5, 2, 3), weight(2, 12, 3), weight(2, 12, 4)],
        10 * 2 * 12 * 7,
        attributes={"hidden_size": 4, "direction": "bidirectional"},
    ),
    OperatorCase(
        "RNN",
        [maps(5, 2, 3), weight(1, 4, 3), weight(1, 4, 4)],
        10 * 4 * 7,
        attributes={"hidden_size": 4},
    ),
    OperatorCase(
        "ConvTranspose",
        [X, weight(4, 5, 2, 2), weight(5)],
        36 * 4 * 20,
        bytes=144 + 80 + 5 * 4 + 5 * 49,
    ),
    OperatorCase(
        "Conv",
        [maps(1, 3, 5, 6, 7), weight(4, 3, 3, 3, 3), weight(4)],
        4 * 60 * 81,
        bytes=630 + 324 + 4 * 4 + 240,
    ),
    OperatorCase(
        "LSTM",
        [maps(5, 2, 3), weight(1, 16, 3), weight(1, 16, 4), weight(1, 32)],
        10 * 16 * 7,
        bytes=30 + 48 + 64 + 32 * 4 + 40,
        attributes={"hidden_size": 4},
    ),
    # pooling and reductions
    *(
        OperatorCase(op, [X], attributes={"kernel_shape": [2, 2], "strides": [2, 2]})
        for op in ("MaxPool", "AveragePool", "LpPool")
    ),
    OperatorCase(
        "MaxPool",
        [X],
        bytes=144 + 36 + 8 * 36,
        outputs=2,
        attributes={"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
    *(OperatorCase(op, [X]) for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")),
    *(OperatorCase(op, [X, ints(*axes)]) for op in _REDUCE for axes in ((1,), (2, 3), (0, 3))),
    *(
        OperatorCase(op, [X], bytes=144 + 8 * 36, attributes={"axis": 1})
        for op in ("ArgMax", "ArgMin")
    ),
    *(OperatorCase(op, [X, number(1, INTEGER)]) for op in ("CumSum",)),
    OperatorCase("CumProd", [X, number(1, INTEGER)], opset=26),
    OperatorCase("TopK", [maps(1, 50), ints(5)], bytes=50 + 5 + 40, outputs=2),
    OperatorCase(
        "MaxUnpool",
        [maps(1, 1, 2, 2), indices(1, 1, 2, 2)],
        attributes={"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
    OperatorCase(
        "RoiAlign", [X, maps(3, 4), indices(3)], attributes={"output_height": 2, "output_width": 2}
    ),
    OperatorCase("MaxRoiPool", [X, maps(3, 5)], attributes={"pooled_shape": [2, 2]}),
    # normalisations
    *(
        OperatorCase(op, [maps(1, 6, 8)], attributes={"axis": -1})
        for op in ("Softmax", "LogSoftmax", "Hardmax")
    ),
    OperatorCase("Softmax", [X], attributes={"axis": 2}),
    OperatorCase("LRN", [X], attributes={"size": 3}),
    OperatorCase(
        "LayerNormalization", [maps(1, 6, 8), weight(8), weight(8)], bytes=48 + 48 + 2 * 8 * 4
    ),
    OperatorCase("RMSNormalization", [maps(1, 6, 8), weight(8)], bytes=48 + 48 + 8 * 4),
    OperatorCase("InstanceNormalization", [X, weight(4), weight(4)], bytes=144 + 144 + 8 * 4),
    OperatorCase(
        "GroupNormalization",
        [X, weight(4), weight(4)],
        bytes=144 + 144 + 8 * 4,
        attributes={"num_groups": 2},
    ),
    OperatorCase("MeanVarianceNormalization", [X], opset=17),
    OperatorCase("LpNormalization", [X]),
    # elementwise
    *(OperatorCase(op, [X]) for op in _UNARY),
    OperatorCase("Swish", [X], opset=24),
    OperatorCase("Clip", [X, number(0.0), number(6.0)]),
    *(OperatorCase(op, [X, X]) for op in _BINARY if op != "Mod"),
    OperatorCase("Mod", [X, X], attributes={"fmod": 1}),
    OperatorCase("Add", [maps(1, 6, 8), weight(1, 6, 8)]),
    OperatorCase("Mul", [X, weight(4, 1, 1)], bytes=144 + 144 + 4 * 4),
    *(OperatorCase(op, [X, X]) for op in _COMPARE),
    *(OperatorCase(op, [flags(1, 4, 6), flags(1, 4, 6)]) for op in ("And", "Or", "Xor")),
    OperatorCase("Not", [flags(1, 4, 6)]),
    *(
        OperatorCase(op, [small(1, 4, 6), small(1, 4, 6)])
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
    ),
    OperatorCase("BitwiseNot", [small(1, 4, 6)]),
    OperatorCase("BitShift", [small(1, 4, 6), small(1, 4, 6)], attributes={"direction": "LEFT"}),
    OperatorCase("PRelu", [X, weight(4, 1, 1)], bytes=144 + 144 + 4 * 4),
    OperatorCase(
        "BatchNormalization", [X, *(weight(4) for _ in range(4))], bytes=144 + 144 + 2 * 4 * 4
    ),
    OperatorCase("Where", [flags(1, 4, 6), maps(1, 4, 6), maps(1, 4, 6)]),
    # views and data movement
    *(OperatorCase(op, [X]) for op in _SAME),
    OperatorCase("Reshape", [X, ints(1, 12, 12)]),
    OperatorCase("Squeeze", [maps(1, 4, 6), ints(0)]),
    OperatorCase("Unsqueeze", [maps(4, 6), ints(0)]),
    OperatorCase("Cast", [X], attributes={"to": FLOAT}),
    OperatorCase("CastLike", [X, number(0.0)]),
    OperatorCase("Transpose", [X], attributes={"perm": [0, 2, 3, 1]}),
    OperatorCase("Expand", [maps(1, 4, 1, 6), ints(1, 4, 5, 6)]),
    OperatorCase("Concat", [X, maps(1, 3, 6, 6)], attributes={"axis": 1}),
    OperatorCase("Concat", [X, maps(1, 4, 2, 6)], attributes={"axis": 2}),
    OperatorCase("Split", [X, ints(1, 3)], attributes={"axis": 1}, outputs=2),
    OperatorCase("Split", [X, ints(2, 4)], attributes={"axis": 2}, outputs=2),
    OperatorCase("Slice", [X, ints(1), ints(3), ints(1)], bytes=72 + 72),
    OperatorCase("Slice", [X, ints(1), ints(6), ints(2), ints(2)], bytes=72 + 72),
    OperatorCase("Slice", [X, ints(1, 2), ints(6, 5), ints(2, 3)]),
    OperatorCase("Gather", [weight(100, 8), indices(1, 5)], bytes=5 * 8 + 5 * 8 + 5 * 8),
    OperatorCase("Gather", [weight(4, 8), indices(1, 5)], bytes=4 * 8 + 5 * 8 + 5 * 8),
    OperatorCase(
        "Gather", [maps(1, 7, 8), number(0, INTEGER)], bytes=8 + 8, attributes={"axis": 1}
    ),
    OperatorCase("Resize", [X, None, floats(1, 1, 2, 2)]),
    OperatorCase("Upsample", [X, floats(1, 1, 2, 2)], opset=9),
    OperatorCase("Pad", [X, ints(0, 0, 1, 1, 0, 0, 1, 1)]),
    OperatorCase("Tile", [X, ints(1, 1, 2, 1)]),
    OperatorCase("DepthToSpace", [X], attributes={"blocksize": 2}),
    OperatorCase("SpaceToDepth", [X], attributes={"blocksize": 2}),
    OperatorCase("CenterCropPad", [X, ints(1, 4, 4, 4)]),
    OperatorCase("Trilu", [maps(1, 6, 6)]),
    OperatorCase("ReverseSequence", [maps(5, 2), Given((2,), INTEGER, (5, 3), constant=True)]),
    OperatorCase("OneHot", [indices(5), number(10, INTEGER), floats(0, 1)]),
    OperatorCase("EyeLike", [maps(5, 5)]),
    OperatorCase("Col2Im", [maps(1, 20, 16), ints(5, 5), ints(2, 2)]),
    OperatorCase("GatherElements", [maps(3, 4), indices(3, 4)]),
    OperatorCase("GatherND", [maps(3, 4), indices(2, 1)]),
    OperatorCase("ScatterElements", [maps(3, 4), indices(2, 4), maps(2, 4)]),
    OperatorCase("ScatterND", [maps(3, 4), indices(2, 1), maps(2, 4)]),
    OperatorCase("Scatter", [maps(3, 4), indices(2, 4), maps(2, 4)], opset=10),
    OperatorCase("GridSample", [X, maps(1, 3, 5, 2)]),
    OperatorCase("AffineGrid", [maps(1, 2, 3), ints(1, 4, 5, 6)]),
    OperatorCase("TensorScatter", [maps(1, 2, 8, 4), maps(1, 2, 1, 4)], opset=24),
    OperatorCase("RotaryEmbedding", [maps(1, 2, 6, 8), weight(1, 6, 4), weight(1, 6, 4)]),
    OperatorCase("QuantizeLinear", [X, number(0.1), number(0, UINT8)]),
    OperatorCase("DequantizeLinear", [small(1, 4, 6, 6), number(0.1), number(0, UINT8)]),
    OperatorCase("DynamicQuantizeLinear", [X], bytes=144 + 144 + 1 + 1, outputs=3),
    OperatorCase("DFT", [maps(1, 8, 1)], opset=17),
    OperatorCase("STFT", [maps(1, 32, 1), number(8, INTEGER), None, number(8, INTEGER)]),
    OperatorCase("Det", [maps(2, 3, 3)]),
)
