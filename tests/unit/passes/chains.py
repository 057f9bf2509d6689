"""Small networks written node by node, and what must hold when a pass rewrites them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from dataflow_sim.ingest.network import ResolvedNetwork
from dataflow_sim.ingest.passes import Pass
from dataflow_sim.ingest.shapes.reader import resolve
from tests.support.resolved_models import Array, evaluate

Shape = tuple[int, ...]


class Chain:
    """Builds a model; numbers and arrays among the inputs of a node become constants."""

    def __init__(self, opset: int = 20, **inputs: Shape) -> None:
        self.opset = opset
        self.inputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (inputs or {"x": (2, 3, 8)}).items()
        ]
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: object) -> str:
        """A constant with its value in the file; floats are 32 bits wide."""
        array = np.asarray(value)
        if type(value) is float:
            array = array.astype(np.float32)
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def learned(self, *shape: int) -> str:
        """A float constant whose value is not in the file."""
        name = f"learned{len(self.constants)}"
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights_not_included.bin")
        self.constants.append(tensor)
        return name

    def add(self, op: str, *inputs: object, outputs: int = 1, **attributes: object) -> str:
        """Append a node; returns the name of its first result."""
        names = [given if isinstance(given, str) else self.constant(given) for given in inputs]
        end = f"{op}{len(self.nodes)}"
        results = [end, *(f"{end}.{position}" for position in range(1, outputs))]
        node = helper.make_node(op, names, results, f"node of {end}")
        node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
        self.nodes.append(node)
        return end

    def network(self, *outputs: str) -> ResolvedNetwork:
        """The network whose outputs these are."""
        graph = helper.make_graph(
            self.nodes,
            "chain",
            self.inputs,
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            self.constants,
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return resolve(helper.make_model(graph, opset_imports=opsets), "chain", {})


def operators(network: ResolvedNetwork) -> dict[str, int]:
    """How many nodes there are of each operator."""
    return dict(Counter(node.op for node in network.nodes))


def rewrites(
    each: Pass, network: ResolvedNetwork, expected: Mapping[str, int], tolerance: float = 1e-5
) -> ResolvedNetwork:
    """The rewritten network: it has these operators, and computes what the old one does."""
    new, changed = each.rewrite(network)
    assert operators(new) == dict(expected)
    assert changed
    same_values(network, new, tolerance)
    names = {node.name for node in network.nodes}
    written = {node.name: node.outputs for node in network.nodes}
    assert all(node.name in names and written[node.name] == node.outputs for node in new.nodes)
    assert replace(new, nodes=network.nodes, bits=network.bits) == network
    again, nothing = each.rewrite(new)
    assert again == new
    assert nothing == ()
    return new


def leaves(each: Pass, network: ResolvedNetwork) -> None:
    """The pass finds nothing in the network, and gives it back as it is."""
    assert each.rewrite(network) == (network, ())
    evaluate(network)


def same_values(old: ResolvedNetwork, new: ResolvedNetwork, tolerance: float) -> None:
    """Two networks compute the same outputs, up to the rounding of floats."""
    for seed in (0, 1):
        before, after = evaluate(old, seed), evaluate(new, seed)
        assert list(before) == list(after)
        for name, value in before.items():
            close(after[name], value, tolerance)


def close(found: Array, expected: Array, tolerance: float) -> None:
    """Two arrays agree within a tolerance, relative to the largest value."""
    assert np.isfinite(expected).all()
    scale = max(float(np.abs(expected).max()), 1.0)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)
