"""Models with bodies: entered, evaluated before and after, and drawn by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from dataflow_sim.ingest.bodies.entering import BodyChoices, bodies_left, enter_bodies

Array = npt.NDArray[Any]
NONE = BodyChoices()
HEAD = '<ir_version: 10, opset_import: ["": 18, "local": 1]>\n'


def folded(
    model: onnx.ModelProto, given: Mapping[str, Array] | None = None
) -> tuple[dict[str, Array], dict[str, tuple[int, ...]]]:
    """All values and shapes of the main graph that depend on no data but what is given."""
    shapes: dict[str, tuple[int, ...]] = {}
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    values.update(given or {})
    inferred = onnx.shape_inference.infer_shapes(plain, data_prop=True).graph
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    shapes.update((name, value.shape) for name, value in values.items())
    for node in model.graph.node:
        if node.op_type in ("Shape", "Size") and node.input[0] in shapes:
            (value,) = ReferenceEvaluator(node).run(
                None, {node.input[0]: np.zeros(shapes[node.input[0]])}
            )
            values[node.output[0]] = np.asarray(value)
        elif (
            node.op_type not in ("If", "Loop", "Scan")
            and node.domain == ""
            and all(name in values for name in node.input if name)
        ):
            feeds = {name: values[name] for name in node.input if name}
            results = list(ReferenceEvaluator(node).run(None, feeds))
            values.update(zip(node.output, map(np.asarray, results), strict=True))
    return values, shapes


def entered(
    model: onnx.ModelProto, choices: BodyChoices = NONE, given: Mapping[str, Array] | None = None
) -> tuple[onnx.ModelProto, list[str]]:
    """A model entered until no body is left, folding in between; it must be well formed."""
    said: list[str] = []
    before = model.SerializeToString()
    result = model
    while bodies_left(result):
        result, sentences = enter_bodies(result, "net", choices, *folded(result, given))
        said.extend(sentences)
    assert model.SerializeToString() == before
    assert not result.functions
    onnx.checker.check_model(result, full_check=True)
    names = [name for node in result.graph.node for name in node.output if name]
    names += [tensor.name for tensor in result.graph.initializer]
    assert len(names) == len(set(names))
    titles = [node.name for node in result.graph.node if node.name]
    assert len(titles) == len(set(titles))
    return result, said


def run(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    return [np.asarray(result) for result in ReferenceEvaluator(model).run(None, dict(feeds))]


def same(model: onnx.ModelProto, feeds: Mapping[str, Array], choices: BodyChoices = NONE) -> None:
    """The model entered computes what it computes with its bodies."""
    result, _ = entered(model, choices)
    for one, other in zip(run(model, feeds), run(result, feeds), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def parsed(text: str) -> onnx.ModelProto:
    return parser.parse_model(HEAD + text)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


class Drawing:
    """A random model of nested bodies: all maps are float[3], all conditions known in the end."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.count = 0

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def pick(self, names: Sequence[str]) -> str:
        return names[int(self.random.integers(len(names)))]

    def graph(
        self, depth: int, maps: list[str], numbers: list[str], inputs: Sequence[str], results: int
    ) -> onnx.GraphProto:
        """A body; names at one depth repeat from one body to the next."""
        maps, numbers = list(maps), list(numbers)
        maps += [name for name in inputs if name.startswith("m")]
        numbers += [name for name in inputs if name.startswith("i")]
        weights = [numpy_helper.from_array(self.values(), f"w{depth}")]
        maps.append(f"w{depth}")
        nodes: list[onnx.NodeProto] = []
        for position in range(int(self.random.integers(1, 5))):
            maps.append(f"v{depth}_{position}")
            nodes += self.node(depth, maps[:-1], numbers, maps[-1])
        names = [self.pick(maps) for _ in range(results)]
        if "g" in inputs:
            names.insert(0, "g")
        kinds = {"i": TensorProto.INT64, "g": TensorProto.BOOL}
        return helper.make_graph(
            nodes,
            "body",
            [
                helper.make_tensor_value_info(
                    name, kinds.get(name[0], 1), [3] if name[0] == "m" else []
                )
                for name in inputs
            ],
            [
                helper.make_tensor_value_info(n, 9 if n == "g" else 1, [] if n == "g" else [3])
                for n in names
            ],
            weights,
        )

    def values(self) -> Array:
        return self.random.integers(-4, 5, 3).astype(np.float32)

    def node(
        self, depth: int, maps: list[str], numbers: list[str], target: str
    ) -> list[onnx.NodeProto]:
        kind = self.pick(["plain"] if depth > 3 else ["plain", "If", "Loop", "Scan", "constant"])
        if kind == "constant":
            return [
                helper.make_node(
                    "Constant",
                    [],
                    [target],
                    self.name("k"),
                    value=numpy_helper.from_array(self.values()),
                )
            ]
        if kind == "If":
            return self.branch(depth, maps, numbers, target)
        if kind in ("Loop", "Scan"):
            return self.loop(kind, depth, maps, numbers, target)
        op = self.pick(["Add", "Sub", "Max", "Min", "Neg", "Relu"])
        count = 1 if op in ("Neg", "Relu") else 2
        return [
            helper.make_node(op, [self.pick(maps) for _ in range(count)], [target], self.name("n"))
        ]

    def branch(
        self, depth: int, maps: list[str], numbers: list[str], target: str
    ) -> list[onnx.NodeProto]:
        nodes: list[onnx.NodeProto] = []
        condition = self.pick(["c0", "c1", "less", "size"])
        if condition in ("less", "size"):
            left = self.pick(numbers)
            if condition == "size":
                left = f"{target}_size"
                nodes.append(helper.make_node("Size", [self.pick(maps)], [left], self.name("n")))
            condition = f"{target}_less"
            nodes.append(
                helper.make_node("Less", [left, self.pick(numbers)], [condition], self.name("n"))
            )
        branches = {
            f"{key}_branch": self.graph(depth + 1, maps, numbers, (), 2) for key in ("then", "else")
        }
        nodes.append(
            helper.make_node(
                "If", [condition], [f"{target}_a", f"{target}_b"], self.name("if"), **branches
            )
        )
        nodes.append(
            helper.make_node("Sub", [f"{target}_a", f"{target}_b"], [target], self.name("n"))
        )
        return nodes

    def loop(
        self, kind: str, depth: int, maps: list[str], numbers: list[str], target: str
    ) -> list[onnx.NodeProto]:
        states = [f"m{depth}_{s}" for s in range(int(self.random.integers(1, 3)))]
        rows = int(self.random.integers(0, 3))
        outputs = [f"{target}_{o}" for o in range(len(states) + rows)]
        initial = [self.pick(maps) for _ in states]
        if kind == "Loop":
            body = self.graph(depth + 1, maps, numbers, (f"i{depth}", "g", *states), len(outputs))
            trips = self.pick(["k1", "k2", "k3"] if rows else ["k0", "k1", "k2"])
            made = helper.make_node(
                "Loop", [trips, "on", *initial], outputs, self.name("loop"), body=body
            )
        else:
            body = self.graph(depth + 1, maps, numbers, (*states, f"m{depth}_row"), len(outputs))
            made = helper.make_node(
                "Scan", [*initial, "X"], outputs, self.name("scan"), body=body, num_scan_inputs=1
            )
        nodes = [made]
        for output in outputs[len(states) :]:
            nodes.append(
                helper.make_node(
                    "ReduceSum", [output, "axes0"], [f"{output}_sum"], self.name("n"), keepdims=0
                )
            )
        nodes.append(
            helper.make_node(
                "Max",
                [*outputs[: len(states)], *(f"{o}_sum" for o in outputs[len(states) :])],
                [target],
                self.name("n"),
            )
        )
        return nodes

    def model(self) -> onnx.ModelProto:
        graph = self.graph(0, ["x"], ["k0", "k1", "k3"], (), 3)
        names = [value.name for value in graph.output]
        del graph.output[:]
        graph.node.extend(
            helper.make_node("Neg", [name], [f"y{i}"], f"last{i}") for i, name in enumerate(names)
        )
        graph.output.extend(helper.make_tensor_value_info(f"y{i}", 1, [3]) for i in range(3))
        graph.input.extend(
            [
                helper.make_tensor_value_info("x", 1, [3]),
                helper.make_tensor_value_info("X", 1, [2, 3]),
                helper.make_tensor_value_info("c0", 9, []),
                helper.make_tensor_value_info("c1", 9, []),
            ]
        )
        graph.initializer.extend(numpy_helper.from_array(np.array(k), f"k{k}") for k in range(4))
        graph.initializer.append(numpy_helper.from_array(np.array(True), "on"))
        graph.initializer.append(numpy_helper.from_array(np.array([0]), "axes0"))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
